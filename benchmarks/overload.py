"""Three times the load that the service can carry, for a minute: `python -m benchmarks.overload`; docs/reliability.md.

Callers send by the clock, whether or not they were answered (an open loop), half by gRPC and half by REST. The model is
wide, so that computing is what runs short, and not the processor time of the callers beside it.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import dataclasses
import itertools
import json
import re
import statistics
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from pathlib import Path
from typing import Any, TypeAlias

import grpc
import uvloop

from benchmarks import bodies, machine
from benchmarks.cells import BATCHES, made_up_cells, made_up_spec, parts, write_compiled
from benchmarks.report import Row, promises
from benchmarks.server_process import ServerProcess, cpu_s, our_server, rss_bytes
from model.encoder_totalvi import EncoderTOTALVI

MIB = 1 << 20
N_GENES, N_PROTEINS, N_HIDDEN = 1000, 50, 4096
CELLS_A_CALL = 32
MAX_BATCH_CELLS, MAX_QUEUE_CELLS = 128, 512
FACTOR = 3.0
IN_FLIGHT = 16
"""Calls at a time when the peak is measured."""
BYTES_A_CELL = 8 * N_GENES
"""What a waiting cell may hold, at most: four bytes of index and four of count for every gene."""
ALLOCATOR_MIB = 64.0
"""What the allocator may keep beside it."""
IDLE_S = 30.0
PATIENCE_S = 60.0

PROTOBUF = "application/x-protobuf"
_LENGTH = re.compile(rb"content-length: *(\d+)", re.IGNORECASE)

Ask: TypeAlias = Callable[[bytes], Awaitable[str]]
"""Sends a body; `ok`, `refused`, or what else came."""


@dataclasses.dataclass(frozen=True)
class Sent:
    """A call: when it was due, how it ended, and after how long, both in seconds."""

    due_s: float
    outcome: str
    latency_s: float


class RestLines:
    """Connections that are kept; a call takes a free one or a new one. A client library's pool costs more than that."""

    def __init__(self, port: int) -> None:
        self._port = port
        self._free: list[tuple[asyncio.StreamReader, asyncio.StreamWriter]] = []

    async def ask(self, body: bytes) -> str:
        """Post a message."""
        reader, writer = self._free.pop() if self._free else await asyncio.open_connection("127.0.0.1", self._port)
        head = f"POST /v1/encode HTTP/1.1\r\nHost: x\r\nContent-Type: {PROTOBUF}\r\nContent-Length: {len(body)}\r\n\r\n"
        writer.write(head.encode() + body)
        answer = await reader.readuntil(b"\r\n\r\n")
        await reader.readexactly(int(_LENGTH.search(answer)[1]))  # type: ignore[index]
        self._free.append((reader, writer))
        return {b"200": "ok", b"429": "refused"}.get(answer[9:12], answer[9:12].decode())

    def close(self) -> None:
        """Hang up."""
        for _, writer in self._free:
            writer.close()


@contextlib.asynccontextmanager
async def callers(facts: Any) -> AsyncIterator[list[Ask]]:
    """A gRPC and a REST caller."""
    options = [("grpc.enable_http_proxy", 0)]
    async with grpc.aio.insecure_channel(f"127.0.0.1:{facts['grpc_port']}", options) as channel:
        method: Any = channel.unary_unary("/totalvi.v1.EncoderService/Encode")

        async def by_grpc(body: bytes) -> str:
            try:
                await method(body, timeout=PATIENCE_S)
            except grpc.aio.AioRpcError as error:
                return "refused" if error.code() is grpc.StatusCode.RESOURCE_EXHAUSTED else error.code().name
            return "ok"

        with contextlib.closing(RestLines(facts["http_port"])) as rest:
            yield [by_grpc, rest.ask]


async def called(ask: Ask, body: bytes, due_s: float, began_s: float) -> Sent:
    """One call, timed from when it was due."""
    outcome = await ask(body)
    return Sent(due_s - began_s, outcome, time.perf_counter() - due_s)


async def closed_loop(asks: Sequence[Ask], calls: Sequence[bytes], seconds: float) -> float:
    """Calls answered in a second when there are always `IN_FLIGHT` of them."""
    turns, began = itertools.cycle(calls), time.perf_counter()
    answered = 0

    async def keep_calling(ask: Ask) -> None:
        nonlocal answered
        while time.perf_counter() - began < seconds:
            outcome = await ask(next(turns))
            answered += outcome == "ok"

    await asyncio.gather(*(keep_calling(ask) for _ in range(IN_FLIGHT // len(asks)) for ask in asks))
    return answered / (time.perf_counter() - began)


async def open_loop(asks: Sequence[Ask], calls: Sequence[bytes], rate: float, seconds: float) -> list[Sent]:
    """Calls by the clock, `rate` a second."""
    began = time.perf_counter()
    turns, ways = itertools.cycle(calls), itertools.cycle(asks)
    under_way = []
    for number in range(int(rate * seconds)):
        due_s = began + number / rate
        if (early_s := due_s - time.perf_counter()) > 0:
            await asyncio.sleep(early_s)
        under_way.append(asyncio.create_task(called(next(ways), next(turns), due_s, began)))
    return await asyncio.gather(*under_way)


async def first_of_the_model(ask: Ask, calls: Sequence[bytes]) -> float:
    """The first real call, as a multiple of the median around the hundredth; the connection is there before."""
    await ask(b"no message")
    latencies = []
    for body in itertools.islice(itertools.cycle(calls), 150):
        began = time.perf_counter()
        await ask(body)
        latencies.append(time.perf_counter() - began)
    return latencies[0] / statistics.median(latencies[50:])


async def memory(pid: int, most: list[int]) -> None:
    """Keep the most resident memory that is seen."""
    while True:
        most[0] = max(most[0], rss_bytes(pid))
        await asyncio.sleep(0.1)


def p99_ms(seconds: Sequence[float]) -> float:
    """The 99th percentile, in milliseconds."""
    return sorted(seconds)[int(len(seconds) * 0.99)] * 1e3 if seconds else float("nan")


def back_to_normal_s(before: Sequence[Sent], after: Sequence[Sent]) -> float:
    """From the end of the overload until every later second is as quick as before it, and nothing is refused."""
    usual_ms = 2 * p99_ms([sent.latency_s for sent in before])
    late = [sent.due_s for sent in after if sent.outcome != "ok" or sent.latency_s * 1e3 > usual_ms]
    seconds = sorted({int(due_s) for due_s in late})
    # One late call in a hundred is what the 99th percentile is.
    counts = {second: sum(int(due_s) == second for due_s in late) for second in seconds}
    each = len(after) / (int(after[-1].due_s) + 1)
    return max((second + 1.0 for second, n in counts.items() if n > max(1, each / 50)), default=0.0)


def server_refusals_ms(log: Path) -> list[float]:
    """How long the server had each call that it refused, by its own clock."""
    found = [json.loads(line) for line in log.read_text().splitlines() if '"overloaded"' in line]
    return [record["duration_ms"] / 1e3 for record in found if record.get("outcome") == "overloaded"]


async def measured(server: ServerProcess, calls: Sequence[bytes], seconds: float) -> list[Row]:
    """Everything, in one run."""
    idle_cpu_s = cpu_s(server.pid)
    await asyncio.sleep(IDLE_S)
    idle_cpu_s = (cpu_s(server.pid) - idle_cpu_s) * 60 / IDLE_S
    async with callers(server.facts) as asks:
        first = await first_of_the_model(asks[1], calls)
        await closed_loop(asks, calls, 3)
        peak = await closed_loop(asks, calls, 10)
        before = await open_loop(asks, calls, peak / 2, 10)
        most = [rss_bytes(server.pid)]
        idle_mib = most[0] / MIB
        watching = asyncio.create_task(memory(server.pid, most))
        under = await open_loop(asks, calls, FACTOR * peak, seconds)
        after = await open_loop(asks, calls, peak / 2, 15)
        watching.cancel()
        peak_after = await closed_loop(asks, calls, 10)
    peak = (peak + peak_after) / 2
    accepted = [sent.latency_s for sent in under if sent.outcome == "ok"]
    refused = [sent.latency_s for sent in under if sent.outcome == "refused"]
    other = len(under) - len(accepted) - len(refused)
    lasted = max(sent.due_s + sent.latency_s for sent in under)
    speed = peak * CELLS_A_CALL
    bound_ms = (MAX_QUEUE_CELLS + 2 * MAX_BATCH_CELLS) / speed * 1e3 + 100
    held_mib = (MAX_QUEUE_CELLS + 2 * MAX_BATCH_CELLS) * BYTES_A_CELL / MIB + ALLOCATOR_MIB
    at_server = server_refusals_ms(server.log)
    return [
        Row("CPU of an idle minute", idle_cpu_s, 0.1, unit=" s", remark=f"over {IDLE_S:g} s"),
        Row("first call, of the median from the 50th on", first, 2, remark="one at a time, connected before"),
        Row(
            "peak, calls a second", peak, None, remark=f"{IN_FLIGHT} in flight, before and after; {speed:,.0f} cells/s"
        ),
        Row("load, of the peak", len(under) / seconds / peak, None, remark=f"{len(under):,} calls in {seconds:.0f} s"),
        Row(
            "goodput, of the peak", len(accepted) / lasted / peak, 0.9, "at least", remark=f"{len(accepted):,} answered"
        ),
        Row("neither answered nor refused", other, 0, remark=f"{len(refused):,} refused"),
        Row("refusals, p99 at the callers", p99_ms(refused), 10, unit=" ms", remark="from when the call was due"),
        Row("refusals, p99 at the server", p99_ms(at_server), 10, unit=" ms", remark="from its log"),
        Row("accepted, p99", p99_ms(accepted), round(bound_ms), unit=" ms", remark="queue and two batches, and 100 ms"),
        Row(
            "memory above idle", most[0] / MIB - idle_mib, round(held_mib), unit=" MiB", remark=f"idle: {idle_mib:.0f}"
        ),
        Row("normal again after", back_to_normal_s(before, after), 5, unit=" s", remark="at half the peak"),
    ]


def main() -> int:
    """Run and print; 0: all that was promised held."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seconds", type=float, default=60.0)
    options = parser.parse_args()
    print(f"{machine.described()}\n", flush=True)
    spec = dataclasses.replace(made_up_spec(N_GENES, N_PROTEINS), n_hidden=N_HIDDEN)
    encoder = EncoderTOTALVI(
        N_GENES + N_PROTEINS, spec.n_latent, [len(BATCHES)], n_hidden=N_HIDDEN, distribution="normal"
    ).eval()
    calls = [bodies.message(cells, narrow=True) for cells in parts(made_up_cells(spec, 1024), CELLS_A_CALL)]
    with tempfile.TemporaryDirectory() as folder:
        write_compiled(Path(folder, "wide", "1", "encoder.pt"), encoder, spec)
        flags = ("--max-queue-cells", MAX_QUEUE_CELLS, "--max-batch-cells", MAX_BATCH_CELLS)
        with our_server(Path(folder), *flags) as server:
            rows = uvloop.run(measured(server, calls, options.seconds))
            code, complaints = server.stop()
    print(promises(rows))
    print(f"\nexit code {code}, {len(complaints)} complaints in the log")
    return int(code != 0 or bool(complaints) or any(row.met is False for row in rows))


if __name__ == "__main__":
    sys.exit(main())
