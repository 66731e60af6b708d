"""`Sender`: how a call gets its answer from a model. Each link of the chain adds one thing:

    send_with_fallbacks                 other models in turn, if one does not work
    _send_with_accepted_schema          the form of the schema that the model takes; refusals are probed first
    _send_with_accepted_parameters      only the parameters that the model takes, if its LLM has drop_params; ours alike
    _send_at_flex                       waits for room in that tier, if it is asked for; then the standard tier
    _send_in_jobs                       as a line of a batch job, if its tier is that; `batch_jobs` has how
    _send_with_retries                  a permit for each attempt; retries, and whether a failure counts
    _try_once                           the first call of a prefix before the others: `prompt_cache`
    Attempts.send_once                  one attempt, within the call's time limit

Attempts are counted here and nowhere else: the clients below do not retry. The gateway replays and records.
"""

from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace

import anyio

from crewrun.aio.time_limit import uncounted
from crewrun.errors import (
    BadRequest,
    BatchJobFailed,
    CallError,
    CustomModelFailed,
    EndpointRefused,
    NoCapacity,
    OutageTooLong,
    RateLimited,
    RunStopped,
    SchemaRefused,
    ToolsRefused,
    TransientError,
    WaitTooLong,
    recast,
)
from crewrun.limits.budget import check_row
from crewrun.limits.capacity import CapacityPauses
from crewrun.limits.failure_evidence import is_sign_of_outage
from crewrun.limits.limiter import Limiters
from crewrun.limits.permit import CallResult, FailureScope, Permit
from crewrun.limits.probes import MAY_PASS, RUN_WIDE, probe_request
from crewrun.limits.waits import Wait, WaitKind
from crewrun.limits.windows import admit
from crewrun.llm.attempts import Attempts
from crewrun.llm.batch_jobs.gatherer import GoesLive
from crewrun.llm.batch_jobs.run_jobs import JobAnswer, JobCall, Jobs
from crewrun.llm.batch_jobs.wire import line_of, no_jobs_here, read_result
from crewrun.llm.call import Bill, Call, Caller
from crewrun.llm.capabilities import (
    CACHE_HINTS,
    Capabilities,
    Refused,
    advised,
    can_leave_out,
    classified,
    parameter,
    refused_feature,
    refused_parameter,
    refuses_cache_hints,
    strict_form,
)
from crewrun.llm.endpoint_state import EndpointState
from crewrun.llm.known_models import with_slip
from crewrun.llm.options import GatewayOptions
from crewrun.llm.prices.price import BATCH
from crewrun.llm.prober import Prober
from crewrun.llm.prompt_cache.first_calls import PrefixCall, PrefixCalls
from crewrun.llm.replies.answer import fresh_answer
from crewrun.llm.tiers import FLEX, has_no_capacity
from crewrun.llm.transports.registry import Transports
from crewrun.messages import ChatRequest, Completion, Endpoint, relaxed
from crewrun.recorder import Spent
from crewrun.row_context import RowContext
from crewrun.row_events import Retry, Waited

# Listeners are not told of waits that are shorter than this: each call yields to others for a moment.
_SHORTEST_WAIT_S = 0.01


@dataclass(slots=True)
class _Failures:
    """The failed attempts of a call: how many there are, and how many of them count.

    `may_pass`: a refusal that may have been a passing one can still be tried once more. `tried` is the one that was.
    """

    is_patient: bool
    may_pass: bool
    tried: type[CallError] | None = None
    attempts: int = 0
    counted: int = 0


@dataclass(slots=True)
class _FailedAttempt:
    """An attempt that failed with `error`. Its permit has not been given back."""

    permit: Permit
    error: CallError


class Sender:
    """Sends the calls of one gateway, any number at once."""

    def __init__(
        self,
        options: GatewayOptions,
        limiters: Limiters,
        transports: Transports,
        find_state: Callable[[Endpoint], EndpointState],
    ) -> None:
        """`find_state` is called once for each endpoint; it raises AuthRefused or EndpointRefused without a key."""
        self.capabilities = Capabilities()
        self.prefixes = PrefixCalls()
        self.jobs: Jobs | None = None  # the batch jobs of the run that this is a part of
        self._options = options
        self._limiters = limiters
        self._transports = transports
        self._attempts = Attempts(options, limiters, transports, self.capabilities, find_state)
        self._prober = Prober(self._attempts, self.capabilities, options.retry)

    async def send_with_fallbacks(
        self, request: ChatRequest, fallbacks: Sequence[Endpoint], caller: Caller, bill: Bill
    ) -> tuple[Completion, Spent]:
        """The answer to `request` from its own endpoint or, if that does not work, from the first fallback that does.

        What it costs is on `bill`, also if this ends early. Raises the last endpoint's CallError, with `attempts` and
        `billed` of all; ToolsRefused and SchemaRefused if the endpoint takes no tools or no such schema; RunStopped if
        no call can be made any more; RowBudgetExceeded if the row may cost no more.
        """
        if not fallbacks:
            return await self._send_with_accepted_schema(request, caller, bill)
        for endpoint in (request.endpoint, *fallbacks):
            is_last = endpoint is fallbacks[-1]
            takes = self.capabilities.takes_schema(endpoint, request.schema)
            other = replace(request, endpoint=endpoint, schema=request.schema if takes else None)
            try:
                if request.tools and not self.capabilities.takes_tools(endpoint):
                    raise ToolsRefused(f"{endpoint.name}, which stands in for another model, takes no tools")
                return await self._send_with_accepted_schema(other, caller, bill, is_patient=is_last)
            except (
                TransientError,
                CustomModelFailed,
                EndpointRefused,
                OutageTooLong,
                WaitTooLong,
                *RUN_WIDE,
            ) as failed:
                if isinstance(failed, OutageTooLong) and failed.has_job:
                    raise
                last: CallError | RunStopped = failed
        raise last

    async def _send_with_accepted_schema(
        self, request: ChatRequest, caller: Caller, bill: Bill, *, is_patient: bool = True
    ) -> tuple[Completion, Spent]:
        """Send with the schema in its strict form or, if that is refused, in its relaxed one.

        A refusal of tools or schema that is the fault of the request itself is raised as BadRequest.
        """
        if not request.tools and request.schema is None:
            return await self._send_with_accepted_parameters(request, caller, bill, is_patient=is_patient)
        fitted = self.capabilities.fitted(request)
        try:
            try:
                answer = await self._send_with_accepted_parameters(fitted, caller, bill, is_patient=is_patient)
            except SchemaRefused as refused:
                schema = fitted.schema and relaxed(fitted.schema)
                if schema is fitted.schema:
                    raise
                strict, fitted = fitted, replace(fitted, schema=schema)
                answer = await self._send_with_accepted_parameters(fitted, caller, bill, is_patient=is_patient)
                answer = await self._after_relaxing(answer, refused, strict, caller, bill)
        except (SchemaRefused, ToolsRefused) as refused:
            is_refused_to_all = await self._prober.is_refused_to_all(
                refused, fitted, refused_feature(refused, request), caller, bill
            )
            bill.close(refused)  # with the probe
            if is_refused_to_all:
                raise
            raise recast(refused, BadRequest) from None
        self.capabilities.answered(fitted, request)
        return answer

    async def _after_relaxing(
        self, answer: tuple[Completion, Spent], refused: CallError, strict: ChatRequest, caller: Caller, bill: Bill
    ) -> tuple[Completion, Spent]:
        """`answer`, with the cost of a probe that tells whether every call would have its strict schema refused."""
        assert strict.schema is not None  # noqa: S101  (it was refused)
        completion, spent = answer
        bill.usage, bill.cost_usd = spent.usage, spent.cost_usd  # if the probe is cut short, the bill has both
        # This call was answered; the next one will meet what stops the run.
        with suppress(RunStopped):
            await self._prober.is_refused_to_all(refused, strict, strict_form(strict.schema), caller, bill)
        return completion, bill.total(spent.model)

    async def _send_with_accepted_parameters(
        self, request: ChatRequest, caller: Caller, bill: Bill, *, is_patient: bool
    ) -> tuple[Completion, Spent]:
        """Send without the parameters that the endpoint refuses, if its LLM has `drop_params`.

        That it answers without them is remembered.
        """
        left_out: tuple[str, ...] = ()
        is_tried, supposed = False, set[Refused]()
        by_tier = {FLEX: self._send_at_flex, BATCH: self._send_in_jobs}
        send = by_tier.get(request.endpoint.tier, self._send_with_retries)
        while True:
            trimmed = self.capabilities.trimmed(replace(request, left_out=left_out) if left_out else request)
            try:
                answer = await send(trimmed, caller, bill, is_patient=is_patient)
            except CallError as refused:
                if refuses_cache_hints(refused):
                    if not is_tried:  # from here on hints are left out, by other calls too
                        is_tried, supposed = True, self.capabilities.suppose(request.endpoint, CACHE_HINTS)
                        continue
                    self.capabilities.refused -= supposed  # it was not about ours
                name = refused_parameter(refused, trimmed)
                if name is None:
                    raise
                if not can_leave_out(name, trimmed):
                    raise advised(refused, name) from None
                left_out = (*left_out, name)
                continue
            conclusions = {self.capabilities.refusal(request.endpoint, parameter(name)) for name in left_out}
            for conclusion in conclusions | supposed:
                self.capabilities.conclude(conclusion, caller.row_context.recorder)
            return answer

    async def _send_at_flex(
        self, request: ChatRequest, caller: Caller, bill: Bill, *, is_patient: bool
    ) -> tuple[Completion, Spent]:
        """Send at flex, also after refusals for lack of capacity until the patience is over; then at the standard tier.

        All attempts together have the retries of one call; the refusals use up none.
        """
        endpoint, pauses = request.endpoint, CapacityPauses(self._options.patience)
        failures = _Failures(is_patient, may_pass=self._limiters.is_of_a_run)
        while "service_tier" not in request.left_out:  # as a server may ask for that knows no tiers
            try:
                return await self._send_with_retries(request, caller, bill, is_patient=is_patient, failures=failures)
            except NoCapacity as refused:
                if (delay_s := pauses.next_s(refused)) is None:
                    break
                _log_retry(caller, refused, delay_s)
                await self._limiters.of(endpoint).back_off(delay_s, Wait(WaitKind.CAPACITY, cause=str(refused)))
        assert endpoint.standard is not None  # noqa: S101  (an endpoint at flex has one)
        standard = replace(request, endpoint=endpoint.standard)
        return await self._send_with_retries(standard, caller, bill, is_patient=is_patient, failures=failures)

    async def _send_in_jobs(
        self, request: ChatRequest, caller: Caller, bill: Bill, *, is_patient: bool
    ) -> tuple[Completion, Spent]:
        """Send as a line of a batch job; live at the standard tier once no job will answer it any more.

        A refusal that may pass goes into a later job, as often as a call is retried.
        """
        call, jobs = self._attempts.call(request, caller, bill), self.jobs
        if jobs is None or not caller.line_id:
            raise no_jobs_here()
        row = id(caller.row_context.recorder)
        self._join_prefix(call)
        line = await line_of(call.request, caller.line_id, self._transports)
        job_call = JobCall(request.endpoint, line, row, call.price)
        bill.lines = (*bill.lines, line.custom_id)
        failures = _Failures(is_patient, may_pass=False)
        standard = replace(request, endpoint=request.endpoint.standard or request.endpoint)
        while True:
            self._check_row(caller)
            try:
                return await self._answer_by_job(jobs, job_call, call)
            except GoesLive:
                return await self._send_with_retries(standard, caller, bill, is_patient=is_patient, failures=failures)
            except CallError as failed:
                error = failed
            failures.attempts += 1
            error.attempts = failures.attempts
            if isinstance(error, RUN_WIDE) and not await self._prober.is_own(
                error, self._attempts.call(standard, caller, bill)
            ):
                continue  # no call is refused any more
            failures.counted += 1
            if self._options.retry.delay(error, failures.counted) is None:
                bill.close(error)
                raise error
            _log_retry(caller, error, 0.0)

    async def _answer_by_job(self, jobs: Jobs, job_call: JobCall, call: Call) -> tuple[Completion, Spent]:
        """The answer that a batch job brings. Raises GoesLive and the CallError of the line or its job."""
        request, row_context, bill = call.request, call.caller.row_context, call.bill
        try:
            with uncounted():
                answer = await self._answer_of_job(jobs, job_call, row_context)
        except CallError as failed:
            bill.attempts += 1
            row_context.usage.add_attempt()
            if isinstance(failed, BatchJobFailed) and failed.is_billed:
                lost = call.lost()
                if job_call.price is None:  # else what was set aside for the line is owed by now
                    jobs.settle(request.endpoint, Permit(), lost)
            raise recast(failed, type(failed)) from failed  # all lines of the job raise the same one
        bill.attempts += 1
        row_context.usage.add_attempt()
        try:
            reply = await read_result(answer.result, request, self._transports)
            completion = fresh_answer(reply, request, row_context.own_texts)
        except CallError as failed:
            error = classified(with_slip(failed.redact(), request.endpoint), request)
            # What a job does not answer is not billed, whatever the refusal.
            jobs.settle(
                request.endpoint, answer.permit, call.failed(error) if error.usage.total_tokens else CallResult()
            )
            raise error from None
        result = call.answered(completion)
        jobs.settle(request.endpoint, answer.permit, result)
        row_context.usage.add_answer(completion)
        return completion, bill.total(request.endpoint.name, completion.usage, result.cost_usd)

    async def _answer_of_job(self, jobs: Jobs, job_call: JobCall, row_context: RowContext) -> JobAnswer:
        """What a job brings. Listeners are told how long that took."""
        if (emitter := row_context.emitter) is None:
            return await jobs.send(job_call)
        began = anyio.current_time()
        try:
            return await jobs.send(job_call)
        finally:
            emitter.note("wait", Waited(WaitKind.JOBS, anyio.current_time() - began))

    def _check_row(self, caller: Caller) -> None:
        """Raise RowBudgetExceeded if the row may cost no more."""
        if (row_budget_usd := self._options.row_budget_usd) is not None:
            row_usage = caller.row_context.usage.of_row
            check_row(row_usage.cost_usd, row_usage.owed_usd, row_budget_usd)

    async def _send_with_retries(
        self,
        request: ChatRequest,
        caller: Caller,
        bill: Bill,
        *,
        is_patient: bool = True,
        failures: _Failures | None = None,
    ) -> tuple[Completion, Spent]:
        """Send until there is an answer, no attempt is left, or the run has to stop.

        A call that is not patient can be answered by another model, so it does not wait for an outage to end.
        `failures` are those of the call so far. Raises NoCapacity at once.
        """
        call = self._attempts.call(request, caller, bill)
        prefix_call = self._join_prefix(call)
        while True:
            self._check_row(caller)
            if prefix_call is None:
                tried = await self._try_once(call, is_patient=is_patient)
            else:
                async with prefix_call:
                    _note_wait(call, "prompt cache", prefix_call.waited_s)
                    tried = await self._try_once(call, is_patient=is_patient)
                    prefix_call.is_answered = isinstance(tried, tuple)
            if isinstance(tried, tuple):
                return tried
            if tried is None:
                continue
            if failures is None:
                failures = _Failures(is_patient, may_pass=self._limiters.is_of_a_run)
            delay_s = await self._delay(failures, tried.permit, tried.error, call)
            _log_retry(caller, tried.error, delay_s)
            if delay_s:
                await call.state.limiter.back_off(delay_s, Wait(WaitKind.RETRY, cause=str(tried.error)))

    def _join_prefix(self, call: Call) -> PrefixCall | None:
        """`call` among those with the same prefix; None if the provider's prompt cache does not matter for it. What its
        request says to the cache is put into it.
        """
        if (rules := call.state.cache_rules) is None:
            return None
        takes_hints = self.capabilities.takes_cache_hints(call.request.endpoint)
        prefix_call = self.prefixes.join(call.request, rules, takes_hints=takes_hints)
        if prefix_call is not None and prefix_call.hints is not None:
            call.request = replace(call.request, cache_hints=prefix_call.hints)
        return prefix_call

    async def _try_once(self, call: Call, *, is_patient: bool) -> "tuple[Completion, Spent] | _FailedAttempt | None":
        """One attempt: the answer, or how it failed; None if a probe was sent in its place."""
        request, row_context, bill = call.request, call.caller.row_context, call.bill
        limiter = call.state.limiter
        permit = await _enter(call, is_patient=is_patient)
        if permit.is_probe:
            await self._prober.send(permit, self._attempts.call(probe_request(request), call.caller, bill))
            return None
        bill.attempts += 1
        row_context.usage.add_attempt()
        try:
            reply = await self._attempts.send_once(request, row_context)
            completion = fresh_answer(reply, request, row_context.own_texts)
        except CallError as failed:
            error = has_no_capacity(failed.redact(), request.endpoint)
            return _FailedAttempt(permit, classified(with_slip(error, request.endpoint), request))
        except BaseException:
            limiter.given_up(permit, call.lost())
            raise
        result = call.answered(completion)
        limiter.answered(permit, result)
        row_context.usage.add_answer(completion)
        return completion, bill.total(request.endpoint.name, completion.usage, result.cost_usd)

    async def _delay(self, failures: "_Failures", permit: Permit, error: CallError, call: Call) -> float:
        """Seconds until the next attempt; raises `error` if there is to be none."""
        failures.attempts += 1
        error.attempts = failures.attempts
        scope = await call.state.limiter.failed(permit, error, call.failed(error))
        if isinstance(error, NoCapacity):
            raise error
        # A call that another model can answer counts failures of an outage too, but not "too many at once".
        is_own = scope is FailureScope.OWN or not (failures.is_patient or isinstance(error, RateLimited))
        if scope is FailureScope.ALL:
            is_own = type(error) is failures.tried or await self._prober.is_own(error, call)
        if is_own and failures.may_pass and error.http_status in MAY_PASS and isinstance(error, RUN_WIDE):
            failures.may_pass, failures.tried = False, type(error)
            return 0.0
        failures.counted += is_own
        delay_s = self._options.retry.delay(error, failures.counted) if is_own else 0.0
        if delay_s is not None:
            return delay_s
        if failures.is_patient and is_sign_of_outage(error):
            is_own = await self._prober.is_own(error, call)
        if not is_own:
            return 0.0
        call.bill.close(error)
        raise error


async def _enter(call: Call, *, is_patient: bool) -> Permit:
    """The limiter's permit for an attempt, once the caller's windows allow it. Listeners hear of a wait for it."""
    limiter, windows, emitter = call.state.limiter, call.caller.windows, call.caller.row_context.emitter
    began = anyio.current_time() if emitter is not None else 0.0
    if windows:
        await admit(windows, limiter.back_off)
    permit = await limiter.enter(call.tokens, call.price, is_patient=is_patient)
    if emitter is not None:
        _note_wait(call, "limiter", anyio.current_time() - began)
    return permit


def _note_wait(call: Call, reason: str, seconds: float) -> None:
    """Tell listeners that the call has waited."""
    if (emitter := call.caller.row_context.emitter) is not None and seconds >= _SHORTEST_WAIT_S:
        emitter.note("wait", Waited(reason, seconds))


def _log_retry(caller: Caller, error: CallError, delay_s: float) -> None:
    row_context = caller.row_context
    if row_context.emitter is not None:
        row_context.emitter.note("retry", Retry(error, delay_s))
    if row_context.recorder is not None:
        row_context.recorder.retrying(row_context.task_path, error, delay_s)
