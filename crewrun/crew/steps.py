"""What a `step_callback` is given, with CrewAI's names: a tool that was used, or the answer."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class AgentAction:
    """The agent used a tool. `tool_input` is the JSON text of the arguments, `text` what the model said with it."""

    thought: str
    tool: str
    tool_input: str
    text: str
    result: str


@dataclass(frozen=True, slots=True)
class AgentFinish:
    """The agent has its answer, `output`; `text` is the reply that it stood in."""

    thought: str
    output: str
    text: str


Step = AgentAction | AgentFinish
