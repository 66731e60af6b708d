"""`load_crew` and `load_crew_and_kickoff`: a crew.jsonc as a crew, for code that runs it itself."""

import os
from collections.abc import Mapping
from typing import Any

from crewrun.crew.crew import Crew
from crewrun.errors import DefinitionError


def load_crew(
    source: str | os.PathLike[str], agents_dir: str | os.PathLike[str] | None = None
) -> tuple[Crew, dict[str, Any]]:
    """The crew in the file `source`, and the defaults of its inputs. Raises DefinitionError.

    Its agents are in the folder `agents` next to it; any other `agents_dir` is an error.
    """
    from crewrun.definitions import load  # not at the top: it imports this package

    folder = os.path.join(os.path.dirname(os.path.abspath(source)), "agents")
    if agents_dir is not None and os.path.abspath(agents_dir) != folder:
        raise DefinitionError(f"{os.fspath(source)}: its agents are in {folder}, and not in {os.fspath(agents_dir)}")
    crew = load(os.fspath(source)).crew
    return crew, dict(crew.default_inputs)


def load_crew_and_kickoff(crew_path: str | os.PathLike[str], input_overrides: Mapping[str, Any] | None = None) -> Any:
    """The answer of the crew in the file `crew_path`; `input_overrides` replace its default inputs."""
    crew, defaults = load_crew(crew_path)
    return crew.kickoff({**defaults, **(input_overrides or {})})
