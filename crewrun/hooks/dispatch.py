"""The process-wide registry of hooks by their point, as in CrewAI.

Hooks of a crew class are in `scope` instead. Points around a whole run and its steps have no effect: registering a hook
at one of them warns.
"""

import warnings
from collections.abc import Awaitable, Callable
from enum import StrEnum
from functools import wraps
from inspect import signature
from typing import Any, Final, TypeVar

from crewrun.aio.concurrency import call
from crewrun.errors import CrewrunWarning, HookAborted
from crewrun.hooks.scope import scoped_hooks

__all__ = ["EXECUTION_BOUNDARY_POINTS", "HookAborted", "InterceptionPoint", "dispatch", "on"]

Hook = Callable[[Any], Any]
F = TypeVar("F", bound=Callable[..., Any])


class InterceptionPoint(StrEnum):
    """The points at which hooks are called. Only those around models and tools have an effect."""

    EXECUTION_START = "execution_start"
    INPUT = "input"
    OUTPUT = "output"
    EXECUTION_END = "execution_end"
    PRE_MODEL_CALL = "pre_model_call"
    POST_MODEL_CALL = "post_model_call"
    PRE_TOOL_CALL = "pre_tool_call"
    POST_TOOL_CALL = "post_tool_call"
    PRE_STEP = "pre_step"
    POST_STEP = "post_step"


EXECUTION_BOUNDARY_POINTS: Final = frozenset(
    {
        InterceptionPoint.EXECUTION_START,
        InterceptionPoint.INPUT,
        InterceptionPoint.OUTPUT,
        InterceptionPoint.EXECUTION_END,
    }
)
_WITHOUT_EFFECT: Final = EXECUTION_BOUNDARY_POINTS | {InterceptionPoint.PRE_STEP, InterceptionPoint.POST_STEP}
# One per process, since decorators fill it while the user's modules are imported.
# Points without hooks are not in it, so that without hooks, a call only looks at an empty dict.
_hooks: Final[dict[InterceptionPoint, list[Hook]]] = {}
# The attributes that a decorator sets on a function: its point, its filters, and the registered hook.
POINT, FILTERS, REGISTERED = "_crewrun_point", "_crewrun_filters", "_registered_hook"


def hooks_at(point: InterceptionPoint) -> tuple[Hook, ...]:
    """The hooks at a point, in order: those of the process, then those of the current crew."""
    own, scope = _hooks.get(point, ()), scoped_hooks.get()
    return tuple(own) if scope is None else (*own, *scope.get(point, ()))


def has_hooks() -> bool:
    """Whether there are any hooks, of the process or of the current crew."""
    return bool(_hooks) or scoped_hooks.get() is not None


def all_hooks() -> dict[str, list[Hook]]:
    """The process's hooks by point."""
    return {point.value: list(hooks) for point, hooks in _hooks.items()}


def register_hook(point: InterceptionPoint, hook: Hook) -> None:
    """Call `hook` at `point`, after those that are registered already."""
    point = InterceptionPoint(point)
    if point in _WITHOUT_EFFECT:
        name = getattr(hook, "__name__", repr(hook))
        warnings.warn(
            f"hook {name!r} at {point.value!r} is never called: crewrun has hooks around models and tools; use "
            "before_kickoff, after_kickoff, callback or task_callback",
            CrewrunWarning,
            stacklevel=3,
        )
    _hooks.setdefault(point, []).append(hook)


def unregister_hook(point: InterceptionPoint, hook: Hook) -> bool:
    """Remove `hook`; False if it is not registered."""
    point = InterceptionPoint(point)
    hooks = get_hooks(point)
    for registered in (hook, getattr(hook, REGISTERED, None)):
        if registered in hooks:
            hooks.remove(registered)
            clear_hooks(point)
            if hooks:
                _hooks[point] = hooks
            return True
    return False


def get_hooks(point: InterceptionPoint) -> list[Hook]:
    """The process's hooks at `point`."""
    return list(_hooks.get(InterceptionPoint(point), ()))


def clear_hooks(point: InterceptionPoint) -> int:
    """Remove the hooks at `point`; returns how many there were."""
    return len(_hooks.pop(InterceptionPoint(point), ()))


def clear_all_hooks() -> None:
    """Remove all hooks of the process."""
    _hooks.clear()


# Their names in `crewai.hooks.dispatch`.
register, unregister, clear, clear_all = register_hook, unregister_hook, clear_hooks, clear_all_hooks


def on(
    point: InterceptionPoint, *, agents: list[str] | None = None, tools: list[str] | None = None
) -> Callable[[F], F]:
    """A decorator that registers a function as a hook at `point`, for these agents (by role) and tools, None for all.

    A method of a @CrewBase class becomes a hook of that crew.
    """

    def decorate(function: F) -> F:
        setattr(function, POINT, InterceptionPoint(point))
        setattr(function, FILTERS, (agents, tools))
        if not _is_method(function):
            hook = filtered(function, agents, tools)
            register_hook(point, hook)
            setattr(function, REGISTERED, hook)
        return function

    return decorate


def filtered(hook: Hook, agents: list[str] | None, tools: list[str] | None) -> Hook:
    """`hook`, called only for these agents and tools."""
    if not agents and not tools:
        return hook
    roles = {role.strip() for role in agents or ()}
    names = {tool_key(name) for name in tools or ()}

    @wraps(hook)
    def chosen(context: Any) -> Any:
        if names and hasattr(context, "tool_name") and tool_key(context.tool_name) not in names:
            return None
        agent = getattr(context, "agent", None)
        if roles and agent is not None and str(agent.role).strip() not in roles:
            return None
        return hook(context)

    return chosen


def tool_key(name: str) -> str:
    """A tool's name for comparison, in which spellings such as `My Tool` and `my_tool` are equal."""
    return "".join(c if c.isalnum() else "_" for c in name.strip().lower()).strip("_")


async def run_hooks(hooks: tuple[Hook, ...], context: Any, settle: Callable[[Any, Any], None]) -> None:
    """Call `hooks` in turn, each in a thread or awaited, and `settle(context, result)` with the result of each.

    Raises what a hook raises: HookAborted, and the user's own exceptions, which CrewAI silently ignores.
    """
    for hook in hooks:
        settle(context, await call(hook, context))


def dispatch(point: InterceptionPoint, ctx: Any, *, reducer: Callable[[Any, Any], Any] | None = None, **_: Any) -> Any:
    """Call the hooks at `point` synchronously and return `ctx`; for user's code that has its own points."""
    for hook in hooks_at(InterceptionPoint(point)):
        result = hook(ctx)
        if isinstance(result, Awaitable):
            raise TypeError(f"dispatch() calls no async hooks: {getattr(hook, '__name__', hook)!r}")
        if reducer is not None:
            reducer(ctx, result)
        elif result is not None and hasattr(ctx, "payload"):
            ctx.payload = result
    return ctx


def _is_method(function: Callable[..., Any]) -> bool:
    names = list(signature(function).parameters)
    return len(names) >= 2 and names[0] == "self"
