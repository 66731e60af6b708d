"""The run's limiters, as seen from a worker: every call asks the run for a permit, so that all workers share them."""

from contextvars import ContextVar
from itertools import count
from typing import Any

import anyio

from crewrun.errors import CallError
from crewrun.executors.remote.channel import Channel
from crewrun.executors.remote.messages import GrantedPermit, RemoteFault
from crewrun.limits.account import key_digest
from crewrun.limits.learned_bounds import NOTHING_LEARNED
from crewrun.limits.permit import CallPrice, CallResult, FailureScope, Permit
from crewrun.limits.waits import Wait
from crewrun.messages import Endpoint

# The number of the row that runs in this context.
row_number: ContextVar[int] = ContextVar("crewrun_row_number", default=0)


class RemoteLimiters:
    """The limiters of the run; see `crewrun.limits.limiter.Limiters`."""

    is_of_a_run = True

    def __init__(self, channel: Channel, *, is_budgeted: bool) -> None:
        self.is_budgeted = is_budgeted
        self._channel = channel
        self._limiters: dict[tuple[str | None, ...], RemoteLimiter] = {}
        self._permits = count(1)

    def of(self, endpoint: Endpoint) -> "RemoteLimiter":
        """The limiter of an endpoint. The endpoint's key stays here; the run gets a digest of it."""
        key = (endpoint.transport_name, endpoint.name, endpoint.base_url, endpoint.api_key)
        limiter = self._limiters.get(key)
        if limiter is None:
            number = len(self._limiters)
            limiter = self._limiters[key] = RemoteLimiter(number, self._channel, self._permits)
            bare = Endpoint(
                endpoint.transport_name, endpoint.provider, endpoint.model, endpoint.base_url, key_digest(endpoint)
            )
            self._channel.notify("add_endpoint", number, bare)
        return limiter


class RemoteLimiter:
    """A limiter of the run; see `crewrun.limits.limiter.Limiter`. Permits are numbers; the run has the real ones."""

    bounds = NOTHING_LEARNED  # the run has them

    def __init__(self, number: int, channel: Channel, permits: "count[int]") -> None:
        self._number = number
        self._channel = channel
        self._permits = permits

    async def enter(self, tokens: int, price: CallPrice | None, *, is_patient: bool = True) -> Permit:
        """See `Limiter.enter`."""
        permit = next(self._permits)
        acquired: Permit = await self._acquire("acquire", permit, row_number.get(), tokens, price, is_patient)
        return acquired

    async def enter_probe(self, error: CallError | None, tokens: int, price: CallPrice | None) -> Permit | bool:
        """See `Limiter.enter_probe`."""
        permit, fault = next(self._permits), RemoteFault.of(error) if error is not None else None
        acquired: Permit | bool = await self._acquire("acquire_probe", permit, fault, tokens, price)
        return acquired

    async def _acquire(self, method: str, permit: int, *arguments: object) -> Any:
        try:
            granted = await self._channel.request(method, permit, self._number, *arguments)
        except anyio.get_cancelled_exc_class():
            self._channel.notify("given_up", permit, None)  # the run may have granted it already
            raise
        if isinstance(granted, GrantedPermit):  # the run has the permit itself
            return Permit(permit, is_probe=granted.is_probe)
        return granted

    def answered(self, permit: Permit, result: CallResult) -> None:
        """See `Limiter.answered`."""
        self._channel.notify("answered", permit.number, result)

    async def failed(self, permit: Permit, error: CallError, result: CallResult) -> FailureScope:
        """See `Limiter.failed`."""
        scope: FailureScope = await self._channel.request("failed", permit.number, RemoteFault.of(error), result)
        return scope

    async def back_off(self, seconds: float, wait: Wait) -> None:
        """See `Limiter.back_off`."""
        await anyio.sleep(seconds)

    def given_up(self, permit: Permit, result: CallResult | None = None) -> None:
        """See `Limiter.given_up`."""
        self._channel.notify("given_up", permit.number, result)
