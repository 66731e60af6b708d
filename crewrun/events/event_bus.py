"""`crewai_event_bus`: which handlers there are for which events, and what sends them.

Handlers are called by `delivery`, in a thread, one after another. Events of rows come from `row_events`, once there is
a handler; `translation` makes CrewAI's events of them there, in that thread.
"""

import asyncio
import atexit
import warnings
from collections.abc import Awaitable, Callable, Iterator, Mapping
from concurrent.futures import Future
from contextlib import contextmanager
from copy import deepcopy
from functools import cache
from inspect import Parameter, isawaitable, iscoroutine, signature
from threading import Lock
from typing import Any, NamedTuple, TypeVar

from crewrun.errors import CrewrunWarning, DefinitionError
from crewrun.events.base_events import BaseEvent
from crewrun.events.delivery import Delivery
from crewrun.events.depends import Depends, Handler, in_order, name_of
from crewrun.events.event_fields import KINDS
from crewrun.events.names import why_never_sent
from crewrun.events.never_sent import NeverSent
from crewrun.events.translation import Translation
from crewrun.library_warnings import warn
from crewrun.loading.blocking_calls import place_in_users_code
from crewrun.loading.user_code import place_of
from crewrun.redaction.redactor import redact_line
from crewrun.row_events import MethodOfRow, RowEvent, TargetRun, add_listener, current_span, remove_listener

F = TypeVar("F", bound=Callable[..., Any])
_POSITIONAL = (Parameter.POSITIONAL_ONLY, Parameter.POSITIONAL_OR_KEYWORD)
# How long the end of the process waits for events that a program has sent outside of kickoffs, as with CrewAI.
_AT_EXIT_S = 30.0


class _Handlers(NamedTuple):
    """The handlers by the class of their events, in the order in which they are called, and what depends on what."""

    by_event: Mapping[type[BaseEvent], tuple[Handler, ...]] = {}
    dependencies: Mapping[type[BaseEvent], Mapping[Handler, tuple[Depends, ...]]] = {}

    @property
    def kinds(self) -> frozenset[str]:
        """The kinds of row events that the handled events are made of."""
        return frozenset(kind for event in self.by_event for kind in KINDS.get(event, ()))


class CrewAIEventsBus:
    """The handlers of the process. Use `crewai_event_bus`, the only one that gets the events of rows."""

    def __init__(self) -> None:
        self._handlers = _Handlers()
        self._kinds: frozenset[str] = frozenset()
        self._lock = Lock()  # protects the two, which are replaced and never changed
        self._delivery = Delivery()
        self._translation = Translation()
        self._has_warned: set[tuple[Handler, str]] = set()
        self._is_flushed_at_exit = False
        self._current: Handler | None = None  # the one that the thread is in

    def on(self, event_type: type[BaseEvent], depends_on: Depends | list[Depends] | None = None) -> Callable[[F], F]:
        """A decorator for handlers of events of exactly this class: `handler(source, event)`, sync or async.

        With `depends_on` the handler is called after those. Warns about an event that is never sent, and raises
        DefinitionError for what is no event.
        """
        depends = (depends_on,) if isinstance(depends_on, Depends) else tuple(depends_on or ())

        def decorate(handler: F) -> F:
            self._register(event_type, handler, depends)
            return handler

        _check_event_class(event_type)
        self._warn_if_never_sent(event_type)
        return decorate

    def register_handler(self, event_type: type[BaseEvent], handler: Handler) -> None:
        """As `on` does."""
        self.on(event_type)(handler)

    def off(self, event_type: type[BaseEvent], handler: Handler) -> None:
        """Call `handler` no longer for events of this class."""
        with self._lock:
            by_event, dependencies = dict(self._handlers.by_event), dict(self._handlers.dependencies)
            by_event[event_type] = tuple(one for one in by_event.get(event_type, ()) if one != handler)
            dependencies[event_type] = {
                one: others for one, others in dependencies.get(event_type, {}).items() if one != handler
            }
            self._use(_Handlers({event: one for event, one in by_event.items() if one}, dependencies))

    @contextmanager
    def scoped_handlers(self) -> Iterator[None]:
        """Inside the block there are only the handlers that are registered in it; after it, those from before."""
        with self._lock:
            before = self._handlers
            self._use(_Handlers())
        try:
            yield
        finally:
            self.flush()
            with self._lock:
                self._use(before)

    def emit(self, source: Any, event: BaseEvent) -> "Future[None] | None":
        """Send an event of the program's own, with the same guarantees as those of rows.

        The future is done when the handlers have been called; None without handlers.
        """
        handlers = self._handlers.by_event.get(type(event))
        span = current_span()
        if span is not None:
            event.row_id = event.row_id or (None if span.emitter.row is None else span.emitter.row.id)
            event.parent_event_id = event.parent_event_id or self._translation.start_of(span.id)
        if not handlers:
            return None
        if not self._is_flushed_at_exit:
            self._is_flushed_at_exit = True
            atexit.register(self.flush, _AT_EXIT_S)
        delivered: Future[None] = Future()
        if not self._delivery.put(self._deliver_own, source, event, delivered):
            delivered.set_result(None)
        return delivered

    async def aemit(self, source: Any, event: BaseEvent) -> None:
        """As `emit`, and wait until the handlers have been called. A handler does not wait: they come after it."""
        delivered = self.emit(source, event)
        if delivered is not None and not self._delivery.is_here:
            await asyncio.wrap_future(delivered)

    def flush(self, timeout: float | None = 30.0) -> bool:
        """Wait until the handlers have been called for all events so far. False if that takes longer than `timeout`."""
        return self._delivery.wait_done_here(timeout)

    def shutdown(self, wait: bool = True) -> None:
        """Remove all handlers, after they have been called for all events so far if `wait`."""
        if wait:
            self.flush()
        with self._lock:
            self._use(_Handlers())

    def validate_dependencies(self) -> None:
        """Raise CircularDependencyError if handlers depend on each other, or on a handler of another event."""
        for event, dependencies in self._handlers.dependencies.items():
            in_order(self._handlers.by_event.get(event, ()), dependencies)

    def _register(self, event_type: type[BaseEvent], handler: Handler, depends: tuple[Depends, ...]) -> None:
        with self._lock:
            handlers = self._handlers
            several = handlers.by_event.get(event_type, ())
            if handler not in several:
                several = (*several, handler)
            dependencies = dict(handlers.dependencies)
            if depends:
                dependencies[event_type] = {**dependencies.get(event_type, {}), handler: depends}
            complete = {one: on for one, on in dependencies.get(event_type, {}).items() if _has_all(on, several)}
            self._use(_Handlers({**handlers.by_event, event_type: in_order(several, complete)}, dependencies))

    def _use(self, handlers: _Handlers) -> None:
        """Use `handlers` from now on, and listen to rows while there are any. Called with the lock."""
        self._handlers, self._kinds = handlers, handlers.kinds
        (add_listener if self._kinds else remove_listener)(self)

    def _warn_if_never_sent(self, event_type: type[BaseEvent]) -> None:
        is_own = event_type.__module__.partition(".")[0] != "crewrun"
        if event_type in KINDS or is_own:
            return
        why = why_never_sent(event_type.__name__)
        if not issubclass(event_type, NeverSent):
            why = "an event has the class of its own kind, and handlers get events of exactly their class"
        warnings.warn(
            f"{place_in_users_code()}{event_type.__name__} is never sent: {why}", CrewrunWarning, stacklevel=4
        )

    def on_event(self, event: RowEvent) -> None:
        """See `RowListener`. Events are taken to the thread as they are; only what may change is copied here."""
        if event.kind in self._kinds:
            self._delivery.put(self._deliver, event, _state_at(event))
        elif event.span == event.root:
            self._delivery.put(self._deliver, event, None)

    async def wait_room(self) -> None:
        """See `QueueingListener`."""
        if not await self._delivery.wait_room():
            self._warn_of_hanging()

    async def wait_delivered(self) -> None:
        """See `QueueingListener`."""
        if not await self._delivery.wait_done():
            self._warn_of_hanging()
        if lost := self._delivery.lost:
            self._delivery.lost = 0
            warn(f"{lost:,} events were not sent, since a handler hung")

    def _warn_of_hanging(self) -> None:
        name = name_of(self._current) if self._current is not None else "a handler"
        why = f"{name} has not returned for {self._delivery.patience_s:g} s; until it does, no events are sent"
        warn(why)

    def _deliver(self, event: RowEvent, state: Any) -> None:
        """Call the handlers for an event of a row. Runs in the thread."""
        by_event = self._handlers.by_event
        for source, own in self._translation.events_of(event, state, by_event):
            self._call_handlers(by_event[type(own)], source, own)

    def _deliver_own(self, source: Any, event: BaseEvent, delivered: "Future[None]") -> None:
        self._call_handlers(self._handlers.by_event.get(type(event), ()), source, event)
        if delivered.set_running_or_notify_cancel():
            delivered.set_result(None)

    def _call_handlers(self, handlers: tuple[Handler, ...], source: Any, event: BaseEvent) -> None:
        for handler in handlers:
            self._current = handler
            try:
                result = handler(source, event, *_more(handler))
                if iscoroutine(result):
                    self._delivery.await_here(result)
                elif isawaitable(result):
                    self._delivery.await_here(_awaited(result))
            except BaseException as failed:  # whatever a handler raises, also SystemExit, is not its row's
                self._warn_of_failed(handler, event, failed)
        self._current = None

    def _warn_of_failed(self, handler: Handler, event: BaseEvent, failed: BaseException) -> None:
        """Warn once about each handler and class of events."""
        key = (handler, type(event).__name__)
        if key in self._has_warned:
            return
        self._has_warned.add(key)
        place = f"{where}: " if (where := place_of(failed)) is not None else ""
        why = redact_line(f"{type(failed).__name__}: {failed}")
        warn(f"{place}{name_of(handler)} failed at {type(event).__name__}: {why}")


def _state_at(event: RowEvent) -> Any:
    """A copy of a flow's state; None for other events, and where a flow may have no state yet."""
    subject = event.subject
    if isinstance(subject, MethodOfRow):
        flow = subject.flow
    elif isinstance(subject, TargetRun) and event.kind == "flow" and event.phase == "completed":
        flow = subject.target
    else:
        return None
    state = flow.state
    try:
        return deepcopy(state)
    except Exception:  # it has something that cannot be copied, such as a connection
        return state


def _check_event_class(event_type: object) -> None:
    """Raise DefinitionError unless it is the class of an event."""
    if not (isinstance(event_type, type) and issubclass(event_type, BaseEvent)):
        needed = "the class of an event, such as CrewKickoffStartedEvent"
        raise DefinitionError(f"{place_in_users_code()}on() takes {needed}, not {event_type!r}")


def _has_all(depends: tuple[Depends, ...], handlers: tuple[Handler, ...]) -> bool:
    """Whether all of those that a handler depends on are registered; a later one may be."""
    return all(one.handler in handlers for one in depends)


@cache
def _more(handler: Handler) -> tuple[None, ...]:
    """The arguments after the event: CrewAI passes a state to handlers that take a third one."""
    try:
        parameters = signature(handler).parameters.values()
    except (TypeError, ValueError):
        return ()
    needed = [one for one in parameters if one.default is one.empty and one.kind in _POSITIONAL]
    return (None,) * (len(needed) - 2)


async def _awaited(result: Awaitable[Any]) -> Any:
    return await result


crewai_event_bus = CrewAIEventsBus()
