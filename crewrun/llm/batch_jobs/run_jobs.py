"""`RunJobs`: calls that go to the provider in batch jobs.

`send` takes a line and waits for its result. Lines of all rows are gathered (`gatherer`) into jobs, each of which is
followed to its end by a task of its own (`job_task`). A job that an earlier session has sent is followed again, and
rows that ask for one of its lines wait for it instead of sending the line once more.
"""

import secrets
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from math import inf
from typing import Final, NamedTuple, Protocol

import anyio

from crewrun.errors import BatchJobFailed, CallError, EndpointRefused, OutputFailed, RunStopped
from crewrun.limits.local_limiters import LocalLimiters
from crewrun.limits.permit import CallPrice, CallResult, Permit
from crewrun.limits.probes import RUN_WIDE
from crewrun.limits.waits import Wait
from crewrun.llm.batch_jobs.gatherer import Gatherer, GoesLive, WaitingLine
from crewrun.llm.batch_jobs.job import BatchApi, Line, LineResult
from crewrun.llm.batch_jobs.job_failures import not_run
from crewrun.llm.batch_jobs.job_task import CrowdedOut, JobTask, JobTiming
from crewrun.llm.batch_jobs.route import Route, no_room
from crewrun.llm.batch_jobs.store import JobStore, StoredJob, StoredLine
from crewrun.messages import Endpoint

# How often to look whether a job is to go. A job takes minutes at least.
_LOOK_S: Final = 0.1
# A row that was answered needs this long at most to ask for its next line, or for several side by side.
_SETTLE_S: Final = 0.3
# So many jobs may end without running a line before its row fails.
_MOST_SENDS: Final = 3
# How long the end of a session waits for the answer to a create, without which the job has to be looked for.
_CREATE_S: Final = 5.0


class JobCall(NamedTuple):
    """A call that goes in a job. `row` tells rows from one another; `price` is what it may cost at most, if there is a
    budget.
    """

    endpoint: Endpoint
    line: Line
    row: int
    price: CallPrice | None


class JobAnswer(NamedTuple):
    """The result of a line, and what of the budget is set aside for it, which `settle` takes back."""

    result: LineResult
    permit: Permit


class Jobs(Protocol):
    """What calls need of a `RunJobs`, in whatever event loop they are."""

    async def send(self, call: JobCall) -> JobAnswer:
        """See `RunJobs.send`."""
        ...

    def settle(self, endpoint: Endpoint, permit: Permit, result: CallResult) -> None:
        """Account for what a line cost."""
        ...


@dataclass(frozen=True, slots=True)
class JobsOptions:
    """When jobs go, and how long they are waited for.

    Attributes:
        delay_s: how long a line waits for others while some rows do not wait for a job.
        ends_in_s: seconds until all jobs are cancelled and their calls made live, infinity for never.
        timing: that of each job.
    """

    delay_s: float = 60.0
    ends_in_s: float = inf
    timing: JobTiming = field(default_factory=JobTiming)


class RunJobs:
    """The batch jobs of a run. `open` reads what earlier sessions have sent; `run` works until it is cancelled; `send`
    may be called any number of times during that.

    `is_quiet` is asked with the number of rows that wait for a job, and says whether no other row can run.
    """

    def __init__(
        self,
        options: JobsOptions,
        store: JobStore,
        limiters: LocalLimiters,
        open_api: Callable[[Endpoint], BatchApi],
    ) -> None:
        self.is_quiet: Callable[[int], bool] = lambda rows: True
        self.rows_waiting_elsewhere: Callable[[], set[int]] = set  # for what other rows do
        self.on_all_sent: Callable[[], None] | None = None  # called once no row can do anything but wait for jobs
        self._options = options
        self._store = store
        self._limiters = limiters
        self._open_api = open_api
        self._routes: dict[tuple[object, ...], Route] = {}
        self._before: list[tuple[StoredJob, list[StoredLine]]] = []  # jobs of routes that no row has asked for
        self._permits: dict[str, Permit] = {}  # of lines that are in jobs and that no row waits for
        self._results: dict[str, int] = {}  # lines that no row has asked for, by the ended job that has their results
        self._unasked: set[str] = set()  # lines of earlier sessions that no row of this one has asked for
        self._rows: Counter[int] = Counter()
        self._all_sent_at = -inf  # since when it has not been so that all is sent
        self._live = ""  # why lines go live from now on
        self._awake = anyio.Event()
        self._begun: list[tuple[Route, JobTask]] = []  # jobs that nobody follows yet

    async def open(self) -> None:
        """Read the jobs of earlier sessions, and set aside what their lines may cost."""
        for stored in await self._store.jobs():
            lines = await self._store.lines(stored.number)
            self._before.append((stored, lines))
            self._unasked.update(line.custom_id for line in lines if not line.is_taken)
            for line in lines:
                if not line.is_taken and (line.has_result or not stored.end) and line.most_usd is not None:
                    permit = self._limiters.take_over(line.most_usd)
                    self._limiters.release(self._permits.pop(line.custom_id, Permit()))
                    self._permits[line.custom_id] = permit

    @property
    def jobs(self) -> list[JobTask]:
        """The jobs that have not ended."""
        return [job for route in self._routes.values() for job in route.jobs]

    @property
    def unanswered(self) -> tuple[int, int]:
        """How many jobs are at the provider, and how many lines they have."""
        at_provider = [job for job in self.jobs if job.job is not None or job.stored.id]
        return len(at_provider), sum(job.stored.lines for job in at_provider)

    @property
    def rows_waiting(self) -> int:
        """How many rows wait for a line of theirs, or for what another row does."""
        return len(self._rows.keys() | self.rows_waiting_elsewhere()) if self._rows else 0

    @property
    def waits(self) -> list[Wait]:
        """What calls wait for now."""
        return [route.wait for route in self._routes.values() if route.jobs or len(route.gatherer)]

    async def run(self) -> None:
        """Send jobs when they are due, and follow them."""
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(self._end_in_time)
            while True:
                self._awake = anyio.Event()
                is_quiet = self.is_quiet(self.rows_waiting) and not any(job.is_answering for job in self.jobs)
                for route in list(self._routes.values()):
                    while route.has_room and route.gatherer.is_due(is_quiet=is_quiet, settle_s=_SETTLE_S):
                        self._begin(route, route.gatherer.take())
                begun, self._begun = self._begun, []
                for route, job in begun:
                    tasks.start_soon(self._follow, route, job)
                if self.on_all_sent is not None and self._is_all_sent(is_quiet=is_quiet):
                    self.on_all_sent()
                    self.on_all_sent = None
                with anyio.move_on_after(_LOOK_S if self.on_all_sent is not None else self._pause_s):
                    await self._awake.wait()

    @property
    def _pause_s(self) -> float:
        """How long no job will go unless something happens."""
        now = anyio.current_time()
        blocked = (route.gatherer.blocked_until for route in self._routes.values() if len(route.gatherer))
        return max(_LOOK_S, min(blocked, default=inf) - now)

    def _is_all_sent(self, *, is_quiet: bool) -> bool:
        """Whether every row has waited for a while for jobs that the provider was seen to be still at work on."""
        now, jobs = anyio.current_time(), self.jobs
        is_sent = is_quiet and bool(jobs) and not any(route.can_send for route in self._routes.values())
        if not is_sent or any(job.job is None or job.job.has_ended for job in jobs):
            self._all_sent_at = now
        return now - self._all_sent_at >= _SETTLE_S

    async def finish(self) -> None:
        """No row waits any more: give creates that are on their way a moment to be answered."""
        with anyio.move_on_after(_CREATE_S):
            for job in self.jobs:
                await job.created.wait()

    async def cancel_jobs(self) -> int:
        """Ask the provider to end all jobs, without waiting for that. Returns how many it has been asked for."""
        count = 0
        for job in self.jobs:
            try:
                await job.cancel_now()
                count += 1
            except CallError:
                continue  # it has ended, or goes on
        return count

    async def unused(self) -> int:
        """How many answers for earlier sessions no row has asked for in this one."""
        return len(self._unasked & await self._store.unused()) if self._unasked else 0

    @property
    def unclaimed(self) -> list[StoredJob]:
        """The open jobs of earlier sessions whose model no row has called in this one."""
        return [job for job, _ in self._before if not job.end]

    async def end_unclaimed(self, find: Callable[[str], Endpoint | None]) -> int:
        """Ask the provider to end those jobs, without waiting for that. Returns how many it has been asked for, or have
        ended. `find` gives an endpoint of a route whose name it gets, None if there no longer is one.
        """
        count = 0
        for job in self.unclaimed:
            endpoint = find(job.route)
            if endpoint is None or not job.id:
                continue
            api = self._open_api(endpoint)
            try:
                with suppress(CallError):  # it may have ended
                    await api.cancel(job.id)
                latest = await api.get(job.id)
                if latest.has_ended and not latest.results:
                    await self._store.end(job.number, latest.state)
                count += 1
            except CallError:
                continue
            finally:
                await api.aclose()
        return count

    async def aclose(self) -> None:
        """Close connections."""
        with anyio.CancelScope(shield=True):
            for route in self._routes.values():
                await route.api.aclose()

    async def send(self, call: JobCall) -> JobAnswer:
        """The result of a line, once a job has brought it.

        Raises GoesLive when no job will, a CallError or RunStopped when the provider refuses its job, BatchJobFailed
        when jobs end without it, BudgetExhausted and JournalFailed.
        """
        line_id = call.line.custom_id
        self._unasked.discard(line_id)
        with self._waits_in(call.row):
            route = self._route(call.endpoint)
            permit = self._permits.pop(line_id, None)
            if permit is None:
                permit = await self._limiters.of(call.endpoint).reserve(call.price)
            permit.price = call.price
            waiting = WaitingLine(call.line, permit, route.api.size_of(call.line), anyio.current_time())
            try:
                result = await self._earlier_result(line_id) or await self._result(route, waiting)
            except BaseException as ended:
                if waiting.is_sent and not isinstance(ended, Exception):  # the row has gone, the line has not
                    self._permits[line_id] = permit
                else:
                    may_owe = isinstance(ended, BatchJobFailed) and ended.is_billed and permit.hold is not None
                    self.settle(call.endpoint, permit, CallResult(is_unknown=may_owe))
                raise
        return JobAnswer(result, permit)

    def settle(self, endpoint: Endpoint, permit: Permit, result: CallResult) -> None:
        """Account for what a line cost."""
        self._limiters.of(endpoint).settle_reserved(permit, result)

    async def _earlier_result(self, line_id: str) -> LineResult | None:
        """The result that a job of an earlier session has brought, if it has one."""
        number = self._results.pop(line_id, None)
        if number is None:
            return None
        result = (await self._store.results(number, [line_id])).get(line_id)
        return result if result is not None and result.was_run else None

    async def _result(self, route: Route, waiting: WaitingLine) -> LineResult:
        try:
            if (job := route.job_with(waiting.line.custom_id)) is not None:
                job.add(waiting)
            elif self._live:
                raise GoesLive(self._live)
            else:
                route.gatherer.add(waiting)
            self._awake.set()
            await waiting.decided.wait()
        finally:
            waiting.decided.set()  # so that a job which ends just now does not hand it back
            route.gatherer.remove(waiting)
            for job in route.jobs:
                job.remove(waiting)
        if waiting.error is not None:
            raise waiting.error
        assert waiting.result is not None  # noqa: S101  (decided without an error)
        return waiting.result

    @contextmanager
    def _waits_in(self, row: int) -> Iterator[None]:
        self._rows[row] += 1
        self._awake.set()
        try:
            yield
        finally:
            self._rows[row] -= 1
            if not self._rows[row]:
                del self._rows[row]

    def _route(self, endpoint: Endpoint) -> Route:
        """The route of an endpoint; with the first call of one, the jobs of earlier sessions are followed."""
        headers, query = tuple(endpoint.headers.items()), tuple(endpoint.query.items())
        key = (endpoint.provider, endpoint.base_url, endpoint.api_key, headers, query, endpoint.model)
        route = self._routes.get(key)
        if route is None:
            api = self._open_api(endpoint)
            route = self._routes[key] = Route(endpoint, api, Gatherer(api.limits, self._options.delay_s))
            mine = [(job, lines) for job, lines in self._before if job.route == route.name]
            self._before = [entry for entry in self._before if entry[0].route != route.name]
            for stored, lines in mine:
                self._attach(route, stored, lines)
        return route

    def _attach(self, route: Route, stored: StoredJob, lines: list[StoredLine]) -> None:
        if stored.end:
            self._results.update((line.custom_id, stored.number) for line in lines if line.has_result)
            return
        job = JobTask(route.api, self._store, stored, self._options.timing, route.endpoint.name, lines=lines)
        for line_id in job.line_ids:
            self._results.pop(line_id, None)  # this job has it again, and later
        if self._live:
            job.cancel()
        self._start(route, job)

    def _begin(self, route: Route, lines: list[WaitingLine]) -> None:
        stored = StoredJob(0, secrets.token_hex(16), route.name, time.time(), len(lines))
        timing, name = self._options.timing, route.endpoint.name
        self._start(route, JobTask(route.api, self._store, stored, timing, name, new=lines))

    def _start(self, route: Route, job: JobTask) -> None:
        route.jobs.append(job)
        self._begun.append((route, job))

    async def _follow(self, route: Route, job: JobTask) -> None:
        error: Exception | None = None
        try:
            await job.run()
            route.make_room()
            self._results.update((line_id, job.stored.number) for line_id in job.line_ids)
        except CrowdedOut:
            if route.crowd(job, self._options.timing.poll_s):
                error = no_room()
        except (CallError, RunStopped, OutputFailed) as failed:
            error = EndpointRefused(route.endpoint.name, failed) if isinstance(failed, RUN_WIDE) else failed
        finally:
            route.jobs.remove(job)
            self._awake.set()
        for waiting in job.left:
            self._hand_back(route, job, waiting, error)

    def _hand_back(self, route: Route, job: JobTask, waiting: WaitingLine, error: Exception | None) -> None:
        """A line that its job has not run."""
        if waiting.decided.is_set():
            return
        self._results.pop(waiting.line.custom_id, None)
        waiting.is_sent = False
        if error is not None:
            waiting.fail(error)
        elif self._live or job.is_cancelled:
            waiting.fail(GoesLive(self._live or "its batch job was cancelled (--tier-patience)"))
        elif waiting.sends >= _MOST_SENDS:
            waiting.fail(not_run())
        else:
            route.gatherer.add(waiting)

    async def _end_in_time(self) -> None:
        """Make the calls live when the run's end is near."""
        await anyio.sleep(self._options.ends_in_s)
        self._live = "the deadline is near (--deadline)"
        for route in self._routes.values():
            for waiting in route.gatherer.take_all():
                waiting.fail(GoesLive(self._live))
            for job in route.jobs:
                job.cancel()
