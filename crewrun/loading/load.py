"""`Load`: one load of the user's code, and the `Stop` at its first kickoff or call of a model. `block` begins one.

A file that kicks off when it is loaded would be paid for each time, with inputs that no row has. `Load.stop` raises a
BaseException there, which `except Exception` in the user's code does not catch; `partial_modules` catches it at the end
of the module and keeps what that has defined so far. Code that ends the process by itself is stopped too (`exit_of`).
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

# Why a load stops where it most often does.
_NO_CALL = "no model is called while a file is loaded"


@dataclass(slots=True, eq=False)
class Stop:
    """Where a load stopped: the user's `place`, `what` came next there, and `why` that was not done.

    `has_ended` says that it ended a module or a function, and not only a thread or a call whose exception the user's
    code swallowed. `after` is what went wrong afterwards, if something did. `is_known` spares the warning.
    `is_final` says that a row would get no further.
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
    """Ends the user's code where it would call a model while it is loaded. No Exception: nobody handles it."""

    def __init__(self, stop: Stop) -> None:
        super().__init__(str(stop))
        self.stop = stop


class ModelCalled(BaseException):
    """Ends the user's code where it would call a model by a client of its own while its row runs offline.

    No Exception: clients wrap these, wait and try again.
    """


@dataclass(slots=True, eq=False)
class Load:
    """One load of the user's code, from the outermost `loading` to its end, and what it starts that outlives it."""

    thread: int
    stops: list[Stop] = field(default_factory=list)
    depth: int = 0  # how many of the user's modules are being executed, one imported by the other
    is_over: bool = False

    def stop(self, what: str, why: str = _NO_CALL, way_out: str = "") -> LoadStopped:
        """The exception to raise here, before `what`; the fields are those of a `Stop`."""
        place = place_in(sys._getframe(1)) or (None if self.is_over else place_in_thread(self.thread))
        stop = Stop(place, what, why, way_out)
        self.stops.append(stop)
        if self.is_over:
            stop.is_known = True
            warnings.warn(f"{stop.short} in a thread that was started while the file was loaded", CrewrunWarning, 3)
        return LoadStopped(stop)

    def ended_by(self, failed: BaseException, since: int) -> Stop | None:
        """The stop that ended a module or function which raised `failed`; None when it failed by itself.

        `since` is how many stops there were before it began: one that its code swallowed explains what went wrong then.
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
        """Say where it stopped, each place once."""
        places = set()
        for stop in self.stops:
            if not stop.is_known and stop.place not in places:
                warnings.warn(str(stop), CrewrunWarning, stacklevel=3)
            places.add(stop.place)
            stop.is_known = True


# A thread does not have the context of the code that started it: `audit` notes those that a load starts.
_started: WeakKeyDictionary[Thread, Load] = WeakKeyDictionary()
_current: ContextVar[Load | None] = ContextVar("crewrun_load", default=None)
# The inputs of the row that the user's code runs for.
row_inputs: ContextVar[Mapping[str, Any] | None] = ContextVar("crewrun_row_inputs", default=None)
# Whether that row runs offline (-m offline).
runs_offline: ContextVar[bool] = ContextVar("crewrun_runs_offline", default=False)


def current_load() -> Load | None:
    """The load that this code is a part of, or that started its thread; None in a row."""
    load = _current.get()
    if load is not None or not _started:
        return load
    return None if row_inputs.get() is not None else _started.get(threading.current_thread())


@contextmanager
def begun(load: Load) -> Iterator[None]:
    """The code in the block is a part of `load`."""
    token = _current.set(load)
    try:
        yield
    finally:
        _current.reset(token)
        load.is_over = True


def note_thread(thread: Thread, load: Load) -> None:
    """The `load` has started `thread`."""
    _started[thread] = load


def check_loaded() -> None:
    """Raise LoadStopped while user's code is loaded: for a kickoff, which would be paid for each time."""
    if (load := current_load()) is not None:
        raise load.stop(_called_here())


def stop_in(failed: BaseException) -> Stop | None:
    """The stop that `failed` is, has in its group, or was raised because of."""
    waiting, seen = [failed], set[int]()
    while waiting:
        one = waiting.pop()
        if isinstance(one, LoadStopped):
            return one.stop
        seen.add(id(one))
        inner = [one.__cause__, one.__context__, *getattr(one, "exceptions", ())]
        waiting += [other for other in inner if isinstance(other, BaseException) and id(other) not in seen]
    return None


def exit_of(failed: BaseException) -> Stop | None:
    """The stop that `failed` is: the end of the process, or arguments that are not there. None for anything else."""
    if wants_arguments(failed):
        way_out = "; give them defaults, or read them under `if __name__ == '__main__':`"
        what = "its own arguments, of which it has none here"
        is_final = not wants_options(failed)
        return Stop(place_of(failed), what, "", way_out, has_ended=True, is_final=is_final)
    if not isinstance(failed, SystemExit):
        return None
    what = f"sys.exit({'' if failed.code is None else repr(failed.code)})"
    way_out = "; put that under `if __name__ == '__main__':`"
    return Stop(place_of(failed), what, "", way_out, has_ended=True, is_final=True)


def wants_arguments(failed: BaseException) -> bool:
    """Whether the code that raised `failed` looked for arguments of its own command line."""
    if wants_options(failed):
        return True
    frames = traceback.extract_tb(failed.__traceback__)
    return isinstance(failed, IndexError) and bool(frames) and "argv" in (frames[-1].line or "")


def wants_options(failed: BaseException) -> bool:
    """Whether argparse ended the code that raised `failed`: a row answers it with its fields."""
    frames = traceback.extract_tb(failed.__traceback__)
    is_parser = any(os.path.basename(frame.filename) == "argparse.py" for frame in frames)
    return isinstance(failed, SystemExit) and failed.code == 2 and is_parser


def _called_here() -> str:
    """`kickoff()`: what of ours the user's code calls."""
    name = "kickoff"
    for frame in frames_from(sys._getframe(1)):
        file = frame.f_code.co_filename
        if is_ours(file):
            name = frame.f_code.co_name
        elif is_users(file):
            break
    return f"{name}()"
