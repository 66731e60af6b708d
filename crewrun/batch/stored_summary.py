"""The summary of a run's latest session, for programs that open the run later. It is in the run folder.

A session removes the file at its start and writes it at its end, so a killed one leaves none; then, and for runs of
older versions, the summary has what the journal says.
"""

import json
from collections.abc import Iterable, Mapping
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from crewrun.batch.summary import SCHEMA
from crewrun.inspect.view import View
from crewrun.runs.folder import RunFolder
from crewrun.unfinished import replacement

if TYPE_CHECKING:
    from crewrun.inspect.status import Status

# Those of a summary, as `batch.summary.summarise` has them.
_KEYS = (
    *("schema", "exit_code", "stopped", "rows", "unread", "shard", "failures", "tool_failures", "expectations"),
    *(
        "usage",
        "replayed_calls",
        "attempts",
        "truncated",
        "finish_reasons",
        "cost_usd",
        "may_be_owed_usd",
        "unknown_bills",
    ),
    *("in_all", "forecast", "models", "duration_s", "rows_per_s", "row_time_s", "output", "not_counted", "not_taken"),
)
_NO_OTHERS = {"abandoned": 0, "unwritten": 0, "kept": 0, "kept_failed": 0, "pending": 0}


def store_summary(folder: RunFolder, summary: Mapping[str, Any]) -> None:
    """Write the file, all or nothing; a disk that is full loses only this."""
    with suppress(OSError), replacement(folder.summary) as part:
        part.write_text(json.dumps(summary, indent=1), encoding="utf-8")
        part.replace(folder.summary)


def summary_of(view: View) -> dict[str, Any]:
    """The summary of the run's latest session; while that is going, what is known so far."""
    from crewrun.inspect.status import read_status

    status = read_status(view)
    if status.state in ("finished", "stopped"):
        with suppress(OSError, ValueError):
            summary = json.loads(view.folder.summary.read_bytes())
            if isinstance(summary, dict) and summary.get("schema") == SCHEMA:
                return summary
    return _from_journal(status)


def summary_of_results(records: Iterable[Mapping[str, Any]]) -> dict[str, Any]:
    """What results without a run folder say of how they came about."""
    ended = {"ok": 0, "failed": 0}
    for record in records:
        ended[record["status"]] += 1
    return _summary(rows={**ended, **_NO_OTHERS}, exit_code=3 if ended["failed"] else 0)


def _from_journal(status: "Status") -> dict[str, Any]:
    session, spent = status.session, status.spent or {}
    ok, failed = (session.ok, session.failed) if session else (0, 0)
    before = {"kept": max(0, status.ok - ok), "kept_failed": max(0, status.failed - failed)}
    return _summary(
        rows={"ok": ok, "failed": failed, **_NO_OTHERS, **before, "pending": status.in_flight},
        exit_code=session.exit_code if session and status.state != "running" else None,
        stopped=session.stopped if session else None,
        shard=None if status.shard is None else {"part": status.shard, "elsewhere": status.elsewhere},
        failures=[
            {
                "category": group.category,
                "type": None,
                "task": None,
                "count": group.count,
                "example": {"id": group.id, "line": None, "category": group.category, "message": group.message},
                "hint": None,
            }
            for group in status.failures
        ],
        usage=spent.get("usage"),
        attempts=spent.get("attempts"),
        cost_usd=spent.get("cost_usd"),
        may_be_owed_usd=spent.get("may_be_owed_usd"),
        in_all=status.in_all,
        duration_s=round(status.elapsed_s, 3),
        rows_per_s=status.rows_per_s,
        output=status.results,
    )


def _summary(**values: Any) -> dict[str, Any]:
    """A summary with the keys of `batch.summary.summarise`. None stands for what is not known."""
    unknown = dict.fromkeys(_KEYS)
    return {**unknown, "schema": SCHEMA, "failures": [], "tool_failures": [], "expectations": [], **values}
