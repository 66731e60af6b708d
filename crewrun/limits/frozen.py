"""The limiters of a run for a kickoff that holds the run's own event loop: none of its other calls can end meanwhile.

Nothing but the kickoff touches the limiters while the loop is held, so that another thread may. What would wait for
another call of the run would wait forever: a place among the calls in flight is taken beyond their number, and where
the budget has no room the kickoff fails. Requests and tokens per minute hold.
"""

from crewrun.errors import CallError
from crewrun.limits.cross_loop import CrossLoopLimiters
from crewrun.limits.learned_bounds import LearnedBounds
from crewrun.limits.limiter import Limiters
from crewrun.limits.local_limiter import LocalLimiter
from crewrun.limits.local_limiters import LocalLimiters
from crewrun.limits.permit import CallResult, FailureScope, Permit, Price
from crewrun.messages import Endpoint


def frozen(limiters: Limiters) -> Limiters:
    """The limiters for a loop in another thread while that of `limiters` is held.

    Raises RuntimeError for limiters that are asked by messages, which the held loop would have to send.
    """
    if isinstance(
        limiters, CrossLoopLimiters | FrozenLimiters
    ):  # those of a loop that goes on, or that is held already
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
        """Whether calls have to say what they may cost."""
        return self._limiters.is_budgeted

    @property
    def is_of_a_run(self) -> bool:
        """Whether these limiters are a run's."""
        return self._limiters.is_of_a_run

    def of(self, endpoint: Endpoint) -> "FrozenLimiter":
        """The limiter of an endpoint."""
        return FrozenLimiter(self._limiters.of(endpoint))


class FrozenLimiter:
    """A limiter whose loop is held; see `crewrun.limits.limiter.Limiter`."""

    def __init__(self, limiter: LocalLimiter) -> None:
        self._limiter = limiter

    @property
    def bounds(self) -> LearnedBounds:
        """See `Limiter.bounds`."""
        return self._limiter.bounds

    async def enter(self, tokens: int, price: Price | None, *, is_patient: bool = True) -> Permit:
        """See `Limiter.enter`."""
        return await self._limiter.enter_unqueued(tokens, price)

    async def enter_probe(self, error: CallError | None, tokens: int, price: Price | None) -> Permit | bool:
        """No probe: the failure is the call's own."""
        return True

    def answered(self, permit: Permit, result: CallResult) -> None:
        """See `Limiter.answered`."""
        self._limiter.answered(permit, result)

    async def failed(self, permit: Permit, error: CallError, result: CallResult) -> FailureScope:
        """See `Limiter.failed`."""
        return await self._limiter.failed(permit, error, result)

    def given_up(self, permit: Permit, result: CallResult | None = None) -> None:
        """See `Limiter.given_up`."""
        self._limiter.given_up(permit, result)
