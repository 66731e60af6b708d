"""Which table, if any, a batch makes of its results: by its flags, the output's name, and how its run began."""

import os
from pathlib import Path

from crewrun.batch.locations import Places
from crewrun.batch.settings import BatchSettings
from crewrun.errors import UsageError
from crewrun.inspect.view import nearby
from crewrun.runs.folder import RunFolder, folder_of
from crewrun.runs.manifest import Manifest, read_manifest
from crewrun.runs.opening import has_lines
from crewrun.tables.writing.column_names import parse_columns
from crewrun.tables.writing.layout import TableLayout
from crewrun.tables.writing.output_format import output_format, parse_stored


def table_of(output: str | None, folder: RunFolder | None, settings: BatchSettings) -> TableLayout | None:
    """The table that the user gets, None for the lines as they are appended.

    `output` is None for standard output; `folder` is that of results in a file, None for a stream. A file goes on in
    the format that its run began with. Raises UsageError when another one is asked for, and for one that cannot be
    written here.
    """
    names = parse_columns(settings.columns)
    form = output_format(output, settings.output_format)
    layout = TableLayout(form, None if names is None else tuple(names), settings.formula_guard)
    before = _before(output, folder) if output is not None and folder is not None and not settings.fresh else None
    if before is None:
        return _installed(layout, output) if not layout.is_plain else None
    if before.table is None:
        if not layout.is_plain and (names is not None or settings.output_format is not None):
            raise _refusal(output, "jsonl", layout)
        return None
    stored = parse_stored(before.table)
    if settings.output_format is not None and form != stored:
        raise _refusal(output, str(stored), layout)
    return _installed(TableLayout(stored, layout.names, settings.formula_guard), output)


def check_terminal(places: Places, stdout_fd: int) -> None:
    """Raise UsageError for a table that would be garbage on the terminal where it goes."""
    if places.output is None and places.table is not None and places.table.form.is_binary and os.isatty(stdout_fd):
        raise UsageError(f"--output-format {places.table.form}: is nothing for a terminal; name a file with -o")


def plain_note(places: Places, settings: BatchSettings) -> str | None:
    """A note on JSONL in a file whose name promises another format: its run began before names decided on that."""
    if places.output is None or places.table is not None or settings.output_format is not None:
        return None
    if output_format(places.output, None).is_plain:
        return None
    return (
        f"{nearby(places.output)}: goes on as JSONL, as its run began; crewrun export writes its results to a table, "
        "--fresh starts over with one"
    )


def _before(output: str | None, folder: RunFolder | None) -> Manifest | None:
    """The manifest of the run that wrote what is in `output`, None when there is nothing to go on with."""
    if output is None or folder is None or not folder.is_used or not has_lines(Path(output)):
        return None
    try:
        manifest = read_manifest(folder.manifest)
    except UsageError:  # `open_state` says what is wrong
        return None
    if manifest.results is None:
        return None
    is_same = os.path.realpath(manifest.results) == os.path.realpath(output)
    is_beside = os.path.realpath(folder.path) == os.path.realpath(folder_of(Path(os.path.realpath(output))).path)
    return manifest if is_same or is_beside else None


def _installed(layout: TableLayout, output: str | None) -> TableLayout:
    layout.form.check_installed(nearby(output) if output else f"--output-format {layout.form}")
    return layout


def _refusal(output: str | None, before: str, layout: TableLayout) -> UsageError:
    wanted = f"{layout.form} with --columns" if layout.names is not None else str(layout.form)
    return UsageError(
        f"{output}: is the {before} of a run that has begun, and would be replaced by {wanted}: --output-format "
        f"{before.partition('.')[0]} goes on with it, crewrun export {output} -o FILE writes its results to another "
        "file, -o names another run, --fresh starts over"
    )
