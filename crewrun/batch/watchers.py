"""What runs next to the engine while a session goes on. Each watcher looks after one thing.

The session starts them with its first row and cancels them after the last one.
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

_HEARTBEAT_S = 1.0


class Display(Protocol):
    """Shows progress while a run goes on."""

    interval_s: float

    def start(self) -> None: ...

    def update(self, progress: Progress, share: float | None) -> None: ...

    def foresee(self, forecast: Forecast) -> None: ...

    def stop(self) -> None: ...


class Watcher(Protocol):
    """Looks after one thing while rows run, until it is cancelled."""

    async def watch(self) -> None: ...


class _Input(Protocol):
    @property
    def fraction(self) -> float | None: ...


@dataclass(frozen=True, slots=True)
class SignalWatcher:
    """The first signal asks for a stop, the second does not wait. The third ends the process: code of the user's that
    cannot be cancelled may keep the second from its end, and the journal survives a sudden death.
    """

    signals: AsyncIterator[signal.Signals]
    stop: Stop

    async def watch(self) -> None:
        """Obey signals."""
        steps: list[Callable[[StopReason], None]] = [self.stop.request, self.stop.now]
        async for number in self.signals:
            if not steps:
                os._exit(SIGNALS[number].exit_code)
            steps.pop(0)(SIGNALS[number])


@dataclass(frozen=True, slots=True)
class DeadlineWatcher:
    """Ends the run after `deadline_s`; `deadline` is how the user wrote it."""

    deadline_s: float
    deadline: str | float | None
    stop: Stop

    async def watch(self) -> None:
        """Wait for the deadline."""
        await anyio.sleep(self.deadline_s)
        self.stop.request(StopReason("deadline", f"the deadline has come (--deadline {self.deadline})"))


@dataclass(frozen=True, slots=True)
class HeartbeatWatcher:
    """Says in the run's state every second that the session is alive, and how far it is: `status` reads that."""

    beat: Callable[[Heartbeat], None]
    progress: Progress
    input: _Input

    async def watch(self) -> None:
        """Beat."""
        progress = self.progress
        while True:
            share = progress.share(self.input.fraction)
            self.beat(Heartbeat(progress.in_flight, progress.done_before, share, progress.elapsed_s))
            await anyio.sleep(_HEARTBEAT_S)


@dataclass(frozen=True, slots=True)
class DisplayWatcher:
    """Shows the progress as often as the display likes."""

    display: Display
    progress: Progress
    input: _Input
    limiters: LocalLimiters

    async def watch(self) -> None:
        """Show."""
        while True:
            await anyio.sleep(self.display.interval_s)
            self.progress.limiting = self.limiters.limiting
            self.show()

    def show(self) -> None:
        """Show this moment."""
        self.display.update(self.progress, self.progress.share(self.input.fraction))


@dataclass(slots=True)
class CanaryWatcher:
    """When the sample has ended: says what all rows will take, and lets them run unless that is too much.

    `totals` gives what all sessions of the run spent, None when there is no other.
    """

    canary: Canary
    max_forecast_usd: float | None
    display: Display
    progress: Progress
    totals: Callable[[], Awaitable[dict[str, Any] | None]]
    stop: Stop
    forecast: Forecast | None = None

    async def watch(self) -> None:
        """Wait for the end of the sample."""
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
