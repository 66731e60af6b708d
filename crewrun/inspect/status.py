"""`Status`: how far a run is, what it has spent and what failed, while a process works on it and afterwards."""

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal, NamedTuple

from crewrun.failed_tools import shortened_error
from crewrun.inspect.expectations import ExpectationCount, count_expectations
from crewrun.inspect.live import look_at
from crewrun.inspect.view import SessionRecord, View, command_of, spent_json
from crewrun.journal.done_index import DoneIndex
from crewrun.journal.event_log import last_event
from crewrun.journal.keys import line_digest
from crewrun.journal.replies import read_tool_failure
from crewrun.journal.schema import OK, TOOL_FAILURE, category_of
from crewrun.journal.spending import owed_usd, tier_uses, total_spent
from crewrun.redaction.redactor import redact
from crewrun.runs.folder import RunFolder
from crewrun.runs.lock import describe_holder, is_held
from crewrun.runs.results import count_lines, lines_of
from crewrun.tier_use import TierUse

SCHEMA = "crewrun.status/1"

_SHOWN_TOOLS = 20  # a screenful; further ones failed less often

_WAITING_JOBS = (
    "select number, id, lines, lines_ended, intended_at, looked_at, route from jobs where end = '' order by number"
)

# `died`: no process works on the run, and its last session has not recorded an end.
State = Literal["running", "finished", "stopped", "died"]


@dataclass(frozen=True, slots=True)
class FailedRows:
    """The rows that failed with one category: how many, and id and message of the latest."""

    category: str
    count: int
    id: str
    message: str


@dataclass(frozen=True, slots=True)
class ToolFailureCount:
    """A tool whose calls failed: how often, over all sessions, and the error that the model got for the latest."""

    tool: str
    count: int
    task: str
    reason: str
    error: str


class WaitingJob(NamedTuple):
    """A batch job that has not ended as far as the run knows.

    `id` is the provider's, empty if the run has not heard of its creation; `ended` of its requests had ended at
    `looked_at`, None if nobody has looked yet. Times are Unix seconds. `route` is provider, address and model.
    """

    number: int
    id: str
    requests: int
    ended: int
    begun_at: float
    looked_at: float | None
    route: str

    @property
    def model(self) -> str:
        """The provider's name of the model that answers it."""
        return self.route.rpartition(" ")[2]

    def to_json(self) -> dict[str, Any]:
        """As `--json` prints it."""
        times = {"begun_at": when(self.begun_at), "looked_at": None if self.looked_at is None else when(self.looked_at)}
        return {**self._asdict(), **times}


@dataclass(frozen=True, slots=True)
class Status:
    """The state of a run.

    Which rows `ok` and `failed` count depends on `state`: of a running run those that its latest session has got to, of
    a finished one those in its results, of any other those that the journal has under the current definition. `holder`
    is the process that works on it. `share` (0 to 1), `rows_per_s` and `eta_s` are None where they are unknown. `spent`
    is the latest session's, `in_all` that of all `sessions`. `command` continues the run; `redo` does too, and makes
    the calls that --replay left out. `elsewhere` is how many rows belong to other shards than `shard`, None until the
    session has ended. A table is written at the end of a session. `jobs` are the batch jobs that the run waits for, and
    `shared_tool_calls` those that the latest session did not make, since an equal one was.
    """

    run: str
    results: str | None
    state: State
    holder: str | None
    session: SessionRecord | None
    sessions: int
    ok: int
    failed: int
    failures: list[FailedRows]
    tool_failures: list[ToolFailureCount]
    expectations: list[ExpectationCount]
    spent: dict[str, Any] | None
    in_all: dict[str, Any]
    command: str
    redo: str
    shard: str | None
    elsewhere: int | None
    is_table: bool = False
    jobs: Sequence[WaitingJob] = ()
    shared_tool_calls: int = 0

    @property
    def is_going(self) -> bool:
        """Whether the latest session is running. False while a process holds the lock and has not begun its session."""
        return self.state == "running" and self.session is not None and self.session.ended_at is None

    @property
    def in_flight(self) -> int:
        """Rows in flight now."""
        return self.session.in_flight if self.session and self.is_going else 0

    @property
    def elapsed_s(self) -> float:
        """Seconds that the latest session took, or has taken so far."""
        session = self.session
        if session is None:
            return 0.0
        # `elapsed_s` is from the monotonic clock, as of the last heartbeat.
        return max(session.elapsed_s, (session.ended_at or session.updated_at) - session.started_at)

    @property
    def rows_per_s(self) -> float | None:
        """Rows per second of the latest session."""
        done = self.session.ok + self.session.failed if self.session else 0
        return done / self.elapsed_s if done and self.elapsed_s > 0 else None

    @property
    def share(self) -> float | None:
        """The share of the input that is done, while the run is running."""
        return self.session.share if self.session and self.is_going else None

    @property
    def eta_s(self) -> float | None:
        """Seconds to the end, if the rest of the input takes as long as what this session has done of it."""
        session, share = self.session, self.share
        done = session.ok + session.failed if session else 0
        if session is None or not share or not done:
            return None
        return self.elapsed_s * (1 - share) / (share * done / (done + session.kept))

    def to_json(self) -> dict[str, Any]:
        """As `--json` prints it."""
        session = self.session
        return {
            "schema": SCHEMA,
            "run": self.run,
            "results": self.results,
            "state": self.state,
            "pid": session.pid if session and self.is_going else None,
            "stopped": session.stopped if session else None,
            "exit_code": session.exit_code if session and self.state != "running" else None,
            "rows": {"ok": self.ok, "failed": self.failed, "in_flight": self.in_flight},
            "shard": None if self.shard is None else {"part": self.shard, "elsewhere": self.elsewhere},
            "share": self.share,
            "rows_per_s": _rounded(self.rows_per_s),
            "eta_s": _rounded(self.eta_s),
            "started_at": when(session.started_at) if session else None,
            "updated_at": when(session.ended_at or session.updated_at) if session else None,
            "duration_s": round(self.elapsed_s, 3),
            "sessions": self.sessions,
            "spent": self.spent,
            "in_all": self.in_all,
            "failures": [
                {"category": f.category, "count": f.count, "example": {"id": f.id, "message": f.message}}
                for f in self.failures
            ],
            "tool_failures": [asdict(failing) for failing in self.tool_failures],
            "expectations": [count.to_json() for count in self.expectations],
            **({"shared_tool_calls": self.shared_tool_calls} if self.shared_tool_calls else {}),
            "jobs": [job.to_json() for job in self.jobs],
            "command": self._next_command(),
        }

    def _next_command(self) -> str | None:
        if self.state == "finished":
            return self.redo if self.failed else None
        return None if self.state == "running" and not self.failed else self.command


def read_status(view: View, *, held: bool | None = None) -> Status:
    """The status of a run now. `held` says whether a process has its lock; None looks."""
    held = is_held(view.folder.lock) if held is None else held
    view.db.execute("begin")  # one snapshot for all queries below
    session = view.session()
    state = _state(session, held=held)
    ended = _count(view, session, state) if session else []
    (sessions,) = view.db.execute("select count(*) from sessions").fetchone()
    current = session.id if session is not None and state == "running" else 0
    in_all = total_spent(view.db, current=current)
    owed = owed_usd(view.db, current=current, only=session.id) if session is not None else None
    tiers = tier_uses(view.db, only=session.id) if session is not None else {}
    failures = [_failed_rows(view, group) for group in ended if group.ended != OK]
    failing = _failing_tools(view)
    only = session.id if session is not None and state == "running" and session.ended_at is None else None
    expectations = count_expectations(view, only=only)
    jobs = [WaitingJob(*job) for job in view.db.execute(_WAITING_JOBS)]
    view.db.execute("commit")
    elsewhere = last_event(view.folder.log).get("elsewhere")
    return Status(
        run=str(view.folder.path),
        results=str(view.output) if view.output else None,
        state=state,
        holder=describe_holder(view.folder.lock) if held else None,
        session=session,
        sessions=sessions,
        ok=sum(group.rows for group in ended if group.ended == OK),
        failed=sum(group.count for group in failures),
        failures=sorted(failures, key=lambda group: (-group.count, group.category)),
        tool_failures=failing,
        expectations=expectations,
        spent=_spent(session, owed, tiers) if session else None,
        in_all=spent_json(in_all),
        command=view.command,
        redo=command_of(view.folder, view.manifest, replay=False),
        shard=view.manifest.options.get("shard"),
        elsewhere=elsewhere if isinstance(elsewhere, int) else None,
        is_table=view.manifest.table is not None,
        jobs=jobs,
        shared_tool_calls=_shared_tool_calls(view.folder, state),
    )


def _shared_tool_calls(folder: RunFolder, state: State) -> int:
    """As the session says of itself while it runs, and in its summary."""
    progress = look_at(folder).progress if state == "running" else None
    try:
        record = progress if progress is not None else json.loads(folder.summary.read_bytes())
        return int(record.get("shared_tool_calls") or 0)
    except (OSError, ValueError, TypeError, AttributeError):
        return 0


def when(seconds: float) -> str:
    """A time in the format of result lines, `2026-01-31T12:00:00.000Z`."""
    return datetime.fromtimestamp(seconds, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def _state(session: SessionRecord | None, *, held: bool) -> State:
    if held:
        return "running"
    if session is None or session.ended_at is None:
        return "died"
    return "stopped" if session.stopped else "finished"


class _Ended(NamedTuple):
    """How many rows ended in the same way, and the entry of the latest."""

    ended: int
    rows: int
    seq: int


_GROUPS = "select ended, count(*), max(seq)"


def _count(view: View, session: SessionRecord, state: State) -> list[_Ended]:
    """The rows that have an outcome, by how they ended."""
    if state == "running" and session.ended_at is None:
        # Rows of earlier sessions may run again or be gone from the input; this session counts those that it has seen.
        of_session = view.db.execute(f"{_GROUPS} from rows where session = ? group by ended", (session.id,))
        return [*map(_Ended._make, of_session), _Ended(OK, session.kept, 0)]
    # Next to max(), a bare column comes from the same entry: https://sqlite.org/lang_select.html#bareagg
    last = "select max(seq) as seq, ended from rows where definition = ? group by id"
    groups = [*map(_Ended._make, view.db.execute(f"{_GROUPS} from ({last}) group by ended", (session.definition,)))]
    results = view.results
    if state == "finished" and results and results.is_file() and count_lines(results) != sum(g.rows for g in groups):
        return _count_written(view, results)  # the journal still has rows that were taken out of the input
    return groups


def _count_written(view: View, results: Path) -> list[_Ended]:
    done = DoneIndex.load(view.db, view.definition())
    for line in lines_of(results):
        position = done.find_line(line_digest(line))
        if position is not None:
            done.written[position] = 1
    latest: dict[int, int] = {}
    rows: Counter[int] = Counter()
    for position in range(len(done)):
        if done.written[position]:
            ended = done.ended(position)
            rows[ended] += 1
            latest[ended] = max(latest.get(ended, 0), done.seq(position))
    return [_Ended(ended, count, latest[ended]) for ended, count in rows.items()]


def _failed_rows(view: View, group: _Ended) -> FailedRows:
    (record,) = view.db.execute("select record from rows where seq = ?", (group.seq,)).fetchone()
    with view.legible(group.seq):
        error = json.loads(record)[9]  # its place in what `codec.encode` writes
        category = category_of(group.ended)
        return FailedRows(str(category), group.rows, view.row_id(group.seq), redact(error["message"]) if error else "")


def _failing_tools(view: View) -> list[ToolFailureCount]:
    """The tools that failed most often."""
    # The kind is a literal, not a parameter, so that SQLite uses the partial index.
    groups = view.db.execute(
        f"select name, count(*), max(seq) from calls where kind = {TOOL_FAILURE} "  # noqa: S608  (a number of ours)
        "group by name order by count(*) desc, name limit ?",
        (_SHOWN_TOOLS,),
    ).fetchall()
    failing = []
    for name, count, seq in groups:
        (latest,) = view.calls("seq = ?", (seq,))
        reason, message = read_tool_failure(latest)
        failing.append(
            ToolFailureCount(view.name(name), count, view.name(latest.task), reason, shortened_error(message))
        )
    return failing


def _spent(session: SessionRecord, owed_usd: float | None, tiers: Mapping[str, TierUse]) -> dict[str, Any]:
    cost_usd = None if session.unpriced else session.cost_usd
    return spent_json({**session._asdict(), "cost_usd": cost_usd, "owed_usd": owed_usd, "tiers": tiers})


def _rounded(number: float | None) -> float | None:
    return None if number is None else float(f"{number:.4g}")
