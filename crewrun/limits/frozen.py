"""The limiters of a run for a kickoff that holds the run's own event loop, so that none of its other calls can end.

Nothing but the kickoff touches the limiters while the loop is held, so another thread may use them. Waiting for another
call of the run would last forever: the kickoff's calls may exceed the limit on calls in flight, and if the budget has
no room the kickoff fails. The limits of requests and tokens per minute hold.
"""

import anyio

from crewrun.errors import CallError
from crewrun.limits.cross_loop import CrossLoopLimiters
from crewrun.limits.learned_bounds import LearnedBounds
from crewrun.limits.limiter import Limiters
from crewrun.limits.local_limiter import LocalLimiter
from crewrun.limits.local_limiters import LocalLimiters
from crewrun.limits.permit import CallPrice, CallResult, FailureScope, Permit
from crewrun.limits.waits import Wait
from crewrun.messages import Endpoint


def frozen(limiters: Limiters) -> Limiters:
    """The limiters for a loop in another thread while the loop of `limiters` is held.

    Raises RuntimeError for limiters that are reached by messages, which the held loop would have to send.
    """
    if isinstance(limiters, CrossLoopLimiters | FrozenLimiters):  # of a loop that runs, or that is already held
        return limiters
    if isinstance(limiters, LocalLimiters):
        return FrozenLimiters(limiters)
    raise RuntimeError(
        "this worker reaches its run by the event loop that this call would block; inside async code write "
        "`await ….akickoff(…)`"
    )


class FrozenLimiters:
    """The limiters of a run whose event loop is held."""

    def __init__(self, limiters: LocalLimiters) -> None:
        self._limiters = limiters

    @property
    def is_budgeted(self) -> bool:
        """Whether each call needs its highest price."""
        return self._limiters.is_budgeted

    @property
    def is_of_a_run(self) -> bool:
        """Whether these limiters belong to a run."""
        return self._limiters.is_of_a_run

    def of(self, endpoint: Endpoint) -> "FrozenLimiter":
        """The limiter of an endpoint."""
        return FrozenLimiter(self._limiters.of(endpoint))


class FrozenLimiter:
    """A limiter whose loop is held; see `limiter.Limiter`."""

    def __init__(self, limiter: LocalLimiter) -> None:
        self._limiter = limiter

    @property
    def bounds(self) -> LearnedBounds:
        """See `Limiter.bounds`."""
        return self._limiter.bounds

    async def enter(self, tokens: int, price: CallPrice | None, *, is_patient: bool = True) -> Permit:
        """See `Limiter.enter`."""
        return await self._limiter.enter_unqueued(tokens, price)

    async def enter_probe(self, error: CallError | None, tokens: int, price: CallPrice | None) -> Permit | bool:
        """No probe: the failure is the call's own."""
        return True

    def answered(self, permit: Permit, result: CallResult) -> None:
        """See `Limiter.answered`."""
        self._limiter.answered(permit, result)

    async def failed(self, permit: Permit, error: CallError, result: CallResult) -> FailureScope:
        """See `Limiter.failed`."""
        return await self._limiter.failed(permit, error, result)

    async def back_off(self, seconds: float, wait: Wait) -> None:
        """See `Limiter.back_off`."""
        await anyio.sleep(seconds)

    def given_up(self, permit: Permit, result: CallResult | None = None) -> None:
        """See `Limiter.given_up`."""
        self._limiter.given_up(permit, result)
