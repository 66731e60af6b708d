"""`load_crew` and `load_crew_and_kickoff`: a crew.jsonc as a crew, for code that runs it by itself."""

import os
from collections.abc import Mapping
from typing import Any

from crewrun.crew.crew import Crew
from crewrun.errors import DefinitionError


def load_crew(
    source: str | os.PathLike[str], agents_dir: str | os.PathLike[str] | None = None
) -> tuple[Crew, dict[str, Any]]:
    """The crew in the file `source`, and the defaults of its inputs. Raises DefinitionError.

    Its agents are in the folder `agents` beside it; no other `agents_dir` is taken.
    """
    from crewrun.definitions import load  # which imports this package for the classes that it loads

    beside = os.path.join(os.path.dirname(os.path.abspath(source)), "agents")
    if agents_dir is not None and os.path.abspath(agents_dir) != beside:
        raise DefinitionError(f"{os.fspath(source)}: its agents are in {beside}, and not in {os.fspath(agents_dir)}")
    crew = load(os.fspath(source)).crew
    return crew, dict(crew.default_inputs)


def load_crew_and_kickoff(crew_path: str | os.PathLike[str], input_overrides: Mapping[str, Any] | None = None) -> Any:
    """The answer of the crew in the file `crew_path`, with these inputs over its defaults."""
    crew, defaults = load_crew(crew_path)
    return crew.kickoff({**defaults, **(input_overrides or {})})
