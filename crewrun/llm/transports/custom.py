"""The transport of models that the user's own code calls: `call` in a worker thread, or `acall` where that really
waits.

The user's code gets OpenAI's messages and tools, and of CrewAI's arguments those that it takes. What it returns is read
in `custom_replies`, what it raises in `foreign_errors`.
"""

import dis
from collections.abc import Callable, Mapping
from functools import lru_cache
from inspect import Parameter, iscoroutinefunction, signature, unwrap
from typing import Any

from crewrun.aio import concurrency
from crewrun.errors import CallError, CrewrunError, CustomModelFailed
from crewrun.hooks.scope import current_site
from crewrun.limits.estimates import believable
from crewrun.llm.custom.model import CallArguments, calling, given_call, own_method
from crewrun.llm.custom.replies import read_reply
from crewrun.llm.custom.usage import current_counts, usage_of
from crewrun.llm.transports.chat_json import message_on_wire, tool_on_wire
from crewrun.llm.transports.foreign_errors import call_error_of
from crewrun.messages import ChatRequest, Completion, Usage, UsageDetails
from crewrun.redaction.redactor import LONGEST_QUOTATION, redact
from crewrun.references import place_of
from crewrun.row_context import new_row_context, use_row_context

# What its own calls of models cost is on their bills.
_PAID_WITHIN = Usage(details=UsageDetails(cost_usd=0.0))


class CustomTransport:
    """Calls the object that is the `custom` of a request's endpoint; any number of calls may run at once."""

    def __init__(self) -> None:
        self._without_acall: set[type] = set()  # whose `acall` is not implemented

    async def send(self, request: ChatRequest) -> Completion:
        """One call; see `Transport.send`. CustomModelFailed for what the user's code raises, unless that tells more."""
        counts: dict[str, int] = {}
        inner = new_row_context()
        token = current_counts.set(counts)
        try:
            with use_row_context(inner):
                completion = read_reply(await self._reply(request), usage_of(counts))
        except CrewrunError:  # of a call that the user's code makes through crewrun, or the run's end
            raise
        except Exception as failed:
            raise _as_call_error(failed, request) from failed
        finally:
            current_counts.reset(token)
        if inner.usage.attempts:
            return _with_usage(completion, _PAID_WITHIN)
        return believable(completion, request)

    async def aclose(self) -> None:
        """Nothing to close: what the objects hold is the user's."""

    async def _reply(self, request: ChatRequest) -> Any:
        custom: Any = request.endpoint.custom
        arguments = given_call.get()
        token, outer = calling.set(custom), given_call.set(None)  # what the model's own code calls is another call
        try:
            kind: Any = type(custom)
            if _waits(kind) and kind not in self._without_acall:
                try:
                    return await _call(custom.acall, request, arguments)
                except NotImplementedError:
                    if own_method(kind, "call") is None:
                        raise
                    self._without_acall.add(kind)
            return await _call(custom.call, request, arguments)
        finally:
            calling.reset(token)
            given_call.reset(outer)


async def _call(method: Callable[..., Any], request: ChatRequest, arguments: CallArguments | None) -> Any:
    arguments = arguments or _arguments(method, request)
    return await concurrency.call(method, *arguments.args, **arguments.kwargs)


def _arguments(method: Callable[..., Any], request: ChatRequest) -> CallArguments:
    """CrewAI's arguments, as far as `method` takes them."""
    messages = [message_on_wire(message) for message in request.messages]
    site = current_site.get()
    offered: Mapping[str, Any] = {
        "tools": [tool_on_wire(tool) for tool in request.tools] or None,
        "callbacks": [],
        "available_functions": None,
        "from_task": site.task if site is not None else None,
        "from_agent": site.agent if site is not None else None,
        "response_model": None,
    }
    taken = _parameters(getattr(method, "__func__", method))
    return CallArguments((messages,), {n: v for n, v in offered.items() if taken is None or n in taken})


@lru_cache(maxsize=256)
def _parameters(function: Callable[..., Any]) -> frozenset[str] | None:
    """The names that may be given to `function`, None for any."""
    try:
        parameters = signature(function).parameters.values()
    except (TypeError, ValueError):
        return frozenset()
    if any(p.kind is Parameter.VAR_KEYWORD for p in parameters):
        return None
    return frozenset(p.name for p in parameters if p.kind in (Parameter.KEYWORD_ONLY, Parameter.POSITIONAL_OR_KEYWORD))


@lru_cache(maxsize=256)
def _waits(kind: Any) -> bool:
    """Whether `acall` of this class is to be awaited: it is the only one, or one that waits for something.

    Many an `acall` only calls `call`, which would hold up every other row.
    """
    method = own_method(kind, "acall")
    if method is None or own_method(kind, "call") is None:
        return method is not None
    function = unwrap(method)
    code = getattr(function, "__code__", None)
    if not iscoroutinefunction(function) or code is None:
        return False
    return any(step.opname in ("GET_AWAITABLE", "GET_AITER") for step in dis.get_instructions(code))


def _as_call_error(failed: Exception, request: ChatRequest) -> CallError:
    call_error = call_error_of(failed)
    if call_error is not None:
        return call_error
    place = place_of(failed)
    words = f"{type(failed).__name__}: {redact(str(failed)[:LONGEST_QUOTATION])}".rstrip(": ")
    return CustomModelFailed(f"{place}: {words}" if place else f"{request.endpoint.name}: {words}")


def _with_usage(completion: Completion, usage: Usage) -> Completion:
    return Completion(completion.text, usage, tool_calls=completion.tool_calls, carried=completion.carried)
