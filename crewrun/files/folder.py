"""The folder of the crew that a row runs: from there its paths count, and none of them leaves it.

Who runs rows says which it is. A path that comes to be while a row runs may be of the row's making, whoever wrote the
code, so it is confined as one that stands in the row is.
"""

from contextvars import ContextVar
from pathlib import Path

_folder: ContextVar[Path | None] = ContextVar("crewrun_crew_folder", default=None)


def run_in(folder: Path) -> None:
    """From here on a row of the crew in `folder` runs in this context."""
    _folder.set(folder)


def row_folder() -> Path | None:
    """The folder of the crew whose row runs here; None where none does."""
    return _folder.get()
