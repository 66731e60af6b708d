"""`prepare_scoring`: the batch that scores the results of a run, with all that can be checked before it begins."""

from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path

from crewrun.batch.invocation import BatchRequest, Invocation
from crewrun.batch.run_results import RunResults, open_results
from crewrun.batch.settings import BatchSettings
from crewrun.definitions.definition import Definition
from crewrun.errors import RunHeld, UsageError
from crewrun.inspect.view import nearby
from crewrun.runs.folder import folder_of
from crewrun.runs.lock import describe_holder
from crewrun.runs.manifest import read_manifest
from crewrun.score.judges import Judge
from crewrun.score.names import base_of, scores_path
from crewrun.score.scored_rows import ID, own_fields, scored_rows


@dataclass(frozen=True, slots=True)
class Scoring:
    """A scoring of `run` that can begin. `base` is what `path` is named after; `notes` say what of the results is left
    out.
    """

    run: str
    base: Path
    path: Path
    request: BatchRequest
    notes: Sequence[str]


async def prepare_scoring(
    run: str, judge: Judge, name: str | None, settings: BatchSettings, command: Sequence[str], resources: ExitStack
) -> Scoring:
    """The batch that scores the results of `run` that are ok. `resources` closes its files.

    Raises UsageError without such results, and when the file of scores has those of another judge; RunHeld while a
    process works on the run; JournalDamaged.
    """
    async with open_results(run, "ok", ordered=settings.ordered) as results:
        _refuse_going(run, results)
        base = base_of(run, results.view)
        path = scores_path(base, name)
        if not results.lines:
            raise UsageError(f"{run}: no row has succeeded, so there is nothing to score")
        if not settings.fresh:
            _refuse_other_judge(path, base, judge)
        rows = scored_rows(results.records(), str(base), judge.names, judge.field, resources)
        notes = list(results.notes)
    own = replace(settings, id_field=ID, fields=own_fields(judge.field), output=nearby(path), no_rows="fail")
    definition = Definition(judge.target, {}, judge.file, kind=judge.kind)
    invocation = Invocation(nearby(base), judge.by, list(command))
    return Scoring(run, base, path, BatchRequest(invocation, definition, own, 1, rows), notes)


def _refuse_going(run: str, results: RunResults) -> None:
    if results.is_going:
        holder = describe_holder(results.view.folder.lock) if results.view is not None else "a process"
        raise RunHeld(f"{run}: {holder} is working on this run; score it when that has ended")


def _refuse_other_judge(path: Path, base: Path, judge: Judge) -> None:
    """Raise UsageError if the scores at `path` are another judge's, which would be lost."""
    folder = folder_of(path)
    if not folder.manifest.exists():
        if path.exists():
            raise UsageError(
                f"{nearby(path)}: is there and has no run folder, so it cannot be gone on with; move it, or --name "
                "NAME puts these scores beside it"
            )
        return
    manifest = read_manifest(folder.manifest)
    old = (manifest.crew, manifest.definition.get("kind"))
    if old != (judge.by, judge.kind):
        raise UsageError(
            f"{nearby(path)}: has the {old[1]} by {old[0]!r}; --name NAME puts other scores of {base.name} beside it, "
            "and --fresh moves it aside"
        )
