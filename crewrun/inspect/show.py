"""One row of a run: finding it, its outcome, and the calls that the journal has of it."""

import json
import sqlite3
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, Final, NamedTuple

from crewrun.errors import UsageError, suggest
from crewrun.inspect.status import when
from crewrun.inspect.view import View
from crewrun.journal.keys import line_digest, pack_id, row_key, storable, unpack_id
from crewrun.journal.replies import read_answer, read_text, read_tool_failure, usage_of
from crewrun.journal.schema import FAILURE, TOOL, TOOL_FAILURE, CallEntry
from crewrun.llm.embeddings import words_for
from crewrun.messages import Message, Usage
from crewrun.redaction.redactor import redact
from crewrun.row import Row, as_json, usage_json
from crewrun.runs.results import lines_of
from crewrun.tier_use import STANDARD, TierUse, add_use, completed, tiers_json
from crewrun.tools.pictures import without_pictures

SCHEMA: Final = "crewrun.show/1"

_SHOWN_IDS = 5  # as many ids as fit on a line of the terminal
_NEAR_IDS = 2000  # comparing a name with this many takes 0.1 s


class FoundRow(NamedTuple):
    """A row's id, with `seq` and `digest` of its last entry, or None when the row has not ended yet."""

    id: str
    seq: int | None
    digest: int | None


def find_id(view: View, row_id: str) -> FoundRow | None:
    """The row with this id, None when no session got to it."""
    if entry := _last_entry(view, row_id):
        return entry
    if view.db.execute("select 1 from calls where row = ? limit 1", (row_key(row_id),)).fetchone():
        return FoundRow(row_id, None, None)  # in flight, or given up
    return None


def find_entry(view: View, row_id: str) -> FoundRow:
    """A row of the input: as `find_id`, and without an entry when no session got to it."""
    return find_id(view, row_id) or FoundRow(row_id, None, None)


def find_row(view: View, name: str) -> FoundRow:
    """The row whose id begins with `name`. Raises UsageError when there is none or there are several."""
    begins = (
        "typeof(id) = 'blob' and substr(lower(hex(id)), 1, length(?1)) = ?1 "
        "or typeof(id) = 'text' and substr(id, 1, length(?1)) = ?1"
    )
    stored_name = storable(name)
    several = [unpack_id(packed) for packed in _ids(view.db, begins, stored_name, _SHOWN_IDS + 1)] if name else []
    if len(several) > 1:
        more = ", …" if len(several) > _SHOWN_IDS else ""
        raise UsageError(f"{name!r}: several rows have such ids: {', '.join(several[:_SHOWN_IDS])}{more}; write it out")
    if several and (entry := _last_entry(view, several[0])):
        return entry
    raise UsageError(f"{name!r}: no such row in {view.folder.path}{suggest(name, _near(view.db, stored_name))}")


def find_line(view: View, row: FoundRow) -> dict[str, Any] | None:
    """The row's line in the results, None when the results do not have the line that the journal recorded."""
    if row.digest is None or view.results is None or not view.results.is_file():
        return None
    quoted = as_json(row.id)
    for line in lines_of(view.results):
        if quoted in line and line_digest(line) == row.digest:
            record: dict[str, Any] = json.loads(line)
            return record
    return None


def make_record(view: View, match: FoundRow, row: Row | None) -> dict[str, Any] | None:
    """The row's result, rebuilt from the journal; None when it has not ended.

    `row` is the input's, None without one.
    """
    if match.seq is None:
        return None
    record = view.outcome(match.seq, row or Row(-1, -1, match.id, None)).to_json()
    return record if row else {**record, "index": None}


def calls_of(view: View, match: FoundRow) -> list[CallEntry]:
    """All calls of the row, from every session, in their order."""
    return view.calls("row = ?", (row_key(match.id),))


def logged_prompts(view: View, match: FoundRow) -> dict[int, list[dict[str, str]]]:
    """The row's prompts that --log-prompts wrote to the log, by the numbers of their calls."""
    prompts = {}
    for event in _events(view, b'"event":"prompt"', as_json(match.id)):
        if event.get("event") == "prompt" and event.get("row") == match.id:
            prompts[int(event["seq"])] = event["messages"]
    return prompts


def describe_calls(
    view: View, entries: Sequence[CallEntry], prompts: Mapping[int, tuple[Any, str]]
) -> list[dict[str, Any]]:
    """A row's calls as `--json` prints them.

    `prompts` are those that are available, by the numbers of their calls, each with where it comes from: the log, or
    rebuilt and proven.
    """
    turn_of = turns(view, entries)
    return [
        _describe(view, entry, *prompts.get(entry.seq, (None, None)))
        | ({"turn": turn_of[entry.seq]} if entry.seq in turn_of else {})
        for entry in entries
    ]


def _describe(view: View, entry: CallEntry, prompt: Any, source: str | None) -> dict[str, Any]:
    about: dict[str, Any] = {
        "seq": entry.seq,
        "session": entry.session,
        "at": when(entry.at_ms / 1000),
        "task": view.name(entry.task),
        "duration_s": entry.duration_ms / 1000,
    }
    if entry.kind == TOOL:
        return {**about, "kind": "tool", "tool": view.name(entry.name), "result": without_pictures(read_text(entry))}
    if entry.kind == TOOL_FAILURE:
        reason, message = read_tool_failure(entry)
        return {
            **about,
            "kind": "tool_failure",
            "tool": view.name(entry.name),
            "reason": reason,
            "error": redact(message),
        }
    about |= {
        "kind": "failure" if entry.kind == FAILURE else "answer",
        "model": view.name(entry.name),
        "prompt": prompt,
        "prompt_source": source,
        "usage": usage_json(usage_of(entry), 1),
        "cost_usd": entry.cost_usd,
        "attempts": entry.attempts,
    }
    about |= {"tier": entry.tier} if entry.tier else {}
    if entry.kind == FAILURE:
        return {**about, "error": redact(read_text(entry))}
    answer = read_answer(entry)
    calls = [{"id": call.id, "name": call.name, "arguments": call.arguments} for call in answer.tool_calls]
    about |= {"reply": words_for(answer.text), "truncated": answer.truncated, "tool_calls": calls}
    more = {"reasoning": answer.reasoning, "finish_reason": answer.finish_reason}
    return about | {name: value for name, value in more.items() if value}


def turns(view: View, entries: Iterable[CallEntry]) -> dict[int, int]:
    """In which turn of its task each failed tool was called, by the call's number; 1 is the task's first answer."""
    answers: Counter[str] = Counter()
    turn_numbers: dict[int, int] = {}
    for entry in entries:
        if entry.kind == TOOL_FAILURE:
            turn_numbers[entry.seq] = answers[view.name(entry.task)]
        elif entry.kind not in (TOOL, FAILURE):
            answers[view.name(entry.task)] += 1
    return turn_numbers


def tool_failures(view: View, entries: Iterable[CallEntry]) -> list[dict[str, Any]]:
    """How often each tool failed in these calls."""
    counts = Counter(view.name(entry.name) for entry in entries if entry.kind == TOOL_FAILURE)
    return [{"tool": tool, "count": count} for tool, count in counts.items()]


def totals(entries: Iterable[CallEntry]) -> dict[str, Any]:
    """The usage, cost and time of all these calls together, failed ones included."""
    calls = [entry for entry in entries if entry.kind not in (TOOL, TOOL_FAILURE)]
    usage = sum((usage_of(entry) for entry in calls), Usage())
    costs = [entry.cost_usd for entry in calls]
    cost_usd = None if None in costs else sum(cost for cost in costs if cost is not None)
    uses: dict[str, TierUse] = {}
    for entry in calls:
        if entry.tier:
            is_moved = entry.tier == STANDARD and entry.kind != FAILURE
            add_use(uses, entry.tier, TierUse(1, entry.cost_usd, entry.saved_usd or 0.0, int(is_moved)))
    tiers = completed(uses, len(calls), cost_usd)
    return {
        "usage": usage_json(usage, len(calls)),
        "attempts": sum(entry.attempts for entry in calls),
        "cost_usd": cost_usd,
        **({"tiers": tiers_json(tiers)} if tiers else {}),
        "duration_s": round(sum(entry.duration_ms for entry in calls) / 1000, 3),
    }


def as_messages(messages: Iterable[Message]) -> list[dict[str, Any]]:
    """Messages as `--json` prints them."""
    return [
        {"role": message.role, "content": message.shown}
        | ({"tool_calls": [[c.name, c.arguments] for c in message.tool_calls]} if message.tool_calls else {})
        for message in messages
    ]


def _last_entry(view: View, row_id: str) -> FoundRow | None:
    """The row's last entry under the run's current definition, else under an earlier one."""
    packed = pack_id(row_id)
    entry = view.db.execute(
        "select seq, digest from rows where id = ? order by definition = ? desc, seq desc limit 1",
        (packed if isinstance(packed, bytes) else storable(packed), view.definition()),
    ).fetchone()
    return FoundRow(row_id, *entry) if entry else None


def _ids(db: sqlite3.Connection, where: str, name: str, limit: int) -> list[bytes | str]:
    return [i for (i,) in db.execute(f"select distinct id from rows where {where} limit {limit}", (name,))]  # noqa: S608  (ours)


def _near(db: sqlite3.Connection, name: str) -> list[str]:
    """Candidates for a suggestion: ids that begin or end like `name`, else the first ids."""
    text = "case typeof(id) when 'blob' then lower(hex(id)) else lower(id) end"
    like = f"substr({text}, 1, 3) = substr(lower(?1), 1, 3) or substr({text}, -3) = substr(lower(?1), -3)"
    ids = _ids(db, like, name, _NEAR_IDS) or _ids(db, "?1 is not null", name, _NEAR_IDS)
    return [unpack_id(packed) for packed in ids]


def _events(view: View, *parts: bytes) -> Iterator[Mapping[str, Any]]:
    """The log's events whose lines contain all `parts`."""
    if not view.folder.log.is_file():
        return
    for line in lines_of(view.folder.log):
        if all(part in line for part in parts):
            try:
                event = json.loads(line)
            except (ValueError, RecursionError):
                continue  # torn
            if isinstance(event, dict):
                yield event
