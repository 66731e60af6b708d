"""What a repeat will do: how many rows are done, new, changed and failed, and why rows that are done run again.

Rows are counted in a pass over the input of its own, which is bounded in time: a batch should begin soon.
"""

import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any, Final, Literal, Protocol

from crewrun.batch.crew_parts import is_in_order, tasks_to_redo
from crewrun.batch.definition_changes import OTHER_ADDRESS, changed_owners, changes
from crewrun.batch.definition_records import DefinitionRecord
from crewrun.batch.source import Source
from crewrun.crew.crew import Crew
from crewrun.inspect.earlier_rows import EarlierRows
from crewrun.row import Row

# How long to count before a batch begins. 100,000 rows take 1.2 s here, so an unchanged run of that size begins with
# what the journal knows; where rows that are done run again, the user waits for what that costs.
_COUNT_S: Final = 0.25
_COUNT_AGAIN_S: Final = 2.0
_ROWS_PER_LOOK: Final = 256  # between two looks at the clock
_CENT_USD: Final = 0.01


class KnownRows(Protocol):
    """The rows of a run under its present definition."""

    def is_done(self, row: Row) -> bool:
        """Whether the row succeeded."""
        ...

    def has_failed(self, row: Row) -> bool:
        """Whether the row failed in an earlier session."""
        ...

    def has_changed(self, row: Row) -> bool:
        """Whether a row with the same id was done with other content."""
        ...

    def totals(self) -> tuple[int, int]:
        """How many rows succeeded and failed, whether the input still has them or not."""
        ...


@dataclass(frozen=True, slots=True)
class Redo:
    """Rows that are done and run again: what that cost last time in US dollars (None: unknown), and why."""

    rows: int
    cost_usd: float | None
    why: Sequence[str]


@dataclass(frozen=True, slots=True)
class Repeat:
    """What a repeat of a run will do.

    `counted` says how much of the input was read. If not all, `done` and `failed` are those of the journal, and `new`
    and `altered` None; as many rows are to `redo` at least if a part was read, at most if nothing was.
    """

    done: int
    failed: int
    new: int | None = None
    altered: int | None = None
    redo: list[Redo] = field(default_factory=list)
    counted: Literal["all", "part", "nothing"] = "all"

    def to_json(self) -> dict[str, Any]:
        """As the summary and `plan --json` have it."""
        return {
            "done": self.done,
            "new": self.new,
            "changed": self.altered,
            "failed": self.failed,
            "again": [asdict(one) for one in self.redo],
            "counted": self.counted,
        }

    def lines(self) -> list[str]:
        """For people: one line for each reason to run rows again, and the counts. None if all rows are done."""
        if self.counted == "all" and not (self.failed or self.new or self.altered or self.redo):
            return []
        rerun_rows = sum(one.rows for one in self.redo) if self.counted == "all" else 0
        counts = [
            f"{self.done:,} done" if self.done else "",
            f"{rerun_rows:,} to run again" if rerun_rows else "",
            f"{self.new:,} new" if self.new else "",
            f"{self.altered:,} changed" if self.altered else "",
            f"{self.failed:,} failed before" if self.failed else "",
        ]
        listed = ", ".join(filter(None, counts))
        by = "" if self.counted == "all" else " by the journal; new ones are not counted in advance"
        bound = {"all": "", "part": "at least ", "nothing": "up to "}[self.counted]
        lines = [_in_words(one, bound) for one in self.redo]
        is_said = len(lines) == 1 and listed == counts[1]  # by the line of the reason
        return [*lines, *([f"rows: {listed}{by}"] if listed and not is_said else [])]


def _in_words(redo: Redo, bound: str) -> str:
    is_one = redo.rows == 1
    if redo.cost_usd is None:
        cost = ", cost unknown"
    elif not redo.cost_usd:
        cost = ""  # such as the offline model's
    else:
        cost = f", about ${redo.cost_usd:.2f}" if redo.cost_usd >= _CENT_USD else ", less than a cent"
    rows = f"{bound}{redo.rows:,} row{' runs' if is_one else 's run'} again"
    hint = " (--same-endpoint keeps them)" if len(redo.why) == 1 and redo.why[0].startswith(OTHER_ADDRESS) else ""
    return f"{'; '.join(redo.why)}: {rows}{cost}{hint}"


class RepeatCounter:
    """Counts the rows of an input by what a repeat does with them."""

    def __init__(
        self, rows: KnownRows, earlier_rows: EarlierRows, is_ours: Callable[[Row], bool] | None = None
    ) -> None:
        """`is_ours` says which rows belong to this run's shard, None for all of them."""
        self._rows = rows
        self._earlier_rows = earlier_rows
        self._is_ours = is_ours
        self._redo: dict[str, list[int]] = {}
        self._done = self._new = self._altered = self._failed = 0

    @property
    def is_first(self) -> bool:
        """Whether no row has ended before, so that there is nothing to say."""
        return not self._earlier_rows and self._rows.totals() == (0, 0)

    def see(self, row: Row) -> bool:
        """Count one row. Returns whether it is done."""
        if self._is_ours is not None and not self._is_ours(row):
            return False
        if self._rows.is_done(row):
            self._done += 1
            return True
        if self._rows.has_failed(row):
            self._failed += 1
        elif (entry := self._earlier_rows.find(row)) is not None:
            self._redo.setdefault(entry.definition, []).append(entry.seq)
        elif self._earlier_rows.has_failed(row):
            self._failed += 1
        elif self._rows.has_changed(row) or self._earlier_rows.has_changed(row):
            self._altered += 1
        else:
            self._new += 1
        return False

    async def count(
        self, open_rows: Callable[[], Source] | None, also: Callable[[Row], None] | None = None
    ) -> Literal["all", "part", "nothing"]:
        """Count rows as long as the time allows. Returns how far that was; without `open_rows` nothing can be read.

        With `also`, all rows are read, and it gets each of them. Raises what reading the input raises.
        """
        if open_rows is None:
            if self._earlier_rows and self._rows.totals() == (0, 0):
                definition, seqs = self._earlier_rows.of_latest()
                self._redo = {definition: seqs} if seqs else {}
            return "nothing"
        end, is_over = time.monotonic() + (_COUNT_AGAIN_S if self._earlier_rows else _COUNT_S), False
        seen = 0

        def see(row: Row) -> bool:
            nonlocal is_over, seen
            self.see(row)
            seen += 1
            if also is not None:
                also(row)
            elif seen % _ROWS_PER_LOOK == 0:
                is_over = time.monotonic() > end
            return is_over

        await open_rows().visit(see)
        return "part" if is_over else "all"

    def result(
        self,
        counted: Literal["all", "part", "nothing"],
        records: Sequence[DefinitionRecord],
        now: DefinitionRecord,
        *,
        crew: Crew | None,
        is_paid: bool,
    ) -> Repeat:
        """What `count` counted. `records` are what is known of earlier definitions; `crew` is the one that rows run, if
        they share it; `is_paid` says whether calls are made at all.
        """
        by_name = {record.definition: record for record in records}
        redo = []
        for definition, seqs in self._redo.items():
            before = by_name.get(definition)
            cost_usd = self._cost_usd(seqs, changed_owners(before, now), crew) if is_paid else 0.0
            redo.append(Redo(len(seqs), cost_usd, changes(before, now)))
        if counted == "all":
            return Repeat(self._done, self._failed, self._new, self._altered, redo)
        return Repeat(*self._rows.totals(), redo=redo, counted=counted)

    def _cost_usd(self, seqs: Sequence[int], owners: set[str] | None, crew: Crew | None) -> float | None:
        """What the rows of these entries cost, without the calls that are replayed if only `owners` have changed."""
        cost_usd = self._earlier_rows.cost_usd(seqs)
        if not cost_usd or owners is None or crew is None or not is_in_order(crew):
            return cost_usd
        return cost_usd * self._earlier_rows.share_of(tasks_to_redo(crew, owners), seqs)
