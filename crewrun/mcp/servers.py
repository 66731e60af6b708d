"""The MCP servers that this process has open, each opened when it is first needed and used by all rows.

Everything here may be called from any event loop or thread; the sessions live in `mcp_loop`.
"""

import asyncio
import atexit
import os
from collections.abc import Mapping
from contextvars import ContextVar
from functools import partial
from typing import Any

from crewrun.mcp.connection import Connections
from crewrun.mcp.lifetime import close_with_runs
from crewrun.mcp.mcp_loop import run_in_mcp_loop, run_in_mcp_loop_sync, submit
from crewrun.mcp.sdk import CallResult, ListedTool, check_installed
from crewrun.mcp.server import McpServer
from crewrun.row_context import RowContext

# The longest that servers which do not end by themselves take until they are killed.
_CLOSING_TAKES_S = 10.0
# By `McpServer.key`, and for a server with a session for each row by that row. Touched in the MCP loop only.
_open: dict[tuple[Any, ...], Connections] = {}
os.register_at_fork(after_in_child=_open.clear)  # the sessions are the parent's
# The row that sessions are opened for where each row has its own. Set before its agents work.
current_row: ContextVar[RowContext | None] = ContextVar("crewrun_mcp_row", default=None)


async def list_tools(server: McpServer) -> list[ListedTool]:
    """All tools of `server`. Raises UsageError without the SDK, ToolFailed if it does not answer."""
    check_installed()
    return await run_in_mcp_loop(_list, server, _owner(server))


def list_tools_sync(server: McpServer) -> list[ListedTool]:
    """As `list_tools`, for sync code."""
    check_installed()
    return run_in_mcp_loop_sync(_list, server, _owner(server))


async def call_tool(server: McpServer, tool: ListedTool, arguments: Mapping[str, Any]) -> CallResult:
    """The result of one call, or what is known of it. Raises ToolFailed if the server cannot be opened."""
    return await run_in_mcp_loop(_call, server, _owner(server), tool, arguments)


def call_tool_sync(server: McpServer, tool: ListedTool, arguments: Mapping[str, Any]) -> CallResult:
    """As `call_tool`, for sync code."""
    return run_in_mcp_loop_sync(_call, server, _owner(server), tool, arguments)


async def close_servers() -> None:
    """Close every server. The next use of one opens it again."""
    if _open:
        await run_in_mcp_loop(_close_all)


async def close_idle_servers() -> None:
    """Close every server that is in no call. A kickoff outside of runs may be in one when the last run ends."""
    if _open:
        await run_in_mcp_loop(_close_idle)


def close_server_sync(server: McpServer) -> None:
    """Close one server, unless it is in a call of another user, after which it stays open."""
    if _open:
        run_in_mcp_loop_sync(_close, server)


def _owner(server: McpServer) -> RowContext | None:
    """The row that has a session with `server` for itself, None if all rows share one."""
    row = current_row.get() if server.sessions == "row" else None
    if row is not None and row.at_end is None:
        row.at_end = partial(run_in_mcp_loop, _close_of, row)
    return row


def _connections(server: McpServer, owner: RowContext | None) -> Connections:
    key = (server.key, owner)
    connections = _open.get(key)
    if connections is None:
        if not _open:
            close_with_runs(close_idle_servers)
            atexit.register(close_servers_sync)
        connections = _open[key] = Connections(server)
    return connections


def close_servers_sync() -> None:
    """As `close_servers`, for sync code and for the end of the process, at which the MCP loop still runs."""
    atexit.unregister(close_servers_sync)
    if _open:
        submit(_close_all).result(_CLOSING_TAKES_S)


async def _list(server: McpServer, owner: RowContext | None) -> list[ListedTool]:
    try:
        return await _connections(server, owner).tools()
    finally:
        if server.sessions == "row" and owner is None:
            await _close_these([(server.key, None)])  # rows will not use this one


async def _call(
    server: McpServer, owner: RowContext | None, tool: ListedTool, arguments: Mapping[str, Any]
) -> CallResult:
    return await _connections(server, owner).call(tool, arguments)


async def _close(server: McpServer) -> None:
    await _close_these([key for key, one in _open.items() if key[0] == server.key and not one.in_progress])


async def _close_of(row: RowContext) -> None:
    await _close_these([key for key in _open if key[1] is row])


async def _close_idle() -> None:
    await _close_these([key for key, one in _open.items() if not one.in_progress])


async def _close_all() -> None:
    await _close_these(list(_open))


async def _close_these(keys: list[tuple[Any, ...]]) -> None:
    # Without one that is closed already: several agents list the tools of a server with a session for each row.
    closing = [connections for key in keys if (connections := _open.pop(key, None)) is not None]
    await asyncio.gather(*[connections.aclose() for connections in closing])
