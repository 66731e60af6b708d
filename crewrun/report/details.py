"""The details of single rows: results and calls, in small packs, so that the page opens a row at once."""

import random
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import count
from typing import Any, Final

from crewrun.report.packs import PackFile, encoded, is_too_large, pack

_ALL_ROWS: Final = 10_000  # up to here all rows have details, if they are small enough
ALL_BYTES: Final = 25_000_000  # of a page in which all of them are
SOME_BYTES: Final = 8_000_000  # what the details of some rows may take
# How many of each kind some are.
EXTREME: Final = 100  # the slowest, and the most expensive
_FAILED: Final = 1000
_SAMPLE: Final = 2000
_SEED: Final = 0
_PACK_ROWS: Final = 64
_PACK_BYTES: Final = 1 << 18
_MOST_CHARS: Final = 1 << 18  # of a single text
_HEAD_CHARS: Final = 200_000


@dataclass(frozen=True, slots=True)
class Choice:
    """The rows that have details, in their order: all, or some as `words` says."""

    rows: Sequence[int]
    words: str | None = None


def choose_all(rows: int) -> Choice | None:
    """All rows, None where these are too many."""
    return Choice(range(rows)) if rows <= _ALL_ROWS else None


def choose_some(
    rows: int, failed: Sequence[int], slowest: Sequence[int], dearest: Sequence[int], notable: Sequence[int] = ()
) -> Choice:
    """Failed rows, the slowest, the most expensive and a sample of all: the same ones for the same run. `notable` are
    those that broke or changed since the run before.
    """
    draw = random.Random(_SEED)  # noqa: S311  (no secret)
    of_failed = failed if len(failed) <= _FAILED else draw.sample(failed, _FAILED)
    sample = draw.sample(range(rows), min(rows, _SAMPLE))
    chosen = sorted({*of_failed, *slowest, *dearest, *notable, *sample})
    of_all = "failed rows" if of_failed is failed else f"{_FAILED:,} of {len(failed):,} failed rows"
    parts = [
        (failed, of_all),
        (slowest, f"the {len(slowest)} slowest"),
        (dearest, f"the {len(dearest)} most expensive"),
        (notable, f"{len(notable):,} that broke or changed"),
    ]
    some = ", ".join(words for part, words in parts if part)
    words = " and ".join(filter(None, [some, f"{len(sample):,} rows drawn at random"]))
    return Choice(chosen, f"full texts and calls: {words}")


@dataclass(slots=True)
class DetailPacks:
    """Puts details into `packs` until they take more than `budget_bytes`. `first_rows` has the first row of each."""

    packs: PackFile
    budget_bytes: int
    first_rows: list[int] = field(default_factory=list)
    rows: int = 0

    def add_all(self, details: Iterable[tuple[int, dict[str, Any]]]) -> bool:
        """Add the details of rows, by their numbers. False when they are more than there is room for; the last pack is
        then not added.
        """
        for number, group in zip(count(), _grouped(details)):
            made = pack(f"details-{number}", [_joined(group)])
            if self.packs.size_bytes + len(made.content) > self.budget_bytes:
                return False
            self.packs.add(made)
            self.first_rows.append(group[0][0])
            self.rows += len(group)
        return True


def shortened(value: Any) -> Any:
    """`value` with each text in it cut to 256 KB, and a remark where it is; integers that are too large for a browser
    are texts.
    """
    if is_too_large(value):
        return str(value)
    if isinstance(value, str):
        if len(value) <= _MOST_CHARS:
            return value
        return f"{value[:_HEAD_CHARS]}\n… ({len(value) - _HEAD_CHARS:,} more characters are not on this page)"
    if isinstance(value, dict):
        return {key: shortened(inner) for key, inner in value.items()}
    return [shortened(inner) for inner in value] if isinstance(value, list) else value


def _grouped(details: Iterable[tuple[int, dict[str, Any]]]) -> Iterator[list[tuple[int, bytes]]]:
    group: list[tuple[int, bytes]] = []
    size_bytes = 0
    for row, detail in details:
        written = encoded(detail)
        if group and (len(group) == _PACK_ROWS or size_bytes + len(written) > _PACK_BYTES):
            yield group
            group, size_bytes = [], 0
        group.append((row, written))
        size_bytes += len(written)
    if group:
        yield group


def _joined(group: Sequence[tuple[int, bytes]]) -> bytes:
    return b"{" + b",".join(b'"%d":%s' % (row, written) for row, written in group) + b"}"
