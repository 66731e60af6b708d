"""`Connection`: the session with one MCP server, opened when it is first needed.

Everything here runs in the MCP loop.
"""

import asyncio
from collections.abc import Mapping
from typing import Any

from crewrun.errors import ToolFailed
from crewrun.mcp.sdk import ListedTool, Session, open_session
from crewrun.mcp.server import McpServer
from crewrun.tools.tool_failure import ToolFailure, ToolFailureReason


class Connection:
    """The session with `server`. A task owns it, since it must be opened and closed in the same one."""

    def __init__(self, server: McpServer) -> None:
        self._server = server
        self._lock = asyncio.Lock()  # the first users at once open one session
        self._session: Session | None = None
        self._closing = asyncio.Event()
        self._owner: asyncio.Task[None] | None = None
        self._tools: list[ListedTool] | None = None

    async def tools(self) -> list[ListedTool]:
        """The server's tools, listed once."""
        if self._tools is None:
            self._tools = await (await self._opened()).tools()
        return self._tools

    async def call(self, tool: ListedTool, arguments: Mapping[str, Any]) -> Any:
        """The result of one call, as text, or a ToolFailure if the tool reports an error."""
        result = await (await self._opened()).call(tool.name, arguments)
        text = "\n".join(str(getattr(part, "text", "")) for part in result.content)
        return ToolFailure(text, ToolFailureReason.EXCEPTION) if result.is_error else text

    async def aclose(self) -> None:
        """Close the session."""
        self._closing.set()
        if self._owner is not None:
            await self._owner

    async def _opened(self) -> Session:
        async with self._lock:
            if self._session is None:
                opened: asyncio.Future[Session] = asyncio.get_running_loop().create_future()
                self._owner = asyncio.create_task(self._own(opened))
                self._session = await opened
            return self._session

    async def _own(self, opened: "asyncio.Future[Session]") -> None:
        try:
            async with open_session(self._server) as session:
                opened.set_result(session)
                await self._closing.wait()
        except Exception as failed:
            if not opened.done():
                opened.set_exception(ToolFailed(f"MCP server {self._server.name!r}: {failed}"))
