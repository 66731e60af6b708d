"""`RowTracer`: makes a span of each part of a row as it ends, and puts it on its way, encoded.

Spans are made soon after the events, and encoded at once: a queue of rows with their prompts could take any amount of
memory while a collector is slow.
"""

import secrets
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from threading import Lock
from typing import Final

from crewrun.monitoring.contents import contents_of
from crewrun.monitoring.otlp import CLIENT, INTERNAL, Place, Span, constant, encoded, event
from crewrun.monitoring.span_attributes import LONGEST_ERROR, SpanAttributes, name_of, of_retry, of_wait
from crewrun.monitoring.trace_parent import TraceParent
from crewrun.row_events import CANCELLED, Failure, RowEvent

# Numbers of spans become ids by a multiplication that no two of them share, so a parent's id needs no table.
_ODD: Final = 0x9E37_79B9_7F4A_7C15
# The events of some ten rows: many at once take a third of the time that each takes between the steps of rows.
_EVENTS_AT_ONCE: Final = 128
_ALL_BITS: Final = 0xFFFF_FFFF_FFFF_FFFF


class _RowTrace:
    """The trace of a row that runs: its id, when its open spans began, and what happened in them.

    `target` is the number of the first crew or flow that the row starts, for which the row's own span stands, and
    `name` its name.
    """

    __slots__ = ("began_ns", "name", "notes", "target", "trace_id")

    def __init__(self, trace_id: bytes) -> None:
        self.trace_id = trace_id
        self.began_ns: dict[int, int] = {}
        self.notes: dict[int, bytes] = {}
        self.target = 0
        self.name = ""


@dataclass(frozen=True, slots=True)
class TracerOptions:
    """`parent` is the span that the run is part of. `is_sampled` decides by a trace's id whether a row is traced.

    With `has_contents` spans have the texts of prompts and answers, each of at most `longest_text` characters, and the
    messages of errors.
    """

    is_sampled: Callable[[bytes], bool]
    parent: TraceParent | None = None
    has_contents: bool = False
    longest_text: int | None = None
    run: str = ""


class RowTracer:
    """A listener to the events of a run's rows. `put` takes each span, encoded, and returns at once."""

    def __init__(self, options: TracerOptions, put: Callable[[bytes], None]) -> None:
        self._options = options
        self._put = put
        self._attributes = SpanAttributes()
        self._traces: dict[int, _RowTrace] = {}  # of rows that run and are traced, by their outermost span
        self._events: deque[RowEvent] = deque()  # those that no span has been made of yet
        self._making = Lock()  # protects the traces: rows run in several threads, and the queue's thread flushes
        self._seed = secrets.randbits(64)
        self._of_run = constant("crewrun.run", options.run) if options.run else b""

    def on_event(self, event: RowEvent) -> None:
        """See `RowListener`."""
        self._events.append(event)
        if len(self._events) >= _EVENTS_AT_ONCE:
            self.flush()

    def flush(self) -> None:
        """Make the spans of all that has happened so far."""
        with self._making:
            while self._events:
                self._see(self._events.popleft())

    def _see(self, event: RowEvent) -> None:
        if event.span == event.root and event.phase == "started":
            self._begin(event)
            return
        trace = self._traces.get(event.root)
        if trace is None:
            return
        match event.phase:
            case "started":
                trace.began_ns[event.span] = event.time_ns
                if event.parent == event.root and not trace.target and event.kind in ("crew", "flow"):
                    trace.target, trace.name = event.span, event.name
            case "completed" | "failed":
                self._end(event, trace)
            case _:
                trace.notes[event.span] = trace.notes.get(event.span, b"") + self._note(event)

    def _begin(self, event: RowEvent) -> None:
        parent = self._options.parent
        trace_id = secrets.token_bytes(16) if parent is None else parent.trace_id
        if not self._options.is_sampled(trace_id):
            return
        trace = self._traces[event.root] = _RowTrace(trace_id)
        trace.began_ns[event.span] = event.time_ns
        if event.kind != "row":
            trace.name = event.name

    def _end(self, event: RowEvent, trace: _RowTrace) -> None:
        is_root = event.span == event.root
        if is_root:
            del self._traces[event.root]
        elif event.span == trace.target:
            return  # the row's span stands for it
        target = trace.name if is_root else event.name
        attributes = self._attributes.of(event, target)
        if is_root:
            attributes += self._of_run
        if self._options.has_contents:
            attributes += contents_of(event, self._options.longest_text)
        failure = event.failure
        self._put(
            encoded(
                self._place(event, trace),
                Span(
                    name=name_of(event, target),
                    kind=CLIENT if event.kind == "call" else INTERNAL,
                    start_ns=trace.began_ns.pop(event.span, event.time_ns),
                    end_ns=event.time_ns,
                    attributes=attributes,
                    events=trace.notes.pop(event.span, b"") if trace.notes else b"",
                    error=None if failure is None else self._message(failure),
                ),
            )
        )

    def _place(self, event: RowEvent, trace: _RowTrace) -> Place:
        span_id, above = self._id(event.span), self._options.parent
        state = above.state if above is not None else ""
        if event.parent:
            parent = event.root if event.parent == trace.target else event.parent
            return Place(trace.trace_id, span_id, self._id(parent), state=state)
        if above is None:
            return Place(trace.trace_id, span_id, b"")
        return Place(trace.trace_id, span_id, above.span_id, is_remote=True, state=state)

    def _id(self, number: int) -> bytes:
        return ((number * _ODD + self._seed) & _ALL_BITS).to_bytes(8, "big")

    def _message(self, failure: Failure) -> str:
        """Why a part failed: without contents only the error's class, as messages quote prompts and arguments.
        What a cancellation says is about the event loop, and nothing to anybody.
        """
        if failure.category == CANCELLED:
            return "cancelled"
        return failure.message[:LONGEST_ERROR] if self._options.has_contents else failure.type

    def _note(self, noted: RowEvent) -> bytes:
        """An event of a call's span."""
        if noted.phase == "retry":
            attributes = of_retry(noted.result, has_message=self._options.has_contents)
        else:
            attributes = of_wait(noted.result)
        return event(f"crewrun.{noted.phase}", noted.time_ns, attributes)
