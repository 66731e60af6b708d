"""The counters of a session as JSON: for `--progress json`, and for `status` in another process."""

from datetime import datetime
from typing import Any

from crewrun.batch.progress import Progress
from crewrun.limits.waits import limiting
from crewrun.redaction.redactor import redact_line


def snapshot(progress: Progress, share: float | None) -> dict[str, Any]:
    """The current counters. `share` of the input is done, 0 to 1; `at` is the local time with its zone."""
    eta_s, failure, total = progress.eta_s(share), progress.last_failure, progress.total
    return {
        "ok": progress.ok,
        "failed": progress.failed,
        "in_flight": progress.in_flight,
        "elapsed_s": round(progress.elapsed_s, 1),
        "rows_per_s": round(progress.rows_per_s, 2),
        "total_tokens": progress.prompt_tokens + progress.completion_tokens,
        "cost_usd": None if progress.unpriced else round(progress.cost_usd, 6),
        "share": None if share is None else round(share, 4),
        "eta_s": None if eta_s is None else round(eta_s, 1),
        "limiting": limiting(progress.waits),
        "at": datetime.now().astimezone().isoformat(timespec="milliseconds"),
        **({"shared_tool_calls": progress.shared_tool_calls} if progress.shared_tool_calls else {}),
        "ended": progress.ended,
        "total": None if total is None else total.rows,
        "total_is_estimate": total is not None and total.is_about,
        "done_before": progress.done_before,
        "budget": _budget(progress),
        "waiting": [wait.to_json() for wait in progress.waits],
        "last_failure": None if failure is None else {**failure._asdict(), "message": redact_line(failure.message)},
    }


def _budget(progress: Progress) -> dict[str, float] | None:
    budget = progress.budget
    if budget is None:
        return None
    return {"spent_usd": round(budget.spent_usd, 6), "limit_usd": round(budget.limit_usd, 6)}
