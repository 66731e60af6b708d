"""`Crew`: agents and their tasks, and the kickoff family. A definition: no run ever writes to it."""

from collections.abc import Iterable, Mapping
from typing import Any, Literal, overload

from pydantic import BaseModel, ConfigDict, Field, PrivateAttr

from crewrun.crew.agent import Agent
from crewrun.crew.for_each import OnOutcome, for_each
from crewrun.crew.kickoff import Kickoff
from crewrun.crew.output import CrewOutput, UsageMetrics
from crewrun.crew.process import Process, agent_of, run_sequential, task_label
from crewrun.crew.sync import run_sync
from crewrun.crew.task import Task
from crewrun.errors import DefinitionError
from crewrun.llm.gateway import open_gateway
from crewrun.llm.model import LLM
from crewrun.llm.tally import Tally, current_tally
from crewrun.templates import check_inputs

Inputs = Mapping[str, Any]


class Crew(BaseModel):
    """Agents and the tasks they perform, in order.

    One crew object serves any number of kickoffs at once; each has its own texts, outputs and account.
    `default_inputs` fill placeholders that a kickoff's inputs leave open.
    """

    model_config = ConfigDict(extra="forbid")

    agents: list[Agent] = Field(default_factory=list)
    tasks: list[Task] = Field(default_factory=list)
    process: Process = Process.sequential
    name: str | None = None
    verbose: bool = False
    default_inputs: dict[str, Any] = Field(default_factory=dict)

    _latest: Tally = PrivateAttr(default_factory=Tally)

    __hash__ = object.__hash__

    def __eq__(self, other: object) -> bool:
        return self is other

    def model_post_init(self, context: Any, /) -> None:
        """Refuse a wrong crew when it is made."""
        self.check()

    def check(self) -> None:
        """Raise DefinitionError unless every task has an agent and reads only tasks before it."""
        if not self.tasks:
            raise DefinitionError("the crew has no tasks")
        seen: set[Task] = set()
        for task in self.tasks:
            agent_of(task)
            if task in seen:
                raise DefinitionError(f"task {task_label(task)} is in the crew twice")
            for other in task.context or ():
                if other not in seen:
                    raise DefinitionError(
                        f"task {task_label(task)} has {task_label(other)} as context, which is not an earlier task"
                    )
            seen.add(task)

    @property
    def placeholders(self) -> dict[str, str]:
        """The inputs that a kickoff must have, each with the first place that needs it."""
        needed: dict[str, str] = {}
        for position, task in enumerate(self.tasks):
            agent = agent_of(task)
            for name in sorted(task.placeholders):
                needed.setdefault(name, f"task {task.name or position + 1!r}")
            for name in sorted(agent.placeholders):
                needed.setdefault(name, f"agent {agent.name or agent.role.strip()!r}")
        return {name: place for name, place in needed.items() if name not in self.default_inputs}

    @property
    def models(self) -> list[tuple[str, LLM | None]]:
        """Every model that a kickoff may call, each with the agent that uses it; None is the default model."""
        agents = dict.fromkeys(agent_of(task) for task in self.tasks)
        return [(agent.name or agent.role.strip(), agent.model) for agent in agents]

    @property
    def usage_metrics(self) -> UsageMetrics:
        """What the latest kickoff used, or all inputs of the latest for-each together."""
        return UsageMetrics.of(self._latest)

    async def akickoff(self, inputs: Inputs | None = None) -> CrewOutput:
        """Run the crew once and return its answer.

        Raises InputInvalid (a ValueError) when a placeholder has no value, CallError when a model call fails for good.
        """
        tally = self._latest = Tally(current_tally())
        return await self._run(inputs, tally)

    kickoff_async = akickoff

    def kickoff(self, inputs: Inputs | None = None) -> CrewOutput:
        """`akickoff` for code without an event loop. RuntimeError inside a running one."""
        return run_sync("kickoff", "akickoff", self.akickoff, inputs)

    @overload
    async def akickoff_for_each(
        self,
        inputs: Iterable[Inputs],
        *,
        max_concurrent: int | None = None,
        return_exceptions: Literal[False] = False,
        on_outcome: OnOutcome | None = None,
    ) -> list[CrewOutput]: ...

    @overload
    async def akickoff_for_each(
        self,
        inputs: Iterable[Inputs],
        *,
        max_concurrent: int | None = None,
        return_exceptions: bool,
        on_outcome: OnOutcome | None = None,
    ) -> list[CrewOutput | Exception]: ...

    async def akickoff_for_each(
        self,
        inputs: Iterable[Inputs],
        *,
        max_concurrent: int | None = None,
        return_exceptions: bool = False,
        on_outcome: OnOutcome | None = None,
    ) -> Any:
        """Run the crew once per input, concurrently; the answers in input order.

        Every input runs to its end whatever becomes of the others. Then, if any failed, one ForEachError whose
        `results` holds output or exception per input; with `return_exceptions` that list is returned instead.
        `max_concurrent` bounds how many run at once (None: all). `on_outcome(index, output_or_exception)` is called as
        each one ends.
        """
        tally = self._latest = Tally(current_tally())

        async def run(one: Inputs) -> CrewOutput:
            return await self._run(one, Tally(tally))

        async with open_gateway():
            return await for_each(run, inputs, max_concurrent, return_exceptions, on_outcome)

    kickoff_for_each_async = akickoff_for_each

    @overload
    def kickoff_for_each(
        self, inputs: Iterable[Inputs], *, return_exceptions: Literal[False] = False
    ) -> list[CrewOutput]: ...

    @overload
    def kickoff_for_each(
        self, inputs: Iterable[Inputs], *, return_exceptions: bool
    ) -> list[CrewOutput | Exception]: ...

    def kickoff_for_each(self, inputs: Iterable[Inputs], *, return_exceptions: bool = False) -> Any:
        """One kickoff per input, one after another, with the failure isolation of `akickoff_for_each`."""

        async def run() -> Any:
            return await self.akickoff_for_each(inputs, max_concurrent=1, return_exceptions=return_exceptions)

        return run_sync("kickoff_for_each", "akickoff_for_each", run)

    async def _run(self, inputs: Inputs | None, tally: Tally) -> CrewOutput:
        if inputs:
            check_inputs(inputs)
        filled = {**self.default_inputs, **(inputs or {})}
        async with open_gateway() as gateway:
            outputs = await run_sequential(self.tasks, Kickoff(filled or None, gateway, tally))
        last = next((output for output in reversed(outputs) if output.raw), outputs[-1])
        return CrewOutput(
            raw=last.raw,
            pydantic=last.pydantic,
            json_dict=last.json_dict,
            tasks_output=outputs,
            token_usage=UsageMetrics.of(tally),
        )
