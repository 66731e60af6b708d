"""Reports the line of the user's code that a slow load is in."""

import linecache
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from threading import Event, Thread
from types import FrameType

from crewrun.loading.user_code import frames_from, is_ours, is_users, shown
from crewrun.terminal import say

# Twice as long as a slow import of large libraries.
PATIENCE_S = 10.0


@contextmanager
def warn_when_slow(thread: int) -> Iterator[None]:
    """Report once on stderr if the block takes longer than PATIENCE_S. `thread` is the id of the thread it runs in."""
    ended = Event()
    Thread(target=_watch, args=(thread, ended), name="crewrun-patience", daemon=True).start()
    try:
        yield
    finally:
        ended.set()


def _watch(thread: int, ended: Event) -> None:
    while not ended.wait(PATIENCE_S):
        frame = _loaded_frame(thread)
        if frame is not None:
            file, line = frame.f_code.co_filename, frame.f_lineno
            text = linecache.getline(file, line).strip()
            place = f"{shown(file)}:{line}"
            say(f"{place}: loading has taken {PATIENCE_S:g} s so far and is in this line: {text} (Ctrl-C ends it)")
            return


def _loaded_frame(thread: int) -> FrameType | None:
    """The innermost frame of the user's code that crewrun has called; callers of crewrun are not being loaded."""
    frames = list(frames_from(sys._current_frames().get(thread)))
    ours = [i for i, frame in enumerate(frames) if is_ours(frame.f_code.co_filename)]
    inner = frames[: ours[-1]] if ours else []
    return next((frame for frame in inner if is_users(frame.f_code.co_filename)), None)
