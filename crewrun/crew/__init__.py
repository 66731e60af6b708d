"""Crews: the definitions that users write (`agent`, `task`, `crew`), and the code that runs one kickoff of them."""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from crewrun.crew.crew import Crew
    from crewrun.crew.output import CrewOutput

# CrewAI's users write `from crewai.crew import Crew`.
__all__ = ["Crew", "CrewOutput"]

_HOME = {"Crew": "crewrun.crew.crew", "CrewOutput": "crewrun.crew.output"}


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module 'crewrun.crew' has no attribute {name!r}")
    return getattr(import_module(_HOME[name]), name)
