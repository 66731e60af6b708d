"""The MCP servers that this process has open, each opened when it is first needed and used by all rows.

Everything here may be called from any event loop or thread; the sessions live in `mcp_loop`.
"""

from collections.abc import Mapping
from typing import Any

from crewrun.mcp.connection import Connection
from crewrun.mcp.mcp_loop import run_in_mcp_loop, run_in_mcp_loop_sync
from crewrun.mcp.sdk import ListedTool, check_installed
from crewrun.mcp.server import McpServer

# By `McpServer.key`. Touched in the MCP loop only.
_open: dict[tuple[Any, ...], Connection] = {}


async def list_tools(server: McpServer) -> list[ListedTool]:
    """All tools of `server`. Raises UsageError without the SDK, ToolFailed if it does not answer."""
    check_installed()
    return await run_in_mcp_loop(_list, server)


def list_tools_sync(server: McpServer) -> list[ListedTool]:
    """As `list_tools`, for sync code."""
    check_installed()
    return run_in_mcp_loop_sync(_list, server)


async def call_tool(server: McpServer, tool: ListedTool, arguments: Mapping[str, Any]) -> Any:
    """The result of one call: text for the model, or a ToolFailure."""
    return await run_in_mcp_loop(_call, server, tool, arguments)


def call_tool_sync(server: McpServer, tool: ListedTool, arguments: Mapping[str, Any]) -> Any:
    """As `call_tool`, for sync code."""
    return run_in_mcp_loop_sync(_call, server, tool, arguments)


async def close_servers() -> None:
    """Close every server. The next use of one opens it again."""
    if _open:
        await run_in_mcp_loop(_close_all)


async def close_server(server: McpServer) -> None:
    """Close one server, for all its users."""
    if server.key in _open:
        await run_in_mcp_loop(_close, server)


def close_server_sync(server: McpServer) -> None:
    """As `close_server`, for sync code."""
    if server.key in _open:
        run_in_mcp_loop_sync(_close, server)


def _connection(server: McpServer) -> Connection:
    connection = _open.get(server.key)
    if connection is None:
        connection = _open[server.key] = Connection(server)
    return connection


async def _list(server: McpServer) -> list[ListedTool]:
    return await _connection(server).tools()


async def _call(server: McpServer, tool: ListedTool, arguments: Mapping[str, Any]) -> Any:
    return await _connection(server).call(tool, arguments)


async def _close(server: McpServer) -> None:
    if (connection := _open.pop(server.key, None)) is not None:
        await connection.aclose()


async def _close_all() -> None:
    connections = list(_open.values())
    _open.clear()
    for connection in connections:
        await connection.aclose()
