"""`Recorder`: what a run remembers of one row's calls. The journal implements it, in `crewrun.runs`.

A row's context carries it. The gateway and the toolbox look a call up before they make it, and record the answer before
the crew sees it. How a request is identified is in `crewrun.llm.request_identity`.
"""

from collections.abc import Awaitable
from typing import NamedTuple, Protocol

from crewrun.errors import CallError
from crewrun.messages import ChatRequest, Completion, Usage


class Spent(NamedTuple):
    """What one call used, with all its attempts: tokens, US dollars (None: price unknown), seconds.

    `tier` is the service tier of its answer, empty for the standard one; it is `standard` only if the call had asked
    for a cheaper one. `saved_usd` is what it would have cost more at the standard tier. `lines` are the custom ids
    under which it was in batch jobs.
    """

    model: str
    usage: Usage
    cost_usd: float | None
    attempts: int
    duration_s: float = 0.0
    tier: str = ""
    saved_usd: float = 0.0
    lines: tuple[str, ...] = ()


class Recorder(Protocol):
    """The recorded calls of one row. A call is identified by its task's path and 16 bytes, `identity`; equal ones of a
    task are answered in the order in which they were recorded.
    """

    def replay(self, task: str, identity: bytes) -> tuple[Completion, Spent] | None:
        """The recorded answer, None when the call has to be made. An answer is given out once."""
        ...

    def record(
        self, task: str, identity: bytes, request: ChatRequest, completion: Completion, spent: Spent
    ) -> Awaitable[None]:
        """Record an answer; it is on disk once this has been awaited. Raises OutputFailed when that cannot be had."""
        ...

    def line_id(self, task: str, identity: bytes) -> str:
        """The custom id of a line of a batch job for a call that is not replayed: 32 hex digits. A row that runs again
        asks for the same ones.
        """
        ...

    def retrying(self, task: str, error: CallError, delay_s: float) -> None:
        """An attempt failed and another follows in `delay_s` seconds."""
        ...

    def record_failure(self, task: str, identity: bytes, error: CallError, spent: Spent) -> Awaitable[None]:
        """Record what a failed call was billed. It is never replayed."""
        ...

    def record_unfinished(self, task: str, identity: bytes, why: str, spent: Spent) -> None:
        """Record what a call was billed that was cancelled before its answer; its caller is gone and cannot wait."""
        ...

    def refused(self, endpoint: str, what: str) -> None:
        """An endpoint, as `describe_endpoint` writes it, does not take `what`; see `llm.capabilities.Refused`."""
        ...

    def replay_tool(self, task: str, identity: bytes) -> str | None:
        """The recorded result of a tool, None when it has to be called."""
        ...

    def record_tool(self, task: str, identity: bytes, tool: str, result: str, duration_s: float) -> Awaitable[None]:
        """Record a tool's result, as `record` does an answer."""
        ...

    def record_tool_failure(
        self, task: str, identity: bytes, tool: str, reason: str, message: str, duration_s: float
    ) -> Awaitable[None]:
        """Record that a call of a tool failed, and the text that the model got. It is never replayed."""
        ...
