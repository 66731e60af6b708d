"""Tasks that run next to the engine during a session, one watcher for each concern.

The session starts them before its first row and cancels them after the last.
"""

import os
import signal
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import Any, Protocol

import anyio
import anyio.to_thread

from crewrun.batch.canary import Canary, Forecast, exceeds
from crewrun.batch.history import History
from crewrun.batch.progress import Progress
from crewrun.batch.row_count import RowCount
from crewrun.batch.shard import Shard
from crewrun.batch.snapshot import snapshot
from crewrun.batch.stop import DETACHED, SIGNALS, Stop, Stopping, StopReason
from crewrun.journal.changes import Heartbeat
from crewrun.limits.local_limiters import LocalLimiters

_HEARTBEAT_S = 1.0  # how old the progress that `status` shows may be
_COUNT_AFTER_S = 0.2  # small inputs are read by then


class Display(Protocol):
    """Shows the progress of a run."""

    interval_s: float

    def start(self) -> None: ...

    def update(self, progress: Progress, share: float | None) -> None: ...

    def foresee(self, forecast: Forecast) -> None: ...

    def stopping(self, progress: Progress) -> None: ...

    def stop(self) -> None: ...


class Watcher(Protocol):
    """A task that runs until it is cancelled."""

    async def watch(self) -> None: ...


class _Input(Protocol):
    @property
    def fraction(self) -> float | None: ...

    @property
    def total(self) -> RowCount | None: ...

    async def count(self) -> None: ...


@dataclass(frozen=True, slots=True)
class SignalWatcher:
    """The first signal requests a stop; the next, or one while the run stops anyway, does not wait for rows in flight.
    One more ends the process, since user code that cannot be cancelled may block that; the journal survives it.
    """

    signals: AsyncIterator[signal.Signals]
    stop: Stop
    display: Display

    async def watch(self) -> None:
        """Handle each signal as it comes."""
        is_first = True
        async for number in self.signals:
            if self.stop.is_hurried:
                with suppress(Exception):
                    self.display.stop()  # it may have hidden the cursor
                os._exit(SIGNALS[number].exit_code)
            # A row whose code holds the loop may have noticed the first signal before this does.
            is_noticed = is_first and self.stop.reason is not None and self.stop.reason.is_signal
            self.stop.is_hurried = self.stop.requested.is_set() and not is_noticed
            is_first = False
            act = self.stop.now if self.stop.is_hurried else self.stop.request
            act(SIGNALS[number])


@dataclass(frozen=True, slots=True)
class StopWatcher:
    """Has the display say what happens to the rows in flight as soon as the run stops, whatever stops it."""

    stop: Stop
    progress: Progress
    display: Display
    grace_s: float
    is_stuck: Callable[[float], bool]
    has_jobs: bool = False

    async def watch(self) -> None:
        """Wait for a stop, and then until nothing is waited for."""
        await self.stop.requested.wait()
        reason = self.stop.reason
        assert reason is not None  # noqa: S101  (`Stop` has one when it is requested)
        if reason.kind == "closed":
            return  # the reader of the results has enough, as `head` has
        is_stuck = self.is_stuck(self.grace_s)
        until = anyio.current_time() + self.grace_s
        stopping = Stopping(reason, until, self.stop.at_once.is_set(), is_stuck, self.has_jobs)
        self.progress.stopping = stopping
        if reason.is_signal or (self.progress.in_flight and reason is not DETACHED):
            self.display.stopping(self.progress)
        if not stopping.is_now:
            await self.stop.at_once.wait()
            self.progress.stopping = replace(stopping, is_now=True)
            self.display.stopping(self.progress)


@dataclass(slots=True)
class FinishWatcher:
    """Answers signals after the last row, while the results are brought into their final form and listeners get the
    last events.

    The next session can do the former as well, so a second signal ends the process. One that follows two others, after
    which rows in flight were not waited for (`is_hurried`), does so at once.
    """

    signals: AsyncIterator[signal.Signals]
    say: Callable[[str], None]
    is_hurried: bool

    async def watch(self) -> None:
        """Handle each signal as it comes."""
        async for number in self.signals:
            if self.is_hurried:
                os._exit(SIGNALS[number].exit_code)
            self.is_hurried = True
            self.say("all rows have ended and the results are being put in order; again ends now")


@dataclass(frozen=True, slots=True)
class DeadlineWatcher:
    """Stops the run after `deadline_s`; `deadline` is the deadline as the user wrote it."""

    deadline_s: float
    deadline: str | float | None
    stop: Stop

    async def watch(self) -> None:
        """Wait for the deadline, then request a stop."""
        await anyio.sleep(self.deadline_s)
        self.stop.request(StopReason("deadline", f"the deadline has come (--deadline {self.deadline})"))


@dataclass(frozen=True, slots=True)
class HeartbeatWatcher:
    """Writes every second to the run's state that the session is alive and how far it is, for `status` to read."""

    history: History
    gauge: "Gauge"

    async def watch(self) -> None:
        """Write heartbeats."""
        progress = self.gauge.progress
        while True:
            share = self.gauge.read()
            self.history.heartbeat(Heartbeat(progress.in_flight, progress.done_before, share, progress.elapsed_s))
            await anyio.to_thread.run_sync(self.history.publish, snapshot(progress, share), abandon_on_cancel=True)
            await anyio.sleep(_HEARTBEAT_S)


@dataclass(frozen=True, slots=True)
class DisplayWatcher:
    """Updates the display at its interval."""

    display: Display
    gauge: "Gauge"

    async def watch(self) -> None:
        """Update the display again and again."""
        while True:
            await anyio.sleep(self.display.interval_s)
            self.show()

    def show(self) -> None:
        """Update the display once."""
        self.display.update(self.gauge.progress, self.gauge.read())


@dataclass(frozen=True, slots=True)
class Gauge:
    """Reads what the progress has to be asked for: the size of the input, and what calls wait for."""

    progress: Progress
    input: _Input
    limiters: LocalLimiters
    shard: Shard | None

    async def watch(self) -> None:
        """Count the rows of an input that is not read in a moment."""
        await anyio.sleep(_COUNT_AFTER_S)
        await self.input.count()

    def read(self) -> float | None:
        """Bring the progress up to date. Returns the share of the input that is done, None if that is not known."""
        progress, total = self.progress, self.input.total
        if total is not None and self.shard is not None:
            # What is left of the input is divided evenly: ids are hashes.
            own = progress.ended + progress.in_flight
            left = (total.rows - own - progress.elsewhere) / self.shard.count
            total = RowCount(own + round(max(0.0, left)), is_about=round(left) > 0)
        progress.total, progress.waits, progress.budget = total, self.limiters.waits, self.limiters.budget
        return progress.share(self.input.fraction)


@dataclass(slots=True)
class CanaryWatcher:
    """When the sample has ended, shows the forecast for all rows and lets them run unless it exceeds the limit.

    `totals` returns what all sessions of the run have spent, None when there is only this one.
    """

    canary: Canary
    max_forecast_usd: float | None
    display: Display
    progress: Progress
    totals: Callable[[], Awaitable[dict[str, Any] | None]]
    stop: Stop
    forecast: Forecast | None = None

    async def watch(self) -> None:
        """Wait for the end of the sample, then decide."""
        await self.canary.ended.wait()
        if self.canary.sample.rows:
            self.forecast = forecast = self.canary.forecast()
            self.display.foresee(forecast)
            totals = await self.totals() or {}
            before_usd = max(0.0, (totals.get("cost_usd") or 0.0) - self.progress.cost_usd)
            if why := exceeds(forecast, before_usd, self.max_forecast_usd):
                self.stop.request(StopReason("forecast", why))
                return
        self.canary.go_on.set()
