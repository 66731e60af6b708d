"""The official SDK of the Model Context Protocol, imported here only, and only when a server is opened.

https://github.com/modelcontextprotocol/python-sdk
"""

import json
import logging
import os
import shutil
import ssl
import sys
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any, NamedTuple

from crewrun.errors import UsageError
from crewrun.extras import install_command
from crewrun.mcp.secrets import args_without_secrets, url_without_secrets
from crewrun.mcp.server import McpServer
from crewrun.mcp.stderr import StderrLog
from crewrun.mcp.variables import filled

_KEEPER = Path(__file__).with_name("keeper.py")
# For everything but results, and how long a stream may say nothing: the SDK's own defaults.
_TIMEOUT_S = 30.0
_LONGEST_SILENCE_S = 300.0
_NEVER_SENT = "Session terminated"  # 404: https://modelcontextprotocol.io/specification, "Session Management"
_NO_REPLY = "Server returned an error response"  # another status of HTTP, such as a proxy's
# What the SDK says when the connection ended. Its code is not enough: servers give their own errors the same one.
_ENDED = ("Connection closed", "SSE stream ended")
_SHOWN_FAULTS = 3


class ListedTool(NamedTuple):
    """A tool as its server describes it. `is_repeatable` says that a second call changes nothing that the first has
    not: `readOnlyHint` or `idempotentHint`.
    """

    name: str
    description: str
    schema: Mapping[str, Any]
    is_repeatable: bool


class CallResult(NamedTuple):
    """What a tool returned, as text for the model, with pictures as data URLs."""

    text: str
    is_error: bool = False
    pictures: tuple[str, ...] = ()


class ConnectionBroken(Exception):
    """The connection to the server broke. `was_sent` says that a call may have reached the server."""

    def __init__(self, message: str, *, was_sent: bool) -> None:
        super().__init__(message)
        self.was_sent = was_sent


def check_installed() -> None:
    """Raise UsageError, with the command that installs it, if the SDK is not installed."""
    try:
        import mcp  # noqa: F401
    except ImportError:
        raise UsageError(f"MCP servers need the package mcp: {install_command('mcp')}") from None


@asynccontextmanager
async def open_session(server: McpServer, stderr: StderrLog | None) -> AsyncIterator["Session"]:
    """A session with `server`, open inside the block. Raises what the SDK and its libraries do.

    `stderr` gets what a process writes to its standard error.
    """
    from mcp.client import Client

    _keep_log_off_terminal()
    server = filled(server)
    async with AsyncExitStack() as stack:
        transport = _stdio(server, stderr) if stderr is not None else await _over_http(server, stack)
        watched = _Watched(transport, stderr)
        yield Session(await stack.enter_async_context(Client(watched)), watched)


@asynccontextmanager
async def _stdio(server: McpServer, stderr: StderrLog) -> AsyncIterator[Any]:
    """The streams of a process, whose parent ends it whatever happens to this process."""
    from mcp.client.stdio import StdioServerParameters, stdio_client

    command, arguments = server.command, list(server.args)
    _check_command(server)
    if os.name == "posix":
        # -I and -S: without the user's packages, which the keeper does not need.
        command, arguments = sys.executable, ["-I", "-S", str(_KEEPER), str(os.getpid()), command, *arguments]
    parameters = StdioServerParameters(
        command=command,
        args=arguments,
        env=dict(server.env),
        cwd=server.working_directory,
        encoding_error_handler="replace",  # "strict" would end the reading of replies, and all calls wait in vain
    )
    await stderr.begin()
    async with stdio_client(parameters, errlog=stderr.errlog) as streams:
        stderr.errlog.close()
        yield streams


def _check_command(server: McpServer) -> None:
    """Raise FileNotFoundError if there is no such command. One with a folder in it counts from the server's own."""
    command = server.command
    file = os.path.join(server.working_directory or "", command) if os.sep in command else command
    if shutil.which(file, path=server.env.get("PATH", os.environ.get("PATH"))) is None:
        args = command.split()[1:]
        advice = f" (its arguments belong in args: [{', '.join(args_without_secrets(args))}])" if args else ""
        raise FileNotFoundError(f"there is no command {command!r}{advice}")


async def _over_http(server: McpServer, stack: AsyncExitStack) -> Any:
    from mcp.client.sse import sse_client
    from mcp.client.streamable_http import streamable_http_client

    await _check_address(server)
    certificates = _certificates(server)
    # A result may take as long as the tool's own limit allows, without an event before it.
    longest_s = max(_LONGEST_SILENCE_S, (server.tool_timeout_s or 0.0) + _TIMEOUT_S)

    def client(headers: Any = None, timeout: Any = None, auth: Any = None) -> Any:
        import httpx2

        timeout = timeout or httpx2.Timeout(_TIMEOUT_S, read=longest_s)
        return httpx2.AsyncClient(headers=headers, timeout=timeout, auth=auth, verify=certificates)

    headers = dict(server.headers)
    if server.transport == "sse":
        return sse_client(server.url, headers, _TIMEOUT_S, longest_s, httpx_client_factory=client)
    return streamable_http_client(server.url, http_client=await stack.enter_async_context(client(headers)))


def _certificates(server: McpServer) -> ssl.SSLContext | bool:
    """What `verify` means for httpx. Raises FileNotFoundError, PermissionError for a bundle that cannot be read."""
    bundle = server.verify
    if isinstance(bundle, bool):
        return bundle
    try:
        is_folder = os.path.isdir(bundle)
        return ssl.create_default_context(capath=bundle if is_folder else None, cafile=None if is_folder else bundle)
    except OSError as unreadable:  # ssl's own error too, for a file of something else
        raise type(unreadable)(f"verify: {bundle!r}: {unreadable.strerror or unreadable}") from None


async def _check_address(server: McpServer) -> None:
    """Raise PermissionError for a URL with a private address, unless the server is declared to have one."""
    if server.allow_private:
        return
    from yarl import URL

    from crewrun.tools.public_address import addresses_of, refuse_private

    url = URL(server.url)
    try:
        refuse_private(url, await addresses_of(url))
    except PermissionError as refused:
        form = f"{{url: {url_without_secrets(server.url)}, allow_private: true}}"
        raise PermissionError(f"{refused}; if it is meant to be one, write {form}") from None


def _keep_log_off_terminal() -> None:
    """The SDK logs what servers do wrong, with tracebacks. A program that sets up logging still gets it."""
    logger = logging.getLogger("mcp")
    if not logger.handlers:
        logger.addHandler(logging.NullHandler())  # without any handler, logging prints to stderr


class _Watched:
    """A transport of which is known whether its streams have ended, which the SDK does not tell.

    What a process writes among its messages that is none, as `print` does, is noted in `stderr`.
    """

    def __init__(self, transport: Any, stderr: StderrLog | None) -> None:
        self._transport = transport
        self.stderr = stderr
        self.is_closed = False

    async def __aenter__(self) -> Any:
        read, write = await self._transport.__aenter__()
        return _WatchedStream(read, self), write

    async def __aexit__(self, *error: Any) -> Any:
        self.is_closed = True
        return await self._transport.__aexit__(*error)


class _WatchedStream:
    """A stream of messages that notes its end."""

    def __init__(self, stream: Any, watched: _Watched) -> None:
        self._stream = stream
        self._watched = watched

    def __aiter__(self) -> Any:
        return self

    async def __anext__(self) -> Any:
        try:
            message = await self._stream.__anext__()
        except BaseException:
            self._watched.is_closed = True
            raise
        if isinstance(message, Exception) and self._watched.stderr is not None:
            note = f"[crewrun: a line of its output is no message: {reason_of(message)}]\n"
            self._watched.stderr.add(note.encode("utf-8", "replace"))
        return message

    async def __aenter__(self) -> Any:
        await self._stream.__aenter__()
        return self

    async def __aexit__(self, *error: Any) -> Any:
        return await self._stream.__aexit__(*error)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)


class Session:
    """An open session. Any number of calls may be in progress at once."""

    def __init__(self, client: Any, watched: _Watched) -> None:
        self._client = client
        self._watched = watched

    @property
    def is_closed(self) -> bool:
        """Whether the server is known to be gone."""
        return self._watched.is_closed

    async def tools(self) -> list[ListedTool]:
        """The server's tools, from all pages of its list. Raises ConnectionBroken."""
        listed: list[ListedTool] = []
        cursor = None
        while True:
            page = await self._of_open(self._client.list_tools, cursor=cursor)
            listed += [_listed(tool) for tool in page.tools]
            cursor = page.next_cursor
            if not cursor:
                return listed

    async def call(self, tool: str, arguments: Mapping[str, Any]) -> CallResult:
        """The result of one call; what the server refuses, such as wrong arguments, too. Raises ConnectionBroken."""
        from mcp.shared.exceptions import MCPError
        from pydantic import ValidationError

        try:
            result = await self._of_open(self._client.call_tool, tool, dict(arguments))
        except MCPError as refused:
            return CallResult(f"The server refused the call: {refused.message}", is_error=True)
        except ValidationError as invalid:
            return CallResult(f"The server's reply is not a result: {reason_of(invalid)}", is_error=True)
        return CallResult(_text(result), bool(result.is_error), tuple(_pictures(result)))

    async def _of_open(self, request: Any, *args: Any, **kwargs: Any) -> Any:
        """What `request` returns. Raises ConnectionBroken where it has no reply, MCPError where the reply is one."""
        import anyio
        from mcp.shared.exceptions import MCPError
        from mcp_types import CONNECTION_CLOSED

        if self.is_closed:
            raise ConnectionBroken("it was closed", was_sent=False)
        try:
            return await request(*args, **kwargs)
        except MCPError as failed:
            if failed.message == _NEVER_SENT:
                raise ConnectionBroken(failed.message, was_sent=False) from None
            is_end = failed.code == CONNECTION_CLOSED and failed.message.startswith(_ENDED)
            if is_end or failed.message == _NO_REPLY:
                raise ConnectionBroken(failed.message, was_sent=True) from None
            raise
        except (anyio.ClosedResourceError, anyio.BrokenResourceError, anyio.EndOfStream) as failed:
            raise ConnectionBroken(type(failed).__name__, was_sent=True) from None


def reason_of(failed: BaseException) -> str:
    """What went wrong with a session: the first exception in the groups that the SDK raises, in one line."""
    from pydantic import ValidationError

    while isinstance(failed, BaseExceptionGroup):
        failed = failed.exceptions[0]
    if isinstance(failed, ValidationError):
        faults = failed.errors(include_url=False, include_input=False)[:_SHOWN_FAULTS]
        return "; ".join(": ".join(filter(None, (".".join(map(str, e["loc"])), e["msg"]))) for e in faults)
    return str(failed) or type(failed).__name__


def _listed(tool: Any) -> ListedTool:
    hints = tool.annotations
    is_repeatable = hints is not None and bool(hints.read_only_hint or hints.idempotent_hint)
    return ListedTool(tool.name, tool.description or tool.title or tool.name, tool.input_schema, is_repeatable)


def _text(result: Any) -> str:
    """The parts of a result as text, one below the other; without any, its structured content as JSON."""
    texts = [_text_of(part) for part in result.content]
    if not texts and result.structured_content is not None:
        return json.dumps(result.structured_content, ensure_ascii=False)
    return "\n".join(texts)


def _pictures(result: Any) -> Iterator[str]:
    """The pictures in a result, also those in resources."""
    for part in result.content:
        if part.type == "image":
            yield f"data:{part.mime_type};base64,{part.data}"
        elif part.type == "resource":
            kind, data = part.resource.mime_type or "", getattr(part.resource, "blob", None)
            if data is not None and kind.startswith("image/"):
                yield f"data:{kind};base64,{data}"


def _text_of(part: Any) -> str:
    """https://modelcontextprotocol.io/specification/2025-11-25/server/tools#tool-result"""
    if part.type == "text":
        return str(part.text)
    if part.type == "resource":
        resource = part.resource
        text = getattr(resource, "text", None)
        return str(text) if text is not None else f"[{resource.mime_type or 'a file'} at {resource.uri}]"
    if part.type == "resource_link":
        return f"[{part.title or part.name}: {part.uri}]"
    return f"[{part.type} of type {part.mime_type}]"
