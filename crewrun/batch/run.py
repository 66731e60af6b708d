"""`run_batch`: one batch from its settings to its report.

What comes before the first row is in `preparation`, what comes after it in `session`.
"""

import signal
from collections.abc import AsyncIterator
from contextlib import AbstractContextManager, ExitStack
from dataclasses import replace

import anyio
import anyio.to_thread

from crewrun.batch.canary import Canary, draw
from crewrun.batch.interruption import Interruption, NoSignals
from crewrun.batch.invocation import BatchRequest
from crewrun.batch.preparation import PreparedRun, prepare
from crewrun.batch.run_identity import endpoints_in_words
from crewrun.batch.run_spec import run_spec_of
from crewrun.batch.run_state import closed_on_failure
from crewrun.batch.session import Session
from crewrun.batch.stop import SIGNALS, Stop
from crewrun.batch.stored_summary import store_summary
from crewrun.batch.summary import Report
from crewrun.batch.watchers import Display
from crewrun.llm.capabilities import as_json, in_words
from crewrun.monitoring.run_telemetry import RunTelemetry


async def run_batch(request: BatchRequest, display: Display, interruption: Interruption | None = None) -> Report:
    """Run a crew over the inputs. Raises UsageError, DefinitionError, RunHeld and JournalDamaged, all before the first
    call.

    From the first row on a signal asks for an orderly end, or the caller by `interruption`.
    """
    with ExitStack() as resources:
        telemetry = RunTelemetry(request.settings.telemetry, request.say)
        resources.callback(telemetry.finish)
        run = await prepare(request, resources)
        async with closed_on_failure(run.state), run.options.open_executor(run_spec_of(run, telemetry)) as executor:
            # Before this, there is nothing to finish.
            signals = NoSignals() if interruption else resources.enter_context(_open_signals())
            stop = interruption.begin() if interruption else Stop()
            session = Session(run, await _draw_canary(run), display, stop, telemetry.board)
            telemetry.begin()
            display.start()
            report = _with_notes(await session.run(executor, signals), run)
            report = replace(report, notes=[*report.notes, *await anyio.to_thread.run_sync(telemetry.finish)])
            if run.places.folder is not None:
                store_summary(run.places.folder, report.summary)
            return report


async def _draw_canary(run: PreparedRun) -> Canary | None:
    """The sample of --canary, None without one."""
    settings = run.request.settings
    if not settings.canary:
        return None
    sample = await draw(run.rows.open_again(), settings.canary, run.history.is_due)
    return Canary(sample, run.rows_at_once)


def _with_notes(report: Report, run: PreparedRun) -> Report:
    """`report` with notes on what models refused, the cache's notes, and what was said of a repeat."""
    calls = run.calls
    refused = sorted(calls.gateway.refused)
    names = {endpoint: endpoints_in_words([endpoint]) for endpoint, _ in refused}
    notes = [f"{names[endpoint]} {in_words(what)}" for endpoint, what in refused]
    not_taken: list[dict[str, str]] = []
    for endpoint, what in refused:
        entry = as_json(names[endpoint], what)
        not_taken += [entry] if entry not in not_taken else []
    summary = {**report.summary, "not_taken": not_taken}
    if run.repeat is not None:
        summary["repeat"] = run.repeat.to_json()
    cache_notes = calls.cache.notes() if calls.cache is not None else ()
    return replace(report, summary=summary, notes=[*report.notes, *dict.fromkeys(notes), *cache_notes])


def _open_signals() -> AbstractContextManager[AsyncIterator[signal.Signals]]:
    """The signals to obey, without those that the parent process, such as nohup, has set to be ignored."""
    obeyed = [number for number in SIGNALS if signal.getsignal(number) is not signal.SIG_IGN]
    return anyio.open_signal_receiver(*obeyed)
