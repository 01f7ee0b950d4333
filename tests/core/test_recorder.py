"""Each call is recorded once, however it ends."""

import asyncio
import logging

import pytest

from service.core.errors import ErrorKind, ServiceError
from service.core.recorder import Call, NullRecorder, Recorded
from tests.fakes import FakeClock, RecordingRecorder


def call(clock: FakeClock) -> Call:
    return Call("rest", "encode", "id-1", clock())


@pytest.mark.parametrize(
    ("error", "outcome", "logged"),
    [
        (None, "ok", False),
        (ServiceError(ErrorKind.INVALID, "no"), "invalid", False),
        (ServiceError(ErrorKind.INTERNAL, "no"), "internal", True),
        (ServiceError(ErrorKind.CANCELLED, "gone"), "cancelled", False),
        (asyncio.CancelledError(), "cancelled", False),
        (KeyError("bug"), "internal", True),
    ],
)
def test_outcomes(error: BaseException | None, outcome: str, logged: bool, caplog: pytest.LogCaptureFixture) -> None:
    recorder, clock = RecordingRecorder(), FakeClock()
    raised = None
    try:
        with Recorded(recorder, call(clock), clock):
            clock.advance(2.0)
            if error is not None:
                raise error
    except BaseException as caught:
        raised = caught
    assert raised is error, "it passes through unchanged"
    ((finished, duration),) = recorder.finished
    assert (finished.outcome, duration) == (outcome, 2.0)
    assert recorder.n_in_flight == 0
    records = [record for record in caplog.records if record.levelno >= logging.ERROR]
    assert [record.__dict__["request_id"] for record in records] == (["id-1"] if logged else [])


def test_phases_add_up_and_make_a_server_timing() -> None:
    made = Call("rest", "encode", "id", 0.0)
    with made.phase("encode"):
        pass
    made.phase_s |= {"decode": 0.001, "queue": 0.0025}
    first = made.phase_s["encode"]
    with made.phase("encode"):
        pass
    assert made.phase_s["encode"] >= first
    assert made.server_timing.startswith("decode;dur=1.000, queue;dur=2.500, encode;dur=")


def test_the_null_recorder_takes_everything() -> None:
    recorder = NullRecorder()
    with Recorded(recorder, call(FakeClock())):
        recorder.batch_computed(1, 2, 3.0)
        recorder.queue_changed(0, 0)
