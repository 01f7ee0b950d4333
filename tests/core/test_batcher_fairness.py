"""How requests of all sizes share the batches (`FairQueue`), and that a budget is a budget."""

import itertools

import pytest

from service.core.errors import ErrorKind
from tests.fakes import FakeWorkload, make_batcher, parts


def drain(batcher):
    """Take and finish until nothing waits; the contents of all batches."""
    batches = []
    while (batch := batcher.poll()) is not None:
        batches.append(parts(batch))
        batcher.finish(batch, parts(batch))
    return batches


def cells_in(contents):
    return sum(stop - start for _, start, stop in contents)


@pytest.mark.parametrize("sizes", [[255], [256], [257], [10_000], [255, 1, 257, 10_000, 1, 128, 129, 256]], ids=str)
async def test_budget_of_256_holds_for_every_size(sizes):
    """The budget is in cells: 255, 256, 257, 10,000 and a mix; the most cells a batch ever had."""
    batcher = make_batcher(max_batch_cells=256)
    tickets = [batcher.submit(FakeWorkload(n, tag), key="m") for tag, n in enumerate(sizes)]
    batches = drain(batcher)
    assert max(map(cells_in, batches)) == min(256, sum(sizes))
    assert len(batches) <= -(-sum(sizes) // 256) + 1
    for tag, (n, ticket) in enumerate(zip(sizes, tickets, strict=True)):
        covered = [cell for _, start, stop in ticket.future.result() for cell in range(start, stop)]
        assert covered == list(range(n))
        assert {name for name, _, _ in ticket.future.result()} == {tag}


async def test_request_over_the_budget_does_not_block_the_small_ones_behind_it():
    """Budget + 1, followed by small ones."""
    batcher = make_batcher(max_batch_cells=8)
    batcher.submit(FakeWorkload(9, "large"), key="m")
    for tag in "abc":
        batcher.submit(FakeWorkload(1, tag), key="m")
    assert [sorted(batch) for batch in drain(batcher)] == [
        [("a", 0, 1), ("b", 0, 1), ("c", 0, 1), ("large", 0, 5)],
        [("large", 5, 9)],
    ]


async def test_half_a_batch_is_taken_whole_or_not_at_all():
    batcher = make_batcher(max_batch_cells=8)
    for tag, n in [("a", 3), ("b", 3), ("c", 4), ("d", 1)]:
        batcher.submit(FakeWorkload(n, tag), key="m")
    assert drain(batcher) == [[("a", 0, 3), ("b", 0, 3)], [("c", 0, 4), ("d", 0, 1)]]


async def test_room_that_no_whole_request_fits_is_filled_with_a_slice_of_a_large_one():
    batcher = make_batcher(max_batch_cells=8)
    for tag, n in [("a", 3), ("b", 3), ("c", 4), ("large", 7)]:
        batcher.submit(FakeWorkload(n, tag), key="m")
    assert drain(batcher) == [
        [("a", 0, 3), ("b", 0, 3), ("large", 0, 2)],
        [("c", 0, 4), ("large", 2, 6)],
        [("large", 6, 7)],
    ]


async def test_two_large_requests_take_turns():
    batcher = make_batcher(max_batch_cells=8)
    for tag in "ab":
        batcher.submit(FakeWorkload(12, tag), key="m")
    assert drain(batcher) == [
        [("a", 0, 4), ("b", 0, 4)],
        [("a", 4, 8), ("b", 4, 8)],
        [("a", 8, 12), ("b", 8, 12)],
    ]


async def test_large_request_cut_short_by_the_room_keeps_its_place():
    batcher = make_batcher(max_batch_cells=8)
    for tag, n in [("a", 4), ("b", 3), ("large", 20), ("c", 2), ("d", 2), ("e", 2), ("f", 2)]:
        batcher.submit(FakeWorkload(n, tag), key="m")
    assert parts(batcher.poll()) == [("a", 0, 4), ("b", 0, 3), ("large", 0, 1)]
    assert parts(batcher.poll()) == [("large", 1, 5), ("c", 0, 2), ("d", 0, 2)]
    # Now it has had its turn, and waits behind the others.
    assert parts(batcher.poll()) == [("e", 0, 2), ("f", 0, 2), ("large", 5, 9)]


@pytest.mark.parametrize("keys", ["mm", "mn"], ids=["one key", "two keys"])
async def test_one_cell_call_among_100000_cells_is_answered_within_3_batches(keys):
    batcher = make_batcher(max_batch_cells=256)
    large = batcher.submit(FakeWorkload(100_000, "large"), key=keys[0])
    for _ in range(5):
        running = batcher.poll()
        assert cells_in(parts(running)) == 256
        batcher.finish(running, parts(running))
    running = batcher.poll()
    small = batcher.submit(FakeWorkload(1, "small"), key=keys[1])
    n_batches = 0
    while not small.future.done():
        batcher.finish(running, parts(running))
        n_batches += 1
        running = batcher.poll()
    assert n_batches <= 3
    assert small.future.result() == [("small", 0, 1)]
    batcher.finish(running, parts(running))
    drain(batcher)
    assert sum(stop - start for _, start, stop in large.future.result()) == 100_000


@pytest.mark.parametrize("small_cells", [1, 85, 127, 128])
async def test_large_request_is_not_starved_by_a_stream_of_small_ones(small_cells):
    """A full batch of small requests waits at every turn, whatever odd room their size leaves."""
    batcher = make_batcher(max_batch_cells=256)
    tags = itertools.count()
    backlog = []

    def refill():
        while sum(n for _, n in backlog) < 256:
            tag = next(tags)
            batcher.submit(FakeWorkload(small_cells, tag), key="m")
            backlog.append((tag, small_cells))

    refill()
    large = batcher.submit(FakeWorkload(10_000, "large"), key="m")
    n_batches = 0
    while not large.future.done():
        batch = batcher.poll()
        n_batches += 1
        taken = {tag for tag, _, _ in parts(batch)}
        backlog[:] = [(tag, n) for tag, n in backlog if tag not in taken]
        batcher.finish(batch, parts(batch))
        refill()
    assert n_batches <= 2 * -(-10_000 // 128)


async def test_small_ones_are_not_starved_by_many_large_ones():
    batcher = make_batcher(max_batch_cells=8)
    for tag in range(10):
        batcher.submit(FakeWorkload(1000, tag), key="m")
    batcher.submit(FakeWorkload(1, "small"), key="m")
    assert [index for index, batch in enumerate(drain(batcher)) if ("small", 0, 1) in batch] == [5]


async def test_keys_take_turns_even_if_one_has_work_for_ever():
    batcher = make_batcher(max_batch_cells=8)
    batcher.submit(FakeWorkload(1000, "large"), key="a")
    batcher.poll()
    batcher.submit(FakeWorkload(1000, "large"), key="b")
    assert "".join(batcher.poll().key for _ in range(6)) == "ababab"


async def test_slices_are_cut_by_entries_too():
    batcher = make_batcher(max_batch_cells=256, max_batch_entries=100)
    batcher.submit(FakeWorkload(10, "large", entries_per_cell=[10, 20, 30, 0, 0, 50, 5, 5, 45, 45]), key="m")
    # Half a batch is 50 entries; the leftover goes round again to the same request.
    assert drain(batcher) == [[("large", 0, 5)], [("large", 5, 8)], [("large", 8, 10)]]


async def test_first_turn_and_leftover_room_make_one_slice():
    batcher = make_batcher(max_batch_cells=256, max_batch_entries=100)
    batcher.submit(FakeWorkload(20, "large", entries_per_cell=10), key="m")
    assert drain(batcher) == [[("large", 0, 10)], [("large", 10, 20)]]


async def test_turn_is_half_a_batch_of_entries_too():
    batcher = make_batcher(max_batch_cells=256, max_batch_entries=100)
    batcher.submit(FakeWorkload(20, "large", entries_per_cell=10), key="m")
    batcher.submit(FakeWorkload(1, "small", entries_per_cell=40), key="m")
    # The 10 entries that are left over go to the large one, as the next cell of its one slice.
    assert parts(batcher.poll()) == [("large", 0, 6), ("small", 0, 1)]


async def test_cell_over_half_a_batch_shares_the_batch_if_it_fits():
    batcher = make_batcher(max_batch_entries=100)
    for tag, entries in [("a", 20), ("dear", 80), ("dearer", 81), ("b", 20)]:
        batcher.submit(FakeWorkload(1, tag, entries_per_cell=entries), key="m")
    assert drain(batcher) == [[("a", 0, 1), ("dear", 0, 1)], [("dearer", 0, 1)], [("b", 0, 1)]]


@pytest.mark.parametrize("entries", [51, 100, 101, 10_000])
async def test_cell_that_is_dearer_than_a_turn_or_a_batch_still_gets_through(entries):
    """Progress: a single cell over the entry budget is computed, alone."""
    batcher = make_batcher(max_batch_entries=100)
    tickets = [
        batcher.submit(item, key="m")
        for item in (
            FakeWorkload(1, "a", entries_per_cell=1),
            FakeWorkload(3, "dear", entries_per_cell=[1, entries, 1]),
            FakeWorkload(1, "dearer", entries_per_cell=entries),
            FakeWorkload(1, "b", entries_per_cell=1),
        )
    ]
    batches = drain(batcher)
    assert all(ticket.future.done() for ticket in tickets)
    for batch in batches:
        n_dear = sum(1 for tag, start, stop in batch if tag == "dearer" or (tag == "dear" and start <= 1 < stop))
        assert n_dear <= 1
        assert n_dear == 0 or entries <= 100 or cells_in(batch) == 1


async def test_budget_of_one_cell_takes_one_cell_at_a_time_and_in_turns():
    batcher = make_batcher(max_batch_cells=1, max_batch_entries=1)
    batcher.submit(FakeWorkload(3, "a", entries_per_cell=5), key="m")
    batcher.submit(FakeWorkload(1, "b"), key="m")
    assert drain(batcher) == [[("a", 0, 1)], [("b", 0, 1)], [("a", 1, 2)], [("a", 2, 3)]]


class Unmeasurable(FakeWorkload):
    """Says how many entries it has in all, and then fails to say where."""

    def entries(self, start, stop):
        if (start, stop) != (0, self.n_cells):
            raise ZeroDivisionError("no idea")
        return super().entries(start, stop)


async def test_item_that_cannot_be_sliced_fails_alone(caplog):
    """An exception at the size stage, then good requests."""
    batcher = make_batcher(max_batch_cells=8)
    before = batcher.submit(FakeWorkload(1, "before"), key="m")
    broken = batcher.submit(Unmeasurable(100, nbytes=7), key="m")
    after = batcher.submit(FakeWorkload(1, "after"), key="m")
    lone = batcher.submit(Unmeasurable(100), key="n")
    drain(batcher)
    assert [ticket.future.exception().kind for ticket in (broken, lone)] == [ErrorKind.INTERNAL] * 2
    assert [ticket.future.result()[0][0] for ticket in (before, after)] == ["before", "after"]
    assert (batcher.n_waiting_cells, batcher.n_waiting_bytes, batcher.n_running_cells) == (0, 0, 0)
    assert caplog.text.count("ZeroDivisionError: no idea") == 2


async def test_item_that_cannot_be_measured_is_not_admitted():
    class Sizeless(FakeWorkload):
        def entries(self, start, stop):
            raise ZeroDivisionError("no idea")

    batcher = make_batcher()
    with pytest.raises(ZeroDivisionError):
        batcher.submit(Sizeless(5), key="m")
    assert batcher.poll() is None
    good = batcher.submit(FakeWorkload(1, "good"), key="m")
    drain(batcher)
    assert good.future.result() == [("good", 0, 1)]
