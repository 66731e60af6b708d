"""The endpoints for tests: the ledger, the limits, the clock and the faults of batch jobs."""

from collections.abc import Callable, Iterable
from typing import Any

from crewrun.mock.batch_jobs import Jobs
from crewrun.mock.calls import Calls
from crewrun.mock.clock import MockClock, read_advance
from crewrun.mock.endpoint import MockRequest, Refused
from crewrun.mock.job_faults import JobFaults, read_faults
from crewrun.mock.rate_limits import read_limits
from crewrun.mock.replies import MockReply, json_reply


class Controls:
    """`jobs` go on to the present before the ledger is read, so that it has what they have done."""

    def __init__(self, calls: Calls, clock: MockClock, faults: JobFaults, jobs: Iterable[Jobs]) -> None:
        self._calls = calls
        self._clock = clock
        self._faults = faults
        self._jobs = jobs

    async def ledger(self, request: MockRequest) -> MockReply:
        """GET /ledger; `?last=N` shortens the list."""
        last = request.query.get("last", "")
        if last and not (last.isascii() and last.isdigit()):
            raise Refused(400, f"?last={last!r} is not a number of requests")
        self._advance()
        return json_reply(self._calls.ledger.report(int(last) if last else None))

    async def clear_ledger(self, request: MockRequest) -> MockReply:
        """DELETE /ledger; files and jobs stay."""
        self._advance()
        self._calls.clear()
        return json_reply(self._calls.ledger.report())

    async def limits(self, request: MockRequest) -> MockReply:
        """GET /limits."""
        return json_reply(self._calls.limits.report())

    async def change_limits(self, request: MockRequest) -> MockReply:
        """PUT /limits sets the limits that the body names; the others stay."""
        limits = _read(read_limits, request)
        self._calls.limits.change(limits, self._clock.monotonic_s)
        return json_reply(self._calls.limits.report())

    async def clock(self, request: MockRequest) -> MockReply:
        """GET /clock."""
        return json_reply(self._clock.report())

    async def advance_clock(self, request: MockRequest) -> MockReply:
        """POST /clock moves the clock forward."""
        self._clock.advance(_read(read_advance, request))
        self._advance()
        return json_reply(self._clock.report())

    async def faults(self, request: MockRequest) -> MockReply:
        """GET /batch-faults."""
        return json_reply(self._faults.report())

    async def change_faults(self, request: MockRequest) -> MockReply:
        """PUT /batch-faults sets those that the body names; the others stay."""
        self._faults.change(_read(read_faults, request))
        return json_reply(self._faults.report())

    async def health(self, request: MockRequest) -> MockReply:
        """GET /health."""
        return json_reply({"status": "ok"})

    def _advance(self) -> None:
        for jobs in self._jobs:
            jobs.advance()


def _read(read: Callable[[bytes], Any], request: MockRequest) -> Any:
    try:
        return read(request.body)
    except ValueError as error:
        raise Refused(400, str(error)) from error
