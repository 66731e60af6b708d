"""`Site`, the caller of a model or tool as hooks see it, and the hooks of a single crew."""

from collections.abc import Callable, Mapping, Sequence
from contextvars import ContextVar
from typing import Any, NamedTuple

ScopedHooks = Mapping[str, Sequence[Callable[[Any], Any]]]


class Site(NamedTuple):
    """The caller: an agent, its task and its crew, each with the row's inputs filled in, or None."""

    agent: Any = None
    task: Any = None
    crew: Any = None


# Set only if something may read it: hooks, and models of the user's own.
current_site: ContextVar[Site | None] = ContextVar("crewrun_site", default=None)
# The hooks of the current crew, by their points.
scoped_hooks: ContextVar[ScopedHooks | None] = ContextVar("crewrun_scoped_hooks", default=None)


class hooks_of_a_crew:  # noqa: N801  (used as a function is)
    """`with hooks_of_a_crew(hooks)`: inside the block, these are called as well."""

    __slots__ = ("_hooks", "_token")

    def __init__(self, hooks: ScopedHooks) -> None:
        self._hooks = hooks

    def __enter__(self) -> None:
        self._token = scoped_hooks.set({**(scoped_hooks.get() or {}), **self._hooks})

    def __exit__(self, *_: object) -> None:
        scoped_hooks.reset(self._token)
