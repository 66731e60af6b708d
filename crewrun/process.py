"""CrewAI's import path for `Process`."""

from crewrun.crew.process import Process

__all__ = ["Process"]
