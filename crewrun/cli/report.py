"""Reports in words, on stderr, how a run ended."""

import shlex
from typing import Any

from crewrun.batch.stop import StopKind
from crewrun.batch.summary import Report
from crewrun.cli.wording import count, duration, may_be_owed, money, shortened, tokens
from crewrun.errors import Category
from crewrun.terminal import say_all

_EXAMPLE_CHARS = 300
_SHOWN_TOOLS = 10
_ROUNDING_USD = 1.5e-6  # amounts are rounded to a millionth
# A run that was stopped by one of these flags would stop again at once with the same value.
_LIMITS: dict[StopKind, str] = {"budget": "--budget", "forecast": "--max-forecast"}


def say_report(report: Report, command: str, redo: str) -> None:
    """Report how the run went, why it stopped if it did, and what to do next.

    `command` continues the run, `redo` runs failed rows again.
    """
    say_all(report_lines(report, command, redo))


def report_lines(report: Report, command: str, redo: str) -> list[str]:
    """The lines of the report."""
    summary = report.summary
    lines = [_headline(summary), *_failure_lines(report), *_tool_lines(summary)]
    if shard := summary["shard"]:
        lines.append(f"shard {shard['part']}: {shard['elsewhere']:,} rows belong to other shards")
    lines += _warnings(summary)
    if summary["models"] == ["offline"]:
        lines.append("no model was called: the answers are those of the offline model")
    if summary["not_counted"]:
        lines.append(summary["not_counted"])
    if summary["stopped"]:
        lines.append(f"stopped: {summary['stopped']}{_abandoned(summary)}")
    if report.output:
        lines.append(f"results: {report.output}")
    if report.backup:
        lines.append(f"the previous run is now {report.backup}")
    if report.lost:
        lines.append(f"warning: the journal had lost {report.lost} rows that the results had; they were run again")
    if report.gone:
        lines.append(
            f"{report.gone} results were removed: their rows are no longer in the input (the journal keeps them)"
        )
    lines += report.notes
    if summary["stopped"] and report.folder:
        limit = _LIMITS.get(report.stop.kind) if report.stop else None
        lines.append(f"to go on{f', with a larger {limit}' if limit else ''}: {command}")
    elif summary["stopped"]:
        lines.append(f"to run all rows again: {command}")
    elif report.exit_code and report.folder:
        lines.append(f"to run what failed again: {redo}")
    return lines


def _warnings(summary: dict[str, Any]) -> list[str]:
    """Warnings about the answers."""
    lines = []
    if cut_off := summary["truncated"]:
        lines.append(f"warning: {cut_off} answers were cut off at max_tokens (their tasks say truncated)")
    if words := ", ".join(map(repr, summary["finish_reasons"])):
        lines.append(f"warning: answers ended with finish_reason {words}, which is not known (their tasks say so)")
    return lines


def _headline(summary: dict[str, Any]) -> str:
    rows, usage, times = summary["rows"], summary["usage"], summary["row_time_s"]
    counts = [f"{rows['ok']} ok", f"{rows['failed']} failed"]
    counts += [f"{rows['kept']} done before"] if rows["kept"] else []
    counts += [f"{rows['kept_failed']} failed before"] if rows["kept_failed"] else []
    if summary["unread"] is None:
        counts.append(f"at least {rows['pending']} pending" if rows["pending"] else "the rest not counted")
    elif rows["pending"]:
        counts.append(f"{rows['pending']} pending")
    parts = [
        f"{', '.join(counts)} in {duration(summary['duration_s'])}",
        f"{summary['rows_per_s']:.1f} rows/s",
    ]
    if times["p50"] is not None:
        parts.append(f"row p50 {times['p50']:g} s, p95 {times['p95']:g} s")
    parts.append(tokens(usage))
    parts.append(money(summary["cost_usd"]) + may_be_owed(summary))
    if summary["replayed_calls"]:
        parts.append(f"{summary['replayed_calls']} calls from the journal")
    in_all = summary["in_all"]
    if in_all and _is_more(in_all, summary):
        in_all_usd = money(in_all["cost_usd"]) + may_be_owed(in_all)
        parts.append(f"in all {in_all['usage']['calls']} calls, {in_all_usd}")
    return " · ".join(parts)


def _is_more(in_all: dict[str, Any], summary: dict[str, Any]) -> bool:
    """Whether earlier sessions made calls, or were or may have been billed for attempts without an answer."""
    spent = [(in_all[name] or 0.0) - (summary[name] or 0.0) for name in ("cost_usd", "may_be_owed_usd")]
    return in_all["usage"]["calls"] > summary["usage"]["calls"] or max(spent) > _ROUNDING_USD


def _failure_lines(report: Report) -> list[str]:
    lines = []
    run = report.output or report.folder
    for group in report.summary["failures"]:
        example, category = group["example"], group["category"]
        message = shortened(" ".join(example["message"].split()), _EXAMPLE_CHARS)
        task = f" in task {example['task']!r}" if example["task"] else ""
        where = "" if message.startswith("line ") else f"line {example['line']}{task}: "
        lines += [f"  {group['count']} × {category}: {where}{message}", f"      → {group['hint']}"]
        if report.folder and run and category != Category.INPUT:
            lines.append(f"      → to run these again: crewrun retry {shlex.quote(run)} --only {category}")
    return lines


def _tool_lines(summary: dict[str, Any]) -> list[str]:
    groups = summary["tool_failures"]
    lines = []
    for group in groups[:_SHOWN_TOOLS]:
        example = group["example"]
        error = shortened(" ".join(example["error"].split()), _EXAMPLE_CHARS)
        where = f"line {example['line']} in task {example['task']!r} ({example['reason']})"
        calls = f"{count(group['count'], 'call')} of tool {group['tool']!r} failed, in {count(group['rows'], 'row')}"
        lines.append(f"  {calls}: {where}: {error}")
    more = sum(group["count"] for group in groups[_SHOWN_TOOLS:])
    return [*lines, f"  {count(more, 'call')} of other tools failed"] if more else lines


def _abandoned(summary: dict[str, Any]) -> str:
    rows = summary["rows"]
    given_up = f"; {rows['abandoned']} rows in flight were given up" if rows["abandoned"] else ""
    return given_up + (f"; {rows['unwritten']} finished rows could not be written" if rows["unwritten"] else "")
