"""For testing crews: a model that follows a script, and the contract that every transport must meet.

    async with scripted("first answer", ServerError("down"), "second answer") as model:
        output = await crew.akickoff({"topic": "AI"})
    assert model.requests[0].messages[-1].content == …

A step made by `calls` is a turn in which the model calls tools, one or several:

    async with scripted(calls("search", query="AI"), calls(("search", {"query": "ML"}), ("clock", {})), "the answer"):
        …

A script with steps left over, or with too few of them, fails the test.
"""

import json
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from typing import Any

import anyio

from crewrun.errors import CallError
from crewrun.llm.gateway import Gateway
from crewrun.llm.options import GatewayOptions
from crewrun.llm.transports.base import Transport
from crewrun.messages import ChatRequest, Completion, ToolCall, Usage

Step = str | Completion | CallError | Callable[[ChatRequest], Awaitable[str | Completion]]

_USAGE = Usage(prompt_tokens=10, completion_tokens=5)


class ScriptedTransport:
    """Answers each request with the next step: a text, a completion, an error to raise, or an async function.

    With `forever`, the last step answers all further requests. `requests` lists the requests received.
    """

    def __init__(self, *steps: Step, forever: bool = False) -> None:
        self._steps = list(steps)
        self._forever = forever
        self.requests: list[ChatRequest] = []

    async def send(self, request: ChatRequest) -> Completion:
        """Take the next step."""
        self.requests.append(request)
        if not self._steps:
            raise AssertionError(f"another request came after the end of the script: {request.messages[-1].content!r}")
        step = self._steps[0] if self._forever and len(self._steps) == 1 else self._steps.pop(0)
        answer = await step(request) if callable(step) else step
        if isinstance(answer, CallError):
            raise answer
        if isinstance(answer, Completion):
            return answer
        return Completion(answer, _USAGE)

    async def aclose(self) -> None:
        """Nothing to close."""

    def expect_finished(self) -> None:
        """Raise AssertionError if steps are left over."""
        if self._steps and not self._forever:
            raise AssertionError(f"{len(self._steps)} steps of the script were never asked for: {self._steps!r}")


def calls(*tools: str | tuple[str, Mapping[str, Any] | str], **arguments: Any) -> Completion:
    """A turn in which the model calls tools: `calls("search", query="AI")`, or several as pairs of name and arguments.

    A string as the arguments of such a pair is sent unchanged, whether JSON or not. The ids are `call_1`, `call_2` and
    so on; if an earlier turn has used them, the call gets another one, as with any model.
    """
    tool_calls = []
    for number, tool in enumerate(tools, 1):
        name, values = (tool, arguments) if isinstance(tool, str) else tool
        tool_calls.append(ToolCall(f"call_{number}", name, values if isinstance(values, str) else json.dumps(values)))
    return Completion("", _USAGE, tool_calls=tuple(tool_calls))


@asynccontextmanager
async def scripted(
    *steps: Step, forever: bool = False, options: GatewayOptions | None = None
) -> AsyncIterator[ScriptedTransport]:
    """Inside the block every crew talks to a ScriptedTransport; at the end, all its steps must have been used."""
    transport = ScriptedTransport(*steps, forever=forever)
    async with Gateway(options, transport=transport):
        yield transport
    transport.expect_finished()


@dataclass(frozen=True, slots=True)
class TransportCase:
    """One clause of the `Transport` contract: a request that leads to an answer, or to an error of this class."""

    name: str
    request: ChatRequest
    raises: type[CallError] | None = None
    http_status: int | None = None


async def check_transport(transport: Transport, cases: list[TransportCase], requests_sent: Callable[[], int]) -> None:
    """Check `transport` against the contract in `Transport`; raises AssertionError naming the case that broke it.

    The caller provides an endpoint for the transport, and `requests_sent`, which counts the requests that reached it.
    Each case is sent once and must make exactly one request; then all run concurrently; then one send is cancelled, and
    the next one must still work.
    """
    for case in cases:
        before = requests_sent()
        await _check_case(transport, case)
        sent = requests_sent() - before
        _expect(sent == 1, f"{case.name}: one send made {sent} requests")
    async with anyio.create_task_group() as together:
        for case in cases:
            together.start_soon(_check_case, transport, case)
    good = next(case for case in cases if case.raises is None)
    with anyio.CancelScope() as scope:
        scope.cancel()
        await transport.send(good.request)
    await _check_case(transport, replace(good, name="after a cancelled send"))


async def _check_case(transport: Transport, case: TransportCase) -> None:
    try:
        completion = await transport.send(case.request)
    except CallError as error:
        _expect(type(error) is case.raises, f"{case.name}: raised {error!r}")
        _expect(error.http_status == case.http_status, f"{case.name}: http_status {error.http_status}")
        return
    _expect(case.raises is None, f"{case.name}: answered {completion!r} instead of raising")
    _expect(bool(completion.text or completion.tool_calls), f"{case.name}: an answer without text or tool calls")
    _expect(completion.usage.total_tokens > 0, f"{case.name}: an answer without usage")


def _expect(condition: bool, message: str) -> None:
    # Not `assert`: the contract is checked under `python -O` too.
    if not condition:
        raise AssertionError(message)
