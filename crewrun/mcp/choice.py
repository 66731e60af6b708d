"""Which of a server's tools an agent gets."""

from collections.abc import Callable, Iterable, Sequence
from typing import Any

from crewrun.errors import ToolFailed, suggest
from crewrun.loading.user_code import place_of
from crewrun.mcp.sdk import ListedTool
from crewrun.mcp.server import McpServer
from crewrun.tools.toolbox import wire_name


def chosen_from(listed: Sequence[ListedTool], server: McpServer, agent: Any) -> Sequence[ListedTool]:
    """Those of the server's tools that `agent` gets. Raises ToolFailed if one is chosen by name that is not there."""
    choice = server.tools
    if choice is None:
        return listed
    if callable(choice):
        return [tool for tool in listed if _is_accepted(tool, server, choice, agent)]
    by_name = {wire_name(tool.name): tool for tool in listed}
    for name in choice:
        if wire_name(name) not in by_name:
            raise ToolFailed(f"MCP server {server.name!r} ({server.place}): {no_such_tool(name, names_of(listed))}")
    wanted = set(map(wire_name, choice))
    return [tool for tool in listed if wire_name(tool.name) in wanted]


def _is_accepted(tool: ListedTool, server: McpServer, choice: Callable[..., bool], agent: Any) -> bool:
    try:
        return choice(agent, server.name, described(tool))
    except Exception as failed:  # the user's function
        place = f"{where}: " if (where := place_of(failed)) is not None else ""
        why = f"its tool_filter failed at the tool {tool.name!r}: {place}{type(failed).__name__}: {failed}"
        raise ToolFailed(f"MCP server {server.name!r}: {why}") from failed


def described(tool: ListedTool) -> dict[str, Any]:
    """The tool as CrewAI's filters see one."""
    return {"name": tool.name, "description": tool.description, "inputSchema": tool.schema}


def names_of(listed: Iterable[ListedTool]) -> list[str]:
    """The names of the tools, as the server has them."""
    return [tool.name for tool in listed]


def no_such_tool(name: str, names: Sequence[str]) -> str:
    """`it has no tool 'serch' (did you mean 'search'?); its tools are search, fetch`."""
    return f"it has no tool {name!r}{suggest(name, names)}; its tools are {', '.join(names) or 'none'}"
