"""`McpServer`: how a server is reached, and which of its tools an agent gets. `servers` opens it."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from crewrun.errors import DefinitionError
from crewrun.redaction.redactor import learn
from crewrun.redaction.values import secrets_in

Transport = Literal["stdio", "http", "sse"]
# Which tools an agent gets: their names, or a function of a tool's name that says whether it is one.
ToolFilter = tuple[str, ...] | Callable[[str], bool] | None


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class McpServer:
    """A server, either a process of its own or one at a URL.

    Transport `stdio` has `command`, `args`, `env` and `cwd`; `http`, which is streamable HTTP, and the older `sse` have
    `url` and `headers`. `name` is the first part of the tools' names. Agents get the tools that `tools` names or
    accepts, all by default.

    All rows of a process share `connections` sessions. With `sessions` "row" each row has its own, closed when the row
    ends, for servers that remember what they were asked. A session that is not open after `connect_timeout_s` counts as
    failed. Without `cache_tools_list` the tools are listed again for every task. A `url` with a private address needs
    `allow_private`. `tool_timeout_s` bounds each call; None is the default of all tools.

    Raises DefinitionError for fields that do not fit each other.
    """

    transport: Transport
    name: str
    command: str = ""
    args: tuple[str, ...] = ()
    env: Mapping[str, str] = field(default_factory=dict, repr=False)
    cwd: str | None = None
    url: str = ""
    headers: Mapping[str, str] = field(default_factory=dict, repr=False)
    tools: ToolFilter = None
    sessions: Literal["run", "row"] = "run"
    connections: int = 1
    connect_timeout_s: float = 30.0
    tool_timeout_s: float | None = None
    cache_tools_list: bool = True
    allow_private: bool = False

    def __post_init__(self) -> None:
        is_process = self.transport == "stdio"
        if is_process != bool(self.command) or is_process == bool(self.url):
            needed, other = ("a command", "url") if is_process else ("a url", "command")
            raise DefinitionError(f"MCP server {self.name!r}: transport {self.transport} needs {needed} and no {other}")
        if self.connections < 1:
            raise DefinitionError(f"MCP server {self.name!r}: connections is {self.connections}, at least 1")
        if not self.connect_timeout_s > 0:
            raise DefinitionError(f"MCP server {self.name!r}: connect_timeout_s is {self.connect_timeout_s}")

        learn(secrets_in({"env": self.env, "headers": self.headers, "url": self.url}))

    @property
    def key(self) -> tuple[Any, ...]:
        """What two servers have in common that share their sessions: all but the names and choice of tools."""
        return (
            *(self.transport, self.command, self.args, tuple(sorted(self.env.items())), self.cwd),
            *(self.url, tuple(sorted(self.headers.items())), self.sessions, self.connections, self.allow_private),
        )

    @property
    def place(self) -> str:
        """What the server is reached by, for messages: its command line, or its URL."""
        return self.url or " ".join((self.command, *self.args))

    def takes(self, tool: str) -> bool:
        """Whether agents get the tool of this name."""
        return self.tools is None or (self.tools(tool) if callable(self.tools) else tool in self.tools)

    def __fingerprint__(self) -> dict[str, Any]:
        """What decides the tools' results: no values of variables and headers, which may be secrets that change."""
        fields = {
            "transport": self.transport,
            "name": self.name,
            "command": self.command,
            "args": self.args,
            "env": sorted(self.env),
            "cwd": self.cwd,
            "url": self.url,
            "headers": sorted(self.headers),
            "tools": self.tools,
            "sessions": self.sessions,
        }
        return {name: value for name, value in fields.items() if value not in (None, "", (), [], "run")}


def as_servers(values: Any) -> Any:
    """The servers of an agent's `mcps`; None is no servers. Pydantic refuses what is not a list."""
    if values is None:
        return []
    return [as_server(value) for value in values] if isinstance(values, list | tuple) else values


def as_server(value: Any) -> McpServer:
    """`value` as an McpServer. Raises DefinitionError for what is none."""
    if isinstance(value, McpServer):
        return value
    raise DefinitionError(f"{value!r} is no MCP server")
