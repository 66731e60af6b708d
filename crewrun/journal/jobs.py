"""`JournalJobs`: the batch jobs of a run, in its journal: see `crewrun.llm.batch_jobs.store` for the contract."""

import sqlite3
import time
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path
from typing import Any, Final, NamedTuple

from crewrun.errors import CrewrunError
from crewrun.journal.changes import Statement
from crewrun.journal.database import read_journal
from crewrun.journal.writer import JournalWriter
from crewrun.llm.batch_jobs.job import LineEnd, LineResult
from crewrun.llm.batch_jobs.store import StoredJob, StoredLine

_COLUMNS: Final = ", ".join(StoredJob._fields)


class Look(NamedTuple):
    """What the provider says of a job: how many of its lines have ended."""

    number: int
    ended: int

    def statement(self, session: int) -> Statement:
        return "update jobs set lines_ended = ?, looked_at = ? where number = ?", (self.ended, time.time(), self.number)


class LineTaken(NamedTuple):
    """The call that a line was made for is in the journal, so its result is not needed any more."""

    line_id: str

    def statement(self, session: int) -> Statement:
        return "update job_lines set taken = 1, reply = null where line = ?", (bytes.fromhex(self.line_id),)


class JournalJobs:
    """The `JobStore` of the `session` that a journal is open for."""

    def __init__(self, writer: JournalWriter, session: int) -> None:
        self._writer = writer
        self._session = session

    async def jobs(self) -> list[StoredJob]:
        """See `JobStore.jobs`."""
        query = (
            f"select {_COLUMNS} from jobs where exists (select 1 from job_lines where job = number and not taken and "  # noqa: S608  (columns are ours)
            "(jobs.end = '' or job_lines.end is not null)) order by number"
        )
        return await self._writer.read(lambda db: [StoredJob(*entry) for entry in db.execute(query)])

    async def lines(self, number: int) -> list[StoredLine]:
        """See `JobStore.lines`."""
        query = "select line, most_usd, taken, end is not null from job_lines where job = ? order by position"
        entries = await self._writer.read(lambda db: db.execute(query, (number,)).fetchall())
        return [StoredLine(line.hex(), usd, bool(taken), bool(ended)) for line, usd, taken, ended in entries]

    async def ids(self) -> set[str]:
        """See `JobStore.ids`."""
        return await self._writer.read(lambda db: {job_id for (job_id,) in db.execute("select id from jobs")})

    async def intend(self, job: StoredJob, lines: Sequence[StoredLine]) -> StoredJob:
        """See `JobStore.intend`."""

        def insert(db: sqlite3.Connection) -> int:
            query = "insert into jobs (session, intent, route, intended_at, lines) values (?, ?, ?, ?, ?)"
            number = db.execute(query, (self._session, job.intent, job.route, job.intended_at, job.lines)).lastrowid
            query = "insert into job_lines (job, position, line, most_usd) values (?, ?, ?, ?)"
            entries = ((number, i, bytes.fromhex(line.custom_id), line.most_usd) for i, line in enumerate(lines))
            db.executemany(query, entries)
            return int(number or 0)

        return job._replace(number=await self._writer.read(insert))

    async def created(self, number: int, job_id: str) -> None:
        """See `JobStore.created`."""
        await self._change("update jobs set id = ? where number = ?", job_id, number)

    def looked(self, number: int, ended: int) -> None:
        """See `JobStore.looked`."""
        self._writer.note(Look(number, ended))

    async def keep(self, number: int, results: Sequence[LineResult]) -> None:
        """See `JobStore.keep`."""
        # An answer, which was billed, stays, whatever else a provider says of its line.
        query = (
            "update job_lines set end = ?, status = ?, reply = ? where line = ? and job = ? and not taken "
            "and coalesce(end, '') != ?"
        )
        entries = [(r.end, r.status, r.body, _key(r.custom_id), number, LineEnd.ANSWERED) for r in results]
        await self._writer.read(lambda db: db.executemany(query, entries))

    async def end(self, number: int, end: str) -> None:
        """See `JobStore.end`."""
        await self._change("update jobs set end = ?, ended_in = ? where number = ?", end, self._session, number)

    async def unused(self) -> set[str]:
        """See `JobStore.unused`."""
        query = "select line from job_lines where end = ? and not taken"
        entries = await self._writer.read(lambda db: db.execute(query, (LineEnd.ANSWERED,)).fetchall())
        return {line.hex() for (line,) in entries}

    async def results(self, number: int, line_ids: Sequence[str]) -> dict[str, LineResult]:
        """See `JobStore.results`."""
        query = "select end, status, reply from job_lines where line = ? and job = ? and end is not null and not taken"

        def select(db: sqlite3.Connection) -> dict[str, LineResult]:
            entries = {line_id: db.execute(query, (_key(line_id), number)).fetchone() for line_id in line_ids}
            return {
                line_id: LineResult(line_id, LineEnd(entry[0]), entry[1], entry[2])
                for line_id, entry in entries.items()
                if entry is not None
            }

        return await self._writer.read(select)

    async def _change(self, query: str, *values: Any) -> None:
        await self._writer.read(lambda db: db.execute(query, values))


def unended_jobs(journal: Path) -> tuple[int, int]:
    """How many batch jobs of a run have not ended, as far as its journal has it, and how many requests they have."""
    query = "select count(*), coalesce(sum(lines), 0) from jobs where end = ''"
    try:
        with closing(read_journal(journal)) as db:
            number, lines = db.execute(query).fetchone()
    except (CrewrunError, sqlite3.Error, OSError):
        return 0, 0  # none, of an older version, or damaged, which opening it tells
    return number, lines


def _key(line_id: str) -> bytes:
    """The id in the journal; an id that is none of ours is that of no line."""
    try:
        return bytes.fromhex(line_id)
    except ValueError:
        return b""
