"""The life of a server process: listen, load, serve, drain, stop, all on one loop.

Going down has one order: probes say so at once, calls are served on until balancers have noticed, then nothing new is
accepted, what was taken in is finished, the worker stops, and the operators' port closes last.
"""

from __future__ import annotations

import asyncio
import concurrent.futures
import contextlib
import gc
import logging
import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Coroutine, Iterator
from typing import Any, NoReturn, Protocol, TypeAlias, TypeVar

import grpc
import uvloop

from service.certificates import Certificates
from service.core.health import Health, ServingState
from service.doors import AsgiApp, Doors, ListenError
from service.settings import ConnectionSettings, DrainSettings, ListenSettings, Settings, SettingsError, flag

log = logging.getLogger(__name__)

T = TypeVar("T")

Sleep: TypeAlias = Callable[[float], Coroutine[Any, Any, None]]

LAST_WORDS_S = 1.0
"""What calls get to be answered once the drain's timeout has passed."""

_COLLECTOR_THRESHOLDS = (20_000, 50, 50)  # of Python's three generations; its own are 700, 10 and 10

ECHO_S = 0.1
"""A signal this soon after the first is the same one: `timeout` and others send theirs to the group, too."""


class Service(Protocol):
    """What a process runs, as `assembly` built it."""

    @property
    def health(self) -> Health:
        """The state that probes ask and transports heed."""
        ...

    @property
    def http_app(self) -> AsgiApp:
        """The callers' REST application."""
        ...

    @property
    def operator_app(self) -> AsgiApp:
        """The operators' application: probes and metrics."""
        ...

    @property
    def grpc_server(self) -> grpc.aio.Server:
        """The callers' gRPC server, without a port and not started."""
        ...

    @property
    def certificates(self) -> Certificates | None:
        """What the callers' ports show; None: they are not encrypted."""
        ...

    @property
    def n_calls(self) -> int:
        """Calls under way, of both transports."""
        ...

    def load(self) -> None:
        """Load and warm every model and start the worker. Blocks; runs in a thread of its own."""
        ...

    def finish(self, timeout_s: float) -> bool:
        """Take nothing more into the queue, finish it and end the worker; False: not within `timeout_s`. Blocks."""
        ...

    def abandon(self) -> None:
        """Refuse all that still waits in the queue."""
        ...

    def close_traces(self, timeout_s: float) -> None:
        """Send the traces that are left, for at most `timeout_s`. Blocks."""
        ...


class StopRequests:
    """Requests to stop: the first asks for a drain, a second one to leave at once."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self.asked = asyncio.Event()
        self.insisted = asyncio.Event()
        self.exit_code = 0
        self._clock = clock
        self._asked_s = 0.0

    def receive(self, signum: int) -> None:
        """Take one request; `signum` decides the exit code of a second one."""
        name = signal.Signals(signum).name
        if not self.asked.is_set():
            log.info("received %s", name)
            self._asked_s = self._clock()
            self.asked.set()
        elif self._clock() - self._asked_s >= ECHO_S:
            log.info("received %s again: leaving at once", name)
            self.exit_code = 128 + signum
            self.insisted.set()

    @contextlib.contextmanager
    def on_signals(self) -> Iterator[None]:
        """Take SIGTERM and SIGINT of this process."""
        loop = asyncio.get_running_loop()
        for signum in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(signum, self.receive, signum)
        try:
            yield
        finally:
            for signum in (signal.SIGTERM, signal.SIGINT):
                loop.remove_signal_handler(signum)


def run(settings: Settings) -> NoReturn:
    """Serve until told to stop, then end the process."""
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        try:
            code = runner.run(_build_and_serve(settings))
        except Exception:
            log.exception("the server ended on a fault of its own")
            code = 1
        _leave(code)


async def _build_and_serve(settings: Settings) -> int:
    stop = StopRequests()
    # Signals first: building takes a while, and as process 1 of a container a signal without a handler is lost.
    with stop.on_signals():
        from service.assembly import build_service  # noqa: PLC0415

        try:
            service = build_service(settings, post=asyncio.get_running_loop().call_soon_threadsafe)
        except SettingsError as error:
            log.error("%s", error)
            return 1
        return await serve(service, settings.listen, settings.drain, settings.connections, stop=stop)


def _leave(code: int) -> NoReturn:
    """End the process here: an orderly end would wait for a thread that still loads, or kill it inside C++."""
    logging.shutdown()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)


async def serve(
    service: Service,
    listen: ListenSettings,
    drain: DrainSettings,
    connections: ConnectionSettings = ConnectionSettings(),  # noqa: B008 - frozen
    *,
    stop: StopRequests,
    sleep: Sleep = asyncio.sleep,
) -> int:
    """Run `service` until it is told to stop or fails.

    Returns:
        0 after a drain in time, 1 after a fault or a drain that took too long, 128 + the signal after a second one.
    """
    health = service.health
    ready, failed = _when(health, ServingState.READY), _when(health, ServingState.FAILED)
    try:
        doors = Doors(
            listen,
            connections,
            http_app=service.http_app,
            operator_app=service.operator_app,
            grpc_server=service.grpc_server,
            certificates=service.certificates,
        )
    except ListenError as error:
        log.error("%s", error)
        return 1
    try:
        await doors.open()
        log.info("listening, loading the models: %s", doors.where())
        threading.Thread(target=_load, args=(service,), name="model-loader", daemon=True).start()
        await _first(ready.wait(), failed.wait(), stop.asked.wait(), doors.broken())
        if health.ready:
            try:
                await doors.open_grpc()
            except ListenError as error:
                health.mark_failed(str(error))
            else:
                log.info("ready: %s", doors.where(), extra=doors.ports())
            await _first(failed.wait(), stop.asked.wait(), doors.broken())
        if not (failed.is_set() or stop.asked.is_set()):
            health.mark_failed("a server ended by itself")
        closing = asyncio.create_task(_wind_down(service, doors, drain, failed, sleep))
        await _first(asyncio.wait({closing}), stop.insisted.wait())
        return stop.exit_code if stop.insisted.is_set() else await closing
    finally:
        doors.slam()


def _load(service: Service) -> None:
    try:
        service.load()
    except BaseException as error:  # whatever it was, this process will never serve
        log.debug("loading failed", exc_info=True)
        service.health.mark_failed(f"the models could not be loaded: {str(error) or type(error).__name__}")
    else:
        _spare_the_collector()
        service.health.mark_ready()


def _spare_the_collector() -> None:
    """Leave what is loaded out of Python's search for reference cycles, and let it search less often.

    Importing torch alone leaves 165,000 objects. Walking them held all callers up for a tenth of a second now and then,
    and took a fifth of the processor time of a call. Calls leave no cycles behind, so little is found later.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(*_COLLECTOR_THRESHOLDS)


async def _wind_down(service: Service, doors: Doors, drain: DrainSettings, failed: asyncio.Event, sleep: Sleep) -> int:
    """Go down in order; bounded by the delay, the timeout and `LAST_WORDS_S`."""
    health = service.health
    serving = health.ready
    health.mark_draining()
    if serving:
        await _first(sleep(drain.drain_delay_s), failed.wait())
    finishing = asyncio.create_task(_finish(service, doors, drain.drain_timeout_s, failed, queue=serving))
    await _first(asyncio.wait({finishing}), sleep(drain.drain_timeout_s))
    in_time = finishing.done() and finishing.result()
    if not in_time:
        if health.live:
            log.error("not done after %s (%g s): leaving", flag("drain_timeout_s"), drain.drain_timeout_s)
        service.abandon()
        await asyncio.wait({finishing}, timeout=LAST_WORDS_S)
    await _in_own_thread(service.close_traces, LAST_WORDS_S)
    await doors.close_operators()
    return 0 if in_time and health.live else 1


async def _finish(service: Service, doors: Doors, timeout_s: float, failed: asyncio.Event, *, queue: bool) -> bool:
    """Stop accepting and answer what was taken in, then end the worker, unless it is dead."""
    await doors.close_callers(timeout_s + LAST_WORDS_S, lambda: service.n_calls)
    if not (queue and service.health.live):
        return True
    ending = _in_own_thread(service.finish, timeout_s)
    # A worker that is found to be stuck by now will not end.
    await _first(asyncio.wait({ending}), failed.wait())
    return ending.done() and ending.result()


def _in_own_thread(function: Callable[[float], T], timeout_s: float) -> asyncio.Future[T]:
    """Call it in a thread of its own: those of the loop may still be at work for callers that have left."""
    thread = concurrent.futures.ThreadPoolExecutor(1, "drain")
    return asyncio.get_running_loop().run_in_executor(thread, function, timeout_s)


def _when(health: Health, state: ServingState) -> asyncio.Event:
    """An event of this loop that is set once `health` comes to `state`."""
    loop, event = asyncio.get_running_loop(), asyncio.Event()

    def told(new: ServingState) -> None:
        if new is state:
            loop.call_soon_threadsafe(event.set)

    health.subscribe(told)
    return event


async def _first(*waits: Coroutine[Any, Any, Any]) -> None:
    """Until one of `waits` is over; the others are dropped."""
    tasks = [asyncio.ensure_future(wait) for wait in waits]
    try:
        await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for task in tasks:
            task.cancel()
