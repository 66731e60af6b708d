"""What a command that plans the next session reads from the journal: rows that are done, answers, refusals.

It is read once; nothing stays open.
"""

import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from statistics import fmean
from typing import Final

from crewrun.journal.database import failure, read_journal
from crewrun.journal.done_index import DoneIndex
from crewrun.journal.schema import ANSWER, TURN
from crewrun.row import Row

# Enough for the percentiles of a forecast. Older answers may come from prompts that have changed since.
_LATEST_ANSWERS: Final = 2000


@dataclass(slots=True)
class AnswerStats:
    """The latest answers of one model in one task: completion tokens and seconds."""

    tokens: list[int] = field(default_factory=list)
    seconds: list[float] = field(default_factory=list)


@dataclass(slots=True)
class RunSoFar:
    """The rows that are done under one definition, and the latest `answers` by (model, task)."""

    done: DoneIndex | None = None
    answers: dict[tuple[str, str], AnswerStats] = field(default_factory=dict)

    def is_done(self, row: Row) -> bool:
        """Whether the row succeeded."""
        position = self.done.find(row) if self.done else None
        return position is not None and self.done is not None and self.done.is_ok(position)

    def has_failed(self, row: Row) -> bool:
        """Whether the row failed."""
        position = self.done.find(row) if self.done else None
        return position is not None and self.done is not None and not self.done.is_ok(position)

    def has_changed(self, row: Row) -> bool:
        """Whether a row with the same id was done with other content."""
        return self.done is not None and self.done.find_changed(row) is not None

    def totals(self) -> tuple[int, int]:
        """How many rows succeeded and failed, whether the input still has them or not."""
        ok = self.done.count_ok() if self.done else 0
        return ok, (len(self.done) if self.done else 0) - ok


def read_known(path: Path, definition: str, *, by_id: bool = False) -> RunSoFar:
    """What the journal at `path` has for the definition with this fingerprint; `by_id` is for ids from a field.

    Raises as `read_journal` does.
    """
    with _reading(path) as db:
        so_far = RunSoFar()
        number = db.execute("select id from names where name = ?", (definition,)).fetchone()
        if number:
            so_far.done = DoneIndex.load(db, int(number[0]), by_id=by_id)
        names = dict(db.execute("select id, name from names"))
        latest = db.execute(
            "select name, task, completion_tokens, duration_ms from calls where kind in (?, ?) "
            "order by seq desc limit ?",
            (ANSWER, TURN, _LATEST_ANSWERS),
        )
        for model, task, tokens, duration_ms in latest:
            answers = so_far.answers.setdefault((names.get(model, model), names.get(task, task)), AnswerStats())
            answers.tokens.append(int(tokens))
            answers.seconds.append(duration_ms / 1000)
        return so_far


def read_refusals(path: Path, definition: str) -> set[tuple[str, str]]:
    """What endpoints refused for the definition with this fingerprint, as (endpoint, feature).

    Raises as `read_journal` does.
    """
    with _reading(path) as db:
        number = "(select id from names where name = ?)"
        query = f"select endpoint, what from refusals where definition = {number}"  # noqa: S608  (ours)
        return set(db.execute(query, (definition,)))


@contextmanager
def _reading(path: Path) -> Iterator[sqlite3.Connection]:
    db = read_journal(path)
    try:
        yield db
    except sqlite3.Error as error:
        raise failure(path, error) from error
    finally:
        db.close()


def usual(values: Sequence[float]) -> tuple[float, float, float]:
    """The mean, and the tenth and ninetieth percentiles."""
    ordered = sorted(values)
    mean = fmean(ordered)
    return mean, min(mean, ordered[len(ordered) // 10]), max(mean, ordered[-1 - len(ordered) // 10])
