"""Operations on a results file, which is a projection of the journal: only lines that the journal knows count."""

import json
import os
from array import array
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

from crewrun.errors import OutputFailed
from crewrun.journal.keys import line_digest

_BUFFER_BYTES = 1 << 20


@dataclass(frozen=True, slots=True)
class Settled:
    """How many lines `settle` leaves and removes. Of those removed, `unknown` have no journal entry; `unknown_ids` are
    the ids of the well-formed ones, by which an edited line is told from one whose entry the journal has lost.
    """

    remaining: int
    removed: int
    unknown: int
    unknown_ids: list[str]

    @property
    def recorded(self) -> int:
        """How many lines the journal has entries of, including those that are removed."""
        return self.remaining + self.removed - self.unknown


def lines_of(path: Path) -> Iterator[bytes]:
    """The lines of a file with their newlines, which the last one may lack."""
    with path.open("rb", buffering=_BUFFER_BYTES) as file:
        yield from file


def count_lines(path: Path) -> int:
    """How many whole lines a file has."""
    with path.open("rb", buffering=0) as file:
        return sum(piece.count(b"\n") for piece in iter(lambda: file.read(_BUFFER_BYTES), b""))


def settle(path: Path, keep: Callable[[int], bool | None], count_lost: Callable[[Settled], int]) -> int:
    """Remove the lines for which `keep` does not return True, all of them or none.

    `keep` gets a line's digest and returns None when the journal does not know it. Returns what `count_lost` returns;
    it is called before the file is changed, and may raise. Raises OutputFailed when the file cannot be changed.
    """
    remaining = removed = unknown = 0
    unknown_ids: list[str] = []
    position = 0
    pieces: list[tuple[int, int]] = []  # the ranges that stay, as start and end
    for line in lines_of(path):
        stays = keep(line_digest(line)) if line.endswith(b"\n") else None
        if stays:
            remaining += 1
            if pieces and pieces[-1][1] == position:
                pieces[-1] = (pieces[-1][0], position + len(line))
            else:
                pieces.append((position, position + len(line)))
        else:
            removed += 1
            if stays is None:
                unknown += 1
                if (row_id := _id_of(line)) is not None:
                    unknown_ids.append(row_id)
        position += len(line)
    lost = count_lost(Settled(remaining, removed, unknown, unknown_ids))
    if removed:
        _keep_pieces(path, pieces)
    return lost


def arrange(path: Path, place: Callable[[int], int | None], *, ordered: bool) -> int:
    """Remove the lines for whose digest `place` returns None, and with `ordered` sort the rest by place.

    Returns how many were removed. Raises OutputFailed.
    """
    places, starts, ends = array("q"), array("q"), array("q")
    position = removed = 0
    for line in lines_of(path):
        where = place(line_digest(line))
        if where is None:
            removed += 1
        else:
            places.append(where)
            starts.append(position)
            ends.append(position + len(line))
        position += len(line)
    is_sorted = all(places[i] <= places[i + 1] for i in range(len(places) - 1))
    if removed or (ordered and not is_sorted):
        order = range(len(places)) if is_sorted or not ordered else sorted(range(len(places)), key=places.__getitem__)
        _rewrite(path, ((starts[i], ends[i]) for i in order))
    return removed


def part_of(path: Path) -> Path:
    """The temporary name of a new file for `path`, until it is complete."""
    return path.with_name(f".{path.name}.part")


def spent_in(path: Path) -> tuple[int, int, float | None]:
    """Rows, calls and US dollars (None: unknown) in the lines of a results file, as far as they can be read."""
    rows = calls = 0
    cost_usd: float | None = 0.0
    for line in lines_of(path):
        try:
            record = json.loads(line)
            rows, calls = rows + 1, calls + record["usage"]["calls"]
            row_usd = record["cost_usd"]
            cost_usd = None if cost_usd is None or row_usd is None else cost_usd + row_usd
        except (ValueError, KeyError, TypeError, RecursionError):
            continue
    return rows, calls, cost_usd


def is_result(record: Any) -> bool:
    """Whether a decoded line is a result. Raises KeyError and TypeError when it has no `schema`."""
    return str(record["schema"]).startswith("crewrun.result/")


def _id_of(line: bytes) -> str | None:
    """The id in a result line, None for any other line."""
    try:
        record = json.loads(line)
        return str(record["id"]) if is_result(record) else None
    except (ValueError, KeyError, TypeError, RecursionError):
        return None


def _keep_pieces(path: Path, pieces: list[tuple[int, int]]) -> None:
    if not pieces or (len(pieces) == 1 and pieces[0][0] == 0):
        # Only the end goes, as after a kill: truncating is a single step.
        try:
            os.truncate(path, pieces[0][1] if pieces else 0)
        except OSError as refused:
            raise OutputFailed(f"{path}: cannot be written: {refused.strerror}") from refused
    else:
        _rewrite(path, iter(pieces))


def _rewrite(path: Path, pieces: Iterator[tuple[int, int]]) -> None:
    """Replace `path` with a file of these pieces of it, in this order."""
    part = part_of(path)
    try:
        with path.open("rb") as old, open(os.open(part, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "wb") as new:
            os.fchmod(new.fileno(), os.fstat(old.fileno()).st_mode & 0o777)
            for start, end in pieces:
                _copy(old, new, start, end)
            new.flush()
            os.fsync(new.fileno())
        part.replace(path)
    except OSError as full:
        part.unlink(missing_ok=True)
        raise OutputFailed(f"{path}: cannot be rewritten: {full.strerror}") from full


def _copy(old: BinaryIO, new: BinaryIO, start: int, end: int) -> None:
    old.seek(start)
    while start < end:
        piece = old.read(min(_BUFFER_BYTES, end - start))
        new.write(piece)
        start += len(piece)
