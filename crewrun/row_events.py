"""`RowEvent`: what happens inside a row, for those who listen, such as traces and CrewAI's event bus.

    row → crew → task → agent → call                  each of these is a span: it starts, and is completed or fails
              flow → method → crew → …  agent → tool → crew → …

`RowEmitter` makes the events of one row, `Span` those of one part of it. A row to which nobody listens has no emitter,
and none of this is created for it. On a remote worker, the events happen on the worker, and so do their listeners.
"""

import time
from collections.abc import Coroutine, Mapping, Sequence
from contextvars import ContextVar, Token
from itertools import count
from types import TracebackType
from typing import Any, Literal, NamedTuple, Protocol, Self, TypeVar, runtime_checkable

from crewrun.errors import CallError, CrewrunError
from crewrun.library_warnings import warn
from crewrun.messages import ChatRequest, Completion
from crewrun.recorder import Spent
from crewrun.redaction.redactor import LONGEST_QUOTATION, redact
from crewrun.row import Row

T = TypeVar("T")
Kind = Literal["row", "crew", "flow", "method", "task", "agent", "call", "tool"]
# `retry` and `wait` happen between the start and the end of a call, and have its span.
Phase = Literal["started", "completed", "failed", "retry", "wait"]
# The category of a part that was cancelled: the row's time was over, a part next to it failed, or the run stopped.
CANCELLED = "cancelled"


class TargetRun(NamedTuple):
    """What a span of a crew or a flow is about: the object, and the inputs as the caller gave them."""

    target: Any
    inputs: Mapping[str, Any] | None


class MethodOfRow(NamedTuple):
    """What a span of a flow's method is about; `name` is the method's."""

    flow: Any
    name: str


class TaskOfRow(NamedTuple):
    """What a span of a task is about: the task and its agent as defined, and the texts with the row's inputs."""

    task: Any
    agent: Any
    description: str
    expected_output: str
    role: str
    context: str


class AgentAtWork(NamedTuple):
    """What a span of an agent is about: the agent as defined, its texts with the row's inputs, what its prompt asks it
    to do, and the names of its tools. The span of its task is around it, unless it was asked directly.
    """

    agent: Any
    role: str
    goal: str
    backstory: str
    prompt: str
    tools: tuple[str, ...]


class ToolUse(NamedTuple):
    """What a span of a tool is about: the tool, None if no tool has that name; its name and the JSON text of its
    arguments as the model wrote them.
    """

    tool: Any
    name: str
    arguments: str


class Answer(NamedTuple):
    """The result of a call. `source` is `model` for a call that was made now, else where its answer was: `journal` if
    an earlier session of the run has paid for it, `cache` for --cache. `spent` is then what was paid at that time.
    """

    completion: Completion
    spent: Spent
    source: Literal["model", "journal", "cache"] = "model"


class Retry(NamedTuple):
    """An attempt of a call failed with `error`, and another follows in `delay_s` seconds."""

    error: CallError
    delay_s: float


class Waited(NamedTuple):
    """A call has waited `seconds` before it was sent: `reason` is a `limits.waits.WaitKind`, `limiter` for whatever its
    endpoint's limiter waited for, or `prompt cache` for the first call of its prefix.
    """

    reason: str
    seconds: float


Subject = Row | TargetRun | MethodOfRow | TaskOfRow | AgentAtWork | ChatRequest | ToolUse


class Failure(NamedTuple):
    """Why a part failed: a category of `errors.Category` or CANCELLED, the class of the exception, and its message
    without secrets. `error` is the exception, None if there was none: a tool may fail without, and a row.
    """

    category: str
    type: str
    message: str
    error: BaseException | None = None


class RowEvent(NamedTuple):
    """Something happened in a row. Everything in it is the crew's own object, and not to be changed.

    `span` is the part that it happened to, `parent` the part around that, 0 for none, and `root` the outermost: numbers
    that no other parts in this process have. `row` is None for a kickoff outside of runs. `time_ns` is Unix time. The
    context variables of the code that sends an event are those of its row. `subject` depends on the kind, and `result`
    on kind and phase:

        kind          subject      result when completed              also
        row           Row          Outcome, when failed too
        crew, flow    TargetRun    CrewOutput, or what a flow returns
        method        MethodOfRow  what it returns
        task          TaskOfRow    TaskOutput                         a task whose condition is not met has no events
        agent         AgentAtWork  the answer's text
        call          ChatRequest  Answer                             `retry`: Retry, `wait`: Waited
        tool          ToolUse      ToolResult, when failed too        None when it failed with an exception
    """

    span: int
    parent: int
    root: int
    kind: Kind
    phase: Phase
    name: str
    time_ns: int
    row: Row | None
    subject: Subject
    result: Any = None
    failure: Failure | None = None


class RowListener(Protocol):
    """Gets the events of rows, in the threads in which they happen, several rows' at once."""

    def on_event(self, event: RowEvent) -> None:
        """Take an event. It is called between the steps of all rows, so it must not block.

        What it raises becomes a warning, once for each kind of event, and fails no row.
        """
        ...


@runtime_checkable
class QueueingListener(RowListener, Protocol):
    """A listener that takes events in one place and looks at them in another, such as a thread."""

    async def wait_room(self) -> None:
        """Wait until it has room for the events of another row."""
        ...

    async def wait_delivered(self) -> None:
        """Wait until it is done with the events that it has."""
        ...


class _Guarded:
    """A listener whose exceptions are warnings."""

    __slots__ = ("_warned", "listener", "queue")

    def __init__(self, listener: RowListener) -> None:
        self.listener = listener
        self.queue = listener if isinstance(listener, QueueingListener) else None
        self._warned: set[str] = set()

    def on_event(self, event: RowEvent) -> None:
        try:
            self.listener.on_event(event)
        except Exception as failed:  # a listener's bug is not the row's
            if event.kind not in self._warned:
                self._warned.add(event.kind)
                why = redact(f"{type(failed).__name__}: {failed}")
                warn(f"{type(self.listener).__name__} failed at an event of a {event.kind}: {why}")


# Those of the whole process: the user's modules register theirs while they are imported, before there is a run.
_of_process: dict[int, _Guarded] = {}


def add_listener(listener: RowListener) -> None:
    """Let `listener` get the events of all rows and kickoffs that begin from now on in this process."""
    _of_process.setdefault(id(listener), _Guarded(listener))


def remove_listener(listener: RowListener) -> None:
    """Undo `add_listener`."""
    _of_process.pop(id(listener), None)


class Listeners:
    """The listeners of one run."""

    __slots__ = ("_guarded",)

    def __init__(self, listeners: Sequence[RowListener] = ()) -> None:
        self._guarded = tuple(map(_Guarded, listeners))

    def emitter(self, row: Row | None) -> "RowEmitter | None":
        """The emitter for a new row; None if neither the run nor the process has listeners."""
        if not self._guarded and not _of_process:
            return None
        return RowEmitter(row, (*self._guarded, *_of_process.values()))

    async def wait_delivered(self) -> None:
        """Wait until the listeners of the run and of the process are done with the events that they have."""
        await _wait_delivered((*self._guarded, *_of_process.values()))


_NO_LISTENERS = Listeners()


def emitter_outside_runs() -> "RowEmitter | None":
    """The emitter for a kickoff outside of runs: that of the kickoff around it, such as one whose tool starts it. None
    if the process has no listeners.
    """
    around = _current.get()
    return _NO_LISTENERS.emitter(None) if around is None else around.emitter


async def wait_for_listeners() -> None:
    """Wait until the listeners of the process are done with the events that they have."""
    await _NO_LISTENERS.wait_delivered()


_spans = count(1)  # `next` of it is atomic
_current: ContextVar["Span | None"] = ContextVar("crewrun_span", default=None)


def current_span() -> "Span | None":
    """The part of a row that this code is in, None where nobody listens."""
    return _current.get()


async def _wait_delivered(listeners: Sequence[_Guarded]) -> None:
    for listener in listeners:
        if listener.queue is not None:
            await listener.queue.wait_delivered()


class RowEmitter:
    """Sends the events of one row to `listeners`. A kickoff outside of runs has one too, without a `row`."""

    __slots__ = ("_listeners", "row")

    def __init__(self, row: Row | None, listeners: Sequence[_Guarded]) -> None:
        self._listeners = listeners
        self.row = row

    async def wait_room(self) -> None:
        """Wait until every listener has room for the events of a row."""
        for listener in self._listeners:
            if listener.queue is not None:
                await listener.queue.wait_room()

    async def wait_delivered(self) -> None:
        """Wait until every listener is done with the events that it has."""
        await _wait_delivered(self._listeners)

    def span(self, kind: Kind, name: str, subject: Subject) -> "Span":
        """A part of the row, for a `with` block. Its parent is the part in whose block this is called."""
        around = _current.get()
        return Span(self, kind, name, subject, around if around is not None and around.emitter is self else None)

    def note(self, phase: Literal["retry", "wait"], result: Retry | Waited) -> None:
        """Something happened within the call in whose block this is."""
        span = _current.get()
        if span is not None and span.emitter is self and span.kind == "call":
            span.send(phase, result)

    def send(self, event: RowEvent) -> None:
        """Give an event to each listener."""
        for listener in self._listeners:
            listener.on_event(event)


class Span:
    """A part of a row: started when its `with` block is entered, completed with `result` at its end.

    It has failed if the block raises, or if `failure` was set in it.
    """

    __slots__ = ("_token", "emitter", "failure", "id", "kind", "name", "parent", "result", "root", "subject")

    def __init__(self, emitter: RowEmitter, kind: Kind, name: str, subject: Subject, around: "Span | None") -> None:
        self.emitter = emitter
        self.kind = kind
        self.name = name
        self.subject = subject
        self.id = next(_spans)
        self.parent: int = 0 if around is None else around.id
        self.root: int = self.id if around is None else around.root
        self.result: Any = None
        self.failure: Failure | None = None
        self._token: Token[Span | None]

    def __enter__(self) -> Self:
        self.send("started")
        self._token = _current.set(self)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        failure = self.failure or (None if error is None else failure_of(error))
        self.send("completed" if failure is None else "failed", self.result, failure)
        _current.reset(self._token)  # last: it fails where a lost loop leaves this to be closed

    def send(self, phase: Phase, result: Any = None, failure: Failure | None = None) -> None:
        """Send an event of this span."""
        emitter = self.emitter
        emitter.send(
            RowEvent(
                self.id,
                self.parent,
                self.root,
                self.kind,
                phase,
                self.name,
                time.time_ns(),
                emitter.row,
                self.subject,
                result,
                failure,
            )
        )


async def observed(span: Span, work: Coroutine[Any, Any, T]) -> T:
    """Await `work` as the part `span`, whose result it has."""
    try:
        with span:
            span.result = result = await work
    except Exception:
        await _wait_if_outermost(span)
        raise
    await _wait_if_outermost(span)
    return result


async def _wait_if_outermost(span: Span) -> None:
    """After a kickoff outside of runs, wait for the listeners: its caller may look at what they have gathered."""
    if not span.parent and span.emitter.row is None:
        await span.emitter.wait_delivered()


def failure_of(error: BaseException) -> Failure:
    """`error` as a listener sees it."""
    if isinstance(error, CrewrunError):
        category = str(error.category)
    else:
        category = "internal" if isinstance(error, Exception) else CANCELLED
    return Failure(category, type(error).__name__, redact(str(error)[:LONGEST_QUOTATION]), error)
