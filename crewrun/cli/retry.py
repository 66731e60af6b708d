"""`crewrun retry`: the rows of a run that failed once more, with the options that the run had."""

import os
from pathlib import Path

import typer


def retry(
    run: str = typer.Argument(..., metavar="RUN", help="The results file of a run, or its run folder."),
    only: str | None = typer.Option(
        None, "--only", metavar="CATEGORY", help="Only rows that failed so, such as rate_limit, and no others."
    ),
) -> None:
    """Run the rows of RUN again that failed, and those that it did not come to, as its own command would.

    With --only the other rows are left alone. Options, crew and inputs are those of the run; keys come from the
    environment. Exit codes are those of `crewrun batch`.
    """
    from crewrun.batch.run import Invocation
    from crewrun.batch.settings import BatchSettings
    from crewrun.cli.batch import carry_out
    from crewrun.cli.setup import claim_stdout, load_crew, load_env
    from crewrun.errors import Category, UsageError, suggest
    from crewrun.runs.folder import SUFFIX, RunFolder, find
    from crewrun.runs.manifest import read_manifest

    categories = [str(category) for category in Category]
    if only is not None and only not in categories:
        raise UsageError(
            f"--only {only!r}: no such category{suggest(only, categories)}; one of {', '.join(categories)}"
        )
    folder = RunFolder(find(run).path.absolute())
    manifest = read_manifest(folder.manifest)
    if manifest.input_digest is None:
        raise UsageError(f"{run}: its rows came through a pipe; give the run's own command and the same rows again")
    try:
        os.chdir(manifest.cwd)
    except OSError as gone:
        raise UsageError(f"{run}: its working directory {manifest.cwd}: {gone.strerror}") from None
    given = {name: value for name, value in manifest.options.items() if name in BatchSettings.__dataclass_fields__}
    given.pop("fresh", None)
    if "run_dir" in given:
        given["run_dir"] = str(folder.path)
    elif manifest.output is not None:
        # Beside the folder, wherever both were moved.
        given["output"] = str(folder.path.with_name(folder.path.name.removesuffix(SUFFIX)))
    load_env()
    stdout_fd = claim_stdout()
    definition = load_crew(manifest.crew, manifest.inputs, strict=given.get("strict"))
    invocation = Invocation(manifest.inputs, manifest.crew, manifest.command, Category(only) if only else None)
    if not Path(manifest.inputs).exists():
        raise UsageError(f"{run}: its input {manifest.inputs} is not there any more")
    carry_out(invocation, definition, BatchSettings(**given), stdout_fd)
