"""`Agent`: who does a task. A definition; what it says for one row is a `Persona`."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Any, cast

from pydantic import BaseModel, BeforeValidator, ConfigDict

from crewrun.crew.kickoff import Kickoff
from crewrun.crew.prompts import system_prompt
from crewrun.llm.model import LLM, as_llm
from crewrun.llm.tally import Tally
from crewrun.messages import Completion, Message
from crewrun.templates import compile_template


@dataclass(frozen=True, slots=True)
class Persona:
    """An agent with one row's inputs filled in."""

    role: str
    goal: str
    backstory: str


class Agent(BaseModel):
    """A role with a goal and a backstory, each of which may contain `{placeholders}`, and the model that plays it.

    `llm` is a model name, a mapping of parameters or an `LLM`; without one the agent uses the run's default model.
    `name` is the agent's key in a definition file.
    """

    # Assignments are validated so that `agent.llm = "…"` becomes an LLM, as in the constructor.
    model_config = ConfigDict(extra="forbid", validate_assignment=True, hide_input_in_errors=True)

    role: str
    goal: str
    backstory: str
    llm: Annotated[LLM | str | dict[str, Any] | None, BeforeValidator(as_llm)] = None
    name: str | None = None
    verbose: bool = False

    # Two agents with equal texts are still two agents.
    __hash__ = object.__hash__

    def __eq__(self, other: object) -> bool:
        return self is other

    @property
    def model(self) -> LLM | None:
        """The model of the agent, None for the run's default."""
        return cast("LLM | None", self.llm)  # the validator leaves nothing else

    @property
    def placeholders(self) -> frozenset[str]:
        """The names that the agent's texts need."""
        return frozenset().union(*(compile_template(text).names for text in (self.role, self.goal, self.backstory)))

    def persona(self, inputs: Mapping[str, Any] | None) -> Persona:
        """The agent's texts with `inputs` filled in; without inputs as they stand."""
        if not inputs:
            return Persona(self.role.strip(), self.goal, self.backstory)
        where = f"agents.{self.name or self.role.strip()}"
        return Persona(
            compile_template(self.role).render(inputs, f"{where}.role").strip(),
            compile_template(self.goal).render(inputs, f"{where}.goal"),
            compile_template(self.backstory).render(inputs, f"{where}.backstory"),
        )

    async def perform(
        self, persona: Persona, prompt: str, kickoff: Kickoff, tally: Tally
    ) -> tuple[Completion, tuple[Message, ...]]:
        """Answer `prompt` as `persona`: the answer, and the conversation that led to it.

        What it costs goes into `tally`. Raises CallError.
        """
        messages = (Message("system", system_prompt(persona)), Message("user", prompt))
        return await kickoff.gateway.complete(self.model, messages, tally), messages
