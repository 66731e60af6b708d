"""`MCPServerAdapter`: CrewAI's other way to the tools of servers, for `tools=` of agents and tasks.

    with MCPServerAdapter({"url": "https://host/mcp", "transport": "streamable-http"}) as tools:
        agent = Agent(…, tools=tools)

An adapter opens nothing. Agents get the tools when they work, over the session that all rows share, and also after the
`with` block. The list has the tools themselves for code that looks into it, such as a loop over their names: the server
is opened for that. While code is loaded, which needs no server, the list has one entry that stands for all of them.
"""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace
from threading import Lock
from typing import Any
from weakref import WeakSet

from pydantic import ConfigDict

from crewrun.errors import DefinitionError, ToolFailed
from crewrun.loading.load import current_load, row_inputs
from crewrun.loading.placeholder import Placeholder
from crewrun.mcp.choice import no_such_tool
from crewrun.mcp.forms import as_server
from crewrun.mcp.server import McpServer
from crewrun.row_context import current_row_context
from crewrun.tools.base import BaseTool
from crewrun.tools.deferred import DeferredToolList, DeferredTools
from crewrun.tools.toolbox import wire_name


class MCPServerAdapter:
    """The tools of one server, or of several: those in `tool_names`, or all.

    `serverparams` is a mapping with url or command, the SDK's StdioServerParameters, or a list of these. Raises
    DefinitionError for anything else.
    """

    def __init__(self, serverparams: Any, *tool_names: str, connect_timeout: float = 30) -> None:
        if not all(isinstance(name, str) for name in tool_names):
            raise DefinitionError("MCPServerAdapter: the names of tools are texts: MCPServerAdapter(params, 'search')")
        many = serverparams if isinstance(serverparams, list | tuple) else [serverparams]
        self._servers = [replace(_server(params), prefix="", connect_timeout_s=connect_timeout) for params in many]
        self._tools = ToolCollection(AdapterTools.of(self._servers, tool_names or None))
        self.start()

    @property
    def tools(self) -> "ToolCollection":
        """The tools, in a list that is also read by name: `adapter.tools["search"]`."""
        return self._tools

    def start(self) -> None:
        """Open nothing: a server is opened when its tools are needed."""
        with _lock:
            _in_use.add(self)

    def stop(self) -> None:
        """Close the servers, except those of other adapters in use. A run closes what it uses at its end."""
        with _lock:
            _in_use.discard(self)
            others = {server.key for adapter in _in_use for server in adapter._servers}
        if current_load() is None and row_inputs.get() is None and current_row_context() is None:
            from crewrun.mcp.servers import close_server_sync

            for server in self._servers:
                if server.key not in others:
                    close_server_sync(server)

    def __enter__(self) -> "ToolCollection":
        self.start()
        return self._tools

    def __exit__(self, *raised: object) -> None:
        self.stop()


# The adapters that were not stopped. In a web service several requests have one for the same server.
_in_use: WeakSet[MCPServerAdapter] = WeakSet()
_lock = Lock()  # protects it


def _server(params: Any) -> McpServer:
    if isinstance(params, dict) and "url" in params and not params.keys() & {"transport", "type"}:
        params = {**params, "transport": "sse"}  # as in mcpadapt, which CrewAI uses here
    return as_server(params)


class AdapterTools(DeferredTools):
    """Stands for the tools of `servers`, those in `names` or all."""

    model_config = ConfigDict(arbitrary_types_allowed=True, extra="ignore")

    servers: tuple[McpServer, ...]
    names: tuple[str, ...] | None

    @classmethod
    def of(cls, servers: Iterable[McpServer], names: Iterable[str] | None) -> "AdapterTools":
        """The entry for `servers`. While code is loaded, its name can be shown but not be compared."""
        servers, names = tuple(servers), None if names is None else tuple(names)
        where, place = (" and ".join(getattr(one, part) for one in servers) for part in ("name", "place"))
        shown = f"{', '.join(names) if names else 'the tools'} of {where}"
        about = f"Stands for {shown}."
        entry = cls(name=shown, description=about, server_name=where, place=place, servers=servers, names=names)
        if (load := current_load()) is not None:

            def refuse(doing: str) -> BaseException:
                return load.stop(
                    f"the name of a tool of an MCP server, which is {doing}",
                    "no server is started while a file is loaded",
                    "; choose tools as MCPServerAdapter(params, 'search') or tools['search']",
                )

            entry.__dict__["name"] = Placeholder.named(shown, refuse)
        return entry

    def __fingerprint__(self) -> dict[str, Any]:
        return {"servers": self.servers, "names": self.names}

    async def listed(self) -> list[BaseTool]:
        """The tools, in the order of the names. Raises UsageError, ToolFailed."""
        from crewrun.mcp.tools import tools_of

        return self._chosen([tool for server in self.servers for tool in await tools_of(server)])

    def listed_now(self) -> list[BaseTool]:
        """As `listed`, for sync code."""
        from crewrun.mcp.tools import tools_of_sync

        return self._chosen([tool for server in self.servers for tool in tools_of_sync(server)])

    def _chosen(self, tools: list[Any]) -> list[BaseTool]:
        if self.names is None:
            return tools
        by_name = {wire_name(tool.name): tool for tool in reversed(tools)}
        if missing := [name for name in self.names if wire_name(name) not in by_name]:
            about = no_such_tool(missing[0], [tool.name for tool in tools])
            raise ToolFailed(f"MCP server {self.server_name!r} ({self.place}): {about}")
        return [by_name[wire_name(name)] for name in self.names]


class ToolCollection(DeferredToolList):
    """The tools that `entry` stands for. The list begins with the entry alone; code that looks into it, except while it
    is loaded, finds the tools in its place.
    """

    def __init__(self, entry: AdapterTools) -> None:
        super().__init__([entry])
        self.entry = entry
        self._is_read = False

    @property
    def deferred(self) -> list[BaseTool]:
        """What is in the list, which is not read for it."""
        return list(super().__iter__())

    def filter_by_names(self, names: Iterable[str] | None = None) -> "ToolCollection":
        """Those of the tools that `names` has, all where it is None."""
        return self if names is None else ToolCollection(AdapterTools.of(self.entry.servers, names))

    def filter_where(self, func: Callable[[Any], bool]) -> list[BaseTool]:
        """Those of the tools for which `func` is true."""
        return [tool for tool in self if func(tool)]

    def _read(self) -> None:
        """Put the tools in the place of the entry, once. Raises UsageError, ToolFailed."""
        if not self._is_read and current_load() is None:
            tools = self.entry.listed_now()
            self[:] = [tool for item in super().__iter__() for tool in (tools if item is self.entry else [item])]
            self._is_read = True

    def __getitem__(self, key: Any) -> Any:
        self._read()
        if not isinstance(key, str):
            return super().__getitem__(key)
        if not self._is_read:
            return AdapterTools.of(self.entry.servers, [key])
        by_name = {tool.name.lower(): tool for tool in self}
        if key.lower() not in by_name:
            raise KeyError(no_such_tool(key, list(by_name)))
        return by_name[key.lower()]

    def __iter__(self) -> Iterator[BaseTool]:
        self._read()
        return super().__iter__()

    def __len__(self) -> int:
        self._read()
        return super().__len__()
