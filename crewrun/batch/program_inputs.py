"""`IterableInputs`: the rows of a Python program as the inputs of a batch. `CopiedRows` makes rows repeatable."""

import pickle
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from functools import partial
from typing import Any

from crewrun.batch.inputs import Inputs
from crewrun.batch.iterable_input import IterableInput, PythonRows
from crewrun.batch.settings import BatchSettings
from crewrun.batch.source import TableSource
from crewrun.errors import OutputFailed
from crewrun.unfinished import temporary


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
        copy = CopiedRows(self.name, files)
        source = IterableInput(self.rows)
        try:
            async for group in source.groups():
                copy.add(group)
        finally:
            source.close()
        return copy.inputs()

    async def digest(self) -> str | None:
        """None: no other process has the rows."""
        return None


class CopiedRows:
    """Rows in a temporary file, which `files` closes, so that they can be read more than once. `name` is what messages
    call them. Raises OutputFailed when the file cannot be made or cannot grow.
    """

    def __init__(self, name: str, files: ExitStack) -> None:
        self._name = name
        self._count = 0
        with _room_for_rows():
            self._file = files.enter_context(tempfile.NamedTemporaryFile())  # noqa: SIM115  (closed with files)
        files.enter_context(temporary(self._file.name))

    def add(self, rows: Sequence[Any]) -> None:
        """Add rows at the end."""
        with _room_for_rows():
            pickle.dump(rows, self._file)
        self._count += len(rows)

    def inputs(self) -> IterableInputs:
        """All rows that were added."""
        with _room_for_rows():
            self._file.flush()
        return IterableInputs(PythonRows(self._name, partial(_rows_in, self._file.name), self._count))


@contextmanager
def _room_for_rows() -> Iterator[None]:
    try:
        yield
    except OSError as full:
        raise OutputFailed(f"the temporary file of the rows cannot be written: {full.strerror}") from full


def _rows_in(path: str) -> Iterator[Any]:
    with open(path, "rb") as file, suppress(EOFError):
        while True:
            yield from pickle.load(file)  # noqa: S301  (this process has written it)
