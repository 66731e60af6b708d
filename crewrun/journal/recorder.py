"""`JournalRecorder`: answers a row's calls from the journal where it has them, and appends the others to it.

See `crewrun.recorder.Recorder` for the contract, `journal.replies` for what an entry stores.
"""

import time
from asyncio import Future
from collections import Counter, deque
from collections.abc import Iterable
from hashlib import blake2b
from itertools import count
from typing import Any, NamedTuple

from crewrun.errors import CallError, Category
from crewrun.failed_tools import shortened_error
from crewrun.journal.changes import Refusal
from crewrun.journal.event_log import EventLog
from crewrun.journal.jobs import LineTaken
from crewrun.journal.keys import row_key
from crewrun.journal.names import Names
from crewrun.journal.replies import (
    encode_answer,
    encode_text,
    encode_tool_failure,
    read_answer,
    read_text,
    spent_on,
    storable_counts,
)
from crewrun.journal.schema import FAILURE, TOOL, TOOL_FAILURE, CallEntry
from crewrun.journal.writer import JournalWriter
from crewrun.messages import ChatRequest, Completion, Usage
from crewrun.recorder import Spent
from crewrun.redaction.redactor import redact
from crewrun.row import Row


class SessionJournal(NamedTuple):
    """What the recorders of one session share. `numbers` are the numbers of new calls."""

    writer: JournalWriter
    names: Names
    log: EventLog
    session: int
    definition: int
    numbers: "count[int]"
    log_prompts: bool = False

    def say(self, event: str, **fields: Any) -> None:
        """Log an event."""
        self.writer.say(self.log.event(event, **fields))


class JournalRecorder:
    """A row's `Recorder` in the journal. `entries` are its calls of earlier sessions, which are replayed.

    `replies` maps a text to the number of the call that replied it, so that no text is stored twice.
    """

    __slots__ = ("_journal", "_key", "_ordinals", "_replayable", "_row", "replies")

    def __init__(self, row: Row, journal: SessionJournal, entries: Iterable[CallEntry] = ()) -> None:
        self._journal = journal
        self._row = row
        self._key = row_key(row.id)
        self._replayable: dict[tuple[str, bytes], deque[CallEntry]] = {}
        self.replies: dict[str, int] = {}
        self._ordinals: Counter[tuple[str, bytes]] = Counter()  # for lines of batch jobs
        for entry in entries:
            if entry.kind not in (FAILURE, TOOL_FAILURE):
                request = (journal.names.name(entry.task), entry.request)
                self._replayable.setdefault(request, deque()).append(entry)

    def replayable(self) -> list[tuple[str, bytes, tuple[Completion, Spent] | str]]:
        """What `replay` and `replay_tool` would return: task, identity and answer, equal requests in their order."""
        name = self._journal.names.name
        return [
            (task, identity, read_text(entry) if entry.kind == TOOL else (read_answer(entry), spent_on(entry, name)))
            for (task, identity), entries in self._replayable.items()
            for entry in entries
        ]

    def replay(self, task: str, identity: bytes) -> tuple[Completion, Spent] | None:
        """The recorded answer, None when the call has to be made."""
        entry = self._take(task, identity)
        if entry is None:
            return None
        completion, spent = read_answer(entry), spent_on(entry, self._journal.names.name)
        self.replies.setdefault(completion.text, entry.seq)
        return completion, spent

    def record(
        self, task: str, identity: bytes, request: ChatRequest, completion: Completion, spent: Spent
    ) -> Future[None]:
        """Commit an answer. The future raises JournalFailed when it cannot be written."""
        kind, reply = encode_answer(completion)
        entry = self._entry(task, kind, identity, reply, spent)
        self.replies.setdefault(completion.text, entry.seq)
        journal = self._journal
        journal.writer.say(journal.log.call(self._row.id, task, entry.seq, spent))
        if journal.log_prompts:
            messages = [{"role": m.role, "content": m.shown} for m in request.messages]
            more = {"reasoning": completion.reasoning} if completion.reasoning else {}
            self._say("prompt", task=task, seq=entry.seq, messages=messages, reply=completion.text, **more)
        return self._append(entry, spent)

    def line_id(self, task: str, identity: bytes) -> str:
        """32 hex digits for the next call of this kind that is not replayed, the same ones when the row runs again."""
        ordinal = self._ordinals[task, identity]
        self._ordinals[task, identity] += 1
        parts = f"{self._key} {ordinal} {task}".encode("utf-8", "surrogatepass"), identity
        return blake2b(b"\n".join(parts), digest_size=16).hexdigest()

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
        """Commit a failed call and what was billed for it, as `record` does."""
        why = f"{type(error).__name__}: {redact(str(error))[:500]}"
        return self._fail(task, identity, why, spent, category=error.category, http_status=error.http_status)

    def record_unfinished(self, task: str, identity: bytes, why: str, spent: Spent) -> None:
        """Append what was billed for an interrupted call. Nothing waits for it: an error shows in the next call."""
        self._fail(task, identity, why, spent, category=None, http_status=None).add_done_callback(_retrieve)

    def _fail(
        self, task: str, identity: bytes, why: str, spent: Spent, *, category: Category | None, http_status: int | None
    ) -> Future[None]:
        entry = self._entry(task, FAILURE, identity, encode_text(why), spent)
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
        return self._append(entry, spent)

    def refused(self, endpoint: str, what: str) -> None:
        """Append a feature that an endpoint refuses."""
        self._journal.writer.note(Refusal(self._journal.definition, endpoint, what))

    def replay_tool(self, task: str, identity: bytes) -> str | None:
        """The recorded result, None when the tool has to be called."""
        entry = self._take(task, identity)
        return None if entry is None else read_text(entry)

    def record_tool(self, task: str, identity: bytes, tool: str, result: str, duration_s: float) -> Future[None]:
        """Commit a tool's result, as `record` does."""
        spent = Spent(tool, Usage(), None, 0, duration_s)
        entry = self._entry(task, TOOL, identity, encode_text(result), spent)
        self._say("tool", task=task, tool=tool, seq=entry.seq, duration_s=round(duration_s, 3))
        return self._journal.writer.append(entry)

    def record_tool_failure(
        self, task: str, identity: bytes, tool: str, reason: str, message: str, duration_s: float
    ) -> Future[None]:
        """Commit that a tool failed, as `record` does."""
        spent = Spent(tool, Usage(), None, 0, duration_s)
        entry = self._entry(task, TOOL_FAILURE, identity, encode_tool_failure(reason, message), spent)
        self._say(
            "tool_failure",
            task=task,
            tool=tool,
            seq=entry.seq,
            reason=reason,
            error=shortened_error(message),
            duration_s=round(duration_s, 3),
        )
        return self._journal.writer.append(entry)

    def _append(self, entry: CallEntry, spent: Spent) -> Future[None]:
        """Commit a call; after that, never before it, its lines of batch jobs are taken."""
        committed = self._journal.writer.append(entry)
        for line_id in spent.lines:
            self._journal.writer.note(LineTaken(line_id))
        return committed

    def _take(self, task: str, identity: bytes) -> CallEntry | None:
        entries = self._replayable.get((task, identity)) if self._replayable else None
        if not entries:
            return None
        self._ordinals[task, identity] += 1
        return entries.popleft()

    def _entry(self, task: str, kind: int, identity: bytes, reply: bytes, spent: Spent) -> CallEntry:
        journal = self._journal
        prompt, cached, completion, reasoning, cache_writes = storable_counts(spent.usage)
        return CallEntry(
            next(journal.numbers),
            journal.session,
            self._key,
            journal.names.code(task),
            kind,
            identity,
            reply,
            journal.names.code(spent.model),
            prompt,
            cached,
            completion,
            reasoning,
            spent.cost_usd,
            spent.attempts,
            int(time.time() * 1000),
            int(spent.duration_s * 1000),
            spent.usage.estimated_calls,
            cache_writes,
            spent.tier or None,
            spent.saved_usd or None,
        )

    def _say(self, event: str, **fields: Any) -> None:
        self._journal.say(event, row=self._row.id, **fields)


def _retrieve(future: Future[None]) -> None:
    """Retrieve a future's error, so that asyncio does not warn that nobody did."""
    future.exception()
