"""`crewrun retry`: runs the failed rows of a run again, with the options that the run had."""

import os
import shlex
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from crewrun.batch_flags import batch_flags
from crewrun.cli import flags
from crewrun.cli.inputs import read_fields, read_inputs

if TYPE_CHECKING:
    from crewrun.batch.invocation import Invocation
    from crewrun.batch.settings import BatchSettings
    from crewrun.errors import Category
    from crewrun.runs.folder import RunFolder
    from crewrun.runs.manifest import Manifest


def retry(
    run: str = typer.Argument(..., metavar="RUN", help="The results file of a run, or its run folder."),
    only: str | None = typer.Option(
        None, "--only", metavar="CATEGORY", help="Only rows that failed with this category, such as rate_limit."
    ),
    input: flags.ForAllRows = None,  # noqa: A002  (a parameter is called as its flag is)
    format: flags.Format = None,  # noqa: A002  (as above)
    delimiter: flags.Delimiter = None,
    encoding: flags.Encoding = None,
    sheet: flags.Sheet = None,
    map: flags.Map = None,  # noqa: A002  (as above)
    fields: flags.Fields = None,
) -> None:
    """Run the failed rows of RUN again, and those that it did not get to, as its own command would.

    With --only the other rows are left alone. Options, crew and inputs are those of the run, -i included, except
    --fresh and --replay; keys and passwords come from the environment, which has to lead to the same models, and -i,
    --map and other flags of the input have to repeat the run's. Exit codes are those of `crewrun batch`.
    """
    from crewrun.batch.invocation import BatchRequest
    from crewrun.cli.batch import carry_out
    from crewrun.cli.categories import category_named
    from crewrun.cli.notify import Notice
    from crewrun.cli.setup import claim_stdout, folder_of, load_crew, load_env
    from crewrun.errors import UsageError

    category = None if only is None else category_named("--only", only)
    folder, manifest = _find(run)
    invocation, results = _invocation(folder, manifest, category)
    _enter_directory(run, manifest)
    load_env()
    load_env(folder_of(manifest.crew))
    settings = _settings(run, folder, manifest, results, read_inputs(input or ()))
    _check_same_reading(run, settings, {"format": format, "delimiter": delimiter, "encoding": encoding, "sheet": sheet})
    _check_same_fields(run, settings, read_fields(map, fields))
    stdout_fd = claim_stdout()
    with Notice(settings.notify, manifest.inputs) as notice:
        definition = load_crew(manifest.crew, manifest.inputs, strict=settings.strict, engine=settings.engine)
        if not Path(manifest.inputs).exists():
            raise UsageError(f"{run}: its input {manifest.inputs} no longer exists")
        carry_out(BatchRequest(invocation, definition, settings, stdout_fd), notice)


def _find(run: str) -> "tuple[RunFolder, Manifest]":
    """The run to retry. Raises UsageError when it cannot be retried."""
    from crewrun.errors import UsageError
    from crewrun.inspect.view import command_of, find_run
    from crewrun.runs.folder import RunFolder
    from crewrun.runs.manifest import read_manifest

    folder = RunFolder(find_run(run).path.absolute())
    manifest = read_manifest(folder.manifest)
    if manifest.input_digest is None:
        remedy = "give the run's own command and the same rows again"
        if manifest.is_of_program:
            remedy = f"to go on: {command_of(folder, manifest)}"
        raise UsageError(f"{run}: its rows {manifest.source_of_rows}; {remedy}")
    if manifest.is_of_program and manifest.crew.startswith("<"):
        raise UsageError(f"{run}: its crew is an object of a Python program; to go on: {command_of(folder, manifest)}")
    return folder, manifest


def _invocation(
    folder: "RunFolder", manifest: "Manifest", category: "Category | None"
) -> "tuple[Invocation, Path | None]":
    """The run's own command, for a retry, and where its results are now."""
    from crewrun.batch.invocation import Invocation
    from crewrun.inspect.view import is_in_place, output_of

    results = output_of(folder, manifest)
    # By its absolute path, as in the report: the working directory changes to the run's.
    whole = ["crewrun", "retry", str(results or folder.path)]
    resume_command = shlex.join([*whole, *(["--only", str(category)] if category else [])])
    # The run's own command would not find a run that was moved.
    command = manifest.command if is_in_place(folder, manifest) else whole
    return Invocation(manifest.inputs, manifest.crew, command, category, resume_command, manifest), results


def _enter_directory(run: str, manifest: "Manifest") -> None:
    from crewrun.errors import UsageError

    try:
        os.chdir(manifest.cwd)
    except OSError as gone:
        raise UsageError(
            f"{run}: its working directory {manifest.cwd}: {gone.strerror}; where its inputs are now, give its own "
            f"command: {shlex.join(manifest.command)}"
        ) from None


def _settings(
    run: str, folder: "RunFolder", manifest: "Manifest", results: Path | None, inputs: Mapping[str, Any]
) -> "BatchSettings":
    """The run's settings, with the secrets that a run does not store. Raises UsageError."""
    from crewrun.batch.run_input import settings_of

    settings = settings_of(manifest)
    # The present paths, in case the run was moved. With --fresh or --replay it would not be a retry.
    settings = replace(
        settings,
        output=str(results) if results else settings.output,
        run_dir=str(folder.path) if settings.run_dir is not None else None,
        fresh=False,
        replay=False,
    )
    return _with_passwords(replace(settings, input=_same_constants(run, settings.input, inputs)))


def _same_constants(run: str, old: Mapping[str, Any], repeated: Mapping[str, Any]) -> dict[str, Any]:
    """The run's inputs for all rows. Raises UsageError for different ones, and for a secret that it did not store."""
    from crewrun.errors import UsageError
    from crewrun.redaction.key_shapes import REDACTED

    for name, value in repeated.items():
        if name not in old or (old[name] != value and REDACTED not in str(old[name])):
            has = f"{name}={old[name]}" if name in old else f"no input {name!r} for all rows"
            raise UsageError(
                f"-i {name}={value}: {run} has {has}, and what is done was made with it; the run's own command with "
                "another -i runs all rows again"
            )
    same = {**old, **repeated}
    if lost := [name for name, value in same.items() if REDACTED in str(value)]:
        raise UsageError(f"{run}: a run keeps no secrets; give this one again: -i {lost[0]}=…")
    return same


def _check_same_reading(run: str, settings: "BatchSettings", repeated: Mapping[str, str | None]) -> None:
    """Raise UsageError for a flag that would read other rows than the run had."""
    from crewrun.errors import UsageError

    for name, value in repeated.items():
        own = getattr(settings, name)
        if value is not None and value != (None if own is None else str(own)):
            has = f"--{name} {own}" if own is not None else f"no --{name}"
            raise UsageError(
                f"--{name} {value}: {run} had {has}, and would have other rows; leave it out, retry takes what the run "
                "had"
            )


def _check_same_fields(run: str, settings: "BatchSettings", repeated: Mapping[str, Any]) -> None:
    """Raise UsageError if --map or --fields are given and differ from the run's."""
    from crewrun.errors import UsageError

    for name, column in (repeated["map"] or {}).items():
        if (own := settings.column_map.get(name)) != column:
            has = f"fills {{{name}}} from {own!r}" if own else f"has no --map {name}"
            raise UsageError(
                f"--map {name}={column}: {run} {has}, and what is done was made with it; the run's own command with "
                "another --map runs all rows again"
            )
    if repeated["fields"] is not None and set(repeated["fields"]) != set(settings.field_names or ()):
        own = ", ".join(settings.field_names or ()) or "all columns"
        raise UsageError(f"--fields: the rows of {run} are made of {own}; leave it out, retry takes what the run had")


def _with_passwords(settings: "BatchSettings") -> "BatchSettings":
    """The settings with passwords, which a run does not store, from the environment. Raises UsageError."""
    from crewrun.errors import UsageError
    from crewrun.redaction.key_shapes import REDACTED

    passwords: dict[str, Any] = {}
    for name, flag in batch_flags().items():
        value = getattr(settings, name)
        if isinstance(value, str) and REDACTED in value:
            if not os.environ.get(flag.variable):
                raise UsageError(
                    f"{flag.option} {value}: a run keeps no passwords; export {flag.variable} with all of it"
                )
            passwords[name] = os.environ[flag.variable]
    return replace(settings, **passwords)
