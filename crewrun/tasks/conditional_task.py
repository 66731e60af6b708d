"""CrewAI's import path for `ConditionalTask`."""

from crewrun.crew.task import ConditionalTask

__all__ = ["ConditionalTask"]
