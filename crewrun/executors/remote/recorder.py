"""The run's journal and cache, as seen from a worker: each method is a call to the run."""

from collections import deque
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from crewrun.errors import CallError
from crewrun.executors.remote.channel import Channel
from crewrun.executors.remote.messages import RecordedAnswer, RemoteFault
from crewrun.messages import ChatRequest, Completion, Message
from crewrun.recorder import Spent


class RemoteRecorder:
    """A row's recorder, see `crewrun.recorder.Recorder`. Recorded answers came with the row; new ones go to the run.

    `replayed` lists the answers that were used. Requests are sent without their messages unless the run logs prompts.
    """

    def __init__(self, row: int, answers: Sequence[RecordedAnswer], channel: Channel, *, tells_prompts: bool) -> None:
        self._row = row
        self._channel = channel
        self._tells_prompts = tells_prompts
        self._answers: dict[tuple[str, bytes], deque[RecordedAnswer]] = {}
        for entry in answers:
            self._answers.setdefault((entry.task, entry.identity), deque()).append(entry)
        self.replayed: list[tuple[str, bytes]] = []

    def replay(self, task: str, identity: bytes) -> tuple[Completion, Spent] | None:
        """See `Recorder.replay`."""
        answer = self._take(task, identity)
        return None if answer is None or isinstance(answer, str) else answer

    def line_id(self, task: str, identity: bytes) -> str:
        """Workers have no batch jobs."""
        return ""

    def replay_tool(self, task: str, identity: bytes) -> str | None:
        """See `Recorder.replay_tool`."""
        answer = self._take(task, identity)
        return answer if isinstance(answer, str) else None

    def _take(self, task: str, identity: bytes) -> tuple[Completion, Spent] | str | None:
        entries = self._answers.get((task, identity)) if self._answers else None
        if not entries:
            return None
        self.replayed.append((task, identity))
        return entries.popleft().answer

    async def record(
        self, task: str, identity: bytes, request: ChatRequest, completion: Completion, spent: Spent
    ) -> None:
        """See `Recorder.record`."""
        messages: tuple[Message, ...] = ()
        if self._tells_prompts:  # without images: the log has their labels
            messages = tuple(replace(m, content=m.shown, parts=()) if m.parts else m for m in request.messages)
        await self._record("record", task, identity, messages, completion, spent)

    async def record_failure(self, task: str, identity: bytes, error: CallError, spent: Spent) -> None:
        """See `Recorder.record_failure`."""
        await self._record("record_failure", task, identity, RemoteFault.of(error), spent)

    def record_unfinished(self, task: str, identity: bytes, why: str, spent: Spent) -> None:
        """See `Recorder.record_unfinished`."""
        self._notify("record_unfinished", task, identity, why, spent)

    async def record_tool(self, task: str, identity: bytes, tool: str, result: str, duration_s: float) -> None:
        """See `Recorder.record_tool`."""
        await self._record("record_tool", task, identity, tool, result, duration_s)

    async def record_tool_failure(
        self, task: str, identity: bytes, tool: str, reason: str, message: str, duration_s: float
    ) -> None:
        """See `Recorder.record_tool_failure`."""
        await self._record("record_tool_failure", task, identity, tool, reason, message, duration_s)

    def retrying(self, task: str, error: CallError, delay_s: float) -> None:
        """See `Recorder.retrying`."""
        self._notify("retrying", task, RemoteFault.of(error), delay_s)

    def refused(self, endpoint: str, what: str) -> None:
        """See `Recorder.refused`."""
        self._notify("refused", endpoint, what)

    async def _record(self, method: str, *arguments: object) -> None:
        await self._channel.request("record", self._row, method, arguments)

    def _notify(self, method: str, *arguments: object) -> None:
        self._channel.notify("record", self._row, method, arguments)


class RemoteCache:
    """The run's cache; see `crewrun.llm.cache.Answers`."""

    def __init__(self, channel: Channel) -> None:
        self._channel = channel

    async def get(self, identity: bytes) -> Completion | None:
        """See `Answers.get`."""
        answer: Completion | None = await self._request("get", identity)
        return answer

    async def put(self, identity: bytes, answer: Completion) -> None:
        """See `Answers.put`."""
        await self._request("put", identity, answer)

    async def _request(self, method: str, *arguments: object) -> Any:
        return await self._channel.request("cache", method, arguments)
