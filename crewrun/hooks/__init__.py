"""Hooks around calls of models and tools, under CrewAI's names: `from crewai.hooks import before_llm_call`.

`dispatch` has the registry, `decorators` what registers a function, `llm_hooks` and `tool_hooks` what hooks are given,
`scope` for whom a call is made and which hooks only its crew has. Where models and tools are called they are run.
"""

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


def clear_all_global_hooks() -> dict[str, tuple[int, int]]:
    """Forget all hooks of models and tools; how many there were, before and after calls."""
    llm, tool = clear_all_llm_call_hooks(), clear_all_tool_call_hooks()
    return {"llm_hooks": llm, "tool_hooks": tool, "total": (llm[0] + tool[0], llm[1] + tool[1])}
