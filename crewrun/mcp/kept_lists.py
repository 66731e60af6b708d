"""The tool lists of servers in a run's folder, `mcp-tools.json`, for --replay.

A replay opens no server, and the lists decide which calls are the same.
"""

import json
from collections.abc import Sequence
from contextlib import suppress
from contextvars import ContextVar
from pathlib import Path
from threading import Lock
from typing import Any, Protocol

from crewrun.errors import ToolFailed
from crewrun.fingerprint import fingerprint
from crewrun.mcp.lifetime import log_folder
from crewrun.mcp.sdk import ListedTool
from crewrun.mcp.server import McpServer


class HasListed(Protocol):
    """A tool of a server, `tools.McpTool`."""

    listed: ListedTool


NAME = "mcp-tools.json"
# Whether the agent at work replays its calls only, by --replay.
is_replay: ContextVar[bool] = ContextVar("crewrun_mcp_replay", default=False)
# What this process has written, by the folder and the server.
_written: dict[tuple[Any, ...], Sequence[HasListed]] = {}
_lock = Lock()  # protects the file: rows run in several threads


def keep(server: McpServer, tools: Sequence[HasListed]) -> None:
    """Write the list into the run's folder, if there is one and it has not been written."""
    folder = log_folder()
    key = (folder, server.key, server.name, server.prefix)
    if folder is None or _written.get(key) is tools:
        return
    with _lock, suppress(OSError):  # a full disk stops the run by its journal, and not by this
        _written[key] = tools
        lists = _read(folder) | {_digest_of(server): [tool.listed._asdict() for tool in tools]}
        part = folder / f"{NAME}.part"
        part.touch(mode=0o600)
        part.write_text(json.dumps(lists), encoding="utf-8")
        part.replace(folder / NAME)


def read_list(server: McpServer) -> list[ListedTool]:
    """The list that an earlier session has written. Raises ToolFailed if there is none."""
    folder = log_folder()
    listed = _read(folder).get(_digest_of(server)) if folder is not None else None
    if listed is None:
        raise ToolFailed(f"the tools of MCP server {server.name!r} are not in the run folder (--replay)")
    return [ListedTool(**tool) for tool in listed]


def _digest_of(server: McpServer) -> str:
    return fingerprint(server.without_choice())


def _read(folder: Path) -> dict[str, list[dict[str, Any]]]:
    try:
        lists: dict[str, list[dict[str, Any]]] = json.loads((folder / NAME).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return lists
