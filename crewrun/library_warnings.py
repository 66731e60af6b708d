"""What becomes of other libraries' warnings: never an exception inside a call, and in a command never the terminal.

Filters such as `-W error`, `PYTHONWARNINGS=error` or `simplefilter("error")` in a user's file make exceptions of what a
library warns of, and the call that it was in would fail. `warnings.catch_warnings` is no way out: it changes the
filters of the whole process, so with several calls at once each undoes another's. Instead each filter that makes
exceptions is preceded by one with the same conditions that holds for libraries alone and says "default": what would
have been raised is shown. All other filters stay as they are.

A command (`take_over`) says so for all libraries and writes what they warn of to the run's log. In a program that
imports crewrun it holds inside of `tolerant` functions, and where a warning is shown is for that program to say.
"""

import os
import re
import sys
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from functools import wraps
from inspect import iscoroutinefunction
from typing import Any, NamedTuple, ParamSpec, TextIO, TypeVar, cast

from crewrun.errors import CrewrunWarning
from crewrun.redaction.redactor import redact

P = ParamSpec("P")
T = TypeVar("T")

# An entry of `warnings.filters`: action, message, category, module, line. Message and module are None, a text that is
# compared, or anything with a method `match`.
_Filter = tuple[str, Any, type[Warning], Any, int]

# The warnings kept while there is no log, and how many different ones a process writes.
_MOST = 200

_STDLIB = os.path.dirname(os.__file__) + os.sep
_CREWRUN = os.path.dirname(__file__) + os.sep
_INSTALLED = re.compile(r"[/\\](?:site|dist)-packages[/\\]")
_NEVER_AWAITED = re.compile("coroutine '.*' was never awaited")

_is_tolerant: ContextVar[bool] = ContextVar("crewrun_is_tolerant", default=False)


class LibraryWarning(NamedTuple):
    """One warning. `place` is file and line, from the folder on that libraries are installed in."""

    place: str
    category: str
    message: str


class _Process:
    """What a command says of its process, whose filters and display there are once."""

    def __init__(self) -> None:
        self.is_command = False
        self.show: Callable[..., None] = warnings.showwarning
        self.write: Callable[[LibraryWarning], None] | None = None
        self.unwritten: list[LibraryWarning] = []
        self.seen: set[LibraryWarning] = set()


_process = _Process()


def take_over() -> None:
    """Be the process of a command: from here on no library's warning is an exception or gets to the terminal."""
    if not _process.is_command:
        _process.is_command = True
        _process.show = warnings.showwarning
        warnings.showwarning = _show
    _soften_filters()


def tolerant(function: Callable[P, T]) -> Callable[P, T]:
    """Make `function`, async or not, one in which no warning becomes an exception, nor in what it starts."""
    if iscoroutinefunction(function):

        @wraps(function)
        async def awaited(*args: P.args, **kwargs: P.kwargs) -> Any:
            before = _enter()
            try:
                return await function(*args, **kwargs)
            finally:
                _is_tolerant.set(before)

        return cast("Callable[P, T]", awaited)

    @wraps(function)
    def called(*args: P.args, **kwargs: P.kwargs) -> T:
        before = _enter()
        try:
            return function(*args, **kwargs)
        finally:
            _is_tolerant.set(before)

    return called


@contextmanager
def written_by(write: Callable[[LibraryWarning], None]) -> Iterator[None]:
    """In the block, a command gives each different warning to `write`, first those that came before. Any thread may."""
    _process.write = write
    try:
        while _process.unwritten:
            write(_process.unwritten.pop(0))
        yield
    finally:
        _process.write = None


def show_again(caught: list[warnings.WarningMessage]) -> None:
    """Show what `catch_warnings(record=True)` has kept from being shown."""
    for warning in caught:
        warnings.showwarning(warning.message, warning.category, warning.filename, warning.lineno)


def _enter() -> bool:
    """Be tolerant; whether it was so before, to be set again. Not by a token, which a coroutine that is closed from
    elsewhere could not use.
    """
    _soften_filters()
    before = _is_tolerant.get()
    _is_tolerant.set(True)
    return before


class _OfLibraries:
    """The module field of the filter before `error`: it has that one's condition, where libraries are tolerated."""

    __slots__ = ("error",)

    def __init__(self, error: _Filter) -> None:
        self.error = error

    def match(self, module: str) -> bool:
        """Whether a warning from `module` is one that must not be raised."""
        wanted = self.error[3]
        if not (wanted is None or (wanted == module if isinstance(wanted, str) else wanted.match(module))):
            return False
        return _is_tolerant.get() or (_process.is_command and _is_library(module))


def _soften_filters() -> None:
    """Put a filter for libraries before each one that makes exceptions, where it is missing.

    Done at each call, since the user's code, or pytest, may have changed the filters. It takes half a microsecond.
    """
    filters = cast("list[_Filter]", warnings.filters)
    entries = list(filters)  # another thread may change the list
    for at, entry in reversed(list(enumerate(entries))):
        if entry[0] != "error" or issubclass(entry[2], CrewrunWarning):
            continue
        before = entries[at - 1][3] if at else None
        if not (isinstance(before, _OfLibraries) and before.error == entry):
            filters.insert(at, ("default", entry[1], entry[2], _OfLibraries(entry), entry[4]))


def _is_library(module: str) -> bool:
    """Whether `module` is installed, Python's or ours. Warnings of the compiler have a path for it."""
    file = module if os.sep in module else getattr(sys.modules.get(module), "__file__", None)
    return module.partition(".")[0] in sys.stdlib_module_names if file is None else _is_installed(file)


def _is_installed(file: str) -> bool:
    return file.startswith((_STDLIB, _CREWRUN, "<frozen ")) or _INSTALLED.search(file) is not None


def _show(
    message: Warning | str,
    category: type[Warning],
    filename: str,
    lineno: int,
    file: TextIO | None = None,
    line: str | None = None,
) -> None:
    """Show a warning of ours or of the user's code as Python does; log the others.

    Who forgets an `await` is not to be found in the frame in which that is noticed, so that is always shown.
    """
    is_ours = issubclass(category, CrewrunWarning) or _NEVER_AWAITED.match(str(message))
    if is_ours or file is not None or not _is_installed(filename):
        _process.show(message, category, filename, lineno, file, line)
        return
    place = f"{_INSTALLED.split(filename)[-1]}:{lineno}"
    _log(LibraryWarning(place, category.__name__, redact(str(message))[:1000]))


def _log(warning: LibraryWarning) -> None:
    """Write `warning` to the run's log, or keep it until there is one; and to Python's logging, for who set that up."""
    if warning in _process.seen or len(_process.seen) >= _MOST:
        return
    _process.seen.add(warning)
    if _process.write is not None:
        _process.write(warning)
    else:
        _process.unwritten.append(warning)
    import logging

    logger = logging.getLogger("py.warnings")  # as logging.captureWarnings names it
    if not logger.handlers:
        logger.addHandler(logging.NullHandler())  # else logging prints what nobody set up a handler for
    logger.warning("%s: %s: %s", *warning)
