"""Loads the crew of a run again, for commands that show its prompts and its diagram."""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from crewrun.batch.rebuilt_prompts import RunCrew
    from crewrun.runs.manifest import Manifest


def load_run_crew(manifest: "Manifest") -> "RunCrew":
    """The crew that a run was started with, as it is now, or why it cannot be loaded."""
    import warnings

    from crewrun.batch.rebuilt_prompts import RunCrew, folder_of_run, why
    from crewrun.cli.setup import folder_of, load_env
    from crewrun.definitions import load
    from crewrun.errors import CrewrunError, CrewrunWarning

    if manifest.crew.startswith("<"):
        return RunCrew(None, f"{manifest.crew} was an object of a Python program")
    try:
        with folder_of_run(manifest), warnings.catch_warnings():
            load_env()
            load_env(folder_of(manifest.crew))
            warnings.simplefilter("ignore", CrewrunWarning)
            return RunCrew(load(manifest.crew, engine=manifest.options.get("engine", "crewrun")))
    except (CrewrunError, OSError) as gone:
        return RunCrew(None, why(gone))
