"""`Schedule`: which methods follow which, in one run of a flow. It calls nothing and waits for nothing.

The caller reports each call that ends, in order, and gets the calls to start. The same endings in the same order give
the same calls with the same numbers; that is how an interrupted flow resumes.
"""

from collections.abc import Sequence
from typing import Any, NamedTuple

from crewrun.flow.dsl import AnyOf, Condition, Named
from crewrun.flow.graph import FlowGraph, Method


class Trace(NamedTuple):
    """What led to an event: the lap of a loop that it is in, and the methods of that lap before it.

    A call of one of those methods begins the next lap, in which every `or_` may hold once more.
    """

    lap: int = 0
    methods: frozenset[str] = frozenset()

    def through(self, method: str) -> "Trace":
        """The trace of a call of `method` that follows this."""
        if method in self.methods:
            return Trace(self.lap + 1, frozenset((method,)))
        return Trace(self.lap, self.methods | {method})


class MethodCall(NamedTuple):
    """One call of a method, the `number`th of the run. `result` is the result of the call before it."""

    number: int
    method: Method
    result: Any
    trace: Trace


class _Event(NamedTuple):
    name: str
    trace: Trace


class Schedule:
    """What the conditions of one run still wait for. `max_calls` bounds the calls of one method."""

    def __init__(self, graph: FlowGraph, max_calls: int) -> None:
        self._graph = graph
        self._max_calls = max_calls
        self._calls = 0
        self._calls_of: dict[str, int] = {}
        # The parts of each and_ that have held since the method's condition last did: by the method, then by the
        # and_'s position in the condition.
        self._seen: dict[str, dict[tuple[int, ...], dict[int, Trace]]] = {}
        # The lap in which a method's or_ last held.
        self._held_in: dict[str, int] = {}

    def begin(self) -> list[MethodCall]:
        """The calls that the run begins with."""
        return [self._call(method, None, Trace(0, frozenset((method.name,)))) for method in self._graph.starts]

    def ended(self, call: MethodCall, result: Any) -> list[MethodCall]:
        """The calls that follow the end of `call`. A router's label is its `result` as text; None is no label.

        Raises RecursionError if that would call a method too often.
        """
        name = call.method.name
        following = self._listeners(_Event(name, call.trace), result)
        if call.method.is_router and result is not None and (label := str(result)) != name:
            following += self._listeners(_Event(label, call.trace), result)
        return following

    def _listeners(self, event: _Event, result: Any) -> list[MethodCall]:
        calls = []
        for method in self._graph.listeners.get(event.name, ()):
            held_in = self._held_in.get(method.name, -1) if isinstance(method.condition, AnyOf) else -1
            if held_in >= event.trace.through(method.name).lap:
                continue  # later parts of an or_ in the same lap are ignored, and not remembered either
            trace = self._holds(method.condition, (), method.name, event)
            if trace is None:
                continue
            self._seen.pop(method.name, None)
            trace = trace.through(method.name)
            self._held_in[method.name] = trace.lap
            calls.append(self._call(method, result, trace))
        return calls

    def _holds(self, condition: Condition | None, place: tuple[int, ...], method: str, event: _Event) -> Trace | None:
        """The trace by which `event` makes `condition` hold, None if it does not. Each and_ remembers the event."""
        if isinstance(condition, Named):
            return event.trace if condition.name == event.name else None
        if condition is None:
            return None
        traces = ((i, self._holds(part, (*place, i), method, event)) for i, part in enumerate(condition.parts))
        holding = {i: trace for i, trace in traces if trace is not None}
        if isinstance(condition, AnyOf):
            return next(iter(holding.values()), None)
        places = self._seen.setdefault(method, {})
        seen = places.setdefault(place, {})
        seen.update(holding)
        if not holding or len(seen) < len(condition.parts):
            return None
        del places[place]
        return _joined(list(seen.values()))

    def _call(self, method: Method, result: Any, trace: Trace) -> MethodCall:
        calls = self._calls_of[method.name] = self._calls_of.get(method.name, 0) + 1
        if calls > self._max_calls:
            raise RecursionError(
                f"{self._graph.called(method)} was called {self._max_calls} times in one kickoff, "
                f"and {'its condition' if method.condition is None else method.condition} calls it again: a cycle "
                "without an end. Let a router return None or another label in time, or raise max_method_calls"
            )
        self._calls += 1
        return MethodCall(self._calls, method, result, trace)


def _joined(traces: Sequence[Trace]) -> Trace:
    """The trace of an and_ whose parts have `traces`: their latest lap, with all methods of that lap."""
    lap = max(trace.lap for trace in traces)
    return Trace(lap, frozenset().union(*(trace.methods for trace in traces if trace.lap == lap)))
