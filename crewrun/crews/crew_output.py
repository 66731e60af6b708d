"""CrewAI's import path for `CrewOutput`."""

from crewrun.crew.output import CrewOutput

__all__ = ["CrewOutput"]
