"""`Crew(config=…)`, CrewAI's oldest form: a dict, or JSON text, with lists of agents and of tasks.

A task names its agent by the role. Besides them only `process` is used, as in CrewAI.
"""

import json
from collections.abc import Mapping
from typing import Any

from crewrun.crew.agent import Agent
from crewrun.crew.task import Task
from crewrun.errors import DefinitionError, suggest


def with_config(fields: dict[str, Any]) -> dict[str, Any]:
    """The constructor arguments `fields` of a crew with the agents, tasks and process of its `config`.

    They replace the crew's own, as in CrewAI. Raises DefinitionError.
    """
    config = fields.get("config")
    rest = {name: value for name, value in fields.items() if name != "config"}
    if not config:
        return rest
    parts = _read(config)
    agents = [Agent(**_mapping(agent, f"agents[{i}]")) for i, agent in enumerate(_list(parts, "agents"))]
    tasks = [_task(_mapping(task, f"tasks[{i}]"), i, agents) for i, task in enumerate(_list(parts, "tasks"))]
    process = {"process": parts["process"]} if "process" in parts else {}
    return {**rest, **process, "agents": agents, "tasks": tasks}


def _read(config: Any) -> Mapping[str, Any]:
    if isinstance(config, str | bytes):
        try:
            config = json.loads(config)
        except ValueError as wrong:
            raise DefinitionError(f"config is a dict, or the text of a JSON object: {wrong}") from None
    return _mapping(config, "")


def _list(fields: Mapping[str, Any], name: str) -> list[Any]:
    value = fields.get(name)
    if not isinstance(value, list | tuple) or not value:
        raise DefinitionError(f"config.{name}: a crew's config has a list of agents and one of tasks")
    return list(value)


def _mapping(value: Any, where: str) -> Mapping[str, Any]:
    if not isinstance(value, Mapping):
        place = f"config.{where}" if where else "config"
        raise DefinitionError(f"{place} is a mapping of names to values, not a {type(value).__name__}")
    return value


def _task(fields: Mapping[str, Any], position: int, agents: list[Agent]) -> Task:
    role = str(fields.get("agent") or "").strip()
    agent = next((agent for agent in agents if agent.role.strip() == role), None)
    if agent is None:
        roles = [agent.role.strip() for agent in agents]
        raise DefinitionError(
            f"config.tasks[{position}].agent: no agent has the role {role!r}{suggest(role, roles)}; "
            f"roles are {', '.join(map(repr, roles))}"
        )
    return Task(**{**fields, "agent": agent})
