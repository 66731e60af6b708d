"""The official SDK of the Model Context Protocol, imported here only, and only when a server is opened.

https://github.com/modelcontextprotocol/python-sdk
"""

from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any, NamedTuple

from crewrun.errors import UsageError
from crewrun.extras import install_command
from crewrun.mcp.server import McpServer
from crewrun.mcp.variables import filled


class ListedTool(NamedTuple):
    """A tool as its server describes it. `is_repeatable` says that a second call changes nothing that the first has
    not: `readOnlyHint` or `idempotentHint`.
    """

    name: str
    description: str
    schema: Mapping[str, Any]
    is_repeatable: bool


def check_installed() -> None:
    """Raise UsageError, with the command that installs it, if the SDK is not installed."""
    try:
        import mcp  # noqa: F401
    except ImportError:
        raise UsageError(f"MCP servers need the package mcp: {install_command('mcp')}") from None


@asynccontextmanager
async def open_session(server: McpServer) -> AsyncIterator["Session"]:
    """A session with `server`, open inside the block. Raises what the SDK does."""
    from mcp.client import Client
    from mcp.client.sse import sse_client
    from mcp.client.stdio import StdioServerParameters, stdio_client
    from mcp.client.streamable_http import streamable_http_client
    from mcp.shared._httpx_utils import create_mcp_http_client

    server = filled(server)
    async with AsyncExitStack() as stack:
        transport: Any
        if server.transport == "stdio":
            parameters = StdioServerParameters(
                command=server.command, args=list(server.args), env=dict(server.env), cwd=server.working_directory
            )
            transport = stdio_client(parameters)
        elif server.transport == "sse":
            transport = sse_client(server.url, headers=dict(server.headers))
        else:
            http = await stack.enter_async_context(create_mcp_http_client(headers=dict(server.headers)))
            transport = streamable_http_client(server.url, http_client=http)
        yield Session(await stack.enter_async_context(Client(transport)))


class Session:
    """An open session. Any number of calls may be in progress at once."""

    def __init__(self, client: Any) -> None:
        self._client = client

    async def tools(self) -> list[ListedTool]:
        """The server's tools, from all pages of its list."""
        listed: list[ListedTool] = []
        cursor = None
        while True:
            page = await self._client.list_tools(cursor=cursor)
            listed += [_listed(tool) for tool in page.tools]
            cursor = page.next_cursor
            if not cursor:
                return listed

    async def call(self, tool: str, arguments: Mapping[str, Any]) -> Any:
        """The SDK's CallToolResult."""
        return await self._client.call_tool(tool, dict(arguments))


def _listed(tool: Any) -> ListedTool:
    hints = tool.annotations
    is_repeatable = hints is not None and bool(hints.read_only_hint or hints.idempotent_hint)
    return ListedTool(tool.name, tool.description or tool.title or tool.name, tool.input_schema, is_repeatable)
