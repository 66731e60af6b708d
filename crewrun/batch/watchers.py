"""Tasks that run next to the engine during a session, one watcher for each concern.

The session starts them before its first row and cancels them after the last.
"""

import os
import signal
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass
from typing import Any, Protocol

import anyio

from crewrun.batch.canary import Canary, Forecast, exceeds
from crewrun.batch.progress import Progress
from crewrun.batch.stop import SIGNALS, Stop, StopReason
from crewrun.journal.changes import Heartbeat
from crewrun.limits.local_limiters import LocalLimiters

_HEARTBEAT_S = 1.0  # how old the progress that `status` shows may be


class Display(Protocol):
    """Shows the progress of a run."""

    interval_s: float

    def start(self) -> None: ...

    def update(self, progress: Progress, share: float | None) -> None: ...

    def foresee(self, forecast: Forecast) -> None: ...

    def stop(self) -> None: ...


class Watcher(Protocol):
    """A task that runs until it is cancelled."""

    async def watch(self) -> None: ...


class _Input(Protocol):
    @property
    def fraction(self) -> float | None: ...


@dataclass(frozen=True, slots=True)
class SignalWatcher:
    """The first signal requests a stop, the second does not wait for rows in flight. The third ends the process, since
    user code that cannot be cancelled may block the second; the journal survives that.
    """

    signals: AsyncIterator[signal.Signals]
    stop: Stop

    async def watch(self) -> None:
        """Handle each signal as it comes."""
        steps: list[Callable[[StopReason], None]] = [self.stop.request, self.stop.now]
        async for number in self.signals:
            if not steps:
                os._exit(SIGNALS[number].exit_code)
            steps.pop(0)(SIGNALS[number])


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

    beat: Callable[[Heartbeat], None]
    progress: Progress
    input: _Input

    async def watch(self) -> None:
        """Write heartbeats."""
        progress = self.progress
        while True:
            share = progress.share(self.input.fraction)
            self.beat(Heartbeat(progress.in_flight, progress.done_before, share, progress.elapsed_s))
            await anyio.sleep(_HEARTBEAT_S)


@dataclass(frozen=True, slots=True)
class DisplayWatcher:
    """Updates the display at its interval."""

    display: Display
    progress: Progress
    input: _Input
    limiters: LocalLimiters

    async def watch(self) -> None:
        """Update the display again and again."""
        while True:
            await anyio.sleep(self.display.interval_s)
            self.progress.limiting = self.limiters.limiting
            self.show()

    def show(self) -> None:
        """Update the display once."""
        self.display.update(self.progress, self.progress.share(self.input.fraction))


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
