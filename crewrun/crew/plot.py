"""A crew's tasks as a diagram: their order, the outputs that each gets, and the agents that perform them."""

from collections.abc import Iterator
from textwrap import shorten

from crewrun.crew.crew_definition import CrewDefinition
from crewrun.crew.process import Process, task_name
from crewrun.crew.task import ConditionalTask, Task
from crewrun.diagram import Diagram, Edge, Node, Table
from crewrun.diagram.image import image_url
from crewrun.diagram.text import wrapped
from crewrun.notebook.card import Card, Grid

LEGEND = {
    "task": "a task, and the agent that performs it",
    "async": "an async task: runs together with its neighbours",
    "all": "comes after, and gets the outputs of all tasks before",
    "context": "gets this output, and only those drawn so",
    "order": "comes after, and does not get its output",
}


def diagram_of(crew: CrewDefinition, title: str) -> Diagram:
    """The diagram of `crew` with `title`."""
    names = {task: task_name(task, position) for position, task in enumerate(crew.tasks)}
    ids = {task: f"task {position}" for position, task in enumerate(crew.tasks, 1)}
    manager = crew.agents_at_work[0] if crew.process is Process.hierarchical else None
    doers = {task: _doer(task, manager.role.strip() if manager else None) for task in crew.tasks}
    nodes = [
        Node(
            ids[task],
            names[task],
            "async" if task.async_execution else "task",
            tag=" · ".join(_tags(task)),
            lines=wrapped(doers[task]),
            tip=f"{names[task]}\n{' '.join(task.description.split())}",
        )
        for task in crew.tasks
    ]
    return Diagram(
        title,
        _caption(crew),
        tuple(nodes),
        tuple(Edge(ids[a], ids[b], kind) for a, b, kind in _edges(crew.tasks)),
        LEGEND,
        Table(
            ("task", "agent", "gets", "description"),
            tuple(
                (names[task], doers[task], _gets(task, names), shorten(task.description, 120, placeholder=" …"))
                for task in crew.tasks
            ),
        ),
    )


def card_of(crew: CrewDefinition) -> Card:
    """What a notebook shows of `crew`: its picture, agents and tasks."""
    diagram = diagram_of(crew, crew.name or "Crew")
    agents = tuple(
        (one.role, one.goal, one.model.model if one.model else "", ", ".join(tool.name for tool in one.tools))
        for one in crew.coworkers
    )
    return Card(
        f"Crew {crew.name or ''}".strip(),
        (diagram.caption,),
        picture=image_url(diagram) if crew.tasks else "",
        grids=(Grid(("agent", "goal", "model", "tools"), agents), Grid(diagram.table.heads, diagram.table.rows)),
    )


def _doer(task: Task, manager: str | None) -> str:
    own = task.agent.role.strip() if task.agent else ""
    if manager is None:
        return own
    return f"{manager} → {own}" if own else f"{manager} → any agent"


def _tags(task: Task) -> Iterator[str]:
    if task.async_execution:
        yield "async"
    if isinstance(task, ConditionalTask):
        yield "if due"
    if task.all_guardrails:
        yield "guarded"
    if task.schema_of_output is not None:
        yield "JSON"


def _caption(crew: CrewDefinition) -> str:
    tasks, agents = len(crew.tasks), len(crew.agents_at_work)
    return f"{crew.process}: {tasks} task{'' if tasks == 1 else 's'}, {agents} agent{'' if agents == 1 else 's'}"


def _gets(task: Task, names: dict[Task, str]) -> str:
    if task.context is None:
        return "all outputs before it"
    return ", ".join(names[other] for other in task.context) or "nothing"


def _edges(tasks: list[Task]) -> Iterator[tuple[Task, Task, str]]:
    """Edges between tasks: the outputs that each gets, and the order where it does not get the one before."""
    before: list[Task] = []  # the tasks that the next one that is not async waits for
    last: list[Task] = []  # the tasks that the async ones since then come after
    for task in tasks:
        after = last if task.async_execution else before or last
        context = task.context or []
        yield from ((other, task, "context") for other in dict.fromkeys(context))
        kind = "all" if task.context is None else "order"
        yield from ((other, task, kind) for other in after if other not in context)
        if task.async_execution:
            before.append(task)
        else:
            before, last = [], [task]
