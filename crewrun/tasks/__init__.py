"""CrewAI's import paths for tasks and their outputs."""

from crewrun.crew.output import OutputFormat, TaskOutput
from crewrun.crew.task import ConditionalTask

__all__ = ["ConditionalTask", "OutputFormat", "TaskOutput"]
