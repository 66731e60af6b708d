"""One batch, put together: everything that can be wrong is found first, then the engine runs, then the summary."""

import json
import os
import resource
import shutil
import signal
import stat
import tempfile
from collections.abc import AsyncIterator, Callable
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import anyio

from crewrun.batch.engine import Engine, EngineOptions
from crewrun.batch.progress import Progress
from crewrun.batch.settings import BatchSettings
from crewrun.batch.sink import FileSink, Sink, StreamSink, partial_path
from crewrun.batch.source import STDIN, Source, open_source
from crewrun.batch.stop import Stop, StopReason
from crewrun.batch.summary import summarise
from crewrun.definitions.definition import Definition
from crewrun.errors import OutputFailed, UsageError
from crewrun.executors.inline import InlineExecutor
from crewrun.llm.gateway import Gateway, GatewayOptions
from crewrun.llm.retry import RetryPolicy
from crewrun.messages import Endpoint
from crewrun.worker import Worker, check_models

_STRICT_EXAMPLES = 20
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
    worker = Worker(definition.target, gateway, settings.row_timeout)
    with ExitStack() as files:
        endpoints = await check_models(definition.target, gateway)
        _reserve_descriptors(settings.max_concurrent, endpoints)
        output = output_path(inputs, settings.output)
        _check_not_input(inputs, output, stdout_fd)
        if settings.summary:
            _check_summary(settings.summary, inputs, output)
        readable = inputs
        if settings.strict:
            readable = _spooled(inputs, files)
            await _check_rows(inputs, open_source(readable, offset=settings.offset, limit=settings.limit), worker)
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
            return await _run(source, InlineExecutor(worker), sink, options, display, signals)


async def _run(
    source: Source,
    executor: InlineExecutor,
    sink: Sink,
    options: EngineOptions,
    display: Display,
    signals: AsyncIterator[signal.Signals],
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
    code = 1 if error else stop.reason.exit_code if stop.reason else 3 if progress.failed else 0
    path, replaces = (str(sink.writes_to), sink.replaces) if isinstance(sink, FileSink) else (None, None)
    summary = summarise(progress, output=path, stop=stop.reason, exit_code=code, error=str(error) if error else None)
    return Report(summary, stop.reason, path, replaces)


def output_path(inputs: str, output: str | None) -> str | None:
    """The results file, None for standard output: as gzip does it, a file beside a file, a stream for a stream."""
    if output == STDIN or (output is None and _is_pipe(inputs)):
        return None
    if output is not None:
        if output.endswith(".gz"):
            raise UsageError(f"-o {output}: results are written as plain JSONL; compress them afterwards")
        return output
    stem = inputs
    for suffix in (".gz", ".jsonl", ".ndjson", ".json", ".csv"):
        stem = stem.removesuffix(suffix)
    return f"{stem}.results.jsonl"


def write_summary(path: str, summary: dict[str, Any]) -> None:
    """Write `summary` to `path` as JSON, whole or not at all. Raises OutputFailed."""
    target = Path(path)
    try:
        if target.exists() and not target.is_file():
            target.write_text(json.dumps(summary, indent=2) + "\n", encoding="utf-8")
            return
        text = json.dumps(summary, indent=2) + "\n"
        part = target.with_name(f".{target.name}.{os.getpid()}")
        try:
            part.write_text(text, encoding="utf-8")
            part.replace(target)
        finally:
            part.unlink(missing_ok=True)
    except OSError as refused:
        raise OutputFailed(f"--summary {path}: cannot be written: {refused.strerror}") from refused


def _spooled(inputs: str, files: ExitStack) -> str:
    """`inputs` as a file that can be read twice: what is a pipe is copied to one."""
    if not _is_pipe(inputs):
        return inputs
    suffix = ".jsonl" if inputs == STDIN else "".join(Path(inputs).suffixes)
    copy = files.enter_context(tempfile.NamedTemporaryFile(suffix=suffix))  # noqa: SIM115  (closed with files)
    with os.fdopen(os.dup(0), "rb") if inputs == STDIN else open(inputs, "rb") as pipe:
        shutil.copyfileobj(pipe, copy)
    copy.flush()
    return copy.name


def _is_pipe(inputs: str) -> bool:
    """Whether rows come from standard input, a FIFO or a process substitution, and not from a file on disk."""
    return inputs == STDIN or (os.path.exists(inputs) and not os.path.isfile(inputs) and not os.path.isdir(inputs))


async def _check_rows(name: str, source: Source, worker: Worker) -> None:
    """`--strict`: read the whole input first. Raises UsageError with the first problems."""
    problems: list[str] = []
    count = 0
    try:
        async with anyio.create_task_group() as reading:
            reading.start_soon(source.fill)
            while row := await source.read():
                if problem := worker.problem(row):
                    count += 1
                    problems += [problem] if len(problems) < _STRICT_EXAMPLES else []
    finally:
        source.release()
    if problems:
        more = f"\n… and {count - len(problems)} more" if count > len(problems) else ""
        listed = "\n".join(problems)
        raise UsageError(f"{name}: {count} rows cannot be run (--strict); nothing was sent\n{listed}{more}")


def _check_not_input(inputs: str, output: str | None, stdout_fd: int) -> None:
    """Raise UsageError when results would be written into the input."""
    try:
        source = os.fstat(0) if inputs == STDIN else os.stat(inputs)
    except OSError:
        return  # opening it says so better
    targets = [output, str(partial_path(Path(output)))] if output is not None else [stdout_fd]
    for target in targets:
        try:
            same = stat.S_ISREG(source.st_mode) and os.path.samestat(source, os.stat(target))
        except OSError:
            continue
        if same:
            raise UsageError(f"{output or 'standard output'}: is the input file itself; name another with -o")


def _check_summary(summary: str, inputs: str, output: str | None) -> None:
    """Raise UsageError when the summary could not be written, or would take the place of the rows."""
    path = Path(summary)
    if summary == STDIN:
        raise UsageError("--summary -: standard output is for result lines; name a file, or /dev/stderr")
    if path.is_dir() or not os.access(path if path.exists() else path.parent, os.W_OK):
        raise UsageError(f"--summary {summary}: cannot be written there")
    if any(other and path.resolve() == Path(other).resolve() for other in (inputs, output)):
        raise UsageError(f"--summary {summary}: is the file of the rows; name another")


def _reserve_descriptors(max_concurrent: int, endpoints: list[Endpoint]) -> None:
    """Make room for a socket per row in flight. Raises UsageError when the system does not allow as many."""
    if all(endpoint.lane == "offline" for endpoint in endpoints):
        return
    needed = max_concurrent + 64
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft == resource.RLIM_INFINITY or soft >= needed:
        return
    if hard != resource.RLIM_INFINITY and hard < needed:
        raise UsageError(
            f"-j {max_concurrent} needs {needed} open files and the system allows {hard}; "
            f"use -j {max(1, hard - 64)} or raise the limit (ulimit -Hn)"
        )
    resource.setrlimit(resource.RLIMIT_NOFILE, (needed, hard))


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
