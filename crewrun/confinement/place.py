"""Confines the file tools to their root: where a path leads, whether that is inside the root, and that it still is when
the file is opened. Which files inside are off limits is decided in `private_files` and `crew_files`.
"""

import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

# Looking up names in a directory does not take the permission to list it, given O_PATH; macOS has no such flag.
_FOLDER = getattr(os, "O_PATH", os.O_RDONLY) | os.O_DIRECTORY


@dataclass(frozen=True, slots=True)
class Place:
    """A `path` without symlinks, inside the real directory `home` or equal to it.

    `spelled` is the same path with the symlinks that it has below `home`. `is_named` says that the developer named it.
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
    """`path`, relative to `root`, made absolute and without symlinks. It need not exist.

    Raises PermissionError when it leaves `root` (through `..`, as an absolute path elsewhere, or through a symlink) or
    cannot be resolved at all.
    """
    return Path(place_in(root, path).path)


def place_in(root: Path, path: str | Path, named: str | None = None) -> Place:
    """The place that `path` leads to from `root`. What the developer `named`, a file or a directory with all that is in
    it, is allowed wherever it is. Raises PermissionError as `inside` does.
    """
    home, target = _resolve(root, "."), _resolve(root, path)
    top = None if named is None else _resolve(root, named)
    if top is not None and target == top:
        return Place(str(top if top.is_dir() else top.parent), str(top), str(top), is_named=True)
    if top is not None and target.is_relative_to(top):
        home = top
    elif not target.is_relative_to(home):
        raise PermissionError(f"{str(path)!r} leads out of {str(home)!r}; only files inside may be used")
    spelled = os.path.normpath(os.path.join(_resolve(root, "."), path))
    return Place(str(home), str(target), spelled if Path(spelled).is_relative_to(home) else str(target))


def _resolve(root: Path, path: str | Path) -> Path:
    try:
        return (root.resolve() / path).resolve()
    except (ValueError, RuntimeError, OSError) as error:  # a null byte, a lone surrogate, a symlink loop
        raise PermissionError(f"{str(path)!r} is no path inside {str(root)!r}: {error}") from None


@contextmanager
def folder_at(home: str, folder: str, *, make: bool = False) -> Iterator[int]:
    """A file descriptor of `folder`, which is `home` or below it, for use as `dir_fd`. `make` creates missing folders.

    Raises OSError when a part below `home` has become a symlink since its path was checked.
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

    Raises OSError when a part of its path has become a symlink since, or when it is not a regular file.
    """
    with folder_at(place.home, place.folder) as fd:
        return open_in(fd, place.name)


def open_in(folder_fd: int, name: str) -> BinaryIO:
    """Open the file `name` in a directory for reading. Raises OSError unless it is a regular file, and no symlink."""
    # Without O_NONBLOCK, opening a FIFO blocks until there is a writer.
    fd = os.open(name, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK, dir_fd=folder_fd)
    if stat.S_ISREG(os.fstat(fd).st_mode):
        return open(fd, "rb")
    os.close(fd)
    raise OSError(f"{name!r} is a pipe, a socket or a device, not a file")
