"""CrewAI's import paths for a crew's output."""

from crewrun.crew.output import CrewOutput

__all__ = ["CrewOutput"]
