"""`list_servers`: the MCP servers of agents with their tools, for checks before the first row. It opens the servers."""

from collections.abc import Awaitable, Callable, Iterable, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from typing import Any

from crewrun.aio.concurrency import gather
from crewrun.crew.agent import Agent
from crewrun.errors import CrewrunError
from crewrun.tools.base import BaseTool
from crewrun.tools.toolbox import Toolbox, wire_name


@dataclass(frozen=True, slots=True)
class ListedServer:
    """The `tools` that `agent` gets from a server, by the names that models see, or the `problem` why it gets none.

    `place` is the server's command line or URL.
    """

    agent: str
    name: str
    place: str
    tools: Sequence[str] = ()
    problem: str | None = None

    def to_json(self) -> dict[str, Any]:
        """As `check --json` prints it."""
        return asdict(self)


async def list_servers(toolboxes: Iterable[tuple[Agent, Toolbox]]) -> list[ListedServer]:
    """The servers of each agent with its toolbox, all opened at once. Raises nothing for one that does not answer."""
    from crewrun.mcp.tools import tools_of  # few crews have servers

    calls: dict[tuple[int, int], Callable[[], Awaitable[ListedServer]]] = {}
    for agent, toolbox in toolboxes:
        label = agent.name or agent.role.strip()
        for server in agent.mcps:
            listing = partial(tools_of, server, agent)
            listed = partial(_listed, label, server.name, server.place, listing, server.written_at)
            calls[id(agent), id(server)] = listed
        for entry in toolbox.deferred:
            calls[id(agent), id(entry)] = partial(_listed, label, entry.server_name, entry.place, entry.listed)
    return await gather(list(calls.values())) if calls else []


async def _listed(
    agent: str, name: str, place: str, list_tools: Callable[[], Awaitable[Sequence[BaseTool]]], written_at: str = ""
) -> ListedServer:
    try:
        tools = await list_tools()
    except CrewrunError as failed:
        return ListedServer(agent, name, place, problem=f"{written_at or f'agent {agent!r}'}: {failed}")
    return ListedServer(agent, name, place, [wire_name(tool.name) for tool in tools])
