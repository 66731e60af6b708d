"""Names of CrewAI that crewrun has by another name or in another place, for the import lines of existing code.

Which import leads here is in `stand_ins`. What does nothing is not here but there.
"""

from collections.abc import Callable, Mapping
from typing import Any

from pydantic import BaseModel

from crewrun.crew.agent import Agent
from crewrun.crew.steps import AgentAction, AgentFinish
from crewrun.llm.endpoints import default_model
from crewrun.llm.model import LLM, as_llm
from crewrun.templates import compile_template
from crewrun.tools.toolbox import wire_name as sanitize_tool_name

__all__ = [
    "AgentAction",
    "AgentFinish",
    "LLMGuardrailResult",
    "LLMMessage",
    "LiteAgent",
    "SerializableCallable",
    "create_llm",
    "interpolate_only",
    "sanitize_tool_name",
]

# An agent on its own: `kickoff` is a method of every agent.
LiteAgent = Agent
LLMMessage = dict[str, Any]
SerializableCallable = Callable[..., Any]


class LLMGuardrailResult(BaseModel):
    """What a model says of an answer that it judges."""

    valid: bool
    feedback: str | None = None


def create_llm(llm_value: Any = None) -> LLM:
    """A model of a name, a mapping or an object; of None the run's default."""
    llm: LLM = as_llm(default_model() if llm_value is None else llm_value)
    return llm


def interpolate_only(input_string: str | None, inputs: Mapping[str, Any], **_: Any) -> str:
    """`input_string` with `inputs` filled in. Raises InputInvalid, a ValueError, for one that is missing."""
    return compile_template(input_string).render(inputs, "text") if input_string else ""
