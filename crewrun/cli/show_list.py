"""The rows of a run as a list, for `crewrun show`: a table as wide as the terminal, lines with tabs, or JSON lines."""

import json
import tempfile
from collections.abc import Iterable
from contextlib import nullcontext
from itertools import islice
from typing import IO, TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    from crewrun.batch.sink import StreamSink
    from crewrun.inspect.listing import Listing, Selection
    from crewrun.inspect.view import View
    from crewrun.row import Row

_PIECE_ROWS = 1000
_PIECE_BYTES = 1 << 18
_SPOOL_BYTES = 1 << 23
_ID_CELLS = 16  # those that crewrun makes; longer ones are cut


class _Counts(NamedTuple):
    """How many rows are listed, of how many that match; None if that is not known without reading on."""

    shown: int
    matching: int | None


def show_list(run: str, selection: "Selection", *, as_json: bool) -> None:
    """List the selected rows of a run on stdout, and say on stderr how many more there are."""
    from crewrun.cli.setup import open_stdout, run_loop
    from crewrun.inspect.view import open_run
    from crewrun.terminal import say

    stdout = open_stdout()
    with tempfile.SpooledTemporaryFile(_SPOOL_BYTES) as spool, open_run(run) as view:
        _check_expectation(view, selection.missed)
        counts, note = run_loop(_list_rows, view, selection, spool)
        spool.seek(0)
        if as_json:
            run_loop(_copy, spool, stdout)
        else:
            _print_rows(stdout, spool, selection.missed)
    if note:
        say(f"crewrun: {note}")
    if words := _remark(counts, selection, as_json=as_json):
        say(f"crewrun: {words}")


def _check_expectation(view: "View", name: str | None) -> None:
    """Raise UsageError if the crew of a run has no expectation of this name."""
    from crewrun.errors import UsageError, suggest

    names = view.manifest.definition.get("expectations") or []
    if name is not None and name not in names:
        there = f"; there are {', '.join(names)}" if names else ": its crew has no expect:"
        raise UsageError(f"--missed {name!r}: the run has no such expectation{suggest(name, names) or there}")


def _remark(counts: _Counts, selection: "Selection", *, as_json: bool) -> str | None:
    """What a person has to know about the list, None when it is all that there is."""
    from crewrun.cli.wording import count

    if not counts.shown:
        return _remark_on_none(selection)
    if selection.sample is not None:
        return f"{count(counts.shown, 'row')} drawn of {counts.matching:,}; --seed {selection.seed} draws them again"
    if selection.limit is None or counts.shown < selection.limit or counts.matching == counts.shown:
        return None
    total = "" if counts.matching is None else f" of {counts.matching:,}"
    return f"the first {counts.shown:,}{total} rows; --limit 0 lists all"


def _remark_on_none(selection: "Selection") -> str:
    """Why a list is empty: in the words of the only filter, where there is one."""
    filters = [selection.status, selection.category, selection.pattern, selection.missed]
    if not any(filters):
        return "no rows"
    if filters.count(None) < len(filters) - 1:
        return "no such rows"
    if selection.missed:
        return f"no row missed the expectation {selection.missed!r}"
    if selection.category:
        return f"no row failed with the category {selection.category}"
    if selection.pattern:
        return "no row matches the pattern"
    return {"failed": "no row failed", "ok": "no row is ok"}.get(str(selection.status), f"no row is {selection.status}")


async def _list_rows(view: "View", selection: "Selection", spool: IO[bytes]) -> tuple[_Counts, str | None]:
    """Write the rows to `spool` as JSON lines. Returns the counts, and what makes the list incomplete, if anything."""
    from crewrun.inspect.listing import Listing
    from crewrun.row import as_json

    results = view.results
    with results.open("rb") if results and results.is_file() else nullcontext() as file:
        listing = Listing(view, selection, file, lambda listed: _put(spool, as_json(listed.to_json())))
        expected = listing.expected()
        is_full, note = await _visit(view, listing)
        if not is_full:
            listing.end()
    if is_full:
        matching = None if expected is None else max(expected, listing.shown)
        return _Counts(listing.shown, matching), note
    return _Counts(listing.shown, listing.matching), note


async def _visit(view: "View", listing: "Listing") -> tuple[bool, str | None]:
    """Pass the rows of the input to `listing`. Returns whether it is full, and why the input cannot be read, if so."""
    from crewrun.batch.run_input import see_input

    is_full = False

    def see(row: "Row", *, wanted: bool) -> bool:
        nonlocal is_full
        is_full = listing.see(row, wanted=wanted)
        return is_full

    gone = await see_input(view.manifest, see)
    return is_full, f"lines and unfinished rows are not known: {gone}" if gone else None


def _put(spool: IO[bytes], line: bytes) -> None:
    spool.write(line + b"\n")


async def _copy(spool: IO[bytes], stdout: "StreamSink") -> None:
    while piece := spool.read(_PIECE_BYTES):
        await stdout.write([piece])


def _print_rows(stdout: "StreamSink", spool: Iterable[bytes], missed: str | None) -> None:
    """The rows as a table on a terminal, else as lines with tabs. Of rows that `missed` an expectation, the last column
    says why.
    """
    from crewrun.cli.terminal_table import Column, print_table

    columns = [
        Column("LINE", is_right=True),
        Column("ID", 3, most=_ID_CELLS),
        Column("STATUS", 5),
        Column("COST", 2, is_right=True),
        Column("TIME", 1, is_right=True),
        Column("INPUT", 4, is_text=True),
        Column("OUTPUT" if missed is None else "MISSED", is_text=True),
    ]
    rows, is_first = iter(spool), True
    while piece := [_cells(json.loads(line), missed) for line in islice(rows, _PIECE_ROWS)]:
        print_table(stdout, columns, piece, has_head=is_first)
        is_first = False


def _cells(row: dict[str, Any], missed: str | None) -> tuple[str, ...]:
    """The cells of a row, in the order of the columns."""
    from crewrun.cli.wording import duration, money
    from crewrun.redaction.redactor import redact

    if missed is not None:
        output = row["expectations"][missed]
    elif row["error"] is None:
        output = _in_words(row["output"])
    else:
        message = row["error"].removeprefix(f"line {row['line']}: ")
        output = f"{row['category']}: {redact(message)}"
    has_run = row["status"] != "unfinished"
    return (
        "-" if row["line"] is None else str(row["line"]),
        row["id"],
        row["status"],
        money(row["cost_usd"]) if has_run else "-",
        duration(row["duration_s"]) if has_run else "-",
        _in_words(row["input"]),
        output,
    )


def _in_words(value: Any) -> str:
    """A value as text; of an object with a single text only that."""
    if isinstance(value, dict) and len(value) == 1 and isinstance(text := next(iter(value.values())), str):
        return text
    if value is None:
        return "-"
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
