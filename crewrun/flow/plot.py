"""A flow's graph as a diagram: methods as boxes, `and_` and `or_` as joins, what routers return as labels."""

import inspect
from collections.abc import Iterator

from crewrun.diagram import Diagram, Edge, Node, Shape, Table
from crewrun.diagram.image import image_url
from crewrun.diagram.text import wrapped
from crewrun.flow.dsl import AllOf, AnyOf, Condition, Named
from crewrun.flow.graph import FlowGraph, Method
from crewrun.notebook.card import Card, Grid

LEGEND = {
    "start": "the flow begins here",
    "listener": "runs when what leads to it has ended",
    "router": "decides: what it returns is a label",
    "label": "a label, and what listens to it",
    "open-label": "a label that nothing listens to: this branch ends",
    "and": "and: when all have ended",
    "or": "or: when the first has ended",
    "back": "leads back",
}


def diagram_of(flow: type, graph: FlowGraph) -> Diagram:
    """The picture of `graph`, the graph of the class `flow`."""
    # Starts first, so that they stand above the methods that lead back to them.
    methods = sorted(graph.methods.values(), key=lambda method: not method.starts)
    labels = _labels(graph)
    nodes = [_box(flow, graph, method) for method in methods]
    edges: list[Edge] = []
    for router, name in labels:
        has_listener = name in graph.listeners
        nodes.append(Node(_label_id(router, name), name, "label" if has_listener else "open-label", "label"))
        if router is not None:
            edges.append(Edge(router, _label_id(router, name), has_arrow=not has_listener))
    for method in methods:
        for edge, node in _edges_to(method.name, method.condition, graph, labels):
            edges.append(edge)
            nodes += [node] if node else []
    return Diagram(
        graph.flow,
        _caption(flow, graph),
        tuple(nodes),
        tuple(dict.fromkeys(edges)),
        LEGEND,
        Table(("method", "kind", "waits for", "may return"), tuple(map(_table_row, graph.methods.values()))),
    )


def card_of(flow: type, graph: FlowGraph) -> Card:
    """What a notebook shows of the class `flow`: its picture and its methods."""
    diagram = diagram_of(flow, graph)
    grid = Grid(diagram.table.heads, diagram.table.rows)
    return Card(f"Flow {diagram.title}", (diagram.caption.rstrip("."),), picture=image_url(diagram), grids=(grid,))


def _box(flow: type, graph: FlowGraph, method: Method) -> Node:
    summary = (inspect.getdoc(getattr(flow, method.name)) or "").partition("\n\n")[0]
    kind = "start" if method.starts and not method.is_router else method.kind
    is_start = method.starts or method.kind == "start"
    tags = [*(["start"] if is_start else []), *(["router"] if method.is_router else [])]
    tip = [f"{graph.flow}.{method.name}", method.place]
    if method.condition:
        tip.append(f"waits for {method.condition}")
    shape: Shape = "cut" if method.is_router else "rounded" if is_start else "box"
    return Node(method.name, method.name, kind, shape, " · ".join(tags), wrapped(summary), "\n".join(tip))


def _caption(flow: type, graph: FlowGraph) -> str:
    summary = " ".join((vars(flow).get("__doc__") or "").partition("\n\n")[0].split())
    counts = ((len(graph.methods), "method"), (len(graph.starts), "start"), (len(graph.routers), "router"))
    counted = ", ".join(f"{count} {word}{'' if count == 1 else 's'}" for count, word in counts if count)
    return f"{counted or 'no methods'}. {summary}".strip()


def _table_row(method: Method) -> tuple[str, ...]:
    waits = str(method.condition) if method.condition else ""
    begins = "the kickoff" if method.starts else ""
    returns = ""
    if method.is_router:
        returns = "any label" if method.labels is None else ", ".join(map(repr, sorted(method.labels))) or "None"
    return method.name, method.kind, " or ".join(filter(None, (begins, waits))), returns


def _labels(graph: FlowGraph) -> list[tuple[str | None, str]]:
    """Each label with each router that may return it: those that declare it, else all that declare no labels.

    None stands for a router that the class does not have, but a subclass may.
    """
    edges: dict[tuple[str | None, str], None] = {}
    for router in graph.routers:
        edges.update(dict.fromkeys((router.name, label) for label in sorted(router.labels or ())))
    declared = {label for _, label in edges}
    undeclared = [router.name for router in graph.routers if router.labels is None]
    for label in graph.labels:
        if label not in declared:
            edges.update(
                dict.fromkeys((router, label) for router in undeclared) if undeclared else {(None, label): None}
            )
    return list(edges)


def _label_id(router: str | None, label: str) -> str:
    return f"{router or ''}→{label}"


def _edges_to(
    target: str, condition: Condition | None, graph: FlowGraph, labels: list[tuple[str | None, str]], at: str = ""
) -> Iterator[tuple[Edge, Node | None]]:
    """The edges into the node `target` for `condition`, each with the join that it comes from, if any.

    `at` distinguishes the joins of one target.
    """
    while isinstance(condition, AllOf | AnyOf) and len(condition.parts) == 1:
        condition = condition.parts[0]
    if isinstance(condition, Named):
        sources = [condition.name] if condition.name in graph.methods else []
        sources += [_label_id(router, label) for router, label in labels if label == condition.name]
        yield from ((Edge(source, target), None) for source in sources)
    elif condition is not None:
        word = "and" if isinstance(condition, AllOf) else "or"
        join = f"{target}←{word}{at}"
        yield Edge(join, target), Node(join, word, word, "join", tip=str(condition))
        for i, part in enumerate(condition.parts):
            yield from _edges_to(join, part, graph, labels, str(i))
