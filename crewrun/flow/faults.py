"""What is wrong with a flow's graph: `check`, before anything runs.

A class without a start is the base of others, and only they can say whether all that it waits for exists.
"""

import warnings
from collections.abc import Iterator

from crewrun.errors import CrewrunWarning, DefinitionError, suggest
from crewrun.flow.dsl import AllOf, AnyOf, Condition, Named
from crewrun.flow.graph import FlowGraph, Method, names_in


def check(graph: FlowGraph) -> None:
    """Raise DefinitionError for a method that listens to itself or to a function elsewhere, or can never run.

    Warns with CrewrunWarning of a label that no router returns, a router that nobody listens to, and a loop without an
    end.
    """
    for method in graph.methods.values():
        if any(one.name == method.name for one in names_in(method.condition)):
            raise DefinitionError(
                f"{graph.called(method)} listens to itself; a loop needs a router in it, and a label a name that its "
                "listener does not have"
            )
    missing: set[str] = set()
    if graph.starts:
        for method in graph.methods.values():
            missing.update(_check_names(graph, method))
    running, events = _reached(graph, missing)
    for method in graph.methods.values():
        if method.name not in running:
            raise DefinitionError(f"{graph.called(method)} can never run: {_why(graph, method, events)}")
    for method in graph.routers:
        if graph.starts and not _is_heard(graph, method):
            _warn(f"{graph.called(method)} is a router, and nothing listens to the labels that it returns")
    if loop := _endless_loop(graph):
        way = " → ".join(method.name for method in (*loop, loop[0]))
        _warn(
            f"{graph.called(loop[0])} is in a loop that no router's label ends, {way}: only an exception does, or "
            "max_method_calls. Let one of them listen to a label instead"
        )


def unknown_label(graph: FlowGraph, router: Method, label: str) -> str | None:
    """The warning for a label that leads nowhere, None when it leads on or is one that the router says it returns."""
    if label in graph.listeners or (router.labels is not None and label in router.labels):
        return None
    labels = sorted(graph.labels if router.labels is None else router.labels)
    near = suggest(label, labels)
    listed = f"the labels are {', '.join(map(repr, labels))}" if labels else "there are none"
    return (
        f"{graph.called(router)} returned {label!r}{near}, which nothing listens to, so its branch ends there; "
        f"{listed}. Return None to end without this warning"
    )


def _warn(message: str) -> None:
    warnings.warn(message, CrewrunWarning, stacklevel=2)


def _is_heard(graph: FlowGraph, router: Method) -> bool:
    if router.labels is not None:
        return not router.labels or any(label in graph.listeners for label in router.labels)
    return router.name in graph.listeners or bool(graph.labels)


def _check_names(graph: FlowGraph, method: Method) -> Iterator[str]:
    """What `method` listens to and will never hear, warned about; CrewAI says nothing."""
    returned = [router.returned for router in graph.routers]
    labels = {label for names in returned for label in names or ()}
    any_label = any(names is None for names in returned)
    for one in names_in(method.condition):
        if one.name in graph.methods or one.name in labels or (any_label and not one.is_method):
            continue
        near = suggest(one.name, [*graph.methods, *sorted(labels)])
        listens = f"{graph.called(method)} listens to {one.name!r}{near}, which is no method"
        if one.is_method:
            raise DefinitionError(f"{listens} of the flow")
        _warn(f"{listens}, and no router returns it")
        yield one.name


def _endless_loop(graph: FlowGraph) -> tuple[Method, ...]:
    """The methods of a loop, in their order, in which each leads to the next by its end, whatever a router says; empty
    for none.
    """

    def follow(way: tuple[Method, ...]) -> tuple[Method, ...]:
        for method in graph.listeners.get(way[-1].name, ()):
            if not _can_hold(method.condition, {way[-1].name}):
                continue
            if method in way:
                return way[way.index(method) :]
            if method.name not in seen and (loop := follow((*way, method))):
                return loop
        seen.add(way[-1].name)
        return ()

    seen: set[str] = set()
    methods = graph.methods.values()
    return next((loop for method in methods if method.name not in seen and (loop := follow((method,)))), ())


def _reached(graph: FlowGraph, missing: set[str]) -> tuple[set[str], set[str | None]]:
    """The methods that can run, and the events that can come; None stands for whatever a router may say.

    The labels that are `missing` count as labels that come: what listens to them has been warned about.
    """
    running: set[str] = set()
    events: set[str | None] = set(missing)
    if not graph.starts:  # what is not here a class made of this one may bring
        events.update(graph.labels)
    while True:
        more = [
            method
            for method in graph.methods.values()
            if method.name not in running and (method.starts or _can_hold(method.condition, events))
        ]
        if not more:
            return running, events
        for method in more:
            running.add(method.name)
            events.add(method.name)
            if method.is_router:
                events.update(method.labels if method.labels is not None else [None])


def _can_hold(condition: Condition | None, events: set[str | None]) -> bool:
    match condition:
        case Named(name, is_method):
            return name in events or (None in events and not is_method)
        case AllOf(parts):
            return all(_can_hold(part, events) for part in parts)
        case AnyOf(parts):
            return any(_can_hold(part, events) for part in parts)
    return False


def _why(graph: FlowGraph, method: Method, events: set[str | None]) -> str:
    absent = [one.name for one in names_in(method.condition) if not _can_hold(one, events)]
    if len(absent) < len(list(names_in(method.condition))):
        return f"{method.condition} waits for {', '.join(map(repr, absent))}, which no way leads to before it"
    waited = f"{method.condition} is not reached from a method under @start()"
    return waited if graph.starts else f"{waited}, and the flow has none"
