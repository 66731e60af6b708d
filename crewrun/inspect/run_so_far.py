"""What a run's journal says to somebody who plans its next session: which rows are done, and how answers went."""

import sqlite3
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from statistics import fmean

from crewrun.journal import journal
from crewrun.journal.done_index import DoneIndex
from crewrun.row import Row

_LATEST = 2000


@dataclass(slots=True)
class Answers:
    """The last answers of one task by one model: completion tokens, and seconds."""

    tokens: list[int] = field(default_factory=list)
    seconds: list[float] = field(default_factory=list)


@dataclass(slots=True)
class RunSoFar:
    """`answers` by (model, task)."""

    done: DoneIndex | None = None
    answers: dict[tuple[str, str], Answers] = field(default_factory=dict)

    def is_done(self, row: Row) -> bool:
        """Whether the row succeeded, under the definition that was asked for."""
        if not self.done:
            return False
        position = self.done.find(row)
        return position is not None and self.done.is_ok(position)


def read_known(path: Path, definition: str) -> RunSoFar:
    """What the journal at `path` knows of a definition, by its fingerprint. Raises as `journal.read_journal` does."""
    db = journal.read_journal(path)
    try:
        known = RunSoFar()
        found = db.execute("select id from names where name = ?", (definition,)).fetchone()
        if found:
            known.done = DoneIndex.load(db, int(found[0]))
        names = dict(db.execute("select id, name from names"))
        latest = db.execute(
            "select name, task, completion_tokens, duration_ms from calls where kind in (?, ?) "
            "order by seq desc limit ?",
            (journal.ANSWER, journal.TURN, _LATEST),
        )
        for model, task, tokens, duration_ms in latest:
            answers = known.answers.setdefault((names.get(model, model), names.get(task, task)), Answers())
            answers.tokens.append(int(tokens))
            answers.seconds.append(duration_ms / 1000)
        return known
    except sqlite3.Error as wrong:
        raise journal.failure(path, wrong) from wrong
    finally:
        db.close()


def usual(values: Sequence[float]) -> tuple[float, float, float]:
    """The mean, and the tenth and ninetieth percentiles."""
    ordered = sorted(values)
    mean = fmean(ordered)
    return mean, min(mean, ordered[len(ordered) // 10]), max(mean, ordered[-1 - len(ordered) // 10])
