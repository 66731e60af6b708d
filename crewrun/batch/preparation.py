"""Everything before the first row of a batch, in five steps. Errors that can be found before the first call are.

    read_settings → locate → check_calls → check_inputs → open_run

Each step returns a value that later steps need; together they are a `PreparedRun`, of which `run` makes a session. The
individual checks are in `preflight` and `locations`.
"""

import shlex
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from datetime import datetime

from crewrun.aio import threads
from crewrun.batch.definition_records import PreviousRun, previous_run
from crewrun.batch.first_crew import FirstCrewFailed, first_crew
from crewrun.batch.first_rows import read_first_rows, warnings_about
from crewrun.batch.history import History, NoHistory
from crewrun.batch.invocation import BatchRequest
from crewrun.batch.jobs import check_detach, check_jobs, uses_jobs, warning_of_fresh, warning_of_jobs
from crewrun.batch.locations import (
    Places,
    check_not_input,
    check_output,
    check_sortable,
    check_summary,
    output_path,
    run_folder,
)
from crewrun.batch.mcp_servers import has_work, open_servers
from crewrun.batch.output_layout import check_terminal, plain_note, table_of
from crewrun.batch.page_path import check_report
from crewrun.batch.preflight import (
    check_priced,
    check_rows,
    input_notes,
    make_gateway,
    moved_files,
    open_budget,
    reserve_descriptors,
    unused_names,
)
from crewrun.batch.repeat import Repeat
from crewrun.batch.resume import say_repeat
from crewrun.batch.run_state import closed_on_failure, state_options
from crewrun.batch.settings import BatchSettings
from crewrun.batch.source import Source
from crewrun.batch.unsupported import check_supported
from crewrun.executors import Opener, find_executor
from crewrun.inspect.view import nearby
from crewrun.library_warnings import written_by
from crewrun.limits.local_limiters import LocalLimiters
from crewrun.llm.cache import AnswerCache
from crewrun.llm.gateway import Gateway
from crewrun.messages import Endpoint
from crewrun.runs.manifest import Manifest
from crewrun.runs.opening import Opened, open_state
from crewrun.runs.state import RunState, StateOptions
from crewrun.target import Target
from crewrun.tools.shared_calls import SharedCalls
from crewrun.worker import Worker, check_models, check_tools, model_hints


@dataclass(frozen=True, slots=True)
class BatchOptions:
    """What the settings ask for, parsed. `deadline_s` is the time that is left, None without --deadline."""

    open_executor: Opener
    limiters: LocalLimiters
    deadline_s: float | None


@dataclass(frozen=True, slots=True)
class Calls:
    """How models are called, and which: `endpoints` are the crew's, as far as they are known before it runs. With
    `in_jobs`, calls go in batch jobs. `shared` are calls of tools that rows here have in common.
    """

    limiters: LocalLimiters
    gateway: Gateway
    cache: AnswerCache | None
    endpoints: list[Endpoint]
    in_jobs: bool = False
    shared: SharedCalls = field(default_factory=SharedCalls)


@dataclass(frozen=True, slots=True)
class Rows:
    """The rows of the input. `open_again` opens the input from its start, by default with the same `offset` and
    `limit`, unless it `is_once`. With `may_change` rows have ids from a field, and one may have changed. `target` is
    what they run, or where each makes its own crew, that of the first row.
    """

    source: Source
    open_again: Callable[..., Source]
    is_once: bool
    may_change: bool
    target: Target


@dataclass(frozen=True, slots=True)
class PreparedRun:
    """A run that can begin. `opened` is its state, None when results go to a stream and there is no --run-dir; `repeat`
    says what it does with the rows of earlier sessions, None when no row has ended before.
    """

    request: BatchRequest
    options: BatchOptions
    places: Places
    calls: Calls
    rows: Rows
    opened: Opened | None
    repeat: Repeat | None

    @property
    def state(self) -> RunState | None:
        """The run's state, if it has one."""
        return self.opened.state if self.opened else None

    @property
    def rows_at_once(self) -> int:
        """The largest number of rows at once. Those that wait for batch jobs are a wave, for which -j does not hold."""
        settings = self.request.settings
        return settings.wave if self.calls.in_jobs else settings.rows_at_once

    @property
    def history(self) -> History:
        """What is known of rows from earlier sessions."""
        return self.state or NoHistory(self.request.settings.part)


async def prepare(request: BatchRequest, resources: ExitStack) -> PreparedRun:
    """Take all five steps. `resources` closes what they open.

    Raises UsageError, DefinitionError, RunHeld and JournalDamaged.
    """
    options = read_settings(request.settings)
    places = locate(request)
    calls = await check_calls(request, options, resources)
    if calls.in_jobs:
        check_jobs(request.settings, places)
    rows = await check_inputs(request, places, calls, resources)
    is_repeat = places.folder is not None and places.folder.is_used
    needs_servers = request.settings.is_here and not request.settings.replay
    if needs_servers and not is_repeat:
        await open_servers(rows.target)
    opened, repeat = await open_run(request, places, calls, rows, resources)
    if needs_servers and is_repeat and has_work(repeat):
        async with closed_on_failure(opened.state if opened else None):
            await open_servers(rows.target)
    return PreparedRun(request, options, places, calls, rows, opened, repeat)


def read_settings(settings: BatchSettings) -> BatchOptions:
    """Step 1: check that the settings make sense, alone and together. Raises UsageError."""
    settings.check()
    open_executor = find_executor(settings.executor)
    deadline_s = settings.deadline_s(datetime.now().astimezone())
    return BatchOptions(open_executor, LocalLimiters(settings.limiter, deadline_s), deadline_s)


def locate(request: BatchRequest) -> Places:
    """Step 2: decide where results and state go. Raises UsageError."""
    settings = request.settings
    output = output_path(request.invocation.inputs, settings.output, settings.part, settings.output_format)
    check_sortable(output, settings)
    places = Places(output, run_folder(output, settings))
    places = replace(places, table=table_of(output, None if places.is_stream else places.folder, settings))
    check_terminal(places, request.stdout_fd)
    if note := plain_note(places, settings):
        request.say(f"warning: {note}")
    return places


async def check_calls(request: BatchRequest, options: BatchOptions, resources: ExitStack) -> Calls:
    """Step 3: check that the crew's models are known and have the keys and prices they need. Raises UsageError."""
    settings = request.settings
    # Sync tools and callbacks block a thread each: enough for all rows, so that none waits for another's.
    threads.pool.max_threads = max(threads.pool.max_threads, settings.rows_at_once)
    cache = AnswerCache.open(settings.cache, settings.cache_bytes) if settings.cache else None
    if cache is not None:
        resources.callback(cache.close)
    gateway = make_gateway(settings, options.limiters, cache)
    endpoints = await _check_target(request, request.definition.target, gateway)
    resources.callback(options.limiters.close)
    in_jobs = uses_jobs(settings, endpoints, gateway)
    if settings.is_here and not in_jobs:  # else they are not called from here
        for note in options.limiters.remembered(endpoints):
            request.say(note)
    check_detach(settings, in_jobs=in_jobs, is_offline=gateway.is_offline)
    if in_jobs and not settings.is_adaptive:
        options.limiters.hold_calls_to(settings.rows_at_once)
    return Calls(options.limiters, gateway, cache, endpoints, in_jobs)


async def check_inputs(request: BatchRequest, places: Places, calls: Calls, resources: ExitStack) -> Rows:
    """Step 4: check that the input can be read and would not be overwritten, every row with --strict, and the crew that
    is made for the first row. Raises UsageError and DefinitionError.
    """
    settings, inputs = request.settings, request.inputs
    if request.rows is None:
        check_not_input(request.invocation.inputs, places.output, request.stdout_fd)
    if settings.summary:
        check_summary(settings.summary, request.invocation.inputs, places.output)
    folder = places.folder
    if settings.report:
        others = (request.invocation.inputs, places.output, settings.summary)
        check_report(settings.report, folder.path if folder else None, *others)
    may_change = bool(settings.id_field and folder and folder.is_used and request.invocation.only is None)
    is_read_twice = settings.strict or settings.canary or may_change
    readable = await inputs.repeatable(resources) if is_read_twice else inputs
    open_again = readable.opener(settings)
    source = open_again()
    resources.callback(source.release)
    check_output(places.output)

    def say_notes() -> None:
        for note in input_notes(source, inputs.name, settings):
            request.say(note)

    if settings.no_rows == "fail":
        await source.start()
    await source.start_soon(say_notes)
    if settings.strict:
        worker = Worker(request.definition.target, calls.gateway)
        await check_rows(request.invocation.inputs, open_again(), worker, settings.part)
    target, columns = request.definition.target, tuple[str, ...]()
    if not inputs.is_once:
        first = await read_first_rows(open_again(), target, settings.input_options)
        first.check(inputs.name)
        columns = tuple(first.columns)
    if not readable.is_once:
        target = await _check_first_crew(request, open_again, calls.gateway) or target
    for warning in warnings_about(columns, target, settings.input_options):
        request.say(f"warning: {warning}")
    return Rows(source, open_again, readable.is_once, may_change, target)


async def open_run(
    request: BatchRequest, places: Places, calls: Calls, rows: Rows, resources: ExitStack
) -> tuple[Opened | None, Repeat | None]:
    """Step 5: lock and open the run's state, None without one, say what it will do, and set the rest of its budget.

    Raises UsageError, RunHeld and JournalDamaged.
    """
    opened, repeat = None, None
    if places.folder is not None:
        previous = previous_run(places.folder)
        options = await state_options(request, places.folder, places, calls.endpoints, calls.gateway)
        if warning := warning_of_fresh(request.settings, places.folder):
            request.say(f"warning: {warning}")
        opened = await open_state(options)
        async with closed_on_failure(opened.state):
            calls.limiters.has_answered = opened.state.has_calls and _is_at_same_addresses(previous, options.manifest)
            resources.enter_context(written_by(opened.state.warned))
            calls.gateway.refused.update(opened.state.refused)
            await _restore_limits(calls.limiters, opened.state)
            sends_live = not (calls.in_jobs or request.settings.replay)
            if sends_live and (warning := await warning_of_jobs(opened.state)):
                request.say(f"warning: {warning}")
            open_again = None if rows.is_once else rows.open_again
            repeat = await say_repeat(request, options, opened.state, open_again, may_change=rows.may_change)
            if repeat is not None and repeat.done:
                _say_other_expectations(request, previous, options)
    if request.settings.budget_usd is not None:
        state = opened.state if opened else None
        async with closed_on_failure(state):
            budget = await open_budget(request.settings.budget_usd, state, calls.endpoints, calls.gateway)
        calls.limiters.budget = budget
    return opened, repeat


def _say_other_expectations(request: BatchRequest, previous: PreviousRun | None, options: StateOptions) -> None:
    """Say how to check rows that are done against an `expect:` that has changed since; a run of an older version does
    not tell.
    """
    old = None if previous is None else previous.manifest.definition.get("expect")
    if old is not None and options.manifest.definition["expect"] not in (old, ""):
        run = shlex.quote(nearby(str(options.table or options.output or options.folder.path)))
        request.say(
            "expect: has changed; rows that are done keep what was said of them when they ran; to check all of them: "
            f"crewrun score {run} --expect"
        )


def _is_at_same_addresses(previous: PreviousRun | None, manifest: Manifest) -> bool:
    """Whether the endpoints that answered an earlier session are those of this one: a new address has not answered."""
    endpoints = None if previous is None else previous.manifest.definition.get("endpoints")
    return endpoints is None or endpoints == manifest.definition["endpoints"]


async def _restore_limits(limiters: LocalLimiters, state: RunState) -> None:
    """Give the limiters what earlier sessions learned, and have them record what they learn."""
    limiters.bounds = await state.accounts.bounds()
    limiters.journal_bounds = state.accounts.write_bounds
    limiters.unknown_bills.journal = state.accounts.write_owed


async def _check_first_crew(request: BatchRequest, open_rows: Callable[[], Source], gateway: Gateway) -> Target | None:
    """The crew that the user's code makes for the first row, if it makes one, with its models checked."""
    try:
        crew = await first_crew(request.definition.target, open_rows)
    except FirstCrewFailed:  # the row's result will say so
        return None
    if crew is not None:
        await _check_target(request, crew, gateway)
    return crew


async def _check_target(request: BatchRequest, target: Target, gateway: Gateway) -> list[Endpoint]:
    """The endpoints of `target`. Raises UsageError when they, or the settings for them, cannot work."""
    settings = request.settings
    check_supported(settings, target)
    endpoints = await check_models(target, gateway, keys=settings.is_here and not settings.replay)
    missing = check_tools(target, endpoints, refuses=settings.is_here and settings.checks_tool_keys)
    check_priced(settings.flag_that_needs_prices, target, endpoints, gateway)
    hints = [f"warning: {hint}" for hint in model_hints(endpoints)]
    for warning in [*missing, *hints, *unused_names(settings, target, endpoints), *moved_files(target)]:
        request.say(warning)
    if settings.is_here:
        reserve_descriptors(settings, endpoints)
    return endpoints
