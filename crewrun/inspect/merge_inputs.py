"""The runs that are to be merged: where their results are, what is to be said of them, and what their input was.

Their lines are read here, and united in `merge`.
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
from crewrun.inspect.results_file import find_loose, whole_lines
from crewrun.inspect.view import View, command_of, find_run, nearby, open_folder, results_of
from crewrun.runs.folder import RunFolder
from crewrun.runs.lock import describe_holder, is_held
from crewrun.runs.manifest import Manifest, read_manifest

_BUFFER_BYTES: Final = 1 << 18


@dataclass(slots=True)
class Part:
    """One run. `folder`, `manifest` and `crew`, which stands for a crew with its models, are None for results without
    a run folder; `lacks` says what of it could not be taken.
    """

    name: str
    file: BinaryIO
    folder: RunFolder | None
    manifest: Manifest | None
    crew: str | None = None
    lacks: list[str] = field(default_factory=list)


class Input(NamedTuple):
    """What all rows are."""

    path: str
    id_field: str | None


def open_parts(runs: Sequence[str], files: ExitStack) -> tuple[list[Part], list[str]]:
    """The runs that a user names, each once, and what is to be said of that. Raises UsageError for what is none."""
    parts: dict[tuple[int, int], Part] = {}
    warnings = []
    for run in runs:
        results, folder, manifest = _locate(run)
        try:
            file = files.enter_context(results.open("rb", buffering=_BUFFER_BYTES))
        except OSError as refused:
            raise UsageError(f"{run}: cannot be read: {refused.strerror}") from None
        stat = os.fstat(file.fileno())
        part = parts.setdefault((stat.st_dev, stat.st_ino), Part(run, file, folder, manifest))
        if part.file is not file:
            warnings.append(f"{run}: is the same run as {part.name}; it is read once")
    return list(parts.values()), warnings


def _locate(run: str) -> tuple[Path, RunFolder | None, Manifest | None]:
    """The results of a run, by these or by its folder."""
    loose = find_loose(run)
    if loose is not None:
        return loose, None, None
    folder = find_run(run)
    manifest = read_manifest(folder.manifest)
    results = results_of(folder, manifest)
    if results is None:
        raise UsageError(f"{run}: its results went to a stream; crewrun export {run} -o FILE makes a file of them")
    if not os.path.isfile(results):
        again = command_of(folder, manifest)
        raise UsageError(f"{run}: {nearby(results)} is not there any more; to make it again: {again}")
    return results, folder, manifest


def read_part(part: Part, number: int, union: MergedResults) -> None:
    """Put the results of a run into the union, under this number: those that its journal knows, or without one those
    that are whole. Raises UsageError when nothing in it is a result, JournalDamaged and OutputFailed.
    """
    left_out = LeftOut()
    taken = 0
    with ExitStack() as opened:
        view = opened.enter_context(open_folder(part.folder)) if part.folder is not None else None
        known = Written(view, part.file, None, left_out).lines.placed() if view is not None else None
        for start, line in known or whole_lines(part.file, left_out):
            if union.add(number, start, line):
                taken += 1
            else:
                left_out.foreign += 1
        if view is not None and is_held(view.folder.lock):
            left_out.torn = 0  # it is being written
        if left_out.foreign and not taken:
            raise UsageError(f"{part.name}: no line of it is a result of crewrun batch")
        if said := str(left_out):
            restore = f"; to restore them: {view.command}" if view is not None else ""
            part.lacks.append(f"{part.name}: lines that are left out: {said}{restore}")
        if view is not None:
            part.crew = view.name(view.definition())
            part.lacks += _unfinished(part.name, view)


def _unfinished(name: str, view: View) -> list[str]:
    session = view.session()
    if is_held(view.folder.lock):
        return [f"{name}: {describe_holder(view.folder.lock)} is working on it; what it has so far is taken"]
    if session is None or session.ended_at is None or session.stopped:
        return [f"{name}: is not finished; to go on: {view.command}"]
    return []


def input_of(parts: Sequence[Part], inputs: str | None, id_field: str | None) -> Input | str:
    """What the merged rows are to be held against: `inputs`, else the file that the runs name if it is one and is
    there. A text says why nothing can be.
    """
    manifests = [part.manifest for part in parts if part.manifest is not None]
    given = (manifest.options.get("id_field") for manifest in manifests)
    fields = {str(name) if name is not None else None for name in given}
    if id_field is None and len(fields) > 1:
        return "the runs had different --id-field; --id-field says which one names the rows of the input"
    field_name = id_field if id_field is not None else next(iter(fields), None)
    if inputs is not None:
        return Input(inputs, field_name)
    if not manifests:
        return "results without run folders do not say what it was; --input names it"
    files = {os.path.realpath(manifest.input_file) for manifest in manifests if manifest.input_file is not None}
    if not all(manifest.input_file for manifest in manifests):
        return "rows came through a pipe; --input names a file of them"
    # Of several machines each has a path of its own, and one of these may be here.
    is_one = len(files) == 1 or len({manifest.input_digest for manifest in manifests}) == 1
    there = sorted(path for path in files if os.path.isfile(path))
    if not is_one or not there:
        named = ", ".join(nearby(path) for path in sorted(files))
        return f"{named}: {'is not there' if is_one else 'are not the same'}; --input names it"
    return Input(nearby(there[0]), field_name)
