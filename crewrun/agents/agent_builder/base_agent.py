"""CrewAI's import path for `BaseAgent`, which is `Agent` here: there is one kind."""

from crewrun.crew.agent import Agent as BaseAgent

__all__ = ["BaseAgent"]
