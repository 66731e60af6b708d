"""The argument of a `step_callback`, with CrewAI's names: the use of a tool, or the answer."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class AgentAction:
    """The agent used a tool. `tool_input` is the JSON text of the arguments, `text` the model's reply with the call."""

    thought: str
    tool: str
    tool_input: str
    text: str
    result: str


@dataclass(frozen=True, slots=True)
class AgentFinish:
    """The agent has its answer, `output`; `text` is the reply that contains it."""

    thought: str
    output: str
    text: str


Step = AgentAction | AgentFinish
