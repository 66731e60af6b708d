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
    home, found = _followed(root, "."), _followed(root, path)
    if not found.is_relative_to(home):
        raise PermissionError(f"{str(path)!r} leads out of {str(home)!r}; only files inside may be used")
    return found


def inside_or_named(root: Path, path: str, named: str | None) -> Path:
    """As `inside`, and besides that what the developer `named`, wherever it is: that file, or all in that directory."""
    if named is not None:
        found = _followed(root, path)
        if found.is_relative_to(_followed(root, named)):
            return found
    return inside(root, path)


def _followed(root: Path, path: str | Path) -> Path:
    try:
        return (root.resolve() / path).resolve()
    except (ValueError, RuntimeError, OSError) as wrong:  # a null byte, a lone surrogate, a ring of symlinks
        raise PermissionError(f"{str(path)!r} is no path inside {str(root)!r}: {wrong}") from None


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
