"""`run_tasks`: runs a crew's tasks in order, each by its agent.

Adjacent async tasks run together, and the task after them waits for all of them.
"""

from collections.abc import Callable, Sequence
from enum import StrEnum
from functools import partial

from crewrun.aio.concurrency import call, gather
from crewrun.crew.agent import Agent
from crewrun.crew.delegation import Team
from crewrun.crew.kickoff import Kickoff
from crewrun.crew.output import TaskOutput
from crewrun.crew.prompts import CONTEXT_SEPARATOR, manager_texts
from crewrun.crew.task import ConditionalTask, Task
from crewrun.crew.task_run import TaskAssignment, fill_in, perform_task
from crewrun.errors import DefinitionError
from crewrun.llm.model import LLM
from crewrun.messages import Usage
from crewrun.row import TaskRecord

# Decides which agent performs a task in one kickoff, with which tools and texts.
Assign = Callable[[Task, str, Kickoff], TaskAssignment]


class Process(StrEnum):
    """Who performs the tasks of a crew: each its own agent, or a manager that delegates."""

    sequential = "sequential"
    hierarchical = "hierarchical"


def assign_sequential(task: Task, name: str, kickoff: Kickoff) -> TaskAssignment:
    """Each task is performed by its own agent."""
    agent = agent_of(task)
    background = kickoff.background(agent)
    own = task.toolbox(agent)
    toolbox = background.toolbox(own)
    if agent.allow_delegation and kickoff.team is not None:
        toolbox = kickoff.team().toolbox_of(agent, toolbox, kickoff)
    texts = fill_in(task, name, agent, kickoff)
    files, schema = kickoff.files.get(task, ()), task.schema_of_output
    return TaskAssignment(task, name, agent, toolbox, texts, schema, files, background, background.system_text(own))


def assign_to(manager: Agent) -> Assign:
    """Each task is performed by `manager`, which may delegate to the task's agent, or to all if it has none."""

    def assign(task: Task, name: str, kickoff: Kickoff) -> TaskAssignment:
        team = kickoff.team() if kickoff.team else Team(())
        coworkers = (task.agent,) if task.agent is not None else team.agents
        background = kickoff.background(manager)
        own = task.toolbox(manager)
        toolbox = team.toolbox_for(background.toolbox(own), coworkers, kickoff)
        texts = fill_in(task, name, manager, kickoff)
        files, schema = kickoff.files.get(task, ()), task.schema_of_output
        return TaskAssignment(
            task, name, manager, toolbox, texts, schema, files, background, background.system_text(own)
        )

    return assign


def make_manager(llm: LLM | None) -> Agent:
    """The manager of a crew that names only its manager's model."""
    role, goal, backstory = manager_texts()
    return Agent(name="manager", role=role, goal=goal, backstory=backstory, llm=llm, allow_delegation=True)


async def run_tasks(tasks: Sequence[Task], assign: Assign, kickoff: Kickoff) -> list[TaskOutput]:
    """Perform `tasks` in order and return their outputs in that order. The first failure ends the run and is raised.

    All texts are filled in before the first call, so that a mistake in the inputs costs nothing.
    """
    assignments = [assign(task, task_name(task, position), kickoff) for position, task in enumerate(tasks)]
    outputs: dict[Task, TaskOutput] = {}
    position = 0
    while position < len(tasks):
        task = tasks[position]
        if not task.async_execution:
            if isinstance(task, ConditionalTask) and not await _is_due(task, outputs):
                outputs[task] = _skipped(assignments[position], kickoff)
            else:
                outputs[task] = await perform_task(assignments[position], context_of(task, outputs, tasks), kickoff)
            position += 1
            continue
        together = _async_tasks(tasks, position)
        # Contexts are read before any of these runs: they do not see each other's outputs.
        jobs = [
            partial(perform_task, assignment, context_of(assignment.task, outputs, tasks), kickoff)
            for assignment in assignments[position : position + len(together)]
        ]
        results = await gather(jobs)
        outputs.update(zip(together, results, strict=True))
        position += len(together)
    return list(outputs.values())


async def _is_due(task: ConditionalTask, outputs: dict[Task, TaskOutput]) -> bool:
    # The crew's check refuses a conditional task that comes first.
    before = list(outputs.values())[-1]
    return bool(await call(task.condition, before))


def task_name(task: Task, position: int) -> str:
    """The task's name, or `task_<n>` counting from 1."""
    return task.name or f"task_{position + 1}"


def context_of(task: Task, outputs: dict[Task, TaskOutput], tasks: Sequence[Task]) -> str:
    """The earlier answers that are the context of `task`, as one text."""
    if task.context is None:
        return CONTEXT_SEPARATOR.join(output.raw for output in outputs.values() if output.raw)
    context = []
    for other in task.context:
        if other not in outputs and other in tasks:
            raise DefinitionError(f"task {task.label} has {other.label} as context, which is not an earlier task")
        context.append(outputs.get(other) or other.output)  # of another crew's task, the latest output
    return CONTEXT_SEPARATOR.join(output.raw for output in context if output is not None and output.raw)


def agent_of(task: Task) -> Agent:
    """The task's agent. DefinitionError without one."""
    if task.agent is None:
        raise DefinitionError(f"task {task.label} has no agent; a sequential crew needs one for every task")
    return task.agent


def _skipped(assignment: TaskAssignment, kickoff: Kickoff) -> TaskOutput:
    texts = assignment.texts
    kickoff.row_context.add_task(TaskRecord(assignment.name, texts.persona.role, "", 0, Usage(), skipped=True))
    return TaskOutput(
        raw="",
        description=texts.description,
        name=assignment.task.name,
        expected_output=texts.expected_output,
        agent=texts.persona.role,
    )


def _async_tasks(tasks: Sequence[Task], start: int) -> Sequence[Task]:
    """The async tasks from `start` on that run together: neighbours that do not have each other as context."""
    end = start + 1
    while end < len(tasks) and tasks[end].async_execution and not set(tasks[end].context or ()) & set(tasks[start:end]):
        end += 1
    return tasks[start:end]
