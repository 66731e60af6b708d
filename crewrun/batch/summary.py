"""How a run ended, as values: what `--summary` writes and what the command line reports in words."""

import json
import os
import stat
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from crewrun.batch.descriptors import copy_of
from crewrun.batch.failures import FailureGroup
from crewrun.batch.progress import Progress
from crewrun.batch.shard import Shard
from crewrun.batch.stop import StopReason
from crewrun.errors import OutputFailed
from crewrun.inspect.view import spent_json
from crewrun.limits.unknown_bills import Owed
from crewrun.redaction.redactor import redact_line
from crewrun.row import usage_json
from crewrun.tier_use import completed, tiers_json
from crewrun.unfinished import replacement

SCHEMA = "crewrun.summary/1"


@dataclass(frozen=True, slots=True)
class Report:
    """How a run ended. `output` is where the results are, None for standard output; `folder` the run's state, if any.

    `backup` is where --fresh moved the previous run; `lost` results were not in the journal, and `gone` rows are no
    longer in the input; `notes` are printed too. With `can_retry` the run's input can be read again by `crewrun retry`.
    `page` is the file that --report names. `left_to_jobs` rows wait for batch jobs; a detached run has
    left `open_jobs` of them at the provider.
    """

    summary: dict[str, Any]
    stop: StopReason | None
    output: str | None
    folder: str | None = None
    backup: str | None = None
    lost: int = 0
    gone: int = 0
    notes: list[str] = field(default_factory=list)
    page: str | None = None
    can_retry: bool = True
    left_to_jobs: int = 0
    open_jobs: int = 0

    @property
    def exit_code(self) -> int:
        """The code that the command ends with."""
        code: int = self.summary["exit_code"]
        return code


@dataclass(frozen=True, slots=True)
class SessionResult:
    """How a session ended, except for its counters.

    `output` is the results file, None for standard output; `not_counted` says whose calls crewrun does not see;
    `totals` is what all sessions of the run have spent together, `owed` what this session's attempts with an unknown
    bill may cost, and `forecast` the canary's. `shard` is the part of the input to run, None for all of it.
    """

    output: str | None
    stop: StopReason | None
    exit_code: int
    error: str | None
    not_counted: str | None
    totals: Mapping[str, Any] | None
    owed: Owed
    forecast: Mapping[str, Any] | None
    shard: Shard | None


def summarise(progress: Progress, end: SessionResult) -> dict[str, Any]:
    """The summary as JSON. `unread` of the pending rows had not begun; None means that there may be more than are
    counted.
    """
    why = end.stop.why if end.stop else end.error
    owed = end.owed
    cost_usd = None if progress.unpriced else progress.cost_usd
    tiers = completed(progress.tiers, progress.calls, cost_usd)
    return {
        "schema": SCHEMA,
        "exit_code": end.exit_code,
        "stopped": None if why is None else redact_line(why),
        "rows": _rows(progress),
        "unread": progress.unread,
        "shard": None if end.shard is None else {"part": str(end.shard), "elsewhere": progress.elsewhere},
        "failures": [_failures(group) for group in progress.failures.groups(others_succeeded=progress.ok > 0)],
        "tool_failures": [group.to_json() for group in progress.tool_failures.groups()],
        "expectations": [count.to_json() for count in progress.expectations.all()],
        "usage": usage_json(progress.usage, progress.calls),
        "replayed_calls": progress.replayed_calls,
        **({"shared_tool_calls": progress.shared_tool_calls} if progress.shared_tool_calls else {}),
        "attempts": progress.attempts,
        "truncated": progress.truncated,
        "finish_reasons": list(progress.finish_reasons),
        "cost_usd": None if cost_usd is None else round(cost_usd, 6),
        **({"tiers": tiers_json(tiers)} if tiers else {}),
        "may_be_owed_usd": None if owed.unpriced else round(owed.usd, 6),
        "unknown_bills": owed.calls,
        "in_all": None if end.totals is None else spent_json(end.totals),
        "forecast": end.forecast,
        "models": list(progress.models),
        "duration_s": round(progress.elapsed_s, 3),
        "rows_per_s": round(progress.rows_per_s, 2),
        "row_time_s": {"p50": _rounded(progress.row_time_s(0.5)), "p95": _rounded(progress.row_time_s(0.95))},
        "output": end.output,
        "not_counted": end.not_counted,
    }


def write_summary(path: str, summary: dict[str, Any]) -> None:
    """Write `summary` to `path` as JSON, all or nothing. Raises OutputFailed.

    It quotes errors, which may quote rows, so a new file is readable by its owner only, as results are. An existing
    file keeps its mode.
    """
    text = json.dumps(summary, indent=2) + "\n"
    descriptor, target = copy_of("--summary", path, 1), Path(os.path.realpath(path))
    try:
        if descriptor is not None:
            with open(descriptor, "w", encoding="utf-8") as stream:
                stream.write(text)
            return
        if target.exists() and not target.is_file():
            target.write_text(text, encoding="utf-8")
            return
        with replacement(target) as part:
            if target.exists():
                part.chmod(stat.S_IMODE(target.stat().st_mode))
            part.write_text(text, encoding="utf-8")
            part.replace(target)
    except OSError as refused:
        raise OutputFailed(f"--summary {path}: cannot be written: {refused.strerror}") from refused


def _rows(progress: Progress) -> dict[str, int]:
    return {
        "ok": progress.ok,
        "failed": progress.failed,
        "abandoned": progress.abandoned,
        "unwritten": progress.unwritten,
        "kept": progress.done_before,
        "kept_failed": progress.failed_before,
        "pending": progress.pending + (progress.unread or 0),
    }


def _failures(group: FailureGroup) -> dict[str, Any]:
    return {
        "category": group.category,
        "type": group.type,
        "task": group.task,
        "count": group.count,
        "example": {"id": group.row_id, "line": group.line, **group.example.to_json()},
        "hint": group.cause,
    }


def _rounded(seconds: float | None) -> float | None:
    return None if seconds is None else float(f"{seconds:.3g}")
