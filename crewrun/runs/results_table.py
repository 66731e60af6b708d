"""`ResultsTable`: results in a format that cannot be appended to.

Such a run appends its lines to `results.jsonl` in its folder, as any run does to its results, and writes the user's
file from that at the end of each session. The file is a projection: it is written again whenever it is not up to date,
and only a file that this run wrote is ever replaced.
"""

import json
import os
import shlex
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from hashlib import blake2b
from pathlib import Path
from typing import Any

from crewrun.errors import OutputFailed, UsageError
from crewrun.runs.folder import RunFolder, free_name
from crewrun.runs.manifest import digest_of, write_part, write_whole
from crewrun.runs.results import lines_of
from crewrun.tables.writing.layout import Table, TableLayout
from crewrun.unfinished import replacement

_HERE_BYTES = 8_000_000  # of lines: a Parquet file of more is made by another process
_DIGEST_BYTES = 16  # as `digest_of` has it


@dataclass(slots=True)
class TableReport:
    """What is to be said about a table that was written. Another file that was at its place is now at `backup`."""

    notes: list[str] = field(default_factory=list)
    backup: Path | None = None


@dataclass(frozen=True, slots=True)
class _Stamp:
    """What was written last: `lines` are size and time of the run's lines, `table` those of the file, `layout` is what
    it looks like. `digests` are those of the files that this run wrote last, the latest first.
    """

    lines: list[int] = field(default_factory=list)
    table: list[int] = field(default_factory=list)
    layout: dict[str, Any] = field(default_factory=dict)
    digests: list[str] = field(default_factory=list)


class ResultsTable:
    """The table at `path` of the run in `folder`."""

    def __init__(self, path: Path, folder: RunFolder, layout: TableLayout) -> None:
        self.path = path
        self._folder = folder
        self._layout = layout

    @property
    def remedy(self) -> str:
        """What to do when it could not be written."""
        return f"the results are in {self._folder.results}; to write it: {self.command}"

    @property
    def command(self) -> str:
        """The command that writes it."""
        return shlex.join(["crewrun", "export", str(self._folder.path), "-o", str(self.path)])

    @property
    def signature(self) -> list[int]:
        """Size and time of the lines that it is made of."""
        return _signature(self._folder.results)

    @property
    def is_large(self) -> bool:
        """Whether writing it takes seconds."""
        with suppress(OSError):
            return self._folder.results.stat().st_size > 50_000_000
        return False

    def write(self, check: Callable[[], None] = lambda: None) -> TableReport:
        """Write the table if it is not up to date. `check` is called again and again, and may raise to give up.

        The caller holds the run's lock. Raises OutputFailed.
        """
        report = TableReport()
        try:
            self._write(report, check)
        except OSError as full:
            raise OutputFailed(f"{self.path}: cannot be written: {full.strerror}; {self.remedy}") from full
        except (ValueError, TypeError, AttributeError, RecursionError) as damaged:
            raise OutputFailed(
                f"{self._folder.results}: has a line that is no result; delete the file, and the run's own command "
                "restores it"
            ) from damaged
        return report

    def _write(self, report: TableReport, check: Callable[[], None]) -> None:
        lines, stamp = self._folder.results, self._read_stamp()
        lines_now, table_now = _signature(lines), _signature(self.path)
        if table_now and (stamp.lines, stamp.table, stamp.layout) == (lines_now, table_now, self._layout.to_json()):
            return
        digest = blake2b(digest_size=_DIGEST_BYTES)
        with replacement(self.path) as part:
            write_part(part, _hashed(self._pieces(check, report.notes), digest.update))
            report.backup = self._publish(part, stamp, lines_now, digest.hexdigest())

    def _pieces(self, check: Callable[[], None], notes: list[str]) -> Iterator[bytes]:
        lines, name = self._folder.results, self.path.name
        size_bytes = lines.stat().st_size if lines.is_file() else 0
        if self._layout.form.name == "parquet" and size_bytes > _HERE_BYTES:
            from crewrun.tables.writing.table_process import process_pieces

            return process_pieces(lines, name, self._layout, check, notes)
        table = Table(name, self._layout, lambda: lines_of(lines) if size_bytes else (), check)
        return table.pieces(str(self.path.parent), notes)

    def replace_by(self, part: Path) -> Path | None:
        """Replace the table by `part`, whose rows are the run's. Returns where a file is now that was not the run's.

        The caller holds the run's lock. Raises OutputFailed.
        """
        try:
            return self._publish(part, self._read_stamp(), [], digest_of(part))
        except OSError as full:
            raise OutputFailed(f"{self.path}: cannot be written: {full.strerror}") from full

    def _publish(self, part: Path, stamp: _Stamp, lines: list[int], digest: str) -> Path | None:
        """Replace the table by `part`, which was made of `lines` and has this digest."""
        backup = None
        if self._is_ours(stamp):
            part.chmod(self.path.stat().st_mode & 0o777)
        elif os.path.lexists(self.path) and not (self.path.is_file() and not self.path.stat().st_size):
            backup = free_name(self.path)
            self.path.rename(backup)
        # Before the file: killed between the two, the next session knows the old file and the new one.
        self._write_stamp(_Stamp(lines, _signature(part), self._layout.to_json(), [digest, *stamp.digests[:1]]))
        part.replace(self.path)
        return backup

    def _is_ours(self, stamp: _Stamp) -> bool:
        """Whether the file is one that this run wrote."""
        now = _signature(self.path)
        if now and now == stamp.table:
            return True
        with suppress(UsageError):
            return bool(now) and digest_of(self.path) in stamp.digests
        return False

    def _read_stamp(self) -> _Stamp:
        with suppress(OSError, ValueError, TypeError, RecursionError):
            return _Stamp(**json.loads(self._folder.table.read_bytes()))
        return _Stamp()

    def _write_stamp(self, stamp: _Stamp) -> None:
        values = {name: getattr(stamp, name) for name in _Stamp.__slots__}
        write_whole(self._folder.table, json.dumps(values).encode() + b"\n")


def _hashed(pieces: Iterator[bytes], update: Callable[[bytes], None]) -> Iterator[bytes]:
    for piece in pieces:
        update(piece)
        yield piece


def _signature(path: Path) -> list[int]:
    """Size and time of a file; nothing when there is none."""
    try:
        stat = path.stat()
    except OSError:
        return []
    return [stat.st_size, stat.st_mtime_ns] if path.is_file() else []
