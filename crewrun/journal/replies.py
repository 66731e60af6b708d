"""Encodes and decodes what a call was answered with.

An answer that is nothing but text is stored as that text, any other (with tool calls or reasoning, or truncated) as
JSON; a tool's failure as its reason and the text that the model got.
"""

import json
from collections.abc import Callable
from typing import Final

from crewrun.journal.schema import ANSWER, TOOL_FAILURE, TURN, CallEntry
from crewrun.llm.turns import decode_turn, encode_turn, is_plain
from crewrun.messages import Completion, Usage
from crewrun.recorder import Spent
from crewrun.row import as_json

# A provider may report any count. Sums over millions of calls with this many tokens still fit into SQLite's 64 bits.
_MAX_TOKENS: Final = 10**12


def encode_text(text: str) -> bytes:
    """`text` as bytes. Lone surrogates, which are legal in a model's JSON, survive the round trip."""
    return text.encode("utf-8", "surrogatepass")


def encode_answer(completion: Completion) -> tuple[int, bytes]:
    """The kind of an answer's entry, and its encoded reply."""
    return (ANSWER, encode_text(completion.text)) if is_plain(completion) else (TURN, as_json(encode_turn(completion)))


def encode_tool_failure(reason: str, message: str) -> bytes:
    """The encoded reply of a tool that failed: why, and the text that the model got."""
    return as_json([reason, message])


def read_text(entry: CallEntry) -> str:
    """The text of an answer or of a tool's result; of a tool that failed, the text that the model got."""
    if entry.kind == TOOL_FAILURE:
        return read_tool_failure(entry)[1]
    return read_answer(entry).text if entry.kind == TURN else entry.reply.decode("utf-8", "surrogatepass")


def read_tool_failure(entry: CallEntry) -> tuple[str, str]:
    """Why a tool failed, as a `ToolFailureReason`, and the text that the model got."""
    reason, message = json.loads(entry.reply)
    return str(reason), str(message)


def read_answer(entry: CallEntry) -> Completion:
    """The completion in an entry of a model's answer."""
    usage = usage_of(entry)
    if entry.kind != TURN:
        return Completion(entry.reply.decode("utf-8", "surrogatepass"), usage)
    return decode_turn(json.loads(entry.reply), usage)


def usage_of(entry: CallEntry) -> Usage:
    """The tokens of a call."""
    return Usage(
        entry.prompt_tokens,
        entry.cached_prompt_tokens,
        entry.completion_tokens,
        entry.reasoning_tokens,
        entry.estimated_calls,
        entry.cache_write_prompt_tokens,
    )


def spent_on(entry: CallEntry, name: Callable[[int | str], str]) -> Spent:
    """What a call used. `name` returns the name behind a number."""
    duration_s, tier, saved_usd = entry.duration_ms / 1000, entry.tier or "", entry.saved_usd or 0.0
    return Spent(name(entry.name), usage_of(entry), entry.cost_usd, entry.attempts, duration_s, tier, saved_usd)


def storable_counts(usage: Usage) -> tuple[int, int, int, int, int]:
    """Prompt, cached prompt, completion, reasoning and cache-write tokens, each at least 0 and at most 10**12."""
    counts = (
        usage.prompt_tokens,
        usage.cached_prompt_tokens,
        usage.completion_tokens,
        usage.reasoning_tokens,
        usage.cache_write_prompt_tokens,
    )
    if min(counts) >= 0 and max(counts) <= _MAX_TOKENS:
        return counts
    prompt, cached, completion, reasoning, cache_writes = (min(max(count, 0), _MAX_TOKENS) for count in counts)
    return prompt, cached, completion, reasoning, cache_writes
