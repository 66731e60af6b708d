"""`Worker`: a loaded target and its gateway. `run(row)` returns an outcome, whatever happens inside.

With `recorders`, every call of a row is recorded, and calls that an earlier session recorded are replayed.
"""

import asyncio
import math
import re
from collections.abc import Coroutine, Sequence
from contextlib import AsyncExitStack
from datetime import UTC, datetime
from pathlib import Path
from types import TracebackType
from typing import Any, Protocol

import anyio
import anyio.to_thread
import sniffio

from crewrun.aio.contexts import in_own_context, let_threads_inherit
from crewrun.aio.time_limit import time_limit
from crewrun.confinement.own_files import OwnFiles, current_own_files
from crewrun.crew.output_files import writing_below
from crewrun.errors import (
    BadRequest,
    InputInvalid,
    ModelRefused,
    OutputFailed,
    RowTimedOut,
    RunStopped,
    TaskTimedOut,
    UsageError,
)
from crewrun.expect.expectations import Checked
from crewrun.files.folder import run_in
from crewrun.llm.endpoint_secrets import secrets_of
from crewrun.llm.endpoints import missing_key, proxy_for
from crewrun.llm.gateway import Gateway
from crewrun.llm.known_models import name_hint
from crewrun.llm.placement import left_out
from crewrun.llm.transports.provider_settings import missing_settings
from crewrun.loading.questions import answering
from crewrun.mcp.lifetime import ServersOfRun
from crewrun.messages import Endpoint
from crewrun.recorder import Recorder
from crewrun.redaction.redactor import learn
from crewrun.row import ErrorRecord, Outcome, Row, content_id
from crewrun.row_context import RowContext, current_row_context, use_row_context
from crewrun.row_events import Failure, Listeners, RowEmitter, RowListener
from crewrun.target import Target, value_of
from crewrun.target.failure import describe_failure
from crewrun.tools.shared_calls import SharedCalls, current_shared_calls

# A row's id may be any text. One that does not match is not used as a folder's name; a hash of it is.
_FOLDER_NAME = re.compile(r"[A-Za-z0-9_-][A-Za-z0-9._-]{0,99}")


class Recorders(Protocol):
    """Where a worker gets the recorder of each row."""

    async def recall(self, row: Row) -> Recorder:
        """The recorder of one row, with everything that earlier sessions recorded of it."""
        ...


class Worker:
    """Runs rows, any number at once, each within `row_timeout_s`. Use it with `async with` in an event loop."""

    def __init__(
        self,
        target: Target,
        gateway: Gateway,
        row_timeout_s: float | None = None,
        files: Path | None = None,
        recorders: Recorders | None = None,
        own_files: OwnFiles | None = None,
        listeners: Sequence[RowListener] = (),
        shared_calls: SharedCalls | None = None,
        logs: Path | None = None,
    ) -> None:
        """In `files`, each row gets a folder for the files of its tasks; None for the working directory.

        `own_files` are files that tools must not touch. `listeners` get the events of the rows, as those of the process
        do. `shared_calls` are those of the run that this worker alone serves. `logs` is the folder for what MCP servers
        write to their standard error; without one it is kept for messages only.
        """
        self._listeners = Listeners(listeners)
        self._logs = logs
        self._recorders = recorders
        self._own_files = own_files
        self._target = target
        self._gateway = gateway
        self._timeout_s = row_timeout_s
        self._files = files if target.writes_files else None
        # Without user code, a row does not need `answering`, which handles code that asks for input or calls models.
        self._runs_code = target.runs_code
        self._folder = target.folder or Path()
        self._shared_calls = SharedCalls() if shared_calls is None else shared_calls
        self._open = AsyncExitStack()

    async def __aenter__(self) -> "Worker":
        let_threads_inherit(lambda: current_row_context() is not None)
        await self._open.enter_async_context(ServersOfRun(self._logs))
        await self._open.enter_async_context(self._gateway)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            await self._listeners.wait_delivered()
        finally:
            await self._open.aclose()

    def run(self, row: Row) -> Coroutine[Any, Any, Outcome]:
        """Run the target on one row. Every failure, even a bug, becomes the outcome's error.

        Raises OutputFailed if calls cannot be recorded any more.
        """
        emitter = self._listeners.emitter(row)
        return self._run(row, None) if emitter is None else self._run_observed(row, emitter)

    async def _run_observed(self, row: Row, emitter: RowEmitter) -> Outcome:
        await emitter.wait_room()
        with emitter.span("row", row.id, row) as span:
            outcome = span.result = await self._run(row, emitter)
            if (error := outcome.error) is not None:
                span.failure = Failure(error.category, error.type, error.message)
            return outcome

    async def _run(self, row: Row, emitter: RowEmitter | None) -> Outcome:
        started_at, began = datetime.now(UTC), anyio.current_time()
        recorder = await self._recorders.recall(row) if self._recorders is not None else None
        row_context = RowContext(recorder=recorder, emitter=emitter)
        output: Any = None
        expectations: Checked = {}
        error: ErrorRecord | None = None
        stopped: RunStopped | None = None
        try:
            output, expectations = await in_own_context(self._run_and_check(row, row_context))
        except OutputFailed:
            raise
        except Exception as failed:
            error = describe_failure(failed, row_context)
            stopped = failed if isinstance(failed, RunStopped) else None
        except anyio.get_cancelled_exc_class() as cancelled:
            if not undo_own_cancellation():
                raise
            error = describe_failure(RuntimeError(f"the row's own code cancelled it: {cancelled!r}"), row_context)
        except GeneratorExit as odd:  # raised by the row's own code, or because this coroutine is being closed
            error = describe_failure(RuntimeError(f"it raised {odd!r}"), row_context)
        else:
            await _absorb_cancellation()
        finally:
            if row_context.at_end is not None:
                await row_context.end()
        if error is None and row_context.refusal is not None:
            # The row's own code caught the refusal of a call and went on without its answer.
            output, expectations, error = None, {}, describe_failure(row_context.refusal, row_context)
            stopped = row_context.refusal if isinstance(row_context.refusal, RunStopped) else None
        return Outcome(
            row=row,
            status="failed" if error else "ok",
            output=output,
            tasks=row_context.tasks,
            error=error,
            attempts=row_context.usage.attempts,
            calls=row_context.usage.calls,
            usage=row_context.usage.tokens,
            cost_usd=row_context.usage.cost_usd,
            models=list(row_context.usage.models),
            files=row_context.files,
            replayed=row_context.usage.replayed,
            started_at=started_at,
            duration_s=anyio.current_time() - began,
            stopped=stopped,
            tool_failures=row_context.tool_failures,
            expectations=expectations,
            tiers=row_context.usage.tiers,
            shared_tool_calls=row_context.usage.shared_tool_calls,
        )

    def problem(self, row: Row) -> str | None:
        """Why `row` cannot run, None if it can; without calling a model."""
        if row.problem is not None or row.inputs is None:
            return row.problem or f"line {row.line}: not a JSON object"
        unfit = self._target.problem(row.inputs)
        return f"line {row.line}: {unfit}" if unfit else None

    async def _run_and_check(self, row: Row, row_context: RowContext) -> tuple[Any, Checked]:
        """The row's output, and what the expectations say of it. Their functions do not run within the row's context:
        what they call is not the row's.
        """
        output = await self._kickoff(row, row_context)
        if not self._target.expectations.by_name:
            return output, {}
        return output, await self._target.expectations.check(output, row.inputs or {})

    async def _kickoff(self, row: Row, row_context: RowContext) -> Any:
        if problem := self.problem(row):
            raise InputInvalid(problem)
        if self._own_files is not None:
            current_own_files.set(self._own_files)  # the row has a context of its own
        current_shared_calls.set(self._shared_calls)
        run_in(self._folder)
        with use_row_context(row_context):
            if self._files is None and self._timeout_s is None:
                return await self._answer(row)
            if self._files is None:
                return await self._within_time(row)
            with writing_below(self._files / _folder_name(row.id)):
                return await self._within_time(row)

    async def _answer(self, row: Row) -> Any:
        target, inputs = self._target, row.inputs or {}
        if not self._runs_code:
            return value_of(await target.akickoff(inputs))
        with answering(inputs, is_offline=self._gateway.is_offline):
            return value_of(await target.akickoff(inputs))

    async def _within_time(self, row: Row) -> Any:
        if self._timeout_s is None:
            return await self._answer(row)
        with time_limit(self._timeout_s) as time:
            try:
                return await self._answer(row)
            except TaskTimedOut:
                if anyio.current_time() < time.deadline:
                    raise  # after the deadline, the row's timeout is the cause: something had blocked the event loop
        raise RowTimedOut(f"the row took longer than {self._timeout_s:g} s (--row-timeout)")


def undo_own_cancellation() -> bool:
    """If a row's own code has cancelled this task, and not the run, undo that, so that only the row ends.

    Returns False if the run has cancelled it.
    """
    if anyio.current_effective_deadline() == -math.inf:
        return False
    task = asyncio.current_task()
    while task is not None and task.cancelling():
        task.uncancel()
    return True


async def _absorb_cancellation() -> None:
    """If the last thing that a row's code did was to cancel this task, receive the cancellation here.

    Otherwise it would be raised at the next `await`, in code that has nothing to do with the row.
    """
    task = asyncio.current_task() if sniffio.current_async_library() == "asyncio" else None
    if task is not None and task.cancelling():
        try:
            await asyncio.sleep(0)
        except asyncio.CancelledError:
            if not undo_own_cancellation():
                raise


def _folder_name(row_id: str) -> str:
    return row_id if _FOLDER_NAME.fullmatch(row_id) else content_id(row_id.encode("utf-8", "surrogatepass"))


async def check_models(target: Target, gateway: Gateway, *, keys: bool = True) -> list[Endpoint]:
    """The endpoints that `target` may call. Raises UsageError for one that cannot work, before the first call.

    Without `keys`, keys are not checked, for a run that sends nothing.
    """
    target.check()
    endpoints: dict[Endpoint, None] = {}
    for user, llm in target.models(gateway):
        try:
            first = gateway.endpoint(llm)
        except ModelRefused as refused:
            raise ModelRefused(f"agent {user!r}: {refused}") from None
        for endpoint in (first, *gateway.fallbacks(first)):
            learn(secrets_of(endpoint))  # for the whole run; the secrets of endpoints that rows create are evicted
            await _check(endpoint, user, keys=keys)
            endpoints[endpoint] = None
    for embedder in () if gateway.is_offline else target.embedders:
        endpoint = gateway.embedding_endpoint(embedder)
        await _check(endpoint, "embedder", keys=keys)
        endpoints[endpoint] = None
    return list(endpoints)


def check_tools(target: Target, endpoints: Sequence[Endpoint], *, refuses: bool = True) -> list[str]:
    """Warnings about keys that tools of `target` need and that are not set.

    Raises UsageError instead if `refuses`, unless all models are offline.
    """
    missing = target.missing_tool_keys
    if missing and refuses and any(endpoint.transport_name != "offline" for endpoint in endpoints):
        raise UsageError(
            "\n".join(missing) + "\nExport it or put it into .env; to go on without: --missing-tool-keys warn"
        )
    return [f"warning: {variable}" for variable in missing]


async def _check(endpoint: Endpoint, user: str, *, keys: bool) -> None:
    """Raise UsageError for an endpoint that cannot work."""
    if endpoint.transport_name == "offline":
        from crewrun.llm.transports.offline import OfflineOptions

        OfflineOptions.parse(endpoint.params["options"])
    if endpoint.transport_name in ("direct", "embeddings") and endpoint.base_url:
        proxy_for(endpoint.base_url)  # raises UsageError for a proxy that cannot be used
    if not keys:
        return
    if endpoint.transport_name == "litellm":
        missing = missing_settings(endpoint)
    else:
        missing = [variable] if (variable := missing_key(endpoint)) else []
    if missing:
        raise UsageError(
            f"{' and '.join(missing)} {'are' if missing[1:] else 'is'} not set: agent {user!r} uses {endpoint.name}. "
            f"Export it or put it into .env; to try it without a model: -m offline{_name_line(endpoint)}"
        )
    if endpoint.transport_name == "litellm" and endpoint.params:
        from crewrun.llm.transports.litellm.requests import check_parameters

        try:
            await anyio.to_thread.run_sync(check_parameters, endpoint)  # importing litellm takes seconds
        except BadRequest as refused:
            raise ModelRefused(f"agent {user!r}: model {endpoint.name!r}: {refused}") from None


def _name_line(endpoint: Endpoint) -> str:
    """A second line of a message if the model's name may be what is wrong."""
    hint = name_hint(endpoint)
    return f"\n{hint}" if hint is not None else ""


def model_hints(endpoints: Sequence[Endpoint]) -> list[str]:
    """Notes on model names that may be misspelt, and on parameters that will be left out."""
    hints = []
    for endpoint in endpoints:
        if (hint := name_hint(endpoint)) is not None:
            hints.append(hint)
        hints += [f"{endpoint.name} takes no {name}: it is left out (drop_params)" for name in left_out(endpoint)]
    return hints
