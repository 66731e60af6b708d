"""From the forms in which users name MCP servers to `McpServer`: URLs, mappings, CrewAI's classes and the SDK's.

"https://host/mcp"                  all tools of the server at that URL
"https://host/mcp#search"           the tool `search` of it
{"command": "uvx", "args": […]}     a process; a mapping has the fields of the classes in `config`
{"url": "https://host/sse", "transport": "sse", "tools": ["search"]}
"""

import os
from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from pydantic import ValidationError

from crewrun.errors import DefinitionError, suggest
from crewrun.mcp.filters import choice_of
from crewrun.mcp.secrets import args_without_secrets, secrets_of_args
from crewrun.mcp.server import McpServer
from crewrun.redaction.redactor import learn

if TYPE_CHECKING:
    from crewrun.mcp.config import ServerConfig

# What `transport` may be, in the spellings of CrewAI, mcpadapt and the configuration files of other clients.
_TRANSPORTS = {
    "stdio": "stdio",
    "http": "http",
    "streamable-http": "http",
    "streamable_http": "http",
    "streamablehttp": "http",
    "sse": "sse",
}


def as_servers(values: Any) -> Any:
    """The servers of an agent's `mcps`; None is no servers. Pydantic refuses what is not a list."""
    if not values:
        return [] if values is None else values
    return [as_server(value) for value in values] if isinstance(values, list | tuple) else values


def as_server(value: Any) -> McpServer:
    """The server that `value` names in one of the forms. Raises DefinitionError for any other."""
    if isinstance(value, McpServer):
        return value
    if isinstance(value, str):
        return _of_reference(value)
    if isinstance(value, Mapping):
        return _of_mapping(dict(value))
    from crewrun.mcp.config import MCPServerHTTP, MCPServerSSE, MCPServerStdio

    if isinstance(value, MCPServerStdio | MCPServerHTTP | MCPServerSSE):
        return _of_config(value)
    if isinstance(getattr(value, "command", None), str):  # the SDK's StdioServerParameters, and CrewAI's own classes
        fields = {name: getattr(value, name, None) for name in ("command", "args", "env", "cwd", "tool_filter")}
        return _of_mapping({name: field for name, field in fields.items() if field is not None})
    if isinstance(getattr(value, "url", None), str):
        names = ("url", "headers", "tool_filter", "streamable", "verify")
        fields = {name: getattr(value, name, None) for name in names}
        return _of_mapping({name: field for name, field in fields.items() if field is not None})
    raise DefinitionError(
        f"{value!r} names no MCP server; write its URL, a mapping with command or url, or an MCPServerStdio, "
        "MCPServerHTTP or MCPServerSSE"
    )


def name_of_url(url: str) -> str:
    """`api_example_com_mcp` for `https://api.example.com/mcp`, as CrewAI names the tools of a server."""
    parts = urlsplit(url)
    host, path = parts.netloc.rpartition("@")[2].replace(".", "_"), parts.path.replace("/", "_").strip("_")
    return f"{host}_{path}" if path else host


def name_of_process(command: str, args: Iterable[str]) -> str:
    """`python_server.py` for `python server.py`, as in CrewAI; of an absolute path only the last part, so that tools
    have the same names on every machine, and nothing of secrets, since models see the names.
    """
    args = args_without_secrets(args)
    parts = [os.path.basename(part.rstrip("/")) or part if os.path.isabs(part) else part for part in (command, *args)]
    return "_".join(parts)


def _of_reference(text: str) -> McpServer:
    url, _, tool = text.strip().partition("#")
    if not url.startswith(("https://", "http://")):
        name = url.removeprefix("crewai-amp:")
        is_process = name == url and "://" not in url
        process = f'; a process is written {{"command": "{name}"}}' if is_process else ""
        raise DefinitionError(
            f"{text!r} is no URL{process}; in CrewAI {name!r} would be a server of CrewAI's catalogue (AMP), which "
            "crewrun does not ask: write the server's own URL, or a mapping with command or url"
        )
    server = _of_mapping({"url": url})
    return replace(server, tools=(tool,)) if tool else server


def _of_mapping(fields: dict[str, Any]) -> McpServer:
    """The server of a mapping, whose keys are checked. Raises DefinitionError."""
    from crewrun.mcp.config import MCPServerHTTP, MCPServerSSE, MCPServerStdio, ServerConfig

    transport = _transport(fields)
    if "tools" in fields and "tool_filter" not in fields:
        fields["tool_filter"] = fields.pop("tools")
    kinds: dict[str, type[ServerConfig]]
    kinds = {"stdio": MCPServerStdio, "http": MCPServerHTTP, "sse": MCPServerSSE}
    kind = kinds[transport]
    fields = {name: value for name, value in fields.items() if name not in ("transport", "type")}
    if unknown := fields.keys() - kind.model_fields.keys():
        names = list(kind.model_fields)
        name = min(map(str, unknown))
        near = suggest(name, names) or f"; the keys of a server with transport {transport} are {', '.join(names)}"
        raise DefinitionError(f"an MCP server has no key {name!r}{near}")
    try:
        return _of_config(kind(**fields))
    except ValidationError as invalid:
        faults = (f"{'.'.join(map(str, e['loc']))}: {e['msg']}" for e in invalid.errors(include_url=False))
        raise DefinitionError(f"an MCP server with transport {transport}: {'; '.join(faults)}") from None


def _transport(fields: Mapping[str, Any]) -> str:
    """`stdio`, `http` or `sse`, from the key `transport` or from what else there is."""
    if ("command" in fields) == ("url" in fields):
        which = "both command and url; keep the one" if "url" in fields else "neither command nor url; write the one"
        raise DefinitionError(f"an MCP server has {which} by which it is reached")
    written = fields.get("transport", fields.get("type"))
    if written is None:
        return "stdio" if "command" in fields else "http"
    transport = _TRANSPORTS.get(str(written).lower())
    if transport is None:
        near = suggest(str(written), ("stdio", "http", "streamable-http", "sse"))
        raise DefinitionError(f"transport {written!r} of an MCP server{near}; there are stdio, streamable-http and sse")
    if (transport == "stdio") != ("command" in fields):
        needed = "command" if transport == "stdio" else "url"
        raise DefinitionError(f"an MCP server with transport {written} needs {needed}")
    return transport


def _of_config(config: "ServerConfig") -> McpServer:
    from crewrun.mcp.config import MCPServerHTTP, MCPServerSSE, MCPServerStdio

    own: dict[str, Any]
    if isinstance(config, MCPServerStdio):
        learn(secrets_of_args(config.args))
        name = name_of_process(config.command, config.args)
        own = {"transport": "stdio", "command": config.command, "args": tuple(config.args)}
        own |= {"env": dict(config.env or {}), "cwd": config.cwd}
    else:
        assert isinstance(config, MCPServerHTTP | MCPServerSSE)  # noqa: S101  (there are no others)
        name = name_of_url(config.url)
        is_sse = not (isinstance(config, MCPServerHTTP) and config.streamable)
        own = {"transport": "sse" if is_sse else "http", "url": config.url, "headers": dict(config.headers or {})}
        own |= {"allow_private": config.allow_private, "verify": config.verify}
    return McpServer(
        **own,
        name=config.name or name,
        tools=choice_of(config.tool_filter),
        sessions=config.sessions,
        connections=config.connections,
        connect_timeout_s=config.connect_timeout,
        tool_timeout_s=config.timeout,
    )
