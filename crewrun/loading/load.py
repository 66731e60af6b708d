"""`Load`: one load of the user's code, with a `LoadStop` at its first kickoff or model call. `block` begins one.

A file that kicks off while it is loaded would cost money each time, with inputs that no row has. `Load.stop` makes a
BaseException to raise there, which `except Exception` in the user's code does not catch. `partial_modules` catches it
at the end of the module and keeps what the module has defined so far. Code that exits the process is stopped too
(`exit_of`).
"""

import os
import sys
import threading
import traceback
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field
from threading import Thread
from typing import Any
from weakref import WeakKeyDictionary

from crewrun.errors import CrewrunWarning
from crewrun.loading.user_code import frames_from, is_ours, is_users, place_in, place_in_thread, place_of

# The most frequent reason for a stop.
_NO_CALL = "no model is called while a file is loaded"


@dataclass(slots=True, eq=False)
class LoadStop:
    """Where a load stopped: the `place` in the user's code, `what` it was about to do, and `why` that was prevented.

    `has_ended`: it ended a module or a function, and not just a thread or a call whose exception the user's code
    swallowed. `after` is what went wrong afterwards, if anything. `is_known`: no warning is needed. `is_final`: a row
    would get no further either.
    """

    place: str | None
    what: str
    why: str = _NO_CALL
    way_out: str = ""
    has_ended: bool = False
    after: str = ""
    is_known: bool = False
    is_final: bool = False

    def __str__(self) -> str:
        then = "what follows in the file was not run" if self.has_ended else "the file went on without it"
        why = f": {self.why}" if self.why else ""
        after = f"; then {self.after}" if self.after else ""
        return f"{self.short}{why}, and {then}{after}{self.way_out}"

    @property
    def short(self) -> str:
        """`demo.py:12: loading stopped at kickoff()`."""
        return f"{self.place or 'a thread'}: loading stopped at {self.what}"


class LoadStopped(BaseException):
    """Ends the user's code where it would call a model while it is loaded.

    Not an Exception, so that handlers in the user's code do not catch it.
    """

    def __init__(self, stop: LoadStop) -> None:
        super().__init__(str(stop))
        self.stop = stop


class ModelCalled(BaseException):
    """Ends the user's code where it would call a model with its own client in a row of an offline run.

    Not an Exception: clients wrap those, wait and try again.
    """


@dataclass(slots=True, eq=False)
class Load:
    """One load of the user's code: from the outermost `loading` to its end, and in threads that outlive it."""

    thread: int
    stops: list[LoadStop] = field(default_factory=list)
    depth: int = 0  # how many nested imports of the user's modules are being executed
    is_over: bool = False

    def stop(self, what: str, why: str = _NO_CALL, way_out: str = "") -> LoadStopped:
        """Record a `LoadStop` with these fields at the current place, and return the exception to raise."""
        place = place_in(sys._getframe(1)) or (None if self.is_over else place_in_thread(self.thread))
        stop = LoadStop(place, what, why, way_out)
        self.stops.append(stop)
        if self.is_over:
            stop.is_known = True
            warnings.warn(f"{stop.short} in a thread that was started while the file was loaded", CrewrunWarning, 3)
        return LoadStopped(stop)

    def ended_by(self, failed: BaseException, since: int) -> LoadStop | None:
        """The stop that ended a module or function which raised `failed`; None if it failed for another reason.

        `since` is the number of stops before it began. A later stop that its code swallowed explains the failure.
        """
        stop = stop_in(failed)
        if stop is not None:
            stop.place = stop.place or place_of(failed)
        elif isinstance(failed, Exception):
            stop = next((one for one in self.stops[since:] if not one.has_ended), None)
            if stop is not None:
                stop.after = f"{place_of(failed) or 'it'} raised {type(failed).__name__}: {failed}"
        if stop is not None:
            stop.has_ended = True
        return stop

    def warn(self) -> None:
        """Warn about each place where it stopped, once."""
        places = set()
        for stop in self.stops:
            if not stop.is_known and stop.place not in places:
                warnings.warn(str(stop), CrewrunWarning, stacklevel=3)
            places.add(stop.place)
            stop.is_known = True


# Threads do not inherit the context of the code that starts them, so `audit` records those that a load starts.
_started: WeakKeyDictionary[Thread, Load] = WeakKeyDictionary()
_current: ContextVar[Load | None] = ContextVar("crewrun_load", default=None)
# The inputs of the row that the user's code runs for.
row_inputs: ContextVar[Mapping[str, Any] | None] = ContextVar("crewrun_row_inputs", default=None)
# Whether that row's run is offline (-m offline).
is_offline_row: ContextVar[bool] = ContextVar("crewrun_is_offline_row", default=False)


def current_load() -> Load | None:
    """The load that this code belongs to, or that started its thread; None in a row."""
    load = _current.get()
    if load is not None or not _started:
        return load
    return None if row_inputs.get() is not None else _started.get(threading.current_thread())


@contextmanager
def begun(load: Load) -> Iterator[None]:
    """The code in the block belongs to `load`."""
    token = _current.set(load)
    try:
        yield
    finally:
        _current.reset(token)
        load.is_over = True


def note_thread(thread: Thread, load: Load) -> None:
    """Record that `load` has started `thread`."""
    _started[thread] = load


def check_loaded() -> None:
    """Raise LoadStopped if the user's code is being loaded. Kickoffs call this, since each load would pay for them."""
    if (load := current_load()) is not None:
        raise load.stop(_called_here())


def stop_in(failed: BaseException) -> LoadStop | None:
    """The stop of `failed`, of an exception in its group, or of its causes; None without one."""
    waiting, seen = [failed], set[int]()
    while waiting:
        one = waiting.pop()
        if isinstance(one, LoadStopped):
            return one.stop
        seen.add(id(one))
        inner = [one.__cause__, one.__context__, *getattr(one, "exceptions", ())]
        waiting += [other for other in inner if isinstance(other, BaseException) and id(other) not in seen]
    return None


def exit_of(failed: BaseException) -> LoadStop | None:
    """The stop that `failed` stands for: an exit of the process or missing arguments. None for anything else."""
    if wants_arguments(failed):
        way_out = "; give them defaults, or read them under `if __name__ == '__main__':`"
        what = "its own arguments, of which it has none here"
        is_final = not wants_options(failed)
        return LoadStop(place_of(failed), what, "", way_out, has_ended=True, is_final=is_final)
    if not isinstance(failed, SystemExit):
        return None
    what = f"sys.exit({'' if failed.code is None else repr(failed.code)})"
    way_out = "; put that under `if __name__ == '__main__':`"
    return LoadStop(place_of(failed), what, "", way_out, has_ended=True, is_final=True)


def wants_arguments(failed: BaseException) -> bool:
    """Whether the code that raised `failed` looked for arguments of its own command line."""
    if wants_options(failed):
        return True
    frames = traceback.extract_tb(failed.__traceback__)
    return isinstance(failed, IndexError) and bool(frames) and "argv" in (frames[-1].line or "")


def wants_options(failed: BaseException) -> bool:
    """Whether argparse ended the code that raised `failed`. In a row, its fields are the arguments."""
    frames = traceback.extract_tb(failed.__traceback__)
    is_parser = any(os.path.basename(frame.filename) == "argparse.py" for frame in frames)
    return isinstance(failed, SystemExit) and failed.code == 2 and is_parser


def _called_here() -> str:
    """The function of crewrun that the user's code calls, as `kickoff()`."""
    name = "kickoff"
    for frame in frames_from(sys._getframe(1)):
        file = frame.f_code.co_filename
        if is_ours(file):
            name = frame.f_code.co_name
        elif is_users(file):
            break
    return f"{name}()"
