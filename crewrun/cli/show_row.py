"""One row of a run, with the prompts and replies of all its calls, for `crewrun show`."""

import json
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from crewrun.inspect.show import FoundRow
    from crewrun.inspect.view import View
    from crewrun.row import Row


def show_row(view: "View", name: str) -> dict[str, Any]:
    """The row that `name` means, as `--json` prints it. Raises UsageError."""
    from crewrun.cli.setup import run_loop

    shown: dict[str, Any] = run_loop(_find, view, name)
    return shown


async def _find(view: "View", name: str) -> dict[str, Any]:
    from crewrun.batch.rebuilt_prompts import RebuiltPrompts
    from crewrun.batch.run_input import all_inputs
    from crewrun.cli.run_crew import load_run_crew
    from crewrun.inspect.show import (
        SCHEMA,
        calls_of,
        describe_calls,
        find_id,
        find_row,
        logged_prompts,
        tool_failures,
        totals,
    )

    row = find_id(view, name) or await _row_on_line(view, name) or find_row(view, name)
    inputs, record = await _inputs_and_result(view, row)
    calls = calls_of(view, row)
    rebuilt = RebuiltPrompts(view, load_run_crew(view.manifest))
    filled = await all_inputs(view.manifest, row.id, inputs)
    prompts, why_not = rebuilt.of_row(filled, record, calls, logged_prompts(view, row))
    return {
        "schema": SCHEMA,
        "run": str(view.folder.path),
        "id": row.id,
        "status": record["status"] if record else "unfinished",
        "input": inputs,
        "result": record,
        "calls": describe_calls(view, calls, prompts),
        "no_prompt": why_not,
        "tool_failures": tool_failures(view, calls),
        "totals": totals(calls),
    }


async def _row_on_line(view: "View", name: str) -> "FoundRow | None":
    """The row on the line of the input that `name` means, `7` or `line:7`, counted from 1; None for other names.

    Raises UsageError for `line:7` when no row is there; `7` may be the beginning of an id as well.
    """
    from crewrun.batch.run_input import visit_rows
    from crewrun.errors import UsageError
    from crewrun.inspect.show import find_entry

    digits = name.removeprefix("line:")
    if not (digits.isascii() and digits.isdigit()):
        return None
    line, is_explicit = int(digits), name != digits
    rows: list[Row] = []

    def look(row: "Row") -> bool:
        if row.line <= line:
            rows[:] = [row]
        return row.line >= line

    try:
        await visit_rows(view.manifest, look)
    except UsageError as gone:
        if is_explicit:
            raise UsageError(f"{name}: {gone}; name the row by its id") from None
        return None
    if rows and rows[0].line == line:
        return find_entry(view, rows[0].id)
    if is_explicit:
        before = f"; the row before it is on line {rows[0].line}" if rows else ""
        raise UsageError(f"{name}: no row begins on this line of {view.manifest.inputs}{before}")
    return None


async def _inputs_and_result(view: "View", entry: "FoundRow") -> tuple[dict[str, Any] | None, dict[str, Any] | None]:
    """The row's own inputs, None when they cannot be found, and its result, None for an unfinished row."""
    from crewrun.inspect.show import find_line, make_record

    if record := find_line(view, entry):
        return record["input"], record
    row = await _row_of_input(view, entry)
    return row.own if row else None, make_record(view, entry, row)


async def _row_of_input(view: "View", entry: "FoundRow") -> "Row | None":
    """The row in the run's input, None when the input cannot be read again or no longer has it."""
    from crewrun.batch.run_input import visit_rows
    from crewrun.errors import UsageError

    rows = []

    def look(row: "Row") -> bool:
        if row.id == entry.id:
            rows.append(row)
        return bool(rows)

    try:
        await visit_rows(view.manifest, look)
    except UsageError:
        return None
    return rows[0] if rows else None


def lines(shown: dict[str, Any]) -> list[str]:
    """The row for a person to read."""
    from crewrun.redaction.redactor import redact

    record = shown["result"]
    index = f", index {record['index']}" if record and record["index"] is not None else ""
    report = [f"row {shown['id']}: {shown['status']}{index}"]
    report.append(f"input: {'not kept' if shown['input'] is None else _json(shown['input'])}")
    if record:
        report.append(f"began at {record['started_at']} and took {record['duration_s']:g} s")
        if record["error"]:
            error = record["error"]
            report += [f"error: {error['category']}: {line}" for line in redact(error["message"]).split("\n")]
    for call in shown["calls"]:
        report += ["", *_call_lines(call)]
    replies = {(call["task"], call.get("reply")) for call in shown["calls"]}
    for task in record["tasks"] if record else []:
        if (task["name"], task["output"]) in replies:
            continue
        agent = f" ({task['agent']})" if task["agent"] else ""
        report += ["", f"task {task['name']}{agent}{_flags(task)}, output:", *_indented(task["output"])]
    if record and not isinstance(record["output"], str | None):
        report += ["", f"output: {_json(record['output'])}"]
    if shown["no_prompt"]:
        report += ["", f"prompts that are not shown: --log-prompts would have kept them; {shown['no_prompt']}"]
    report += [""] if record and record.get("expectations") else []
    for name, reason in (record.get("expectations") or {}).items() if record else ():
        report.append(f"expected {name!r}: {'met' if reason is True else f'missed: {reason}'}")
    failed = [f"{one['tool']} {one['count']} ×" for one in shown["tool_failures"]]
    report += ["", f"failed calls of tools: {', '.join(failed)}"] if failed else []
    return [*report, "", f"in all: {_spent(shown['totals'])}"]


def _call_lines(call: dict[str, Any]) -> list[str]:
    from crewrun.cli.wording import duration, money

    when = f"{call['at']}, {duration(call['duration_s'])}, session {call['session']}"
    if call["kind"] == "tool_failure":
        failed = f"tool {call['tool']} failed ({call['reason']}) in turn {call['turn']}"
        return [f"{failed} · task {call['task']} · {when}", *_indented(call["error"])]
    if call["kind"] == "tool":
        return [f"tool {call['tool']} · task {call['task']} · {when}", *_indented(call["result"])]
    usage, attempts = call["usage"], call["attempts"]
    tokens = f"{usage['prompt_tokens']:,} tokens in, {usage['completion_tokens']:,} out, {money(call['cost_usd'])}"
    tries = f", {attempts} attempts" if attempts > 1 else ""
    tier = f" at {call['tier']}" if call.get("tier") else ""
    report = [f"call {call['model']}{tier} · task {call['task']} · {when}{tries} · {tokens}"]
    report += ["  (prompt not kept)"] if call["prompt"] is None else []
    for message in call["prompt"] or ():
        report += [f"  [{message['role']}]", *_indented(message["content"])]
        report += [f"    asks for {name} {arguments}" for name, arguments in message.get("tool_calls", ())]
    if call["kind"] == "failure":
        return [*report, "  failed:", *_indented(call["error"])]
    cut_off = " (cut off)" if call["truncated"] else ""
    if call.get("reasoning"):
        report += ["  reasoning, no part of the reply:", *_indented(call["reasoning"])]
    if call.get("finish_reason"):
        report.append(f"  finish_reason: {call['finish_reason']}, which crewrun does not know")
    report += [f"  reply{cut_off}:", *_indented(call["reply"])] if call["reply"] or not call["tool_calls"] else []
    return report + [f"  asks for {one['name']} {one['arguments']}" for one in call["tool_calls"]]


def _spent(sums: dict[str, Any]) -> str:
    from crewrun.cli.wording import count, duration, money, tiers

    usage = sums["usage"]
    by_tier = f"; by tier: {of_tiers}" if (of_tiers := tiers(sums)) else ""
    return (
        f"{count(usage['calls'], 'call')}, {count(sums['attempts'], 'attempt')}, {usage['prompt_tokens']:,} tokens in, "
        f"{usage['completion_tokens']:,} out, {money(sums['cost_usd'])}, {duration(sums['duration_s'])}{by_tier}"
    )


def _flags(task: dict[str, Any]) -> str:
    flags = [name for name in ("truncated", "skipped") if task.get(name)]
    flags += [f"finish_reason {task['finish_reason']}"] if task.get("finish_reason") else []
    return f" [{', '.join(flags)}]" if flags else ""


def _indented(text: str) -> list[str]:
    return [f"    {line}".rstrip() for line in text.splitlines()]


def _json(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False)
