"""Builds every part of a server from its settings; the only file that knows them all."""

from __future__ import annotations

import asyncio
import dataclasses
import os
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, cast

import grpc
from starlette.types import ASGIApp

from model.contract import DeviceLost, Encoder, LatentParams
from service import log_setup
from service.allowed_digests import read_digests
from service.certificates import CertificateError, Certificates
from service.core.admission import ByteGate
from service.core.batch import Batch, BatcherLimits
from service.core.batcher import Batcher
from service.core.catalog import Catalog, LoadedModel
from service.core.compute_step import compute
from service.core.engine import Engine
from service.core.errors import ErrorKind, ServiceError
from service.core.health import Health
from service.core.messages import Limits
from service.core.preparation import PreparedRequest
from service.core.recent import Recent
from service.core.recorder import Recorders
from service.core.tokens import Tokens, TokensError
from service.core.watcher import Watcher
from service.core.worker import ComputeStuck, Worker
from service.gauges import watch_expiries, watch_models, watch_process, watch_work
from service.metrics import PrometheusRecorder
from service.rest.admin_call import AdminToken
from service.rest.admin_routes import build_operator_app
from service.rest.app import build_app
from service.rest.draining import CloseWhileDraining
from service.rest.log_admin_routes import LogLevel
from service.rest.page import read_page
from service.rpc.server import build_server
from service.settings import LEVELS, AccessSettings, Settings, SettingsError, TraceSettings, flag
from service.token_file import TokenFile
from service.version import installed_version

if TYPE_CHECKING:
    from service.tracing import Tracing

FOLLOW_S = 1.0
"""How often the files of tokens and certificates are read."""


@dataclasses.dataclass(frozen=True, slots=True)
class Service:
    """What `lifecycle` runs: the applications of the three ports and the parts behind them."""

    health: Health
    http_app: ASGIApp
    operator_app: ASGIApp
    grpc_server: grpc.aio.Server
    recorder: PrometheusRecorder
    catalog: Catalog
    batcher: Batcher[PreparedRequest, LatentParams]
    worker: Worker[PreparedRequest, LatentParams]
    watcher: Watcher | None
    followers: tuple[Watcher, ...]
    certificates: Certificates | None
    tracing: Tracing | None

    @property
    def n_calls(self) -> int:
        """Calls under way, of both transports."""
        return self.recorder.n_in_flight

    def load(self) -> None:
        """Follow the files that may change, load and warm every model, then start the worker.

        Raises:
            CatalogError: a model cannot be served.
        """
        for follower in self.followers:
            follower.start()
        if self.tracing is not None:
            self.tracing.start()
        self.catalog.load_all()
        self.worker.start()
        if self.watcher is not None:
            self.watcher.start()

    def finish(self, timeout_s: float) -> bool:
        """Let the worker finish the queue and end; False: not within `timeout_s`."""
        for watcher in filter(None, (self.watcher, *self.followers)):
            watcher.stop()
        self.batcher.close()
        return self.worker.join(timeout_s)

    def close_traces(self, timeout_s: float) -> None:
        """Send the traces that are left, for at most that long."""
        if self.tracing is not None:
            self.tracing.close(timeout_s)

    def abandon(self) -> None:
        """Answer all that still waits that it will not be computed here."""
        self.batcher.abort(ServiceError(ErrorKind.UNAVAILABLE, "the server is stopping", retry_after_s=1.0))


def build_service(
    settings: Settings,
    *,
    post: Callable[[Callable[[], None]], object],
    load_encoder: Callable[[Path], Encoder] | None = None,
    tracing: Tracing | None = None,
) -> Service:
    """Build a server that is not started. Called on the event loop that is to run it.

    Args:
        settings: of all parts.
        post: runs a callback on that loop, from any thread.
        load_encoder: reads, loads and warms one artifact; None: as a `DeviceEncoder`, which loads torch when called.
        tracing: who traces; None: as the settings say.

    Raises:
        SettingsError: a file that a setting names cannot be used.
    """
    chosen = settings.catalog
    token = chosen.read_admin_token()
    loop = asyncio.get_running_loop()
    followers: list[Watcher] = []
    tokens = _tokens(settings.access, followers)
    certificates = _certificates(settings.access, followers)
    tracing = tracing or _tracing(settings.traces)
    health = Health()
    recorder, recent = PrometheusRecorder(), Recent()
    both = Recorders(recorder, recent)
    catalog = Catalog(
        settings.models,
        _telling_of_lost_device(load_encoder or _device_encoder(settings), health),
        versions=chosen.versions,
        allow_empty=chosen.allow_empty,
    )
    batcher_limits = _batcher_limits(settings)
    batcher = Batcher[PreparedRequest, LatentParams](batcher_limits, post=post, soon=loop.call_soon, recorder=both)
    worker = Worker(
        batcher,
        _compute if tracing is None else tracing.traced(_compute),
        on_death=lambda error: health.mark_failed(_end_of_worker(error)),
        recorder=both,
        stuck_after_s=settings.device.stuck_after_s,
    )
    limits = settings.limits
    bodies = ByteGate(limits.max_inflight_bytes, limits.max_request_bytes, lambda: batcher.retry_after_s)
    watch_process(recorder, health)
    watch_models(recorder, catalog)
    watch_work(recorder, batcher, worker, bodies, batcher_limits)
    watch_expiries(
        recorder, None if certificates is None else certificates.expires_s, None if tokens is None else tokens.expiries
    )
    engine = Engine(
        catalog,
        batcher,
        limits=_limits(settings),
        health=health,
        recorder=both,
        bodies=bodies,
        repository_api=chosen.repository_api,
        soon=loop.call_soon,
        tracer=tracing,
        recent=recent,
    )
    return Service(
        health=health,
        http_app=CloseWhileDraining(build_app(engine, tokens, read_page() if settings.listen.page else None), health),
        operator_app=build_operator_app(
            health,
            recorder.text,
            engine.repository,
            LogLevel(LEVELS, log_setup.level, log_setup.set_level),
            None if token is None else AdminToken(token),
        ),
        grpc_server=build_server(
            engine,
            max_message_bytes=settings.limits.max_request_bytes,
            max_connections=settings.connections.max_connections,
            handshake_timeout_s=settings.connections.header_timeout_s,
            connection_age_s=settings.connections.connection_age_s,
            tokens=tokens,
        ),
        recorder=recorder,
        catalog=catalog,
        batcher=batcher,
        worker=worker,
        watcher=Watcher(catalog.refresh, chosen.watch_models) if chosen.watch_models else None,
        followers=tuple(followers),
        certificates=certificates,
        tracing=tracing,
    )


def _end_of_worker(error: BaseException) -> str:
    return str(error) if isinstance(error, ComputeStuck) else f"the encoder's worker died ({type(error).__name__})"


def _telling_of_lost_device(load: Callable[[Path], Encoder], health: Health) -> Callable[[Path], Encoder]:
    """The same loader; a device that is lost while a model is warmed is lost for the models that serve, too."""

    def load_or_tell(path: Path) -> Encoder:
        try:
            return load(path)
        except DeviceLost:
            health.mark_failed("the device was lost while a model was loaded")
            raise

    return load_or_tell


def _tokens(access: AccessSettings, followers: list[Watcher]) -> Tokens | None:
    """The callers' tokens, and who follows their file."""
    if access.tokens_file is None:
        return None
    tokens = Tokens()
    try:
        file = TokenFile(access.tokens_file, tokens)
    except TokensError as error:
        raise SettingsError(f"{flag('tokens_file')}: {access.tokens_file} cannot be used: {error}") from None
    followers.append(Watcher(file.refresh, FOLLOW_S, what="the tokens file"))
    return tokens


def _certificates(access: AccessSettings, followers: list[Watcher]) -> Certificates | None:
    """What the callers' ports show, and who follows its files."""
    if access.tls_cert is None or access.tls_key is None:
        return None
    try:
        certificates = Certificates(access.tls_cert, access.tls_key, access.tls_client_ca)
    except CertificateError as error:
        raise SettingsError(str(error)) from None
    followers.append(Watcher(certificates.refresh, FOLLOW_S, what="the certificates"))
    return certificates


def _tracing(traces: TraceSettings) -> Tracing | None:
    """Who traces; OpenTelemetry is loaded only where somebody is to be told."""
    if traces.traces_endpoint is None:
        return None
    try:
        from service.tracing import build_tracing  # noqa: PLC0415
    except ModuleNotFoundError as error:
        if not (error.name or "").startswith("opentelemetry"):
            raise
        text = "needs OpenTelemetry, which is not installed: pip install 'totalvi-serve[otel]'"
        raise SettingsError(f"{flag('traces_endpoint')} {text}") from None
    return build_tracing(traces.traces_endpoint, ratio=traces.traces_ratio, version=installed_version())


def _compute(batch: Batch[PreparedRequest, LatentParams]) -> list[LatentParams]:
    """Run one batch on the model it was queued for: the engine's key is the `LoadedModel`."""
    return compute(cast(LoadedModel, batch.key).encoder, batch.slices)


def _device_encoder(settings: Settings) -> Callable[[Path], Encoder]:
    def load(path: Path) -> Encoder:
        # OpenMP's threads spin between products by default, and starve the event loop where cores are few: measured
        # here, 70 ms instead of 0.5 for one cell. The library reads this once, when torch is first imported.
        os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
        # torch takes seconds to import: here it does so on the loading thread, while probes are answered.
        from model.device_encoder import DeviceEncoder  # noqa: PLC0415

        allowed = settings.catalog.allowed_sha256_file
        return DeviceEncoder.load(
            path,
            device=settings.device.device,
            threads=settings.device.threads,
            max_batch_cells=settings.batch.max_batch_cells,
            precision=settings.device.precision,
            # Read anew, so that the list can change while the service runs.
            allowed_sha256=None if allowed is None else read_digests(allowed),
        )

    return load


def _batcher_limits(settings: Settings) -> BatcherLimits:
    return BatcherLimits(
        max_batch_cells=settings.batch.max_batch_cells,
        max_batch_entries=settings.batch.max_batch_entries,
        max_delay_s=settings.batch.max_delay_ms / 1000,
        max_queue_cells=settings.limits.max_queue_cells,
        max_queue_bytes=settings.limits.max_queue_bytes,
    )


def _limits(settings: Settings) -> Limits:
    return Limits(
        max_request_bytes=settings.limits.max_request_bytes,
        max_request_cells=settings.limits.max_request_cells,
        max_samples=settings.limits.max_samples,
        max_sample_values=settings.limits.max_sample_values,
    )
