"""How a crew's tasks follow each other: `run_sequential`.

Tasks go in the crew's order. A stretch of async tasks runs together and is awaited before what follows.
"""

from collections.abc import Sequence
from enum import StrEnum
from functools import partial

from crewrun.concurrency import gather
from crewrun.crew.agent import Agent
from crewrun.crew.kickoff import Kickoff
from crewrun.crew.output import TaskOutput
from crewrun.crew.prompts import CONTEXT_SEPARATOR, user_prompt
from crewrun.crew.task import Task
from crewrun.errors import DefinitionError
from crewrun.llm.tally import Tally
from crewrun.messages import Message
from crewrun.row import TaskRecord
from crewrun.templates import compile_template


class Process(StrEnum):
    """The order of work in a crew."""

    sequential = "sequential"


async def run_sequential(tasks: Sequence[Task], kickoff: Kickoff) -> list[TaskOutput]:
    """Perform `tasks` in order; their outputs in the same order. The first failure ends the run and is raised."""
    outputs: dict[Task, TaskOutput] = {}
    position = 0
    while position < len(tasks):
        task = tasks[position]
        if not task.async_execution:
            name = task_name(task, position)
            outputs[task] = await _perform(task, name, context_of(task, outputs), kickoff)
            position += 1
            continue
        stretch = _stretch(tasks, position)
        names = [task_name(task, position + i) for i, task in enumerate(stretch)]
        # Contexts are read before anything of the stretch runs: async siblings do not see each other.
        jobs = [
            partial(_perform, task, name, context_of(task, outputs), kickoff)
            for task, name in zip(stretch, names, strict=True)
        ]
        results = await gather(jobs)
        outputs.update(zip(stretch, results, strict=True))
        position += len(stretch)
    return list(outputs.values())


def task_name(task: Task, position: int) -> str:
    """The task's name, or `task_<n>` counting from 1."""
    return task.name or f"task_{position + 1}"


def context_of(task: Task, outputs: dict[Task, TaskOutput]) -> str:
    """The earlier answers that `task` sees, as one text."""
    try:
        seen = list(outputs.values()) if task.context is None else [outputs[t] for t in task.context]
    except KeyError as absent:
        raise DefinitionError(
            f"task {task_label(task)} has {task_label(absent.args[0])} as context, which is not an earlier task"
        ) from None
    return CONTEXT_SEPARATOR.join(output.raw for output in seen)


def task_label(task: Task) -> str:
    """How messages name a task that may have no name."""
    return repr(task.name or task.description.strip()[:40])


def agent_of(task: Task) -> Agent:
    """The task's agent. DefinitionError without one."""
    if task.agent is None:
        raise DefinitionError(f"task {task_label(task)} has no agent; a sequential crew needs one for every task")
    return task.agent


def _stretch(tasks: Sequence[Task], start: int) -> Sequence[Task]:
    """The async tasks from `start` on that run together: neighbours that do not read each other."""
    end = start + 1
    while end < len(tasks) and tasks[end].async_execution and not set(tasks[end].context or ()) & set(tasks[start:end]):
        end += 1
    return tasks[start:end]


async def _perform(task: Task, name: str, context: str, kickoff: Kickoff) -> TaskOutput:
    inputs = kickoff.inputs
    tally = Tally(kickoff.tally)
    try:
        agent = agent_of(task)
        persona = agent.persona(inputs)
        description, expected = task.description, task.expected_output
        if inputs:
            description = compile_template(description).render(inputs, f"tasks.{name}.description")
            expected = compile_template(expected).render(inputs, f"tasks.{name}.expected_output")
        completion, messages = await agent.perform(persona, user_prompt(description, expected, context), kickoff, tally)
    except BaseException:  # a cancelled task is where a row's time ran out
        kickoff.tally.failed_in(name)
        raise
    kickoff.tally.finished(
        TaskRecord(name, persona.role, completion.text, tally.calls, tally.usage, tally.truncated > 0)
    )
    return TaskOutput(
        raw=completion.text,
        description=description,
        name=task.name,
        expected_output=expected,
        summary=_summary(description),
        agent=persona.role,
        messages=[_as_dict(m) for m in (*messages, Message("assistant", completion.text))],
    )


def _summary(description: str) -> str:
    """The first ten words, as CrewAI makes it."""
    return " ".join(description.split(" ", 10)[:10]) + "..."


def _as_dict(message: Message) -> dict[str, str]:
    return {"role": message.role, "content": message.content}
