"""Says in which line of the user's a load is that takes long."""

import linecache
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from threading import Timer

from crewrun.loading.user_code import shown, users_frame
from crewrun.terminal import say

# A slow import of large libraries takes about half as long.
PATIENCE_S = 10.0


@contextmanager
def told_when_slow(thread: int) -> Iterator[None]:
    """If what the thread of this number does in the block takes longer than PATIENCE_S, say so once on stderr."""
    timer = Timer(PATIENCE_S, _tell, [thread])
    timer.name, timer.daemon = "crewrun-patience", True
    timer.start()
    try:
        yield
    finally:
        timer.cancel()


def _tell(thread: int) -> None:
    frame = users_frame(sys._current_frames().get(thread))
    if frame is None:
        return
    file, line = frame.f_code.co_filename, frame.f_lineno
    text = linecache.getline(file, line).strip()
    say(f"{shown(file)}:{line}: is being loaded for {PATIENCE_S:g} s now, and is in this line: {text} (Ctrl-C ends it)")
