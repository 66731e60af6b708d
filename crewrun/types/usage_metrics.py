"""CrewAI's import path for `UsageMetrics`."""

from crewrun.crew.output import UsageMetrics

__all__ = ["UsageMetrics"]
