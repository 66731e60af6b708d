"""The only door to models: what is on record is answered from there, and everything else is sent and recorded.

A call goes in as an LLM and messages and comes out as a Completion or a CallError. What a row's recorder knows is not
asked again, and what it does not know is recorded before anybody sees it. How a call is sent is the `sender`'s.
"""

import asyncio
import time
from collections.abc import Callable, Coroutine, Sequence
from concurrent.futures import Future
from threading import get_ident
from types import TracebackType
from typing import Any, TypeVar
from warnings import warn
from weakref import WeakKeyDictionary

from crewrun.aio.sync_thread import run_in_thread
from crewrun.aio.threads import pool
from crewrun.errors import (
    AuthRefused,
    CallError,
    CrewrunWarning,
    EndpointRefused,
    Interrupted,
    NotRecorded,
    RowBudgetExceeded,
    RunStopped,
    SchemaRefused,
    UsageError,
)
from crewrun.limits.cross_loop import CrossLoopLimiters
from crewrun.limits.frozen import frozen
from crewrun.limits.limiter import Limiters
from crewrun.limits.local_limiters import LocalLimiters
from crewrun.limits.windows import RequestWindow
from crewrun.llm import current_gateway, endpoints
from crewrun.llm.cache import Answers
from crewrun.llm.call import Bill, Caller
from crewrun.llm.capabilities import Refused
from crewrun.llm.custom.model import (
    as_plain,
    custom_endpoint,
    custom_of,
    is_base,
    is_custom,
    settings_of,
)
from crewrun.llm.embeddings import Vector, decode, for_embeddings
from crewrun.llm.endpoint_secrets import secrets_of, secrets_of_llm
from crewrun.llm.endpoint_state import EndpointState
from crewrun.llm.model_fields import ModelFields
from crewrun.llm.options import GatewayOptions
from crewrun.llm.prices.price import Price, find_price
from crewrun.llm.providers import OFFLINE, check_offline
from crewrun.llm.replies.answer import recalled_answer
from crewrun.llm.request_identity import Identities
from crewrun.llm.sender import Sender
from crewrun.llm.transports.base import Transport
from crewrun.llm.transports.registry import Transports
from crewrun.messages import ChatRequest, Completion, Endpoint, Message, ReplySchema, ToolSpec, Usage
from crewrun.recorder import Recorder, Spent
from crewrun.redaction.redactor import learn
from crewrun.redaction.values import environment_secrets
from crewrun.row_context import RowContext, current_row_context

Fields = dict[str, Any]
T = TypeVar("T")


class Gateway:
    """Calls models for any number of rows at once. Opened in an event loop, `async with`, and used only there.

    While it is open it is the gateway of every crew that is started inside the block. `transport` replaces all
    transports.
    """

    def __init__(
        self,
        options: GatewayOptions | None = None,
        *,
        transport: Transport | None = None,
        limiters: Limiters | None = None,
        cache: Answers | None = None,
    ) -> None:
        """`limiters` are those of the run that this gateway is a part of, its own when there are none. `cache` has
        answers
        of any run to the same requests. Raises UsageError for a model that is `offline` but for a slip.
        """
        self._identities = Identities()
        self._options = options or GatewayOptions()
        check_offline(self._options.model or "")  # crews may be made, and models looked up, in the rows only
        self.limiters: Limiters = limiters or LocalLimiters()
        self._cache = cache
        self._transports = Transports(transport)
        self._endpoints: WeakKeyDictionary[ModelFields, tuple[Fields, Fields, Endpoint]] = WeakKeyDictionary()
        self._embedders: WeakKeyDictionary[ModelFields, Endpoint] = WeakKeyDictionary()
        self._fallbacks: WeakKeyDictionary[Endpoint, tuple[Endpoint, ...]] = WeakKeyDictionary()
        self._customs: WeakKeyDictionary[ModelFields, tuple[Fields, Endpoint]] = WeakKeyDictionary()
        self._default: Endpoint | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._stand_in: Gateway | None = None
        self._sender = Sender(self._options, self.limiters, self._transports, self._way)
        self._strange: set[str] = set()  # the unknown words with which replies ended, each warned about once

    async def complete(
        self,
        llm: ModelFields | None,
        messages: tuple[Message, ...],
        row_context: RowContext,
        *,
        tools: tuple[ToolSpec, ...] = (),
        schema: ReplySchema | None = None,
        windows: Sequence[RequestWindow] = (),
    ) -> Completion:
        """Get `llm`'s answer to `messages`; None is the default model.

        An answer that the row's recorder has is replayed, and a new one is recorded before it is returned.
        Transient failures are sent again as the retry policy says, each attempt within the call's time limit and when
        all `windows` and the endpoint's limiter admit it; then the LLM's fallbacks are asked. What is billed is added
        to
        the usage of `row_context`, for failed calls too. Raises the last attempt's CallError; ToolsRefused and
        SchemaRefused when the model takes no `tools` or no such `schema`, which is remembered; RunStopped when no call
        could be made any more.
        """
        try:
            try:
                return await self._complete(llm, messages, row_context, tools, schema, windows)
            except SchemaRefused:
                if schema is not None:
                    raise
                # The LLM's own, which is not sent any more.
                return await self._complete(llm, messages, row_context, tools, schema, windows)
        except (RunStopped, RowBudgetExceeded, NotRecorded) as refused:
            row_context.refuse(refused)
            raise

    async def _complete(
        self,
        llm: ModelFields | None,
        messages: tuple[Message, ...],
        row_context: RowContext,
        tools: tuple[ToolSpec, ...],
        schema: ReplySchema | None,
        windows: Sequence[RequestWindow],
    ) -> Completion:
        endpoint = self.endpoint(llm)
        own = endpoint.reply_schema
        if schema is None and own is not None and not self._sender.capabilities.refuses(endpoint, own):
            schema = own
        return await self._answer(ChatRequest(endpoint, messages, tools, schema), row_context, windows)

    async def embed(self, embedder: ModelFields, texts: Sequence[str], row_context: RowContext) -> list[Vector]:
        """The vectors of `texts` by `embedder`, recorded and billed as every call. Raises as `complete` does."""
        request = ChatRequest(self.embedding_endpoint(embedder), tuple(Message("user", text) for text in texts))
        try:
            completion = await self._answer(request, row_context, ())
        except (RunStopped, RowBudgetExceeded, NotRecorded) as refused:
            row_context.refuse(refused)
            raise
        return decode(completion.text)

    def embedding_endpoint(self, embedder: ModelFields) -> Endpoint:
        """Where embeddings of `embedder` come from. Its model stays its own whatever --model says."""
        endpoint = self._embedders.get(embedder)
        if endpoint is None:
            resolved = _resolved(endpoints.override(embedder, None, self._options.base_url))
            endpoint = self._embedders[embedder] = for_embeddings(resolved)
        return endpoint

    @property
    def is_offline(self) -> bool:
        """Whether no model is called whatever a crew names (-m offline)."""
        return (self._options.model or "").partition("?")[0].strip() == OFFLINE

    async def _answer(
        self, request: ChatRequest, row_context: RowContext, windows: Sequence[RequestWindow]
    ) -> Completion:
        endpoint, recorder = request.endpoint, row_context.recorder
        caller = Caller(row_context, windows)
        if recorder is None and self._cache is None:
            if self._options.replay_only:
                raise NotRecorded("nothing is recorded of this call (--replay)")
            return (await self._send(request, caller, Bill()))[0]
        identity = self._identities.of(request)
        known = recorder.replay(row_context.task_path, identity) if recorder is not None else None
        if known is not None and (again := recalled_answer(known[0], request, row_context.own_texts)) is not None:
            row_context.usage.add_replay(again, known[1])
            return again
        if self._options.replay_only:
            raise NotRecorded(f"the journal has no such call of {endpoint.name} for this row (--replay)")
        began = time.monotonic()
        cached = await self._cache.get(identity) if self._cache is not None else None
        cached = recalled_answer(cached, request, row_context.own_texts) if cached is not None else None
        if cached is not None:
            row_context.usage.add_answer(cached)
            if recorder is not None:
                spent = Spent(endpoint.name, Usage(), 0.0, 0, time.monotonic() - began)
                await recorder.record(row_context.task_path, identity, request, cached, spent)
            return cached
        if recorder is None:
            completion, _ = await self._send(request, caller, Bill())
        else:
            completion = await self._send_recorded(request, caller, recorder, identity, began)
        if self._cache is not None:
            await self._cache.put(identity, completion)
        return completion

    async def _send_recorded(
        self, request: ChatRequest, caller: Caller, recorder: Recorder, identity: bytes, began: float
    ) -> Completion:
        """The answer to `request`, recorded before it is returned; of a call without one what it was billed."""
        name, task, bill = request.endpoint.name, caller.row_context.task_path, Bill()
        try:
            completion, spent = await self._send(request, caller, bill)
        except CallError as failed:
            if failed.attempts:
                usage, cost_usd = failed.billed
                spent = Spent(name, usage, cost_usd, failed.attempts + failed.probes, time.monotonic() - began)
                await recorder.record_failure(task, identity, failed, spent)
            raise
        except BaseException as ended:  # the row's time is over, or the run stops
            if bill.usage.total_tokens:
                spent = bill.total(name)._replace(duration_s=time.monotonic() - began)
                recorder.record_unfinished(task, identity, type(ended).__name__, spent)
            raise
        await recorder.record(task, identity, request, completion, spent._replace(duration_s=time.monotonic() - began))
        return completion

    async def _send(self, request: ChatRequest, caller: Caller, bill: Bill) -> tuple[Completion, Spent]:
        fallbacks = self._fallbacks.get(request.endpoint, ())
        answer = await self._sender.send_with_fallbacks(request, fallbacks, caller, bill)
        if answer[0].finish_reason is not None:
            self._warn_of(answer[0].finish_reason, request.endpoint)
        return answer

    def _warn_of(self, finish_reason: str, endpoint: Endpoint) -> None:
        """Say once that a reply ended with an unknown word. A run's rows have it, and its summary says it."""
        if not self.limiters.is_of_a_run and finish_reason not in self._strange:
            self._strange.add(finish_reason)
            why = f"a reply ended with finish_reason {finish_reason!r}, which crewrun does not know; it counts as whole"
            warn(f"{endpoint.name}: {why}", CrewrunWarning, stacklevel=2)

    def takes_tools(self, llm: ModelFields | None) -> bool:
        """Whether tools go to `llm` as tools, not in words."""
        return self._sender.capabilities.takes_tools(self.endpoint(llm))

    def takes_schema(self, llm: ModelFields | None, schema: ReplySchema) -> bool:
        """Whether `schema` goes to `llm` as such, not only in words."""
        return self._sender.capabilities.takes_schema(self.endpoint(llm), schema)

    @property
    def refused(self) -> set[Refused]:
        """What models do not take although they were thought to; may be added to."""
        return self._sender.capabilities.refused

    def endpoint(self, llm: ModelFields | None) -> Endpoint:
        """Where calls of `llm` go in this run. Raises UsageError when that cannot be said."""
        if llm is None:
            self._default = self._default or self._resolve(None)
            return self._default
        # An LLM may be changed between calls, so what it was when it was resolved is remembered with the endpoint.
        known = self._endpoints.get(llm)
        if known is not None and known[0] == llm.__dict__ and known[1] == llm.model_extra:
            return known[2]
        if is_custom(llm):
            return self._endpoint_of_custom(llm)
        endpoint = self._resolve(llm)
        self._endpoints[llm] = (dict(llm.__dict__), dict(llm.model_extra or {}), endpoint)
        return endpoint

    def _endpoint_of_custom(self, llm: ModelFields) -> Endpoint:
        """That of a model that the user's code calls, as it was at first: only its parameters may change."""
        settings = settings_of(custom_of(llm))
        known = self._customs.get(llm)
        if known is not None and known[0] == settings:
            return known[1]
        endpoint = self._resolve(llm)
        self._customs[llm] = settings, endpoint
        return endpoint

    def _resolve(self, llm: ModelFields | None) -> Endpoint:
        if llm is not None and (self._options.model or self._options.base_url):
            llm = as_plain(llm)
        meant = endpoints.override(llm, self._options.model, self._options.base_url)
        endpoint = _resolved(meant)
        if meant is not None and (others := getattr(meant, "fallbacks", None)):
            self._fallbacks[endpoint] = tuple(_resolved(other) for other in others)
        return endpoint

    def fallbacks(self, endpoint: Endpoint) -> tuple[Endpoint, ...]:
        """What is asked in turn where `endpoint` does not work."""
        return self._fallbacks.get(endpoint, ())

    def price(self, endpoint: Endpoint) -> Price | None:
        """What a token of a model costs: as the run was told, else as it is published. None when nobody knows."""
        for name in (endpoint.name, endpoint.model):
            if name in self._options.prices:
                return self._options.prices[name]
        return find_price(endpoint)

    def _way(self, endpoint: Endpoint) -> EndpointState:
        is_ours = self._transports.given is None
        if endpoint.api_key is None and is_ours and (variable := endpoints.missing_key(endpoint)):
            none = AuthRefused(f"{variable} is not set, and {endpoint.name} needs it; export it or put it into .env")
            raise EndpointRefused(endpoint.name, none) if self.limiters.is_of_a_run else none
        return EndpointState(endpoint, self.limiters.of(endpoint), self.price(endpoint))

    async def __aenter__(self) -> "Gateway":
        self.settle()
        self._token = current_gateway.enter(self, is_of_a_run=self.limiters.is_of_a_run)
        return self

    def settle(self) -> None:
        """This loop is where it is used."""
        self._thread = get_ident()
        try:
            self._loop = asyncio.get_running_loop()
        except RuntimeError:  # trio
            self._loop = None

    @property
    def options(self) -> GatewayOptions:
        """How this run wants its calls made."""
        return self._options

    def beside(self) -> "Gateway":
        """A gateway for another event loop of the process, which calls as this one does and within the same limits."""
        return self._like(CrossLoopLimiters(self.limiters, self._loop) if self._loop is not None else None)

    def _like(self, limiters: Limiters | None) -> "Gateway":
        other = Gateway(self._options, transport=self._transports.given, limiters=limiters, cache=self._cache)
        other._sender.capabilities.refused = self.refused
        return other

    @property
    def is_reachable(self) -> bool:
        """Whether another thread can have something run in the gateway's loop."""
        return self._loop is not None and self._loop.is_running()

    def run_outside(self, call: Callable[..., Coroutine[Any, Any, T]], *args: object) -> T:
        """Run `call(*args)` in the gateway's loop, for code in a worker thread, which waits for it here.

        Raises LoopBlocked when that loop does not get to it: what blocks it may wait for this. A loop that another call
        holds, by `run_for_another_loop`, is waited for longer.
        """
        loop = self._loop
        if loop is None:
            raise RuntimeError("the run's event loop is not asyncio's")
        began: Future[None] = Future()

        async def run() -> T:
            if not began.set_running_or_notify_cancel():
                raise asyncio.CancelledError
            began.set_result(None)
            return await call(*args)

        return pool.wait(lambda: asyncio.run_coroutine_threadsafe(run(), loop), began, lambda: self._is_held)

    def run_for_another_loop(self, call: Callable[..., Coroutine[Any, Any, T]], *args: object) -> T:
        """Run `call(*args)` for code that holds the gateway's own loop: in a thread, with a gateway that stands in for
        this one meanwhile and keeps to the same limits. RuntimeError where that cannot be.
        """
        other = self._like(frozen(self.limiters))

        async def run() -> T:
            other.settle()
            self._stand_in = other
            token = current_gateway.enter(other)
            try:
                return await call(*args)
            finally:
                current_gateway.leave(other, token)
                self._stand_in = None
                await other.aclose()

        try:
            return run_in_thread(run)
        except Interrupted as interrupted:
            if (row_context := current_row_context()) is not None:
                row_context.refuse(interrupted)  # whatever the code that held the loop makes of it
            raise

    @property
    def acting(self) -> "Gateway":
        """This one, or while its loop is held the one that stands in for it."""
        return self if self._stand_in is None else self._stand_in.acting

    @property
    def _is_held(self) -> bool:
        return self._stand_in is not None

    @property
    def is_here(self) -> bool:
        """Whether this code runs in the event loop that the gateway was opened in, and not in a thread of it."""
        return self._thread == get_ident()

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        current_gateway.leave(self, self._token)
        await self.aclose()

    async def aclose(self) -> None:
        """Close every transport that was opened here."""
        await self._transports.aclose()


def _resolved(llm: ModelFields | None) -> Endpoint:
    """Where calls of `llm` go. From here on no error says what it is called with."""
    if llm is not None:
        learn(secrets_of_llm(llm), is_passing=True)
    if llm is not None and is_custom(llm):
        endpoint = custom_endpoint(llm)
    elif is_base(llm):
        raise UsageError(f"{type(llm).__name__} has no call of its own; a BaseLLM needs `def call(self, messages, …)`")
    else:
        endpoint = endpoints.resolve(llm)
    learn(secrets_of(endpoint), is_passing=True)
    learn(environment_secrets())  # keys that litellm takes from there, and those of proxies
    return endpoint
