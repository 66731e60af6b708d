"""How a call gets its answer from a model: `Sender`, a chain in which each link says what it adds.

    send_with_fallbacks   other models in turn, where one does not work
    _send_as_taken        a schema in the form that the model takes; what it refuses is probed before it is believed
    _send_as_trimmed      the parameters that the model takes, where its llm says drop_params
    _send_with_retries    limits, attempts, and whether a failure is the call's own
    _send_once            one attempt within the call's time limit

Attempts are counted here and nowhere else: the clients below do not retry. What is on record already, and what is to be
recorded, is the gateway's.
"""

from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from weakref import WeakKeyDictionary

import anyio

from crewrun.aio.deadline import deadline
from crewrun.errors import (
    BadRequest,
    CallError,
    CallTimedOut,
    CustomModelFailed,
    EndpointRefused,
    OutageTooLong,
    OutputInvalid,
    RateLimited,
    RunStopped,
    SchemaRefused,
    ToolsRefused,
    TransientError,
    UsageError,
    WaitTooLong,
    recast,
)
from crewrun.limits.budget import check_row
from crewrun.limits.estimates import believable
from crewrun.limits.failure_evidence import is_sign_of_outage
from crewrun.limits.limiter import Limiters
from crewrun.limits.permit import FailureScope, Permit
from crewrun.limits.probes import MAY_PASS, RUN_WIDE, probe_request
from crewrun.limits.windows import admit
from crewrun.llm.call import Bill, Call, Caller
from crewrun.llm.capabilities import (
    Capabilities,
    Refused,
    advised,
    can_leave_out,
    classified,
    parameter,
    refused_feature,
    refused_parameter,
    strict_form,
)
from crewrun.llm.endpoint_state import EndpointState
from crewrun.llm.known_models import with_slip
from crewrun.llm.options import GatewayOptions
from crewrun.llm.replies.answer import fresh_answer
from crewrun.llm.transports.base import Transport
from crewrun.llm.transports.registry import Transports
from crewrun.messages import ChatRequest, Completion, Endpoint, relaxed
from crewrun.recorder import Spent
from crewrun.row_context import RowContext, use_row_context

DEFAULT_CALL_TIMEOUT_S = 120.0
_OVER_AIOHTTP = ("direct", "embeddings")


@dataclass(slots=True)
class _Failures:
    """The failed attempts of a call: how many there are, and how many of them count.

    `may_pass` says that a refusal which may be passing has not been tried once more; `tried` is the one that was.
    """

    is_patient: bool
    may_pass: bool
    tried: type[CallError] | None = None
    attempts: int = 0
    counted: int = 0


class Sender:
    """Sends the calls of one gateway, any number at once."""

    def __init__(
        self,
        options: GatewayOptions,
        limiters: Limiters,
        transports: Transports,
        make_way: Callable[[Endpoint], EndpointState],
    ) -> None:
        """`make_way` gives what calls of an endpoint need; it raises AuthRefused or EndpointRefused without a key."""
        self.capabilities = Capabilities()
        self._options = options
        self._limiters = limiters
        self._transports = transports
        self._make_way = make_way
        self._ways: WeakKeyDictionary[Endpoint, EndpointState] = WeakKeyDictionary()

    async def send_with_fallbacks(
        self, request: ChatRequest, fallbacks: Sequence[Endpoint], caller: Caller, bill: Bill
    ) -> tuple[Completion, Spent]:
        """The answer to `request`, of its own endpoint or, where that does not work, of the first fallback that does.

        What it costs is on `bill`, also when this ends early. Raises the last endpoint's CallError, with `attempts` and
        `billed` of all; ToolsRefused and SchemaRefused when the endpoint takes no tools or no such schema; RunStopped
        when no call could be made; RowBudgetExceeded when the row may cost no more.
        """
        if not fallbacks:
            return await self._send_as_taken(request, caller, bill)
        for endpoint in (request.endpoint, *fallbacks):
            is_last = endpoint is fallbacks[-1]
            takes = self.capabilities.takes_schema(endpoint, request.schema)
            other = replace(request, endpoint=endpoint, schema=request.schema if takes else None)
            try:
                if request.tools and not self.capabilities.takes_tools(endpoint):
                    raise ToolsRefused(f"{endpoint.name}, which stands in for another model, takes no tools")
                return await self._send_as_taken(other, caller, bill, is_patient=is_last)
            except (
                TransientError,
                CustomModelFailed,
                EndpointRefused,
                OutageTooLong,
                WaitTooLong,
                *RUN_WIDE,
            ) as failed:
                last: CallError | RunStopped = failed
        raise last

    async def _send_as_taken(
        self, request: ChatRequest, caller: Caller, bill: Bill, *, is_patient: bool = True
    ) -> tuple[Completion, Spent]:
        """Send with the schema relaxed where its strict form is refused.

        A refusal of tools or schema that is the request's own fault is raised as BadRequest.
        """
        if not request.tools and request.schema is None:
            return await self._send_as_trimmed(request, caller, bill, is_patient=is_patient)
        fitted = self.capabilities.fitted(request)
        try:
            try:
                answer = await self._send_as_trimmed(fitted, caller, bill, is_patient=is_patient)
            except SchemaRefused as refused:
                schema = fitted.schema and relaxed(fitted.schema)
                if schema is fitted.schema:
                    raise
                strict, fitted = fitted, replace(fitted, schema=schema)
                answer = await self._send_as_trimmed(fitted, caller, bill, is_patient=is_patient)
                answer = await self._after_relaxing(answer, refused, strict, caller, bill)
        except (SchemaRefused, ToolsRefused) as refused:
            is_refused_to_all = await self._is_refused_to_all(
                refused, fitted, refused_feature(refused, request), caller, bill
            )
            bill.close(refused)  # the probe is on it too
            if is_refused_to_all:
                raise
            raise recast(refused, BadRequest) from None
        self.capabilities.answered(fitted, request)
        return answer

    async def _send_as_trimmed(
        self, request: ChatRequest, caller: Caller, bill: Bill, *, is_patient: bool
    ) -> tuple[Completion, Spent]:
        """Send without the parameters that the endpoint refuses, where its llm says so. What is answered without them
        is remembered.
        """
        left_out: tuple[str, ...] = ()
        while True:
            trimmed = self.capabilities.trimmed(replace(request, left_out=left_out) if left_out else request)
            try:
                answer = await self._send_with_retries(trimmed, caller, bill, is_patient=is_patient)
            except CallError as refused:
                name = refused_parameter(refused, trimmed)
                if name is None:
                    raise
                if not can_leave_out(name, trimmed):
                    raise advised(refused, name) from None
                left_out = (*left_out, name)
                continue
            for name in left_out:
                self._conclude(self.capabilities.refusal(request.endpoint, parameter(name)), caller)
            return answer

    def _conclude(self, conclusion: Refused, caller: Caller) -> None:
        self.capabilities.refused.add(conclusion)
        if caller.row_context.recorder is not None:
            caller.row_context.recorder.refused(*conclusion)

    async def _after_relaxing(
        self, answer: tuple[Completion, Spent], refused: CallError, strict: ChatRequest, caller: Caller, bill: Bill
    ) -> tuple[Completion, Spent]:
        """`answer`, with what a probe cost that finds out whether the endpoint refuses the strict schema of anybody."""
        assert strict.schema is not None  # noqa: S101  (it was refused)
        completion, spent = answer
        bill.usage, bill.cost_usd = spent.usage, spent.cost_usd  # where the probe is cut short, the bill has both
        # The call itself was answered; the next one meets what stops the run.
        with suppress(RunStopped):
            await self._is_refused_to_all(refused, strict, strict_form(strict.schema), caller, bill)
        return completion, bill.total(spent.model)

    async def _is_refused_to_all(
        self, refused: CallError, request: ChatRequest, what: str, caller: Caller, bill: Bill
    ) -> bool:
        """Whether the endpoint takes no tools, or no such schema, of anybody. What a probe says of it is remembered."""
        endpoint, capabilities = request.endpoint, self.capabilities
        conclusion = capabilities.refusal(endpoint, what)
        if capabilities.is_own(endpoint, what):
            return False
        async with capabilities.probing(endpoint, what):
            if conclusion in capabilities.refused or capabilities.is_own(endpoint, what):
                return conclusion in capabilities.refused
            probe = self._call(probe_request(request), caller, bill)
            met = await self._probe(probe)
            while isinstance(met, (TransientError, *RUN_WIDE)) and not await self._is_own(met, probe):
                met = await self._probe(probe)  # that was an outage
            if met is None:
                capabilities.answered(probe.request, request)
                return False
            if type(met) is not type(refused):
                return False
            self._conclude(conclusion, caller)
            return True

    async def _probe(self, probe: Call) -> CallError | None:
        """The error that a neutral request meets, None when it is answered. One of ours when the budget has no room."""
        attempt = 0
        while True:
            attempt += 1
            permit = await probe.way.limiter.enter_probe(None, probe.tokens, probe.price)
            if isinstance(permit, bool):
                return CallError("the budget has no room for a probe")
            _, error = await self._send_probe(permit, probe)
            if error is None or isinstance(error, OutputInvalid):
                return None  # the request was taken; what the model wrote does not matter here
            error = classified(error, probe.request)
            delay_s = self._options.retry.delay(error, attempt)
            if delay_s is None:
                return error
            await anyio.sleep(delay_s)

    async def _send_with_retries(
        self, request: ChatRequest, caller: Caller, bill: Bill, *, is_patient: bool = True
    ) -> tuple[Completion, Spent]:
        """Send until there is an answer, no attempt is left, or the run has to stop.

        A call that is not patient can be made elsewhere: it does not wait until an outage is over.
        """
        call = self._call(request, caller, bill)
        limiter, row_context, row_budget_usd = call.way.limiter, caller.row_context, self._options.row_budget_usd
        failures: _Failures | None = None
        while True:
            if row_budget_usd is not None:
                row_usage = row_context.usage.of_row
                check_row(row_usage.cost_usd, row_usage.owed_usd, row_budget_usd)
            if caller.windows:
                await admit(caller.windows)
            permit = await limiter.enter(call.tokens, call.price, is_patient=is_patient)
            if permit.is_probe:
                await self._send_probe(permit, self._call(probe_request(request), caller, bill))
                continue
            bill.attempts += 1
            row_context.usage.add_attempt()
            try:
                got = fresh_answer(await self._send_once(request, row_context), request, row_context.own_texts)
            except CallError as failed:
                error = classified(with_slip(failed.redact(), request.endpoint), request)
            except BaseException:
                limiter.given_up(permit, call.lost())
                raise
            else:
                end = call.answered(got)
                limiter.answered(permit, end)
                row_context.usage.add_answer(got)
                return got, bill.total(request.endpoint.name, got.usage, end.cost_usd)
            if failures is None:
                failures = _Failures(is_patient, may_pass=self._limiters.is_of_a_run)
            delay_s = await self._delay(failures, permit, error, call)
            if row_context.recorder is not None:
                row_context.recorder.retrying(row_context.task_path, error, delay_s)
            if delay_s:
                await anyio.sleep(delay_s)

    async def _delay(self, failures: "_Failures", permit: Permit, error: CallError, call: Call) -> float:
        """Seconds until the next attempt; raises `error` when there is none."""
        failures.attempts += 1
        error.attempts = failures.attempts
        scope = await call.way.limiter.failed(permit, error, call.failed(error))
        # A call that can be made elsewhere counts what an outage did to it; too many at once are no reason to go there.
        is_own = scope is FailureScope.OWN or not (failures.is_patient or isinstance(error, RateLimited))
        if scope is FailureScope.ALL:
            is_own = type(error) is failures.tried or await self._is_own(error, call)
        if is_own and failures.may_pass and error.http_status in MAY_PASS and isinstance(error, RUN_WIDE):
            failures.may_pass, failures.tried = False, type(error)
            return 0.0
        failures.counted += is_own
        delay_s = self._options.retry.delay(error, failures.counted) if is_own else 0.0
        if delay_s is not None:
            return delay_s
        if failures.is_patient and is_sign_of_outage(error):
            is_own = await self._is_own(error, call)
        if not is_own:
            return 0.0
        call.bill.close(error)
        raise error

    async def _is_own(self, error: CallError, call: Call) -> bool:
        """Whether `error` is the call's own and not what every call meets, if need be by a probe.

        Raises EndpointRefused and WaitTooLong when every call would be refused.
        """
        probe = self._call(probe_request(call.request), call.caller, call.bill)
        while True:
            permit = await probe.way.limiter.enter_probe(error, probe.tokens, probe.price)
            if isinstance(permit, bool):
                return permit
            scope, _ = await self._send_probe(permit, probe)
            if scope is not FailureScope.ALL:
                return scope is FailureScope.OWN

    async def _send_probe(self, permit: Permit, probe: Call) -> tuple[FailureScope, CallError | None]:
        """Send a neutral request: what it says of the failure of the call that asked for it, and its own error."""
        limiter = probe.way.limiter
        probe.caller.row_context.usage.add_attempt()
        probe.bill.probes += 1
        try:
            got = await self._send_once(probe.request, probe.caller.row_context)
        except CallError as failed:
            error = failed.redact()
            error.attempts = 1
            return await limiter.failed(permit, error, probe.failed(error)), error
        except BaseException:
            limiter.given_up(permit, probe.lost())
            raise
        end = probe.answered(got)
        probe.bill.add(got.usage, end.cost_usd)
        limiter.answered(permit, end)
        return FailureScope.OWN, None

    async def _send_once(self, request: ChatRequest, row_context: RowContext) -> Completion:
        """One attempt, within the call's time limit. What the user's own code calls in it belongs to `row_context`."""
        endpoint = request.endpoint
        timeout_s = self._options.call_timeout_s or endpoint.timeout_s or DEFAULT_CALL_TIMEOUT_S
        transport, is_ours = self._transports.of(endpoint.transport_name), self._transports.given is None
        request = self.capabilities.trimmed(request)
        if is_ours and endpoint.transport_name == "custom":
            with use_row_context(row_context):
                return await _send(transport, request, timeout_s, over_asyncio=False)
        completion = await _send(
            transport, request, timeout_s, over_asyncio=is_ours and endpoint.transport_name in _OVER_AIOHTTP
        )
        # Vectors are no words: their size says nothing of tokens.
        return believable(completion, request) if is_ours and endpoint.transport_name != "embeddings" else completion

    def _way(self, endpoint: Endpoint) -> EndpointState:
        way = self._ways.get(endpoint)
        if way is None:
            way = self._ways[endpoint] = self._make_way(endpoint)
        return way

    def _call(self, request: ChatRequest, caller: Caller, bill: Bill) -> Call:
        """`request` with what its attempts need. Raises UsageError when a budget needs a price that nobody knows."""
        way = self._way(request.endpoint)
        price = None
        if self._limiters.is_budgeted and (price := way.most(request, caller.row_context.task_path)) is None:
            name = request.endpoint.name
            raise UsageError(f"the price of {name} is not known, so --budget cannot hold; give it by --price")
        return Call(request, caller, bill, way, way.expected(request), price)


async def _send(transport: Transport, request: ChatRequest, timeout_s: float, *, over_asyncio: bool) -> Completion:
    # litellm and what it calls may swallow a cancellation, and tests run under trio: the direct transport does neither.
    with deadline(timeout_s) if over_asyncio else anyio.move_on_after(timeout_s):
        return await transport.send(request)
    raise CallTimedOut(f"no reply from {request.endpoint.name} within {timeout_s:g} s (--call-timeout)")
