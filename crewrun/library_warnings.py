"""Handles other libraries' warnings: they never become exceptions inside a call, and a command never prints them.

Filters such as `-W error`, `PYTHONWARNINGS=error` or `simplefilter("error")` in a user's file turn a library's warnings
into exceptions, which would fail the call they occur in. `warnings.catch_warnings` does not help: it changes the
filters of the whole process, so concurrent calls would undo each other's changes. Instead, each "error" filter is
preceded by one with the same conditions that applies to libraries only and says "default": warnings that would have
been raised are shown. All other filters stay as they are.

In a command (`take_over`) this applies to all libraries, and their warnings go to the run's log. In a program that
imports crewrun it applies inside `tolerant` functions, and the program decides where warnings are shown.
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

# An entry of `warnings.filters`: action, message, category, module, line. Message and module are None, a text to be
# equal to, or any object with a `match` method.
_Filter = tuple[str, Any, type[Warning], Any, int]

# How many different warnings a process writes; some libraries put a number into each, and would fill the log.
_MOST = 200

_STDLIB = os.path.dirname(os.__file__) + os.sep
_CREWRUN = os.path.dirname(__file__) + os.sep
_INSTALLED = re.compile(r"[/\\](?:site|dist)-packages[/\\]")
_NEVER_AWAITED = re.compile("coroutine '.*' was never awaited")

_is_tolerant: ContextVar[bool] = ContextVar("crewrun_is_tolerant", default=False)


class LibraryWarning(NamedTuple):
    """One warning. `place` is the file, relative to the folder that libraries are installed in, and the line."""

    place: str
    category: str
    message: str


class _Process:
    """The state of a command's process, which has only one list of filters and one `showwarning`."""

    def __init__(self) -> None:
        self.is_command = False
        self.show: Callable[..., None] = warnings.showwarning
        self.write: Callable[[LibraryWarning], None] | None = None
        self.unwritten: list[LibraryWarning] = []
        self.seen: set[LibraryWarning] = set()


_process = _Process()


def take_over() -> None:
    """Treat this process as a command: from now on no library's warning is raised or reaches the terminal."""
    if not _process.is_command:
        _process.is_command = True
        _process.show = warnings.showwarning
        warnings.showwarning = _show
    _soften_filters()


def tolerant(function: Callable[P, T]) -> Callable[P, T]:
    """Wrap `function`, async or not, so that no warning becomes an exception in it or in tasks that it starts."""
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
    """Inside the block, pass each distinct warning of a command to `write`, from any thread, earlier ones first."""
    _process.write = write
    try:
        while _process.unwritten:
            write(_process.unwritten.pop(0))
        yield
    finally:
        _process.write = None


def warn(text: str) -> None:
    """Warn of something that must fail no row and end no thread: it is shown also where filters say "error"."""
    try:
        warnings.warn(text, CrewrunWarning, stacklevel=3)
    except CrewrunWarning as raised:
        code = sys._getframe(1)
        warnings.showwarning(raised, CrewrunWarning, code.f_code.co_filename, code.f_lineno)


def show_again(caught: list[warnings.WarningMessage]) -> None:
    """Show the warnings that `catch_warnings(record=True)` has recorded."""
    for warning in caught:
        warnings.showwarning(warning.message, warning.category, warning.filename, warning.lineno)


def _enter() -> bool:
    """Turn tolerance on and return the previous state for restoring. A context variable's token would not do: a
    coroutine that is closed from another context could not reset it.
    """
    _soften_filters()
    before = _is_tolerant.get()
    _is_tolerant.set(True)
    return before


class _OfLibraries:
    """The module field of the filter that precedes `error`: it matches the same modules, where they are tolerated."""

    __slots__ = ("error",)

    def __init__(self, error: _Filter) -> None:
        self.error = error

    def match(self, module: str) -> bool:
        """Whether a warning from `module` must not be raised."""
        wanted = self.error[3]
        if not (wanted is None or (wanted == module if isinstance(wanted, str) else wanted.match(module))):
            return False
        return _is_tolerant.get() or (_process.is_command and _is_library(module))


def _soften_filters() -> None:
    """Insert a filter for libraries before each "error" filter that does not have one yet.

    This runs on every call, since the user's code, or pytest, may change the filters. It takes half a microsecond.
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
    """Whether `module` is installed, Python's own or ours. Warnings of the compiler give a path instead of a name."""
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
    """Show our own warnings and those of the user's code as Python does; log the others.

    A coroutine that was never awaited is always shown: the frame in which that is noticed does not tell whose it is.
    """
    is_ours = issubclass(category, CrewrunWarning) or _NEVER_AWAITED.match(str(message))
    if is_ours or file is not None or not _is_installed(filename):
        _process.show(message, category, filename, lineno, file, line)
        return
    place = f"{_INSTALLED.split(filename)[-1]}:{lineno}"
    _log(LibraryWarning(place, category.__name__, redact(str(message))[:1000]))


def _log(warning: LibraryWarning) -> None:
    """Write `warning` to the run's log, or keep it until there is one, and pass it to Python's logging as well."""
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
        logger.addHandler(logging.NullHandler())  # without any handler, logging prints to stderr
    logger.warning("%s: %s: %s", *warning)
