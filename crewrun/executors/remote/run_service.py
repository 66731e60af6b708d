"""`RunService`: the methods of the run that a worker can call, on the run's limiters, journal and cache.

A method that can answer at once returns a value, which needs no task; one that waits, for a permit or the disk, returns
an awaitable.
"""

from asyncio import Future
from collections.abc import Callable, Coroutine
from typing import Any

import anyio

from crewrun.executors.remote.assignment import Assignment
from crewrun.executors.remote.messages import GrantedPermit, RemoteFault
from crewrun.executors.run_spec import RunSpec
from crewrun.limits.local_limiter import LocalLimiter
from crewrun.limits.permit import CallPrice, CallResult, FailureScope, Permit
from crewrun.messages import Endpoint


class RunService:
    """The methods for the worker of one `WorkerClient`. `permit`, `endpoint` and `row` are numbers; the worker assigns
    the first two, the run the last.
    """

    def __init__(
        self, run_spec: RunSpec, assignments: dict[int, Assignment], refused: Callable[[str, str], None]
    ) -> None:
        """`assignments` are the worker's, by number. `refused` is called with what an endpoint refuses."""
        self._run_spec = run_spec
        self._assignments = assignments
        self._refused = refused
        self._limiters: dict[int, LocalLimiter] = {}
        self._permits: dict[int, tuple[LocalLimiter, Permit]] = {}
        self._waiting: dict[int, anyio.CancelScope] = {}  # for permits

    def add_endpoint(self, number: int, endpoint: Endpoint) -> None:
        """Announce an endpoint that will be called; it comes without its key."""
        self._limiters[number] = self._run_spec.limiters.of(endpoint)

    def acquire(
        self, permit: int, endpoint: int, row: int, tokens: int, price: CallPrice | None, is_patient: bool
    ) -> GrantedPermit | Coroutine[Any, Any, GrantedPermit | bool]:
        """See `Limiter.enter`; for a call of `row`, 0 if unknown."""
        limiter = self._limiters[endpoint]
        acquired = limiter.enter_nowait(tokens)
        if acquired is None:
            return self._wait(
                self._scope(permit), permit, limiter, row, limiter.enter(tokens, price, is_patient=is_patient)
            )
        self._permits[permit] = limiter, acquired
        return GrantedPermit(acquired.is_probe)

    def acquire_probe(
        self, permit: int, endpoint: int, fault: RemoteFault | None, tokens: int, price: CallPrice | None
    ) -> Coroutine[Any, Any, GrantedPermit | bool]:
        """See `Limiter.enter_probe`."""
        limiter = self._limiters[endpoint]
        error = fault.call_error() if fault is not None else None
        return self._wait(self._scope(permit), permit, limiter, 0, limiter.enter_probe(error, tokens, price))

    def _scope(self, permit: int) -> anyio.CancelScope:
        """The scope that `given_up` cancels, from now on, so even before the wait begins."""
        scope = self._waiting[permit] = anyio.CancelScope()
        return scope

    async def _wait(
        self,
        scope: anyio.CancelScope,
        permit: int,
        limiter: LocalLimiter,
        row: int,
        acquiring: Coroutine[Any, Any, Permit | bool],
    ) -> GrantedPermit | bool:
        assignment = self._assignments.get(row)
        if assignment is not None:
            assignment.waiting += 1
        try:
            with scope:
                acquired = await acquiring
                if isinstance(acquired, bool):
                    return acquired
                if not scope.cancel_called:
                    self._permits[permit] = limiter, acquired
                    return GrantedPermit(acquired.is_probe)
                limiter.given_up(acquired)  # granted before it could be cancelled
        finally:
            del self._waiting[permit]
            if assignment is not None and row in self._assignments:  # else it has ended, or is at another worker
                assignment.waiting -= 1
        return False  # given up: no caller waits for the reply

    def answered(self, permit: int, end: CallResult) -> None:
        """See `Limiter.answered`."""
        limiter, acquired = self._permits.pop(permit)
        limiter.answered(acquired, end)

    def failed(self, permit: int, fault: RemoteFault, end: CallResult) -> Coroutine[Any, Any, FailureScope]:
        """See `Limiter.failed`."""
        limiter, acquired = self._permits.pop(permit)
        return limiter.failed(acquired, fault.call_error(), end)

    def given_up(self, permit: int, end: CallResult | None) -> None:
        """See `Limiter.given_up`; also for a permit that is still being waited for."""
        if permit in self._waiting:
            self._waiting[permit].cancel()
        elif permit in self._permits:
            limiter, acquired = self._permits.pop(permit)
            limiter.given_up(acquired, end)

    def row_started(self, row: int) -> None:
        """Note that the worker has started a row."""
        if row in self._assignments:
            self.has_begun(self._assignments[row])

    def has_begun(self, assignment: Assignment) -> None:
        """Note that the row is no longer on its way to the worker."""
        if not assignment.has_begun:
            assignment.has_begun = True
            self._run_spec.limiters.on_their_way -= 1

    def record(self, row: int, method: str, arguments: tuple[Any, ...]) -> Future[None] | None:
        """Call a method of the row's recorder; see `Assignment`. Returns a future when the worker waits for it."""
        if method == "refused":
            self._refused(*arguments)
        assignment = self._assignments.get(row)
        if assignment is None:  # cancelled: no caller waits for the reply
            return None
        recorded: Future[None] | None = getattr(assignment, method)(*arguments)
        return recorded

    def cache(self, method: str, arguments: tuple[Any, ...]) -> Coroutine[Any, Any, Any]:
        """Call a method of the run's cache; see `Answers`."""
        answer: Coroutine[Any, Any, Any] = getattr(self._run_spec.cache, method)(*arguments)
        return answer

    def close(self) -> None:
        """Give back the permits of a worker that is gone. The cost of its calls in flight is unknown."""
        for scope in self._waiting.values():
            scope.cancel()
        for limiter, acquired in self._permits.values():
            limiter.given_up(acquired, CallResult(is_unknown=True))
        self._permits.clear()
