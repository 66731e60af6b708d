"""`JournalRecorder`: one row's calls, those that the journal has and those that are added."""

import json
import time
from asyncio import Future
from collections import deque
from collections.abc import Callable, Iterable
from itertools import count
from typing import Any, NamedTuple

from crewrun.errors import CallError, Category
from crewrun.failed_tools import shortened_error
from crewrun.journal.event_log import EventLog
from crewrun.journal.journal import ANSWER, FAILURE, TOOL, TOOL_FAILURE, TURN, CallEntry, row_key
from crewrun.journal.names import Names
from crewrun.journal.writer import JournalWriter
from crewrun.llm.turns import decode_turn, encode_turn, is_plain
from crewrun.messages import ChatRequest, Completion, Usage
from crewrun.recorder import Spent
from crewrun.redaction.redactor import redact
from crewrun.row import Row, as_json

# A provider may count anything. Sums of these fit into SQLite's 64 bits.
_MOST_TOKENS = 10**12


class Journaling(NamedTuple):
    """What all recordings of a session share. `numbers` gives each new call its own."""

    writer: JournalWriter
    names: Names
    log: EventLog
    session: int
    definition: int
    numbers: "count[int]"
    log_prompts: bool = False


class JournalRecorder:
    """A `Recorder` over the journal. `replies` has the number of the call that answered with each text."""

    __slots__ = ("_journaling", "_key", "_known", "_row", "replies")

    def __init__(self, row: Row, journaling: Journaling, known: Iterable[CallEntry] = ()) -> None:
        self._journaling = journaling
        self._row = row
        self._key = row_key(row.id)
        self._known: dict[tuple[str, bytes], deque[CallEntry]] = {}
        self.replies: dict[str, int] = {}
        for entry in known:
            if entry.kind not in (FAILURE, TOOL_FAILURE):
                place = (journaling.names.name(entry.task), entry.request)
                self._known.setdefault(place, deque()).append(entry)

    def known(self) -> list[tuple[str, bytes, tuple[Completion, Spent] | str]]:
        """What `replay` would answer, or `replay_tool`: task, identity and answer, equal ones in their order."""
        name = self._journaling.names.name
        return [
            (task, identity, read_text(entry) if entry.kind == TOOL else (read_answer(entry), spent_on(entry, name)))
            for (task, identity), entries in self._known.items()
            for entry in entries
        ]

    def replay(self, task: str, identity: bytes) -> tuple[Completion, Spent] | None:
        """The recorded answer, None when the call has to be made."""
        entry = self._take(task, identity)
        if entry is None:
            return None
        completion, spent = read_answer(entry), spent_on(entry, self._journaling.names.name)
        self.replies.setdefault(completion.text, entry.seq)
        return completion, spent

    def record(
        self, task: str, identity: bytes, request: ChatRequest, completion: Completion, spent: Spent
    ) -> Future[None]:
        """Keep an answer. What is returned raises JournalFailed when it cannot be kept."""
        if is_plain(completion):
            kind, reply = ANSWER, _bytes(completion.text)
        else:
            kind, reply = TURN, as_json(encode_turn(completion))
        entry = self._entry(task, kind, identity, reply, spent)
        self.replies.setdefault(completion.text, entry.seq)
        shared = self._journaling
        shared.writer.say(shared.log.call(self._row.id, task, entry.seq, spent))
        if shared.log_prompts:
            messages = [{"role": m.role, "content": m.shown} for m in request.messages]
            more = {"reasoning": completion.reasoning} if completion.reasoning else {}
            self._say("prompt", task=task, seq=entry.seq, messages=messages, reply=completion.text, **more)
        return shared.writer.append(entry)

    def retrying(self, task: str, error: CallError, delay_s: float) -> None:
        """Log that an attempt failed."""
        self._say(
            "retry",
            task=task,
            attempt=error.attempts,
            category=error.category,
            http_status=error.http_status,
            wait_s=round(delay_s, 3),
        )

    def record_failure(self, task: str, identity: bytes, error: CallError, spent: Spent) -> Future[None]:
        """Keep what a failed call was billed, as `record` does."""
        why = f"{type(error).__name__}: {redact(str(error))[:500]}"
        return self._fail(task, identity, why, spent, category=error.category, http_status=error.http_status)

    def record_unfinished(self, task: str, identity: bytes, why: str, spent: Spent) -> None:
        """Keep what an ended call was billed. The future is not looked at: whoever waits next hears of a full disk."""
        self._fail(task, identity, why, spent, category=None, http_status=None).add_done_callback(_retrieve)

    def _fail(
        self, task: str, identity: bytes, why: str, spent: Spent, *, category: Category | None, http_status: int | None
    ) -> Future[None]:
        entry = self._entry(task, FAILURE, identity, _bytes(why), spent)
        self._say(
            "failure",
            task=task,
            seq=entry.seq,
            model=spent.model,
            category=category,
            http_status=http_status,
            attempts=spent.attempts,
            cost_usd=spent.cost_usd,
            duration_s=round(spent.duration_s, 3),
        )
        return self._journaling.writer.append(entry)

    def refused(self, endpoint: str, what: str) -> None:
        """Keep what an endpoint does not take."""
        self._journaling.writer.refusal(self._journaling.definition, endpoint, what)

    def replay_tool(self, task: str, identity: bytes) -> str | None:
        """The recorded result, None when the tool has to be called."""
        entry = self._take(task, identity)
        return None if entry is None else read_text(entry)

    def record_tool(self, task: str, identity: bytes, tool: str, result: str, duration_s: float) -> Future[None]:
        """Keep a tool's result, as `record` does."""
        spent = Spent(tool, Usage(), None, 0, duration_s)
        entry = self._entry(task, TOOL, identity, _bytes(result), spent)
        self._say("tool", task=task, tool=tool, seq=entry.seq, duration_s=round(duration_s, 3))
        return self._journaling.writer.append(entry)

    def record_tool_failure(
        self, task: str, identity: bytes, tool: str, reason: str, told: str, duration_s: float
    ) -> Future[None]:
        """Keep that a call of a tool failed, as `record` does."""
        spent = Spent(tool, Usage(), None, 0, duration_s)
        entry = self._entry(task, TOOL_FAILURE, identity, as_json([reason, told]), spent)
        self._say(
            "tool_failure",
            task=task,
            tool=tool,
            seq=entry.seq,
            reason=reason,
            error=shortened_error(told),
            duration_s=round(duration_s, 3),
        )
        return self._journaling.writer.append(entry)

    def _take(self, task: str, identity: bytes) -> CallEntry | None:
        entries = self._known.get((task, identity)) if self._known else None
        return entries.popleft() if entries else None

    def _entry(self, task: str, kind: int, identity: bytes, reply: bytes, spent: Spent) -> CallEntry:
        shared = self._journaling
        return CallEntry(
            next(shared.numbers),
            shared.session,
            self._key,
            shared.names.code(task),
            kind,
            identity,
            reply,
            shared.names.code(spent.model),
            *_counts(spent.usage),
            spent.cost_usd,
            spent.attempts,
            int(time.time() * 1000),
            int(spent.duration_s * 1000),
            spent.usage.estimated_calls,
            min(spent.usage.cache_write_prompt_tokens, _MOST_TOKENS),
        )

    def _say(self, event: str, **fields: Any) -> None:
        shared = self._journaling
        shared.writer.say(shared.log.event(event, row=self._row.id, **fields))


def _retrieve(future: Future[None]) -> None:
    """Take note of a future's error, so that asyncio does not complain that nobody did."""
    future.exception()


def read_text(entry: CallEntry) -> str:
    """The text that a call was answered with, or a tool gave; of a tool that failed what the model was told."""
    if entry.kind == TOOL_FAILURE:
        return read_tool_failure(entry)[1]
    return read_answer(entry).text if entry.kind == TURN else entry.reply.decode("utf-8", "surrogatepass")


def read_tool_failure(entry: CallEntry) -> tuple[str, str]:
    """Why a call of a tool failed, in the words of `ToolFailureReason`, and what the model was told."""
    reason, told = json.loads(entry.reply)
    return str(reason), str(told)


def read_answer(entry: CallEntry) -> Completion:
    """The completion that an entry of a model's answer keeps."""
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
    """What a call took."""
    return Spent(name(entry.name), usage_of(entry), entry.cost_usd, entry.attempts, entry.duration_ms / 1000)


def _counts(usage: Usage) -> tuple[int, int, int, int]:
    counts = usage.prompt_tokens, usage.cached_prompt_tokens, usage.completion_tokens, usage.reasoning_tokens
    if min(counts) >= 0 and max(counts) <= _MOST_TOKENS:
        return counts
    prompt, cached, completion, reasoning = (min(max(count, 0), _MOST_TOKENS) for count in counts)
    return prompt, cached, completion, reasoning


def _bytes(text: str) -> bytes:
    # Lone surrogates are legal in what a model's JSON says, and come back as they were.
    return text.encode("utf-8", "surrogatepass")
