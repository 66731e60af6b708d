"""The wall around the file tools: where a path leads, and that it is inside the root they were given."""

import os
import stat
from pathlib import Path
from typing import BinaryIO


def inside(root: Path, path: str | Path) -> Path:
    """`path`, taken from `root`, absolute and without symlinks. It need not exist.

    Raises PermissionError when it leaves `root`: by `..`, as an absolute path elsewhere, through a symlink, or because
    it cannot be followed at all.
    """
    try:
        home = root.resolve()
        found = (home / path).resolve()
    except (ValueError, RuntimeError, OSError) as wrong:  # a null byte, a lone surrogate, a ring of symlinks
        raise PermissionError(f"{str(path)!r} is no path inside {str(root)!r}: {wrong}") from None
    if not found.is_relative_to(home):
        raise PermissionError(f"{str(path)!r} leads out of {str(home)!r}; only files inside may be used")
    return found


def problem_of(root: Path, path: str | None) -> str | None:
    """What `inside` says against `path`, None when nothing or when there is no path."""
    try:
        inside(root, path or "")
    except PermissionError as refused:
        return str(refused)
    return None


def open_regular(path: Path) -> BinaryIO:
    """Open what `inside` returned for reading.

    Raises OSError when its last part has become a symlink since, or is no regular file.
    """
    # Without O_NONBLOCK, opening a FIFO waits for somebody to write into it.
    file = open(os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK), "rb")  # noqa: SIM115  (the caller's to close)
    if stat.S_ISREG(os.fstat(file.fileno()).st_mode):
        return file
    file.close()
    raise OSError(f"{path.name!r} is a pipe, a socket or a device, not a file")
