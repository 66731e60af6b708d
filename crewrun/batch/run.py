"""One batch, put together: everything that can be wrong is found first, then a session of the run begins."""

import signal
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, AsyncExitStack, ExitStack, asynccontextmanager
from dataclasses import replace
from datetime import datetime
from functools import partial
from pathlib import Path

import anyio

from crewrun.aio import threads
from crewrun.batch.canary import Canary, draw
from crewrun.batch.changed import take_out_changed
from crewrun.batch.first_row import FirstRowFailed, first_crew
from crewrun.batch.foreign import check_holds
from crewrun.batch.history import NoHistory
from crewrun.batch.opening import Invocation, endpoints_in_words, make_gateway, own_files_of, state_options
from crewrun.batch.preflight import (
    check_not_input,
    check_output,
    check_priced,
    check_rows,
    check_sortable,
    check_summary,
    is_pipe,
    moved_files,
    open_budget,
    output_path,
    real_path,
    reserve_descriptors,
    rows_opener,
    run_folder,
    spooled,
    unused_names,
)
from crewrun.batch.session import Display, Report, Session
from crewrun.batch.settings import BatchSettings
from crewrun.batch.source import Source
from crewrun.batch.stop import SIGNALS
from crewrun.definitions.definition import Definition
from crewrun.errors import CrewrunError
from crewrun.executors import Executor, find_executor
from crewrun.executors.run_spec import RunSpec
from crewrun.library_warnings import written_by
from crewrun.limits.limiter import LocalLimiters
from crewrun.llm.cache import AnswerCache
from crewrun.llm.capabilities import as_json, in_words
from crewrun.llm.gateway import Gateway
from crewrun.llm.request_identity import describe_endpoint
from crewrun.messages import Endpoint
from crewrun.run_files import FILES_SUFFIX, UNNAMED
from crewrun.runs.opening import Opened, open_state
from crewrun.runs.state import RunState
from crewrun.target import Target
from crewrun.terminal import say_all
from crewrun.worker import Worker, check_models, check_tools, model_hints


async def run_batch(
    invocation: Invocation, definition: Definition, settings: BatchSettings, stdout_fd: int, display: Display
) -> Report:
    """Run `definition` over the inputs. Raises UsageError, DefinitionError, RunHeld and JournalDamaged, all of them
    before the first call.

    `stdout_fd` is where results go when no file is named.
    """
    inputs = invocation.inputs
    settings.check()
    open_executor = find_executor(settings.executor)
    deadline_s = settings.deadline_s(datetime.now().astimezone())
    limiters = LocalLimiters(settings.limiter, deadline_s)
    output = output_path(inputs, settings.output, settings.part)
    check_sortable(output, settings)
    folder = run_folder(output, settings)
    # Sync tools and callbacks wait in threads: a row must not wait for another row's.
    threads.pool.max_threads = max(threads.pool.max_threads, settings.rows_at_once)
    async with AsyncExitStack() as places:
        files = places.enter_context(ExitStack())
        cache = AnswerCache.open(settings.cache, settings.cache_bytes) if settings.cache else None
        if cache is not None:
            files.callback(cache.close)
        gateway = make_gateway(settings, limiters, cache)
        endpoints = await _checked_models(definition.target, gateway, settings)
        check_not_input(inputs, output, stdout_fd)
        if settings.summary:
            check_summary(settings.summary, inputs, output)
        has_named = bool(settings.id_field and folder and folder.is_used and invocation.only is None)
        readable = spooled(inputs, files) if settings.strict or settings.canary or has_named else inputs
        open_rows = rows_opener(readable, settings)
        await _check_rows(inputs, readable, open_rows, definition.target, gateway, settings)
        source = open_rows()
        check_output(output)
        files.callback(source.release)
        opened = None
        if folder is not None:
            options = await state_options(invocation, definition, settings, folder, real_path(output), endpoints)
            opened = await open_state(options)
            files.enter_context(written_by(opened.state.warned))
            gateway.refused.update(opened.state.refused)
            await _acquaint(limiters, opened.state)
            if has_named and opened.state.results.has_earlier_lines:
                await take_out_changed(open_rows(), opened.state)
        if settings.budget_usd is not None:
            state = opened.state if opened else None
            limiters.budget = await open_budget(settings.budget_usd, state, endpoints, gateway)
        job = _job(invocation, definition, settings, gateway, limiters, opened, cache, output, endpoints, stdout_fd)
        executor = await places.enter_async_context(_closing(opened, open_executor(job)))
        # From here on a signal asks for an orderly end; before there was nothing to put in order.
        signals = files.enter_context(anyio.open_signal_receiver(*_heeded()))
        is_due = (opened.state if opened else NoHistory(settings.part)).is_due
        drawn = await draw(open_rows(), settings.canary, is_due) if settings.canary else None
        canary = Canary(drawn, settings.rows_at_once) if drawn is not None else None
        reopen = None if is_pipe(readable) else open_rows
        session = Session(source, opened, settings, display, limiters, deadline_s, canary, reopen)
        display.start()
        report = await session.run(executor, output, stdout_fd, signals, definition.target.uncounted_reason)
        return _with_notes(report, gateway, cache)


async def _acquaint(limiters: LocalLimiters, state: RunState) -> None:
    """Tell the limiters what earlier sessions learned, and where to keep what they learn."""
    limiters.has_answered = state.has_calls
    limiters.bounds = await state.accounts.bounds()
    limiters.journal_bounds = state.accounts.write_bounds
    limiters.unknown_bills.journal = state.accounts.write_owed


def _with_notes(report: Report, gateway: Gateway, cache: AnswerCache | None) -> Report:
    """`report` with what models turned out not to take, and what the cache has to say."""
    refused = sorted(gateway.refused)
    words = {endpoint: endpoints_in_words([endpoint]) for endpoint, _ in refused}
    notes = [f"{words[endpoint]} {in_words(what)}" for endpoint, what in refused]
    not_taken: list[dict[str, str]] = []
    for endpoint, what in refused:
        entry = as_json(words[endpoint], what)
        not_taken += [entry] if entry not in not_taken else []
    summary = {**report.summary, "not_taken": not_taken}
    notes = [*report.notes, *dict.fromkeys(notes), *(cache.notes() if cache is not None else ())]
    return replace(report, summary=summary, notes=notes)


@asynccontextmanager
async def _closing(opened: Opened | None, opening: AbstractAsyncContextManager[Executor]) -> AsyncIterator[Executor]:
    """Open an executor; when there can be none, the session ends before its first row."""
    async with AsyncExitStack() as place:
        try:
            executor = await place.enter_async_context(opening)
        except CrewrunError as failed:
            if opened is not None:
                await opened.state.close(str(failed), failed.exit_code, 0)
            raise
        yield executor


async def _checked_models(target: Target, gateway: Gateway, settings: BatchSettings) -> list[Endpoint]:
    """Where the calls go. Raises UsageError where that, or what was asked for it, cannot be."""
    check_holds(settings, target)
    endpoints = await check_models(target, gateway, keys=settings.is_here and not settings.replay)
    missing = check_tools(target, endpoints, refuses=settings.is_here and settings.checks_tool_keys)
    check_priced(settings.flag_that_needs_prices, target, endpoints, gateway)
    hints = [f"warning: {hint}" for hint in model_hints(endpoints)]
    for warning in [*missing, *hints, *unused_names(settings, target, endpoints), *moved_files(target)]:
        _say(settings, warning)
    if settings.is_here:
        reserve_descriptors(settings.rows_at_once, endpoints)
    return endpoints


async def _check_rows(
    inputs: str,
    readable: str,
    open_rows: Callable[[], Source],
    target: Target,
    gateway: Gateway,
    settings: BatchSettings,
) -> None:
    """What rows tell before they run: with --strict all of them, and the first one what crew is made for it.

    Raises UsageError and DefinitionError.
    """
    if settings.strict:
        await check_rows(inputs, open_rows(), Worker(target, gateway), settings.part)
    try:
        crew = None if is_pipe(readable) else await first_crew(target, open_rows)
    except FirstRowFailed:  # as its result will say
        return
    if crew is not None:
        await _checked_models(crew, gateway, settings)


def _say(settings: BatchSettings, what: str) -> None:
    if not settings.quiet:
        say_all(what.split("\n"))


def _job(
    invocation: Invocation,
    definition: Definition,
    settings: BatchSettings,
    gateway: Gateway,
    limiters: LocalLimiters,
    opened: Opened | None,
    cache: AnswerCache | None,
    output: str | None,
    endpoints: list[Endpoint],
    stdout_fd: int,
) -> RunSpec:
    """What the executor is given."""
    state = opened.state if opened else None
    files = Path(f"{output or UNNAMED}{FILES_SUFFIX}")
    own_files = own_files_of(invocation, definition, settings, output, stdout_fd).keeping(files)
    return RunSpec(
        worker=Worker(definition.target, gateway, settings.row_timeout, files, state, own_files),
        definition=definition,
        crew=invocation.crew,
        engine=settings.engine,
        options=gateway.options,
        row_timeout_s=settings.row_timeout,
        max_rows=settings.rows_at_once,
        limiters=limiters,
        recorders=state,
        cache=cache,
        files=files,
        excluded=[Path(file) for file in sorted(own_files.private | own_files.inputs)],
        own_files=own_files,
        endpoints=tuple(describe_endpoint(endpoint) for endpoint in endpoints),
        refused=gateway.refused,
        checks_keys=not settings.replay,
        checks_tool_keys=settings.checks_tool_keys,
        tells_prompts=settings.log_prompts,
        workers=settings.worker_options,
        say=partial(_say, settings),
    )


def _heeded() -> list[signal.Signals]:
    """The signals to obey: not those that whoever started us, such as nohup, wants ignored."""
    return [number for number in SIGNALS if signal.getsignal(number) is not signal.SIG_IGN]
