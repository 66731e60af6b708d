"""One session of a run, from its first row to its summary. `watchers` has the tasks that run next to the engine."""

import os
import signal
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import suppress
from functools import partial
from typing import Any

import anyio
import anyio.to_thread
from anyio.abc import TaskGroup

from crewrun.batch.breaker import Breaker
from crewrun.batch.canary import Canary, CanarySource, known_to_exceed
from crewrun.batch.engine import CLOSED, Engine, EngineOptions
from crewrun.batch.jobs import close_jobs, close_unclaimed, name_unused, open_jobs
from crewrun.batch.locations import Places, real_path
from crewrun.batch.metrics import MetricsWatcher
from crewrun.batch.preparation import PreparedRun
from crewrun.batch.progress import Progress
from crewrun.batch.sink import FileSink, Sink, StreamSink, open_sink, open_stream
from crewrun.batch.source import Source
from crewrun.batch.stop import DETACHED, SIGNALS, Stop, StopReason
from crewrun.batch.summary import Report, SessionResult, summarise
from crewrun.batch.table_sink import TableStream, WritingInterrupted, table_stream, write_table
from crewrun.batch.watchers import (
    CanaryWatcher,
    DeadlineWatcher,
    Display,
    DisplayWatcher,
    FinishWatcher,
    Gauge,
    HeartbeatWatcher,
    SignalWatcher,
    StopWatcher,
    Watcher,
)
from crewrun.errors import CrewrunError, JournalDamaged, OutputClosed, OutputFailed, UsageError
from crewrun.executors import Executor
from crewrun.inspect.view import nearby
from crewrun.llm.batch_jobs.run_jobs import RunJobs
from crewrun.monitoring.readings import Board
from crewrun.row import Row
from crewrun.row_events import wait_for_listeners
from crewrun.runs.folder import RunFolder
from crewrun.runs.opening import with_cost
from crewrun.runs.results_table import ResultsTable

# How long to count the rest of the input when a run stops by itself, and when a signal stops it.
_COUNT_S = 3.0
_COUNT_AT_SIGNAL_S = 0.5

Failure = OutputFailed | JournalDamaged


class Session:
    """One session: `run` is called once, and `stop` ends it early."""

    def __init__(
        self, run: PreparedRun, canary: Canary | None, display: Display, stop: Stop, board: Board | None = None
    ) -> None:
        """`board` is where other programs read the run's metrics, None if none does."""
        self._run = run
        self._settings = run.request.settings
        self._output = run.places.output
        self._absolute_output = _absolute(run.places.output)  # a row's code may change the working directory
        self._results = run.places.results
        self._table = _table_of(run.places)
        self._history = run.history
        self._canary = canary
        self._source: Source | CanarySource = CanarySource(run.rows.source, canary) if canary else run.rows.source
        self._reopen = None if run.rows.is_once else run.rows.open_again
        self._progress, self._stop = Progress(), stop
        self._gauge = Gauge(self._progress, self._source, run.calls.limiters, run.request.settings.part)
        self._display = DisplayWatcher(display, self._gauge)
        self._metrics: MetricsWatcher | None = None
        if board is not None:
            self._metrics = MetricsWatcher(board, self._progress, run.calls.limiters)
            self._metrics.begin()
        self._canary_watcher = self._watch_canary(canary, display) if canary else None
        self._notes: list[str] = []
        self._jobs = self._open_jobs()
        self._jobs_left = 0

    async def run(self, executor: Executor, signals: AsyncIterator[signal.Signals]) -> Report:
        """Run the rows, finish the results and close the state. Raises JournalDamaged, after closing."""
        sink = self._open_sink()
        executor = self._canary.watched(executor) if self._canary else executor
        engine = Engine(self._source, executor, self._history, sink, self._progress, self._stop, self._engine_options())
        error = await self._run_rows(engine, signals)
        reason = self._stop.reason
        if reason is not None and reason.is_signal and engine.is_complete and error is None:
            reason = None  # the signal came after the last row, so the rows decide how the run ended
        if reason is not None or error is not None:
            self._progress.unread = await self._count_unread(reason)
        if isinstance(sink, TableStream):
            reason, error = await self._write_output(partial(self._finish_stream, sink, signals), reason, error)
        gone, error = await self._finish_watched(sink, reason, error, signals)
        if self._table is not None:
            reason, error = await self._write_output(partial(self._write_table, self._table, signals), reason, error)
        code = _exit_code(self._progress, reason, error)
        totals, error = await self._close_state(reason, code, error, gone)
        if isinstance(error, JournalDamaged):
            raise with_cost(error, self._results) from error
        return self._report(reason, code, error, totals, gone)

    def _open_sink(self) -> Sink:
        places, path = self._run.places, self._results
        if places.table is not None and places.is_stream:
            stream = StreamSink(self._run.request.stdout_fd) if path is None else open_stream(path)
            return table_stream(stream, places.table)
        if path is None:
            return StreamSink(self._run.request.stdout_fd)
        return open_sink(path, self._history.results_bytes)

    async def _run_rows(self, engine: Engine, signals: AsyncIterator[signal.Signals]) -> Failure | None:
        """Run the engine and the watchers. Returns the failure that ended the run, if any."""
        error: Failure | None = None
        async with anyio.create_task_group() as watching:
            for watcher in self._watchers(signals):
                watching.start_soon(watcher.watch)
            try:
                await self._stop_if_known_to_exceed()
                if self._jobs is not None:
                    await self._begin_jobs(self._jobs, engine, watching)
                await engine.run()
                if self._jobs is not None:
                    self._notes += await self._close_jobs(self._jobs)
            except (OutputFailed, JournalDamaged) as failed:
                error = failed
            finally:
                watching.cancel_scope.cancel()
                self._display.show()
                self._display.display.stop()
        if self._jobs is not None:
            await self._jobs.aclose()
        return error

    def _open_jobs(self) -> RunJobs | None:
        """The jobs for batch jobs, None for a run without any."""
        run = self._run
        if not run.calls.in_jobs or run.state is None:
            return None
        jobs = open_jobs(self._settings, run.state, run.calls.limiters, run.options.deadline_s)
        run.calls.gateway.use_jobs(jobs)
        run.calls.limiters.jobs = jobs
        return jobs

    async def _begin_jobs(self, jobs: RunJobs, engine: Engine, watching: TaskGroup) -> None:
        """Take up the jobs of earlier sessions, and send new ones whenever no row can do anything else."""
        await jobs.open()
        jobs.is_quiet = engine.is_waiting
        jobs.rows_waiting_elsewhere = lambda: self._run.calls.shared.rows_waiting
        if self._settings.detach:
            jobs.on_all_sent = partial(self._stop.request, DETACHED)
        watching.start_soon(jobs.run)

    async def _close_jobs(self, jobs: RunJobs) -> list[str]:
        """Leave the jobs to the provider, or have it cancel them. Returns what to say of them.

        Of models that were not called there is something to say once every row has called what it calls.
        """
        cancels, reason = self._settings.cancel_jobs, self._stop.reason
        is_signal = reason is not None and reason.is_signal
        notes = await close_jobs(jobs, cancels=cancels and is_signal)
        if reason is DETACHED:
            self._jobs_left, notes = jobs.unanswered[0], []  # the report says it in its first line
        if reason is None or reason is DETACHED or (cancels and is_signal):
            notes += await close_unclaimed(jobs, cancels=cancels)
        if reason is None and self._source.is_whole:
            notes += await name_unused(jobs)
        return notes

    def _watchers(self, signals: AsyncIterator[signal.Signals]) -> list[Watcher]:
        deadline_s = self._run.options.deadline_s
        watchers: list[Watcher] = [
            SignalWatcher(signals, self._stop, self._display.display),
            self._stop_watcher(),
            self._display,
            self._gauge,
            HeartbeatWatcher(self._history, self._gauge),
        ]
        if self._metrics is not None:
            watchers.append(self._metrics)
        if deadline_s is not None:
            watchers.append(DeadlineWatcher(deadline_s, self._settings.deadline, self._stop))
        if self._canary_watcher is not None:
            watchers.append(self._canary_watcher)
        return watchers

    def _stop_watcher(self) -> StopWatcher:
        display, has_jobs = self._display.display, self._jobs is not None
        return StopWatcher(self._stop, self._progress, display, self._settings.grace, self._is_stuck, has_jobs)

    def _watch_canary(self, canary: Canary, display: Display) -> CanaryWatcher:
        limit_usd = self._settings.max_forecast_usd
        return CanaryWatcher(canary, limit_usd, display, self._progress, self._history.in_all, self._stop)

    async def _finish_watched(
        self, sink: Sink, reason: StopReason | None, error: Failure | None, signals: AsyncIterator[signal.Signals]
    ) -> tuple[int, Failure | None]:
        """As `_finish_results`, and wait for listeners. Either may take a while, during which signals are answered."""
        async with anyio.create_task_group() as watching:
            watching.start_soon(FinishWatcher(signals, self._run.request.say, self._stop.is_hurried).watch)
            try:
                finished = await self._finish_results(sink, reason, error)
                await wait_for_listeners()
            finally:
                watching.cancel_scope.cancel()
        return finished

    async def _finish_results(
        self, sink: Sink, reason: StopReason | None, error: Failure | None
    ) -> tuple[int, Failure | None]:
        """Restore the results if necessary, and close them. Returns how many of their rows are no longer in the input,
        and the failure, if any.
        """
        gone = 0
        try:
            if error is None and isinstance(sink, FileSink):
                await self._make_whole(sink, reason)
            sink.close()
            if error is None:
                complete = reason is None and self._source.is_whole
                arrange = partial(self._history.arrange, complete=complete, ordered=self._settings.ordered)
                gone = await anyio.to_thread.run_sync(arrange)
        except (OutputFailed, JournalDamaged) as failed:
            error = error or failed
        return gone, error

    async def _write_output(
        self, write: Callable[[], Awaitable[None]], reason: StopReason | None, error: Failure | None
    ) -> tuple[StopReason | None, Failure | None]:
        """Write a table by `write`. Returns why the run stopped, and the failure, if any."""
        if error is not None:
            if self._table is not None:
                self._notes.append(f"{self._output}: not written; a run that goes on writes it")
            return reason, error
        if reason is not None and reason.kind == "closed":
            return reason, error
        try:
            await write()
        except OutputFailed as failed:
            return reason, failed
        except OutputClosed:
            return reason or CLOSED, None
        except WritingInterrupted as interrupted:
            if self._table is not None:
                self._notes.append(f"{self._output}: not written; to write it: {self._table.command}")
            return reason or SIGNALS[interrupted.number], None
        return reason, None

    async def _finish_stream(self, stream: TableStream, signals: AsyncIterator[signal.Signals]) -> None:
        self._notes += await stream.finish(signals)

    async def _write_table(self, table: ResultsTable, signals: AsyncIterator[signal.Signals]) -> None:
        if real_path(self._absolute_output) != table.path:
            raise OutputFailed(f"{self._output}: leads elsewhere than when the run began; {table.remedy}")
        if table.is_large:
            self._run.request.say(f"writing {self._output}")
        report = await write_table(table, signals)
        self._notes += report.notes
        if report.backup is not None:
            self._notes.append(f"{self._output}: was not as this run left it; that file is now {nearby(report.backup)}")

    async def _make_whole(self, sink: FileSink, reason: StopReason | None) -> None:
        """Restore the results if something else has changed them. Raises OutputFailed when that is not possible."""
        fault = sink.fault()
        if fault is not None:
            # After a signal there is no time to read the input again; the next session does that.
            is_hurried = reason is not None and reason.is_signal
            visit = None if self._reopen is None or is_hurried else self._visit
            try:
                rebuilt = await self._history.rebuild(
                    sink.fd, visit, ordered=self._settings.ordered, unwritten=self._progress.unwritten
                )
            except OutputFailed as lost:
                raise OutputFailed(f"the results file {fault} while the run was going: {lost}") from lost
            if rebuilt is not None:
                self._notes.append(
                    f"{self._output if self._table is None else sink.path}: {fault} while the run was going; {rebuilt}"
                )
        if self._table is None and real_path(self._absolute_output) != sink.path:
            raise OutputFailed(
                f"{self._output}: leads elsewhere than when the run began; the results are in {sink.path}"
            )

    async def _visit(self, see: Callable[[Row], bool | None]) -> None:
        """Read the input again, as far as it is still there."""
        if self._reopen is not None:
            with suppress(UsageError):
                # The whole input: the results also have lines from sessions with another --limit and --offset.
                await self._reopen(offset=0, limit=None).visit(see)

    async def _count_unread(self, reason: StopReason | None) -> int | None:
        """How many rows are due and had not begun. None when they cannot be counted, or not in time."""
        patience_s = _COUNT_AT_SIGNAL_S if reason is not None and reason.is_signal else _COUNT_S
        due = 0

        def see(row: Row) -> None:
            nonlocal due
            due += self._history.is_due(row)

        if self._reopen is None:
            return None
        with suppress(CrewrunError), anyio.move_on_after(patience_s):
            await self._reopen().visit(see)
            return max(0, due - self._progress.begun)
        return None

    def _engine_options(self) -> EngineOptions:
        settings = self._settings
        return EngineOptions(
            max_concurrent=self._run.rows_at_once,
            is_room=self._run.calls.limiters.is_idle if settings.is_adaptive and self._jobs is None else None,
            breaker=Breaker(settings.outage_patience_s),
            # The rows of a canary are from all over the input, so the file is sorted at the end instead.
            ordered=settings.ordered and self._canary is None,
            first=settings.offset,
            failure_limit=settings.failure_limit,
            grace_s=settings.grace,
            is_stuck=self._is_stuck,
            rows_in_jobs=lambda: 0 if self._jobs is None else self._jobs.rows_waiting,
        )

    def _is_stuck(self, seconds: float) -> bool:
        """Whether all rows in flight wait for a provider that will not answer within `seconds`."""
        if self._stop.reason is not None and self._stop.reason.kind == "breaker":
            return False  # their calls are refused in a moment, with the reason
        return 0 < self._progress.in_flight <= self._run.calls.limiters.stuck_calls(seconds)

    def _report(
        self,
        reason: StopReason | None,
        code: int,
        error: Failure | None,
        totals: dict[str, Any] | None,
        gone: int,
    ) -> Report:
        forecast = self._canary_watcher.forecast if self._canary_watcher else None
        end = SessionResult(
            output=self._output,
            stop=reason,
            exit_code=1 if error else code,
            error=str(error) if error else None,
            not_counted=self._run.request.definition.target.uncounted_reason,
            totals=totals,
            owed=self._run.calls.limiters.unknown_bills.owed,
            forecast=forecast.to_json() if forecast else None,
            shard=self._settings.part,
        )
        opened = self._run.opened
        return Report(
            summary=summarise(self._progress, end),
            stop=reason,
            output=self._output,
            folder=str(opened.state.path) if opened else None,
            backup=str(opened.backup) if opened and opened.backup else None,
            lost=opened.lost if opened else 0,
            gone=gone,
            notes=self._notes,
            left_to_jobs=self._progress.left_to_jobs,
            open_jobs=self._jobs_left,
            can_retry=self._run.request.rows is None,
        )

    async def _close_state(
        self, reason: StopReason | None, code: int, error: Failure | None, gone: int
    ) -> tuple[dict[str, Any] | None, Failure | None]:
        """Close the run's state. Returns what all its sessions have spent, and the failure, if any."""
        totals = None
        try:
            if error is None:
                totals = await self._history.in_all()
        except (OutputFailed, JournalDamaged) as failed:
            error = failed
        why = str(error) if error else reason.why if reason else None
        try:
            await self._history.close(why, error.exit_code if error else code, self._progress.elsewhere, gone)
        except (OutputFailed, JournalDamaged) as failed:
            error = error or failed
        return totals, error

    async def _stop_if_known_to_exceed(self) -> None:
        state = self._run.state
        if self._canary and state:
            sample = self._canary.sample
            spent_usd = (await state.in_all())["cost_usd"] or 0.0
            limit_usd = self._settings.max_forecast_usd
            why = known_to_exceed(sample.total, state.rows_done, len(sample.rows), spent_usd, limit_usd)
            if why:
                self._stop.request(StopReason("forecast", why))


def _table_of(places: Places) -> ResultsTable | None:
    """The table that the session writes at its end, None for lines and for streams."""
    path = real_path(places.output)
    if places.table is None or places.folder is None or path is None or places.is_stream:
        return None
    return ResultsTable(path, RunFolder(places.folder.path.absolute()), places.table)


def _absolute(output: str | None) -> str | None:
    return None if output is None else os.path.abspath(output)


def _exit_code(progress: Progress, reason: StopReason | None, error: Failure | None) -> int:
    if error is not None:
        return error.exit_code
    if reason is not None:
        return reason.exit_code
    return 3 if progress.failed or progress.failed_before or progress.pending or progress.abandoned else 0
