"""Files that nobody wants if their command ends early: `replacement` of a file, and `temporary` ones.

They are removed when the command is done or has failed, and by `remove_all` when a signal ends the process. What a kill
left of a replacement is removed by the next one for the same file.
"""

import fcntl
import os
import re
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

# A process has one set of files to remove when it is ended.
_files: set[str] = set()


def remove_all() -> None:
    """Remove all of them, because the process ends now."""
    for file in [*_files]:
        with suppress(OSError):
            os.unlink(file)


@contextmanager
def temporary(file: str) -> Iterator[None]:
    """Have `file` removed if a signal ends the process before this block ends. The block removes it otherwise."""
    _files.add(file)
    try:
        yield
    finally:
        _files.discard(file)


@contextmanager
def replacement(path: Path) -> Iterator[Path]:
    """A new, empty file beside `path`, readable by its owner only, which the block fills and renames to `path`.

    Several processes may have one for the same `path`: the one that renames last wins. Raises OSError.
    """
    _remove_stale(path)
    part = path.with_name(f".{path.name}.{os.getpid()}.part")
    with temporary(str(part)):
        fd = os.open(part, os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(fd, fcntl.LOCK_SH)  # tells others that it is not stale
            yield part
        finally:
            part.unlink(missing_ok=True)
            os.close(fd)


def _remove_stale(path: Path) -> None:
    """Remove replacements whose process was killed: nothing holds their lock."""
    name = re.compile(rf"\.{re.escape(path.name)}\.\d+\.part")
    with suppress(OSError):
        for entry in os.listdir(path.parent):
            if name.fullmatch(entry):
                _remove_unlocked(path.with_name(entry))


def _remove_unlocked(part: Path) -> None:
    with suppress(OSError):
        fd = os.open(part, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
            part.unlink()
        finally:
            os.close(fd)
