"""`say_repeat`: before a run goes on, what it will do is said, and results of rows that have changed are removed."""

from collections.abc import Callable
from functools import partial
from shutil import get_terminal_size
from textwrap import fill

import anyio.to_thread

from crewrun.batch.definition_records import DefinitionRecord, need_texts, records_in
from crewrun.batch.invocation import BatchRequest
from crewrun.batch.repeat import Repeat, RepeatCounter
from crewrun.batch.source import Source
from crewrun.inspect.earlier_rows import EarlierRows
from crewrun.row import Row
from crewrun.runs.state import RunState, StateOptions
from crewrun.terminal import is_terminal


async def say_repeat(
    request: BatchRequest,
    options: StateOptions,
    state: RunState,
    open_rows: Callable[[], Source] | None,
    *,
    may_change: bool,
) -> Repeat | None:
    """Say what a repeat will do. Returns None, and says nothing, when no row has ended before.

    `open_rows` opens the input from its start, None where it cannot be read twice. With `may_change` it is read to its
    end, and lines of rows that have changed since are removed from the results. Raises what reading raises, and
    OutputFailed.
    """
    old_lines = _OldLines(state) if may_change and state.results.has_earlier_lines else None
    load = partial(EarlierRows.load, options.folder.journal, options.definition, by_id=options.is_named)
    earlier_rows = await anyio.to_thread.run_sync(load)
    counter = RepeatCounter(state, earlier_rows, options.is_ours)
    repeat = None
    if options.only is None and not counter.is_first:
        counted = await counter.count(open_rows, old_lines.see if old_lines is not None else None)
        records = records_in(options.manifest)
        with_texts = need_texts(records)
        now = DefinitionRecord.of_manifest(options.manifest, options.definition, with_texts=with_texts)
        crew = request.definition.target.crew
        explain = partial(counter.result, counted, records, now, crew=crew, is_paid=not options.is_replay)
        repeat = await anyio.to_thread.run_sync(explain)
        for line in repeat.lines():
            request.say(_wrapped(line))
    if old_lines is not None:
        await old_lines.remove()
    return repeat


def _wrapped(line: str) -> str:
    """`line`, broken at words where a terminal would break it anywhere."""
    if not is_terminal():
        return line
    return fill(line, get_terminal_size().columns, subsequent_indent="  ", break_on_hyphens=False)


class _OldLines:
    """Finds the lines of rows with ids from a field whose content has changed, among the rows that `see` gets.

    They would stay next to the new ones until the rows end, and for good where only part of the input runs.
    """

    def __init__(self, state: RunState) -> None:
        self._state = state
        self._positions: list[int] = []

    def see(self, row: Row) -> None:
        """Look at one row."""
        if (position := self._state.find_changed(row)) is not None:
            self._positions.append(position)

    async def remove(self) -> None:
        """Remove their lines from the results, all at once. Raises OutputFailed."""
        await anyio.to_thread.run_sync(self._state.results.take_out, self._positions)
