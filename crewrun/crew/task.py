"""`Task`: what is to be done, by whom, and which earlier outputs it sees."""

from pydantic import BaseModel, ConfigDict

from crewrun.crew.agent import Agent
from crewrun.templates import compile_template


class Task(BaseModel):
    """One step of a crew. `description` and `expected_output` may contain `{placeholders}`.

    `context` None means every earlier task's output, `[]` none, a list just those tasks' outputs. With
    `async_execution` the task starts at once and is awaited before the next task that is not async, or at the end.
    """

    model_config = ConfigDict(extra="forbid")

    description: str
    expected_output: str
    agent: Agent | None = None
    name: str | None = None
    context: list["Task"] | None = None
    async_execution: bool = False

    # Tasks refer to each other by identity; two with equal texts are two tasks.
    __hash__ = object.__hash__

    def __eq__(self, other: object) -> bool:
        return self is other

    @property
    def placeholders(self) -> frozenset[str]:
        """The names that the task's own texts need, without its agent's."""
        return compile_template(self.description).names | compile_template(self.expected_output).names
