"""The MCP servers of a batch. They are opened before its first row: with one that is dead every row would fail."""

from collections.abc import Sequence

from crewrun.batch.repeat import Repeat
from crewrun.crew.listed_servers import ListedServer
from crewrun.errors import UsageError
from crewrun.target import Target


async def listed_and_closed(target: Target) -> Sequence[ListedServer]:
    """The servers of `target` with their tools, and with what prevents one from having any. They are closed again."""
    if not target.has_servers:
        return ()
    from crewrun.mcp.servers import close_servers  # few crews have servers

    try:
        return await target.list_servers()
    finally:
        await close_servers()


async def open_servers(target: Target) -> None:
    """Open the servers of `target`, which stay open for the rows. Raises UsageError with each that does not answer."""
    servers = await target.list_servers() if target.has_servers else ()
    if problems := [server.problem for server in servers if server.problem]:
        raise UsageError("\n".join(problems))


def has_work(repeat: Repeat | None) -> bool:
    """Whether rows of this session may need the servers. Not, if all of its rows are known to be done."""
    if repeat is None or repeat.counted != "all":
        return True
    return bool(repeat.new or repeat.altered or repeat.failed or repeat.redo)
