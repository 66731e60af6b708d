"""`run_batch` and `arun_batch`: what `crewrun batch` does, as a function of a program."""

import asyncio
import os
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, Unpack

import anyio
import anyio.to_thread
import sniffio

from crewrun.aio.notebook import is_in_notebook, stoppable
from crewrun.aio.running_loop import is_in_loop
from crewrun.api.crews import definition_of, warn
from crewrun.api.keywords import in_keywords
from crewrun.api.places import SAME_CALL, command, default_output
from crewrun.api.progress import display_for, shows_report
from crewrun.api.run import Run
from crewrun.api.settings import Settings, check_names, checked, merged
from crewrun.api.thread import BatchThread, wait_heeding_signals
from crewrun.batch import run as batch_run
from crewrun.batch.garbage import seldom_collected
from crewrun.batch.interruption import Interruption
from crewrun.batch.invocation import BatchRequest, Invocation
from crewrun.batch.iterable_input import python_rows
from crewrun.batch.program_inputs import IterableInputs
from crewrun.batch.stop import StopReason
from crewrun.batch.summary import Report
from crewrun.batch.watchers import Display
from crewrun.cli.batch import report_end
from crewrun.cli.notify import Notice
from crewrun.errors import BatchFailed, UsageError
from crewrun.inspect.view import nearby
from crewrun.redaction.redactor import learn
from crewrun.redaction.values import environment_secrets
from crewrun.tracebacks import shorten

# Settings that say how a file is read.
_OF_FILES = frozenset({"format", "delimiter", "encoding", "sheet"})
_CANCELLED = StopReason("interrupted", "cancelled")


def run_batch(
    inputs: Any,
    crew: Any,
    output: str | os.PathLike[str] | None = None,
    *,
    check: bool = False,
    **settings: Unpack[Settings],
) -> Run:
    """Run a crew on every row of `inputs`, or go on where an earlier run with the same results stopped.

    Args:
        inputs: a table's path, as the command takes it, or rows: a list or another iterable of dicts, a DataFrame of
            pandas or polars, a table of Arrow, a `datasets.Dataset`. An iterator, such as a generator, is read once.
        crew: a crew, a flow, a function or class that makes one, or what `--crew` takes.
        output: the results file. Without one, a file has its results in the same folder, and other rows have theirs in
            a folder named after the crew.
        check: raise BatchFailed unless every row has succeeded, which is else said by `exit_code` and `stopped`.
        settings: the flags of `crewrun batch`, with `_` for `-`.

    Raises TypeError, UsageError, DefinitionError, RunHeld and JournalDamaged, mostly before anything is sent; what
    `inputs` raised, after the rows before that were run; OutputFailed when results cannot be written. Ctrl-C lets the
    rows in flight end, as in the command, then raises KeyboardInterrupt.
    """
    if is_in_loop() and not is_in_notebook():
        raise UsageError("run_batch() would block the running event loop; inside async code: await arun_batch(…)")
    if (wrong := check_names(settings, "run_batch")) is not None:
        raise wrong
    try:
        job = _prepared(inputs, crew, output, settings)
        report = wait_heeding_signals(BatchThread(job.run))
        if report is None:  # interrupted before its first row
            raise KeyboardInterrupt
        return job.ended(report, check=check)
    except (Exception, KeyboardInterrupt) as error:
        _say_in_keywords(error)
        shorten(error)
        raise


async def arun_batch(
    inputs: Any,
    crew: Any,
    output: str | os.PathLike[str] | None = None,
    *,
    check: bool = False,
    **settings: Unpack[Settings],
) -> Run:
    """As `run_batch`, in the running event loop; `inputs` may be an async iterable too.

    When it is cancelled, rows in flight are given up and the run is closed first, so that the same call goes on.
    """
    if (wrong := check_names(settings, "arun_batch")) is not None:
        raise wrong
    try:
        job = _prepared(inputs, crew, output, settings)
        _refuse_awaiting_elsewhere(job)
        with stoppable():
            report = await (_in_this_loop(job) if sniffio.current_async_library() == "asyncio" else _in_a_thread(job))
        return job.ended(report, check=check)
    except (Exception, asyncio.CancelledError) as error:
        _say_in_keywords(error)
        shorten(error)
        raise


@dataclass(frozen=True, slots=True)
class _Job:
    """A batch that can begin. `can_retry` says whether the command could run its rows again: it has them by name."""

    request: BatchRequest
    display: Display
    shows_report: bool
    can_retry: bool

    async def run(self, interruption: Interruption) -> Report:
        """Run it, and say how it went where the command says it: on a terminal, in files, in a notification."""
        settings = self.request.settings
        with Notice(settings.notify, self.request.invocation.inputs) as notice:
            notice.learn(self.request)
            with seldom_collected():
                report = await batch_run.run_batch(self.request, self.display, interruption)
            report = replace(report, can_retry=self.can_retry)
            shown = replace(self.request, settings=replace(settings, quiet=not self.shows_report))
            await anyio.to_thread.run_sync(report_end, report, shown, notice)
        return report

    def ended(self, report: Report, *, check: bool) -> Run:
        """The run, unless the program asked for an error. Raises what the program's rows raised, and BatchFailed."""
        run = Run._of_report(report)
        if report.gone:
            warn(_gone_in_words(run, report.gone))
        rows = self.request.rows
        if rows is not None and (failure := rows.rows.failure) is not None:
            failure.add_note(f"the rows before that have run; their results are in {run.output}")
            raise failure
        if run.exit_code == 1 or (check and run.exit_code):
            raise BatchFailed(run)
        return run


def _prepared(inputs: Any, crew: Any, output: Any, keywords: Mapping[str, Any]) -> _Job:
    learn(environment_secrets())
    values = checked({"output": output, **keywords})
    rows = _rows_of(inputs, values)
    definition = definition_of(crew, strict=bool(values.get("strict")), engine=values.get("engine"))
    is_named = isinstance(crew, str | os.PathLike)
    settings = merged(values, definition.batch)
    if settings.executor != "inline" and not is_named:
        raise UsageError("executor: workers elsewhere load the crew themselves; name it, as in crew='crew.py:crew'")
    if rows is not None:
        settings = replace(settings, format=None, delimiter=None, encoding=None, sheet=None)  # the project's defaults
        settings = replace(settings, output=settings.output or default_output(crew, definition, settings))
    words = command()
    invocation = Invocation(
        inputs=os.fspath(inputs) if rows is None else rows.name,
        crew=os.fspath(crew) if is_named else str(definition.path),
        command=words,
        resume_command=" ".join(SAME_CALL) if words == [*SAME_CALL] else None,
    )
    request = BatchRequest(invocation, definition, settings, 1, rows)
    return _Job(request, display_for(settings), shows_report(settings), can_retry=rows is None and is_named)


def _rows_of(inputs: Any, values: Mapping[str, Any]) -> IterableInputs | None:
    """The rows of the program, None for a path. Raises UsageError."""
    if isinstance(inputs, str | os.PathLike):
        if os.fspath(inputs) in ("-", "/dev/stdin"):
            raise UsageError("inputs='-': give the rows of standard input: (json.loads(line) for line in sys.stdin)")
        return None
    for name in _OF_FILES & values.keys():
        raise UsageError(f"{name}: says how a file is read, and these rows come from a Python program")
    return IterableInputs(python_rows(inputs))


def _say_in_keywords(error: BaseException) -> None:
    """Have an error about the batch say `budget` for `--budget`. What the program's own code raises stays as it is."""
    if isinstance(error, UsageError) and len(error.args) == 1:
        error.args = (in_keywords(str(error)),)


def _refuse_awaiting_elsewhere(job: _Job) -> None:
    rows = job.request.rows
    if rows is not None and rows.rows.is_async and sniffio.current_async_library() != "asyncio":
        raise UsageError(
            f"{rows.name}: would be awaited in a loop of asyncio's, not in this one; give a generator that is not async"
        )


def _gone_in_words(run: Run, gone: int) -> str:
    results = "1 result of an earlier call was" if gone == 1 else f"{gone:,} results of earlier calls were"
    return (
        f"{nearby(run.output or '')}: {results} removed, since their rows are not among these inputs. The journal has "
        "them: a call with those rows brings them back. Results of other rows go to an output= of their own"
    )


async def _in_this_loop(job: _Job) -> Report:
    """Run in a task that is not cancelled, and end it in an orderly way when this one is."""
    interruption, ended = Interruption(), anyio.Event()
    reports: list[Report] = []
    errors: list[Exception] = []

    async def work() -> None:
        try:
            with interruption.scope:
                reports.append(await job.run(interruption))
        except Exception as failed:
            errors.append(failed)
        finally:
            ended.set()

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(work)
        try:
            await ended.wait()
        except BaseException:
            interruption.now(_CANCELLED)
            raise  # the group waits for the task, which ends in its own time
    if errors:
        raise errors[0]
    return reports[0]


async def _in_a_thread(job: _Job) -> Report:
    """Run in a loop of asyncio's, which the journal needs."""
    thread = BatchThread(job.run)
    try:
        report = await anyio.to_thread.run_sync(thread.result.result, abandon_on_cancel=True)
    except anyio.get_cancelled_exc_class():
        thread.interrupt(_CANCELLED, at_once=True)
        with anyio.CancelScope(shield=True):
            await anyio.to_thread.run_sync(thread.result.exception)
        raise
    assert report is not None  # noqa: S101  (only cancelling it ends it without)
    return report
