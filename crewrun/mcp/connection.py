"""`Connection`: a session with an MCP server that is opened when it is needed, and again after it broke.

`Connections` are those of one server. Everything here runs in the MCP loop.
"""

import asyncio
import re
from collections.abc import Callable, Mapping
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any

from crewrun.errors import CrewrunError, ToolFailed
from crewrun.mcp.lifetime import log_folder
from crewrun.mcp.sdk import CallResult, ConnectionBroken, ListedTool, Session, open_session, reason_of
from crewrun.mcp.server import McpServer
from crewrun.mcp.stderr import StderrLog
from crewrun.redaction.redactor import redact

# As often as CrewAI tries.
_TRIES = 3
_FIRST_WAIT_S = 0.5
# What another try would not change, or only after as long a wait again.
_FINAL = (CrewrunError, FileNotFoundError, PermissionError, TimeoutError)
# Rows that need a server which could not be opened fail with it for a moment, and do not all try it again.
_FAILED_FOR_S = 2.0


class Connections:
    """The sessions with `server` that rows share: `server.connections` of them, each for the next call in turn."""

    def __init__(self, server: McpServer) -> None:
        self._all = [Connection(server) for _ in range(server.connections)]
        self._tools: list[ListedTool] | None = None
        self._reads_list = asyncio.Lock()  # the first rows at once list the tools once
        self._keeps_list = server.cache_tools_list

    async def tools(self) -> list[ListedTool]:
        """The server's tools, listed once if the list is kept. Raises ToolFailed."""
        async with self._reads_list:
            if self._tools is None or not self._keeps_list:
                self._tools = await self._all[0].tools()
            return self._tools

    async def call(self, tool: ListedTool, arguments: Mapping[str, Any]) -> CallResult:
        """The result of one call. Raises ToolFailed if the server cannot be opened."""
        return await min(self._all, key=lambda connection: connection.in_progress).call(tool, arguments)

    @property
    def in_progress(self) -> int:
        """How many calls use the sessions."""
        return sum(connection.in_progress for connection in self._all)

    async def aclose(self) -> None:
        """Close all sessions."""
        await asyncio.gather(*[connection.aclose() for connection in self._all])


class Connection:
    """One session. A task owns it, since it must be opened and closed in the same task."""

    def __init__(self, server: McpServer) -> None:
        self._server = server
        self.in_progress = 0
        self._opening: asyncio.Task[_Open] | None = None
        self._failed_until = 0.0
        self._owners: set[asyncio.Task[None]] = set()

    async def tools(self) -> list[ListedTool]:
        """The server's tools, which it has to list within `connect_timeout_s`. Raises ToolFailed."""
        self.in_progress += 1
        try:
            for _ in range(_TRIES):
                current = await self._opened()
                with suppress(ConnectionBroken):
                    return await self._listed_by(current)
                self._drop(current)
            raise _failure(self._server, "ended while its tools were listed", current)
        finally:
            self.in_progress -= 1

    async def _listed_by(self, current: "_Open") -> list[ListedTool]:
        """The tools that `current` lists. Raises ConnectionBroken, ToolFailed if there is no list in time."""
        timeout_s = self._server.connect_timeout_s
        try:
            return await asyncio.wait_for(current.session.tools(), timeout_s)
        except ConnectionBroken:
            raise
        except TimeoutError:
            self._drop(current)
            what = f"has not listed its tools after {timeout_s:g} s (connect_timeout)"
        except Exception as failed:  # an error of the server's, or a list that is none
            what = f"cannot list its tools: {reason_of(failed)}"
        raise _failure(self._server, what, current)

    async def call(self, tool: ListedTool, arguments: Mapping[str, Any]) -> CallResult:
        """The result of one call.

        If the connection breaks, a call that was not sent, or that changes nothing if it is made twice, is made again
        over a new one. Of any other, and after three tries, the result says what is known. Raises ToolFailed if the
        server cannot be opened.
        """
        self.in_progress += 1
        try:
            for _ in range(_TRIES):
                current = await self._opened()
                try:
                    return await current.session.call(tool.name, arguments)
                except ConnectionBroken as broken:
                    self._drop(current)
                    if broken.was_sent and not tool.is_repeatable:
                        return CallResult(_unknown(self._server), is_error=True)
            return CallResult(_given_up(self._server), is_error=True)
        finally:
            self.in_progress -= 1

    async def aclose(self) -> None:
        """Close the session, and wait until its server is gone."""
        opening, self._opening = self._opening, None
        if opening is not None:
            if not opening.done():
                opening.cancel()
            with suppress(ToolFailed, asyncio.CancelledError):
                (await opening).closing.set()
        if self._owners:
            await asyncio.wait(self._owners)

    async def _opened(self) -> "_Open":
        """The session, opened if it is not. Raises ToolFailed if that fails, to all who wait for it."""
        opening = self._opening
        if opening is not None and opening.done():
            if opening.exception() is not None:
                is_over = asyncio.get_running_loop().time() >= self._failed_until
            else:
                is_over = opening.result().session.is_closed
            if is_over:
                self._forget(opening)
        if self._opening is None:
            self._opening = asyncio.create_task(self._open())
        return await asyncio.shield(self._opening)  # the others need it when this call is cancelled

    def _drop(self, current: "_Open") -> None:
        """Use `current` no more, unless another call has seen to that."""
        opening = self._opening
        if opening is not None and opening.done() and opening.exception() is None and opening.result() is current:
            self._forget(opening)

    def _forget(self, opening: "asyncio.Task[_Open]") -> None:
        self._opening = None
        if opening.exception() is None:
            opening.result().closing.set()

    async def _open(self) -> "_Open":
        """Open a session, at the third try at the latest."""
        tries = 0
        while True:
            tries += 1
            current = _Open(partial(_log_path, self._server))
            try:
                await self._begin(current)
                return current
            except Exception as failed:  # the SDK raises what its libraries raise
                error = _failure(self._server, f"cannot be used: {reason_of(failed)}", current)
                if tries == _TRIES or isinstance(failed, _FINAL):
                    self._failed_until = asyncio.get_running_loop().time() + _FAILED_FOR_S
                    raise error from None
            await asyncio.sleep(_FIRST_WAIT_S * 2 ** (tries - 1))

    async def _begin(self, current: "_Open") -> None:
        """Open `current` within the time for it. Raises what opening it does, TimeoutError."""
        owner = asyncio.create_task(current.own(self._server))
        self._owners.add(owner)
        owner.add_done_callback(self._owners.discard)
        timeout_s = self._server.connect_timeout_s
        try:
            await asyncio.wait_for(asyncio.shield(current.opened), timeout_s)
        except TimeoutError:
            owner.cancel()
            raise TimeoutError(f"it was not ready after {timeout_s:g} s (connect_timeout)") from None
        except asyncio.CancelledError:
            owner.cancel()
            raise


class _Open:
    """A session from its opening to its end."""

    session: Session

    def __init__(self, log: Callable[[], Path | None]) -> None:
        self.opened: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self.closing = asyncio.Event()
        self._stderr: StderrLog | None = None
        self._log = log

    @property
    def last_lines(self) -> str:
        """What the server wrote last to its standard error."""
        return self._stderr.tail if self._stderr is not None else ""

    async def own(self, server: McpServer) -> None:
        """Open the session, wait for `closing`, close it."""
        if server.transport == "stdio":
            self._stderr = StderrLog(self._log)
        try:
            async with open_session(server, self._stderr) as session:
                self.session = session
                self.opened.set_result(None)
                await self.closing.wait()
        except Exception as failed:  # of the SDK and its libraries; after the opening, calls have reported it
            if not self.opened.done():
                self.opened.set_exception(failed)
        finally:
            if self._stderr is not None:
                await asyncio.sleep(0)  # what the server wrote last
                self._stderr.close()


def _failure(server: McpServer, what: str, last: _Open) -> ToolFailed:
    """The error of a server that cannot be used: its first line, and indented ones. The command comes last, since
    messages are cut.
    """
    lines = what.splitlines()
    if last.last_lines:
        lines[-1] += "; its standard error ends:"
        lines += last.last_lines.splitlines()
    if server.place != server.name:
        lines.append(f"({redact(server.place)})")
    return ToolFailed("\n  ".join([f"MCP server {server.name!r} {lines[0]}", *lines[1:]]))


def _unknown(server: McpServer) -> str:
    return (
        f"The connection to the server {server.name!r} broke during this call. It is unknown whether the call was "
        "carried out; it is not made again by itself, since that might do its work twice."
    )


def _given_up(server: McpServer) -> str:
    return f"The connection to the server {server.name!r} broke during this call, {_TRIES} times. It has no result."


def _log_path(server: McpServer) -> Path | None:
    folder = log_folder()
    name = re.sub(r"[^\w.-]+", "_", server.name)[:80] or "server"
    return None if folder is None else folder / f"mcp-{name}.stderr.log"
