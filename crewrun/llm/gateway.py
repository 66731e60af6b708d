"""The only door to models: recorder → gate → transport → retry → account.

A call goes in as an LLM and messages and comes out as a Completion or a CallError. Attempts are counted here and
nowhere else: the clients below do not retry. What a row's recorder knows is not asked again, and what it does not know
is recorded before anybody sees it.
"""

import asyncio
import time
from collections.abc import Callable, Coroutine, Mapping, Sequence
from dataclasses import dataclass, field, replace
from threading import get_ident
from types import TracebackType
from typing import Any, TypeVar
from warnings import warn
from weakref import WeakKeyDictionary

import anyio

from crewrun.errors import (
    AuthRefused,
    CallError,
    CallTimedOut,
    CrewrunWarning,
    EndpointRefused,
    NotRecorded,
    OutageTooLong,
    RowBudgetExceeded,
    RunStopped,
    ToolsRefused,
    TransientError,
)
from crewrun.llm import ambient, endpoints
from crewrun.llm.answer import fresh_answer, recalled_answer
from crewrun.llm.budget import check_row
from crewrun.llm.cache import Answers
from crewrun.llm.deadline import deadline
from crewrun.llm.estimate import believable, fewest_tokens
from crewrun.llm.gate import AllGates, FarGates, Gates, Settlement, Verdict
from crewrun.llm.lanes import Transports
from crewrun.llm.limits import RequestWindow, admit
from crewrun.llm.model import LLM
from crewrun.llm.prices import Price, find_price
from crewrun.llm.recorder import Identities, Recorder, Spent
from crewrun.llm.refusals import Refusals
from crewrun.llm.retry import RetryPolicy
from crewrun.llm.tally import Tally
from crewrun.llm.transport import Transport
from crewrun.llm.trust import RUN_WIDE
from crewrun.llm.way import Way
from crewrun.messages import ChatRequest, Completion, Endpoint, Message, ReplySchema, ToolSpec, Usage
from crewrun.threads import pool

DEFAULT_CALL_TIMEOUT_S = 120.0
# What is shorter is a placeholder such as `x` or `none`, which stands in other words too.
_SECRET_CHARS = 8
_NOTHING: tuple[Usage, float | None] = (Usage(), 0.0)
Fields = dict[str, Any]
T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class GatewayOptions:
    """How a run wants its calls made. `call_timeout_s` and `model` overrule what an LLM says for itself.

    With `replay_only` nothing is sent: what the row's recorder does not know fails with NotRecorded. `prices` overrule
    the published ones, by model. `row_budget_usd` is what one row may cost.
    """

    retry: RetryPolicy = field(default_factory=RetryPolicy)
    call_timeout_s: float | None = None
    model: str | None = None
    base_url: str | None = None
    replay_only: bool = False
    prices: Mapping[str, Price] = field(default_factory=dict)
    row_budget_usd: float | None = None


class Gateway:
    """Calls models for any number of rows at once. Opened in an event loop, `async with`, and used only there.

    While it is open it is the gateway of every crew that is started inside the block. `transport` replaces all lanes.
    """

    def __init__(
        self,
        options: GatewayOptions | None = None,
        *,
        transport: Transport | None = None,
        gates: AllGates | None = None,
        cache: Answers | None = None,
    ) -> None:
        """`gates` are those of the run that this gateway is a part of, its own when there are none. `cache` has answers
        of any run to the same requests.
        """
        self._identities = Identities()
        self._options = options or GatewayOptions()
        self.gates: AllGates = gates or Gates()
        self._cache = cache
        self._transports = Transports(transport)
        self._endpoints: WeakKeyDictionary[LLM, tuple[Fields, Fields, Endpoint]] = WeakKeyDictionary()
        self._fallbacks: WeakKeyDictionary[Endpoint, tuple[Endpoint, ...]] = WeakKeyDictionary()
        self._ways: WeakKeyDictionary[Endpoint, Way] = WeakKeyDictionary()
        self._default: Endpoint | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        # What models refused although they were said to take it, tools or a schema: (endpoint, error's name).
        self.refused: set[tuple[str, str]] = set()
        self._refusals = Refusals(self.refused)
        self._strange: set[str] = set()  # the unknown words with which replies ended, each warned about once

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
        all `windows` and the endpoint's gate admit it; then the LLM's fallbacks are asked. What is billed is added to
        `tally`, for failed calls too. Raises the last attempt's CallError; ToolsRefused and SchemaRefused when the
        model takes no `tools` or no `schema`, which is remembered; RunStopped when no call could be made any more.
        """
        try:
            return await self._complete(llm, messages, tally, tools, schema, windows)
        except (RunStopped, RowBudgetExceeded, NotRecorded) as refused:
            tally.refused(refused)
            raise

    async def _complete(
        self,
        llm: LLM | None,
        messages: tuple[Message, ...],
        tally: Tally,
        tools: tuple[ToolSpec, ...],
        schema: ReplySchema | None,
        windows: Sequence[RequestWindow],
    ) -> Completion:
        endpoint = self.endpoint(llm)
        request = ChatRequest(endpoint, messages, tools, schema)
        recorder = tally.recorder
        if recorder is None and self._cache is None:
            if self._options.replay_only:
                raise NotRecorded("nothing is recorded of this call (--replay)")
            return (await self._ask(request, tally, windows, None))[0]
        identity = self._identities.of(request)
        known = recorder.replay(tally.task, identity) if recorder is not None else None
        if known is not None and (again := recalled_answer(known[0], request, tally.own_texts)) is not None:
            tally.replays(again, known[1])
            return again
        if self._options.replay_only:
            raise NotRecorded(f"the journal has no such call of {endpoint.name} for this row (--replay)")
        began = time.monotonic()
        cached = await self._cache.get(identity) if self._cache is not None else None
        cached = recalled_answer(cached, request, tally.own_texts) if cached is not None else None
        if cached is not None:
            tally.answered(cached)
            if recorder is not None:
                spent = Spent(endpoint.name, Usage(), 0.0, 0, time.monotonic() - began)
                await recorder.record(tally.task, identity, request, cached, spent)
            return cached
        try:
            completion, spent = await self._ask(request, tally, windows, recorder)
        except CallError as failed:
            if failed.attempts and recorder is not None:
                usage, cost_usd = failed.billed
                spent = Spent(endpoint.name, usage, cost_usd, failed.attempts, time.monotonic() - began)
                await recorder.record_failure(tally.task, identity, failed, spent)
            raise
        if recorder is not None:
            spent = spent._replace(duration_s=time.monotonic() - began)
            await recorder.record(tally.task, identity, request, completion, spent)
        if self._cache is not None:
            await self._cache.put(identity, completion)
        return completion

    async def _ask(
        self, request: ChatRequest, tally: Tally, windows: Sequence[RequestWindow], recorder: Recorder | None
    ) -> tuple[Completion, Spent]:
        """Ask the model, and its fallbacks in turn where it does not work or every attempt failed."""
        if self._options.row_budget_usd is not None:
            check_row(tally.row_cost_usd, self._options.row_budget_usd)
        fallbacks = self._fallbacks.get(request.endpoint)
        if not fallbacks:
            return await self._call(request, tally, windows, recorder, _NOTHING)
        attempts, wasted = 0, _NOTHING
        for endpoint in (request.endpoint, *fallbacks):
            is_last = endpoint is fallbacks[-1]
            asked = replace(
                request, endpoint=endpoint, schema=request.schema if self._refusals.takes_schema(endpoint) else None
            )
            try:
                if request.tools and not self._refusals.takes_tools(endpoint):
                    raise ToolsRefused(f"{endpoint.name}, which stands in for another model, takes no tools")
                completion, spent = await self._call(asked, tally, windows, recorder, wasted, is_patient=is_last)
                return completion, spent._replace(attempts=attempts + spent.attempts)
            except (TransientError, EndpointRefused, OutageTooLong, *RUN_WIDE) as failed:
                last: CallError | RunStopped = failed
                if isinstance(failed, CallError):
                    attempts, wasted = attempts + failed.attempts, failed.billed
            except CallError as failed:
                failed.attempts += attempts
                raise
        if isinstance(last, CallError):
            last.attempts = attempts
        raise last

    async def _call(
        self,
        request: ChatRequest,
        tally: Tally,
        windows: Sequence[RequestWindow],
        recorder: Recorder | None,
        wasted: tuple[Usage, float | None],
        *,
        is_patient: bool = True,
    ) -> tuple[Completion, Spent]:
        """Send until there is an answer, or no attempt is left. `wasted` was billed for answers that are of no use.

        A call that can be made elsewhere does not wait until an outage is over.
        """
        endpoint = request.endpoint
        way = self._ways.get(endpoint) or self._way(endpoint)
        gate = way.gate
        attempt = counted = 0  # those sent, and those among them that are the call's own affair
        tokens = fewest_tokens(request) + way.answer_tokens
        price = way.most(request, tally.task) if self.gates.is_budgeted else None
        while True:
            if windows:
                await admit(windows)
            leave = await gate.enter(tokens, price, is_patient=is_patient)
            attempt += 1
            tally.sent()
            try:
                got = await self._attempt(request, tally.own_texts)
            except CallError as failed:
                error = self._refusals.told_apart(_without_key(failed, endpoint), request, recorder)
            except BaseException:
                gate.given_up(leave)
                raise
            else:
                cost_usd = way.bill(got.usage, tally)
                gate.answered(leave, Settlement(got.usage.total_tokens, cost_usd, got.limits))
                tally.answered(got)
                if wasted is not _NOTHING:
                    return got, Spent(endpoint.name, *_sum(wasted, (got.usage, cost_usd)), attempt)
                return got, Spent(endpoint.name, got.usage, cost_usd, attempt)
            error.attempts = attempt
            end = Settlement(None, None, error.limits)
            if error.usage.total_tokens:
                cost_usd = way.bill(error.usage, tally)
                wasted = _sum(wasted, (error.usage, cost_usd))
                end = Settlement(error.usage.total_tokens, cost_usd, error.limits)
            error.billed = wasted
            verdict = await gate.failed(leave, error, end)
            if verdict is Verdict.EVERY:
                raise EndpointRefused(endpoint.name, error)
            is_own = verdict is Verdict.OWN or not is_patient
            counted += is_own
            delay_s = self._options.retry.delay(error, counted) if is_own else 0.0
            if delay_s is None:
                raise error
            if recorder is not None:
                recorder.retrying(tally.task, error, delay_s)
            if delay_s:
                await anyio.sleep(delay_s)

    async def _attempt(self, request: ChatRequest, own_texts: tuple[str, ...] | None) -> Completion:
        """Send once, within the call's time limit. `own_texts` as `fresh_answer` has it."""
        endpoint = request.endpoint
        timeout_s = self._options.call_timeout_s or endpoint.timeout_s or DEFAULT_CALL_TIMEOUT_S
        transport, is_ours = self._transports.of(endpoint.lane), self._transports.given is None
        completion = await _send(transport, request, timeout_s, over_asyncio=is_ours and endpoint.lane == "direct")
        answer = fresh_answer(believable(completion, request) if is_ours else completion, request, own_texts)
        if answer.finish_reason is not None:
            self._warn_of(answer.finish_reason, endpoint)
        return answer

    def _warn_of(self, finish_reason: str, endpoint: Endpoint) -> None:
        """Say once that a reply ended with an unknown word. A run's rows have it, and its summary says it."""
        if not self.gates.is_of_a_run and finish_reason not in self._strange:
            self._strange.add(finish_reason)
            why = f"a reply ended with finish_reason {finish_reason!r}, which crewrun does not know; it counts as whole"
            warn(f"{endpoint.name}: {why}", CrewrunWarning, stacklevel=2)

    def takes_tools(self, llm: LLM | None) -> bool:
        """Whether tools go to `llm` as tools, not in words."""
        return self._refusals.takes_tools(self.endpoint(llm))

    def takes_schema(self, llm: LLM | None) -> bool:
        """Whether a reply's schema goes to `llm` as such, not only in words."""
        return self._refusals.takes_schema(self.endpoint(llm))

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
        meant = endpoints.override(llm, self._options.model, self._options.base_url)
        endpoint = endpoints.resolve(meant)
        if meant is not None and meant.fallbacks:
            self._fallbacks[endpoint] = tuple(endpoints.resolve(other) for other in meant.fallbacks)
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

    def _way(self, endpoint: Endpoint) -> Way:
        is_ours = self._transports.given is None
        if endpoint.api_key is None and is_ours and (variable := endpoints.missing_key(endpoint)):
            none = AuthRefused(f"{variable} is not set, and {endpoint.name} needs it; export it or put it into .env")
            raise EndpointRefused(endpoint.name, none) if self.gates.is_of_a_run else none
        way = self._ways[endpoint] = Way(endpoint, self.gates.of(endpoint), self.price(endpoint))
        return way

    async def __aenter__(self) -> "Gateway":
        self.settle()
        self._token = ambient.enter(self, is_of_a_run=self.gates.is_of_a_run)
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
        gates = FarGates(self.gates, self._loop) if self._loop is not None else None
        return Gateway(self._options, transport=self._transports.given, gates=gates, cache=self._cache)

    @property
    def is_reachable(self) -> bool:
        """Whether another thread can have something run in the gateway's loop."""
        return self._loop is not None and self._loop.is_running()

    def run_outside(self, call: Callable[..., Coroutine[Any, Any, T]], *args: object) -> T:
        """Run `call(*args)` in the gateway's loop, for code in a worker thread, which waits for it here."""
        loop = self._loop
        if loop is None:
            raise RuntimeError("the run's event loop is not asyncio's")
        return pool.wait(lambda: asyncio.run_coroutine_threadsafe(call(*args), loop))

    @property
    def is_here(self) -> bool:
        """Whether this code runs in the event loop that the gateway was opened in, and not in a thread of it."""
        return self._thread == get_ident()

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        ambient.leave(self, self._token)
        await self.aclose()

    async def aclose(self) -> None:
        """Close every transport that was opened here."""
        await self._transports.aclose()


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
