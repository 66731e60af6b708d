"""The only door to models: recorded answers are replayed, and everything else is sent and recorded.

A call is an LLM and messages, and its result a Completion or a CallError. Each link of the chain adds one thing:

    complete                     the row is told what stopped its call
    _complete_with_own_schema    the LLM's own schema, if the call has none
    _answer                      listeners of the row's events are told
    _replay_or_send              the answer that the row's recorder or the cache has
    _send_recorded               a new answer is recorded before it is returned
    _send                        fallbacks and a warning; how a call is sent is in `sender`

`loop_bound` has what a gateway does for other event loops, `endpoint_resolver` where its calls go.
"""

import time
from collections.abc import Sequence
from dataclasses import replace
from types import TracebackType
from typing import Self
from warnings import warn

from crewrun.errors import CallError, CrewrunWarning, NotRecorded, RowBudgetExceeded, RunStopped, SchemaRefused
from crewrun.limits.cross_loop import CrossLoopLimiters
from crewrun.limits.limiter import Limiters
from crewrun.limits.local_limiters import LocalLimiters
from crewrun.limits.windows import RequestWindow
from crewrun.llm import current_gateway
from crewrun.llm.batch_jobs.cross_loop import CrossLoopJobs
from crewrun.llm.batch_jobs.run_jobs import Jobs
from crewrun.llm.cache import Answers
from crewrun.llm.call import Bill, Caller
from crewrun.llm.capabilities import PICTURES, Refused
from crewrun.llm.embeddings import Vector, decode
from crewrun.llm.endpoint_resolver import EndpointResolver
from crewrun.llm.loop_bound import LoopBound
from crewrun.llm.model_fields import ModelFields
from crewrun.llm.options import GatewayOptions, own_limiters
from crewrun.llm.prices.price import Price
from crewrun.llm.providers import OFFLINE, check_offline
from crewrun.llm.replies.answer import recalled_answer
from crewrun.llm.request_identity import Addresses, Identities
from crewrun.llm.sender import Sender
from crewrun.llm.transports.base import Transport
from crewrun.llm.transports.registry import Transports
from crewrun.messages import ChatRequest, Completion, Endpoint, Message, ReplySchema, ToolSpec, Usage
from crewrun.recorder import Recorder, Spent
from crewrun.row_context import RowContext
from crewrun.row_events import Answer, observed


class Gateway(LoopBound):
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
        serves_process: bool = False,
    ) -> None:
        """`limiters` are those of the run that this gateway is part of; by default it has its own. `cache` has answers
        to the same requests from any run. While one that `serves_process` is open, it is the gateway of all code of the
        process that is in no other gateway's block, such as the requests of a web service.

        Raises UsageError for a model whose name is `offline` with a typo, ValueError for invalid limits.
        """
        self._options = options or GatewayOptions()
        self._own_limiters: LocalLimiters | None = None
        if limiters is None:
            limiters = self._own_limiters = own_limiters(self._options)
        super().__init__(limiters)
        self._serves_process = serves_process
        self._identities = Identities(self._options.addresses)
        check_offline(self._options.model or "")  # a row may be the first to make a crew and look up its models
        self._cache = cache
        self._transports = Transports(transport)
        self._endpoints = EndpointResolver(self._options, self.limiters, needs_keys=transport is None)
        self._sender = Sender(self._options, self.limiters, self._transports, self._endpoints.state)
        self._unknown_reasons: set[str] = set()  # finish reasons that were warned about

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

        An answer that the row's recorder has is replayed, and a new one is recorded before it is returned. Transient
        failures are retried as the retry policy says, each attempt within the call's time limit and once all `windows`
        and the endpoint's limiter permit it; then the LLM's fallbacks are tried. What is billed is added to the usage
        of `row_context`, for failed calls too.

        Raises the last attempt's CallError; ToolsRefused and SchemaRefused if the model takes no `tools` or no such
        `schema`, which is remembered; RunStopped if no call can be made any more.
        """
        try:
            try:
                return await self._complete_with_own_schema(llm, messages, row_context, tools, schema, windows)
            except SchemaRefused:
                if schema is not None:
                    raise
                # The LLM's own schema was refused; from now on it is not sent.
                return await self._complete_with_own_schema(llm, messages, row_context, tools, schema, windows)
        except (RunStopped, RowBudgetExceeded, NotRecorded) as refused:
            row_context.refuse(refused)
            raise

    async def _complete_with_own_schema(
        self,
        llm: ModelFields | None,
        messages: tuple[Message, ...],
        row_context: RowContext,
        tools: tuple[ToolSpec, ...],
        schema: ReplySchema | None,
        windows: Sequence[RequestWindow],
    ) -> Completion:
        endpoint = self._endpoints.endpoint(llm)
        own = endpoint.reply_schema
        if schema is None and own is not None and not self._sender.capabilities.refuses(endpoint, own):
            schema = own
        return await self._answer(ChatRequest(endpoint, messages, tools, schema), row_context, windows)

    async def embed(self, embedder: ModelFields, texts: Sequence[str], row_context: RowContext) -> list[Vector]:
        """The vectors of `texts` by `embedder`, recorded and billed like any call. Raises as `complete` does."""
        request = ChatRequest(
            self._endpoints.embedding_endpoint(embedder), tuple(Message("user", text) for text in texts)
        )
        try:
            completion = await self._answer(request, row_context, ())
        except (RunStopped, RowBudgetExceeded, NotRecorded) as refused:
            row_context.refuse(refused)
            raise
        return decode(completion.text)

    async def _answer(
        self, request: ChatRequest, row_context: RowContext, windows: Sequence[RequestWindow]
    ) -> Completion:
        work = self._replay_or_send(request, row_context, windows)
        if (emitter := row_context.emitter) is None:
            return (await work).completion
        return (await observed(emitter.span("call", request.endpoint.name, request), work)).completion

    async def _replay_or_send(
        self, request: ChatRequest, row_context: RowContext, windows: Sequence[RequestWindow]
    ) -> Answer:
        endpoint, recorder = request.endpoint, row_context.recorder
        caller = Caller(row_context, windows)
        if recorder is None and self._cache is None:
            if self._options.replay_only:
                raise NotRecorded("nothing is recorded of this call (--replay)")
            return Answer(*await self._send(request, caller, Bill()))
        identities = self._identities.all_of(request)
        identity = identities[0]
        entry = _recorded(recorder, row_context.task_path, identities) if recorder is not None else None
        if entry is not None and (replay := recalled_answer(entry[0], request, row_context.own_texts)) is not None:
            row_context.usage.add_replay(replay, entry[1])
            return Answer(replay, entry[1], "journal")
        if self._options.replay_only:
            raise NotRecorded(f"the journal has no such call of {endpoint.name} for this row (--replay)")
        began = time.monotonic()
        cached = await self._cached(identities)
        cached = recalled_answer(cached, request, row_context.own_texts) if cached is not None else None
        if cached is not None:
            row_context.usage.add_answer(cached)
            spent = Spent(endpoint.name, Usage(), 0.0, 0, time.monotonic() - began)
            if recorder is not None:
                await recorder.record(row_context.task_path, identity, request, cached, spent)
            return Answer(cached, spent, "cache")
        if recorder is None:
            answer = Answer(*await self._send(request, caller, Bill()))
        else:
            answer = await self._send_recorded(request, caller, recorder, identity, began)
        if self._cache is not None:
            await self._cache.put(identity, answer.completion)
        return answer

    async def _cached(self, identities: Sequence[bytes]) -> Completion | None:
        if self._cache is not None:
            for identity in identities:
                if (completion := await self._cache.get(identity)) is not None:
                    return completion
        return None

    async def _send_recorded(
        self, request: ChatRequest, caller: Caller, recorder: Recorder, identity: bytes, began: float
    ) -> Answer:
        """The answer to `request`, recorded before it is returned. For a call without one, its bill is recorded."""
        name, task, bill = request.endpoint.name, caller.row_context.task_path, Bill()
        if self._sender.jobs is not None:
            caller = caller._replace(line_id=recorder.line_id(task, identity))
        try:
            completion, spent = await self._send(request, caller, bill)
        except CallError as failed:
            if failed.attempts:
                usage, cost_usd = failed.billed
                attempts, duration_s = failed.attempts + failed.probes, time.monotonic() - began
                spent = Spent(name, usage, cost_usd, attempts, duration_s, bill.tier, bill.saved_usd, bill.lines)
                await recorder.record_failure(task, identity, failed, spent)
            raise
        except BaseException as ended:  # the row's time is over, or the run stops
            if bill.usage.total_tokens:
                spent = bill.total(name)._replace(duration_s=time.monotonic() - began)
                recorder.record_unfinished(task, identity, type(ended).__name__, spent)
            raise
        spent = spent._replace(duration_s=time.monotonic() - began)
        await recorder.record(task, identity, request, completion, spent)
        return Answer(completion, spent)

    async def _send(self, request: ChatRequest, caller: Caller, bill: Bill) -> tuple[Completion, Spent]:
        fallbacks = self._endpoints.fallbacks(request.endpoint)
        try:
            answer = await self._sender.send_with_fallbacks(request, fallbacks, caller, bill)
        except BaseException:
            if bill.tier:
                caller.row_context.usage.add_tier(bill.total(request.endpoint.name), is_answered=False)
            raise
        if bill.tier:
            caller.row_context.usage.add_tier(answer[1], is_answered=True)
        if answer[0].finish_reason is not None:
            self._warn_of(answer[0].finish_reason, request.endpoint)
        return answer

    def _warn_of(self, finish_reason: str, endpoint: Endpoint) -> None:
        """Warn once about an unknown finish reason. In a run, the rows and the summary have it."""
        if not self.limiters.is_of_a_run and finish_reason not in self._unknown_reasons:
            self._unknown_reasons.add(finish_reason)
            why = f"a reply ended with finish_reason {finish_reason!r}, which crewrun does not know; it counts as whole"
            warn(f"{endpoint.name}: {why}", CrewrunWarning, stacklevel=2)

    def use_jobs(self, jobs: Jobs) -> None:
        """Send calls whose tier is `batch` by `run_jobs`; before the first call."""
        self._sender.jobs = jobs

    def takes_tools(self, llm: ModelFields | None) -> bool:
        """Whether tools go to `llm` as tools, and not described in the prompt."""
        return self._sender.capabilities.takes_tools(self._endpoints.endpoint(llm))

    def takes_pictures(self, llm: ModelFields | None) -> bool:
        """Whether pictures that tools return go to `llm`."""
        return self._sender.capabilities.takes_pictures(self._endpoints.endpoint(llm))

    def conclude_no_pictures(self, llm: ModelFields | None, row_context: RowContext) -> None:
        """Send `llm` no pictures of tools any more: it refused them, and answered without them."""
        capabilities, endpoint = self._sender.capabilities, self._endpoints.endpoint(llm)
        capabilities.conclude(capabilities.refusal(endpoint, PICTURES), row_context.recorder)

    def takes_schema(self, llm: ModelFields | None, schema: ReplySchema) -> bool:
        """Whether `schema` goes to `llm` as a schema, and not only in the prompt."""
        return self._sender.capabilities.takes_schema(self._endpoints.endpoint(llm), schema)

    @property
    def refused(self) -> set[Refused]:
        """What models turned out not to take; may be added to."""
        return self._sender.capabilities.refused

    def endpoint(self, llm: ModelFields | None) -> Endpoint:
        """See `EndpointResolver.endpoint`."""
        return self._endpoints.endpoint(llm)

    def fallbacks(self, endpoint: Endpoint) -> tuple[Endpoint, ...]:
        """See `EndpointResolver.fallbacks`."""
        return self._endpoints.fallbacks(endpoint)

    def embedding_endpoint(self, embedder: ModelFields) -> Endpoint:
        """See `EndpointResolver.embedding_endpoint`."""
        return self._endpoints.embedding_endpoint(embedder)

    def price(self, endpoint: Endpoint) -> Price | None:
        """See `EndpointResolver.price`."""
        return self._endpoints.price(endpoint)

    def count_as_called_at(self, addresses: Addresses) -> None:
        """Record and replay calls as if models were called at `addresses`; before the first call."""
        self._options = replace(self._options, addresses=addresses)
        self._identities = Identities(addresses)

    @property
    def identities(self) -> Identities:
        """The identities that calls are recorded under."""
        return self._identities

    @property
    def options(self) -> GatewayOptions:
        """The options of this run's calls."""
        return self._options

    @property
    def is_offline(self) -> bool:
        """Whether no model is called, whatever a crew names (-m offline)."""
        return (self._options.model or "").partition("?")[0].strip() == OFFLINE

    def _with_limiters(self, limiters: Limiters | None) -> Self:
        other = type(self)(self._options, transport=self._transports.substitute, limiters=limiters, cache=self._cache)
        other._sender.capabilities.refused = self.refused
        other._sender.prefixes = self._sender.prefixes.for_another_loop()
        other._sender.jobs = self._jobs_for(limiters)
        return other

    def _jobs_for(self, limiters: Limiters | None) -> Jobs | None:
        """The batch jobs for calls in another loop; None for those that hold this one, which brings no results then."""
        jobs, loop = self._sender.jobs, self._loop
        if jobs is None or loop is None or not isinstance(limiters, CrossLoopLimiters):
            return None
        return CrossLoopJobs(jobs, loop)

    async def __aenter__(self) -> Self:
        self.bind_to_loop()
        is_of_all = self._serves_process or self.limiters.is_of_a_run
        self._token = current_gateway.enter(self, is_of_all=is_of_all)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        current_gateway.restore(self, self._token)
        await self.aclose()

    async def aclose(self) -> None:
        """Close every transport that was opened here, and give back what was set aside of limits."""
        if self._own_limiters is not None:
            self._own_limiters.close()
        await self._transports.aclose()


def _recorded(recorder: Recorder, task: str, identities: Sequence[bytes]) -> tuple[Completion, Spent] | None:
    """The recorded answer under the first of `identities` that has one."""
    for identity in identities:
        if (entry := recorder.replay(task, identity)) is not None:
            return entry
    return None
