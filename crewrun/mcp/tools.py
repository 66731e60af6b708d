"""`McpTool`: a tool of an MCP server, as agents have it. `tools_of` lists those of a server."""

from collections.abc import Mapping
from copy import deepcopy
from typing import Any, ClassVar

from pydantic import BaseModel, ConfigDict

from crewrun.mcp.choice import chosen_from
from crewrun.mcp.kept_lists import is_replay, keep, read_list
from crewrun.mcp.sdk import CallResult, ListedTool
from crewrun.mcp.server import McpServer
from crewrun.mcp.servers import call_tool, call_tool_sync, list_tools, list_tools_sync
from crewrun.mcp.tool_names import tool_name
from crewrun.tools.base import DEFAULT_TIMEOUT_S, BaseTool
from crewrun.tools.pictures import TextWithPictures
from crewrun.tools.tool_failure import ToolFailure, ToolFailureReason


class McpTool(BaseTool):
    """Calls one tool of `server`, over the session that all rows share. `listed` is the server's own description."""

    is_async: ClassVar[bool] = True

    server: McpServer
    listed: ListedTool

    @classmethod
    def of(cls, server: McpServer, listed: ListedTool) -> "McpTool":
        """The tool `{server}_{tool}`, as CrewAI names it."""
        return cls(
            name=tool_name(server.name if server.prefix is None else server.prefix, listed.name),
            description=listed.description,
            args_schema=_arguments(listed.schema),
            timeout_s=server.tool_timeout_s or DEFAULT_TIMEOUT_S,
            server=server,
            listed=listed,
        )

    def __fingerprint__(self) -> dict[str, Any]:
        return {"server": self.server, "listed": self.listed}

    def _run(self, /, **arguments: Any) -> Any:
        return _value(call_tool_sync(self.server, self.listed, arguments))

    async def _arun(self, /, **arguments: Any) -> Any:
        return _value(await call_tool(self.server, self.listed, arguments))


def _value(result: CallResult) -> str | ToolFailure:
    if result.is_error:
        return ToolFailure(result.text, ToolFailureReason.EXCEPTION)
    return TextWithPictures.of(result.text, result.pictures) if result.pictures else result.text


# All tools of a server, by what decides them, so that each is one object for all rows.
_tools: dict[tuple[Any, ...], list[McpTool]] = {}


async def tools_of(server: McpServer, agent: Any = None) -> list[McpTool]:
    """The tools of `server` that `agent` gets; in a replay those of the run's earlier session.

    Raises UsageError without the SDK, ToolFailed if the server does not answer or has no tool of a name in `tools`.
    """
    if is_replay.get():
        return _chosen(server, _tools.get(_key(server)) or _all_tools(server, read_list(server)), agent)
    if not server.cache_tools_list or (tools := _tools.get(_key(server))) is None:
        tools = _all_tools(server, await list_tools(server))
    keep(server, tools)
    return _chosen(server, tools, agent)


def tools_of_sync(server: McpServer, agent: Any = None) -> list[McpTool]:
    """As `tools_of`, for sync code."""
    if not server.cache_tools_list or (tools := _tools.get(_key(server))) is None:
        tools = _all_tools(server, list_tools_sync(server))
    return _chosen(server, tools, agent)


def _chosen(server: McpServer, tools: list[McpTool], agent: Any) -> list[McpTool]:
    if server.tools is None:
        return tools
    names = {listed.name for listed in chosen_from([tool.listed for tool in tools], server, agent)}
    return [tool for tool in tools if tool.listed.name in names]


def _key(server: McpServer) -> tuple[Any, ...]:
    return (server.key, server.name, server.prefix, server.tool_timeout_s)


def _all_tools(server: McpServer, listed: list[ListedTool]) -> list[McpTool]:
    """The tools in the list; the same objects as last time if the list is the same."""
    tools = _tools.get(_key(server))
    if tools is None or [tool.listed for tool in tools] != listed:
        # Whoever lists them first: the identity of a recorded call has the server in it.
        server = server.without_choice()
        tools = _tools[_key(server)] = [McpTool.of(server, tool) for tool in listed]
    return tools


def _arguments(schema: Mapping[str, Any]) -> type[BaseModel]:
    """A class with the server's schema, which takes any arguments: the server itself says what is wrong with them."""

    class Arguments(BaseModel):
        model_config = ConfigDict(extra="allow")

        @classmethod
        def model_json_schema(cls, *_: Any, **__: Any) -> dict[str, Any]:
            return deepcopy({"type": "object", **schema})

    return Arguments
