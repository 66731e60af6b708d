"""The runs to merge: where their results are, which lines could not be taken from them, and what their input was.

Lines are read here and merged in `merge`.
"""

import os
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import BinaryIO, Final, NamedTuple

from crewrun.errors import UsageError
from crewrun.inspect.export import LeftOut, Written
from crewrun.inspect.merge import MergedResults
from crewrun.inspect.results_file import find_results_file, whole_lines
from crewrun.inspect.view import View, command_of, find_run, nearby, open_folder, results_of
from crewrun.runs.folder import RunFolder
from crewrun.runs.lock import describe_holder, is_held
from crewrun.runs.manifest import Manifest, read_manifest

_BUFFER_BYTES: Final = 1 << 18  # lines are read one by one: fewer system calls than with Python's 8 KiB


@dataclass(slots=True)
class MergeInput:
    """One run. `folder`, `manifest` and `crew` (the fingerprint of the crew with its models) are None for results
    without a run folder; `omissions` says which lines could not be taken.
    """

    name: str
    file: BinaryIO
    folder: RunFolder | None
    manifest: Manifest | None
    crew: str | None = None
    omissions: list[str] = field(default_factory=list)


class Input(NamedTuple):
    """The file that the merged rows are compared with, the field that has their ids, and a run that read it."""

    path: str
    id_field: str | None
    manifest: Manifest | None


def open_merge_inputs(runs: Sequence[str], files: ExitStack) -> tuple[list[MergeInput], list[str]]:
    """The runs that a user names, each once, and warnings. Raises UsageError for a name that is not a run."""
    merge_inputs: dict[tuple[int, int], MergeInput] = {}
    warnings = []
    for run in runs:
        results, folder, manifest = _locate(run)
        try:
            file = files.enter_context(results.open("rb", buffering=_BUFFER_BYTES))
        except OSError as refused:
            raise UsageError(f"{run}: cannot be read: {refused.strerror}") from None
        stat = os.fstat(file.fileno())
        merge_input = merge_inputs.setdefault((stat.st_dev, stat.st_ino), MergeInput(run, file, folder, manifest))
        if merge_input.file is not file:
            warnings.append(f"{run}: is the same run as {merge_input.name}; it is read once")
    return list(merge_inputs.values()), warnings


def _locate(run: str) -> tuple[Path, RunFolder | None, Manifest | None]:
    """The results of a run that is named by its results file or by its folder."""
    results_file = find_results_file(run)
    if results_file is not None:
        return results_file, None, None
    folder = find_run(run)
    manifest = read_manifest(folder.manifest)
    results = results_of(folder, manifest)
    if results is None:
        raise UsageError(f"{run}: its results went to a stream; crewrun export {run} -o FILE writes them to a file")
    if not os.path.isfile(results):
        command = command_of(folder, manifest)
        raise UsageError(f"{run}: {nearby(results)} no longer exists; to restore it: {command}")
    return results, folder, manifest


def read_merge_input(merge_input: MergeInput, number: int, merged: MergedResults) -> None:
    """Add the lines of a run to `merged` under `number`: those that its journal has, or without a journal every whole
    one.

    Raises UsageError when no line is a result, JournalDamaged and OutputFailed.
    """
    left_out = LeftOut()
    taken = 0
    with ExitStack() as opened:
        view = opened.enter_context(open_folder(merge_input.folder)) if merge_input.folder is not None else None
        placed = Written(view, merge_input.file, None, left_out).lines.placed() if view is not None else None
        for start, line in placed or whole_lines(merge_input.file, left_out):
            if merged.add(number, start, line):
                taken += 1
            else:
                left_out.foreign += 1
        if view is not None and is_held(view.folder.lock):
            left_out.torn = 0  # the last line is still being written
        if left_out.foreign and not taken:
            raise UsageError(f"{merge_input.name}: none of its lines is a result of crewrun batch")
        if reasons := str(left_out):
            restore = f"; to restore them: {view.command}" if view is not None else ""
            merge_input.omissions.append(f"{merge_input.name}: lines that are left out: {reasons}{restore}")
        if view is not None:
            merge_input.crew = view.name(view.definition())
            merge_input.omissions += _unfinished(merge_input.name, view)


def _unfinished(name: str, view: View) -> list[str]:
    session = view.session()
    if is_held(view.folder.lock):
        return [f"{name}: {describe_holder(view.folder.lock)} is working on it; its results so far are taken"]
    if session is None or session.ended_at is None or session.stopped:
        return [f"{name}: is not finished; to go on: {view.command}"]
    return []


def input_of(merge_inputs: Sequence[MergeInput], inputs: str | None, id_field: str | None) -> Input | str:
    """The input to compare the merged rows with: `inputs`, else the file that the runs name, if they agree on one and
    it exists. A text says why there is no comparison.
    """
    manifests = [merge_input.manifest for merge_input in merge_inputs if merge_input.manifest is not None]
    values = (manifest.options.get("id_field") for manifest in manifests)
    fields = {str(name) if name is not None else None for name in values}
    if id_field is None and len(fields) > 1:
        return "the runs had different --id-field; --id-field says which one names the rows of the input"
    field_name = id_field if id_field is not None else next(iter(fields), None)
    if inputs is not None:
        return Input(inputs, field_name, next(iter(manifests), None))
    if not manifests:
        return "results without run folders do not say what it was; --input names it"
    files = {os.path.realpath(manifest.input_file) for manifest in manifests if manifest.input_file is not None}
    if gone := next((manifest for manifest in manifests if manifest.input_file is None), None):
        return f"rows {gone.source_of_rows}; --input names a file of them"
    # Each machine may have its own path to the same file, and one of these paths may exist here.
    is_one = len(files) == 1 or len({manifest.input_digest for manifest in manifests}) == 1
    there = sorted(path for path in files if os.path.isfile(path))
    if not is_one or not there:
        named = ", ".join(nearby(path) for path in sorted(files))
        return f"{named}: {'is not there' if is_one else 'are not the same'}; --input names it"
    return Input(nearby(there[0]), field_name, manifests[0])
