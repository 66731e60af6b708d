"""`Depends`: that a handler of an event is called after another one; and the order of all of them."""

from collections.abc import Callable, Mapping, Sequence
from graphlib import CycleError, TopologicalSorter
from typing import Any

Handler = Callable[..., Any]


class CircularDependencyError(Exception):
    """Handlers that depend on each other, or on one that is no handler of the same event."""


class Depends:
    """`depends_on=Depends(first)`: the decorated handler is called after `first`, which handles the same event."""

    def __init__(self, handler: Handler) -> None:
        self.handler = handler

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Depends) and other.handler is self.handler

    def __hash__(self) -> int:
        return hash(self.handler)

    def __repr__(self) -> str:
        return f"Depends({name_of(self.handler)})"


def in_order(handlers: Sequence[Handler], dependencies: Mapping[Handler, Sequence[Depends]]) -> tuple[Handler, ...]:
    """`handlers`, each after those that it depends on, otherwise as they are. Raises CircularDependencyError."""
    if not dependencies:
        return tuple(handlers)
    graph: dict[Handler, list[Handler]] = {handler: [] for handler in handlers}
    for handler, others in dependencies.items():
        for other in others:
            if other.handler not in graph:
                raise CircularDependencyError(
                    f"{name_of(handler)} depends on {name_of(other.handler)}, which is no handler of the same event"
                )
            graph.setdefault(handler, []).append(other.handler)
    try:
        return tuple(TopologicalSorter(graph).static_order())
    except CycleError as cycle:
        names = " → ".join(name_of(handler) for handler in cycle.args[1])
        raise CircularDependencyError(f"handlers depend on each other: {names}") from None


def name_of(handler: Handler) -> str:
    """A handler's name, for messages."""
    return getattr(handler, "__qualname__", None) or type(handler).__name__
