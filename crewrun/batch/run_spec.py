"""Makes the `RunSpec` of a batch: what an executor needs to run its rows, here or elsewhere."""

import sys
from pathlib import Path

from crewrun.batch.invocation import BatchRequest
from crewrun.batch.locations import Places
from crewrun.batch.preparation import PreparedRun
from crewrun.batch.source import source_path
from crewrun.confinement.own_files import OwnFiles
from crewrun.executors.run_spec import RunSpec
from crewrun.llm.request_identity import describe_endpoint
from crewrun.monitoring.run_telemetry import RunTelemetry
from crewrun.run_files import FILES_SUFFIX, UNNAMED
from crewrun.worker import Worker


def run_spec_of(run: PreparedRun, telemetry: RunTelemetry) -> RunSpec:
    """The spec for the executor of `run`, whose rows are traced as `telemetry` says."""
    request, gateway = run.request, run.calls.gateway
    settings, definition = request.settings, request.definition
    files = Path(f"{run.places.output or UNNAMED}{FILES_SUFFIX}")
    own_files = _own_files(request, run.places).keeping(files)
    folder = run.places.folder
    logs = folder.path if folder is not None else None
    name = folder.path.name if folder is not None else ""
    listeners = telemetry.listeners(name) if settings.is_here else ()
    return RunSpec(
        worker=Worker(
            *(definition.target, gateway, settings.row_timeout, files, run.state, own_files, listeners),
            shared_calls=run.calls.shared,
            logs=logs,
        ),
        definition=definition,
        crew=request.invocation.crew,
        engine=settings.engine,
        options=gateway.options,
        row_timeout_s=settings.row_timeout,
        max_rows=run.rows_at_once,
        limiters=run.calls.limiters,
        recorders=run.state,
        cache=run.calls.cache,
        files=files,
        excluded=[Path(file) for file in sorted(own_files.private | own_files.inputs)],
        own_files=own_files,
        endpoints=tuple(describe_endpoint(endpoint) for endpoint in run.calls.endpoints),
        refused=gateway.refused,
        checks_keys=not settings.replay,
        checks_tool_keys=settings.checks_tool_keys,
        tells_prompts=settings.log_prompts,
        workers=settings.worker_options,
        say=request.say,
        tracing=telemetry.trace_spec(name),
    )


def _own_files(request: BatchRequest, places: Places) -> OwnFiles:
    """The files that no tool of the crew may read or change at a model's request, including those behind streams."""
    state = places.folder.files if places.folder is not None else []
    descriptors = [request.stdout_fd] if places.output is None else []
    streams = [f"/dev/fd/{fd}" for fd in (*descriptors, sys.stderr.fileno())]
    return (
        OwnFiles()
        .keeping(
            places.output, request.settings.summary, request.settings.report, request.settings.cache, *state, *streams
        )
        .with_inputs(None if request.rows else source_path(request.invocation.inputs))
        .with_crew(request.definition.path, request.definition.files)
    )
