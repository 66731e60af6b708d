"""The engine on a virtual clock: how many rows run at once, in which order they are written, how a run stops."""

import random
from collections import Counter
from collections.abc import AsyncIterator, Sequence

import anyio
import pytest
import trio
import trio.testing
from hypothesis import given, settings
from hypothesis import strategies as st

from crewrun.batch.engine import Engine, EngineOptions
from crewrun.batch.history import NoHistory
from crewrun.batch.order import InInputOrder
from crewrun.batch.progress import Progress
from crewrun.batch.row_ids import RowIds
from crewrun.batch.source import Source
from crewrun.batch.stop import FailureLimit, Stop, StopReason
from crewrun.errors import Category, OutputFailed
from crewrun.messages import Usage
from crewrun.row import ErrorRecord, Outcome, Row, content_id
from crewrun.tables.reading.records import Record


class Numbers:
    """A reader of `count` rows, in groups as a file would come."""

    is_cut = False

    def __init__(self, count: int) -> None:
        self.count = count

    async def groups(self) -> AsyncIterator[list[Record]]:
        for start in range(0, self.count, 50):
            yield [Record(n + 1, {"n": n}, None, 10) for n in range(start, min(start + 50, self.count))]

    def close(self) -> None:
        pass


class Clockwork:
    """An executor whose rows take their time, and fail when told to."""

    def __init__(self, seconds: dict[int, float] | float, failing: frozenset[int] = frozenset()) -> None:
        self.seconds = seconds
        self.failing = failing
        self.running = self.most = 0
        self.started: list[int] = []

    async def run(self, row: Row) -> Outcome:
        self.started.append(row.index)
        self.running += 1
        self.most = max(self.most, self.running)
        try:
            wait_s = self.seconds if isinstance(self.seconds, float) else self.seconds.get(row.index, 1.0)
            await anyio.sleep(wait_s)
        finally:
            self.running -= 1
        return outcome(row, failed=row.index in self.failing)


class Memory:
    """A sink that keeps what it was given, and may be full after some lines."""

    def __init__(self, room: int | None = None) -> None:
        self.lines: list[bytes] = []
        self.room = room

    async def write(self, lines: Sequence[bytes]) -> None:
        for line in lines:
            if self.room is not None and len(self.lines) >= self.room:
                raise OutputFailed("disk full")
            self.lines.append(line)

    def close(self) -> None:
        pass

    @property
    def lines_written(self) -> int:
        return len(self.lines)

    @property
    def indexes(self) -> list[int]:
        return [int(line.split(b'"index":')[1].split(b",")[0]) for line in self.lines]


def outcome(row: Row, *, failed: bool) -> Outcome:
    from datetime import UTC, datetime

    error = ErrorRecord(Category.SERVER, "ServerError", "down") if failed else None
    status = "failed" if failed else "ok"
    return Outcome(row, status, None, (), error, 1, 1, Usage(), 0.0, (), datetime.now(UTC), 1.0)  # type: ignore[arg-type]  # status is one of the two words


def run(
    rows: int,
    executor: Clockwork,
    options: EngineOptions,
    *,
    sink: Memory | None = None,
    stop_at_s: float | None = None,
) -> tuple[float, Memory, Progress, Stop]:
    """One engine run on a virtual clock: seconds it took, what was written, counted and stopped."""
    sink = sink or Memory()

    async def main() -> tuple[float, Memory, Progress, Stop]:
        progress, stop = Progress(), Stop()
        source = Source(Numbers(rows), None)
        engine = Engine(source, executor, NoHistory(), sink, progress, stop, options)
        began = trio.current_time()
        full: OutputFailed | None = None
        async with anyio.create_task_group() as beside:
            if stop_at_s is not None:

                async def interrupt(after_s: float) -> None:
                    await anyio.sleep(after_s)
                    stop.request(StopReason("interrupted", "interrupted"))

                beside.start_soon(interrupt, stop_at_s)
            try:
                await engine.run()
            except OutputFailed as failed:
                full = failed
            beside.cancel_scope.cancel()
        source.release()
        if full:
            raise full
        return trio.current_time() - began, sink, progress, stop

    return trio.run(main, clock=trio.testing.MockClock(autojump_threshold=0))


def test_rows_run_at_most_so_many_at_once_and_never_fewer_than_can() -> None:
    """100 one-second rows, 10 at once: ten seconds."""
    executor = Clockwork(1.0)
    took_s, sink, progress, _ = run(100, executor, EngineOptions(max_concurrent=10))
    assert took_s == pytest.approx(10)
    assert (executor.most, len(sink.lines), progress.ok) == (10, 100, 100)


@pytest.mark.parametrize("wide", [1, 2, 4, 16])
def test_rows_that_end_at_once_start_no_more_than_so_many(wide: int) -> None:
    """As they do when the journal answers them: several rows are taken before the next worker is at work."""
    executor = Clockwork(dict.fromkeys(range(30), 0.0))
    run(90, executor, EngineOptions(max_concurrent=wide))
    assert executor.most == wide


@given(seed=st.integers(0, 2**32), rows=st.integers(0, 300), wide=st.integers(1, 20))
@settings(max_examples=40, deadline=None)
def test_ordered_results_come_in_input_order_and_the_run_ahead_is_bounded(seed: int, rows: int, wide: int) -> None:
    """Whatever the rows take; no row starts more than the window ahead of the oldest unwritten one."""
    dice = random.Random(seed)
    sink = Memory()
    ahead = 0

    class Watched(Clockwork):
        async def run(self, row: Row) -> Outcome:
            nonlocal ahead
            ahead = max(ahead, row.index - len(sink.lines))
            return await super().run(row)

    executor = Watched({n: dice.expovariate(1) for n in range(rows)})
    run(rows, executor, EngineOptions(max_concurrent=wide, ordered=True), sink=sink)
    assert sink.indexes == list(range(rows))
    assert ahead <= max(64, 8 * wide)


def test_unordered_results_come_as_they_finish() -> None:
    """A slow first row holds nobody up."""
    _, sink, _, _ = run(3, Clockwork({0: 9.0, 1: 1.0, 2: 2.0}), EngineOptions(max_concurrent=3))
    assert sink.indexes == [1, 2, 0]


def test_a_stop_lets_rows_in_flight_end_and_starts_no_more() -> None:
    """Two-second rows, stopped at 3 s: the second wave ends at 4 s and is written."""
    executor = Clockwork(2.0)
    took_s, sink, progress, stop = run(100, executor, EngineOptions(max_concurrent=5), stop_at_s=3)
    assert took_s == pytest.approx(4)
    assert (len(executor.started), len(sink.lines), progress.abandoned) == (10, 10, 0)
    assert stop.reason is not None
    assert stop.reason.exit_code == 130


def test_a_stop_gives_up_what_does_not_end_within_the_grace() -> None:
    """Rows that hang do not keep a stopped run; in order, what finished behind them is written too."""
    executor = Clockwork({0: 1000.0, 1: 1.0, 2: 1.0})
    options = EngineOptions(max_concurrent=3, ordered=True, grace_s=7)
    took_s, sink, progress, _ = run(3, executor, options, stop_at_s=5)
    assert took_s == pytest.approx(12)
    assert (sink.indexes, progress.abandoned) == ([1, 2], 1)


@pytest.mark.parametrize(
    ("limit", "finished"),
    [
        pytest.param(FailureLimit(count=1), 2, id="fail fast"),
        pytest.param(FailureLimit(count=3), 4, id="a count"),
        pytest.param(FailureLimit(percent=50), 21, id="a percentage, from 20 rows on"),
    ],
)
def test_too_many_failures_stop_the_run_after_the_rows_in_flight(limit: FailureLimit, finished: int) -> None:
    """Every row fails; two run at once, so one more ends after the one that was too much."""
    executor = Clockwork(1.0, failing=frozenset(range(100)))
    _, sink, _, stop = run(100, executor, EngineOptions(max_concurrent=2, failure_limit=limit))
    assert stop.reason is not None
    assert stop.reason.exit_code == 4
    assert finished <= len(sink.lines) <= finished + 1


class Unread(Memory):
    """A reader that takes some lines and then no more."""

    async def write(self, lines: Sequence[bytes]) -> None:
        for line in lines:
            if self.room is not None and len(self.lines) >= self.room:
                await anyio.sleep_forever()
            self.lines.append(line)


@pytest.mark.parametrize("ordered", [False, True], ids=["unordered", "ordered"])
def test_rows_that_finished_but_cannot_be_written_are_counted(ordered: bool) -> None:
    """A reader that stops reading does not keep a stopped run, and what was paid for is in the counts."""
    options = EngineOptions(max_concurrent=4, ordered=ordered, grace_s=3)
    took_s, sink, progress, _ = run(100, Clockwork(1.0), options, sink=Unread(room=2), stop_at_s=10)
    assert took_s <= 10 + 2 * 3 + 1
    assert (len(sink.lines), progress.done) == (2, 2 + progress.unwritten)
    assert progress.unwritten >= 4
    assert progress.abandoned == 0


def test_failures_count_when_they_happen_not_when_they_are_written() -> None:
    """In order behind a slow head row, too: fail fast stops after the rows in flight."""
    executor = Clockwork({0: 50.0}, failing=frozenset(range(1, 1000)))
    options = EngineOptions(max_concurrent=4, ordered=True, failure_limit=FailureLimit(count=1))
    run(1000, executor, options)
    assert len(executor.started) == 4


def test_a_full_disk_ends_the_run_with_what_was_saved() -> None:
    """The error surfaces as itself, and no other row goes on."""
    sink, executor = Memory(room=5), Clockwork(1.0)
    with pytest.raises(OutputFailed, match="disk full"):
        run(100, executor, EngineOptions(max_concurrent=2), sink=sink)
    assert len(sink.lines) == 5
    assert len(executor.started) <= 7, "two rows at most were in flight when the sixth line did not fit"


@pytest.mark.parametrize("text", ["0", "-1", "0%", "101%", "x", "%", "1.5", "nan%"])
def test_a_failure_limit_that_means_nothing_is_refused(text: str) -> None:
    """A number from 1, or a percentage above 0."""
    with pytest.raises(ValueError):  # noqa: PT011  (the command line words it)
        FailureLimit.parse(text)


@given(contents=st.lists(st.integers(0, 60), max_size=200), in_memory=st.integers(0, 40))
def test_twins_are_counted_in_memory_and_on_disk(contents: list[int], in_memory: int) -> None:
    """The second row of a content gets -2, the third -3, wherever the first one is remembered."""
    ids = RowIds(in_memory)
    times = Counter[int]()
    named = []
    for n in contents:
        times[n] += 1
        own = content_id({"n": n})
        named.append((ids.name({"n": n}), own if times[n] == 1 else f"{own}-{times[n]}"))
    ids.close()
    assert [name for name, _ in named] == [expected for _, expected in named]


class Watched(Clockwork):
    """Notes what has been started by the time that the first row ends."""

    started_before: tuple[int, ...] = ()

    async def run(self, row: Row) -> Outcome:
        outcome = await super().run(row)
        if row.index == 0:
            self.started_before = tuple(self.started)
        return outcome


@pytest.mark.parametrize(("max_concurrent", "window"), [(2, 64), (8, 64), (9, 72), (16, 128)])
def test_rows_run_ahead_of_a_slow_one_by_the_whole_window(max_concurrent: int, window: int) -> None:
    """Eight rows for each that runs at once, and 64 at least; then they wait until it has ended."""
    executor = Watched({0: 100.0} | dict.fromkeys(range(1, 300), 0.01))
    took_s, sink, _, _ = run(300, executor, EngineOptions(max_concurrent=max_concurrent, ordered=True))
    assert sorted(executor.started_before) == list(range(window))
    assert sink.indexes == list(range(300))
    assert took_s < 110


def test_lines_that_wait_for_an_earlier_one_hold_at_most_32_mb() -> None:
    """Then only the row that all wait for is admitted, and the others when it has been written."""

    async def main() -> list[int]:
        order = InInputOrder(64)
        admitted: list[int] = []

        async def admit(index: int) -> None:
            await order.admit(index)
            admitted.append(index)

        megabytes = bytes(11 * 1024 * 1024)
        async with anyio.create_task_group() as rows:
            for index in range(1, 4):
                assert order.release(index, megabytes) == []
            for index in (0, 4):
                rows.start_soon(admit, index)
            await anyio.sleep(1)
            before = admitted[:]
            assert order.release(0, b"first") == [b"first", *[megabytes] * 3]
        return before

    assert trio.run(main, clock=trio.testing.MockClock(autojump_threshold=0)) == [0]


def test_more_rows_run_when_room_comes_without_that_a_row_has_ended() -> None:
    """One at first; as many as may once there is room, and none before or beyond."""
    started_at: list[float] = []

    class Slow(Clockwork):
        async def run(self, row: Row) -> Outcome:
            started_at.append(trio.current_time() - began[0])
            return await super().run(row)

    began: list[float] = []

    def is_room() -> bool:
        if not began:
            began.append(trio.current_time())
        return trio.current_time() - began[0] >= 10

    executor = Slow(100.0)
    took_s, sink, _, _ = run(20, executor, EngineOptions(max_concurrent=4, is_room=is_room))
    assert (executor.most, len(sink.lines), took_s < 600) == (4, 20, True)
    assert started_at[0] < 1
    assert all(10 <= at <= 11 for at in started_at[1:4])


def test_no_more_rows_run_than_there_is_room_for() -> None:
    """Without room they run one after another."""
    executor = Clockwork(1.0)
    took_s, _, _, _ = run(20, executor, EngineOptions(max_concurrent=4, is_room=lambda: False))
    assert executor.most == 1
    assert took_s == pytest.approx(20)


@pytest.mark.parametrize(
    ("rows", "stop_at_s", "is_complete", "written"),
    [(10, None, True, 10), (10, 3.0, False, 4), (0, None, True, 0)],
    ids=["to the end", "stopped", "without rows"],
)
def test_a_run_is_complete_when_every_row_is_written(
    rows: int, stop_at_s: float | None, is_complete: bool, written: int
) -> None:
    """Two-second rows, two at once; nothing that was written counts as unwritten."""

    async def main() -> tuple[bool, int, int]:
        progress, stop, sink = Progress(), Stop(), Memory()
        source = Source(Numbers(rows), None)
        options = EngineOptions(max_concurrent=2)
        engine = Engine(source, Clockwork(2.0), NoHistory(), sink, progress, stop, options)
        async with anyio.create_task_group() as others:
            others.start_soon(engine.run)
            if stop_at_s is not None:
                await anyio.sleep(stop_at_s)
                stop.request(StopReason("interrupted", "interrupted"))
        source.release()
        return engine.is_complete, len(sink.lines), progress.unwritten

    ended = trio.run(main, clock=trio.testing.MockClock(autojump_threshold=0))
    assert ended == (is_complete, written, 0)


class Stuck(Memory):
    """A sink whose first write takes `seconds`, as that of a pipe that nobody reads."""

    def __init__(self, seconds: float) -> None:
        super().__init__()
        self.seconds = seconds

    async def write(self, lines: Sequence[bytes]) -> None:
        seconds, self.seconds = self.seconds, 0.0
        await anyio.sleep(seconds)
        await super().write(lines)


@pytest.mark.parametrize("wide", [1, 2, 4, 7])
def test_rows_go_on_until_as_many_wait_to_be_written_as_run_at_once(wide: int) -> None:
    """The one that is being written among them: nobody pays for what nobody reads."""
    executor = Clockwork({n: 1 + n / 100 for n in range(100)})
    started: list[int] = []

    class Watched(Stuck):
        async def write(self, lines: Sequence[bytes]) -> None:
            await super().write([])
            started.append(len(executor.started))
            await super().write(lines)

    sink = Watched(50.0)
    _, _, progress, _ = run(100, executor, EngineOptions(max_concurrent=wide), sink=sink)
    assert started[0] == 2 * wide - 1
    assert (len(sink.lines), progress.unwritten) == (100, 0)


@pytest.mark.parametrize(
    ("grace_s", "at_once_s", "took_s"),
    [
        pytest.param(7.0, None, 5 + 7 + 7, id="the grace for the rows, and as long for the lines"),
        pytest.param(0.5, None, 5 + 0.5 + 2, id="two seconds at least for the lines"),
        pytest.param(20.0, 0.0, 5 + 2, id="at once"),
        pytest.param(20.0, 3.0, 5 + 3 + 2, id="at once, a little later"),
        pytest.param(6.0, 9.0, 5 + 9 + 2, id="at once, while lines are written"),
        pytest.param(6.0, 11.0, 5 + 12, id="at once, a second before the end"),
    ],
)
def test_a_stop_does_not_wait_for_ever_for_a_sink(grace_s: float, at_once_s: float | None, took_s: float) -> None:
    """Stopped at 5 s, with a row that hangs and a line that nobody takes."""

    async def main() -> tuple[float, int, int]:
        progress, stop, sink = Progress(), Stop(), Stuck(1000.0)
        source = Source(Numbers(2), None)
        options = EngineOptions(max_concurrent=2, grace_s=grace_s)
        engine = Engine(source, Clockwork({0: 1.0, 1: 900.0}), NoHistory(), sink, progress, stop, options)
        async with anyio.create_task_group() as others:

            async def turn() -> None:
                await anyio.sleep(5)
                stop.request(StopReason("interrupted", "interrupted"))
                if at_once_s is not None:
                    await anyio.sleep(at_once_s)
                    stop.now(StopReason("interrupted", "again"))

            others.start_soon(turn)
            await engine.run()
            ended = trio.current_time()
            others.cancel_scope.cancel()
        source.release()
        assert not engine.is_complete
        return ended - began[0], progress.abandoned, progress.unwritten

    began: list[float] = []

    async def timed() -> tuple[float, int, int]:
        began.append(trio.current_time())
        return await main()

    ended_s, abandoned, unwritten = trio.run(timed, clock=trio.testing.MockClock(autojump_threshold=0))
    assert ended_s == pytest.approx(took_s)
    assert (abandoned, unwritten) == (1, 1)


def test_what_a_slow_sink_takes_in_time_is_written_after_a_stop_at_once() -> None:
    """Two seconds are enough for a disk."""

    async def main() -> tuple[float, list[int]]:
        stop, sink = Stop(), Stuck(3.0)
        source = Source(Numbers(9), None)
        options = EngineOptions(max_concurrent=3)
        engine = Engine(source, Clockwork(1.0), NoHistory(), sink, Progress(), stop, options)
        began = trio.current_time()
        async with anyio.create_task_group() as others:
            others.start_soon(engine.run)
            await anyio.sleep(2.5)
            stop.now(StopReason("interrupted", "interrupted"))
        source.release()
        return trio.current_time() - began, sorted(sink.indexes)

    took_s, indexes = trio.run(main, clock=trio.testing.MockClock(autojump_threshold=0))
    assert took_s == pytest.approx(4)
    assert indexes[:3] == [0, 1, 2]
