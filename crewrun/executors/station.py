"""`Station`: a worker elsewhere. It holds a loaded crew and its connections, runs the rows that letters start, and
keeps nothing that must outlive it: whenever it is killed, another one goes on from what the run recorded.
"""

import os
import resource
import shutil
import tempfile
import warnings
from asyncio import CancelledError, Future, get_running_loop
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import anyio
import anyio.to_thread
from anyio.abc import TaskGroup

from crewrun._version import __version__
from crewrun.aio import threads
from crewrun.definitions import Definition, load
from crewrun.errors import CrewrunError, UsageError
from crewrun.executors.job import Brief
from crewrun.executors.letters import Begun, Drop, Ended, Fault, Gap, Refuses, Reply, Start, Written
from crewrun.executors.post import Correspondence, Inbox, Outbox
from crewrun.executors.remote import RemoteAnswers, RemoteLimiters, RemoteRecorder, row_number
from crewrun.llm.gateway import Gateway
from crewrun.llm.request_identity import describe_endpoint
from crewrun.llm.transports.registry import import_transport
from crewrun.messages import Endpoint
from crewrun.redaction.redactor import learn, redact
from crewrun.redaction.values import environment_secrets
from crewrun.row import Row
from crewrun.target import Target
from crewrun.worker import Worker, check_models, check_tools, taken_back

# How long a call without news waits for some.
_LONG_S = 10.0
# How often it is looked for leave that nobody uses.
_LOOK_S = 0.2


class Station:
    """Opened with `open`, then `serve` runs in a task of its own while `exchange` is called."""

    def __init__(self) -> None:
        self._outbox = Outbox()
        self._inbox = Inbox()
        self._correspondence = Correspondence(self._outbox)
        self._latest = 0
        self._orders: list[Start | Drop] = []
        self._ordered = anyio.Event()
        self._recorders = _Recorders()
        self._runners: dict[int, _Runner] = {}  # by the row that each is at
        self._idle: list[_Runner] = []
        self._failure: BaseException | None = None

    async def open(self, brief: Brief) -> None:
        """Load the crew. Raises UsageError or DefinitionError when it cannot run here."""
        if brief.crewrun != __version__:
            raise UsageError(
                f"has crewrun {__version__} and the run is of {brief.crewrun}; install the same on all nodes"
            )
        os.environ.update(brief.env)
        learn(environment_secrets(os.environ))
        _allow_descriptors(brief.max_rows + 64)
        threads.pool.max_threads = max(threads.pool.max_threads, brief.max_rows)
        definition = _load(brief)
        target = definition.target
        self._limiters = limiters = RemoteLimiters(self._outbox, self._correspondence, is_budgeted=brief.is_budgeted)
        cache = RemoteAnswers(self._correspondence) if brief.has_cache else None
        self._gateway = Gateway(brief.options, limiters=limiters, cache=cache)
        self._gateway.refused.update(brief.refused)
        endpoints = await _endpoints(target, self._gateway, brief)
        called = tuple(describe_endpoint(one) for one in endpoints)
        if called != brief.endpoints:
            raise UsageError(_other_models(called, brief.endpoints))
        for endpoint in endpoints:
            import_transport(endpoint.transport_name)  # later it would hold up the first rows
        self._scratch = Path(tempfile.mkdtemp(prefix="crewrun-")) if target.writes_files else None
        self._tells_prompts = brief.tells_prompts
        own_files = brief.own_files.with_crew(definition.path, definition.files)
        self._worker = Worker(
            target, self._gateway, brief.row_timeout_s, self._scratch, memory=self._recorders, own_files=own_files
        )

    async def serve(self) -> None:
        """Run rows until cancelled."""
        try:
            async with self._worker, anyio.create_task_group() as tasks:
                tasks.start_soon(self._return_spares)
                while True:
                    await self._ordered.wait()
                    self._ordered = anyio.Event()
                    orders, self._orders = self._orders, []
                    for order in orders:
                        self._obey(order, tasks)
            raise RuntimeError("its rows were cancelled from within")
        except BaseException as broken:
            self._failure = broken
            self._outbox.wake()
            raise
        finally:
            if self._scratch is not None:
                shutil.rmtree(self._scratch, ignore_errors=True)

    async def _return_spares(self) -> None:
        while True:
            await anyio.sleep(_LOOK_S)
            self._limiters.return_spares()

    async def exchange(self, bundle: bytes) -> bytes:
        """Take in a bundle and return the next one: when there is news, when another one comes, or after a while."""
        self._latest += 1
        turn = self._latest
        self._outbox.wake()  # whoever waits there leaves the waiting to this one
        for letter in self._inbox.open(bundle):
            match letter:
                case Reply():
                    self._correspondence.come(letter)
                case Start() | Drop():
                    self._orders.append(letter)
                    self._ordered.set()
                case Gap(seconds):
                    self._outbox.gap_s = seconds
                case Refuses(endpoint, what):
                    self._gateway.refused.add((endpoint, what))
        with anyio.move_on_after(_LONG_S):
            while not self._outbox and turn == self._latest and self._failure is None:
                await self._outbox.wait_news()
            while not self._outbox.is_due:
                await self._outbox.wait_due()
        if self._failure is not None:
            raise RuntimeError(redact(f"the worker has failed: {self._failure!r}"))
        return self._outbox.bundle()

    def _obey(self, order: Start | Drop, tasks: TaskGroup) -> None:
        if isinstance(order, Drop):
            if order.number in self._runners:
                self._runners[order.number].scope.cancel()
            return
        if order.leave is not None:
            self._limiters.lend(order.leave)
        else:
            self._outbox.put(Begun(order.number))
        if self._idle:
            runner = self._idle.pop()
        else:
            runner = _Runner()
            tasks.start_soon(self._keep_running, runner)
        self._runners[order.number] = runner
        runner.give(order)

    async def _keep_running(self, runner: "_Runner") -> None:
        with runner.scope:
            while not runner.scope.cancel_called:
                try:
                    await self._run_next(runner)
                except CancelledError:
                    # A row that has ended may have left a timer that cancels the task which it ran in.
                    if not taken_back():
                        raise
        if runner.start is not None:  # it was to be given up
            self._tell(runner, Ended(runner.start.number, None))

    async def _run_next(self, runner: "_Runner") -> None:
        self._tell(runner, await self._run(await runner.order()))
        if not runner.scope.cancel_called:
            self._idle.append(runner)

    def _tell(self, runner: "_Runner", ended: Ended) -> None:
        runner.start = None
        del self._runners[ended.row]
        self._outbox.put(ended)

    async def _run(self, start: Start) -> Ended:
        recorder = RemoteRecorder(
            start.number, start.known, self._outbox, self._correspondence, tells_prompts=self._tells_prompts
        )
        row_number.set(start.number)
        try:
            return await self._ended(start, recorder)
        except Exception as failed:
            # Nothing can be recorded any more, or this is a bug: the run says it as if the row ran there.
            known = failed if isinstance(failed, CrewrunError) else RuntimeError(f"{type(failed).__name__}: {failed}")
            return Ended(start.number, None, fault=Fault.of(known))

    async def _ended(self, start: Start, recorder: RemoteRecorder) -> Ended:
        self._recorders[start.row.index] = recorder
        try:
            outcome = await self._worker.run(start.row)
        finally:
            del self._recorders[start.row.index]
        written: tuple[Written, ...] = ()
        if outcome.files and self._scratch is not None:
            files, written = await anyio.to_thread.run_sync(_taken, self._scratch, outcome.files)
            outcome = replace(outcome, files=files)
        stopped = Fault.of(outcome.stopped) if outcome.stopped is not None else None
        return Ended(start.number, outcome, stopped, replayed=tuple(recorder.replayed), files=written)


class _Runner:
    """A task that runs one row after another: to begin one for each costs a tenth of what a whole row does.

    Cancelling `scope` gives up its row, `start`, and ends the task with it.
    """

    def __init__(self) -> None:
        self.scope = anyio.CancelScope()
        self.start: Start | None = None
        self._given: Future[None] | None = None

    def give(self, start: Start) -> None:
        """Have it run a row next. It is idle."""
        self.start = start
        if self._given is not None and not self._given.done():
            self._given.set_result(None)

    async def order(self) -> Start:
        """The next row to run."""
        if self.start is None:
            self._given = get_running_loop().create_future()
            await self._given
        assert self.start is not None  # noqa: S101  (`give` has set it)
        return self.start


class _Recorders(dict[int, RemoteRecorder]):
    """The memory of the rows that run here, by their indexes."""

    async def recall(self, row: Row) -> RemoteRecorder:
        """See `crewrun.worker.Memory`."""
        return self[row.index]


def _load(brief: Brief) -> Definition:
    """The crew, out of the text that came along or by its reference. What it warns of was said at home."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        if brief.text is None:
            return load(brief.crew, engine=brief.engine)
        with tempfile.TemporaryDirectory(prefix="crewrun-") as folder:
            file = Path(folder, os.path.basename(brief.crew))
            file.write_text(brief.text, encoding="utf-8")
            try:
                return load(file)
            except CrewrunError as wrong:
                raise type(wrong)(str(wrong).replace(str(file), brief.crew)) from None


async def _endpoints(target: Target, gateway: Gateway, brief: Brief) -> list[Endpoint]:
    try:
        endpoints = await check_models(target, gateway, keys=brief.checks_keys)
        if brief.checks_tool_keys:
            check_tools(target, endpoints)
        return endpoints
    except UsageError as wrong:
        raise UsageError(f"{wrong}; --env NAME gives workers a variable of the environment") from None


def _other_models(here: tuple[str, ...], there: tuple[str, ...]) -> str:
    """The message for a worker whose environment leads it to other models than the run's does."""
    return (
        f"would call {', '.join(sorted(set(here) - set(there))) or 'fewer models'} where the run means "
        f"{', '.join(sorted(set(there) - set(here))) or 'more'}; "
        "--env NAME gives workers the variable that decides, such as OPENAI_BASE_URL"
    )


def _taken(folder: Path, files: Sequence[str]) -> tuple[list[str], tuple[Written, ...]]:
    """The files that a row wrote below `folder`, out of there, and what the outcome is to list for now."""
    names, written = [], []
    for file in files:
        path = Path(file)
        if not path.is_relative_to(folder):
            names.append(file)
            continue
        name = str(path.relative_to(folder))
        names.append(name)
        with suppress(FileNotFoundError):  # two tasks wrote the same one
            written.append(Written(name, path.read_bytes()))
            path.unlink()
    return names, tuple(written)


def _allow_descriptors(needed: int) -> None:
    """Make room for a socket per row, as far as the system allows it."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft != resource.RLIM_INFINITY and soft < needed:
        most = needed if hard == resource.RLIM_INFINITY else min(needed, hard)
        resource.setrlimit(resource.RLIMIT_NOFILE, (most, hard))
