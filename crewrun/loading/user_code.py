"""Which files are the user's own, and which line of theirs is running."""

import os
import sys
import sysconfig
import traceback
from collections.abc import Iterator
from functools import lru_cache
from types import FrameType

_OURS = os.path.dirname(os.path.dirname(__file__)) + os.sep
_STANDARD = sysconfig.get_path("stdlib") + os.sep
_INSTALLED = (f"{os.sep}site-packages{os.sep}", f"{os.sep}dist-packages{os.sep}")


def is_ours(file: str) -> bool:
    """Whether `file` is a part of crewrun."""
    return file.startswith(_OURS)


def is_installed(file: str) -> bool:
    """Whether `file` belongs to a package that pip installed."""
    return any(folder in file for folder in _INSTALLED) or _is_compiled(file)


def _is_compiled(file: str) -> bool:
    """Whether it is a module of Cython's that was installed without its source, such as `uvloop/loop.pyx`."""
    return file.endswith((".pyx", ".pxd", ".pxi")) and not os.path.exists(file)


@lru_cache(maxsize=4096)
def is_users(file: str) -> bool:
    """Whether `file` is the user's own: neither installed, nor Python's, nor crewrun's. A cell of IPython's is too."""
    if file.startswith("<ipython-input"):
        return True
    return not (file.startswith((_STANDARD, "<", _OURS)) or is_installed(file))


def shown(path: str) -> str:
    """`path` as messages show it: relative if it is below the working directory."""
    here = os.getcwd() + os.sep
    return path.removeprefix(here) if os.path.isabs(path) else path


def frames_from(frame: FrameType | None) -> Iterator[FrameType]:
    """`frame` and its callers, innermost first."""
    while frame is not None:
        yield frame
        frame = frame.f_back


def users_frame(frame: FrameType | None) -> FrameType | None:
    """The innermost frame of the user's own code among `frame` and its callers, None without one."""
    return next((one for one in frames_from(frame) if is_users(one.f_code.co_filename)), None)


def levels_to_users_frame(frame: FrameType) -> int | None:
    """The `stacklevel` with which a warning from `frame` is shown at the innermost line of the user's own code."""
    numbered = enumerate(frames_from(frame), start=1)
    return next((level for level, one in numbered if is_users(one.f_code.co_filename)), None)


def place_in(frame: FrameType | None) -> str | None:
    """The place in the user's code among `frame` and its callers, as `file.py:12`."""
    own = users_frame(frame)
    return None if own is None else f"{shown(own.f_code.co_filename)}:{own.f_lineno}"


def place_in_thread(thread: int) -> str | None:
    """The place in the user's code that the thread with this id is running."""
    return place_in(sys._current_frames().get(thread))


def place_of(failed: BaseException) -> str | None:
    """Where in the user's code `failed` was raised or passed through, as `file.py:12`; None if nowhere."""
    place = None
    for frame, line in traceback.walk_tb(failed.__traceback__):
        if is_users(frame.f_code.co_filename):
            place = f"{shown(frame.f_code.co_filename)}:{line}"
    return place


def place_raised(failed: BaseException) -> str | None:
    """As `place_of`, but None if `failed` was raised in other code that the user's code had called."""
    *_, (frame, line) = traceback.walk_tb(failed.__traceback__)
    file = frame.f_code.co_filename
    return f"{shown(file)}:{line}" if is_users(file) else None


def crewai_place_of(failed: BaseException) -> str | None:
    """Where in an installed CrewAI `failed` was raised, as `crewai/crew.py:12`; None if it was not there."""
    inner: tuple[str, int] | None = None
    for frame, line in traceback.walk_tb(failed.__traceback__):
        file = frame.f_code.co_filename
        folder = next((folder for folder in _INSTALLED if folder in file), None)
        if folder is not None and (inner is not None or f"{folder}crewai{os.sep}" in file):
            inner = file.rpartition(folder)[2], line
        elif is_ours(file):
            inner = None
    return None if inner is None else f"{inner[0]}:{inner[1]}"
