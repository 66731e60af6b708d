"""The only door to models: recorder → retry → transport → account.

A call goes in as an LLM and messages and comes out as a Completion or a CallError. Attempts are counted here and
nowhere else: the clients below do not retry. What a row's recorder knows is not asked again, and what it does not know
is recorded before anybody sees it.
"""

import asyncio
import re
import time
from collections.abc import Callable, Coroutine, Mapping, Sequence
from contextvars import ContextVar
from dataclasses import dataclass, field
from threading import get_ident
from types import TracebackType
from typing import Any, TypeVar
from weakref import WeakKeyDictionary

import anyio
import sniffio
from anyio.lowlevel import RunVar

from crewrun.errors import (
    AuthRefused,
    BadRequest,
    CallError,
    CallTimedOut,
    NotRecorded,
    SchemaRefused,
    ToolsRefused,
    UsageError,
)
from crewrun.llm import endpoints
from crewrun.llm.deadline import deadline
from crewrun.llm.limits import RequestWindow, admit
from crewrun.llm.model import LLM
from crewrun.llm.prices import Price, find_price
from crewrun.llm.recorder import Identities, Recorder, Spent, describe_endpoint
from crewrun.llm.retry import RetryPolicy
from crewrun.llm.tally import Tally
from crewrun.llm.transport import Transport
from crewrun.messages import ChatRequest, Completion, Endpoint, Lane, Message, ReplySchema, ToolSpec, Usage
from crewrun.threads import pool

DEFAULT_CALL_TIMEOUT_S = 120.0
# What is shorter is a placeholder such as `x` or `none`, which stands in other words too.
_SECRET_CHARS = 8
# How providers word that they do not take `tools` or `response_format`: vLLM, Ollama and OpenRouter (a 404) among them.
_REFUSING = frozenset({400, 404, 405, 415, 422, 501})
_ABOUT_TOOLS = re.compile(r"\btools?\b|tool[_ ]choice|tool[_ -]call|function[_ -]?call", re.IGNORECASE)
_ABOUT_SCHEMA = re.compile(
    r"response[_ ]?format|json[_ ]?schema|structured[_ ]?output|response[_ ]schema", re.IGNORECASE
)
_NOTHING: tuple[Usage, float | None] = (Usage(), 0.0)
Fields = dict[str, Any]
T = TypeVar("T")


def _direct() -> Transport:
    if sniffio.current_async_library() != "asyncio":
        raise UsageError("calls over the network need asyncio; only the offline model runs under trio")
    from crewrun.llm.openai_transport import OpenAITransport

    return OpenAITransport()


def _litellm() -> Transport:
    from crewrun.llm.litellm_transport import LitellmTransport

    return LitellmTransport()


def _offline() -> Transport:
    from crewrun.llm.offline_transport import OfflineTransport

    return OfflineTransport()


# Imported when first called for: aiohttp and litellm cost start-up time that an offline run does not owe.
LANES: Mapping[Lane, Callable[[], Transport]] = {"direct": _direct, "litellm": _litellm, "offline": _offline}


@dataclass(frozen=True, slots=True)
class GatewayOptions:
    """How a run wants its calls made. `call_timeout_s` and `model` overrule what an LLM says for itself.

    With `replay_only` nothing is sent: what the row's recorder does not know fails with NotRecorded.
    """

    retry: RetryPolicy = field(default_factory=RetryPolicy)
    call_timeout_s: float | None = None
    model: str | None = None
    base_url: str | None = None
    replay_only: bool = False


class Gateway:
    """Calls models for any number of rows at once. Opened in an event loop, `async with`, and used only there.

    While it is open it is the gateway of every crew that is started inside the block. `transport` replaces all lanes.
    """

    def __init__(self, options: GatewayOptions | None = None, *, transport: Transport | None = None) -> None:
        self._identities = Identities()
        self._options = options or GatewayOptions()
        self._given = transport
        self._transports: dict[Lane, Transport] = {}
        self._endpoints: WeakKeyDictionary[LLM, tuple[Fields, Fields, Endpoint]] = WeakKeyDictionary()
        self._default: Endpoint | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._prices: WeakKeyDictionary[Endpoint, Price | None] = WeakKeyDictionary()
        # What models refused although they were said to take it, tools or a schema: (endpoint, error's name).
        self.refused: set[tuple[str, str]] = set()

    async def complete(
        self,
        llm: LLM | None,
        messages: tuple[Message, ...],
        tally: Tally,
        *,
        tools: tuple[ToolSpec, ...] = (),
        schema: ReplySchema | None = None,
        windows: Sequence[RequestWindow] = (),
    ) -> Completion:
        """Get `llm`'s answer to `messages`; None is the default model.

        An answer that the tally's recorder has is given again, and a new one is recorded before it is returned.
        Transient failures are sent again as the retry policy says, each attempt within the call's time limit and when
        all `windows` admit it. What is billed is added to `tally`, for failed calls too. Raises the last attempt's
        CallError; ToolsRefused and SchemaRefused when the model takes no `tools` or no `schema`, which is remembered.
        """
        endpoint = self.endpoint(llm)
        request = ChatRequest(endpoint, messages, tools, schema)
        recorder = tally.recorder
        if recorder is None:
            if self._options.replay_only:
                raise NotRecorded("nothing is recorded of this call (--replay)")
            return (await self._call(request, tally, windows, None))[0]
        identity = self._identities.of(request)
        known = recorder.replay(tally.task, identity)
        if known is not None:
            tally.replays(*known)
            return known[0]
        if self._options.replay_only:
            raise NotRecorded(f"the journal has no such call of {endpoint.name} for this row (--replay)")
        began = time.monotonic()
        try:
            completion, spent = await self._call(request, tally, windows, recorder)
        except CallError as failed:
            if failed.attempts:
                usage, cost_usd = failed.billed
                spent = Spent(endpoint.name, usage, cost_usd, failed.attempts, time.monotonic() - began)
                await recorder.record_failure(tally.task, identity, failed, spent)
            raise
        await recorder.record(
            tally.task, identity, request, completion, spent._replace(duration_s=time.monotonic() - began)
        )
        return completion

    async def _call(
        self, request: ChatRequest, tally: Tally, windows: Sequence[RequestWindow], recorder: Recorder | None
    ) -> tuple[Completion, Spent]:
        """Send until there is an answer, or no attempt is left."""
        endpoint = request.endpoint
        if endpoint.api_key is None and self._given is None and (variable := endpoints.missing_key(endpoint)):
            raise AuthRefused(f"{variable} is not set, and {endpoint.name} needs it; export it or put it into .env")
        transport = self._transport(endpoint.lane)
        timeout_s = self._options.call_timeout_s or endpoint.timeout_s or DEFAULT_CALL_TIMEOUT_S
        over_asyncio = endpoint.lane == "direct" and self._given is None
        attempt = 0
        wasted = _NOTHING  # what was billed for answers that could not be used
        while True:
            attempt += 1
            if windows:
                await admit(windows)
            tally.sent()
            try:
                completion = await _send(transport, request, timeout_s, over_asyncio=over_asyncio)
            except CallError as failed:
                error = self._refusal(_without_key(failed, endpoint), request, recorder)
            else:
                cost_usd = self._cost(endpoint, completion)
                tally.billed(endpoint.name, completion.usage, cost_usd)
                tally.answered(completion)
                if wasted is _NOTHING:
                    return completion, Spent(endpoint.name, completion.usage, cost_usd, attempt)
                return completion, Spent(endpoint.name, *_sum(wasted, (completion.usage, cost_usd)), attempt)
            error.attempts = attempt
            if error.usage.total_tokens:
                cost_usd = self._cost(endpoint, error)
                tally.billed(endpoint.name, error.usage, cost_usd)
                wasted = _sum(wasted, (error.usage, cost_usd))
            delay_s = self._options.retry.delay(error, attempt)
            if delay_s is None:
                error.billed = wasted
                raise error
            if recorder is not None:
                recorder.retrying(tally.task, error, delay_s)
            await anyio.sleep(delay_s)

    def takes_tools(self, llm: LLM | None) -> bool:
        """Whether tools go to `llm` as tools, not in words."""
        endpoint = self.endpoint(llm)
        return endpoint.takes_tools and not self._has_refused(endpoint, ToolsRefused)

    def takes_schema(self, llm: LLM | None) -> bool:
        """Whether a reply's schema goes to `llm` as such, not only in words."""
        endpoint = self.endpoint(llm)
        return endpoint.takes_schema and not self._has_refused(endpoint, SchemaRefused)

    def _has_refused(self, endpoint: Endpoint, kind: type[BadRequest]) -> bool:
        return bool(self.refused) and (describe_endpoint(endpoint), kind.__name__) in self.refused

    def _refusal(self, error: CallError, request: ChatRequest, recorder: Recorder | None) -> CallError:
        """`error`, told apart when what was refused is something that can be done without."""
        if error.http_status not in _REFUSING or not (request.tools or request.schema):
            return error
        kind: type[BadRequest] | None = None
        if request.schema and _ABOUT_SCHEMA.search(str(error)):
            kind = SchemaRefused
        elif request.tools and _ABOUT_TOOLS.search(str(error)):
            kind = ToolsRefused
        if kind is None:
            return error
        if not any(message.tool_calls for message in request.messages):  # else it may be about those turns
            refusal = (describe_endpoint(request.endpoint), kind.__name__)
            self.refused.add(refusal)
            if recorder is not None:
                recorder.refused(*refusal)
        return kind(str(error), http_status=error.http_status)

    def endpoint(self, llm: LLM | None) -> Endpoint:
        """Where calls of `llm` go in this run. Raises UsageError when that cannot be said."""
        if llm is None:
            self._default = self._default or self._resolve(None)
            return self._default
        # An LLM may be changed between calls, so what it was when it was resolved is remembered with the endpoint.
        known = self._endpoints.get(llm)
        if known is not None and known[0] == llm.__dict__ and known[1] == llm.model_extra:
            return known[2]
        endpoint = self._resolve(llm)
        self._endpoints[llm] = (dict(llm.__dict__), dict(llm.model_extra or {}), endpoint)
        return endpoint

    def _resolve(self, llm: LLM | None) -> Endpoint:
        return endpoints.resolve(endpoints.override(llm, self._options.model, self._options.base_url))

    def _transport(self, lane: Lane) -> Transport:
        if self._given is not None:
            return self._given
        transport = self._transports.get(lane)
        if transport is None:
            transport = self._transports[lane] = LANES[lane]()
        return transport

    def _cost(self, endpoint: Endpoint, billed: Completion | CallError) -> float | None:
        try:
            price = self._prices[endpoint]
        except KeyError:
            price = self._prices[endpoint] = find_price(endpoint)
        return price.cost(billed.usage) if price else None

    async def __aenter__(self) -> "Gateway":
        self._thread = get_ident()
        try:
            self._loop = asyncio.get_running_loop()
        except RuntimeError:  # trio
            self._loop = None
        self._token = _current.set(self)
        return self

    @property
    def options(self) -> GatewayOptions:
        """How this run wants its calls made."""
        return self._options

    @property
    def given(self) -> Transport | None:
        """The transport that stands for all lanes, if there is one."""
        return self._given

    @property
    def is_reachable(self) -> bool:
        """Whether another thread can have something run in the gateway's loop."""
        return self._loop is not None and self._loop.is_running()

    def run_outside(self, call: Callable[..., Coroutine[Any, Any, T]], *args: object) -> T:
        """Run `call(*args)` in the gateway's loop, for code in a worker thread, which waits for it here."""
        if self._loop is None:
            raise RuntimeError("the run's event loop is not asyncio's")
        with pool.waiting():
            return asyncio.run_coroutine_threadsafe(call(*args), self._loop).result()

    @property
    def is_here(self) -> bool:
        """Whether this code runs in the event loop that the gateway was opened in, and not in a thread of it."""
        return self._thread == get_ident()

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        _current.reset(self._token)
        await self.aclose()

    async def aclose(self) -> None:
        """Close every transport that was opened here."""
        opened = [*self._transports.values(), *([self._given] if self._given else [])]
        self._transports.clear()
        with anyio.CancelScope(shield=True):
            for transport in opened:
                await transport.aclose()


def _sum(one: tuple[Usage, float | None], two: tuple[Usage, float | None]) -> tuple[Usage, float | None]:
    unpriced = one[1] is None or two[1] is None
    return one[0] + two[0], None if unpriced else (one[1] or 0.0) + (two[1] or 0.0)


def _without_key(error: CallError, endpoint: Endpoint) -> CallError:
    """Some providers quote the key in what they say, in a shape that `redact` cannot know."""
    key = endpoint.api_key or ""
    if len(key) >= _SECRET_CHARS and key in str(error):
        error.args = (str(error).replace(key, "[redacted]"),)
    return error


async def _send(transport: Transport, request: ChatRequest, timeout_s: float, *, over_asyncio: bool) -> Completion:
    # litellm and what it calls may swallow a cancellation, and tests run under trio: the direct lane does neither.
    with deadline(timeout_s) if over_asyncio else anyio.move_on_after(timeout_s):
        return await transport.send(request)
    raise CallTimedOut(f"no reply from {request.endpoint.name} within {timeout_s:g} s (--call-timeout)")


_current: ContextVar[Gateway | None] = ContextVar("crewrun_gateway", default=None)


def gateway_elsewhere() -> Gateway | None:
    """The gateway of the run that this thread works for, when its loop runs in another thread."""
    ambient = _current.get()
    return ambient if ambient is not None and not ambient.is_here and ambient.is_reachable else None


@dataclass(slots=True)
class _Shared:
    """A loop's gateway for kickoffs outside any run, open while at least one of them is."""

    gateway: Gateway
    users: int = 0


_shared: RunVar[_Shared | None] = RunVar("crewrun_shared_gateway", None)


class open_gateway:  # noqa: N801  (used as a function is: `async with open_gateway() as gateway`)
    """The gateway of the run around this code, else one that all kickoffs of this event loop share.

    The shared one is closed when its last user has ended, so nothing is left open when the loop closes.
    """

    __slots__ = ("_mine",)

    async def __aenter__(self) -> Gateway:
        self._mine: _Shared | None = None
        ambient = _current.get()
        if ambient is not None and ambient.is_here:
            return ambient
        shared = _shared.get()
        if shared is None:
            # A loop of its own inside a run's, as a sync tool may have one, calls models as that run says.
            shared = _Shared(Gateway(ambient.options, transport=ambient.given) if ambient else Gateway())
            _shared.set(shared)
        shared.users += 1
        self._mine = shared
        return shared.gateway

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._mine is None:
            return
        self._mine.users -= 1
        if not self._mine.users:
            _shared.set(None)
            await self._mine.gateway.aclose()
