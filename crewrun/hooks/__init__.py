"""Hooks around calls of models and tools, under CrewAI's names: `from crewai.hooks import before_llm_call`.

`dispatch` has the registry, `decorators` the decorators that register a function, `llm_hooks` and `tool_hooks` the
arguments of hooks, `scope` the caller of a model or tool and the hooks of its crew. The code that calls models and
tools runs the hooks.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from crewrun.errors import HookAborted
    from crewrun.hooks.decorators import after_llm_call, after_tool_call, before_llm_call, before_tool_call
    from crewrun.hooks.dispatch import (
        EXECUTION_BOUNDARY_POINTS,
        InterceptionPoint,
        clear_all_hooks,
        clear_hooks,
        dispatch,
        get_hooks,
        on,
        register_hook,
        unregister_hook,
    )
    from crewrun.hooks.llm_hooks import (
        LLMCallHookContext,
        clear_after_llm_call_hooks,
        clear_all_llm_call_hooks,
        clear_before_llm_call_hooks,
        get_after_llm_call_hooks,
        get_before_llm_call_hooks,
        register_after_llm_call_hook,
        register_before_llm_call_hook,
        unregister_after_llm_call_hook,
        unregister_before_llm_call_hook,
    )
    from crewrun.hooks.tool_hooks import (
        ToolCallHookContext,
        clear_after_tool_call_hooks,
        clear_all_tool_call_hooks,
        clear_before_tool_call_hooks,
        get_after_tool_call_hooks,
        get_before_tool_call_hooks,
        register_after_tool_call_hook,
        register_before_tool_call_hook,
        unregister_after_tool_call_hook,
        unregister_before_tool_call_hook,
    )

__all__ = [
    "EXECUTION_BOUNDARY_POINTS",
    "HookAborted",
    "InterceptionPoint",
    "LLMCallHookContext",
    "ToolCallHookContext",
    "after_llm_call",
    "after_tool_call",
    "before_llm_call",
    "before_tool_call",
    "clear_after_llm_call_hooks",
    "clear_after_tool_call_hooks",
    "clear_all_global_hooks",
    "clear_all_hooks",
    "clear_all_llm_call_hooks",
    "clear_all_tool_call_hooks",
    "clear_before_llm_call_hooks",
    "clear_before_tool_call_hooks",
    "clear_hooks",
    "dispatch",
    "get_after_llm_call_hooks",
    "get_after_tool_call_hooks",
    "get_before_llm_call_hooks",
    "get_before_tool_call_hooks",
    "get_hooks",
    "on",
    "register_after_llm_call_hook",
    "register_after_tool_call_hook",
    "register_before_llm_call_hook",
    "register_before_tool_call_hook",
    "register_hook",
    "unregister_after_llm_call_hook",
    "unregister_after_tool_call_hook",
    "unregister_before_llm_call_hook",
    "unregister_before_tool_call_hook",
    "unregister_hook",
]


def __getattr__(name: str) -> Any:
    """Import a name on first use: every run imports `dispatch`, and few have hooks."""
    if name not in __all__:
        raise AttributeError(f"module 'crewrun.hooks' has no attribute {name!r}")
    homes = ("dispatch", "decorators", "llm_hooks", "tool_hooks")
    modules = (import_module(f"crewrun.hooks.{home}") for home in homes)
    value = globals()[name] = next(getattr(module, name) for module in modules if hasattr(module, name))
    return value


def clear_all_global_hooks() -> dict[str, tuple[int, int]]:
    """Remove all hooks of models and tools; returns how many there were, before and after calls."""
    from crewrun.hooks.llm_hooks import clear_all_llm_call_hooks
    from crewrun.hooks.tool_hooks import clear_all_tool_call_hooks

    llm, tool = clear_all_llm_call_hooks(), clear_all_tool_call_hooks()
    return {"llm_hooks": llm, "tool_hooks": tool, "total": (llm[0] + tool[0], llm[1] + tool[1])}
