"""Restores a results file that was deleted, replaced or changed by something else while its run was going.

Lines are copied from the file descriptor that the run still has, whatever the file's name is now. Lines that are no
longer there are rebuilt from the journal and the input, row by row.
"""

import os
from array import array
from bisect import bisect_left
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from crewrun.errors import OutputFailed
from crewrun.journal.keys import line_digest
from crewrun.row import Row
from crewrun.runs.folder import free_name
from crewrun.runs.results import arrange, lines_of, part_of

# Passes each row of the input to a function, until it returns True.
Visit = Callable[[Callable[[Row], bool | None]], Awaitable[None]]
_LAST = 1 << 40  # larger than any row index


@dataclass(frozen=True, slots=True)
class RestoredResults:
    """What was done: `dropped` lines were not the run's, `restored` lines came from the journal, and the file that had
    replaced the results is now at `backup`.
    """

    dropped: int = 0
    restored: int = 0
    backup: Path | None = None

    def __str__(self) -> str:
        sentences = ["it has been restored"]
        sentences += [f"{self.restored} lines came from the journal"] if self.restored else []
        sentences += [f"{self.dropped} lines that are not this run's were removed"] if self.dropped else []
        sentences += [f"the file that was there is now {self.backup}"] if self.backup else []
        return ", ".join(sentences)


class Rebuild:
    """A new file for the results, for one use: `copy`, `restore` each missing line, then `publish` or `discard`."""

    def __init__(self, path: Path, wanted: "array[int]") -> None:
        """`wanted` are the digests of the lines that belong in it, sorted. Raises OutputFailed."""
        self._path = path
        self._part = part_of(path)
        self._wanted = wanted
        self._present = bytearray(len(wanted))
        self._places = array("q", [_LAST]) * len(wanted)
        self._dropped = self._restored = 0
        try:
            self._file: BinaryIO = open(os.open(self._part, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "wb")  # noqa: SIM115  (closed by publish and discard)
        except OSError as refused:
            raise self._failure(refused) from refused

    @property
    def missing(self) -> int:
        """How many lines are still missing."""
        return self._present.count(0)

    def copy(self, fd: int) -> None:
        """Copy the lines that belong in it from `fd`, each once. Raises OutputFailed."""
        try:
            os.fchmod(self._file.fileno(), os.fstat(fd).st_mode & 0o777)
            with open(os.dup(fd), "rb") as old:
                old.seek(0)
                for line in old:
                    at = self._at(line_digest(line)) if line.endswith(b"\n") else None
                    if at is None or self._present[at]:
                        self._dropped += 1
                    else:
                        self._put(at, line)
        except OSError as refused:
            raise self._failure(refused) from refused

    def is_missing(self, digest: int, place: int) -> bool:
        """Whether the line with this digest, of the input's row at `place`, is still missing."""
        at = self._at(digest)
        if at is None:
            return False
        self._places[at] = place
        return not self._present[at]

    def restore(self, digest: int, line: bytes) -> None:
        """Add the line of the row whose line had this digest. Raises OutputFailed."""
        at = self._at(digest)
        if at is not None and not self._present[at]:
            try:
                self._put(at, line)
            except OSError as full:
                raise self._failure(full) from full
            self._restored += 1

    def publish(self, fd: int, *, ordered: bool) -> RestoredResults | None:
        """Replace the results with the new file; None when they are as they should be. Raises OutputFailed."""
        try:
            is_there = _is_same(self._path, fd)
            if is_there and not self._dropped and not self._restored:
                self.discard()
                return None
            self._file.flush()
            if ordered and self._restored:
                arrange(self._part, self._place, ordered=True)
            os.fsync(self._file.fileno())
            self._file.close()
            backup = None if is_there or not self._is_strange() else free_name(self._path)
            if backup is not None:
                self._path.rename(backup)
            self._part.replace(self._path)
            return RestoredResults(self._dropped, self._restored, backup)
        except OSError as refused:
            self.discard()
            raise self._failure(refused) from refused

    def discard(self) -> None:
        """Remove the new file and leave the results as they are."""
        self._file.close()
        self._part.unlink(missing_ok=True)

    def _at(self, digest: int) -> int | None:
        at = bisect_left(self._wanted, digest)
        return at if at < len(self._wanted) and self._wanted[at] == digest else None

    def _put(self, at: int, line: bytes) -> None:
        self._file.write(line)
        self._present[at] = 1

    def _place(self, digest: int) -> int:
        at = self._at(digest)
        return _LAST if at is None else self._places[at]

    def _is_strange(self) -> bool:
        """Whether something other than the run's lines is at the results' path."""
        if not os.path.lexists(self._path):
            return False
        return not self._path.is_file() or any(self._at(line_digest(line)) is None for line in lines_of(self._path))

    def _failure(self, refused: OSError) -> OutputFailed:
        return OutputFailed(f"{self._path}: cannot be written: {refused.strerror}")


def _is_same(path: Path, fd: int) -> bool:
    try:
        return os.path.samestat(os.stat(path), os.fstat(fd))
    except OSError:
        return False
