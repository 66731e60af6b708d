"""The breaker: decides whether the failures so far mean that the remaining rows would fail as well.

The engine then stops the run and leaves the rows that failed this way pending. A key, account or model that every call
is refused for, and a provider that does not answer at all, are noticed by `limits/circuit_breaker.py` first. When rows
fail because of an outage all the same, the breaker waits as long as the circuit breaker would.
"""

from collections import Counter, deque
from typing import Final, NamedTuple

import anyio

from crewrun.batch.failures import fingerprint
from crewrun.errors import Category
from crewrun.row import ErrorRecord, Outcome

# How many rows must have failed alike when no other row has ended yet. Fewer could be chance; each one more is paid
# for.
FEWEST: Final = 5

_PASSING = frozenset({Category.SERVER, Category.NETWORK})
# The only errors of category `input` that are not the fault of a single line.
_DEFINITION = frozenset({"DefinitionError", "UsageError"})
_NOT_SENT = "NotRecorded"
_SHOWN_CHARS = 200


class Trip(NamedTuple):
    """The run should stop. `why` completes the sentence "stopped: …"."""

    why: str
    category: Category
    fingerprint: str


class Breaker:
    """Observes every row that ends, in order, and trips when one fingerprint dominates.

    - That is when all of the first rows, at least `FEWEST`, or more than half of the last `window` rows have the same
      fingerprint, whatever its category: five answers that a guardrail refuses mean that the guardrail is broken.
    - Failures on the provider's side must have dominated for `outage_patience_s` seconds.

    Lines of the input that cannot be run, and calls that --replay does not send, cost nothing and are not counted.
    """

    def __init__(self, outage_patience_s: float = 300.0, window: int = 50) -> None:
        if window < FEWEST or not outage_patience_s >= 0:
            raise ValueError(
                f"window is {window!r}, at least {FEWEST}; patience is {outage_patience_s!r} s, at least 0"
            )
        self._patience_s = outage_patience_s
        self._last: deque[str | None] = deque(maxlen=window)
        self._counts: Counter[str] = Counter()
        # The first rows that began, with their failures: the first rows to end may just be those that fail fast.
        self._first: dict[int, str | None] = {}
        self._since: dict[str, float] = {}  # since when failures on the provider's side have dominated
        self._trip: Trip | None = None

    def begin(self, index: int) -> None:
        """Note that a row begins. The first calls determine which rows are the first."""
        if len(self._first) < FEWEST:
            self._first[index] = None

    def observe(self, outcome: Outcome, *, failed_before: bool = False) -> Trip | None:
        """Count a row. Returns the trip if the run should stop, also for every later row with the same failure.

        A row that was answered from the journal alone says nothing about the present. Nor does a row that
        `failed_before`, in an earlier session: five rows at the head of an input that always fail must not keep every
        session from the rows after them.
        """
        error = outcome.error
        if error is None:
            if not _is_replayed(outcome):
                self._count(None)
            return None
        if (error.category == Category.INPUT and error.type not in _DEFINITION) or error.type == _NOT_SENT:
            return None
        mark = fingerprint(error, outcome.row.inputs)
        why = None
        if not failed_before and not _is_replayed(outcome):
            self._count(mark)
            if outcome.row.index in self._first:
                self._first[outcome.row.index] = mark
            why = self._systemic(error, mark)
        if why and self._trip is None:
            self._trip = Trip(f"{why}: {_describe(error)}", error.category, mark)
        return self._trip if self._trip and (why or self._trip.fingerprint == mark) else None

    def _systemic(self, error: ErrorRecord, mark: str) -> str | None:
        alike, ended = self._counts[mark], len(self._last)
        if not self._are_too_many(mark):
            return None
        if error.category in _PASSING and error.retryable:
            now = anyio.current_time()
            if now - self._since.setdefault(mark, now) < self._patience_s:
                return None
        if ended < (self._last.maxlen or 0):
            return f"the first {ended} rows all failed alike"
        return f"{alike} of the last {ended} rows failed alike"

    def _are_too_many(self, mark: str) -> bool:
        alike, ended = self._counts[mark], len(self._last)
        if ended == self._last.maxlen and 2 * alike > ended:
            return True
        firsts = list(self._first.values())
        return alike == ended >= FEWEST and (not firsts or firsts == [mark] * FEWEST)

    def _count(self, mark: str | None) -> None:
        last, counts = self._last, self._counts
        if len(last) == last.maxlen and (gone := last[0]) is not None:
            counts[gone] -= 1
            if not counts[gone]:
                del counts[gone]
        last.append(mark)
        if mark is not None:
            counts[mark] += 1
        if self._since:
            self._since = {of: at for of, at in self._since.items() if self._are_too_many(of)}


def _is_replayed(outcome: Outcome) -> bool:
    return outcome.replayed is not None and outcome.attempts <= outcome.replayed.attempts


def _describe(error: ErrorRecord) -> str:
    message = " ".join(error.message.split())
    shown = message if len(message) <= _SHOWN_CHARS else message[:_SHOWN_CHARS] + "…"
    return f"{error.category}{f' in task {error.task!r}' if error.task else ''}: {shown}"
