"""One run: the parts that are measured, and the rounds in which they take turns."""

from __future__ import annotations

import contextlib
import dataclasses
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path

import torch

from benchmarks import bodies
from benchmarks.cells import eager_call, made_up_cells, made_up_encoder, made_up_spec, write_compiled
from benchmarks.load import Callers, Load, Measured, Refused
from benchmarks.server_process import ServerProcess, our_server
from benchmarks.subjects import InProcess, NotAvailable, Scvi, Served, Subject
from model.artifact import read_artifact
from model.contract import CellBatch, EncoderSpec, LatentParams
from model.device_encoder import DeviceEncoder

N_GENES, N_PROTEINS = 4000, 100
N_CELLS, N_SENT = 4096, 1024
TOLERANCE = 1e-5

MODEL = "bench"
REST_PATH = f"/v1/models/{MODEL}/encode"
GRPC_SERVICE = "/totalvi.v1.EncoderService"
JSON, PROTOBUF = "application/json", "application/x-protobuf"

SCVI = "scvi-tools, in process"
EAGER = "eager encoder, in process"
WITH_LIBRARY = "compiled encoder with library, in process"
COMPILED = "compiled encoder, in process"
BY_HAND = "FastAPI + pydantic + eager encoder"
GRPC_CSR = "gRPC, CSR"
GRPC_NARROW = "gRPC, CSR in small integers"
REST_CSR = "REST, protobuf CSR"
JSON_CSR = "REST, JSON CSR"
JSON_DENSE = "REST, JSON dense"
TRANSPORTS = (GRPC_CSR, GRPC_NARROW, REST_CSR, JSON_CSR, JSON_DENSE)

Rounds = Mapping[str, Mapping[int, Sequence[Measured]]]
"""What was measured, by subject and cells a request; the same rounds for all."""


@dataclasses.dataclass
class Bench:
    """What runs during a run.

    Attributes:
        spec: of the model.
        cells: that everything encodes; the first `N_SENT` are sent.
        reference: what the eager encoder answers.
        callers: a process of callers.
        server: ours.
        subjects: what is measured, by name.
        absent: what cannot be measured here, and why.
        versions: of what runs in an environment of its own.
    """

    spec: EncoderSpec
    cells: CellBatch
    reference: bodies.Answer
    callers: Callers
    server: ServerProcess
    subjects: dict[str, Subject]
    absent: dict[str, str] = dataclasses.field(default_factory=dict)
    versions: dict[str, str] = dataclasses.field(default_factory=dict)

    def load(self, name: str, size: int) -> Load:
        """The load by which one of the transports is called with requests of `size` cells."""
        subject = self.subjects[name]
        assert isinstance(subject, Served)
        subject.answer(size)
        return subject.load

    def check(self, size: int) -> None:
        """Hold every subject's answers against the eager encoder's, and the transports' against each other.

        Raises:
            AssertionError: they differ.
        """
        transported = {}
        for name, subject in list(self.subjects.items()):
            try:
                answer = subject.answer(size)
            except Refused as refused:
                if refused.args[0] not in (404, 406, 415, "UNIMPLEMENTED"):
                    raise
                self.absent[name] = f"the service answers {refused.args[0]}"
                del self.subjects[name]
                continue
            difference = bodies.far_from(answer, self.reference)
            assert difference <= TOLERANCE, f"{name} is {difference} from the eager encoder"
            if name in TRANSPORTS:
                transported[name] = answer
        assert bodies.same_bits(list(transported.values())), f"not the same bits: {', '.join(transported)}"

    def rounds(self, sizes: Sequence[int], n_rounds: int, seconds: float) -> Rounds:
        """Measure everything at each size, in turns, so that a busy neighbour disturbs all alike."""
        found: dict[str, dict[int, list[Measured]]] = {}
        for size in sizes:
            self.check(size)
            for turn in range(n_rounds):
                tell(f"{size:,} cells a request, round {turn + 1} of {n_rounds}")
                for name, subject in self.subjects.items():
                    found.setdefault(name, {}).setdefault(size, []).append(subject.measure(size, seconds))
        return found


@contextlib.contextmanager
def opened(folder: Path, scvi_python: Path) -> Iterator[Bench]:
    """Make the model in `folder` and start every process.

    Args:
        folder: empty; the model and the cells lie there.
        scvi_python: of an environment that has scvi-tools, where there is one.
    """
    spec = made_up_spec(N_GENES, N_PROTEINS)
    encoder, cells = made_up_encoder(spec), made_up_cells(spec, N_CELLS)
    artifact, eager = folder / "models" / MODEL / "1" / "encoder.pt", folder / "eager.pt"
    write_compiled(artifact, encoder, spec)
    torch.save(encoder, eager)
    compiled = DeviceEncoder(read_artifact(artifact), torch.device("cpu"), threads=1)
    compiled.warm(N_SENT)

    def encoding(library: bool) -> Callable[[CellBatch], Callable[[], LatentParams]]:
        return lambda part: lambda: compiled.encode(part, library=library)

    with contextlib.ExitStack() as stack:
        callers = stack.enter_context(Callers())
        tell("starting the servers")
        server = stack.enter_context(our_server(folder / "models"))
        by_hand = stack.enter_context(ServerProcess("benchmarks.peers.pydantic_endpoint", eager))
        http, grpc = server.facts["http_port"], server.facts["grpc_port"]
        by_eager = InProcess(cells, lambda part: eager_call(encoder, spec, part))
        reference = by_eager.answer(N_SENT) | {"library": bodies.library(cells)}
        bench = Bench(spec, cells, reference, callers, server, {})
        try:
            tell("starting scvi-tools")
            scvi = stack.enter_context(Scvi(scvi_python, folder, spec, encoder, cells))
            bench.subjects[SCVI], bench.versions = scvi, scvi.versions
        except NotAvailable as reason:
            bench.absent[SCVI] = str(reason)
        sent = cells.cells(0, N_SENT)
        rest = (callers, server.pid, http, REST_PATH)
        encode = (callers, server.pid, grpc, f"{GRPC_SERVICE}/Encode", None, sent)
        by_hand_route = (callers, by_hand.pid, by_hand.facts["port"], "/encode", JSON, sent)
        bench.subjects |= {
            EAGER: by_eager,
            WITH_LIBRARY: InProcess(cells, encoding(True)),
            COMPILED: InProcess(cells, encoding(False)),
            # It would hold a gigabyte of Python numbers with 16 calls in flight.
            BY_HAND: Served(*by_hand_route, _dense, bodies.from_json, in_flight=4),
            GRPC_CSR: Served(*encode, bodies.message, bodies.from_message),
            GRPC_NARROW: Served(*encode, _narrow, bodies.from_message),
            REST_CSR: Served(*rest, PROTOBUF, sent, bodies.message, bodies.from_message),
            JSON_CSR: Served(*rest, JSON, sent, bodies.json_csr, bodies.from_json),
            JSON_DENSE: Served(*rest, JSON, sent, _dense, bodies.from_json),
        }
        yield bench


def tell(what: str) -> None:
    """Say how far the run has come, beside the tables."""
    print(what, file=sys.stderr, flush=True)


def _narrow(cells: CellBatch) -> bytes:
    return bodies.message(cells, narrow=True)


def _dense(cells: CellBatch) -> bytes:
    return bodies.json_dense(cells, N_GENES)
