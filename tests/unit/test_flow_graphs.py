"""Random flows against a reference interpreter that is written for being read, and very many kickoffs at once."""

import heapq
import math
import warnings
from collections import Counter
from typing import Any

import anyio
import pytest
import trio
import trio.testing
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from crewrun import Flow
from crewrun.errors import DefinitionError
from crewrun.flow import and_, listen, or_, router, start

# A condition is a name or ("and", …) or ("or", …); a router's script is what its calls return one after another.
Condition = str | tuple[Any, ...]
Graph = dict[str, tuple[str, Condition | None, list[str | None]]]
Trace = list[tuple[str, str, Any, float]]
LABELS = ("red", "green")
MOST_CALLS = 6


def duration_of(name: str, call: int) -> float:
    """How long the `call`th call of a method takes: square roots of primes, so that no two ways take the same time."""
    return math.sqrt(PRIMES[(int(name[1:]) * 40 + call) % len(PRIMES)])


PRIMES = [n for n in range(2, 4000) if all(n % d for d in range(2, math.isqrt(n) + 1))]


class Reference:
    """One run of a graph: calls wait in a heap for their ends, and each end is looked at by every method in turn."""

    def __init__(self, graph: Graph) -> None:
        self.graph = graph
        self.trace: Trace = []
        self.running: list[tuple[float, str, Any, int, set[str]]] = []
        self.calls: Counter[str] = Counter()
        self.seen: dict[Any, dict[Any, tuple[int, set[str]]]] = {}
        self.or_fired: dict[str, int] = {}

    def run(self) -> Trace:
        for name, (kind, _, _) in self.graph.items():
            if kind == "start":
                self.begin(0.0, name, None, 0, {name})
        while self.running:
            now, name, result, lap, ancestors = heapq.heappop(self.running)
            self.trace.append(("end", name, result, now))
            self.tell(now, name, result, lap, ancestors)
            if self.graph[name][0] == "router" and result is not None:
                self.tell(now, result, result, lap, ancestors)
        return self.trace

    def begin(self, now: float, name: str, argument: Any, lap: int, ancestors: set[str]) -> None:
        kind, _, script = self.graph[name]
        call = self.calls[name]
        self.calls[name] += 1
        if call == MOST_CALLS:
            raise RecursionError
        result = f"{name}.{call}" if kind != "router" else (script[call] if call < len(script) else None)
        self.trace.append(("begin", name, argument, now))
        heapq.heappush(self.running, (now + duration_of(name, call), name, result, lap, ancestors))

    def tell(self, now: float, event: str, result: Any, lap: int, ancestors: set[str]) -> None:
        for name, (_, condition, _) in self.graph.items():
            is_or = isinstance(condition, tuple) and condition[0] == "or"
            if condition is None or (is_or and self.or_fired.get(name, -1) >= lap + (name in ancestors)):
                continue
            if (reached := self.look(condition, (name,), event, (lap, ancestors))) is None:
                continue
            its_lap, through = reached
            if name in through:  # it led back to what it came from
                its_lap, through = its_lap + 1, set()
            if is_or:
                self.or_fired[name] = its_lap
            self.seen = {place: known for place, known in self.seen.items() if place[0] != name}
            self.begin(now, name, result, its_lap, through | {name})

    def look(
        self, condition: Condition, place: Any, event: str, came: tuple[int, set[str]]
    ) -> tuple[int, set[str]] | None:
        if isinstance(condition, str):
            return came if condition == event else None
        word, *parts = condition
        held = {i: reached for i, part in enumerate(parts) if (reached := self.look(part, (*place, i), event, came))}
        if word == "or":
            return held[min(held)] if held else None
        seen = self.seen.setdefault(place, {})
        seen |= held
        if not held or len(seen) < len(parts):
            return None
        self.seen[place] = {}
        latest = max(lap for lap, _ in seen.values())
        return latest, set().union(*(names for lap, names in seen.values() if lap == latest))


def as_condition(condition: Condition) -> Any:
    if isinstance(condition, str):
        return condition
    return (and_ if condition[0] == "and" else or_)(*map(as_condition, condition[1:]))


def flow_class(graph: Graph) -> type[Flow]:
    """A flow of that graph, whose methods note in the state when they begin and end."""

    def method(name: str, kind: str, condition: Condition | None, script: list[str | None]) -> Any:
        async def run(self: Any, argument: Any = None) -> Any:
            call = self.state["calls"][name]
            self.state["calls"][name] += 1
            result = f"{name}.{call}" if kind != "router" else (script[call] if call < len(script) else None)
            self.state["trace"].append(("begin", name, argument, trio.current_time()))
            await anyio.sleep_until(trio.current_time() + duration_of(name, call))
            self.state["trace"].append(("end", name, result, trio.current_time()))
            return result

        run.__name__ = name
        if condition is None:
            return start()(run)
        return (router if kind == "router" else listen)(as_condition(condition))(run)

    return type("Random", (Flow,), {name: method(name, *said) for name, said in graph.items()})


def conditions(earlier: list[str]) -> st.SearchStrategy[Condition]:
    def joined(inner: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
        parts = st.lists(inner, min_size=1, max_size=3)
        return st.tuples(st.sampled_from(["and", "or"]), parts).map(lambda found: (found[0], *found[1]))

    names: st.SearchStrategy[Any] = st.sampled_from([*earlier, *LABELS])
    first_of = st.lists(names, min_size=2, max_size=3, unique=True).map(lambda found: ("or", *found))
    return st.one_of(first_of, st.recursive(names, joined, max_leaves=4))


@st.composite
def graphs(draw: st.DrawFn) -> Graph:
    """A start, a router behind it, and more methods that listen to any others or to labels, which lead back."""
    scripts = st.lists(st.sampled_from([*LABELS, *LABELS, None]), max_size=6)
    graph: Graph = {"m0": ("start", None, []), "m1": ("router", "m0", draw(scripts))}
    names = [f"m{i}" for i in range(draw(st.integers(3, 9)))]
    for i, name in enumerate(names[2:], 2):
        kind = draw(st.sampled_from(["start", "listen", "listen", "listen", "router"]))
        others = [*names[:i], *names[i + 1 :]] if draw(st.booleans()) else names[:i]
        condition = None if kind == "start" else draw(conditions(others))
        graph[name] = (kind, condition, draw(scripts) if kind == "router" else [])
    return graph


def order(trace: Trace) -> Trace:
    """By time; what begins at the same time in no order."""
    return sorted(((word, name, result, round(at, 6)) for word, name, result, at in trace), key=lambda it: (it[3], it))


@settings(max_examples=150, deadline=None)
@given(graph=graphs())
def test_methods_run_as_often_and_in_the_order_that_the_reference_says(graph: Graph) -> None:
    """With the same arguments, at the same times of a virtual clock, in each of several kickoffs of one object."""
    traces: list[Trace] = []
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            kind = flow_class(graph)
    except DefinitionError:  # what can never run is refused
        assume(False)
    try:
        expected = order(Reference(graph).run())
    except RecursionError:
        expected = []

    async def main() -> None:
        began = trio.current_time()

        class Watched(kind):  # type: ignore[valid-type, misc]  # made a moment ago
            pass

        flow = Watched(max_method_calls=MOST_CALLS)
        if not expected:
            with pytest.raises(RecursionError):
                await flow.akickoff({"trace": [], "calls": Counter()})
            return
        flows: list[dict[str, Any]] = [{"trace": [], "calls": Counter()} for _ in range(3)]
        kept = [flow._crewrun_copy() for _ in flows]
        async with anyio.create_task_group() as group:
            for one, inputs in zip(kept, flows, strict=True):
                group.start_soon(one.akickoff, inputs)
        noted = (one.state["trace"] for one in kept)
        traces.extend([(word, name, result, at - began) for word, name, result, at in trace] for trace in noted)

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        trio.run(main, clock=trio.testing.MockClock(autojump_threshold=0))
    assert [order(trace) for trace in traces] == [expected] * (3 if expected else 0)


@pytest.mark.anyio
async def test_thousands_of_kickoffs_of_one_object_keep_to_themselves() -> None:
    """2,000 are begun before one ends; each has its own state, arguments and result."""
    begun = 0
    everybody = anyio.Event()

    class Counting(Flow):
        @start()
        async def left(self) -> int:
            nonlocal begun
            begun += 1
            if begun == 2_000:
                everybody.set()
            await everybody.wait()
            self.state["left"] = int(self.state["n"])
            return int(self.state["n"]) + 1

        @start()
        async def right(self) -> str:
            self.state["right"] = [self.state["n"]]
            return "right"

        @listen(and_(left, right))
        async def join(self, found: int) -> tuple[int, Any, Any]:
            return found, self.state["left"], self.state["right"]

    flow = Counting(right="nothing yet")
    before = flow.state.copy()
    results: list[Any] = [None] * 2_000

    async def one(n: int) -> None:
        results[n] = await flow.akickoff({"n": n})

    with anyio.fail_after(60):
        async with anyio.create_task_group() as group:
            group.start_soon(one, 0)
            await anyio.lowlevel.checkpoint()
            for n in range(1, 2_000):
                group.start_soon(one, n)
    assert results == [(n + 1, n, [n]) for n in range(2_000)]
    assert flow.state == {**before, "n": 0, "left": 0, "right": [0]}
