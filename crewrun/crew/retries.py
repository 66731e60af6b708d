"""`Task.retry_count`: how often a task was retried for its guardrails. Kept outside tasks: runs never write to them.

A task serves many rows at once. Code that runs for a row, such as a guardrail or a callback, gets that row's count;
other code gets the count of the latest kickoff.
"""

from contextlib import suppress
from contextvars import ContextVar, Token
from weakref import WeakKeyDictionary

# By task. The dict is changed in place, so that a guardrail's thread, which has a copy of the context, sees it.
_Counts = dict[object, int]
_counts: ContextVar[_Counts | None] = ContextVar("crewrun_retry_counts", default=None)
_latest: WeakKeyDictionary[object, int] = WeakKeyDictionary()


def begin_counting(task: object) -> Token[_Counts | None]:
    """Set the count to 0, as a row begins the task."""
    _latest[task] = 0
    return _counts.set({**(_counts.get() or {}), task: 0})


def end_counting(counted: Token[_Counts | None]) -> None:
    """Forget the row's count, as it ends the task."""
    with suppress(ValueError):  # an abandoned kickoff is closed in another context
        _counts.reset(counted)


def count_retry(task: object) -> None:
    """Count a retry of the task by the current row."""
    counts = _counts.get()
    if counts is not None:
        counts[task] = _latest[task] = counts[task] + 1


def retries_of(task: object) -> int:
    """The count of the row that the caller runs for, else of the latest kickoff."""
    counts = _counts.get()
    return _latest.get(task, 0) if counts is None or task not in counts else counts[task]


def put(task: object, count: int) -> None:
    """Set the count of the latest kickoff."""
    _latest[task] = count
