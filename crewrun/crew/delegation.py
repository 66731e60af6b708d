"""Delegation: the two tools with which an agent hands work to a coworker, and the team that it chooses from."""

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

from pydantic import BaseModel, Field

from crewrun.crew.agent import Agent
from crewrun.crew.kickoff import Kickoff, current_kickoff
from crewrun.crew.prompts import user_prompt, with_context, with_passages
from crewrun.errors import suggest
from crewrun.tools.base import BaseTool
from crewrun.tools.toolbox import Toolbox

# How deep delegated work may be delegated again: without a bound, agents that delegate to each other never stop.
MAX_DEPTH = 3


class Team:
    """The agents of a crew as coworkers of each other. Toolboxes are cached, unless a role has a placeholder."""

    def __init__(self, agents: Sequence[Agent]) -> None:
        self.agents = tuple(agents)
        # By the ids of a toolbox and agents. The entry refers to that toolbox, so that no other can get its id.
        self._toolboxes: dict[tuple[int, ...], tuple[Toolbox, Toolbox]] = {}

    def toolbox_of(self, agent: Agent, own: Toolbox, kickoff: Kickoff) -> Toolbox:
        """`own` with the delegation tools, if `agent` may delegate and has coworkers."""
        if not agent.allow_delegation:
            return own
        return self.toolbox_for(own, tuple(other for other in self.agents if other is not agent), kickoff)

    def toolbox_for(self, own: Toolbox, coworkers: tuple[Agent, ...], kickoff: Kickoff) -> Toolbox:
        """`own` with the tools that delegate to `coworkers`, unless this work is delegated too deep already."""
        if not coworkers or kickoff.depth >= MAX_DEPTH:
            return own
        if kickoff.inputs and any(agent.templates["role"].varies for agent in coworkers):
            return _with_delegation(own, coworkers, kickoff.inputs)
        key = (id(own), *map(id, coworkers))
        if key not in self._toolboxes:
            self._toolboxes[key] = (_with_delegation(own, coworkers, None), own)
        return self._toolboxes[key][0]


def _with_delegation(own: Toolbox, coworkers: tuple[Agent, ...], inputs: Mapping[str, Any] | None) -> Toolbox:
    roles = "; ".join(agent.persona(inputs).role for agent in coworkers)
    know = "They know nothing of your task, so say everything in full and give all the context they need."
    delegate = DelegateWork(
        name="delegate_work_to_coworker",
        description=f"Hand a piece of work to one of these coworkers: {roles}. {know}",
        coworkers=coworkers,
    )
    ask = AskQuestion(
        name="ask_question_to_coworker",
        description=f"Ask one of these coworkers a question: {roles}. {know}",
        coworkers=coworkers,
    )
    both = Toolbox([delegate, ask])
    # The agent's own tools keep their prepared schemas.
    both.tools = {**own.tools, **both.tools}
    both.specs = (*own.specs, *both.specs)
    both.deferred = own.deferred
    return both


class WorkArguments(BaseModel):
    """What delegated work is described by."""

    task: str = Field(description="the work, in full")
    context: str = Field(default="", description="all that the coworker needs to know for it")
    coworker: str = Field(default="", description="the role of the coworker")


class QuestionArguments(BaseModel):
    """What a question is made of."""

    question: str = Field(description="the question, in full")
    context: str = Field(default="", description="all that the coworker needs to know to answer it")
    coworker: str = Field(default="", description="the role of the coworker")


class _CoworkerTool(BaseTool):
    replay: bool = False
    calls_models: ClassVar[bool] = True
    coworkers: tuple[Agent, ...] = Field(repr=False)
    # No time limit: a coworker's work has its own.
    timeout_s: float | None = None

    async def _hand_over(self, what: str, expected: str, context: str, coworker: str) -> str:
        kickoff = current_kickoff.get()
        if kickoff is None:
            raise RuntimeError(f"{self.name} is for agents of a running crew")
        personas = [agent.persona(kickoff.inputs) for agent in self.coworkers]
        key = _key(coworker) if coworker or len(personas) > 1 else _key(personas[0].role)
        chosen = next((i for i, persona in enumerate(personas) if _key(persona.role) == key), None)
        if chosen is None:
            roles = [persona.role for persona in personas]
            return f"There is no coworker {coworker!r}{suggest(coworker, roles)}. Coworkers: {'; '.join(roles)}."
        agent = self.coworkers[chosen]
        inner = kickoff._replace(depth=kickoff.depth + 1)
        background = kickoff.background(agent)
        toolbox = background.toolbox(agent.toolbox)
        if kickoff.team:
            toolbox = kickoff.team().toolbox_of(agent, toolbox, inner)
        before = user_prompt(what, expected)
        if passages := await background.chosen_for(what, inner.gateway, inner.row_context):
            before = with_passages(before, passages)
        before = with_context(before) if context else before
        prompt = agent.compose(personas[chosen], before, context, background.system_text(agent.toolbox))
        prompt = prompt._replace(parts=kickoff.parts)  # images cannot be passed on in words
        return (await agent.perform(prompt, inner, inner.row_context, toolbox, None)).text


class DelegateWork(_CoworkerTool):
    """Hands a piece of work to a coworker."""

    args_schema: type[BaseModel] | None = WorkArguments

    async def _arun(self, task: str, context: str, coworker: str) -> str:
        return await self._hand_over(task, "Your best answer to the coworker who gave you this", context, coworker)


class AskQuestion(_CoworkerTool):
    """Asks a coworker something."""

    args_schema: type[BaseModel] | None = QuestionArguments

    async def _arun(self, question: str, context: str, coworker: str) -> str:
        return await self._hand_over(question, "A direct and complete answer to the question", context, coworker)


def _key(role: str) -> str:
    """`role` for comparison, which ignores case, blanks and quotes."""
    return "".join(role.split()).strip("\"'").casefold()
