"""Reads the input of a run again, for commands that inspect the run."""

from collections.abc import Callable, Mapping
from contextlib import suppress
from typing import Any, Protocol

from crewrun.batch.row_fields import RowFields
from crewrun.batch.settings import BatchSettings
from crewrun.batch.shard import Shard
from crewrun.batch.source import open_source
from crewrun.errors import UsageError
from crewrun.inspect.verify import Differences, Verification, check_journal
from crewrun.inspect.view import View
from crewrun.row import Row
from crewrun.runs.manifest import Manifest
from crewrun.tables.reading.input_options import InputOptions


async def visit_rows(manifest: Manifest, visit: Callable[[Row], bool | None]) -> None:
    """Pass each row of the run's input to `visit`, including those that --limit, --offset and --shard leave out, until
    it returns True.

    Raises UsageError when the input can no longer be read, as that of a pipe.
    """
    path = manifest.input_file
    if path is None:
        raise UsageError(f"{manifest.inputs}: the rows {manifest.source_of_rows}, which cannot be read again")
    await open_source(str(path), settings_of(manifest).input_options).visit(visit)


class SeesRows(Protocol):
    """Takes a row of the input, and whether the run was asked for it. True when it wants no more."""

    def __call__(self, row: Row, *, wanted: bool) -> bool | None: ...


async def see_input(manifest: Manifest, see: SeesRows) -> UsageError | None:
    """Pass each row of the run's input to `see`. Returns why the input can no longer be read, None if it can."""
    wanted = _is_wanted(manifest)

    def visit(row: Row) -> bool | None:
        return see(row, wanted=wanted(row))

    try:
        await visit_rows(manifest, visit)
    except UsageError as gone:
        return gone
    return None


async def all_inputs(manifest: Manifest, row_id: str, own: dict[str, Any] | None) -> dict[str, Any] | None:
    """Everything that placeholders of a row are filled from. `own` are the fields that its result repeats.

    None if they are not all of them, and the input cannot be read again or no longer has the row. Raises UsageError for
    a damaged manifest.
    """
    options = settings_of(manifest).input_options
    if own is None or options.fields is None:
        return None if own is None else RowFields(options).inputs(own)[0]
    rows: list[Row] = []

    def look(row: Row) -> bool:
        if row.id == row_id:
            rows.append(row)
        return bool(rows)

    try:
        await visit_rows(manifest, look)
    except UsageError:
        return None
    return rows[0].inputs if rows else None


async def inputs_of_rows(
    manifest: Manifest, own_of: Mapping[str, dict[str, Any] | None]
) -> dict[str, dict[str, Any] | None]:
    """As `all_inputs`, for several rows by their ids: the input is read once, if it has to be."""
    options = settings_of(manifest).input_options
    if options.fields is None:
        fields = RowFields(options)
        return {row_id: None if own is None else fields.inputs(own)[0] for row_id, own in own_of.items()}
    inputs: dict[str, dict[str, Any] | None] = dict.fromkeys(own_of)

    def look(row: Row) -> None:
        if inputs.get(row.id, {}) is None:
            inputs[row.id] = row.inputs

    with suppress(UsageError):
        await visit_rows(manifest, look)
    return inputs


def settings_of(manifest: Manifest) -> BatchSettings:
    """The settings of a run from its manifest, with passwords redacted. Raises UsageError when they are damaged."""
    from pydantic import TypeAdapter, ValidationError

    options = {name: value for name, value in manifest.options.items() if name in BatchSettings.__dataclass_fields__}
    try:
        return TypeAdapter(BatchSettings).validate_python(options)
    except ValidationError as wrong:
        first = wrong.errors(include_url=False)[0]
        place = ".".join(map(str, ("options", *first["loc"])))
        raise UsageError(
            f"the manifest.json of the run is damaged ({place}: {first['msg']}); "
            "repeat the command of the run, which writes a new one"
        ) from None


def _is_wanted(manifest: Manifest) -> Callable[[Row], bool]:
    """A function that tells which rows of the input the run was asked for, by --limit, --offset and --shard.

    Raises UsageError.
    """
    settings = settings_of(manifest)
    first, limit = settings.offset, settings.limit
    shard = Shard.parse(settings.shard) if settings.shard else None

    def has(row: Row) -> bool:
        is_there = row.index >= first and (limit is None or row.index < first + limit)
        return is_there and (shard is None or shard.has(row))

    return has


async def visit_input(inputs: str, options: InputOptions, visit: Callable[[Row], bool | None]) -> None:
    """Pass each row of an input to `visit` until it returns True. Raises UsageError when it cannot be read."""
    await open_source(inputs, options).visit(visit)


async def verify(view: View) -> Differences:
    """Compare the results, the journal and the input of a run. Raises JournalDamaged."""
    differences = Differences()
    if not check_journal(view, differences):
        differences.notes.append("results and input: the journal is damaged")
        return differences
    verification = Verification(view, differences)
    verification.read_results()
    manifest = view.manifest
    if manifest.input_file is None:
        differences.notes.append(f"input: the rows {manifest.source_of_rows}, which cannot be read again")
        verification.end_without_input()
        return differences
    if gone := await see_input(manifest, verification.see):
        differences.add("input", str(gone))
        verification.end_without_input()
    else:
        verification.end()
    return differences
