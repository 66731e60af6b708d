"""`RowContext`: what the calls of one row need together, handed down from the worker to the gateway and the toolbox.

    row → kickoff → task                      a crew
    row → kickoff → method → kickoff → task   a crew inside a flow's method

Each level has a context of its own below that of the level around it. `current_row_context` is that of the code which
asks, so that a crew started by the user's own code is still part of its row.
"""

from collections.abc import Awaitable, Callable
from contextvars import ContextVar

import anyio

from crewrun.errors import CrewrunError
from crewrun.failed_tools import FailedCall, FailedTools
from crewrun.recorder import Recorder
from crewrun.row import FailedTool, TaskRecord
from crewrun.row_events import RowEmitter, emitter_outside_runs
from crewrun.usage import UsageCounter


class RowContext:
    """A row, or a kickoff, flow method or task of it. Filled in while it runs; read at its end, also after a failure.

    `recorder` replays and records the row's calls, None outside a run with a journal; `task_path` is what they are
    recorded under, `method/task` for a task of a crew inside a flow's method. `emitter` sends the row's events, None if
    nobody listens. `own_texts` are the task's texts before a row's inputs are filled in, None outside a task. `refusal`
    says why a call of the row was not made at all: the row fails with it, whatever the user's code makes of the error.
    `at_end` is called when the row, or the kickoff outside a run, has ended, to close what was opened for it.
    """

    __slots__ = (
        "_is_input",
        "_is_method",
        "_parent",
        "at_end",
        "emitter",
        "failed_task",
        "failed_tools",
        "files",
        "flow_depth",
        "own_texts",
        "recorder",
        "refusal",
        "task_path",
        "tasks",
        "usage",
    )

    def __init__(
        self,
        recorder: Recorder | None = None,
        *,
        emitter: RowEmitter | None = None,
        parent: "RowContext | None" = None,
    ) -> None:
        """The context of a row, or of a part of `parent`'s row: see `child`, `for_task` and `for_method`."""
        self._parent = parent
        self._is_method = self._is_input = False
        self.recorder: Recorder | None = recorder if parent is None else parent.recorder
        self.emitter: RowEmitter | None = emitter if parent is None else parent.emitter
        self.task_path: str = "" if parent is None else parent.task_path
        self.own_texts: tuple[str, ...] | None = None if parent is None else parent.own_texts
        self.flow_depth: int = 0 if parent is None else parent.flow_depth
        self.usage: UsageCounter = UsageCounter(None if parent is None else parent.usage)
        self.tasks: list[TaskRecord] = []
        self.files: list[str] = []
        self.failed_task: str | None = None
        self.failed_tools: FailedTools | None = None
        self.refusal: CrewrunError | None = None
        self.at_end: Callable[[], Awaitable[None]] | None = None

    def child(self) -> "RowContext":
        """The context of a kickoff, or of any other part that is counted by itself."""
        return RowContext(parent=self)

    def for_task(self, name: str, own_texts: tuple[str, ...]) -> "RowContext":
        """The context of a crew's task."""
        child = RowContext(parent=self)
        child.task_path, child.own_texts = self._path_of(name), own_texts
        return child

    def for_method(self, name: str) -> "RowContext":
        """The context of a flow's method. Tasks inside it are a part of the method and not listed in the row."""
        child = RowContext(parent=self)
        child.task_path = self._path_of(name)
        child.flow_depth += 1
        child._is_method = True
        return child

    def _path_of(self, task: str) -> str:
        return f"{self.task_path}/{task}" if self.task_path else task

    @property
    def row(self) -> "RowContext":
        """The context of the whole row; outside a run that of the outermost kickoff."""
        context = self
        while context._parent is not None and not context._is_input:
            context = context._parent
        return context

    def for_input(self) -> "RowContext":
        """The context of one input of several, which is a row of its own where there is no run."""
        child = RowContext(parent=self)
        child._is_input = self._parent is None
        return child

    async def end(self) -> None:
        """Call `at_end`, if it is set, even if this is cancelled."""
        if (at_end := self.at_end) is not None:
            self.at_end = None
            with anyio.CancelScope(shield=True):
                await at_end()

    @property
    def is_in_flow(self) -> bool:
        """Whether this is inside a flow's method."""
        return self.flow_depth > 0

    @property
    def tool_failures(self) -> tuple[FailedTool, ...]:
        """The failed tool calls so far, counted."""
        return self.failed_tools.groups if self.failed_tools is not None else ()

    def add_task(self, record: TaskRecord) -> None:
        """A task has finished."""
        context: RowContext | None = self
        while context is not None:
            context.tasks.append(record)
            context = None if context._is_method else context._parent

    def add_file(self, path: str) -> None:
        """A task wrote its output file."""
        context: RowContext | None = self
        while context is not None:
            context.files.append(path)
            context = context._parent

    def add_failed_call(self, call: FailedCall) -> None:
        """A call of a tool failed."""
        context: RowContext | None = self
        while context is not None:
            if context.failed_tools is None:
                context.failed_tools = FailedTools()
            context.failed_tools.add(call)
            context = context._parent

    def fail_in(self, task: str) -> None:
        """`task` failed. The first one to report it is the cause."""
        path = self._path_of(task)
        context: RowContext | None = self
        while context is not None:
            context.failed_task = context.failed_task or path
            context = context._parent

    def refuse(self, error: CrewrunError) -> None:
        """A call was not made, since the run or the row must not go on. The first one to report it is the cause."""
        context: RowContext | None = self
        while context is not None:
            context.refusal = context.refusal or error
            context = context._parent


_current: ContextVar[RowContext | None] = ContextVar("crewrun_row_context", default=None)


def current_row_context() -> RowContext | None:
    """The context of the row that this code runs for, None outside of rows."""
    return _current.get()


def new_row_context() -> RowContext:
    """A context below the current one; outside of rows one that stands alone."""
    current = _current.get()
    return RowContext(emitter=emitter_outside_runs()) if current is None else RowContext(parent=current)


class use_row_context:  # noqa: N801  (used as a function is)
    """`with use_row_context(context)`: make `context` the current one inside the block."""

    __slots__ = ("_context", "_token")

    def __init__(self, context: RowContext) -> None:
        self._context = context

    def __enter__(self) -> None:
        self._token = _current.set(self._context)

    def __exit__(self, *_: object) -> None:
        _current.reset(self._token)
