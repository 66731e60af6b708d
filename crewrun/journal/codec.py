"""Encodes an outcome for its row's entry: all of the result line except the input, and no reply twice.

An output that is a recorded reply is stored as the number of that call, a structured output as the number of the call
whose text it was parsed from. `replies` encodes the replies of calls.
"""

import json
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

from crewrun.errors import Category
from crewrun.messages import Usage
from crewrun.row import ErrorRecord, FailedTool, Outcome, Replayed, Row, TaskRecord, as_json
from crewrun.tier_use import TierUse

_EPOCH = datetime.fromtimestamp(0, UTC)
_MILLISECOND = timedelta(milliseconds=1)


def encode(outcome: Outcome, replies: Mapping[str, int], code: Callable[[str], int | str]) -> bytes:
    """The record of `outcome`. `replies` maps a text to the number of the call that replied it; `code` shortens
    names.
    """
    replayed = outcome.replayed
    record: list[Any] = [
        (outcome.started_at - _EPOCH) // _MILLISECOND,
        int(outcome.duration_s * 1000 + 0.5),
        outcome.attempts,
        outcome.calls,
        _usage(outcome.usage),
        outcome.cost_usd,
        [code(model) for model in outcome.models],
        _value(outcome.output, replies),
        [_task(task, replies, code) for task in outcome.tasks],
    ]
    tools, tiers, expectations = outcome.tool_failures, outcome.tiers, dict(outcome.expectations)
    if outcome.error or outcome.files or replayed or tools or expectations or tiers:
        record += [outcome.error.to_json() if outcome.error else 0, list(outcome.files)]
    if replayed or tools or expectations or tiers:
        record.append([replayed.calls, replayed.attempts, _usage(replayed.usage), replayed.cost_usd] if replayed else 0)
    if tools or expectations or tiers:
        record.append([_failed_tools(failed) for failed in (tools, *map(_of_task, outcome.tasks))])
    if expectations or tiers:
        record.append(expectations)
    if tiers:
        record.append(tiers)
    return as_json(record)


def _of_task(task: TaskRecord) -> Sequence[FailedTool]:
    return task.tool_failures


def _failed_tools(failures: Sequence[FailedTool]) -> list[list[Any]]:
    return [[one.task, one.tool, one.reason, one.error, one.count] for one in failures]


def _task(task: TaskRecord, replies: Mapping[str, int], code: Callable[[str], int | str]) -> list[Any]:
    record = [code(task.name), code(task.agent), replies.get(task.output, task.output), task.calls, _usage(task.usage)]
    more = {"finish_reason": task.finish_reason} if task.finish_reason is not None else {}
    if task.truncated or task.skipped or more:
        record.append(task.truncated + 2 * task.skipped)
    return [*record, more] if more else record


def decode(record: bytes, row: Row, reply: Callable[[int], str], name: Callable[[int | str], str]) -> Outcome:
    """The outcome of `row` from a record. `reply` returns a call's text by its number, `name` is the inverse of
    `code`.
    """
    started_ms, duration_ms, attempts, calls, usage, cost_usd, models, output, tasks, *more = json.loads(record)
    error: Any
    files: Any
    replayed: Any
    failed: Any  # the row's failed tools, then each task's
    tiers: Any
    error, files, replayed, failed, expectations, tiers = more + [0, [], 0, [], {}, {}][len(more) :]
    failures = [[FailedTool(*one) for one in group] for group in failed] or [[]] * (len(tasks) + 1)
    return Outcome(
        row=row,
        status="failed" if error else "ok",
        output=_read_value(output, reply),
        tasks=[
            TaskRecord(
                name(task),
                name(agent),
                _read_text(text, reply),
                calls_of_it,
                Usage(*used),
                truncated=bool(flags) and bool(flags[0] & 1),
                skipped=bool(flags) and bool(flags[0] & 2),
                tool_failures=failed_in_it,
                **(flags[1] if len(flags) > 1 else {}),
            )
            for (task, agent, text, calls_of_it, used, *flags), failed_in_it in zip(tasks, failures[1:], strict=True)
        ],
        error=_read_error(error) if error else None,
        attempts=attempts,
        calls=calls,
        usage=Usage(*usage),
        cost_usd=cost_usd,
        models=[name(model) for model in models],
        started_at=datetime.fromtimestamp(started_ms / 1000, UTC),
        duration_s=duration_ms / 1000,
        files=files,
        replayed=Replayed(replayed[0], replayed[1], Usage(*replayed[2]), replayed[3]) if replayed else None,
        tool_failures=failures[0],
        expectations=expectations,
        tiers={tier: TierUse(*use) for tier, use in tiers.items()},
    )


def _usage(usage: Usage) -> list[int]:
    counts = [usage.prompt_tokens, usage.cached_prompt_tokens, usage.completion_tokens, usage.reasoning_tokens]
    counts += usage.estimated_calls, usage.cache_write_prompt_tokens
    while counts and not counts[-1]:
        counts.pop()
    return counts


def _read_text(stored: str | int, reply: Callable[[int], str]) -> str:
    return stored if isinstance(stored, str) else reply(stored)


def _value(output: Any, replies: Mapping[str, int]) -> Any:
    """A text output as itself or as its call's number; any other output in a list: `[number]`, or `[0, output]`."""
    if isinstance(output, str):
        return replies.get(output, output)
    if output is None:
        return None
    encoded = as_json(output)
    for text, number in replies.items():
        try:
            if as_json(json.loads(text)) == encoded:
                return [number]
        except (ValueError, RecursionError):
            continue
    return [0, output]


def _read_value(stored: Any, reply: Callable[[int], str]) -> Any:
    if not isinstance(stored, list):
        return None if stored is None else _read_text(stored, reply)
    return stored[1] if len(stored) > 1 else json.loads(reply(stored[0]))


def _read_error(stored: Mapping[str, Any]) -> ErrorRecord:
    return ErrorRecord(**{**stored, "category": Category(stored["category"])})
