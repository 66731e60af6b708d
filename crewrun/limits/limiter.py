"""What stands between a call and its endpoint: the protocols `Limiter`, for one endpoint, and `Limiters`, for a run.

`local_limiter` implements them in the run's event loop. `cross_loop` and `frozen` reach those from other loops of the
process, and `executors.remote.limiter` from a worker elsewhere.
"""

from typing import Protocol

from crewrun.errors import CallError
from crewrun.limits.learned_bounds import LearnedBounds
from crewrun.limits.permit import CallPrice, CallResult, FailureScope, Permit
from crewrun.limits.waits import Wait
from crewrun.messages import Endpoint


class Limiter(Protocol):
    """Around each attempt: `enter` or `enter_probe`, then exactly one of `answered`, `failed` and `given_up`."""

    @property
    def bounds(self) -> LearnedBounds:
        """How far the provider was seen to count beyond a call's bounds, as far as that is known here."""
        ...

    async def enter(self, tokens: int, price: CallPrice | None, *, is_patient: bool = True) -> Permit:
        """Wait until an attempt of an estimated `tokens` may be sent; a call that is not patient waits for no outage.

        Raises EndpointRefused and WaitTooLong if it would be refused, OutageTooLong and BudgetExhausted.
        """
        ...

    async def enter_probe(self, error: CallError | None, tokens: int, price: CallPrice | None) -> Permit | bool:
        """Wait until it is known whether `error`, which a call met, is that call's own.

        True: it is. False: it is not, and the call is to be sent again. A permit is for the probe that decides: the
        caller sends it, gives the permit back as any other, and calls this again. Without an `error` it is a permit for
        a probe of the caller's, or True if the budget has no room for one. Raises as `enter` does if every call would
        be refused.
        """
        ...

    def answered(self, permit: Permit, result: CallResult) -> None:
        """The attempt was answered."""
        ...

    async def failed(self, permit: Permit, error: CallError, result: CallResult) -> FailureScope:
        """The attempt failed. Returns whom that is about; for `ALL`, `enter_probe` tells whether it really is."""
        ...

    async def back_off(self, seconds: float, wait: Wait) -> None:
        """Wait before a call's next attempt; `wait` says why."""
        ...

    def given_up(self, permit: Permit, result: CallResult | None = None) -> None:
        """The attempt was cancelled; without a `result` it had not been sent."""
        ...


class Limiters(Protocol):
    """The limiters of a run, wherever they are."""

    @property
    def is_budgeted(self) -> bool:
        """Whether each call needs its highest price."""
        ...

    @property
    def is_of_a_run(self) -> bool:
        """Whether these limiters belong to a run: then a failure that every call would meet ends the run."""
        ...

    def of(self, endpoint: Endpoint) -> Limiter:
        """The limiter of an endpoint: the same one for the same model, address and key."""
        ...
