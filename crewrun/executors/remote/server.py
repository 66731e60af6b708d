"""`WorkerServer`: a worker elsewhere, with a loaded crew and its connections.

It runs rows at the run's request and keeps nothing that must outlive it: when it is killed, another worker continues
from what the run has recorded.
"""

import os
import shutil
import tempfile
import warnings
from asyncio import CancelledError
from collections import deque
from collections.abc import Coroutine, Sequence
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import anyio
import anyio.to_thread

from crewrun._version import __version__
from crewrun.aio import threads
from crewrun.aio.open_files import raise_file_limit
from crewrun.definitions import Definition, load
from crewrun.errors import CrewrunError, UsageError
from crewrun.executors.remote.channel import Channel
from crewrun.executors.remote.limiter import RemoteLimiters, row_number
from crewrun.executors.remote.messages import OutputFile, RecordedAnswer, RemoteFault, RowResult
from crewrun.executors.remote.recorder import RemoteCache, RemoteRecorder
from crewrun.executors.run_spec import WorkerSpec
from crewrun.llm.gateway import Gateway
from crewrun.llm.request_identity import describe_endpoint
from crewrun.llm.transports.registry import import_transport
from crewrun.messages import Endpoint
from crewrun.redaction.redactor import learn, redact
from crewrun.redaction.values import environment_secrets
from crewrun.row import Row
from crewrun.target import Target
from crewrun.terminal import say
from crewrun.worker import Worker, check_models, check_tools, undo_own_cancellation

if TYPE_CHECKING:
    from crewrun.monitoring.tracing import Tracing


class WorkerServer:
    """Call `open` first, then run `serve` in a task of its own and call `send` and `receive`."""

    def __init__(self) -> None:
        self._bundles: deque[bytes] = deque()  # received and not yet dispatched, in their order
        self._has_bundles = anyio.Event()
        self._failure: BaseException | None = None

    async def open(self, worker_spec: WorkerSpec) -> None:
        """Load the crew. Raises UsageError or DefinitionError when it cannot run here."""
        if worker_spec.crewrun != __version__:
            raise UsageError(
                f"has crewrun {__version__} and the run has {worker_spec.crewrun}; install the same on all nodes"
            )
        os.environ.update(worker_spec.env)
        learn(environment_secrets(os.environ))
        raise_file_limit(worker_spec.max_rows + 64)
        threads.pool.max_threads = max(threads.pool.max_threads, worker_spec.max_rows)
        definition = _load(worker_spec)
        target = definition.target
        self._service = service = WorkerService()
        self._channel = channel = Channel(service)
        cache = RemoteCache(channel) if worker_spec.has_cache else None
        limiters = RemoteLimiters(channel, is_budgeted=worker_spec.is_budgeted)
        gateway = Gateway(worker_spec.options, limiters=limiters, cache=cache)
        gateway.refused.update(worker_spec.refused)
        endpoints = await _endpoints(target, gateway, worker_spec)
        called = tuple(describe_endpoint(one) for one in endpoints)
        if called != worker_spec.endpoints:
            raise UsageError(_other_models(called, worker_spec.endpoints))
        for endpoint in endpoints:
            import_transport(endpoint.transport_name)  # now, because later it would delay the first rows
        self._scratch = Path(tempfile.mkdtemp(prefix="crewrun-")) if target.writes_files else None
        own_files = worker_spec.own_files.with_crew(definition.path, definition.files)
        self._tracing = _open_tracing(worker_spec)
        self._worker = Worker(
            target,
            gateway,
            worker_spec.row_timeout_s,
            self._scratch,
            recorders=service,
            own_files=own_files,
            listeners=() if self._tracing is None else (self._tracing.listener,),
        )
        service.open(self._worker, gateway, channel, self._scratch, tells_prompts=worker_spec.tells_prompts)

    async def serve(self) -> None:
        """Run rows until cancelled."""
        try:
            async with self._worker:
                try:
                    await self._dispatch_all()
                finally:
                    self._service.cancel_rows()
                    with anyio.CancelScope(shield=True):
                        await self._channel.wait_answered()
        except BaseException as broken:
            self._failure = broken
            raise
        finally:
            self._channel.close(RuntimeError(redact(f"the worker has failed: {self._failure!r}")))
            if self._tracing is not None:
                with anyio.CancelScope(shield=True):
                    await anyio.to_thread.run_sync(self._tracing.close)
            if self._scratch is not None:
                shutil.rmtree(self._scratch, ignore_errors=True)

    async def _dispatch_all(self) -> None:
        """Dispatch bundles in the task of `serve`, so that rows inherit its context with the open gateway."""
        while True:
            while self._bundles:
                self._channel.dispatch(self._bundles.popleft())
            await self._has_bundles.wait()
            self._has_bundles = anyio.Event()

    def send(self, bundle: bytes) -> None:
        """Take a bundle from the run."""
        self._bundles.append(bundle)
        self._has_bundles.set()

    async def receive(self) -> bytes:
        """Wait for messages to the run, and take all of them as a bundle.

        Raises RuntimeError when the worker failed.
        """
        return await self._channel.next_bundle()


class WorkerService:
    """The methods of a worker that the run can call. It also gives the worker the recorders of its rows."""

    def __init__(self) -> None:
        self._recorders: dict[int, RemoteRecorder] = {}  # by the rows' indexes
        self._rows: dict[int, anyio.CancelScope] = {}

    def open(
        self, worker: Worker, gateway: Gateway, channel: Channel, scratch: Path | None, *, tells_prompts: bool
    ) -> None:
        """Set what rows need to run; `scratch` is the folder to which they write their files."""
        self._worker = worker
        self._gateway = gateway
        self._channel = channel
        self._scratch = scratch
        self._tells_prompts = tells_prompts

    def run_row(
        self, number: int, row: Row, answers: Sequence[RecordedAnswer]
    ) -> Coroutine[Any, Any, RowResult | None]:
        """Run a row; `answers` were recorded of it before. None when `cancel_row` cancelled it.

        Raises errors that end the run: OutputFailed when nothing more can be recorded.
        """
        scope = self._rows[number] = anyio.CancelScope()  # now: the row may be cancelled before its task begins
        return self._run_in(scope, number, row, answers)

    async def _run_in(
        self, scope: anyio.CancelScope, number: int, row: Row, answers: Sequence[RecordedAnswer]
    ) -> RowResult | None:
        self._channel.notify("row_started", number)
        row_number.set(number)
        with scope:
            try:
                while True:
                    try:
                        return await self._run_row(number, row, answers)
                    except CancelledError:
                        # A timer that the row's own code left may cancel this task after the row has ended.
                        if not undo_own_cancellation():
                            raise
            finally:
                del self._rows[number]
        return None

    async def _run_row(self, number: int, row: Row, answers: Sequence[RecordedAnswer]) -> RowResult:
        recorder = RemoteRecorder(number, answers, self._channel, tells_prompts=self._tells_prompts)
        self._recorders[row.index] = recorder
        try:
            outcome = await self._worker.run(row)
        finally:
            del self._recorders[row.index]
        files: tuple[OutputFile, ...] = ()
        if outcome.files and self._scratch is not None:
            paths, files = await anyio.to_thread.run_sync(_take_files, self._scratch, outcome.files)
            outcome = replace(outcome, files=paths)
        stopped = RemoteFault.of(outcome.stopped) if outcome.stopped is not None else None
        return RowResult(outcome, stopped, tuple(recorder.replayed), files)

    def cancel_row(self, number: int) -> None:
        """Cancel a row."""
        if number in self._rows:
            self._rows[number].cancel()

    def cancel_rows(self) -> None:
        """Cancel all rows."""
        for scope in self._rows.values():
            scope.cancel()

    def refuse(self, endpoint: str, what: str) -> None:
        """Note that an endpoint refuses tools, a schema or a parameter, as another worker has found out."""
        self._gateway.refused.add((endpoint, what))

    async def recall(self, row: Row) -> RemoteRecorder:
        """See `crewrun.worker.Recorders`."""
        return self._recorders[row.index]


def _open_tracing(worker_spec: WorkerSpec) -> "Tracing | None":
    """The traces of the rows that run here. The run has checked its variables; what is missing here fails no row."""
    if worker_spec.tracing is None:
        return None
    from crewrun.monitoring.tracing import open_tracing

    try:
        return open_tracing(worker_spec.tracing, os.environ, say)
    except (UsageError, ImportError) as refused:
        say(f"warning: no traces are sent from this worker: {refused}")
        return None


def _load(worker_spec: WorkerSpec) -> Definition:
    """Load the crew from the text in the spec or by its reference. The command has shown its warnings already."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        if worker_spec.text is None:
            return load(worker_spec.crew, engine=worker_spec.engine)
        with tempfile.TemporaryDirectory(prefix="crewrun-") as folder:
            file = Path(folder, os.path.basename(worker_spec.crew))
            file.write_text(worker_spec.text, encoding="utf-8")
            try:
                return load(file)
            except CrewrunError as wrong:
                raise type(wrong)(str(wrong).replace(str(file), worker_spec.crew)) from None


async def _endpoints(target: Target, gateway: Gateway, worker_spec: WorkerSpec) -> list[Endpoint]:
    try:
        endpoints = await check_models(target, gateway, keys=worker_spec.checks_keys)
        if worker_spec.checks_tool_keys:
            check_tools(target, endpoints)
        return endpoints
    except UsageError as wrong:
        raise UsageError(f"{wrong}; --env NAME gives workers a variable of the environment") from None


def _other_models(here: tuple[str, ...], there: tuple[str, ...]) -> str:
    """The message for a worker whose environment leads to other models than the run's."""
    return (
        f"would call {', '.join(sorted(set(here) - set(there))) or 'fewer models'} where the run means "
        f"{', '.join(sorted(set(there) - set(here))) or 'more'}; "
        "--env NAME gives workers the variable that decides, such as OPENAI_BASE_URL"
    )


def _take_files(folder: Path, files: Sequence[str]) -> tuple[list[str], tuple[OutputFile, ...]]:
    """Remove the files that a row wrote below `folder`. Returns their names for the outcome, and their contents."""
    names, written = [], []
    for file in files:
        path = Path(file)
        if not path.is_relative_to(folder):
            names.append(file)
            continue
        name = str(path.relative_to(folder))
        names.append(name)
        with suppress(FileNotFoundError):  # already taken: two tasks wrote the same file
            written.append(OutputFile(name, path.read_bytes()))
            path.unlink()
    return names, tuple(written)
