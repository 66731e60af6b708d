"""For tests of crews: a model that follows a script, and the contract that every transport must keep.

    async with scripted("first answer", ServerError("down"), "second answer") as model:
        output = await crew.akickoff({"topic": "AI"})
    assert model.requests[0].messages[-1].content == …

A model that asks for tools is a step made by `calls`; its second form asks for several in one turn:

    async with scripted(calls("search", query="AI"), calls(("search", {"query": "ML"}), ("clock", {})), "the answer"):
        …

A script that is left unread, or overrun, fails the test.
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

    With `forever` the last step answers every further request. `requests` lists what was asked.
    """

    def __init__(self, *steps: Step, forever: bool = False) -> None:
        self._steps = list(steps)
        self._forever = forever
        self.requests: list[ChatRequest] = []

    async def send(self, request: ChatRequest) -> Completion:
        """Take the next step."""
        self.requests.append(request)
        if not self._steps:
            raise AssertionError(f"the script has ended, and another request came: {request.messages[-1].content!r}")
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
        """Raise AssertionError when steps are left."""
        if self._steps and not self._forever:
            raise AssertionError(f"{len(self._steps)} steps of the script were never asked for: {self._steps!r}")


def calls(*tools: str | tuple[str, Mapping[str, Any] | str], **arguments: Any) -> Completion:
    """A model's turn that asks for tools: `calls("search", query="AI")`, or several as pairs of name and arguments.

    Arguments that are a text in such a pair go out as they are, JSON or not. The ids are `call_1`, `call_2` and so on;
    where an earlier turn has them, the call is given another one, as with every model.
    """
    asked = []
    for number, one in enumerate(tools, 1):
        name, given = (one, arguments) if isinstance(one, str) else one
        asked.append(ToolCall(f"call_{number}", name, given if isinstance(given, str) else json.dumps(given)))
    return Completion("", _USAGE, tool_calls=tuple(asked))


@asynccontextmanager
async def scripted(
    *steps: Step, forever: bool = False, options: GatewayOptions | None = None
) -> AsyncIterator[ScriptedTransport]:
    """Every crew inside the block talks to a ScriptedTransport; at its end the script must have been read whole."""
    transport = ScriptedTransport(*steps, forever=forever)
    async with Gateway(options, transport=transport):
        yield transport
    transport.expect_finished()


@dataclass(frozen=True, slots=True)
class TransportCase:
    """One promise of `Transport`: a request that leads to an answer, or to an error of this class."""

    name: str
    request: ChatRequest
    raises: type[CallError] | None = None
    http_status: int | None = None


async def check_transport(transport: Transport, cases: list[TransportCase], requests_sent: Callable[[], int]) -> None:
    """Hold `transport` against the contract in `Transport`; raises AssertionError naming the case that broke it.

    The caller brings an endpoint of the transport's kind and knows how often that was asked: `requests_sent`. For every
    case one send is one request; then all of them at once; then a send that is cancelled, after which another works.
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


def _expect(kept: bool, otherwise: str) -> None:
    # Not `assert`: the contract is checked under `python -O` too.
    if not kept:
        raise AssertionError(otherwise)
