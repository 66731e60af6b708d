"""`ServersOfRun`: how long MCP servers stay open: until the last run of the process ends, and with it the process.

Outside runs, for kickoffs of a script, a notebook or a web service, they stay open until the process ends.
"""

from collections.abc import Awaitable, Callable
from pathlib import Path
from types import TracebackType

import anyio

# The runs of this process, the latest last.
_runs: list["ServersOfRun"] = []
# Closes the servers; set by `servers` when it opens the first one, so that a run without servers does not import it.
_closers: list[Callable[[], Awaitable[None]]] = []


class ServersOfRun:
    """`async with ServersOfRun(folder)`: servers that are opened inside write their standard error below `folder`."""

    def __init__(self, folder: Path | None) -> None:
        self.folder = folder

    async def __aenter__(self) -> None:
        _runs.append(self)

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            if _runs == [self] and _closers:
                with anyio.CancelScope(shield=True):  # bounded: a server that does not end is killed after seconds
                    await _closers[0]()
        finally:
            _runs.remove(self)


def close_with_runs(close: Callable[[], Awaitable[None]]) -> None:
    """Call `close` when the last run has ended."""
    if not _closers:
        _closers.append(close)


def log_folder() -> Path | None:
    """The folder of the current run, None outside runs and for a run without one."""
    return _runs[-1].folder if _runs else None
