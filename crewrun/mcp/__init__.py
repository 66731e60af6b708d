"""Servers of the Model Context Protocol: their sessions, and their tools for agents. https://modelcontextprotocol.io

server        `McpServer`: how a server is reached, as users write it
tools         `McpTool`: one of its tools, a `BaseTool` like any other; lists them
servers       the servers that this process has open: lists their tools, calls them, closes them
kept_lists    the tools of servers in a run's folder, for --replay
lifetime      how long servers stay open
connection    the sessions of one server: opened when first needed, again after they broke
stderr        what a server writes to its standard error
keeper        the program that ends a server's processes when crewrun is gone
mcp_loop      the thread and the event loop in which all sessions live
sdk           the official SDK, which is imported there only
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from crewrun.mcp.config import MCPServerConfig, MCPServerHTTP, MCPServerSSE, MCPServerStdio
    from crewrun.mcp.filters import (
        StaticToolFilter,
        ToolFilter,
        ToolFilterContext,
        create_dynamic_tool_filter,
        create_static_tool_filter,
    )

__all__ = [
    "MCPServerConfig",
    "MCPServerHTTP",
    "MCPServerSSE",
    "MCPServerStdio",
    "StaticToolFilter",
    "ToolFilter",
    "ToolFilterContext",
    "create_dynamic_tool_filter",
    "create_static_tool_filter",
]


def __getattr__(name: str) -> Any:
    if name not in __all__:
        raise AttributeError(f"module 'crewrun.mcp' has no attribute {name!r}")
    home = "config" if name.startswith("MCP") else "filters"
    value = globals()[name] = getattr(import_module(f"crewrun.mcp.{home}"), name)
    return value
