"""`Inputs`: where the rows of a batch come from, a file or pipe that the user names, or a Python program."""

import pickle
import tempfile
from collections.abc import Callable, Iterator
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Protocol

import anyio.to_thread

from crewrun.batch.iterable_input import IterableInput, PythonRows
from crewrun.batch.locations import is_pipe, rows_opener, spooled
from crewrun.batch.settings import BatchSettings
from crewrun.batch.source import TableSource, input_name
from crewrun.errors import OutputFailed
from crewrun.runs.manifest import digest_of
from crewrun.tables.reading.records import Record
from crewrun.unfinished import temporary


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


@dataclass(frozen=True, slots=True)
class IterableInputs:
    """The rows of a Python program, from `python_rows`."""

    rows: PythonRows

    @property
    def name(self) -> str:
        """What the program has given."""
        return self.rows.name

    @property
    def is_once(self) -> bool:
        """Whether it is an iterator, such as a generator."""
        return self.rows.is_once

    def opener(self, settings: BatchSettings) -> Callable[..., TableSource]:
        """As in `Inputs`."""
        options = settings.input_options

        def open_rows(offset: int = settings.offset, limit: int | None = settings.limit) -> TableSource:
            return TableSource(IterableInput(self.rows), offset, limit, options)

        return open_rows

    async def repeatable(self, files: ExitStack) -> Inputs:
        """As in `Inputs`. Raises OutputFailed when the temporary file cannot grow."""
        if not self.is_once:
            return self
        copy = files.enter_context(tempfile.NamedTemporaryFile())  # noqa: SIM115  (closed with files)
        files.enter_context(temporary(copy.name))
        source, count = IterableInput(self.rows), 0
        try:
            async for group in source.groups():
                count += len(group)
                pickle.dump(group, copy)
            copy.flush()
        except OSError as full:
            raise OutputFailed(f"the temporary file of the rows cannot be written: {full.strerror}") from full
        finally:
            source.close()
        return IterableInputs(PythonRows(self.name, partial(_copied, copy.name), count))

    async def digest(self) -> str | None:
        """None: no other process has the rows."""
        return None


def _copied(path: str) -> Iterator[Record]:
    """The records in a file that this process has written."""
    with open(path, "rb") as file, suppress(EOFError):
        while True:
            yield from pickle.load(file)  # noqa: S301  (as said)
