"""The blocking client."""

from __future__ import annotations

import threading
from collections.abc import Iterable, Iterator, Mapping
from types import TracebackType
from typing import Any, TypeVar

from totalvi_client.caller import IN_FLIGHT, Caller, Priority, check_in_flight, checked_timeout, version_text
from totalvi_client.cells import Cells, read_cells
from totalvi_client.errors import TotalviError
from totalvi_client.in_order import in_order
from totalvi_client.joining import joined
from totalvi_client.options import read_options
from totalvi_client.rest import RestTransport
from totalvi_client.results import Card, Encoding, Limits, Validation
from totalvi_client.rpc import GrpcTransport
from totalvi_client.session import Ask, Pause, Steps
from totalvi_client.stream import Slice, Stream

T = TypeVar("T")


class Client(Caller):
    """A client of one server, or of several behind one address. Threads may share it.

    Args:
        target: `http://HOST:PORT` or `https://…` for REST; `grpc://HOST:PORT`, `grpcs://…`, or `dns:///HOST:PORT` for
            gRPC, which takes all addresses of the name in turn.
        token: bearer token; no text of this package ever shows it.
        ca_file: PEM file of the CAs to trust, instead of the usual ones; with `dns:///` it means TLS.
        certificate: PEM files of the own chain and of its key, for servers that ask for one; likewise.
        tls: whether `dns:///` speaks TLS.
        timeout: seconds for a whole call, retries and waits included; the server is told. None: no end.
        retry: when to ask again.
        priority: `interactive` or `bulk`; None: interactive for `encode` and `validate`, bulk for `encode_stream`
            and for matrices that take several calls.
        allow_plain_token: send the token without TLS to hosts that are not this machine.

    Raises:
        InputError: for a target or options that cannot work.
    """

    _transport: RestTransport | GrpcTransport

    def _connect(self) -> None:
        self._transport = RestTransport(self._target) if self._target.is_rest else GrpcTransport(self._target)

    def __enter__(self) -> Client:
        """Itself; leaving closes it."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Close it."""
        self.close()

    def close(self) -> None:
        """Close its connections."""
        self._closed = True
        self._transport.close()

    def encode(
        self,
        gene_counts: Any,
        *,
        genes: Iterable[str] | None = None,
        protein_counts: Any = None,
        proteins: Iterable[str] | None = None,
        batch: Any = None,
        categorical_covariates: Mapping[str, Any] | None = None,
        continuous_covariates: Mapping[str, Any] | None = None,
        cells: Any = None,
        model: str | None = None,
        version: str | int | None = None,
        outputs: Iterable[str] | None = None,
        n_samples: int = 0,
        seed: int | None = None,
        first_cell: int = 0,
        min_gene_coverage: float | None = None,
        allow_non_integer: bool = False,
        priority: Priority | None = None,
        timeout: float | None = None,
    ) -> Encoding:
        """Encode cells: raw counts in, their latent distributions out.

        A matrix beyond the server's limits is sent in several calls; the result is the same to the last bit.

        Args:
            gene_counts: raw counts [cells, genes]: an array, rows of numbers, a sparse matrix, or a pandas DataFrame,
                whose columns are the genes. Never log-normalised ones.
            genes: names of the columns, in any order; None: exactly the model's, in its order.
            protein_counts: raw counts [cells, proteins]; None: no protein was measured.
            proteins: names of their columns, by the rules of `genes`.
            batch: one label for all cells, or one for each; pandas Categoricals are fine.
            categorical_covariates: labels by covariate, likewise.
            continuous_covariates: numbers by covariate: one for all cells, or one for each.
            cells: names of the cells, given back in order.
            model: name; None: the only one that is served.
            version: of the model; None: the highest that is ready.
            outputs: some of `qz`, `ql`, `z`, `library`, `samples`; None: qz, z, library, and ql where it was trained.
            n_samples: draws per cell.
            seed: of the draws; None: one is drawn, and stands in `samples.seed`.
            first_cell: index of the first cell in a larger matrix, so that its cells get the draws of that one.
            min_gene_coverage: share of the model's genes to insist on; None: the server's, half of them.
            allow_non_integer: take counts that look log-normalised though they are none.
            priority: `interactive` or `bulk`; None: the client's.
            timeout: seconds for everything; None: the client's.

        Raises:
            InputError: what is given cannot be sent.
            ServiceError: the server refuses it: `Invalid` says what is wrong with the cells.
            NoAnswer: no server answers.
        """
        asked = self._asked(
            gene_counts,
            genes=genes,
            protein_counts=protein_counts,
            proteins=proteins,
            batch=batch,
            categorical_covariates=categorical_covariates,
            continuous_covariates=continuous_covariates,
            cells=cells,
            model=model,
            version=version,
            outputs=outputs,
            n_samples=n_samples,
            seed=seed,
            first_cell=first_cell,
            min_gene_coverage=min_gene_coverage,
            allow_non_integer=allow_non_integer,
            priority=priority,
            timeout=timeout,
        )
        parts = self._run(self._session.parts(asked.cells, asked.options, asked.deadline))
        if len(parts) == 1:
            return self._run(self._session.encode(asked.cells, asked.options, asked.priority, asked.deadline))
        stream = self._stream(asked.options, priority)
        self._run(stream.open(asked.deadline))
        taken = (stream.take(asked.cells.rows(start, stop)) for start, stop in parts)

        def encode(one: Slice, over: threading.Event) -> Encoding:
            return self._run(stream.encode(one, asked.deadline), over)

        found = joined(list(in_order(encode, taken, IN_FLIGHT)))
        self._run(stream.close(asked.deadline))
        return found

    def encode_stream(
        self,
        slices: Iterable[Cells],
        *,
        genes: Iterable[str] | None = None,
        proteins: Iterable[str] | None = None,
        model: str | None = None,
        version: str | int | None = None,
        sha256: str | None = None,
        outputs: Iterable[str] | None = None,
        n_samples: int = 0,
        seed: int | None = None,
        first_cell: int = 0,
        min_gene_coverage: float | None = None,
        allow_non_integer: bool = False,
        priority: Priority | None = None,
        timeout: float | None = None,
        in_flight: int = IN_FLIGHT,
    ) -> Iterator[Encoding]:
        """Encode a matrix that comes in slices: one encoding for each slice, in order, in bounded memory.

        Put together (`joined`) they equal the encoding of the whole matrix to the last bit, samples included. Each
        slice is a call of its own: any replica may answer it, and it is sent again where one fails. All of them go to
        the version of the model that was the default at the beginning. Warnings of columns come with the first slice.

        Args:
            slices: the cells, in order; taken one by one on the caller's thread.
            genes: as for `encode`, of all slices; so are the others up to `priority`.
            proteins: likewise.
            model: likewise.
            version: likewise.
            sha256: digest of the model's artifact as its card told it, where that was looked at before; None: whatever
                it is as the stream begins.
            outputs: likewise.
            n_samples: likewise.
            seed: one for all slices; None: one is drawn, and stands in each `samples.seed`.
            first_cell: index of the first slice's first cell.
            min_gene_coverage: likewise.
            allow_non_integer: likewise.
            priority: None: the client's, else bulk.
            timeout: seconds for each slice, not for the whole; None: the client's.
            in_flight: slices that are under way at a time; as many again are not held in memory.

        Raises:
            InputError: what is given cannot be sent.
            ServiceError: the server refuses a slice; `cells` of the error are the first and the last of it.
            NoAnswer: no server answers.
            ModelChanged: the model was exchanged under its version, before the first slice (given `sha256`) or since;
                that is told at the end, when all slices have been given: do not trust them.
        """
        options = read_options(
            genes=genes,
            proteins=proteins,
            model=model,
            version=version,
            outputs=outputs,
            n_samples=n_samples,
            seed=seed,
            first_cell=first_cell,
            min_gene_coverage=min_gene_coverage,
            allow_non_integer=allow_non_integer,
        )
        stream = self._stream(options, priority, sha256)
        check_in_flight(in_flight)
        checked_timeout(timeout)
        return self._encodings(stream, slices, timeout, in_flight)

    def validate(
        self,
        gene_counts: Any,
        *,
        genes: Iterable[str] | None = None,
        protein_counts: Any = None,
        proteins: Iterable[str] | None = None,
        batch: Any = None,
        categorical_covariates: Mapping[str, Any] | None = None,
        continuous_covariates: Mapping[str, Any] | None = None,
        cells: Any = None,
        model: str | None = None,
        version: str | int | None = None,
        outputs: Iterable[str] | None = None,
        n_samples: int = 0,
        seed: int | None = None,
        first_cell: int = 0,
        min_gene_coverage: float | None = None,
        allow_non_integer: bool = False,
        priority: Priority | None = None,
        timeout: float | None = None,
    ) -> Validation:
        """What `encode` would make of the cells, without computing them: it takes, and refuses, what `encode` does."""
        asked = self._asked(
            gene_counts,
            genes=genes,
            protein_counts=protein_counts,
            proteins=proteins,
            batch=batch,
            categorical_covariates=categorical_covariates,
            continuous_covariates=continuous_covariates,
            cells=cells,
            model=model,
            version=version,
            outputs=outputs,
            n_samples=n_samples,
            seed=seed,
            first_cell=first_cell,
            min_gene_coverage=min_gene_coverage,
            allow_non_integer=allow_non_integer,
            priority=priority,
            timeout=timeout,
        )
        return self._run(self._session.validate(asked.cells, asked.options, asked.priority, asked.deadline))

    def models(self, *, timeout: float | None = None) -> list[Card]:
        """The cards of all models, each of its default version, by name."""
        return self._run(self._session.models(self._deadline(timeout)))

    def server_version(self, *, timeout: float | None = None) -> str | None:
        """The version of the service; None for one that does not tell it yet."""
        return self._run(self._session.server_version(self._deadline(timeout)))

    def model(self, name: str | None = None, version: str | int | None = None, *, timeout: float | None = None) -> Card:
        """The card of one model.

        Args:
            name: of the model; None: the only one that is served.
            version: None: the default one.
            timeout: seconds for the call; None: the client's.

        Raises:
            NotFound: no such model or version, or there are several and none is named.
        """
        return self._run(self._session.model(name, version_text(version), self._deadline(timeout)))

    def limits(self, *, timeout: float | None = None) -> Limits:
        """What one request may ask for. gRPC does not tell: there what is known by now, at first the usual ones."""
        return self._run(self._session.limits(self._deadline(timeout)))

    def _encodings(
        self, stream: Stream, slices: Iterable[Cells], timeout: float | None, in_flight: int
    ) -> Iterator[Encoding]:
        def encode(one: Slice, over: threading.Event) -> Encoding:
            return self._run(stream.encode(one, self._deadline(timeout)), over)

        self._run(stream.open(self._deadline(timeout)))
        yield from in_order(encode, (stream.take(read_cells(cells)) for cells in slices), in_flight)
        self._run(stream.close(self._deadline(timeout)))

    def _run(self, steps: Steps[T], over: threading.Event | None = None) -> T:
        """Do what the steps say; `over` ends their pauses when nobody waits for the result any more."""
        over = over or threading.Event()
        try:
            step = next(steps)
            while True:
                try:
                    answer = self._perform(step, over)
                except TotalviError as error:
                    step = steps.throw(error)
                else:
                    step = steps.send(answer)
        except StopIteration as end:
            result: T = end.value
            return result

    def _perform(self, step: Ask | Pause, over: threading.Event) -> Any:
        self._refuse_if_closed()
        if isinstance(step, Ask):
            return self._transport.ask(step.question, step.timeout_s)
        if over.wait(step.seconds):
            raise _Abandoned
        return None


class _Abandoned(Exception):
    """Nobody waits for this call any more; nobody sees this either."""
