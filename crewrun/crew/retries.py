"""`Task.retry_count`, how often a task was done again for its guardrails. Kept outside of tasks: no run writes to them.

A task serves many rows at once. Code that runs for a row, such as a guardrail or a callback, gets that row's count;
all other code gets that of the latest kickoff.
"""

from contextlib import suppress
from contextvars import ContextVar, Token
from weakref import WeakKeyDictionary

# By task. The dict is changed in place, since threads that a guardrail runs in share it with the row.
_Counts = dict[object, int]
_counts: ContextVar[_Counts | None] = ContextVar("crewrun_retry_counts", default=None)
_latest: WeakKeyDictionary[object, int] = WeakKeyDictionary()


def begin_counting(task: object) -> Token[_Counts | None]:
    """A row begins the task: none so far."""
    _latest[task] = 0
    return _counts.set({**(_counts.get() or {}), task: 0})


def end_counting(counted: Token[_Counts | None]) -> None:
    """The row is done with the task."""
    with suppress(ValueError):  # a kickoff that nobody waits for any more is closed from elsewhere
        _counts.reset(counted)


def count_retry(task: object) -> None:
    """The row does the task once more."""
    counts = _counts.get()
    if counts is not None:
        counts[task] = _latest[task] = counts[task] + 1


def retries_of(task: object) -> int:
    """The count of the row that this code runs for, else of the latest."""
    counts = _counts.get()
    return _latest.get(task, 0) if counts is None or task not in counts else counts[task]


def put(task: object, count: int) -> None:
    """Let the latest count be that."""
    _latest[task] = count
