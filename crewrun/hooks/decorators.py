"""`@before_llm_call` and the other decorators: each registers a function, or marks a method of a @CrewBase class.

With or without filters: `@before_tool_call`, `@before_tool_call(tools=["search"], agents=["Researcher"])`.
"""

from collections.abc import Callable
from typing import Any, TypeVar, overload

from crewrun.hooks.dispatch import InterceptionPoint, on

F = TypeVar("F", bound=Callable[..., Any])
Names = list[str] | None


@overload
def before_llm_call(func: F, *, agents: Names = None) -> F: ...
@overload
def before_llm_call(func: None = None, *, agents: Names = None) -> Callable[[F], F]: ...
def before_llm_call(func: F | None = None, *, agents: Names = None) -> F | Callable[[F], F]:
    """Call the function with an LLMCallHookContext before each call of a model. If it returns False, the call fails."""
    return _decorated(InterceptionPoint.PRE_MODEL_CALL, func, agents, None)


@overload
def after_llm_call(func: F, *, agents: Names = None) -> F: ...
@overload
def after_llm_call(func: None = None, *, agents: Names = None) -> Callable[[F], F]: ...
def after_llm_call(func: F | None = None, *, agents: Names = None) -> F | Callable[[F], F]:
    """Call the function with an LLMCallHookContext after each call of a model. A returned text replaces `response`."""
    return _decorated(InterceptionPoint.POST_MODEL_CALL, func, agents, None)


@overload
def before_tool_call(func: F, *, tools: Names = None, agents: Names = None) -> F: ...
@overload
def before_tool_call(func: None = None, *, tools: Names = None, agents: Names = None) -> Callable[[F], F]: ...
def before_tool_call(func: F | None = None, *, tools: Names = None, agents: Names = None) -> F | Callable[[F], F]:
    """Call the function with a ToolCallHookContext before each call of a tool. If it returns False, the call is refused
    and the model is told so.
    """
    return _decorated(InterceptionPoint.PRE_TOOL_CALL, func, agents, tools)


@overload
def after_tool_call(func: F, *, tools: Names = None, agents: Names = None) -> F: ...
@overload
def after_tool_call(func: None = None, *, tools: Names = None, agents: Names = None) -> Callable[[F], F]: ...
def after_tool_call(func: F | None = None, *, tools: Names = None, agents: Names = None) -> F | Callable[[F], F]:
    """Call the function with a ToolCallHookContext after a call of a tool. A returned text replaces `tool_result`."""
    return _decorated(InterceptionPoint.POST_TOOL_CALL, func, agents, tools)


def _decorated(point: InterceptionPoint, func: F | None, agents: Names, tools: Names) -> F | Callable[[F], F]:
    decorate: Callable[[F], F] = on(point, agents=agents, tools=tools)
    return decorate if func is None else decorate(func)
