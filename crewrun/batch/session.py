"""One session of a run: the part between its first row and its summary."""

import os
import signal
from collections.abc import AsyncIterator, Callable
from contextlib import suppress
from dataclasses import dataclass, field
from functools import partial
from typing import Any, Protocol

import anyio
import anyio.to_thread

from crewrun.batch.breaker import Breaker
from crewrun.batch.canary import Canary, CanarySource, Forecast, exceeds, known_to_exceed
from crewrun.batch.engine import Engine, EngineOptions
from crewrun.batch.history import History, NoHistory
from crewrun.batch.preflight import real_path
from crewrun.batch.progress import Progress
from crewrun.batch.settings import BatchSettings
from crewrun.batch.sink import FileSink, Sink, StreamSink, open_sink
from crewrun.batch.source import Source
from crewrun.batch.stop import SIGNALS, Stop, StopReason
from crewrun.batch.summary import summarise
from crewrun.errors import CrewrunError, JournalDamaged, OutputFailed, UsageError
from crewrun.executors import Executor
from crewrun.journal.changes import Heartbeat
from crewrun.limits.limiter import LocalLimiters
from crewrun.row import Row
from crewrun.runs.opening import Opened, with_cost

_HEARTBEAT_S = 1.0
# How long the rest of the input is counted when a run stops, and when somebody wants it to end.
_COUNT_S = 3.0
_COUNT_AT_SIGNAL_S = 0.5

Failure = OutputFailed | JournalDamaged


class Display(Protocol):
    """Shows progress while a run goes on."""

    interval_s: float

    def start(self) -> None: ...

    def update(self, progress: Progress, share: float | None) -> None: ...

    def foresee(self, forecast: Forecast) -> None: ...

    def stop(self) -> None: ...


@dataclass(frozen=True, slots=True)
class Report:
    """How a run ended. `output` is where the results are, None for standard output; `folder` the run's state, if any.

    `aside` is where --fresh moved what was there before; `lost` results were not in the journal, and `gone` rows are
    not in the input any more; `notes` are to be said besides.
    """

    summary: dict[str, Any]
    stop: StopReason | None
    output: str | None
    folder: str | None = None
    aside: str | None = None
    lost: int = 0
    gone: int = 0
    notes: list[str] = field(default_factory=list)

    @property
    def exit_code(self) -> int:
        """The code that the command ends with."""
        code: int = self.summary["exit_code"]
        return code


class Session:
    """Runs the rows of one run once."""

    def __init__(
        self,
        source: Source,
        opened: Opened | None,
        settings: BatchSettings,
        display: Display,
        limiters: LocalLimiters,
        deadline_s: float | None,
        canary: Canary | None,
        reopen: Callable[..., Source] | None = None,
    ) -> None:
        """`reopen` gives the input once more, to count what a stop leaves; None where it cannot be read again. It takes
        another `offset` and `limit`.
        """
        self._canary = canary
        self._reopen = reopen
        self._forecast: Forecast | None = None
        self._limiters = limiters
        self._deadline_s = deadline_s
        self._source = source
        self._opened = opened
        self._settings = settings
        self._display = display
        self._progress, self._stop = Progress(), Stop()
        self._notes: list[str] = []
        self._named: str | None = None
        self._history: History = opened.state if opened else NoHistory(settings.part)

    async def run(
        self,
        executor: Executor,
        output: str | None,
        stdout_fd: int,
        signals: AsyncIterator[signal.Signals],
        not_counted: str | None,
    ) -> Report:
        """Run the rows and bring everything to its end. Raises JournalDamaged, with the state closed."""
        settings, progress, stop = self._settings, self._progress, self._stop
        path = real_path(output)
        self._named = _absolute(output)  # a row's code may change the working directory
        sink: Sink = open_sink(path, self._history.results_bytes) if path else StreamSink(stdout_fd)
        canary = self._canary
        source = CanarySource(self._source, canary) if canary else self._source
        executor = canary.watched(executor) if canary else executor
        engine = Engine(source, executor, self._history, sink, progress, stop, self._engine_options())
        error: Failure | None = None
        gone = 0
        async with anyio.create_task_group() as beside:
            beside.start_soon(_obey_signals, signals, stop)
            beside.start_soon(self._show)
            beside.start_soon(self._beat)
            beside.start_soon(self._heed_deadline)
            if canary:
                beside.start_soon(self._foresee, canary)
            try:
                await self._stop_if_known_to_exceed()
                await engine.run()
            except (OutputFailed, JournalDamaged) as failed:
                error = failed
            finally:
                beside.cancel_scope.cancel()
                self._display.update(progress, progress.share(self._source.fraction))
                self._display.stop()
        reason = stop.reason
        if reason is not None and reason.is_signal and engine.is_complete and error is None:
            reason = None  # all that was asked for is done: the result says how the run ended
        if reason is not None or error is not None:
            progress.unread = await self._count_unread(reason)
        try:
            if error is None and isinstance(sink, FileSink):
                await self._make_whole(sink, output, reason)
            sink.close()
            if error is None:
                whole = reason is None and source.is_whole
                gone = await anyio.to_thread.run_sync(
                    partial(self._history.arrange, complete=whole, ordered=settings.ordered)
                )
        except (OutputFailed, JournalDamaged) as failed:
            error = error or failed
        code = _exit_code(progress, reason, error)
        in_all, error = await self._end(reason, code, error)
        if isinstance(error, JournalDamaged):
            raise with_cost(error, path) from error
        summary = summarise(
            progress,
            output=output,
            stop=reason,
            exit_code=1 if error else code,
            error=str(error) if error else None,
            not_counted=not_counted,
            in_all=in_all,
            owed=self._limiters.unknown_bills.owed,
            forecast=self._forecast.to_json() if self._forecast else None,
            shard=settings.part,
        )
        return self._report(summary, reason, output, gone)

    async def _make_whole(self, sink: FileSink, output: str | None, reason: StopReason | None) -> None:
        """See to it that the results are what was written to them. Raises OutputFailed when they cannot be."""
        fault = sink.fault()
        if fault is not None:
            # Who wants the run to end does not wait for the input to be read: the next session does that.
            is_hurried = reason is not None and reason.is_signal
            visit = None if self._reopen is None or is_hurried else self._visit
            try:
                rebuilt = await self._history.rebuild(
                    sink.fd, visit, ordered=self._settings.ordered, unwritten=self._progress.unwritten
                )
            except OutputFailed as lost:
                raise OutputFailed(f"the results file {fault} while the run was going: {lost}") from lost
            if rebuilt is not None:
                self._notes.append(f"{output}: {fault} while the run was going; {rebuilt}")
        if real_path(self._named) != sink.path:
            raise OutputFailed(f"{output}: leads elsewhere than when the run began; the results are in {sink.path}")

    async def _visit(self, see: Callable[[Row], bool | None]) -> None:
        """Read the input again, as far as it is still there."""
        if self._reopen is not None:
            with suppress(UsageError):
                # All of it: the results have lines from sessions with another --limit and --offset, too.
                await self._reopen(offset=0, limit=None).visit(see)

    async def _count_unread(self, reason: StopReason | None) -> int | None:
        """How many rows are due and were not begun. None when that cannot be read, or not in time."""
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
            max_concurrent=settings.rows_at_once,
            is_room=self._limiters.is_idle if settings.is_adaptive else None,
            breaker=Breaker(settings.outage_patience_s),
            # Of a sample of the whole input nothing can be written in order: at its end the file is sorted instead.
            ordered=settings.ordered and self._canary is None,
            first=settings.offset,
            failure_limit=settings.failure_limit,
            grace_s=settings.grace,
        )

    def _report(self, summary: dict[str, Any], reason: StopReason | None, output: str | None, gone: int) -> Report:
        opened = self._opened
        return Report(
            summary=summary,
            stop=reason,
            output=output,
            folder=str(opened.state.path) if opened else None,
            aside=str(opened.aside) if opened and opened.aside else None,
            lost=opened.lost if opened else 0,
            gone=gone,
            notes=self._notes,
        )

    async def _end(
        self, reason: StopReason | None, code: int, error: Failure | None
    ) -> tuple[dict[str, Any] | None, Failure | None]:
        """Close the run's state; what all its sessions spent, and what went wrong with it."""
        in_all = None
        try:
            if error is None:
                in_all = await self._history.in_all()
        except (OutputFailed, JournalDamaged) as failed:
            error = failed
        why = str(error) if error else reason.why if reason else None
        try:
            await self._history.close(why, error.exit_code if error else code, self._progress.elsewhere)
        except (OutputFailed, JournalDamaged) as failed:
            error = error or failed
        return in_all, error

    async def _stop_if_known_to_exceed(self) -> None:
        if self._canary and self._opened:
            sample, state = self._canary.sample, self._opened.state
            spent_usd = (await state.in_all())["cost_usd"] or 0.0
            limit_usd = self._settings.max_forecast_usd
            why = known_to_exceed(sample.total, state.rows_done, len(sample.rows), spent_usd, limit_usd)
            if why:
                self._stop.request(StopReason("forecast", why))

    async def _foresee(self, canary: Canary) -> None:
        """When the sample has ended: say what all rows will take, and go on unless that is too much."""
        await canary.ended.wait()
        if canary.sample.rows:
            self._forecast = forecast = canary.forecast()
            self._display.foresee(forecast)
            in_all = await self._history.in_all() or {}
            before_usd = max(0.0, (in_all.get("cost_usd") or 0.0) - self._progress.cost_usd)
            if why := exceeds(forecast, before_usd, self._settings.max_forecast_usd):
                self._stop.request(StopReason("forecast", why))
                return
        canary.go_on.set()

    async def _heed_deadline(self) -> None:
        if self._deadline_s is not None:
            await anyio.sleep(self._deadline_s)
            self._stop.request(StopReason("deadline", f"the deadline has come (--deadline {self._settings.deadline})"))

    async def _show(self) -> None:
        while True:
            await anyio.sleep(self._display.interval_s)
            self._progress.limiting = self._limiters.limiting
            self._display.update(self._progress, self._progress.share(self._source.fraction))

    async def _beat(self) -> None:
        progress = self._progress
        while True:
            share = progress.share(self._source.fraction)
            self._history.heartbeat(Heartbeat(progress.in_flight, progress.kept, share, progress.elapsed_s))
            await anyio.sleep(_HEARTBEAT_S)


def _absolute(output: str | None) -> str | None:
    return None if output is None else os.path.abspath(output)


def _exit_code(progress: Progress, reason: StopReason | None, error: Failure | None) -> int:
    if error is not None:
        return error.exit_code
    if reason is not None:
        return reason.exit_code
    return 3 if progress.failed or progress.kept_failed or progress.pending or progress.abandoned else 0


async def _obey_signals(signals: AsyncIterator[signal.Signals], stop: Stop) -> None:
    """The first signal asks for a stop, the second one does not wait. The third ends the process: code of the user's
    that cannot be cancelled may keep the second from its end, and the journal stands a sudden death.
    """
    turns: list[Callable[[StopReason], None]] = [stop.request, stop.now]
    async for number in signals:
        if not turns:
            os._exit(SIGNALS[number].exit_code)
        turns.pop(0)(SIGNALS[number])
