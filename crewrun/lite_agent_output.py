"""CrewAI's import path for what an agent's own kickoff returns."""

from crewrun.crew.output import AgentOutput as LiteAgentOutput

__all__ = ["LiteAgentOutput"]
