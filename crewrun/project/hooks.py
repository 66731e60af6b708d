"""`hooks_of` a @CrewBase object: its methods under `@before_llm_call` and so on, which apply to its own crews only."""

from collections.abc import Callable
from typing import Any

from crewrun.hooks.dispatch import FILTERS, POINT, InterceptionPoint, filtered
from crewrun.hooks.scope import ScopedHooks


def hooks_of(owner: Any) -> ScopedHooks | None:
    """The hooks among the methods of `owner`, by interception point; None if it has none."""
    methods: dict[str, Any] = {}
    for part in reversed(type(owner).__mro__):
        methods |= vars(part)
    hooks: dict[str, list[Callable[[Any], Any]]] = {}
    for name, method in methods.items():
        point: InterceptionPoint | None = getattr(method, "__dict__", {}).get(POINT)
        if point is not None:
            hooks.setdefault(point, []).append(filtered(getattr(owner, name), *getattr(method, FILTERS)))
    return hooks or None
