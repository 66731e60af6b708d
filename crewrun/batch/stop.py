"""Why and how a run stops before the end of its input."""

import signal
from dataclasses import dataclass
from typing import Literal

import anyio

from crewrun.errors import BudgetExhausted, Interrupted, RunStopped

StopKind = Literal[
    "interrupted",
    "terminated",
    "hung up",
    "failures",
    "closed",
    "breaker",
    "budget",
    "deadline",
    "forecast",
    "detached",
]

EXIT_CODES: dict[StopKind, int] = {
    "interrupted": 130,
    "terminated": 143,
    "hung up": 129,
    "failures": 4,
    "closed": 141,
    "breaker": 4,
    "budget": 5,
    "deadline": 6,
    "forecast": 5,
    "detached": 7,
}


@dataclass(frozen=True, slots=True)
class StopReason:
    """What stopped a run; `why` completes the sentence "stopped: …"."""

    kind: StopKind
    why: str

    @classmethod
    def of(cls, stopped: RunStopped) -> "StopReason":
        """The reason for an exception that says that no more calls can be made."""
        if isinstance(stopped, Interrupted):
            return SIGNALS[signal.Signals(stopped.number)]
        return cls("budget" if isinstance(stopped, BudgetExhausted) else "breaker", str(stopped))

    @property
    def is_signal(self) -> bool:
        """Whether a signal stopped the run."""
        return self.kind in ("interrupted", "terminated", "hung up")

    @property
    def exit_code(self) -> int:
        """The code that the command ends with."""
        return EXIT_CODES[self.kind]


DETACHED = StopReason("detached", "all that can be sent is with the provider, in batch jobs (--detach)")

SIGNALS = {
    signal.SIGINT: StopReason("interrupted", "interrupted"),
    signal.SIGTERM: StopReason("terminated", "terminated"),
    signal.SIGHUP: StopReason("hung up", "hung up"),
}


@dataclass(frozen=True, slots=True)
class Stopping:
    """How a run ends, for displays.

    `until` is when rows in flight are given up, by `anyio.current_time`. `is_now`: they are given up at once;
    `is_stuck`: as well, since they wait for a provider that will not answer in time, or `for_jobs` that go on without
    the run.
    """

    reason: StopReason
    until: float
    is_now: bool = False
    is_stuck: bool = False
    for_jobs: bool = False


class Stop:
    """Stops a run, once. `request` lets rows in flight end; `now` does not wait for them."""

    def __init__(self) -> None:
        self.reason: StopReason | None = None
        self.requested = anyio.Event()
        self.at_once = anyio.Event()
        self.is_hurried = False  # a signal has come while the run was stopping

    def request(self, reason: StopReason) -> None:
        """Let no more rows start. The first reason counts."""
        self.reason = self.reason or reason
        self.requested.set()

    def now(self, reason: StopReason) -> None:
        """Give up the rows in flight as well."""
        self.request(reason)
        self.at_once.set()


@dataclass(frozen=True, slots=True)
class FailureLimit:
    """How many failed rows stop a run: a number, or a percentage of the finished rows once enough have finished."""

    count: int | None = None
    percent: float | None = None
    flag: str = "--max-failures"

    # Below these a percentage is meaningless: one failed row of one is 100 %.
    MIN_FAILED = 3
    MIN_DONE = 20

    @classmethod
    def parse(cls, text: str) -> "FailureLimit":
        """`10` or `5%`. Raises ValueError for anything else."""
        if text.endswith("%"):
            percent = float(text[:-1])
            if not 0 < percent <= 100:
                raise ValueError(text)
            return cls(percent=percent)
        if int(text) < 1:
            raise ValueError(text)
        return cls(count=int(text))

    def reached(self, failed: int, done: int) -> bool:
        """Whether the run should stop."""
        if self.count is not None and failed >= self.count:
            return True
        return (
            self.percent is not None
            and failed >= self.MIN_FAILED
            and done >= self.MIN_DONE
            and failed * 100 >= self.percent * done
        )

    def __str__(self) -> str:
        if self.flag == "--fail-fast":
            return self.flag
        return f"{self.flag} {self.count}" if self.percent is None else f"{self.flag} {self.percent:g}%"
