import dataclasses
import random
import threading

import pytest

from service.core.activity import INTERVAL_S, N_INTERVALS, TIMED, Activity, Intervals, Queue
from service.core.errors import ErrorKind
from service.core.health import ServingState
from service.core.recent import ENDINGS, Recent
from service.core.recorder import Call, Phase, Recorder, Recorders
from tests.fakes import RecordingRecorder

QUEUE = Queue(cells=3, limit_cells=100, bytes=30, limit_bytes=1000)


class Clock:
    """Seconds that pass when a test says so."""

    def __init__(self) -> None:
        self.now_s = 1000.0

    def __call__(self) -> float:
        return self.now_s


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def recent(clock: Clock) -> Recent:
    return Recent(clock)


def told(recent: Recent) -> Activity:
    return recent.activity(state=ServingState.READY, queue=QUEUE)


def end(
    recent: Recorder,
    outcome: str = "ok",
    *,
    operation: str = "encode",
    n_cells: int = 1,
    duration_s: float = 0.1,
    **phase_s: float,
) -> None:
    """One call from its start to its end."""
    call = Call("rest", operation, "id", 0.0)
    recent.call_started(call)
    call.outcome, call.n_cells = outcome, n_cells
    phases: dict[Phase, float] = call.phase_s
    phases.update(phase_s)  # type: ignore[arg-type]
    recent.call_finished(call, duration_s)


def counts(intervals: Intervals) -> dict[str, tuple[float | None, ...]]:
    names = [field.name for field in dataclasses.fields(intervals) if field.name not in ("ended_s_ago", "phases")]
    return {name: getattr(intervals, name) for name in names}


def test_a_young_process_has_the_running_interval_alone(recent: Recent, clock: Clock) -> None:
    clock.now_s += 2
    activity = told(recent)
    assert (activity.uptime_s, activity.interval_s, activity.running_s) == (2.0, INTERVAL_S, 2.0)
    assert (activity.state, activity.queue, activity.in_flight) == (ServingState.READY, QUEUE, 0)
    assert activity.intervals.ended_s_ago == (-3.0,)
    assert set(counts(activity.intervals).values()) == {(0,)}
    assert set(activity.intervals.phases) == set(TIMED)
    assert all(set(dataclasses.astuple(times)) == {(None,)} for times in activity.intervals.phases.values())


def test_every_process_has_a_name(recent: Recent) -> None:
    other = Recent()
    assert len(recent.instance) == 8 and int(recent.instance, 16) >= 0
    assert recent.instance == told(recent).instance != other.instance


@pytest.mark.parametrize("outcome", ["ok", *(kind.value for kind in ErrorKind)])
def test_each_outcome_is_counted_once_and_in_one_place(recent: Recent, outcome: str) -> None:
    end(recent, outcome, n_cells=7)
    found = {name: column for name, column in counts(told(recent).intervals).items() if column != (0,)}
    assert found.pop("cells", (0,)) == ((7,) if outcome == "ok" else (0,))
    assert found == {ENDINGS[outcome]: (1,)}


@pytest.mark.parametrize(
    ("outcome", "counted"),
    [("overloaded", "refused"), ("deadline", "failed"), ("internal", "failed"), ("cancelled", "left")],
)
def test_what_is_whose_fault(outcome: str, counted: str) -> None:
    assert ENDINGS[outcome] == counted


def test_calls_are_in_flight_until_they_end(recent: Recent) -> None:
    call = Call("grpc", "infer", "id", 0.0)
    recent.call_started(call)
    assert told(recent).in_flight == 1
    recent.call_finished(call, 0.1)
    assert told(recent).in_flight == 0


@pytest.mark.parametrize("operation", ["validate", "list_models", "authenticate", "server_live"])
def test_what_asks_for_no_latents_is_not_counted(recent: Recent, operation: str) -> None:
    recent.call_started(Call("rest", operation, "id", 0.0))
    assert told(recent).in_flight == 0
    end(recent, operation=operation)
    assert set(counts(told(recent).intervals).values()) == {(0,)}
    assert told(recent).in_flight == 0


def test_numbers_stay_in_their_interval(recent: Recent, clock: Clock) -> None:
    end(recent, n_cells=5)
    recent.batch_computed(5, 100, 0.25)
    clock.now_s += INTERVAL_S  # the first moment of the second interval
    end(recent, n_cells=7)
    recent.batch_computed(7, 100, 0.5)
    recent.batch_computed(1, 100, 0.5)
    clock.now_s += 2 * INTERVAL_S + 1  # nothing in the third
    intervals = told(recent).intervals
    assert intervals.ended_s_ago == (11.0, 6.0, 1.0, -4.0)
    assert intervals.cells == (5, 7, 0, 0)
    assert intervals.calls == (1, 1, 0, 0)
    assert intervals.batches == (1, 2, 0, 0)
    assert intervals.batch_cells == (5, 8, 0, 0)
    assert intervals.busy_s == (0.25, 1.0, 0.0, 0.0)
    assert intervals.phases["total"].max_ms == (100.0, 100.0, None, None)


def test_it_remembers_ten_minutes_and_no_more(recent: Recent, clock: Clock) -> None:
    for n_cells in range(200):
        end(recent, n_cells=n_cells)
        clock.now_s += INTERVAL_S
    intervals = told(recent).intervals
    assert all(len(column) == N_INTERVALS for column in counts(intervals).values())
    assert intervals.cells == (*range(200 - N_INTERVALS + 1, 200), 0)
    assert intervals.ended_s_ago[0] == (N_INTERVALS - 2) * INTERVAL_S
    clock.now_s += 1e6
    intervals = told(recent).intervals
    assert intervals.cells == (0,) * N_INTERVALS
    assert intervals.ended_s_ago[-2] == told(recent).running_s


def test_the_queue_is_told_by_its_peak(recent: Recent, clock: Clock) -> None:
    for n_cells in (10, 40, 20):
        recent.queue_changed(n_cells, 0)
    assert told(recent).intervals.queue_cells_max == (40,)
    clock.now_s += 2 * INTERVAL_S
    recent.queue_changed(5, 0)  # it held 20 all the time
    end(recent)
    recent.queue_changed(0, 0)
    assert told(recent).intervals.queue_cells_max == (40, 5, 5)
    clock.now_s += INTERVAL_S
    assert told(recent).intervals.queue_cells_max == (40, 5, 5, 0)


def test_a_peak_after_a_pause_is_of_the_interval_of_its_call(recent: Recent, clock: Clock) -> None:
    end(recent)
    clock.now_s += 3 * INTERVAL_S
    call = Call(transport="rest", operation="encode", request_id="r", started_s=clock.now_s)
    recent.call_started(call)
    recent.queue_changed(7, 0)
    recent.queue_changed(0, 0)
    recent.call_finished(call, 0.001)
    assert told(recent).intervals.queue_cells_max == (0, 0, 0, 7)


def test_times_are_told_by_phase(recent: Recent) -> None:
    end(recent, decode=0.001, queue=0.002, compute=0.003, duration_s=0.01)
    end(recent, decode=0.003, duration_s=0.03)
    phases = told(recent).intervals.phases
    assert phases["decode"].mean_ms == (2.0,)
    assert phases["decode"].max_ms == (3.0,)
    assert phases["compute"].mean_ms == phases["compute"].max_ms == (3.0,)
    assert phases["encode"].mean_ms == phases["encode"].p50_ms == (None,)
    assert phases["total"].mean_ms == (20.0,)


def test_calls_that_end_badly_are_not_timed(recent: Recent) -> None:
    end(recent, "overloaded", decode=0.001)
    phases = told(recent).intervals.phases
    assert phases["total"].max_ms == phases["decode"].max_ms == (None,)


def test_streams_are_counted_and_not_timed(recent: Recent) -> None:
    end(recent, operation="encode_stream", n_cells=50_000, decode=3.0, duration_s=60.0)
    intervals = told(recent).intervals
    assert (intervals.cells, intervals.calls) == ((50_000,), (1,))
    assert intervals.phases["total"].max_ms == intervals.phases["decode"].max_ms == (None,)


@pytest.mark.parametrize("n", [1, 2, 19, 20, 511, 512, 513, 2000])
@pytest.mark.parametrize("spread", [0.01, 3.0])
def test_quantiles_are_within_their_error(recent: Recent, n: int, spread: float) -> None:
    random.seed(n)
    # From some 0.05 ms to a minute.
    seconds = sorted(min(60.0, max(5e-5, 0.02 * random.lognormvariate(0, spread))) for _ in range(n))
    for one in random.sample(seconds, n):
        end(recent, duration_s=one)
    times = told(recent).intervals.phases["total"]
    for [given], share in ((times.p50_ms, 0.5), (times.p95_ms, 0.95)):
        exact = seconds[-(-int(share * 100) * n // 100) - 1] * 1000
        assert given == pytest.approx(exact, rel=0.096), "half a bucket, and the rounding to three digits"
    assert times.max_ms == (pytest.approx(seconds[-1] * 1000, rel=0.005),)
    assert times.mean_ms == (pytest.approx(sum(seconds) / n * 1000, rel=0.005),)


@pytest.mark.parametrize("seconds", [0.0, 1e-7, 1e6])
def test_no_time_is_too_short_or_too_long(recent: Recent, seconds: float) -> None:
    end(recent, duration_s=seconds)
    times = told(recent).intervals.phases["total"]
    assert times.p50_ms == times.p95_ms == times.max_ms


def test_any_thread_may_tell_it(recent: Recent) -> None:
    def tell() -> None:
        for _ in range(1000):
            end(recent, n_cells=2, decode=0.001)
            recent.batch_computed(2, 3, 0.001)

    threads = [threading.Thread(target=tell) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    activity = told(recent)
    assert (activity.in_flight, activity.intervals.calls, activity.intervals.cells) == (0, (4000,), (8000,))
    assert activity.intervals.batch_cells == (8000,)


def test_two_recorders_hear_the_same() -> None:
    first, second = RecordingRecorder(), RecordingRecorder()
    both: Recorder = Recorders(first, second)
    end(both, n_cells=3)
    both.batch_computed(3, 9, 0.1)
    both.queue_changed(4, 40)
    for recorder in (first, second):
        [(call, duration_s)] = recorder.finished
        assert (recorder.started, call.n_cells, duration_s) == ([call], 3, 0.1)
        assert (recorder.batches, recorder.queue) == ([(3, 9, 0.1)], [(4, 40)])
