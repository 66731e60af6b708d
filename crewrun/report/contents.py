"""`gather`: everything that a report shows of a run, as the head of the page and packs."""

from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any, Final

from anyio.lowlevel import checkpoint

from crewrun.batch.rebuilt_prompts import RunCrew
from crewrun.batch.run_input import see_input
from crewrun.batch.run_results import RunResults
from crewrun.report.calls import RowTools
from crewrun.report.columns import Codes, NameSets, Numbers
from crewrun.report.details import ALL_BYTES, EXTREME, SOME_BYTES, Choice, DetailPacks, choose_all, choose_some
from crewrun.report.head import head_of
from crewrun.report.other_run import OtherRun
from crewrun.report.packs import Pack, PackFile, clean, pack, pack_file
from crewrun.report.row_details import RowDetails
from crewrun.report.row_pass import RowPass
from crewrun.report.texts import TextPacks
from crewrun.report.timeline import Timeline, read_timeline
from crewrun.score.score_sets import open_scores

_ROWS_PER_CHECKPOINT: Final = 1000


@dataclass(frozen=True, slots=True)
class Contents:
    """The head of the page as JSON values, and its packs, which are made or read one by one."""

    head: Mapping[str, Any]
    packs: Iterator[Pack]


@asynccontextmanager
async def gather(results: RunResults, crew: RunCrew, before: RunResults | None = None) -> AsyncIterator[Contents]:
    """What the page has of `results`, whose lines are in the input's order; `crew` rebuilds prompts, and `before` is
    the run to compare with.

    Raises UsageError when there is nothing to compare, JournalDamaged, OutputFailed when there is no room for temporary
    files, and OSError.
    """
    view = results.view
    other = OtherRun(before, results) if before is not None else None
    with pack_file() as text_packs, pack_file() as detail_packs, open_scores(results.name, view) as scores:
        texts = TextPacks(text_packs, len(results.lines))
        rows = RowPass(texts, RowTools(view), scores)
        for number, record in enumerate(results.records()):
            rows.add(record)
            if number % _ROWS_PER_CHECKPOINT == 0:
                await checkpoint()  # so that Ctrl-C ends it
        notes = [*results.notes]
        if view is not None:
            notes += await _see_input(results, rows)
        texts.close()
        timeline = read_timeline(view.folder.log) if view is not None else Timeline()
        details = RowDetails(results, rows, crew, timeline, other)
        columns = pack("rows", rows.table.pieces(_columns(rows, other)))
        room = ALL_BYTES - text_packs.size_bytes - len(columns.content)
        choice, made = await _add_details(details, rows, detail_packs, room, other)
        head = head_of(results, rows, crew, timeline)
        head["notes"] = notes + head["notes"] + rows.fields.notes
        head["comparison"] = other.to_json() if other is not None else None
        head["details"] = {"all": choice.words is None, "bound_text": choice.words, "chunk_of": made.first_rows}
        yield Contents(clean(head), _each(columns, text_packs, detail_packs))


def _columns(rows: RowPass, other: OtherRun | None) -> Mapping[str, Numbers | Codes | NameSets]:
    """The columns that not every report has."""
    if other is None:
        return rows.columns()
    other.changes.fill(len(rows.table))
    return {**rows.columns(), "change": other.changes}


async def _see_input(results: RunResults, rows: RowPass) -> list[str]:
    """Pass the rows of the input to `rows`. Returns what is not known because it cannot be read."""
    view = results.view
    if view is None:
        return []
    gone = await see_input(view.manifest, rows.see_input)
    return [f"lines and unfinished rows are not known: {gone}"] if gone else []


async def _add_details(
    details: RowDetails, rows: RowPass, packs: PackFile, room_bytes: int, other: OtherRun | None
) -> tuple[Choice, DetailPacks]:
    """The details of all rows if they fit, else of some."""
    table = rows.table
    if (choice := choose_all(len(table))) is not None:
        made = DetailPacks(packs, room_bytes)
        if made.add_all(await details.of_rows(choice.rows)):
            return choice, made
        packs.clear()
    slowest, dearest = (column.largest(EXTREME) for column in (table.time, table.cost))
    notable = other.notable() if other is not None else ()
    choice = choose_some(table.finished, table.status.rows_of("failed"), slowest, dearest, notable)
    made = DetailPacks(packs, SOME_BYTES)
    if not made.add_all(await details.of_rows(choice.rows)):
        choice = Choice(choice.rows, f"{choice.words}, as far as there is room: {made.rows:,} rows")
    return choice, made


def _each(columns: Pack, *files: PackFile) -> Iterator[Pack]:
    yield columns
    for file in files:
        yield from file
