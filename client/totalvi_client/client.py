"""The two clients, blocking and asynchronous: one behaviour over two transports."""

from __future__ import annotations

from collections.abc import AsyncIterable, AsyncIterator, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Literal

from totalvi_client.cells import Cells
from totalvi_client.results import Card, Encoding, Limits, Validation
from totalvi_client.retry import Retry

Priority = Literal["interactive", "bulk"]


class Client:
    """A client of one server, or of several behind one address. Threads may share it.

    Args:
        target: `http://HOST:PORT` or `https://…` for REST; `grpc://HOST:PORT`, `grpcs://…`, or `dns:///HOST:PORT` (all
            addresses of the name, in turn) for gRPC.
        token: bearer token; it is never shown in any text of this package.
        ca_file: PEM file of the CAs to trust, instead of the system's; implies TLS for `dns:///`.
        certificate: PEM files of the own chain and its key, for servers that ask for one.
        tls: whether `dns:///` speaks TLS; None: where `ca_file` or `certificate` is given.
        timeout: seconds for a whole call, retries and waits included; the server is told. None: no end.
        retry: when to ask again.
        priority: `interactive` or `bulk`; None: interactive for `encode` and `validate`, bulk for `encode_stream`.
        allow_plain_token: send the token without TLS to hosts that are not this machine.

    Raises:
        InputError: for a target or options that cannot work.
    """

    def __init__(
        self,
        target: str,
        *,
        token: str | None = None,
        ca_file: str | Path | None = None,
        certificate: tuple[str | Path, str | Path] | None = None,
        tls: bool | None = None,
        timeout: float | None = 60.0,
        retry: Retry = Retry(),  # noqa: B008
        priority: Priority | None = None,
        allow_plain_token: bool = False,
    ) -> None:
        raise NotImplementedError

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
        raise NotImplementedError

    def encode(
        self,
        gene_counts: Any,
        *,
        genes: Sequence[str] | None = None,
        protein_counts: Any = None,
        proteins: Sequence[str] | None = None,
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
        """Encode cells: raw counts in, their latent distributions out. A matrix of any size: see `encode_stream`."""
        raise NotImplementedError

    def encode_stream(
        self,
        slices: Iterable[Cells],
        *,
        genes: Sequence[str] | None = None,
        proteins: Sequence[str] | None = None,
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
        in_flight: int = 4,
    ) -> Iterator[Encoding]:
        """Encode a matrix that comes in slices: one encoding for each slice, in order.

        `timeout` is for each slice.
        """
        raise NotImplementedError

    def validate(
        self,
        gene_counts: Any,
        *,
        genes: Sequence[str] | None = None,
        protein_counts: Any = None,
        proteins: Sequence[str] | None = None,
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
        """What `encode` would make of the cells, without computing them; it refuses what `encode` would."""
        raise NotImplementedError

    def models(self, *, timeout: float | None = None) -> list[Card]:
        """The cards of all models, each of its default version, by name."""
        raise NotImplementedError

    def model(self, name: str | None = None, version: str | int | None = None, *, timeout: float | None = None) -> Card:
        """The card of one model.

        Args:
            name: of the model; None: the only one that is served.
            version: None: the default one.
            timeout: seconds for the call.

        Raises:
            NotFound: no such model or version, or there are several and none is named.
        """
        raise NotImplementedError

    def limits(self, *, timeout: float | None = None) -> Limits:
        """What one request may ask for. gRPC does not tell: there the server's own defaults."""
        raise NotImplementedError


class AsyncClient:
    """The same with `await`, on one event loop; `encode_stream` takes iterables of either kind."""

    async def __aenter__(self) -> AsyncClient:
        """Itself; leaving closes it."""
        return self

    def encode_stream(self, slices: Iterable[Cells] | AsyncIterable[Cells], **options: Any) -> AsyncIterator[Encoding]:
        """As `Client.encode_stream`, with `async for`."""
        raise NotImplementedError
