"""`MCPServerStdio`, `MCPServerHTTP`, `MCPServerSSE`: MCP servers as users name them in `mcps`, CrewAI's classes.

`forms` makes an `McpServer` of each, and of URLs and mappings.
"""

import warnings
from typing import Any, Literal

from pydantic import ConfigDict, Field, model_validator

from crewrun.declared import Declared
from crewrun.errors import CrewrunWarning, suggest

DEFAULT_CONNECT_TIMEOUT_S = 30.0


class ServerConfig(Declared):
    """What all servers have in common.

    `name` is the prefix of the tools' names; by default it is made of the command or the URL, as in CrewAI.
    `tool_filter` is a function, or a list of tools' names. With `sessions="row"` each row has a session of its own,
    which is for servers that remember what a client did; otherwise all rows share `connections` sessions. `timeout` and
    `connect_timeout` are the seconds for one call of a tool and for opening a session. The list of tools is read once
    for each session, so `cache_tools_list` has no effect.
    """

    model_config = ConfigDict(extra="ignore", arbitrary_types_allowed=True, hide_input_in_errors=True)

    name: str | None = None
    tool_filter: Any = None
    cache_tools_list: bool = False
    sessions: Literal["run", "row"] = "run"
    connections: int = Field(default=1, ge=1)
    timeout: float | None = Field(default=None, gt=0)
    connect_timeout: float = Field(default=DEFAULT_CONNECT_TIMEOUT_S, gt=0)

    @model_validator(mode="before")
    @classmethod
    def _accept(cls, fields: Any) -> Any:
        for name in fields if isinstance(fields, dict) else ():
            if name not in cls.model_fields:
                near = suggest(name, list(cls.model_fields))
                message = f"{cls.__name__}: no field {name!r}{near}; it has no effect"
                warnings.warn(message, CrewrunWarning, stacklevel=5)
        return fields


class MCPServerStdio(ServerConfig):
    """A server that is a process of this machine: `command` with `args`, started once for all rows.

    It gets a few variables of the environment, such as PATH and HOME, and those in `env`, where `${NAME}` stands for
    the variable of that name. `cwd` is its working directory.
    """

    command: str = Field(min_length=1)
    args: list[str] = Field(default_factory=list)
    env: dict[str, str] | None = None
    cwd: str | None = None


class _RemoteConfig(ServerConfig):
    """A server at a URL. `${NAME}` in `headers` stands for the environment variable of that name.

    A URL of a private address, such as localhost, needs `allow_private`. `verify` is False, or the path of a bundle of
    certificates, for a server whose certificate no public authority has signed.
    """

    url: str = Field(min_length=1)
    headers: dict[str, str] | None = None
    allow_private: bool = False
    verify: bool | str = True


class MCPServerHTTP(_RemoteConfig):
    """A server that speaks streamable HTTP, or with `streamable=False` the older protocol over server-sent events."""

    streamable: bool = True


class MCPServerSSE(_RemoteConfig):
    """A server that speaks the older protocol over server-sent events."""


MCPServerConfig = MCPServerStdio | MCPServerHTTP | MCPServerSSE
