"""`check`: what is wrong with a flow's graph, found when the class is created.

A class without a start is a base class: names that it waits for may be defined in its subclasses.
"""

import warnings
from collections.abc import Iterator

from crewrun.errors import CrewrunWarning, DefinitionError, suggest
from crewrun.flow.dsl import AllOf, AnyOf, Condition, Named
from crewrun.flow.graph import FlowGraph, Method, names_in


def check(graph: FlowGraph) -> None:
    """Raise DefinitionError for a method that listens to itself or to a function elsewhere, or can never run.

    Warns with CrewrunWarning about a label that no router returns, a router that nothing listens to, and an endless
    loop.
    """
    for method in graph.methods.values():
        if any(named.name == method.name for named in names_in(method.condition)):
            raise DefinitionError(
                f"{graph.called(method)} listens to itself; a loop needs a router in it, and a label a name that its "
                "listener does not have"
            )
    missing: set[str] = set()
    if graph.starts:
        for method in graph.methods.values():
            missing.update(_check_names(graph, method))
    running, events = _reachable(graph, missing)
    for method in graph.methods.values():
        if method.name not in running:
            raise DefinitionError(f"{graph.called(method)} can never run: {_why_unreachable(graph, method, events)}")
    for method in graph.routers:
        if graph.starts and not _has_listener(graph, method):
            _warn(f"{graph.called(method)} is a router, and nothing listens to the labels that it returns")
    if loop := _endless_loop(graph):
        path = " → ".join(method.name for method in (*loop, loop[0]))
        _warn(
            f"{graph.called(loop[0])} is in a loop that no router's label ends, {path}: only an exception does, or "
            "max_method_calls. Let one of them listen to a label instead"
        )


def unknown_label(graph: FlowGraph, router: Method, label: str) -> str | None:
    """The warning for a label that nothing listens to; None if something does, or the router declares the label."""
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


def _has_listener(graph: FlowGraph, router: Method) -> bool:
    if router.labels is not None:
        return not router.labels or any(label in graph.listeners for label in router.labels)
    return router.name in graph.listeners or bool(graph.labels)


def _check_names(graph: FlowGraph, method: Method) -> Iterator[str]:
    """The names that `method` listens to and nothing produces. Warns about each; CrewAI is silent about them."""
    label_sets = [router.returned for router in graph.routers]
    labels = {label for names in label_sets for label in names or ()}
    any_label = any(names is None for names in label_sets)
    for named in names_in(method.condition):
        if named.name in graph.methods or named.name in labels or (any_label and not named.is_method):
            continue
        near = suggest(named.name, [*graph.methods, *sorted(labels)])
        listens = f"{graph.called(method)} listens to {named.name!r}{near}, which is no method"
        if named.is_method:
            raise DefinitionError(f"{listens} of the flow")
        _warn(f"{listens}, and no router returns it")
        yield named.name


def _endless_loop(graph: FlowGraph) -> tuple[Method, ...]:
    """The methods of a loop in which each starts the next just by ending, whatever any router returns.

    They are in the order of the loop; empty if there is no such loop.
    """

    def follow(path: tuple[Method, ...]) -> tuple[Method, ...]:
        for method in graph.listeners.get(path[-1].name, ()):
            if not _can_hold(method.condition, {path[-1].name}):
                continue
            if method in path:
                return path[path.index(method) :]
            if method.name not in seen and (loop := follow((*path, method))):
                return loop
        seen.add(path[-1].name)
        return ()

    seen: set[str] = set()
    methods = graph.methods.values()
    return next((loop for method in methods if method.name not in seen and (loop := follow((method,)))), ())


def _reachable(graph: FlowGraph, missing: set[str]) -> tuple[set[str], set[str | None]]:
    """The methods that can run, and the events that can occur; None stands for any label that a router may return.

    The labels in `missing` count as events that occur, since their listeners have been warned about already.
    """
    running: set[str] = set()
    events: set[str | None] = set(missing)
    if not graph.starts:  # a subclass may define the rest
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


def _why_unreachable(graph: FlowGraph, method: Method, events: set[str | None]) -> str:
    absent = [named.name for named in names_in(method.condition) if not _can_hold(named, events)]
    if len(absent) < len(list(names_in(method.condition))):
        return f"{method.condition} waits for {', '.join(map(repr, absent))}, which nothing leads to before it"
    reason = f"{method.condition} is not reached from a method under @start()"
    return reason if graph.starts else f"{reason}, and the flow has none"
