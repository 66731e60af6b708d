"""The head of a report: what the page shows at once, as JSON values. Money is in millionths of a dollar, time in ms."""

import shlex
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from crewrun._version import __version__
from crewrun.batch.failures import FailureGroup
from crewrun.batch.rebuilt_prompts import RunCrew
from crewrun.batch.run_results import RunResults
from crewrun.errors import Category
from crewrun.inspect.status import Status, read_status
from crewrun.inspect.view import View, nearby
from crewrun.redaction.redactor import redact, redact_line, redact_value
from crewrun.report.calls import by_model, by_task, by_tier, task_histograms
from crewrun.report.drawing import drawing_of
from crewrun.report.histograms import histogram
from crewrun.report.row_pass import RowPass
from crewrun.report.savings import saved_usd
from crewrun.report.timeline import Timeline
from crewrun.report.values import micro_usd, milliseconds

SCHEMA: Final = "crewrun.report/1"

_EXTREME: Final = 20  # as many as one looks at
_SESSION: Final = "id, started_at, ended_at, updated_at, ok, failed, calls, cost_usd, unpriced, stopped, exit_code"


def head_of(results: RunResults, rows: RowPass, crew: RunCrew, timeline: Timeline) -> dict[str, Any]:
    """The head of the page, without `details`."""
    view = results.view
    status = read_status(view, held=results.is_going) if view is not None else None
    table = rows.table
    figures = _figures(view, rows)
    return {
        "schema": SCHEMA,
        "title": Path(results.name).name,
        "crewrun_version": __version__,
        "made_at": round(time.time() * 1000),
        "snapshot": results.is_going,
        "results": nearby(results.name),
        **_about_run(view, status, crew),
        "diagram": drawing_of(crew, view.manifest.crew, figures["by_task"]) if view is not None else None,
        "totals": _totals(rows, status, saved_usd(view, crew, figures["by_model"]) if view is not None else None),
        **figures,
        "warnings": rows.answers.warnings(),
        "timeline": timeline.to_json(),
        "slowest": table.time.largest(_EXTREME),
        "dearest": table.cost.largest(_EXTREME),
        "failures": _failures(results, rows),
        "tool_failures": _tool_failures(status),
        "columns": rows.fields.to_json(),
        "comparison": None,
        "scores": rows.scores.to_json(),
        "expectations": rows.expectations.to_json(),
    }


def _about_run(view: View | None, status: Status | None, crew: RunCrew) -> dict[str, Any]:
    """What was asked for and how it ended; without a run folder none of it is known."""
    if view is None or status is None:
        names = ("run", "state", "command", "next_command", "crew", "exit_code", "stopped")
        return {**dict.fromkeys(names), "versions": {}, "sessions": [], "without_run_folder": True, "notes": []}
    manifest, session = view.manifest, status.session
    notes = [f"the crew cannot be loaded again: {crew.problem}"] if crew.problem else []
    if status.jobs:
        requests = sum(job.requests for job in status.jobs)
        jobs = f"{len(status.jobs):,} batch job{'' if len(status.jobs) == 1 else 's'} with {requests:,} requests"
        notes.append(f"{jobs} may still be at the provider; the run's own command goes on with the answers")
    return {
        "run": nearby(status.run),
        "state": status.state,
        "command": shlex.join(map(redact_value, manifest.command)),
        "next_command": status.to_json()["command"],
        "crew": manifest.crew,
        "exit_code": session.exit_code if session and status.state != "running" else None,
        "stopped": redact_line(session.stopped) if session and session.stopped else None,
        "versions": {"crewrun": manifest.crewrun, "python": manifest.python},
        "sessions": _sessions(view),
        "without_run_folder": False,
        "notes": notes,
    }


def _sessions(view: View) -> list[dict[str, Any]]:
    sessions = []
    for row in view.db.execute(f"select {_SESSION} from sessions order by id"):  # noqa: S608  (columns are ours)
        number, started_at, ended_at, updated_at, ok, failed, calls, cost_usd, unpriced, stopped, exit_code = row
        sessions.append(
            {
                "id": number,
                "started_at": milliseconds(started_at),
                "duration_ms": milliseconds((ended_at or updated_at) - started_at),
                "ok": ok,
                "failed": failed,
                "calls": calls,
                "cost": None if unpriced else micro_usd(cost_usd),
                "stopped": redact_line(stopped) if stopped else None,
                "exit_code": exit_code,
            }
        )
    return sessions


def _totals(rows: RowPass, status: Status | None, saved: float | None) -> dict[str, Any]:
    """What all sessions spent, and `saved` by cached tokens; without a run folder what the results say."""
    totals: dict[str, Any] = {"rows": dict(rows.table.counts), "missed_rows": rows.expectations.missed_rows}
    totals["replayed_cost"] = micro_usd(rows.replayed_usd)
    if status is None:
        return totals | rows.spent.totals()
    in_all = status.in_all
    usage = in_all["usage"]
    names = ("prompt_tokens", "cached_prompt_tokens", "completion_tokens", "reasoning_tokens", "calls")
    return totals | {
        **{name: usage[name] for name in names},
        "attempts": in_all["attempts"],
        "cost": micro_usd(in_all["cost_usd"]),
        "saved_cost": micro_usd(saved),
        "may_be_owed": micro_usd(in_all["may_be_owed_usd"]),
        "unpriced": in_all["cost_usd"] is None,
    }


def _figures(view: View | None, rows: RowPass) -> dict[str, Any]:
    """The figures by model, by task, by tier and per row."""
    table = rows.table
    tiers = by_tier(view) if view is not None else []
    tasks = by_task(view) if view is not None else rows.spent.by_task()
    for task in tasks:
        task["failures"] = rows.failed_by_task.get(task["name"], 0)
    return {
        "by_model": by_model(view) if view is not None else [],
        "by_task": tasks,
        **({"by_tier": tiers} if tiers else {}),
        "histograms": {
            "row_time": histogram(list(table.time.values())),
            "row_cost": histogram(list(table.cost.values())),
            "tasks": task_histograms(view) if view is not None else {},
        },
    }


def _failures(results: RunResults, rows: RowPass) -> list[dict[str, Any]]:
    groups = rows.failures.groups(others_succeeded=rows.table.counts["ok"] > 0)
    return [_failure(group, results.view) for group in groups]


def _failure(group: FailureGroup, view: View | None) -> dict[str, Any]:
    return {
        "fingerprint": group.fingerprint,
        "category": group.category,
        "type": group.type,
        "task": group.task,
        "count": group.count,
        "example": {"row": group.index, "id": group.row_id, "message": redact(group.example.message)},
        "cause": group.cause,
        "retry_command": _retry_command(group.category, view),
    }


def _retry_command(category: Category, view: View | None) -> str | None:
    """How to run the rows of a category again; rows of the category `input` have to be mended first."""
    if view is None or category is Category.INPUT:
        return None
    return shlex.join(["crewrun", "retry", nearby(view.output or view.folder.path), "--only", category])


def _tool_failures(status: Status | None) -> list[Mapping[str, Any]]:
    if status is None:
        return []
    return [
        {"tool": one.tool, "count": one.count, "reason": one.reason, "error": redact(one.error), "task": one.task}
        for one in status.tool_failures
    ]
