"""CrewAI's import path for `Agent`."""

from crewrun.crew.agent import Agent

__all__ = ["Agent"]
