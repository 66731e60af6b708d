"""One batch, put together: everything that can be wrong is found first, then the engine runs, then the summary."""

import os
import signal
from collections.abc import AsyncIterator, Callable
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Protocol

import anyio
import anyio.to_thread

from crewrun import threads
from crewrun.batch.engine import Engine, EngineOptions
from crewrun.batch.history import NoHistory
from crewrun.batch.preflight import (
    check_not_input,
    check_output,
    check_rows,
    check_summary,
    is_pipe,
    output_path,
    real_path,
    reserve_descriptors,
    run_folder,
    spooled,
)
from crewrun.batch.progress import Progress
from crewrun.batch.settings import BatchSettings
from crewrun.batch.sink import FileSink, Sink, StreamSink
from crewrun.batch.source import Source, open_source
from crewrun.batch.stop import Stop, StopReason
from crewrun.batch.summary import summarise
from crewrun.crew.crew import Crew
from crewrun.definitions.definition import Definition
from crewrun.errors import Category, OutputFailed, redact
from crewrun.executors.inline import InlineExecutor
from crewrun.fingerprint import fingerprint
from crewrun.llm.gateway import Gateway, GatewayOptions
from crewrun.llm.recorder import describe_endpoint
from crewrun.llm.retry import RetryPolicy
from crewrun.messages import Endpoint
from crewrun.runs.folder import RunFolder
from crewrun.runs.manifest import Manifest, digest_of, options_of, texts_of
from crewrun.runs.state import Opened, RunState, StateOptions, open_state
from crewrun.runs.writer import Heartbeat
from crewrun.worker import Worker, check_models

_STOPS = {
    signal.SIGINT: StopReason("interrupted", "interrupted"),
    signal.SIGTERM: StopReason("terminated", "terminated"),
    signal.SIGHUP: StopReason("hung up", "hung up"),
}
_HEARTBEAT_S = 1.0


class Display(Protocol):
    """Shows progress while a run goes on."""

    interval_s: float

    def start(self) -> None: ...

    def update(self, progress: Progress, share: float | None) -> None: ...

    def stop(self) -> None: ...


@dataclass(frozen=True, slots=True)
class Invocation:
    """What the user asked for: `inputs` and `crew` as they were named, and the words of the command.

    `only` redoes the rows that failed so, and runs no others.
    """

    inputs: str
    crew: str
    command: list[str]
    only: Category | None = None


@dataclass(frozen=True, slots=True)
class Report:
    """How a run ended. `output` is where the results are, None for standard output; `folder` the run's state, if any.

    `aside` is where --fresh moved what was there before; `lost` results were not in the journal, and `gone` rows are
    not in the input any more.
    """

    summary: dict[str, Any]
    stop: StopReason | None
    output: str | None
    folder: str | None = None
    aside: str | None = None
    lost: int = 0
    gone: int = 0

    @property
    def exit_code(self) -> int:
        """The code that the command ends with."""
        code: int = self.summary["exit_code"]
        return code


async def run_batch(
    invocation: Invocation, definition: Definition, settings: BatchSettings, stdout_fd: int, display: Display
) -> Report:
    """Run `definition` over the inputs. Raises UsageError, DefinitionError, RunHeld and JournalDamaged, all of them
    before the first call.

    `stdout_fd` is where results go when no file is named.
    """
    inputs = invocation.inputs
    settings.check()
    gateway = Gateway(
        GatewayOptions(
            retry=RetryPolicy(retries=settings.retries),
            call_timeout_s=settings.call_timeout,
            model=settings.model,
            base_url=settings.base_url,
            replay_only=settings.replay,
        )
    )
    output = output_path(inputs, settings.output)
    folder = run_folder(output, settings)
    # Sync tools and callbacks wait in threads: a row must not wait for another row's.
    threads.pool.max_threads = max(threads.pool.max_threads, settings.max_concurrent)
    with ExitStack() as files:
        endpoints = await check_models(definition.target, gateway, keys=not settings.replay)
        reserve_descriptors(settings.max_concurrent, endpoints)
        check_not_input(inputs, output, stdout_fd)
        if settings.summary:
            check_summary(settings.summary, inputs, output)
        readable = spooled(inputs, files) if settings.strict else inputs
        open_rows = partial(
            open_source, readable, offset=settings.offset, limit=settings.limit, id_field=settings.id_field
        )
        if settings.strict:
            await check_rows(inputs, open_rows(), Worker(definition.target, gateway))
        source = open_rows()
        check_output(output)
        files.callback(source.release)
        opened = None
        if folder is not None:
            options = await _state_options(invocation, definition, settings, folder, real_path(output), endpoints)
            opened = await open_state(options)
            gateway.refused |= opened.state.refused
        # From here on a signal asks for an orderly end; before there was nothing to put in order.
        signals = files.enter_context(anyio.open_signal_receiver(*_heeded()))
        batch = _Batch(source, opened, settings, display)
        worker = Worker(
            definition.target,
            gateway,
            settings.row_timeout,
            Path(f"{output or 'crewrun'}.files"),
            memory=opened.state if opened else None,
        )
        display.start()
        async with worker:
            account = getattr(definition.target, "account", None)
            return await batch.run(InlineExecutor(worker), output, stdout_fd, signals, account)


def _is_secret(value: Any) -> bool:
    """Whether it has a password in it: a retry gets that from the environment again."""
    return isinstance(value, str) and redact(value) != value


def _heeded() -> list[signal.Signals]:
    """The signals to obey: not those that whoever started us, such as nohup, wants ignored."""
    return [number for number in _STOPS if signal.getsignal(number) is not signal.SIG_IGN]


async def _state_options(
    invocation: Invocation,
    definition: Definition,
    settings: BatchSettings,
    folder: RunFolder,
    output: Path | None,
    endpoints: list[Endpoint],
) -> StateOptions:
    inputs = invocation.inputs
    digest = None if is_pipe(inputs) else await anyio.to_thread.run_sync(digest_of, Path(inputs))
    texts = {name: redact(text) for name, text in texts_of(definition.path).items()}
    crew = definition.target
    # What other code than ours will do is known by its text only.
    what = fingerprint(crew) if isinstance(crew, Crew) else fingerprint(texts)
    manifest = Manifest(
        inputs=inputs,
        crew=invocation.crew,
        output=str(output) if output else None,
        cwd=os.getcwd(),
        command=[redact(word) for word in invocation.command],
        options={name: value for name, value in options_of(settings, BatchSettings()).items() if not _is_secret(value)},
        definition={"kind": definition.kind, "fingerprint": what, "texts": texts},
        input_digest=digest,
    )
    return StateOptions(
        folder=folder,
        output=output,
        manifest=manifest,
        definition=fingerprint([what, sorted(describe_endpoint(endpoint) for endpoint in endpoints)]),
        fresh=settings.fresh,
        lock=settings.lock,
        aside=(Path(f"{output}.files"),) if output else (),
        only=invocation.only,
        log_prompts=settings.log_prompts,
    )


class _Batch:
    """The part of a run between its first row and its summary."""

    def __init__(
        self,
        source: Source,
        opened: Opened | None,
        settings: BatchSettings,
        display: Display,
    ) -> None:
        self._source = source
        self._opened = opened
        self._settings = settings
        self._display = display
        self._progress, self._stop = Progress(), Stop()
        self._history: RunState | NoHistory = opened.state if opened else NoHistory()

    async def run(
        self,
        executor: InlineExecutor,
        output: str | None,
        stdout_fd: int,
        signals: AsyncIterator[signal.Signals],
        not_counted: str | None,
    ) -> Report:
        """Run the rows and bring everything to its end."""
        settings, progress, stop = self._settings, self._progress, self._stop
        path = real_path(output)
        sink: Sink = FileSink(path) if path else StreamSink(stdout_fd)
        options = EngineOptions(
            max_concurrent=settings.max_concurrent,
            ordered=settings.ordered,
            first=settings.offset,
            failure_limit=settings.failure_limit,
            grace_s=settings.grace,
        )
        engine = Engine(self._source, executor, self._history, sink, progress, stop, options)
        error: OutputFailed | None = None
        gone = 0
        async with anyio.create_task_group() as beside:
            beside.start_soon(_obey_signals, signals, stop)
            beside.start_soon(self._show)
            beside.start_soon(self._beat)
            try:
                await engine.run()
            except OutputFailed as failed:
                error = failed
            finally:
                beside.cancel_scope.cancel()
                self._display.update(progress, progress.share(self._source.fraction))
                self._display.stop()
        reason = stop.reason
        if reason is not None and reason.is_signal and engine.is_complete and error is None:
            reason = None  # all that was asked for is done: the result says how the run ended
        try:
            sink.close()
            if error is None:
                whole = reason is None and self._source.is_whole
                gone = await anyio.to_thread.run_sync(
                    partial(self._history.arrange, complete=whole, ordered=settings.ordered)
                )
        except OutputFailed as failed:
            error = error or failed
        code = _exit_code(progress, reason, error)
        in_all, error = await self._end(reason, code, error)
        summary = summarise(
            progress,
            output=output,
            stop=reason,
            exit_code=1 if error else code,
            error=str(error) if error else None,
            not_counted=not_counted,
            in_all=in_all,
        )
        opened = self._opened
        return Report(
            summary=summary,
            stop=reason,
            output=output,
            folder=str(opened.state.path) if opened else None,
            aside=str(opened.aside) if opened and opened.aside else None,
            lost=opened.lost if opened else 0,
            gone=gone,
        )

    async def _end(
        self, reason: StopReason | None, code: int, error: OutputFailed | None
    ) -> tuple[dict[str, Any] | None, OutputFailed | None]:
        """Close the run's state; what all its sessions spent, and what went wrong with it."""
        in_all = None
        try:
            if error is None:
                in_all = await self._history.in_all()
        except OutputFailed as failed:
            error = failed
        why = str(error) if error else reason.why if reason else None
        try:
            await self._history.close(why, 1 if error else code)
        except OutputFailed as failed:
            error = error or failed
        return in_all, error

    async def _show(self) -> None:
        while True:
            await anyio.sleep(self._display.interval_s)
            self._display.update(self._progress, self._progress.share(self._source.fraction))

    async def _beat(self) -> None:
        progress = self._progress
        while True:
            share = progress.share(self._source.fraction)
            self._history.heartbeat(Heartbeat(progress.in_flight, progress.kept, share, progress.elapsed_s))
            await anyio.sleep(_HEARTBEAT_S)


def _exit_code(progress: Progress, reason: StopReason | None, error: OutputFailed | None) -> int:
    if error is not None:
        return 1
    if reason is not None:
        return reason.exit_code
    return 3 if progress.failed or progress.kept_failed or progress.pending or progress.abandoned else 0


async def _obey_signals(signals: AsyncIterator[signal.Signals], stop: Stop) -> None:
    """The first signal asks for a stop, the second one does not wait. The third ends the process: code of the user's
    that cannot be cancelled may keep the second from its end, and the journal stands a sudden death.
    """
    turns: list[Callable[[StopReason], None]] = [stop.request, stop.now]
    async for number in signals:
        if not turns:
            os._exit(_STOPS[number].exit_code)
        turns.pop(0)(_STOPS[number])
