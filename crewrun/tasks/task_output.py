"""CrewAI's import path for `TaskOutput`."""

from crewrun.crew.output import TaskOutput

__all__ = ["TaskOutput"]
