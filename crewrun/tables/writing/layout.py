"""`TableLayout`: what a table of results looks like."""

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from crewrun.tables.writing.output_format import OutputFormat, parse_stored

if TYPE_CHECKING:  # most runs append lines and write no table
    from crewrun.tables.writing.columns import Columns
    from crewrun.tables.writing.writers import RowWriter


@dataclass(frozen=True, slots=True)
class TableLayout:
    """A format, the `names` of its columns (None: all), and whether texts that look like formulas are guarded."""

    form: OutputFormat
    names: tuple[str, ...] | None = None
    guards_formulas: bool = True

    @property
    def is_plain(self) -> bool:
        """Whether it is nothing but the lines, as a run appends them."""
        return self.form.is_plain and self.names is None

    @property
    def is_written_at_once(self) -> bool:
        """Whether its rows can be written one by one: text, with columns that do not depend on the rows."""
        return not self.form.is_binary and (self.names is not None or self.form.name == "jsonl")

    def columns(self) -> "Columns | None":
        """The columns, for lines to be seen; None for whole lines."""
        from crewrun.tables.writing.columns import Columns

        if self.names is None and self.form.name == "jsonl":
            return None
        return Columns(self.names, typed=self.form.name == "parquet")

    def row_writer(self, columns: "Columns") -> "RowWriter":
        """What writes its rows at once."""
        from crewrun.tables.writing.writers import RowWriter, TableOptions

        return RowWriter(columns, self.form, TableOptions(self.guards_formulas))

    def to_json(self) -> dict[str, Any]:
        """As it is stored, to be compared."""
        names = None if self.names is None else list(self.names)
        return {"format": str(self.form), "columns": names, "guards_formulas": self.guards_formulas}

    @classmethod
    def of_json(cls, stored: Mapping[str, Any]) -> "TableLayout":
        """The layout that `to_json` gave."""
        names = stored["columns"]
        return cls(parse_stored(stored["format"]), None if names is None else tuple(names), stored["guards_formulas"])


@dataclass(frozen=True, slots=True)
class Table:
    """The table `name` of the result lines that `open_lines` gives, each time it is called.

    `check` is called before each line is read; it may raise, to give up.
    """

    name: str
    layout: TableLayout
    open_lines: Callable[[], Iterable[bytes]]
    check: Callable[[], None] = lambda: None

    def pieces(self, folder: str | None, notes: list[str]) -> Iterator[bytes]:
        """The table's file. Temporary files go to `folder`, None for the system's place; `notes` gets what to say.

        Raises OSError.
        """
        from crewrun.tables.writing.writers import TableOptions, table_pieces

        columns = self.layout.columns()
        if columns is not None:
            for line in self._lines():
                columns.see(line)
        options = TableOptions(self.layout.guards_formulas, folder)
        yield from table_pieces(self._lines(), columns, self.layout.form, options)
        notes += [f"{self.name}: {note}" for note in options.notes]
        if columns is not None:
            notes += [f"warning: {warning}" for warning in columns.unknown()]

    def _lines(self) -> Iterator[bytes]:
        for line in self.open_lines():
            self.check()
            yield line
