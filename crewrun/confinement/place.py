"""The wall around the file tools: where a path leads, that it is inside the root they were given, and that it still is
when it is opened. Which of the files inside they leave alone is in `private_files` and `crew_files`.
"""

import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

# To look up names in a directory needs no right to list it; macOS has no such flag.
_FOLDER = getattr(os, "O_PATH", os.O_RDONLY) | os.O_DIRECTORY


@dataclass(frozen=True, slots=True)
class Place:
    """A real `path` that is in `home`, a real directory, or is that.

    `spelled` is the same path with its symlinks, where it has any below `home`. `is_named`: the developer named it.
    """

    home: str
    path: str
    spelled: str
    is_named: bool = False

    @property
    def folder(self) -> str:
        """The directory that `path` is in."""
        return os.path.dirname(self.path)

    @property
    def name(self) -> str:
        """The last part of `path`."""
        return os.path.basename(self.path)


def inside(root: Path, path: str | Path) -> Path:
    """`path`, taken from `root`, absolute and without symlinks. It need not exist.

    Raises PermissionError when it leaves `root`: by `..`, as an absolute path elsewhere, through a symlink, or because
    it cannot be followed at all.
    """
    return Path(place_in(root, path).path)


def place_in(root: Path, path: str | Path, named: str | None = None) -> Place:
    """The place that `path` leads to from `root`, or from what the developer `named`, wherever that is: that file, or
    all in that directory. Raises PermissionError as `inside` does.
    """
    home, target = _followed(root, "."), _followed(root, path)
    top = None if named is None else _followed(root, named)
    if top is not None and target == top:
        return Place(str(top if top.is_dir() else top.parent), str(top), str(top), is_named=True)
    if top is not None and target.is_relative_to(top):
        home = top
    elif not target.is_relative_to(home):
        raise PermissionError(f"{str(path)!r} leads out of {str(home)!r}; only files inside may be used")
    spelled = os.path.normpath(os.path.join(_followed(root, "."), path))
    return Place(str(home), str(target), spelled if Path(spelled).is_relative_to(home) else str(target))


def _followed(root: Path, path: str | Path) -> Path:
    try:
        return (root.resolve() / path).resolve()
    except (ValueError, RuntimeError, OSError) as wrong:  # a null byte, a lone surrogate, a ring of symlinks
        raise PermissionError(f"{str(path)!r} is no path inside {str(root)!r}: {wrong}") from None


@contextmanager
def folder_at(home: str, folder: str, *, make: bool = False) -> Iterator[int]:
    """A descriptor of `folder`, `home` or one below it, for names in it. With `make` it is made where it is missing.

    No part below `home` is followed where it has become a symlink since: OSError.
    """
    inner = os.path.relpath(folder, home)
    if make:
        os.makedirs(home, exist_ok=True)
    fd = os.open(home, _FOLDER)
    try:
        for part in () if inner == os.curdir else inner.split(os.sep):
            if make:
                with suppress(FileExistsError):
                    os.mkdir(part, dir_fd=fd)
            above, fd = fd, os.open(part, _FOLDER | os.O_NOFOLLOW, dir_fd=fd)
            os.close(above)
        yield fd
    finally:
        os.close(fd)


def open_regular(place: Place) -> BinaryIO:
    """Open the file at `place` for reading.

    Raises OSError when a part of its path has become a symlink since, or when it is no regular file.
    """
    with folder_at(place.home, place.folder) as fd:
        return open_in(fd, place.name)


def open_in(folder_fd: int, name: str) -> BinaryIO:
    """Open the file `name` in a directory for reading. Raises OSError for a symlink and for what is no regular file."""
    # Without O_NONBLOCK, opening a FIFO waits for somebody to write into it.
    fd = os.open(name, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK, dir_fd=folder_fd)
    if stat.S_ISREG(os.fstat(fd).st_mode):
        return open(fd, "rb")
    os.close(fd)
    raise OSError(f"{name!r} is a pipe, a socket or a device, not a file")
