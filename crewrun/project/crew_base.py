"""CrewAI's import path for `CrewBase`."""

from crewrun.project.base import CrewBase

__all__ = ["CrewBase"]
