"""`RowTable`: the rows of a report as columns, one pack for all of them."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final

from crewrun.report.columns import Codes, NameSets, Numbers, Texts
from crewrun.report.packs import encoded
from crewrun.report.values import micro_usd, milliseconds, number_in, object_in, text_in, unix_ms
from crewrun.row import Row

STATUSES: Final = ("ok", "failed", "unfinished")

_COLUMNS: Final = (
    *("tools", "line", "status", "category", "task", "cost", "time"),
    *("prompt_tokens", "completion_tokens", "calls", "started"),
)


class RowTable:
    """What is known of every row, in about 120 bytes. Rows are numbered from 0, as they are added."""

    def __init__(self) -> None:
        self.ids = Texts()
        self.status = Codes(STATUSES)
        self.category, self.task = Codes(), Codes()
        self.tools = NameSets()
        self.cost, self.time = Numbers(), Numbers()
        self.line, self.started = Numbers(), Numbers()
        self.prompt_tokens, self.completion_tokens, self.calls = Numbers(), Numbers(), Numbers()
        self.counts = dict.fromkeys(STATUSES, 0)

    def __len__(self) -> int:
        return len(self.cost)

    @property
    def finished(self) -> int:
        """How many rows have a result; they come before the others."""
        return len(self) - self.counts["unfinished"]

    def add(self, record: Mapping[str, Any], tools: Sequence[str]) -> None:
        """Add a result, whose line in the input is not known yet. `tools` are those that it called, sorted."""
        error, usage = object_in(record, "error"), object_in(record, "usage")
        self._add_head(record["id"], record["status"], None)
        self.category.add(text_in(error, "category"))
        self.task.add(text_in(error, "task"))
        self.tools.add(tools)
        self.cost.add(micro_usd(number_in(record, "cost_usd")))
        self.time.add(milliseconds(number_in(record, "duration_s")))
        self.started.add(unix_ms(record["started_at"]))
        self.prompt_tokens.add(number_in(usage, "prompt_tokens"))
        self.completion_tokens.add(number_in(usage, "completion_tokens"))
        self.calls.add(number_in(usage, "calls"))

    def add_unfinished(self, row: Row) -> None:
        """Add a row of the input that has no result."""
        self._add_head(row.id, "unfinished", row.line)
        self.tools.add(())
        for column in (self.category, self.task):
            column.add(None)
        for number in (self.cost, self.time, self.started, self.prompt_tokens, self.completion_tokens, self.calls):
            number.add(None)

    def pieces(self, more: Mapping[str, Numbers | Codes | NameSets]) -> Iterator[bytes]:
        """The pack as JSON, with `more` columns of all rows by their names."""
        yield b'{"count":%d,"columns":{"id":' % len(self)
        yield from self.ids.pieces()
        own = {name: getattr(self, name) for name in _COLUMNS}
        for name, column in (own | dict(more)).items():
            yield b"," + encoded(name) + b":"
            yield from column.pieces()
        yield b"}}"

    def _add_head(self, row_id: str, status: str, line: int | None) -> None:
        self.ids.add(row_id)
        self.status.add(status)
        self.line.add(line)
        self.counts[status] += 1
