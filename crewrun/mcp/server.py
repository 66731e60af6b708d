"""`McpServer`: how a server is reached, and which of its tools an agent gets. `servers` opens it."""

import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Literal

from crewrun.errors import DefinitionError
from crewrun.mcp.secrets import args_without_secrets, url_without_secrets
from crewrun.redaction.redactor import learn
from crewrun.redaction.values import is_secret_variable, literals_of, secrets_in

Transport = Literal["stdio", "http", "sse"]
# Which tools an agent gets: their names, or a function of the agent, the server's name, and a tool, which is a mapping
# with `name`, `description` and `inputSchema`.
ToolFilter = tuple[str, ...] | Callable[[Any, str, Mapping[str, Any]], bool] | None


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class McpServer:
    """A server, either a process of its own or one at a URL.

    Transport `stdio` has `command`, `args`, `env` and `cwd`, which counts from `folder`; `http`, which is streamable
    HTTP, and the older `sse` have `url` and `headers`, and `verify` for their certificates. `${NAME}` in `env` and
    `headers` stands for an environment variable. The tools' names begin with `prefix`, which may be empty, or with
    `name`. Agents get the tools that `tools` names or accepts, all by default. `written_at` is the place in the user's
    file.

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
    folder: str | None = None
    url: str = ""
    headers: Mapping[str, str] = field(default_factory=dict, repr=False)
    tools: ToolFilter = None
    sessions: Literal["run", "row"] = "run"
    connections: int = 1
    connect_timeout_s: float = 30.0
    tool_timeout_s: float | None = None
    cache_tools_list: bool = True
    allow_private: bool = False
    verify: bool | str = True
    prefix: str | None = None
    written_at: str = ""

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
        for name, value in self.env.items():
            if is_secret_variable(name):
                learn(literals_of(value))

    @property
    def key(self) -> tuple[Any, ...]:
        """What two servers have in common that share their sessions: all but the names and choice of tools."""
        return (
            *(self.transport, self.command, self.args, tuple(sorted(self.env.items())), self.cwd, self.folder),
            *(self.url, tuple(sorted(self.headers.items())), self.verify),
            *(self.sessions, self.connections, self.allow_private),
        )

    def without_choice(self) -> "McpServer":
        """The server without what is about one agent's use of it: its tools are the same for all agents."""
        return replace(self, tools=None, written_at="")

    @property
    def place(self) -> str:
        """What the server is reached by, for messages: its command line, or its URL, without secrets."""
        return url_without_secrets(self.url) or " ".join((self.command, *args_without_secrets(self.args)))

    @property
    def working_directory(self) -> str | None:
        """Where the process of a server starts; None for our own."""
        if self.folder is None:
            return self.cwd
        return os.path.join(self.folder, self.cwd or "")

    def __fingerprint__(self) -> dict[str, Any]:
        """What decides the tools' results; without secrets, which may be renewed, and inherited variables."""
        fields = {
            "transport": self.transport,
            "name": self.name,
            "command": self.command,
            "args": list(args_without_secrets(self.args)),
            "env": _deciding(self.env),
            "cwd": self.cwd,
            "url": url_without_secrets(self.url),
            "headers": sorted(self.headers),
            "tools": self.tools,
            "sessions": self.sessions,
            "prefix": self.prefix,
        }
        return {name: value for name, value in fields.items() if value not in (None, "", (), [], {}, "run")}


def _deciding(env: Mapping[str, str]) -> dict[str, str | None]:
    """The variables, with the values of those that are neither secret nor the same as outside of the server."""
    inherited = {name for name, value in env.items() if os.environ.get(name) == value}
    return {
        name: None if is_secret_variable(name) else value
        for name, value in sorted(env.items())
        if name not in inherited
    }
