"""An agent's tools with those of its MCP servers, which are listed when it first works."""

from collections.abc import Sequence
from typing import Any

from crewrun.mcp.server import McpServer
from crewrun.row_context import RowContext
from crewrun.tools.base import BaseTool
from crewrun.tools.toolbox import Toolbox

# Toolboxes that are made for each row, as those that delegate to agents with placeholders are, must not add up.
_MOST_KEPT = 16


class McpTools:
    """The toolboxes of one agent's servers, prepared once for each toolbox that they are added to."""

    def __init__(self) -> None:
        # By the id of the toolbox. The entry refers to it, so that no other can get its id.
        self._toolboxes: dict[int, tuple[Toolbox, list[BaseTool], Toolbox]] = {}

    async def added_to(
        self, own: Toolbox, servers: Sequence[McpServer], agent: Any, row_context: RowContext, *, replay_only: bool
    ) -> Toolbox:
        """`own` with the tools that its deferred ones stand for and those of `servers`, for `agent`.

        With `replay_only` no server is opened. Raises UsageError without the SDK, ToolFailed if a server does not
        answer or lacks a tool that is named.
        """
        from crewrun.mcp.kept_lists import is_replay  # few crews have servers
        from crewrun.mcp.servers import current_row
        from crewrun.mcp.tools import tools_of

        current_row.set(row_context.row)
        is_replay.set(replay_only)
        tools: list[BaseTool] = []
        for entry_of_tools in own.deferred:
            tools += await entry_of_tools.listed()
        for server in servers:
            tools += await tools_of(server, agent)
        entry = self._toolboxes.get(id(own))
        if entry is None or entry[1] != tools:
            if len(self._toolboxes) >= _MOST_KEPT:
                del self._toolboxes[next(iter(self._toolboxes))]
            entry = self._toolboxes[id(own)] = (own, tools, Toolbox([*own.tools.values(), *tools]))
        return entry[2]
