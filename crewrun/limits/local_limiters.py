"""`LocalLimiters`: a `LocalLimiter` for each model at each address, and what they share."""

from collections.abc import Iterable
from dataclasses import replace

from crewrun.limits.account import account_of
from crewrun.limits.local_limiter import LocalLimiter
from crewrun.limits.options import SLOW_START, LimiterOptions
from crewrun.limits.permit import Permit
from crewrun.limits.run_limits import RunLimits
from crewrun.limits.shared_limits import SharedLimits
from crewrun.limits.waits import Wait, WaitKind
from crewrun.messages import Endpoint
from crewrun.terminal import say


class LocalLimiters(RunLimits):
    """The limiters of a run that is to end in `deadline_s` from now, if that is given."""

    def __init__(self, options: LimiterOptions | None = None, deadline_s: float | None = None) -> None:
        super().__init__(deadline_s)
        self._options = options or LimiterOptions()
        self._limiters: dict[tuple[str | None, ...], LocalLimiter] = {}
        self._has_warned = False

    @property
    def is_of_a_run(self) -> bool:
        """Whether these limiters belong to a run: then a failure that every call would meet ends the run."""
        return self._options.outage_patience_s is not None

    def of(self, endpoint: Endpoint) -> LocalLimiter:
        """The limiter of an endpoint: the same one for the same model, address and key."""
        key = (endpoint.transport_name, endpoint.name, endpoint.base_url, endpoint.api_key)
        limiter = self._limiters.get(key)
        if limiter is None:
            limiter = self._limiters[key] = LocalLimiter(endpoint, self._options, self, self._shared(endpoint))
        return limiter

    def close(self) -> None:
        """No more calls are made: give back what is set aside of limits that are shared with other processes."""
        for limiter in self._limiters.values():
            limiter.rate_limiter.close()

    def remembered(self, endpoints: Iterable[Endpoint]) -> list[str]:
        """What is remembered of the limits of these endpoints, from earlier runs or of other processes, in words."""
        if not self._options.shares:
            return []
        limiters = dict.fromkeys(self.of(endpoint) for endpoint in endpoints)
        return [note for limiter in limiters if (note := limiter.rate_limiter.remembered)]

    def _shared(self, endpoint: Endpoint) -> SharedLimits | None:
        account = account_of(endpoint) if self._options.shares else None
        return None if account is None else SharedLimits(account, self._warn)

    def _warn(self, why: str) -> None:
        if not self._has_warned:
            self._has_warned = True
            say(f"warning: {why}")

    def take_over(self, most_usd: float) -> Permit:
        """Set aside what a line of an earlier session's batch job may cost."""
        return Permit(hold=None if self.budget is None else self.budget.take_over(most_usd))

    def release(self, permit: Permit) -> None:
        """Give back what was set aside by `take_over`."""
        if self.budget is not None and permit.hold is not None:
            self.budget.settle(permit.hold, None)

    def hold_calls_to(self, most: int) -> None:
        """Have at most `most` live calls of each model in flight; before the first call."""
        self._options = replace(self._options, max_calls=most)

    def is_idle(self) -> bool:
        """Whether hardly any call waits for a permit, or will soon, so that more rows at once would help."""
        waiting = sum(limiter.rate_limiter.waiting for limiter in self._limiters.values())
        return self.on_their_way + waiting < SLOW_START

    @property
    def in_flight(self) -> dict[str, int]:
        """How many live calls of each model are out."""
        calls: dict[str, int] = {}
        for limiter in self._limiters.values():
            calls[limiter.name] = calls.get(limiter.name, 0) + limiter.rate_limiter.in_flight
        return calls

    @property
    def waits(self) -> list[Wait]:
        """What calls wait for now; the budget alone when they wait for that."""
        budget = self.budget
        if budget is not None and budget.waiting:
            calls, spent_usd = budget.waiting, budget.spent_usd
            return [Wait(WaitKind.BUDGET, calls=calls, spent_usd=spent_usd, limit_usd=budget.limit_usd)]
        waits = [wait for limiter in self._limiters.values() if (wait := limiter.wait)]
        return waits if self.jobs is None else [*waits, *self.jobs.waits]

    def stuck_calls(self, seconds: float) -> int:
        """How many calls will not be answered within `seconds`, with those that wait for their part of the budget.
        Batch jobs take longer than any stop waits, and go on without the run.
        """
        stuck = sum(limiter.stuck_calls(seconds) for limiter in self._limiters.values())
        if self.jobs is not None:
            return stuck + self.jobs.rows_waiting
        return stuck + (self.budget.waiting if self.budget is not None and stuck else 0)
