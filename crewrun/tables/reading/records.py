"""What every format gives: groups of records, in input order."""

from collections.abc import Sequence
from typing import Any, NamedTuple, Protocol

from crewrun.errors import UsageError
from crewrun.extras import install_command
from crewrun.tables.reading.line_splitter import MAX_LINE_BYTES

# What is read at once: a switch to the thread that reads costs more than reading a small chunk.
CHUNK_BYTES = 128 * 1024
TOO_LONG = f"longer than {MAX_LINE_BYTES >> 20} MiB"


class Record(NamedTuple):
    """A line, a record of a table or a JSON object of the input. `line` counts from 1; in Parquet and Arrow files it is
    the number of the row.

    `content` is a line that is still to be parsed, where a blank one is no row, or the values by column. `problem` says
    why there is no valid content. `size_bytes` is about what the record takes in the input, without compression.
    """

    line: int
    content: bytes | dict[str, Any]
    problem: str | None
    size_bytes: int

    @property
    def is_unreadable_rest(self) -> bool:
        """Whether it stands for all rows of a damaged input that cannot be read."""
        return self.problem is not None and self.size_bytes == 0

    @property
    def is_row(self) -> bool:
        """Whether it is more than a blank line."""
        return self.problem is not None or not isinstance(self.content, bytes) or bool(self.content.strip())


class TableReader(Protocol):
    """An open input. Its methods may block, until `close` is called from another thread.

    `is_cut` says that a damaged input could not be read to its end, or that some of its rows may be hidden in others.
    `notes` say, in a few words each, how the input is read where that is not what its name says. `columns` are those of
    a table, None where each record names its own.
    """

    @property
    def is_cut(self) -> bool: ...

    @property
    def notes(self) -> Sequence[str]: ...

    @property
    def columns(self) -> Sequence[str] | None: ...

    def take(self) -> list[Record]:
        """The next records, none at the end. A pipe is not waited for when there are some already."""
        ...

    def share(self) -> float | None:
        """The share of the input that has been read, None where that is unknown."""
        ...


def unreadable(line: int, broken: Exception | str) -> Record:
    """A failing record for the unreadable rest of a damaged input, so that the run does not look complete."""
    return Record(line, b"", f"the input cannot be read further: {broken}", 0)


def missing_extra(name: str, what: str, library: str, extra: str) -> UsageError:
    """The error for a format whose library is not installed."""
    return UsageError(f"{name}: reading {what} needs {library}: {install_command(extra)}")
