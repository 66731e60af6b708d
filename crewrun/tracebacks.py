"""`shorten`: an error's traceback as users see it in their own programs, without crewrun's frames.

    try:
        return await …
    except Exception as error:
        shorten(error)
        raise

around what a public method does. What stays: the user's lines that led there, and those in their tools, callbacks and
guardrails that the error came through. The 20 frames in between, and the event loop's and the HTTP client's, tell a
user nothing; for a bug in crewrun they tell everything, so such an error stays as it is.
"""

import os
import sysconfig
from asyncio import CancelledError
from collections.abc import Callable, Iterator
from functools import wraps
from types import TracebackType
from typing import ParamSpec, TypeVar

from crewrun.errors import CrewrunError
from crewrun.loading.user_code import is_installed, is_ours
from crewrun.row_context import current_row_context

P = ParamSpec("P")
T = TypeVar("T")

# Set to anything but 0 to see all frames.
FULL_TRACEBACK = "CREWRUN_FULL_TRACEBACK"
_STANDARD = sysconfig.get_path("stdlib") + os.sep
# Chains and groups deeper than this are left as they are.
_MAX_DEPTH = 20


def shorten(error: BaseException) -> None:
    """Remove the frame that calls this, and those below it that are not the user's, from `error` and what it came from.

    A call in a row of a batch is not shortened: the run's own reports read the whole traceback. Nor is an error that is
    neither crewrun's own nor raised in code of the user's.
    """
    if current_row_context() is None and os.environ.get(FULL_TRACEBACK, "0") in ("", "0"):
        _shorten(error, _MAX_DEPTH)


def shortened(function: Callable[P, T]) -> Callable[P, T]:
    """`function`, whose errors are shortened."""

    @wraps(function)
    def called(*args: P.args, **kwargs: P.kwargs) -> T:
        try:
            return function(*args, **kwargs)
        except Exception as error:
            shorten(error)
            raise

    return called


def _shorten(error: BaseException, depth: int) -> None:
    if not depth:
        return
    if isinstance(error, BaseExceptionGroup):
        for inner in error.exceptions:
            _shorten(inner, depth - 1)
    entries = list(_entries(error.__traceback__))
    tail = _after_ours(entries)
    is_understood = isinstance(error, CrewrunError | KeyboardInterrupt | CancelledError | BaseExceptionGroup)
    if not is_understood and not any(map(_is_users, tail)):
        return
    begin = next((at for at, entry in enumerate(tail) if _is_users(entry)), len(tail))
    above = entries[: len(entries) - len(tail)]
    error.__traceback__ = _linked([*filter(_is_users, above), *tail[begin:]])
    if error.__cause__ is not None:
        _shorten_chained(error.__cause__, depth - 1)
    elif error.__context__ is not None and not error.__suppress_context__:
        _shorten(error.__context__, depth - 1)
        error.__suppress_context__ = not _passed_users_code(error.__context__)


def _shorten_chained(cause: BaseException, depth: int) -> None:
    """As `_shorten`. A library's error that became one of ours stays as its message alone."""
    if _passed_users_code(cause):
        _shorten(cause, depth)
    else:
        cause.__traceback__ = None
        if cause.__cause__ is not None and depth:
            _shorten_chained(cause.__cause__, depth - 1)
        else:
            cause.__suppress_context__ = True


def _passed_users_code(error: BaseException) -> bool:
    return any(map(_is_users, _entries(error.__traceback__)))


def _entries(trace: TracebackType | None) -> Iterator[TracebackType]:
    while trace is not None:
        yield trace
        trace = trace.tb_next


def _after_ours(entries: list[TracebackType]) -> list[TracebackType]:
    """The entries below the innermost frame of ours."""
    ours = [at for at, entry in enumerate(entries) if is_ours(entry.tb_frame.f_code.co_filename)]
    return entries[ours[-1] + 1 :] if ours else entries


def _is_users(entry: TracebackType) -> bool:
    file = entry.tb_frame.f_code.co_filename
    return not (is_ours(file) or is_installed(file) or file.startswith((_STANDARD, "<frozen ")))


def _linked(entries: list[TracebackType]) -> TracebackType | None:
    trace: TracebackType | None = None
    for entry in reversed(entries):
        trace = TracebackType(trace, entry.tb_frame, entry.tb_lasti, entry.tb_lineno)
    return trace
