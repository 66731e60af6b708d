"""CrewAI's import path for `OutputFormat`."""

from crewrun.crew.output import OutputFormat

__all__ = ["OutputFormat"]
