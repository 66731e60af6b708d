"""What an executor needs to know: the `RunSpec`, and the `WorkerSpec`, the part of it that workers elsewhere get."""

import os
from asyncio import Future
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

from crewrun._version import __version__
from crewrun.confinement.own_files import OwnFiles
from crewrun.definitions.definition import Definition
from crewrun.errors import CallError, UsageError
from crewrun.limits.local_limiters import LocalLimiters
from crewrun.llm.cache import Answers
from crewrun.llm.options import GatewayOptions
from crewrun.messages import ChatRequest, Completion
from crewrun.monitoring.trace_spec import TraceSpec
from crewrun.recorder import Recorder, Spent
from crewrun.row import Row
from crewrun.worker import Worker

# Variables that select a model and hold no secret: workers get them without --env.
_MODEL_VARIABLES = ("MODEL", "OPENAI_MODEL_NAME", "OPENAI_BASE_URL", "OPENAI_API_BASE")


class RowRecorder(Recorder, Protocol):
    """A recorder that can list its answers, and records in the order in which it is called."""

    def record(
        self, task: str, identity: bytes, request: ChatRequest, completion: Completion, spent: Spent
    ) -> Future[None]:
        """See `Recorder.record`."""
        ...

    def record_unfinished(self, task: str, identity: bytes, why: str, spent: Spent) -> None:
        """See `Recorder.record_unfinished`."""
        ...

    def record_failure(self, task: str, identity: bytes, error: CallError, spent: Spent) -> Future[None]:
        """See `Recorder.record_failure`."""
        ...

    def record_tool(self, task: str, identity: bytes, tool: str, result: str, duration_s: float) -> Future[None]:
        """See `Recorder.record_tool`."""
        ...

    def record_tool_failure(
        self, task: str, identity: bytes, tool: str, reason: str, message: str, duration_s: float
    ) -> Future[None]:
        """See `Recorder.record_tool_failure`."""
        ...

    def replayable(self) -> list[tuple[str, bytes, tuple[Completion, Spent] | str]]:
        """What `replay` and `replay_tool` would return: task, identity and answer, equal requests in their order."""
        ...


class RunRecorders(Protocol):
    """The recorders of a run's rows; see `crewrun.worker.Recorders`."""

    async def recall(self, row: Row) -> RowRecorder:
        """The recorder of a row, with everything that earlier sessions recorded of it."""
        ...


@dataclass(frozen=True, slots=True)
class WorkerOptions:
    """How many workers to start (None: as many as fit), the CPUs that each reserves, and the names of the environment
    variables that they get.
    """

    count: int | None = None
    cpus: float = 1.0
    env: Sequence[str] = ()


@dataclass(frozen=True, slots=True)
class WorkerSpec:
    """Everything that a worker elsewhere needs to know. `crew` is the reference to load, or with `text` its file name.

    `endpoints` are those that the run expects the worker to call, as from `describe_endpoint`; `max_rows` is the
    largest number of rows that it may have at once. With `tracing` it traces them, as its `env` says.
    """

    crew: str
    text: str | None = field(repr=False)
    options: GatewayOptions = field(repr=False)
    row_timeout_s: float | None
    max_rows: int
    is_budgeted: bool
    has_cache: bool
    checks_keys: bool
    checks_tool_keys: bool
    tells_prompts: bool
    endpoints: tuple[str, ...]
    own_files: OwnFiles
    env: Mapping[str, str] = field(default_factory=dict, repr=False)
    refused: frozenset[tuple[str, str]] = frozenset()
    engine: str = "crewrun"
    crewrun: str = __version__
    tracing: TraceSpec | None = None


@dataclass(frozen=True, slots=True)
class RunSpec:
    """What to run, and with what: `worker` for rows in this process, the rest for rows elsewhere.

    `crew` is the reference as the user wrote it, `files` the folder with a folder for each row, `excluded` the paths in
    the crew's folder that do not belong to the crew, `own_files` the files that tools must not touch. `say` prints a
    line for the user at once. `tracing` is what workers elsewhere need to trace their rows, None if they need not.
    """

    worker: Worker
    definition: Definition
    crew: str
    engine: str
    options: GatewayOptions
    row_timeout_s: float | None
    max_rows: int
    limiters: LocalLimiters
    recorders: RunRecorders | None
    cache: Answers | None
    files: Path
    excluded: Sequence[Path]
    own_files: OwnFiles
    endpoints: tuple[str, ...]
    refused: set[tuple[str, str]]
    checks_keys: bool
    checks_tool_keys: bool
    tells_prompts: bool
    workers: WorkerOptions
    say: Callable[[str], Any]
    tracing: TraceSpec | None = None

    def worker_spec(self, crew: str, text: str | None) -> WorkerSpec:
        """The spec of workers that load the crew by the reference `crew`, or from `text`; see `WorkerSpec`.

        Raises UsageError for a variable of --env that is not set here.
        """
        for name in self.workers.env:
            if name not in os.environ:
                raise UsageError(f"--env {name}: is not set here, so workers cannot get it")
        names = [*_MODEL_VARIABLES, *self.workers.env, *(_tracing_variables() if self.tracing else ())]
        return WorkerSpec(
            crew=crew,
            text=text,
            options=self.options,
            row_timeout_s=self.row_timeout_s,
            max_rows=self.max_rows,
            is_budgeted=self.limiters.is_budgeted,
            has_cache=self.cache is not None,
            checks_keys=self.checks_keys,
            checks_tool_keys=self.checks_tool_keys,
            tells_prompts=self.tells_prompts,
            endpoints=self.endpoints,
            own_files=self.own_files,
            env={name: os.environ[name] for name in names if name in os.environ},
            refused=frozenset(self.refused),
            engine=self.engine,
            tracing=self.tracing,
        )


def _tracing_variables() -> list[str]:
    """The variables that say where traces go, and which trace they are a part of."""
    return [name for name in os.environ if name.startswith("OTEL_") or name in ("TRACEPARENT", "TRACESTATE")]
