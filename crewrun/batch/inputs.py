"""`Inputs`: where the rows of a batch come from. Here, a file or pipe that the user names; `program_inputs` has rows of
a Python program.
"""

from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import anyio.to_thread

from crewrun.batch.locations import is_pipe, rows_opener, spooled
from crewrun.batch.settings import BatchSettings
from crewrun.batch.source import TableSource, input_name
from crewrun.runs.manifest import digest_of


class Inputs(Protocol):
    """The rows of a batch. `name` is what messages call them; `is_once` says that they can be read only once."""

    @property
    def name(self) -> str: ...

    @property
    def is_once(self) -> bool: ...

    def opener(self, settings: BatchSettings) -> Callable[..., TableSource]:
        """A function that opens the rows that `settings` select, by default with their `offset` and `limit`.

        Raises UsageError.
        """
        ...

    async def repeatable(self, files: ExitStack) -> "Inputs":
        """The same rows, which can be read again: from a temporary file, which `files` closes, if they could not."""
        ...

    async def digest(self) -> str | None:
        """32 hex digits that tell whether the rows are the same; None if a later process cannot read them again."""
        ...


@dataclass(frozen=True, slots=True)
class FileInputs:
    """The rows of a file or pipe, `-` for standard input. `label` replaces the path in messages."""

    path: str
    label: str | None = None

    @property
    def name(self) -> str:
        """The path, or what the user knows the rows by."""
        return self.label or input_name(self.path)

    @property
    def is_once(self) -> bool:
        """Whether it is a pipe."""
        return is_pipe(self.path)

    def opener(self, settings: BatchSettings) -> Callable[..., TableSource]:
        """As in `Inputs`."""
        return rows_opener(self.path, settings, self.label)

    async def repeatable(self, files: ExitStack) -> "FileInputs":
        """As in `Inputs`."""
        path = spooled(self.path, files)
        return self if path == self.path else FileInputs(path, self.name)

    async def digest(self) -> str | None:
        """As in `Inputs`. Raises UsageError."""
        return None if self.is_once else await anyio.to_thread.run_sync(digest_of, Path(self.path))
