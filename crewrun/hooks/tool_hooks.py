"""Hooks around calls of tools: their argument, and functions that register them without a decorator."""

from typing import Any

from crewrun.errors import HookAborted
from crewrun.hooks.dispatch import Hook, InterceptionPoint, clear_hooks, get_hooks, register_hook, unregister_hook
from crewrun.hooks.human_input import refuse_human_input
from crewrun.hooks.scope import Site

_BEFORE, _AFTER = InterceptionPoint.PRE_TOOL_CALL, InterceptionPoint.POST_TOOL_CALL


class ToolCallHookContext:
    """One call of a tool. It is not shared with other calls.

    `tool_input` are its arguments, a dict to be changed in place. After the call, `tool_result` is the text for the
    model, else None; `raw_tool_result` is the same before any hook changed it. `agent`, `task` and `crew` are None if
    the tool is called without them.
    """

    def __init__(
        self,
        tool_name: str,
        tool_input: dict[str, Any],
        tool: Any,
        agent: Any = None,
        task: Any = None,
        crew: Any = None,
        tool_result: str | None = None,
        raw_tool_result: Any = None,
    ) -> None:
        self.tool_name = tool_name
        self.tool_input = tool_input
        self.tool = tool
        self.agent, self.task, self.crew = Site(agent, task, crew)
        self.tool_result = tool_result
        self.raw_tool_result = raw_tool_result

    def request_human_input(self, prompt: str, default_message: str = "") -> str:
        """Raise DefinitionError, since a run has nobody to answer."""
        return refuse_human_input(prompt)


def settle_before(context: ToolCallHookContext, result: Any) -> None:
    """Raise HookAborted if the hook returned False."""
    if result is False:
        raise HookAborted("before_tool_call hook returned False")


def settle_after(context: ToolCallHookContext, result: Any) -> None:
    """Replace the result if the hook returned a text."""
    if isinstance(result, str):
        context.tool_result = result


def register_before_tool_call_hook(hook: Hook) -> None:
    """Call `hook` before every call of a tool."""
    register_hook(_BEFORE, hook)


def register_after_tool_call_hook(hook: Hook) -> None:
    """Call `hook` after every call of a tool."""
    register_hook(_AFTER, hook)


def unregister_before_tool_call_hook(hook: Hook) -> bool:
    """Remove `hook`; False if it is not registered."""
    return unregister_hook(_BEFORE, hook)


def unregister_after_tool_call_hook(hook: Hook) -> bool:
    """Remove `hook`; False if it is not registered."""
    return unregister_hook(_AFTER, hook)


def get_before_tool_call_hooks() -> list[Hook]:
    """The hooks before calls of tools."""
    return get_hooks(_BEFORE)


def get_after_tool_call_hooks() -> list[Hook]:
    """The hooks after calls of tools."""
    return get_hooks(_AFTER)


def clear_before_tool_call_hooks() -> int:
    """Remove the hooks before calls of tools; returns how many there were."""
    return clear_hooks(_BEFORE)


def clear_after_tool_call_hooks() -> int:
    """Remove the hooks after calls of tools; returns how many there were."""
    return clear_hooks(_AFTER)


def clear_all_tool_call_hooks() -> tuple[int, int]:
    """Remove both; returns how many there were."""
    return clear_before_tool_call_hooks(), clear_after_tool_call_hooks()
