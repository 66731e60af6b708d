"""Checks on a crew when it is created: whether its tasks and its manager can work."""

import warnings
from collections.abc import Sequence
from typing import Any

from crewrun.crew.agent import Agent
from crewrun.crew.process import agent_of
from crewrun.crew.task import ConditionalTask, Task
from crewrun.errors import CrewrunWarning, DefinitionError


def check_tasks(tasks: Sequence[Task], *, is_sequential: bool) -> None:
    """Raise DefinitionError for a task that cannot be done; in a sequential crew also for one without an agent."""
    previous: set[Task] = set()
    for position, task in enumerate(tasks):
        agent = agent_of(task) if is_sequential else task.agent
        if agent is not None:
            task.toolbox(agent)
        if task in previous:
            raise DefinitionError(f"task {task.label} is in the crew twice")
        if task.human_input:
            raise DefinitionError(
                f"task {task.label} has human_input, and crewrun runs where nobody answers; take it out"
            )
        for other in task.context or ():
            # A task of another crew is allowed: its latest output is the context.
            if other not in previous and other in tasks:
                raise DefinitionError(f"task {task.label} has {other.label} as context, which is not an earlier task")
        if isinstance(task, ConditionalTask) and (position == 0 or task.async_execution):
            why = "cannot be async" if position else "needs a task before it, whose output decides"
            raise DefinitionError(f"task {task.label} is conditional, so it {why}")
        previous.add(task)


def check_manager(manager: Agent | None, manager_llm: Any, agents: Sequence[Agent]) -> None:
    """Raise DefinitionError for a hierarchical crew without a manager, or with one that is an agent or has tools."""
    if manager is None and manager_llm is None:
        raise DefinitionError("a hierarchical crew needs manager_llm or manager_agent")
    if manager is None:
        return
    if manager in agents:
        raise DefinitionError(
            f"manager_agent {manager.label} is among the agents; a manager only manages, so take it out of `agents`"
        )
    if manager.tools:
        raise DefinitionError(f"manager_agent {manager.label} has tools; a manager delegates, so give them to an agent")


def warn_of_equal_roles(coworkers: Sequence[Agent]) -> None:
    """Warn about coworkers with the same role: delegation goes by role, so the first gets all work, as in CrewAI."""
    by_role: dict[str, Agent] = {}
    for agent in coworkers:
        other = by_role.setdefault("".join(agent.role.split()).casefold(), agent)
        if other is not agent:
            warnings.warn(
                f"agents {other.label} and {agent.label} have the same role {agent.role.strip()!r}; "
                "delegation tells agents apart by their roles, so the first one gets the work of both",
                CrewrunWarning,
                stacklevel=7,
            )
