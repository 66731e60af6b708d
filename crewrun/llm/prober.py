"""`Prober`: sends probes, the neutral requests that tell whether a failure is one call's own or every call's.

When a probe is due, and what follows from its result, is decided in `crewrun.limits`.
"""

from dataclasses import replace

import anyio

from crewrun.errors import CallError, OutputInvalid, TransientError
from crewrun.limits.permit import FailureScope, Permit
from crewrun.limits.probes import RUN_WIDE, probe_request
from crewrun.limits.retry import RetryPolicy
from crewrun.llm.attempts import Attempts
from crewrun.llm.call import Bill, Call, Caller
from crewrun.llm.capabilities import Capabilities, classified
from crewrun.llm.tiers import has_no_capacity
from crewrun.messages import ChatRequest


class Prober:
    """Sends the probes of one gateway. What they cost is on the bill of the call that asks for them."""

    def __init__(self, attempts: Attempts, capabilities: Capabilities, retry: RetryPolicy) -> None:
        self._attempts = attempts
        self._capabilities = capabilities
        self._retry = retry

    async def is_own(self, error: CallError, call: Call) -> bool:
        """Whether `error` is the call's own and not one that every call meets, decided by a probe if need be.

        Raises EndpointRefused and WaitTooLong if every call would be refused.
        """
        probe = self._attempts.call(probe_request(call.request), call.caller, call.bill)
        while True:
            permit = await probe.state.limiter.enter_probe(error, probe.tokens, probe.price)
            if isinstance(permit, bool):
                return permit
            scope, _ = await self.send(permit, probe)
            if scope is not FailureScope.ALL:
                return scope is FailureScope.OWN

    async def is_refused_to_all(
        self, refused: CallError, request: ChatRequest, what: str, caller: Caller, bill: Bill
    ) -> bool:
        """Whether the endpoint takes no tools, or no such schema, from any call. What a probe finds is remembered."""
        endpoint, capabilities = request.endpoint, self._capabilities
        conclusion = capabilities.refusal(endpoint, what)
        if capabilities.is_own(endpoint, what):
            return False
        async with capabilities.probing(endpoint, what):
            if conclusion in capabilities.refused or capabilities.is_own(endpoint, what):
                return conclusion in capabilities.refused
            # What a model takes does not depend on the tier, and at the standard one there is room.
            probed = replace(request, endpoint=endpoint.standard or endpoint)
            probe = self._attempts.call(probe_request(probed), caller, bill)
            error = await self._answer_to(probe)
            while isinstance(error, (TransientError, *RUN_WIDE)) and not await self.is_own(error, probe):
                error = await self._answer_to(probe)  # it was an outage
            if error is None:
                capabilities.answered(replace(probe.request, endpoint=endpoint), request)
                return False
            if type(error) is not type(refused):
                return False
            capabilities.conclude(conclusion, caller.row_context.recorder)
            return True

    async def _answer_to(self, probe: Call) -> CallError | None:
        """Send `probe` with retries: None if it is answered, else its error, or ours if the budget has no room."""
        attempt = 0
        while True:
            attempt += 1
            permit = await probe.state.limiter.enter_probe(None, probe.tokens, probe.price)
            if isinstance(permit, bool):
                return CallError("the budget has no room for a probe")
            _, error = await self.send(permit, probe)
            if error is None or isinstance(error, OutputInvalid):
                return None  # the request was accepted; what the model wrote does not matter
            error = classified(error, probe.request)
            delay_s = self._retry.delay(error, attempt)
            if delay_s is None:
                return error
            await anyio.sleep(delay_s)

    async def send(self, permit: Permit, probe: Call) -> tuple[FailureScope, CallError | None]:
        """Send a probe once: what it says about the failure of the call that asked for it, and its own error."""
        limiter = probe.state.limiter
        probe.caller.row_context.usage.add_attempt()
        probe.bill.probes += 1
        try:
            completion = await self._attempts.send_once(probe.request, probe.caller.row_context)
        except CallError as failed:
            error = has_no_capacity(failed.redact(), probe.request.endpoint)
            error.attempts = 1
            return await limiter.failed(permit, error, probe.failed(error)), error
        except BaseException:
            limiter.given_up(permit, probe.lost())
            raise
        result = probe.answered(completion)
        probe.bill.add(completion.usage, result.cost_usd)
        limiter.answered(permit, result)
        return FailureScope.OWN, None
