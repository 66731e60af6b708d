"""Which of a server's tools an agent gets, in CrewAI's forms: allowed and blocked names, or the user's function.

A filter sees each tool as a dict with `name` (as the server has it), `description` and `inputSchema`.
"""

import inspect
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from crewrun.errors import DefinitionError
from crewrun.mcp.server import ToolFilter as Choice
from crewrun.tools.toolbox import wire_name

ToolFilter = Callable[..., Any]


@dataclass(frozen=True, slots=True)
class ToolFilterContext:
    """What a filter with two parameters gets first: the agent that the tools are for, and the server's name."""

    agent: Any
    server_name: str
    run_context: dict[str, Any] | None = None


class StaticToolFilter:
    """Allows the tools in `allowed_tool_names`, or all where it is None, except those in `blocked_tool_names`."""

    def __init__(
        self, allowed_tool_names: Iterable[str] | None = None, blocked_tool_names: Iterable[str] | None = None
    ) -> None:
        self.allowed_tool_names = None if allowed_tool_names is None else _names(allowed_tool_names, "allowed")
        self.blocked_tool_names = _names(blocked_tool_names or (), "blocked")

    def __call__(self, tool: dict[str, Any]) -> bool:
        name = str(tool.get("name", ""))
        if name in self.blocked_tool_names:
            return False
        return self.allowed_tool_names is None or name in self.allowed_tool_names


def create_static_tool_filter(
    allowed_tool_names: Iterable[str] | None = None, blocked_tool_names: Iterable[str] | None = None
) -> StaticToolFilter:
    """A filter by names; a blocked name counts more than an allowed one."""
    return StaticToolFilter(allowed_tool_names, blocked_tool_names)


def create_dynamic_tool_filter(filter_func: ToolFilter) -> ToolFilter:
    """`filter_func` itself: it gets a ToolFilterContext and a tool, and returns whether the agent gets that tool."""
    return filter_func


@dataclass(frozen=True, slots=True)
class _Blocked:
    """All tools but those in `names`."""

    names: tuple[str, ...]

    def __call__(self, agent: Any, server_name: str, tool: Mapping[str, Any]) -> bool:
        return wire_name(tool["name"]) not in map(wire_name, self.names)


@dataclass(frozen=True, slots=True)
class _UserFilter:
    """The user's `function`, which takes a context and a tool, or only the tool."""

    function: ToolFilter
    takes_context: bool

    def __call__(self, agent: Any, server_name: str, tool: Mapping[str, Any]) -> bool:
        if self.takes_context:
            return bool(self.function(ToolFilterContext(agent, server_name), dict(tool)))
        return bool(self.function(dict(tool)))


def choice_of(tool_filter: Any) -> Choice:
    """What an McpServer has for a `tool_filter` of the user's: names, a function, or None for all tools.

    Raises DefinitionError for anything else.
    """
    if tool_filter is None:
        return None
    if isinstance(tool_filter, list | tuple | set | frozenset):
        return tuple(sorted(map(str, tool_filter)) if isinstance(tool_filter, set | frozenset) else tool_filter)
    if isinstance(tool_filter, StaticToolFilter):
        blocked = tool_filter.blocked_tool_names
        if tool_filter.allowed_tool_names is not None:
            return tuple(sorted(tool_filter.allowed_tool_names - blocked))
        return _Blocked(tuple(sorted(blocked))) if blocked else None
    if not callable(tool_filter):
        raise DefinitionError(f"tool_filter needs a function or a list of tools' names, not {tool_filter!r}")
    call = tool_filter if inspect.isroutine(tool_filter) else type(tool_filter).__call__
    if inspect.iscoroutinefunction(call):
        raise DefinitionError("tool_filter is an async function; write it with def")
    return _UserFilter(tool_filter, _takes_context(tool_filter))


def _takes_context(tool_filter: ToolFilter) -> bool:
    """Whether a filter has two parameters, the context and the tool."""
    try:
        inspect.signature(tool_filter).bind(None, {})
    except TypeError:
        return False
    except ValueError:  # a function without a signature, such as one of C
        return False
    return True


def _names(names: Iterable[str], kind: str) -> frozenset[str]:
    if isinstance(names, str):
        raise DefinitionError(f"{kind}_tool_names needs a list of names, not the text {names!r}")
    return frozenset(map(str, names))
