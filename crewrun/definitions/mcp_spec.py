"""The keys of an MCP server in a definition: an entry of an agent's `mcps`, or of the crew's `mcp_servers`."""

from typing import Annotated, Literal

from crewrun.definitions.base_spec import Spec
from crewrun.definitions.value_types import FLAG, MAPPING, TEXT, AtLeastOne, Function, Name, Seconds, Text, one_of

Certificates = Annotated[
    Annotated[bool, FLAG] | Annotated[Text, TEXT], one_of("true, false, or the path of a bundle of certificates")
]


class McpServerSpec(Spec):
    """An MCP server: a process, with `command`, or one at a `url`; see `crewrun.mcp.config`.

    `tools` are the names of those that agents get; `tool_filter` is a function that chooses them.
    """

    noun = "an MCP server"

    name: Name | None = None
    transport: Literal["stdio", "streamable-http", "http", "sse"] | None = None
    command: Text | None = None
    args: list[str] | None = None
    env: dict[str, str] | None = None
    cwd: Text | None = None
    url: Text | None = None
    headers: dict[str, str] | None = None
    verify: Certificates | None = None
    streamable: bool | None = None
    tools: list[Name] | None = None
    tool_filter: Function | None = None
    sessions: Literal["run", "row"] | None = None
    connections: AtLeastOne | None = None
    connect_timeout: Seconds | None = None
    timeout: Seconds | None = None
    allow_private: bool | None = None
    cache_tools_list: bool | None = None


McpServerEntry = Annotated[
    Annotated[Text, TEXT] | Annotated[McpServerSpec, MAPPING],
    one_of("the URL of an MCP server, the name of one in mcp_servers, or a mapping with command or url"),
]
