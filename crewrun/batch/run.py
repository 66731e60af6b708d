"""One batch, put together: everything that can be wrong is found first, then the engine runs, then the summary."""

import signal
from collections.abc import AsyncIterator, Callable
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import anyio

from crewrun import threads
from crewrun.batch.engine import Engine, EngineOptions
from crewrun.batch.preflight import (
    check_not_input,
    check_rows,
    check_summary,
    output_path,
    reserve_descriptors,
    spooled,
)
from crewrun.batch.progress import Progress
from crewrun.batch.settings import BatchSettings
from crewrun.batch.sink import FileSink, Sink, StreamSink
from crewrun.batch.source import Source, open_source
from crewrun.batch.stop import Stop, StopReason
from crewrun.batch.summary import summarise
from crewrun.definitions.definition import Definition
from crewrun.errors import OutputFailed
from crewrun.executors.inline import InlineExecutor
from crewrun.llm.gateway import Gateway, GatewayOptions
from crewrun.llm.retry import RetryPolicy
from crewrun.worker import Worker, check_models

_STOPS = {
    signal.SIGINT: StopReason("interrupted", "interrupted"),
    signal.SIGTERM: StopReason("terminated", "terminated"),
}


class Display(Protocol):
    """Shows progress while a run goes on."""

    interval_s: float

    def start(self) -> None: ...

    def update(self, progress: Progress, share: float | None) -> None: ...

    def stop(self) -> None: ...


@dataclass(frozen=True, slots=True)
class Report:
    """How a run ended. `output` is where the results are, None for standard output."""

    summary: dict[str, Any]
    stop: StopReason | None
    output: str | None
    replaces: str | None

    @property
    def exit_code(self) -> int:
        """The code that the command ends with."""
        code: int = self.summary["exit_code"]
        return code


async def run_batch(
    inputs: str, definition: Definition, settings: BatchSettings, stdout_fd: int, display: Display
) -> Report:
    """Run `definition` over `inputs`. Raises UsageError or DefinitionError, both before the first call.

    `stdout_fd` is where results go when no file is named.
    """
    failure_limit = settings.failure_limit
    gateway = Gateway(
        GatewayOptions(
            retry=RetryPolicy(retries=settings.retries),
            call_timeout_s=settings.call_timeout,
            model=settings.model,
            base_url=settings.base_url,
        )
    )
    output = output_path(inputs, settings.output)
    worker = Worker(definition.target, gateway, settings.row_timeout, Path(f"{output or 'crewrun'}.files"))
    # Sync tools and callbacks wait in threads: a row must not wait for another row's.
    threads.pool.max_threads = max(threads.pool.max_threads, settings.max_concurrent)
    with ExitStack() as files:
        endpoints = await check_models(definition.target, gateway)
        reserve_descriptors(settings.max_concurrent, endpoints)
        check_not_input(inputs, output, stdout_fd)
        if settings.summary:
            check_summary(settings.summary, inputs, output)
        readable = inputs
        if settings.strict:
            readable = spooled(inputs, files)
            await check_rows(inputs, open_source(readable, offset=settings.offset, limit=settings.limit), worker)
        source = open_source(readable, offset=settings.offset, limit=settings.limit)
        files.callback(source.release)
        # From here on a signal asks for an orderly end; before there was nothing to put in order.
        signals = files.enter_context(anyio.open_signal_receiver(*_STOPS))
        sink = FileSink(Path(output), overwrite=settings.overwrite) if output else StreamSink(stdout_fd)
        options = EngineOptions(
            max_concurrent=settings.max_concurrent,
            ordered=settings.ordered,
            first=settings.offset,
            failure_limit=failure_limit,
            grace_s=settings.grace,
        )
        display.start()
        async with worker:
            not_counted = getattr(definition.target, "account", None)
            return await _run(source, InlineExecutor(worker), sink, options, display, signals, not_counted)


async def _run(
    source: Source,
    executor: InlineExecutor,
    sink: Sink,
    options: EngineOptions,
    display: Display,
    signals: AsyncIterator[signal.Signals],
    not_counted: str | None,
) -> Report:
    progress, stop = Progress(), Stop()
    error: OutputFailed | None = None
    engine = Engine(source, executor, sink, progress, stop, options)
    async with anyio.create_task_group() as beside:
        beside.start_soon(_obey_signals, signals, stop)
        beside.start_soon(_show, display, progress, source)
        try:
            await engine.run()
            sink.commit(complete=stop.reason is None)
        except OutputFailed as failed:
            error = failed
        finally:
            beside.cancel_scope.cancel()
            display.update(progress, progress.share(source.fraction))
            display.stop()
    code = 1 if error else stop.reason.exit_code if stop.reason else 3 if progress.failed or progress.abandoned else 0
    path, replaces = (str(sink.writes_to), sink.replaces) if isinstance(sink, FileSink) else (None, None)
    summary = summarise(
        progress,
        output=path,
        stop=stop.reason,
        exit_code=code,
        error=str(error) if error else None,
        not_counted=not_counted,
    )
    return Report(summary, stop.reason, path, replaces)


async def _show(display: Display, progress: Progress, source: Source) -> None:
    while True:
        await anyio.sleep(display.interval_s)
        display.update(progress, progress.share(source.fraction))


async def _obey_signals(signals: AsyncIterator[signal.Signals], stop: Stop) -> None:
    """The first signal asks for a stop, the second one does not wait."""
    turn: Callable[[StopReason], None] = stop.request
    async for number in signals:
        turn(_STOPS[number])
        turn = stop.now
