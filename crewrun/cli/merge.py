"""`crewrun merge`: writes the results of several runs to one file and checks it against the input."""

import os
from collections.abc import Mapping, Sequence
from contextlib import ExitStack, suppress
from dataclasses import replace
from itertools import islice, zip_longest
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

if TYPE_CHECKING:
    from crewrun.batch.shard import Shard
    from crewrun.inspect.merge import MergedResults
    from crewrun.inspect.merge_inputs import Input, MergeInput
    from crewrun.inspect.verify import Differences
    from crewrun.runs.manifest import Manifest

_EXAMPLES = 5
_EXCERPT_CHARS = 60


def merge(
    runs: list[str] = typer.Argument(..., metavar="RUN", help="Results files, or run folders."),
    output: str = typer.Option(
        ...,
        "--output",
        "-o",
        metavar="FILE",
        help="Where the merged results go: .jsonl, .csv, .tsv, .parquet or .xlsx.",
    ),
    inputs: str | None = typer.Option(
        None, "--input", metavar="INPUTS", help="The input with all rows. [default: the input that the runs name]"
    ),
    ordered: bool = typer.Option(False, "--ordered", help="In input order. [default: run after run]"),
    id_field: str | None = typer.Option(
        None, "--id-field", metavar="NAME", help="The field that names a row of INPUTS. [default: as the runs had it]"
    ),
    force: bool = typer.Option(False, "--force", help="Overwrite FILE."),
) -> None:
    """Merge the results of shards, or of the same rows run several times: one line for each row.

    A success is preferred to a failure, a later result to an earlier one. The result is then compared with the input,
    whatever --limit, --offset and --shard the runs had. FILE is written completely or not at all; it is not a run and
    cannot be continued. Exit codes: 0 it is written; 1 it cannot be written; 2 a RUN is not a run, or FILE exists; 3 it
    is written, but rows failed, are missing, are not in the input, or had different inputs.
    """
    from crewrun.cli.setup import run_loop
    from crewrun.inspect.merge import MergedResults
    from crewrun.inspect.merge_inputs import Input, input_of, open_merge_inputs, read_merge_input
    from crewrun.tables.writing.output_format import output_format

    form = output_format(output, None)
    form.check_installed(output)
    with ExitStack() as files:
        runs_read, warnings = open_merge_inputs(runs, files)
        path = _check_output(output, runs_read, inputs, force=force)
        merged = MergedResults([run.file for run in runs_read])
        files.callback(merged.close)
        for number, run in enumerate(runs_read):
            read_merge_input(run, number, merged)
        whole = input_of(runs_read, inputs, id_field)
        if isinstance(whole, Input):
            run_loop(_see_input, whole, merged)
        differences = merged.end(checked=isinstance(whole, Input))
        warnings += [f"{output}: {note}" for note in merged.write(path, form, ordered=ordered)]
        is_complete = _say_result(output, runs_read, merged, differences, whole, warnings)
    raise typer.Exit(0 if is_complete else 3)


def _say_result(
    output: str,
    runs: "Sequence[MergeInput]",
    merged: "MergedResults",
    differences: "Differences",
    whole: "Input | str",
    warnings: Sequence[str],
) -> bool:
    """Report what was merged and what is missing. Returns whether the result is complete, as far as can be known."""
    from crewrun.cli.status import difference_lines
    from crewrun.inspect.merge import KINDS
    from crewrun.terminal import say, say_all

    is_checked = not isinstance(whole, str)
    shards = _shards(runs)
    missing = [lack for run in runs for lack in run.omissions]
    if "without_result" in differences.counts if is_checked else len(shards) == len(runs):
        missing += _missing_shards(runs, shards)
    for warning in (*warnings, *_other_crews(runs), *_other_divisions(shards), *missing):
        say(f"warning: {warning}")
    say(_headline(output, len(runs), merged))
    say_all((_conclusion(differences, whole), *difference_lines(differences, KINDS)))
    # Without a check against the input, lines that were left out may be missing rows.
    return not differences.counts and (is_checked or not missing)


async def _see_input(whole: "Input", merged: "MergedResults") -> None:
    from crewrun.batch.run_input import settings_of, visit_input
    from crewrun.tables.reading.input_options import InputOptions

    options = settings_of(whole.manifest).input_options if whole.manifest else InputOptions()
    await visit_input(whole.path, replace(options, id_field=whole.id_field, constants={}), merged.see)


def _check_output(output: str, runs: "Sequence[MergeInput]", inputs: str | None, *, force: bool) -> Path:
    """The path to write to. Raises UsageError when it cannot be written, or would overwrite an input or a run."""
    from crewrun.batch.descriptors import descriptor_of
    from crewrun.batch.locations import check_output
    from crewrun.errors import UsageError
    from crewrun.runs.folder import folder_of

    if output == "-" or descriptor_of(output) is not None:
        raise UsageError(f"-o {output}: the results are written whole or not at all; name a file")
    check_output(output)
    path = Path(os.path.realpath(output))
    state = folder_of(path)
    if state.is_used:
        raise UsageError(f"-o {output}: {os.path.relpath(state.path)} has the state of a run; name another file")
    if not path.exists():
        return path
    for run in runs:
        if os.path.samestat(path.stat(), os.fstat(run.file.fileno())):
            raise UsageError(f"-o {output}: is one of the runs, {run.name}; name another file")
        taken = [*(run.folder.files if run.folder else ()), run.manifest.input_file if run.manifest else None]
        if any(file is not None and file.exists() and path.samefile(file) for file in (*taken, Path(inputs or "."))):
            raise UsageError(f"-o {output}: is the input, or a file of a run; name another file")
    if not path.is_file():
        raise UsageError(f"-o {output}: is no regular file; the results are written whole or not at all")
    if not force:
        raise UsageError(f"-o {output}: exists; --force overwrites it")
    return path


def _conclusion(differences: "Differences", whole: "Input | str") -> str:
    if isinstance(whole, str):
        return f"warning: not compared with the input: {whole}"
    is_whole = not {"without_result", "changed", "not_in_input"} & differences.counts.keys()
    return f"{'complete: these are the rows of' if is_whole else 'not complete: compared with'} {whole.path}"


def _headline(output: str, runs: int, merged: "MergedResults") -> str:
    from crewrun.cli.wording import count

    rows, ok, shared = merged.count()
    of_several = f" ({shared:,} of them in several)" if shared else ""
    return f"{output}: {rows:,} rows of {count(runs, 'run')}{of_several}: {ok:,} ok, {rows - ok:,} failed"


def _shards(runs: "Sequence[MergeInput]") -> "dict[str, Shard]":
    """The shards among the runs, by name."""
    from crewrun.batch.shard import Shard
    from crewrun.errors import UsageError

    shards = {}
    for run in runs:
        shard = run.manifest.options.get("shard") if run.manifest is not None else None
        if shard is not None:
            with suppress(UsageError):  # an edited manifest
                shards[run.name] = Shard.parse(str(shard))
    return shards


def _other_divisions(shards: "Mapping[str, Shard]") -> list[str]:
    """A warning when the shards are parts of different divisions, with the first run of each."""
    kinds: dict[int, str] = {}
    for name, shard in shards.items():
        kinds.setdefault(shard.count, f"{name} is shard {shard}")
    divisions = ", ".join(kinds.values())
    warning = f"the input was divided in several ways: {divisions}; rows may be in two of them, or in none"
    return [warning] if len(kinds) > 1 else []


def _missing_shards(runs: "Sequence[MergeInput]", shards: "Mapping[str, Shard]") -> list[str]:
    """The shards that are missing; nothing when a run does not say which it is, or they are not of one division."""
    from crewrun.batch.shard import Shard

    there, counts = {shard.number for shard in shards.values()}, {shard.count for shard in shards.values()}
    if len(counts) != 1 or len(there) == max(counts) or any(run.manifest is None for run in runs):
        return []
    (count,) = counts
    first = list(islice((str(Shard(i, count)) for i in range(1, count + 1) if i not in there), _EXAMPLES))
    lacking = count - len(there)
    listed = ", ".join([*first, "…"] if lacking > len(first) else first)
    return [f"shard {listed} is missing" if lacking == 1 else f"shards {listed} are missing"]


def _other_crews(runs: "Sequence[MergeInput]") -> list[str]:
    """Warnings when the runs had different crews or models: how each differs from the first."""
    kinds: dict[str | None, tuple[str, Manifest]] = {}
    # With --same-endpoint, runs that differ in their addresses alone are of one kind.
    is_anywhere = any(run.manifest is not None and run.manifest.options.get("same_endpoint") for run in runs)
    for run in runs:
        if run.manifest is not None:
            kind = run.manifest.definition.get("anywhere") if is_anywhere else None
            kinds.setdefault(str(kind) if kind else run.crew, (run.name, run.manifest))
    crews = list(kinds.values())
    return [
        f"{name}: its crew or models differ from those of {crews[0][0]}: {_difference(crews[0][1], manifest)}"
        for name, manifest in crews[1:]
    ]


def _difference(one: "Manifest", other: "Manifest") -> str:
    """The first difference between the definitions of two runs."""
    from crewrun.batch.run_identity import endpoints_in_words

    first, second = _texts(one), _texts(other)
    if len(first) == len(second) == 1:  # compare the two files even if their names differ
        first = dict(zip(second, first.values(), strict=True))
    for name in sorted(first.keys() | second.keys()):
        lines, others = (texts.get(name, "").splitlines() for texts in (second, first))
        for number, (line, expected) in enumerate(zip_longest(lines, others, fillvalue=""), 1):
            if line != expected:
                return f"{name}:{number}: {_excerpt(line)} and not {_excerpt(expected)}"
    models, expected = (endpoints_in_words(manifest.definition.get("endpoints", ())) for manifest in (other, one))
    if models != expected:
        return f"{models} and not {expected}"
    return _other_constants(one, other) or "files or code that the crew's own file does not show"


def _other_constants(one: "Manifest", other: "Manifest") -> str | None:
    """The first input for all rows in which two runs differ, None without a difference."""
    expected, constants = (manifest.options.get("input") or {} for manifest in (one, other))
    for name in sorted(expected.keys() | constants.keys()):
        if (name in constants, constants.get(name)) != (name in expected, expected.get(name)):
            return f"{_constant(name, constants)} here, {_constant(name, expected)} there"
    return None


def _constant(name: str, constants: "Mapping[str, Any]") -> str:
    return _excerpt(f"-i {name}={constants[name]}") if name in constants else f"no -i {name}"


def _texts(manifest: "Manifest") -> dict[str, str]:
    """The texts of a crew's files, by their paths relative to the crew's folder."""
    texts = manifest.definition.get("texts")
    if not isinstance(texts, dict) or not texts:
        return {}
    top = os.path.commonpath([os.path.dirname(name) for name in texts])
    return {os.path.relpath(name, top or None): str(text) for name, text in texts.items()}


def _excerpt(line: str) -> str:
    from crewrun.cli.wording import shortened

    return repr(shortened(line.strip(), _EXCERPT_CHARS))
