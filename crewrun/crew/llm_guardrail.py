"""`LLMGuardrail`: a sentence as a guardrail, with a model of its own as the judge."""

from dataclasses import dataclass
from typing import Any, cast

from crewrun.crew.agent import Agent
from crewrun.crew.guardrails import Judgement
from crewrun.crew.output import AgentOutput, TaskOutput
from crewrun.crew.prompts import judge_prompt


@dataclass(frozen=True, slots=True)
class LLMGuardrail:
    """A guardrail of a task or an agent. `description` is the rule, `llm` is a model in any form that an agent takes.

    A plain sentence as the guardrail does the same with the agent's own model.
    """

    # CrewAI's path, which the fingerprints of existing runs have.
    __module__ = "crewrun.tasks.llm_guardrail"

    description: str
    llm: Any = None

    async def __call__(self, output: TaskOutput | AgentOutput) -> tuple[bool, str]:
        """Judge `output`: (True, the answer) or (False, what must change). Raises CallError."""
        judge = Agent(
            role="Judge of answers",
            goal="Say whether an answer keeps to a rule",
            backstory="You are exact and brief, and you add no rule of your own.",
            llm=self.llm,
        )
        task = getattr(output, "description", "")
        judgement = await judge.akickoff(judge_prompt(self.description, task, output.raw), response_format=Judgement)
        result = cast("Judgement", judgement.pydantic)
        if result.valid:
            return True, output.raw
        return False, result.feedback or f"it does not keep to: {self.description}"
