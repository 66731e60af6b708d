"""A row and its outcome: the two values that travel through a batch, and how an outcome is written.

The line that `Outcome.to_line` returns is a public format, `crewrun.result/1`: fields may be added, never changed.
"""

import json
import json.encoder
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from hashlib import blake2b
from json.encoder import encode_basestring_ascii
from typing import Any, Literal

from pydantic_core import PydanticSerializationError, to_json

from crewrun.errors import Category, RunStopped
from crewrun.messages import Usage
from crewrun.tier_use import TierUse, tiers_json

SCHEMA = "crewrun.result/1"

_encoder = json.JSONEncoder(sort_keys=True, separators=(",", ":"), ensure_ascii=True)
# `encode` creates the C encoder again on every call, which costs more than encoding a short text.
_make: Any = getattr(json.encoder, "c_make_encoder", None)
_in_c = _make and _make(None, _encoder.default, encode_basestring_ascii, None, ":", ",", True, False, True)
_ascii = json.JSONEncoder(separators=(",", ":"), ensure_ascii=True, allow_nan=False).encode


@dataclass(frozen=True, slots=True)
class Row:
    """One line of the input.

    `index` counts rows from 0, `line` counts lines of the file from 1. A line that cannot be run has a `problem`, the
    message for the user, and may have no `inputs`. `content` is the content id if `id` comes from a field of the row.
    `fields` are the fields that the row's result repeats if `inputs` has others too, else None.
    """

    index: int
    line: int
    id: str
    inputs: dict[str, Any] | None
    problem: str | None = None
    content: str = ""
    fields: dict[str, Any] | None = None

    @property
    def own(self) -> dict[str, Any] | None:
        """The row's own fields, which its id is made of and its result line repeats."""
        return self.inputs if self.fields is None else self.fields


def content_id(content: dict[str, Any] | bytes) -> str:
    """16 hex digits that identify a row by its content: equal inputs have equal ids, whatever their key order.

    A line that is not a JSON object is identified by its bytes.
    """
    if isinstance(content, bytes):
        data = content
    else:
        data = ("".join(_in_c(content, 0)) if _in_c else _encoder.encode(content)).encode()
    return blake2b(data, digest_size=8).hexdigest()


@dataclass(frozen=True, slots=True)
class ErrorRecord:
    """Why a row failed, as recorded in its result line. `raw` is a model's answer that could not be used."""

    category: Category
    type: str
    message: str
    task: str | None = None
    http_status: int | None = None
    retryable: bool = False
    attempts: int = 0
    raw: str | None = None

    def to_json(self) -> dict[str, Any]:
        record: dict[str, Any] = {
            "category": self.category,
            "type": self.type,
            "message": self.message,
            "task": self.task,
            "http_status": self.http_status,
            "retryable": self.retryable,
            "attempts": self.attempts,
        }
        if self.raw is not None:
            record["raw"] = self.raw
        return record


@dataclass(frozen=True, slots=True)
class FailedTool:
    """Calls of one tool that failed the same way in a task. `error` is the first one's error, shortened."""

    task: str
    tool: str
    reason: str
    error: str
    count: int = 1

    def to_json(self) -> dict[str, Any]:
        return {
            "task": self.task,
            "tool": self.tool,
            "reason": self.reason,
            "error": self.error,
            "count": self.count,
        }


@dataclass(frozen=True, slots=True)
class TaskRecord:
    """One finished task of a row. `skipped` says that its condition was not met.

    `finish_reason` holds the finish reasons of its replies that crewrun does not know, None if there were none.
    """

    name: str
    agent: str
    output: str
    calls: int
    usage: Usage
    truncated: bool = False
    skipped: bool = False
    tool_failures: Sequence[FailedTool] = ()
    finish_reason: str | None = None

    def to_json(self) -> dict[str, Any]:
        record: dict[str, Any] = {
            "name": self.name,
            "agent": self.agent,
            "output": self.output,
            "calls": self.calls,
            "usage": usage_json(self.usage, self.calls),
        }
        if self.truncated:
            record["truncated"] = True
        if self.skipped:
            record["skipped"] = True
        if self.tool_failures:
            record["tool_failures"] = [failed.to_json() for failed in self.tool_failures]
        if self.finish_reason is not None:
            record["finish_reason"] = self.finish_reason
        return record


@dataclass(frozen=True, slots=True)
class Replayed:
    """The part of a row's cost that an earlier session of the run paid: calls answered from its journal."""

    calls: int
    attempts: int
    usage: Usage
    cost_usd: float | None
    tiers: Mapping[str, TierUse] = field(default_factory=dict)

    def to_json(self) -> dict[str, Any]:
        return {"attempts": self.attempts, "usage": usage_json(self.usage, self.calls), "cost_usd": usd(self.cost_usd)}


@dataclass(frozen=True, slots=True)
class Outcome:
    """The outcome of one row. `cost_usd` is None if a price is unknown, never a guess.

    Attempts, calls, usage and cost are the row's totals over all sessions of the run; `replayed` is the part that was
    paid for before this session. A row with `stopped` stopped the run and has no result: it will be run again.
    `tool_failures` are those of the attempt that led to this outcome. `expectations` say by name whether the output met
    each: true, or why not; empty for a failed row and without any. `tiers` is what each service tier served, empty if
    that was the standard one alone and no other had been asked for. `shared_tool_calls` were not made in this session,
    since an equal one was; they are not in the row's line.
    """

    row: Row
    status: Literal["ok", "failed"]
    output: Any
    tasks: Sequence[TaskRecord]
    error: ErrorRecord | None
    attempts: int
    calls: int
    usage: Usage
    cost_usd: float | None
    models: Sequence[str]
    started_at: datetime
    duration_s: float
    files: Sequence[str] = field(default=())
    replayed: Replayed | None = None
    tool_failures: Sequence[FailedTool] = ()
    expectations: Mapping[str, bool | str] = field(default_factory=dict)
    tiers: Mapping[str, TierUse] = field(default_factory=dict)
    shared_tool_calls: int = 0
    stopped: RunStopped | None = None  # the last one: an outcome travels without it, by the order of the others

    def to_json(self) -> dict[str, Any]:
        record = {
            "schema": SCHEMA,
            "id": self.row.id,
            "index": self.row.index,
            "status": self.status,
            "input": self.row.own,
            "output": self.output,
            "tasks": [task.to_json() for task in self.tasks],
            "error": self.error.to_json() if self.error else None,
            "attempts": self.attempts,
            "usage": usage_json(self.usage, self.calls),
            "cost_usd": usd(self.cost_usd),
            "models": list(self.models),
            "files": list(self.files),
            "started_at": self.started_at.isoformat(timespec="milliseconds").replace("+00:00", "Z"),
            "duration_s": round(self.duration_s, 3),
        }
        if self.replayed is not None:
            record["replayed"] = self.replayed.to_json()
        if self.tool_failures:
            record["tool_failures"] = [failed.to_json() for failed in self.tool_failures]
        if self.expectations:
            record["expectations"] = dict(self.expectations)
        if self.tiers:
            record["tiers"] = tiers_json(self.tiers)
        return record

    def to_line(self) -> bytes:
        """One line of UTF-8 JSON with its newline."""
        return as_json(self.to_json()) + b"\n"


def as_json(record: Any) -> bytes:
    """`record` as compact UTF-8 JSON."""
    try:
        return to_json(record, inf_nan_mode="null")  # six times as fast as the standard library's
    except PydanticSerializationError:
        # A lone surrogate ("\ud800") is legal in JSON but not in UTF-8: write it as the escape it came as.
        return _ascii(record).encode()


def usd(cost_usd: float | None) -> float | None:
    """US dollars as in result lines: rounded to 1e-10, less than any token costs, to drop floating-point noise."""
    return None if cost_usd is None else round(cost_usd, 10)


def usage_json(usage: Usage, calls: int) -> dict[str, int]:
    """Token counts as in result lines and summaries; the rare ones only if they are not zero."""
    counts = {
        "prompt_tokens": usage.prompt_tokens,
        "cached_prompt_tokens": usage.cached_prompt_tokens,
        "completion_tokens": usage.completion_tokens,
        "reasoning_tokens": usage.reasoning_tokens,
        "total_tokens": usage.total_tokens,
        "calls": calls,
    }
    if usage.cache_write_prompt_tokens:
        counts["cache_write_prompt_tokens"] = usage.cache_write_prompt_tokens
    if usage.estimated_calls:
        counts["estimated_calls"] = usage.estimated_calls
    return counts
