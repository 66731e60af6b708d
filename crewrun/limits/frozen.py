"""The gates of a run for a kickoff that holds the run's own event loop: none of its other calls can end meanwhile.

Nothing but the kickoff touches the gates while the loop is held, so that another thread may. What would wait for
another call of the run would wait forever: a place among the calls in flight is taken beyond their number, and where
the budget has no room the kickoff fails. Requests and tokens per minute hold.
"""

from crewrun.errors import CallError
from crewrun.limits.cross_loop import FarGates
from crewrun.limits.learned_bounds import LearnedBounds
from crewrun.limits.limiter import AllGates, Gates, NearGate
from crewrun.limits.permit import FailureScope, Pass, Price, Settlement
from crewrun.messages import Endpoint


def frozen(gates: AllGates) -> AllGates:
    """The gates for a loop in another thread while that of `gates` is held.

    Raises RuntimeError for gates that are asked by messages, which the held loop would have to send.
    """
    if isinstance(gates, FarGates | FrozenGates):  # those of a loop that goes on, or that is held already
        return gates
    if isinstance(gates, Gates):
        return FrozenGates(gates)
    raise RuntimeError(
        "this worker reaches its run by the event loop that this call would block; inside async code write "
        "`await ….akickoff(…)`"
    )


class FrozenGates:
    """The gates of a run whose event loop is held."""

    def __init__(self, gates: Gates) -> None:
        self._gates = gates

    @property
    def is_budgeted(self) -> bool:
        """Whether calls have to say what they may cost."""
        return self._gates.is_budgeted

    @property
    def is_of_a_run(self) -> bool:
        """Whether these gates are a run's."""
        return self._gates.is_of_a_run

    def of(self, endpoint: Endpoint) -> "FrozenGate":
        """The gate of an endpoint."""
        return FrozenGate(self._gates.of(endpoint))


class FrozenGate:
    """A gate whose loop is held; see `crewrun.limits.limiter.Gate`."""

    def __init__(self, gate: NearGate) -> None:
        self._gate = gate

    @property
    def bounds(self) -> LearnedBounds:
        """See `Gate.bounds`."""
        return self._gate.bounds

    async def enter(self, tokens: int, price: Price | None, *, is_patient: bool = True) -> Pass:
        """See `Gate.enter`."""
        return await self._gate.enter_unqueued(tokens, price)

    async def enter_probe(self, error: CallError | None, tokens: int, price: Price | None) -> Pass | bool:
        """No probe: the failure is the call's own."""
        return True

    def answered(self, permit: Pass, end: Settlement) -> None:
        """See `Gate.answered`."""
        self._gate.answered(permit, end)

    async def failed(self, permit: Pass, error: CallError, end: Settlement) -> FailureScope:
        """See `Gate.failed`."""
        return await self._gate.failed(permit, error, end)

    def given_up(self, permit: Pass, end: Settlement | None = None) -> None:
        """See `Gate.given_up`."""
        self._gate.given_up(permit, end)
