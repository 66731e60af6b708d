"""The folder of the crew that the current row runs: its paths are relative to that folder and may not leave it.

The code that runs rows sets it. A path that is constructed while a row runs may come from the row's data, no matter who
wrote the code, so it is confined just like a path in the row itself.
"""

from contextvars import ContextVar
from pathlib import Path

_folder: ContextVar[Path | None] = ContextVar("crewrun_crew_folder", default=None)


def run_in(folder: Path) -> None:
    """Set the folder of the crew whose row runs in the current context."""
    _folder.set(folder)


def row_folder() -> Path | None:
    """The folder of the crew whose row runs in the current context, None outside a row."""
    return _folder.get()
