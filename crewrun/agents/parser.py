"""CrewAI's import path for what a `step_callback` is given."""

from crewrun.crew.steps import AgentAction, AgentFinish

__all__ = ["AgentAction", "AgentFinish"]
