"""The rows of the table of promises; docs/performance.md says what each means."""

from __future__ import annotations

import contextlib
import dataclasses
import statistics
from collections.abc import Iterator

from benchmarks import bodies
from benchmarks.bench import (
    BY_HAND,
    COMPILED,
    EAGER,
    GRPC_CSR,
    GRPC_NARROW,
    GRPC_SERVICE,
    JSON_CSR,
    JSON_DENSE,
    MODEL,
    N_SENT,
    REST_CSR,
    SCVI,
    WITH_LIBRARY,
    Bench,
    Rounds,
    tell,
)
from benchmarks.cells import parts
from benchmarks.load import Callers, Load, Measured, Refused, Stream, Target, percentiles
from benchmarks.report import Row, cells_per_s, cpu_us, ratio
from benchmarks.server_process import ServerProcess

MIB = 1 << 20


def of_the_costs(bench: Bench, rounds: Rounds) -> Iterator[Row]:
    """The rows that the table of costs holds already, where their sizes were measured."""
    pairs = [
        ("compiled encoder with library ÷ eager encoder, 1,024 cells", WITH_LIBRARY, EAGER, 1024, 1 / 4),
        ("served by gRPC CSR, 1,024 cells, 16 in flight ÷ compiled encoder alone", GRPC_CSR, COMPILED, 1024, 1.3),
        ("served by gRPC CSR in small integers, likewise", GRPC_NARROW, COMPILED, 1024, 1.3),
        ("served by REST protobuf, 1,024 cells, 16 in flight ÷ compiled encoder alone", REST_CSR, COMPILED, 1024, 1.4),
        ("served by JSON CSR, 256 cells, 16 in flight ÷ compiled encoder alone", JSON_CSR, COMPILED, 256, 2.5),
        ("served by JSON dense, 256 cells ÷ FastAPI + pydantic + eager encoder", JSON_DENSE, BY_HAND, 256, 1 / 10),
    ]
    for title, name, other, size, target in pairs:
        if name in bench.absent:
            yield Row(title, None, target, remark=bench.absent[name])
        elif size in rounds.get(name, {}):
            ours, theirs = ([cpu_us(each, size) for each in rounds[key][size]] for key in (name, other))
            yield Row(title, ratio(ours, theirs), target, remark=_of(ours, theirs, "µs a cell"))


def of_the_floors(bench: Bench, n_rounds: int, seconds: float) -> Iterator[Row]:
    """What no service could be below: the encoder, and the frameworks' cost of reading such bodies."""
    for name, module, size in (
        (GRPC_CSR, "bare_grpc", 1024),
        (GRPC_NARROW, "bare_grpc", 1024),
        (REST_CSR, "bare_rest", 1024),
        (JSON_CSR, "bare_rest", 256),
    ):
        if name in bench.absent:
            continue
        title = f"floor of {name}, {size:,} cells: compiled encoder + bare server ÷ compiled encoder"
        tell(title)
        compiled = bench.subjects[COMPILED]
        compiled.answer(size)
        costs: tuple[list[float], list[float]] = ([], [])
        with _beside_bare(bench, name, module, size) as pair:
            for _ in range(n_rounds):
                costs[0].append(cpu_us(pair.measure_bare(seconds, in_flight=16), size))
                costs[1].append(cpu_us(compiled.measure(size, seconds), size))
        yield Row(title, 1 + ratio(*costs), None, remark=f"1 + {_of(*costs, 'µs a cell')}")


def of_scvi_tools(bench: Bench, n_rounds: int, seconds: float) -> Iterator[Row]:
    """The whole matrix in one call of scvi-tools, where its fixed cost is least, against batches of 1,024."""
    title = "%s ÷ scvi-tools' get_latent_representation, 4,096 cells"
    # scvi-tools gives z alone, so the variant with the library is there to be seen.
    variants = {
        COMPILED: (title % "compiled encoder", 1 / 8),
        WITH_LIBRARY: (title % "compiled encoder with library", None),
    }
    if SCVI in bench.absent:
        yield from (Row(row, None, target, remark=bench.absent[SCVI]) for row, target in variants.values())
        return
    tell("against scvi-tools")
    n_cells = bench.cells.n_cells
    costs: dict[str, list[float]] = {}
    for name in variants:
        bench.subjects[name].answer(N_SENT)
    for _ in range(n_rounds):
        for name, size in ((SCVI, n_cells), *((name, N_SENT) for name in variants)):
            costs.setdefault(name, []).append(cpu_us(bench.subjects[name].measure(size, seconds), size))
    for name, (row, target) in variants.items():
        share = ratio(costs[name], costs[SCVI])
        yield Row(row, share, target, remark=_of(costs[name], costs[SCVI], "µs a cell"))


def of_one_cell_calls(bench: Bench, n_rounds: int, seconds: float) -> Iterator[Row]:
    """Calls of one cell in a second, 64 in flight, against servers that only read and answer."""
    for name, module, title in (
        (JSON_CSR, "bare_rest", "REST JSON CSR, one cell, 64 in flight ÷ bare FastAPI, calls/s"),
        (REST_CSR, "bare_rest", "REST protobuf, one cell, 64 in flight ÷ bare FastAPI, calls/s"),
        (GRPC_CSR, "bare_grpc", "gRPC, one cell, 64 in flight ÷ bare grpc.aio, calls/s"),
    ):
        if name in bench.absent:
            yield Row(title, None, 0.5, "at least", remark=bench.absent[name])
            continue
        tell(title)
        with _beside_bare(bench, name, module, 1) as pair:
            found = pair.measure(n_rounds, seconds, in_flight=64)
        ours, bare = ([cells_per_s(measured, 1) for measured in rounds] for rounds in found)
        yield Row(title, ratio(ours, bare), 0.5, "at least", remark=_of(ours, bare, "calls/s"))


def of_idle_calls(bench: Bench, n_rounds: int, seconds: float) -> Iterator[Row]:
    """What an idle server adds to one call of one cell."""
    for name, wire in ((JSON_CSR, "JSON CSR"), (REST_CSR, "protobuf")):
        title = f"idle, one cell by REST {wire}: p50 - that of the bare endpoint"
        if name in bench.absent:
            yield Row(title, None, 0.6, unit=" ms", remark=bench.absent[name])
            continue
        tell(title)
        with _beside_bare(bench, name, "bare_rest", 1) as pair:
            found = pair.measure(n_rounds, seconds, in_flight=1, pause_s=0.005)
        ours, theirs = ([percentiles(measured.latencies_s)[0] for measured in rounds] for rounds in found)
        more = statistics.median(a - b for a, b in zip(ours, theirs, strict=True))
        remark = f"{statistics.median(ours):.2f} - {statistics.median(theirs):.2f} ms"
        yield Row(title, more, 0.6, unit=" ms", remark=remark)


def of_the_stream(bench: Bench, n_cells: int) -> Iterator[Row]:
    """A long stream: neither memory nor cost may grow."""
    memory = f"EncodeStream, {n_cells:,} cells: server memory at the end ÷ after 50,000"
    cost = f"EncodeStream, {n_cells:,} cells: CPU per cell in the last tenth ÷ in the first"
    tell(f"a stream of {n_cells:,} cells")
    (cells,) = parts(bench.cells.cells(0, N_SENT), N_SENT)
    sent = (bodies.message(cells, names=bench.spec, model=MODEL), bodies.message(cells, options=False))
    target = Target(bench.server.pid, bench.server.facts["grpc_port"], f"{GRPC_SERVICE}/EncodeStream", None, sent)
    n_messages = max(100, n_cells // N_SENT)
    try:
        streamed = bench.callers.stream(Stream(target, n_messages))
    except Refused as refused:
        if refused.args[0] != "UNIMPLEMENTED":
            raise
        for title, most in ((memory, 1.05), (cost, 1.1)):
            yield Row(title, None, most, remark="the service answers UNIMPLEMENTED")
        return
    unary = bodies.from_message(bench.load(GRPC_CSR, N_SENT).expected[0])
    assert bodies.same_bits([unary, *map(bodies.from_message, streamed.answers)]), "the stream answered otherwise"
    early, tenth = min(50_000 // N_SENT, n_messages // 2), n_messages // 10
    # What is resident goes up and down with the bodies under way: medians over some messages.
    few = min(25, tenth)
    now, then = (statistics.median(streamed.rss_bytes[end - few : end]) for end in (n_messages, early + few))
    most = max(streamed.rss_bytes)
    remark = f"{now / MIB:,.0f} ÷ {then / MIB:,.0f} MiB, at most {most / MIB:,.0f}"
    yield Row(memory, now / then, 1.05, remark=remark)
    # The first message pays for its names, and the pipeline fills.
    costs = [
        (streamed.cpu_s[end - 1] - streamed.cpu_s[end - tenth]) / ((tenth - 1) * N_SENT) * 1e6
        for end in (n_messages, tenth + 1)
    ]
    speed = n_messages * N_SENT / streamed.wall_s[-1]
    yield Row(cost, costs[0] / costs[1], 1.1, remark=f"{costs[0]:.1f} ÷ {costs[1]:.1f} µs a cell; {speed:,.0f} cells/s")


def of_a_neighbour(bench: Bench, seconds: float) -> Iterator[Row]:
    """Single cells while somebody posts bodies as large as are taken, one after another."""
    title = "gRPC, one cell: p99 while a neighbour posts 64 MiB of dense JSON"
    tell(title)
    rows = bench.load(JSON_DENSE, 256)
    body, _ = bodies.repeated_rows(rows.target.bodies[0], 64 * MIB)
    target = dataclasses.replace(rows.target, bodies=(body,))
    single = dataclasses.replace(bench.load(GRPC_CSR, 1), in_flight=1, pause_s=0.002, seconds=seconds)
    with Callers() as neighbour:
        large = Load(target, neighbour.answers(target), in_flight=1, seconds=seconds + 1)
        neighbour.begin(large)
        p50, p99 = percentiles(bench.callers.run(single).latencies_s)
        n_bodies = len(neighbour.finish().latencies_s)
    remark = f"p50 {p50:.1f} ms; {n_bodies} bodies of {len(body) / MIB:.0f} MiB meanwhile"
    yield Row(title, p99, 100, unit=" ms", remark=remark)


@contextlib.contextmanager
def _beside_bare(bench: Bench, name: str, module: str, size: int) -> Iterator[_Pair]:
    """One of the transports with requests of `size` cells, and a bare server that answers as many bytes."""
    ours = bench.load(name, size)
    n_bytes = len(ours.expected[0])
    with ServerProcess(f"benchmarks.peers.{module}", n_bytes) as server:
        where = "/encode" if module == "bare_rest" else "/bare.Service/Encode"
        target = dataclasses.replace(ours.target, pid=server.pid, port=server.facts["port"], where=where)
        yield _Pair(bench.callers, ours, Load(target, (bytes(n_bytes),) * len(ours.expected), 0, 0.0))


@dataclasses.dataclass(frozen=True)
class _Pair:
    callers: Callers
    ours: Load
    bare: Load

    def measure(
        self, n_rounds: int, seconds: float, *, in_flight: int, pause_s: float = 0.0
    ) -> tuple[list[Measured], list[Measured]]:
        """Rounds of ours and rounds of the bare server, in turns."""
        found: tuple[list[Measured], list[Measured]] = ([], [])
        for _ in range(n_rounds):
            for load, rounds in zip((self.ours, self.bare), found, strict=True):
                under = dataclasses.replace(load, seconds=seconds, in_flight=in_flight, pause_s=pause_s)
                rounds.append(self.callers.run(under))
        return found

    def measure_bare(self, seconds: float, *, in_flight: int) -> Measured:
        """The bare server alone."""
        return self.callers.run(dataclasses.replace(self.bare, seconds=seconds, in_flight=in_flight))


def _of(ours: list[float], theirs: list[float], unit: str) -> str:
    return f"{statistics.median(ours):,.1f} ÷ {statistics.median(theirs):,.1f} {unit}"
