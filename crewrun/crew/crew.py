"""`Crew`: agents and their tasks, and one kickoff of them.

`crew_definition` has its fields and their checks, `family` the methods that start it.
"""

from collections.abc import Coroutine
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from crewrun.aio.concurrency import call
from crewrun.crew.background import has_background
from crewrun.crew.crew_definition import CrewDefinition
from crewrun.crew.delegation import Team
from crewrun.crew.family import Files, Inputs, KickoffFamily
from crewrun.crew.kickoff import Kickoff, LeftOpen, flow_files
from crewrun.crew.log_file import LogFile
from crewrun.crew.output import CrewOutput, UsageMetrics
from crewrun.crew.process import (
    Assign,
    Process,
    assign_sequential,
    assign_to,
    run_tasks,
    task_name,
)
from crewrun.crew.task import Task
from crewrun.crew.task_files import attach_files
from crewrun.crew.task_run import TaskAssignment, opening
from crewrun.errors import DefinitionError
from crewrun.files.attachment import Attachment
from crewrun.files.file import files_among
from crewrun.hooks.scope import hooks_of_a_crew
from crewrun.limits.windows import window_of
from crewrun.llm.gateway import Gateway
from crewrun.llm.shared_gateway import open_gateway
from crewrun.notebook.card import Card
from crewrun.notebook.displayed import Displayed
from crewrun.notebook.short_repr import counted, quoted, short_repr
from crewrun.row_context import RowContext
from crewrun.row_events import TargetRun, observed
from crewrun.templates import check_inputs


@dataclass(frozen=True, slots=True)
class TaskPreview:
    """The first request for a task, as `role` and `content` of each message."""

    task: str
    agent: str
    messages: list[dict[str, str]]


class Crew(CrewDefinition, KickoffFamily[CrewOutput], Displayed):
    """Agents and the tasks they perform, in order.

    One crew object serves any number of kickoffs at once; each has its own texts, outputs and usage.
    `default_inputs` fill placeholders that a kickoff's inputs leave open. In a hierarchical crew a manager performs
    every task and may delegate: `manager_agent`, or an agent created for `manager_llm`. `max_rpm` limits the requests
    per minute of all kickoffs of the process together. Every agent also has the crew's `knowledge_sources` and
    `skills`.

    Callbacks may be sync or async: `before_kickoff_callbacks` get the inputs and return changed ones, or None;
    `after_kickoff_callbacks` do the same with the output; `task_callback` gets every TaskOutput, `step_callback` every
    step of an agent. An exception in a callback fails the kickoff. `output_log_file` is a log of when tasks begin and
    end: a name, or True for logs.txt. `config` may have the agents, tasks and process, as a dict or JSON text.
    """

    if TYPE_CHECKING:
        # `config=` may have the required fields, so a type checker must not demand them as arguments.
        def __init__(self, **fields: Any) -> None: ...

    def __repr__(self) -> str:
        process = "" if self.process is Process.sequential else str(self.process)
        counts = counted(len(self.coworkers), "agent"), counted(len(self.tasks), "task")
        return short_repr(self, quoted(self.name or ""), *counts, process)

    __str__ = __repr__

    def _crewrun_card(self) -> Card:
        from crewrun.crew.plot import card_of  # the diagrams: a tenth of the time to import crews

        return card_of(self)

    def preview(self, inputs: Inputs | None = None) -> list[TaskPreview]:
        """The first request for each task, without calling a model; earlier outputs appear as `[output of …]`.

        Raises InputInvalid as a kickoff does.
        """
        previews: list[TaskPreview] = []
        names: dict[Task, str] = {}
        for assignment in self.assignments(inputs, Gateway(), reads_files=False):
            task, name = assignment.task, assignment.name
            context = (
                list(names.values())
                if task.context is None
                else [names.get(other, other.label) for other in task.context]
            )
            prompt = opening(assignment, "\n\n".join(f"[output of {other!r}]" for other in context))
            messages = [{"role": str(m.role), "content": m.shown} for m in prompt.messages()]
            previews.append(TaskPreview(name, assignment.texts.persona.role, messages))
            names[task] = name
        return previews

    def assignments(self, inputs: Inputs | None, gateway: Gateway, *, reads_files: bool = True) -> list[TaskAssignment]:
        """The agent, tools, texts and files that each task would have in a kickoff over `gateway`.

        Raises InputInvalid. `attach` says what happens without `reads_files`.
        """
        if inputs:
            check_inputs(inputs)
        kickoff = self._kickoff(inputs, gateway, RowContext())
        if self.has_files:
            kickoff = kickoff._replace(files=self._files_of_tasks({}, kickoff.inputs, reads=reads_files))
        assign = self._assign()
        return [assign(task, task_name(task, position), kickoff) for position, task in enumerate(self.tasks)]

    def _crewrun_kickoff(
        self, inputs: Inputs | None, row_context: RowContext, files: Files
    ) -> Coroutine[Any, Any, CrewOutput]:
        work = self._crewrun_run(inputs, row_context, files)
        if (emitter := row_context.emitter) is None:
            return work
        return observed(emitter.span("crew", self.name or "crew", TargetRun(self, inputs)), work)

    async def _crewrun_run(self, inputs: Inputs | None, row_context: RowContext, files: Files) -> CrewOutput:
        if not self.tasks:
            raise DefinitionError("the crew has no tasks")
        files = {**flow_files.get(), **files}
        inputs = await self._prepared(inputs, files)
        if inputs:
            if own := files_among(inputs):
                files |= own
                inputs = {name: value for name, value in inputs.items() if name not in own}
            check_inputs(inputs)
        if not self._is_read and has_background([self, *self.agents_at_work]):
            # The user's code has built this crew. In a thread: sources may use the network, and building the index
            # takes time.
            await call(self.check_knowledge)
        async with open_gateway() as gateway:
            kickoff = self._kickoff(inputs, gateway, row_context)
            if self.output_log_file:
                kickoff = kickoff._replace(log=LogFile(self.output_log_file))
            if files or self.has_files:
                kickoff = kickoff._replace(files=await call(self._files_of_tasks, files, kickoff.inputs))
            if (hooks := self.scoped_hooks) is None:
                outputs = await run_tasks(self.tasks, self._assign(), kickoff)
            else:
                with hooks_of_a_crew(hooks):
                    outputs = await run_tasks(self.tasks, self._assign(), kickoff)
        last = outputs[-1]
        if not last.raw:
            last = next((output for output in reversed(outputs) if output.raw), last)
        result = CrewOutput(raw=last.raw, tasks_output=outputs, token_usage=UsageMetrics.of(row_context.usage))
        if last.structured is not None or last.pydantic is not None or last.json_dict is not None:
            result.structured, result.pydantic, result.json_dict = last.structured, last.pydantic, last.json_dict
        for callback in self.after_kickoff_callbacks:
            replaced = await call(callback, result)
            result = result if replaced is None else replaced
        return result

    async def _prepared(self, inputs: Inputs | None, files: Files) -> Inputs | None:
        """The inputs after the callbacks, None to leave the texts as they are but for the names of `files`."""
        is_given = inputs is not None
        for callback in self.before_kickoff_callbacks:
            new_inputs = await call(callback, dict(inputs or {}))
            inputs = inputs if new_inputs is None else new_inputs
        return inputs if is_given or inputs else self._without_inputs(files)

    def _kickoff(self, inputs: Inputs | None, gateway: Gateway, row_context: RowContext) -> Kickoff:
        window = window_of(self, self.max_rpm) if self.max_rpm else None
        completed = None if inputs is None and not self.default_inputs else {**self.default_inputs, **(inputs or {})}
        return Kickoff(
            inputs=LeftOpen(completed) if completed is not None and row_context.is_in_flow else completed,
            gateway=gateway,
            row_context=row_context,
            windows=(window,) if window else (),
            on_step=(self.step_callback,) if self.step_callback else (),
            on_task=(self.task_callback,) if self.task_callback else (),
            team=self._the_team,
            first=next(iter(self.tasks), None) if self.process is Process.sequential else None,
            crew=self,
            background=self.background_of,
        )

    def _files_of_tasks(
        self, files: Files, inputs: Inputs | None, *, reads: bool = True
    ) -> dict[Task, tuple[Attachment, ...]]:
        return attach_files(self.tasks, files, inputs, self._folder, reads=reads)

    def _assign(self) -> Assign:
        return assign_sequential if self.process is Process.sequential else assign_to(self._the_manager())

    def _the_team(self) -> Team:
        coworkers = self.coworkers
        if self._team is None or self._team.agents != coworkers:
            self._team = Team(coworkers)
        return self._team
