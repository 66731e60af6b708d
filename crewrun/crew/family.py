"""`KickoffFamily`: the public methods that start a crew or a flow, all built on one coroutine of each.

`Watch` records the kickoffs that a function of the user's makes, in case the function returns none of their answers.
"""

from asyncio import CancelledError
from collections.abc import Awaitable, Coroutine, Iterable, Mapping
from contextvars import ContextVar
from typing import Any, Generic, Literal, Self, TypeVar, overload

from crewrun.aio.notebook import stoppable
from crewrun.crew.for_each import OnOutcome, for_each
from crewrun.crew.output import UsageMetrics
from crewrun.files.file import File, as_files
from crewrun.llm.shared_gateway import open_gateway
from crewrun.llm.sync import run_sync
from crewrun.references import check_loaded
from crewrun.row_context import RowContext, new_row_context
from crewrun.tracebacks import shorten
from crewrun.usage import UsageCounter

Inputs = Mapping[str, Any]
Files = Mapping[str, File]
AnyFiles = Mapping[str, Any] | None
Output = TypeVar("Output")
T = TypeVar("T")


class KickoffFamily(Generic[Output]):
    """What `Crew` and `Flow` share. They define `_crewrun_kickoff`, and `_crewrun_usage` for the latest kickoff."""

    _crewrun_usage: UsageCounter

    def _crewrun_kickoff(
        self, inputs: Inputs | None, row_context: RowContext, files: Files
    ) -> Coroutine[Any, Any, Output]:
        """Run once, counted in `row_context`, with `files` for every task."""
        raise NotImplementedError

    def _crewrun_copy(self) -> Self:
        """The object that runs one of several inputs: a copy where a kickoff changes the object."""
        return self

    @property
    def usage_metrics(self) -> UsageMetrics:
        """The usage of the latest kickoff, or of all inputs of the latest for-each together."""
        return UsageMetrics.of(self._crewrun_usage)

    async def akickoff(self, inputs: Inputs | None = None, input_files: AnyFiles = None) -> Output:
        """Run once and return the answer. `input_files`, by name, go to the model with every task.

        Raises InputInvalid (a ValueError) if the inputs do not fit, CallError if a model call fails for good.
        """
        check_loaded()
        row_context = new_row_context()
        self._crewrun_usage = row_context.usage
        try:
            with stoppable():
                return await report_to_watch(self._crewrun_kickoff(inputs, row_context, _files(input_files)))
        except (Exception, CancelledError) as error:
            shorten(error)
            raise
        finally:
            await row_context.end()

    kickoff_async = akickoff

    def kickoff(self, inputs: Inputs | None = None, input_files: AnyFiles = None) -> Output:
        """`akickoff` for sync code. Inside a running event loop it blocks that loop, with a warning."""
        return run_sync("kickoff", "akickoff", self.akickoff, inputs, input_files)

    @overload
    async def akickoff_for_each(
        self,
        inputs: Iterable[Inputs],
        input_files: AnyFiles = None,
        *,
        max_concurrent: int | None = None,
        return_exceptions: Literal[False] = False,
        on_outcome: OnOutcome | None = None,
    ) -> list[Output]: ...

    @overload
    async def akickoff_for_each(
        self,
        inputs: Iterable[Inputs],
        input_files: AnyFiles = None,
        *,
        max_concurrent: int | None = None,
        return_exceptions: bool,
        on_outcome: OnOutcome | None = None,
    ) -> list[Output | Exception]: ...

    async def akickoff_for_each(
        self,
        inputs: Iterable[Inputs],
        input_files: AnyFiles = None,
        *,
        max_concurrent: int | None = None,
        return_exceptions: bool = False,
        on_outcome: OnOutcome | None = None,
    ) -> Any:
        """Run once per input, concurrently, all with `input_files`, and return the answers in input order.

        Every input runs to its end even if others fail. Then, if any failed, raises one ForEachError whose `results`
        has an output or exception per input; with `return_exceptions` that list is returned instead. `max_concurrent`
        bounds how many run at once (None: all). `on_outcome(index, output_or_exception)` is called as each one ends.
        """
        check_loaded()
        row_context = new_row_context()
        self._crewrun_usage = row_context.usage
        files = _files(input_files)

        async def run(one: Inputs) -> Output:
            context = row_context.for_input()
            try:
                return await self._crewrun_copy()._crewrun_kickoff(one, context, files)
            finally:
                await context.end()

        try:
            with stoppable():
                async with open_gateway():
                    return await report_to_watch(for_each(run, inputs, max_concurrent, return_exceptions, on_outcome))
        except (Exception, CancelledError) as error:
            shorten(error)
            raise

    kickoff_for_each_async = akickoff_for_each

    @overload
    def kickoff_for_each(
        self, inputs: Iterable[Inputs], input_files: AnyFiles = None, *, return_exceptions: Literal[False] = False
    ) -> list[Output]: ...

    @overload
    def kickoff_for_each(
        self, inputs: Iterable[Inputs], input_files: AnyFiles = None, *, return_exceptions: bool
    ) -> list[Output | Exception]: ...

    def kickoff_for_each(
        self, inputs: Iterable[Inputs], input_files: AnyFiles = None, *, return_exceptions: bool = False
    ) -> Any:
        """One kickoff per input, one after another, with the failure isolation of `akickoff_for_each`."""

        async def run() -> Any:
            return await self.akickoff_for_each(
                inputs, input_files, max_concurrent=1, return_exceptions=return_exceptions
            )

        return run_sync("kickoff_for_each", "akickoff_for_each", run)


def _files(input_files: AnyFiles) -> Files:
    return as_files(input_files, "input_files") if input_files else {}


class Watch:
    """Counts the kickoffs inside a `with` block, without nested ones. `last` is the latest answer."""

    __slots__ = ("_token", "count", "last")

    def __init__(self) -> None:
        self.count = 0
        self.last: Any = None

    def __enter__(self) -> "Watch":
        self._token = _current.set(self)
        return self

    def __exit__(self, *_: object) -> None:
        _current.reset(self._token)


_current: ContextVar[Watch | None] = ContextVar("crewrun_watch", default=None)


async def report_to_watch(kickoff: Awaitable[T]) -> T:
    """Await a kickoff and report its answer to the current watch, if any."""
    watch = _current.get()
    if watch is None:
        return await kickoff
    token = _current.set(None)
    try:
        answer = await kickoff
    finally:
        _current.reset(token)
    watch.count += 1
    watch.last = answer
    return answer
