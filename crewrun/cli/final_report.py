"""Reports in words, on stderr, how a run ended: the counts first and last, the failures by category in between.

What is left out on a small terminal is decided in `final_report_layout`.
"""

import shlex
from typing import Any

from crewrun.batch.failures import cause_of
from crewrun.batch.stop import DETACHED, StopKind
from crewrun.batch.summary import Report
from crewrun.cli.final_report_layout import Failed, Line, Sheet, fitted, in_full
from crewrun.cli.wording import (
    count,
    duration,
    may_be_owed,
    money,
    rate,
    row_counts,
    shared_calls,
    shortened,
    tiers,
    tokens,
)
from crewrun.errors import Category
from crewrun.expect.field_path import UNCHECKED
from crewrun.inspect.view import nearby
from crewrun.terminal import is_terminal, say_all

_EXAMPLE_CHARS = 300
_ROWS_FOR_A_PAGE = 100  # fewer are seen as well with `show`
_ID_CHARS = 40  # ids may be whole sentences
_ROUNDING_USD = 1.5e-6  # amounts are rounded to a millionth
# A run that was stopped by one of these flags would stop again at once with the same value.
_LIMITS: dict[StopKind, str] = {"budget": "--budget", "forecast": "--max-forecast"}


def say_report(report: Report, command: str, redo: str) -> None:
    """Report how the run went, why it stopped if it did, and what to do next.

    `command` continues the run, `redo` runs failed rows again. On a terminal the report is fitted to the screen.
    """
    sheet = _sheet(report, command, redo)
    if is_terminal():
        from crewrun.cli.screen import Screen

        screen = Screen()
        screen.show(fitted(sheet, screen.lines_of, screen.height - 1))  # the last line is the shell's prompt
    else:
        say_all(line.in_full for line in in_full(sheet))


def report_text(report: Report, command: str, redo: str) -> str:
    """The report in one line, for messages elsewhere: counts, cost, why it stopped, and what to do."""
    sheet = _sheet(report, command, redo)
    step = sheet.next_step
    parts = [" · ".join(sheet.headline[:3]), *(line.text for line in sheet.stopped)]
    return "; ".join([*parts, f"{step.action} {step.command}"] if step.command else parts)


def next_command(report: Report, command: str, redo: str) -> str | None:
    """The command that the report recommends, None when there is nothing to do."""
    return _next_step(report, command, redo).command or None


def _sheet(report: Report, command: str, redo: str) -> Sheet:
    summary = report.summary
    run = report.output or report.folder
    failed = _failed(summary)
    return Sheet(
        headline=_headline(summary),
        stopped=[Line(_stopped(report), "stop", hang=2)] if summary["stopped"] else [],
        failed=failed,
        look=shlex.join(["crewrun", "show", run, "--failed"]) if failed and report.folder and run else None,
        retry=_retry_command(run, failed) if report.folder and run and report.can_retry else None,
        tools=_tool_lines(summary),
        missed=_missed_lines(summary, run if report.folder else None),
        notes=[Line(note, "note", hang=2) for note in _notes(report)],
        results=None if report.output is None else f"results: {report.output}",
        next_step=_next_step(report, command, redo),
        page=_page_command(report),
    )


def _page_command(report: Report) -> str | None:
    """How to see the run on a page, None where that says hardly more, or the run has written one."""
    rows, run = report.summary["rows"], report.output or report.folder
    count_of_rows = rows["ok"] + rows["failed"] + rows["kept"]
    if report.page or not report.folder or run is None or count_of_rows < _ROWS_FOR_A_PAGE:
        return None
    return shlex.join(["crewrun", "report", run])


def _headline(summary: dict[str, Any]) -> list[str]:
    """The counts, and the figures by importance."""
    usage, times, is_idle = summary["usage"], summary["row_time_s"], not summary["rows_per_s"]
    parts = [f"{row_counts(summary)} in {duration(summary['duration_s'])}"]
    parts += [] if is_idle else [rate(summary["rows_per_s"])]
    parts.append(money(summary["cost_usd"]) + may_be_owed(summary))
    parts += [tokens(usage)] if usage["total_tokens"] else []
    in_all = summary["in_all"]
    if in_all and _is_more(in_all, summary):
        in_all_usd = money(in_all["cost_usd"]) + may_be_owed(in_all)
        parts.append(f"in all {count(in_all['usage']['calls'], 'call')}, {in_all_usd}")
    if summary["replayed_calls"]:
        parts.append(f"{count(summary['replayed_calls'], 'call')} from the journal")
    if times["p50"] is not None:
        parts.append(f"row p50 {duration(times['p50'])}, p95 {duration(times['p95'])}")
    return parts


def _is_more(in_all: dict[str, Any], summary: dict[str, Any]) -> bool:
    """Whether earlier sessions made calls, or were or may have been billed for attempts without an answer."""
    spent = [(in_all[name] or 0.0) - (summary[name] or 0.0) for name in ("cost_usd", "may_be_owed_usd")]
    return in_all["usage"]["calls"] > summary["usage"]["calls"] or max(spent) > _ROUNDING_USD


def _failed(summary: dict[str, Any]) -> list[Failed]:
    """The failures by category, the most frequent category first, with one hint each."""
    categories: dict[str, list[dict[str, Any]]] = {}
    for group in summary["failures"]:
        categories.setdefault(group["category"], []).append(group)
    failed = [
        Failed(
            category,
            sum(group["count"] for group in groups),
            [(group["count"], _example(group["example"])) for group in groups],
            _hint(category, {group["hint"] for group in groups}),
        )
        for category, groups in categories.items()
    ]
    return sorted(failed, key=lambda one: -one.count)


def _hint(category: str, hints: set[str]) -> str:
    """The hint that all causes of a category have in common, else the category's own."""
    return hints.pop() if len(hints) == 1 else cause_of(Category(category))


def _example(example: dict[str, Any]) -> str:
    task = f" in task {example['task']!r}" if example["task"] else ""
    message = " ".join(example["message"].split()).removeprefix(f"line {example['line']}: ")
    where = f"line {example['line']} ({shortened(example['id'], _ID_CHARS)}){task}"
    return f"{where}: {shortened(message, _EXAMPLE_CHARS)}"


def _retry_command(run: str, failed: list[Failed]) -> str | None:
    """How to run the rows of one category again; rows of the category `input` have to be mended first."""
    categories = [one.category for one in failed if one.category != Category.INPUT]
    if not categories:
        return None
    return shlex.join(["crewrun", "retry", run, "--only", categories[0]])


def _tool_lines(summary: dict[str, Any]) -> list[Line]:
    lines = []
    for group in summary["tool_failures"]:
        example = group["example"]
        error = shortened(" ".join(example["error"].split()), _EXAMPLE_CHARS)
        where = f"line {example['line']} in task {example['task']!r} ({example['reason']})"
        calls = f"{count(group['count'], 'call')} of tool {group['tool']!r} failed, in {count(group['rows'], 'row')}"
        lines.append(Line(f"  {calls}: {where}: {error}", "tool", hang=6))
    return lines


def _missed_lines(summary: dict[str, Any], run: str | None) -> list[Line]:
    """The expectations by how many rows missed them, how to see these rows of a `run` that is stored, and those that
    all rows met in one line.
    """
    expectations = sorted(summary["expectations"], key=lambda one: -one["missed"])
    lines = []
    for one in expectations:
        if one["missed"]:
            example = one["example"]
            where = f"line {example['line']} ({shortened(example['id'], _ID_CHARS)})"
            reason = shortened(example["reason"], _EXAMPLE_CHARS)
            text = f"  expected {one['name']!r}: {one['missed']:,} of {count(one['checked'], 'row')} missed it"
            if unchecked := one.get("unchecked"):  # the summary of an older run has none
                text += f", {'all' if unchecked == one['missed'] else f'{unchecked:,}'} because it could not be checked"
                reason = reason.removeprefix(UNCHECKED)
            lines.append(Line(f"{text}: {where}: {reason}", "tool", hang=6))
    if lines and run is not None:
        command = shlex.join(["crewrun", "show", run, "--missed", expectations[0]["name"]])
        lines.append(Line("", "note", action="  to see those that missed it:", command=command))
    met = [one["name"] for one in expectations if not one["missed"]]
    return [*lines, *([Line(f"  expected and met by all rows: {', '.join(met)}", "note", hang=6)] if met else [])]


def _notes(report: Report) -> list[str]:
    """What else the user has to know about the answers and the files."""
    summary = report.summary
    notes = []
    if shard := summary["shard"]:
        notes.append(f"shard {shard['part']}: {shard['elsewhere']:,} rows belong to other shards")
    if cut_off := summary["truncated"]:
        notes.append(f"warning: {count(cut_off, 'answer')} cut off at max_tokens (their tasks say truncated)")
    if shared := summary.get("shared_tool_calls"):
        notes.append(shared_calls(shared))
    if by_tier := tiers(summary):
        notes.append(f"by tier: {by_tier}")
    if words := ", ".join(map(repr, summary["finish_reasons"])):
        notes.append(f"warning: answers ended with finish_reason {words}, which is not known (their tasks say so)")
    if summary["models"] == ["offline"]:
        notes.append("no model was called: the answers are those of the offline model")
    if summary["not_counted"]:
        notes.append(summary["not_counted"])
    if report.backup:
        notes.append(f"the previous run is now {nearby(report.backup)}")
    if report.lost:
        lost = count(report.lost, "row")
        notes.append(f"warning: the journal had lost {lost} that the results had; they were run again")
    if report.gone:
        gone = "1 result was" if report.gone == 1 else f"{report.gone:,} results were"
        notes.append(f"{gone} removed: no longer in the input (the journal keeps what was removed)")
    return [*notes, *report.notes]


def _next_step(report: Report, command: str, redo: str) -> Line:
    """The last line: the counts again, and what to do now."""
    summary = report.summary
    text = row_counts(summary)
    if summary["stopped"] and report.folder:
        limit = _LIMITS.get(report.stop.kind) if report.stop else None
        return Line(text, "next", action=f"to go on{f', with a larger {limit}' if limit else ''}:", command=command)
    if summary["stopped"]:
        return Line(text, "next", action="to run all rows again:", command=command)
    if report.exit_code and report.folder:
        return Line(text, "next", action="to run what failed again:", command=redo)
    return Line(text, "next")


def _stopped(report: Report) -> str:
    """Why the run stopped, and what became of its rows. Those that wait for batch jobs are not given up."""
    rows = report.summary["rows"]
    if report.stop is DETACHED and report.open_jobs:
        wait = "waits" if report.left_to_jobs == 1 else "wait"
        why = f"detached: {count(report.left_to_jobs, 'row')} {wait} for {count(report.open_jobs, 'batch job')}"
        why += "; the same command goes on"
    else:
        why = f"stopped: {report.summary['stopped']}"
    given_up = rows["abandoned"] - report.left_to_jobs
    why += f"; {given_up:,} rows in flight were given up" if given_up > 0 else ""
    return why + (f"; {rows['unwritten']:,} finished rows could not be written" if rows["unwritten"] else "")
