"""CrewAI's import path for `Task`."""

from crewrun.crew.output import TaskOutput
from crewrun.crew.task import Task

__all__ = ["Task", "TaskOutput"]
