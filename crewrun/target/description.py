"""`describe_crew`: what `crewrun check` says about a crew."""

from typing import Any

from crewrun.crew.agent import Agent
from crewrun.crew.background import Background
from crewrun.crew.crew import Crew
from crewrun.crew.process import task_name
from crewrun.errors import UsageError
from crewrun.llm.gateway import Gateway
from crewrun.llm.model import LLM
from crewrun.messages import ReplySchema


def describe_crew(crew: Crew, gateway: Gateway) -> dict[str, Any]:
    """The process, the agents and the tasks, as JSON. An unresolved model has its name in the definition."""
    return {
        "process": str(crew.process),
        "agents": [_describe_agent(agent, crew, gateway) for agent in crew.agents_at_work],
        "tasks": [
            {
                "name": task_name(task, position),
                "agent": (task.agent.name or task.agent.role.strip()) if task.agent else None,
                "tools": [tool.name for tool in task.tools],
                "schema_in_words": task.schema_of_output is not None
                and not _takes(task.agent.model if task.agent else None, task.schema_of_output.wire, gateway),
            }
            for position, task in enumerate(crew.tasks)
        ],
    }


def _describe_agent(agent: Agent, crew: Crew, gateway: Gateway) -> dict[str, Any]:
    return {
        "name": agent.name or agent.role.strip(),
        "role": agent.role.strip(),
        "model": _model_name(agent.model, gateway),
        "tools": list(agent.toolbox.tools),
        "tools_in_words": _has_tools(agent, crew) and not _takes(agent.model, None, gateway),
        **_background(crew.background_of(agent)),
    }


def _background(background: Background) -> dict[str, Any]:
    """An agent's knowledge in numbers, and its skills by name."""
    base, skills = background.knowledge, background.skills
    knowledge = None
    if base is not None:
        knowledge = {
            "sources": base.source_count,
            "tokens": base.tokens,
            "in_prompt": "whole" if base.whole else "passages",
            "chosen_by": None if base.whole else background.embedded.embedder.model if background.embedded else "words",
            "passages": len(base.passages),
            "max_tokens": base.config.max_tokens,
            "results_limit": base.config.results_limit,
        }
    return {"knowledge": knowledge, "skills": [skill.name for skill in skills.skills] if skills is not None else []}


def _has_tools(agent: Agent, crew: Crew) -> bool:
    return bool(agent.toolbox or agent.mcps) or any(task.tools for task in crew.tasks if task.agent is agent)


def _takes(llm: LLM | None, schema: ReplySchema | None, gateway: Gateway) -> bool:
    """Whether the model supports a schema, or tools if `schema` is None. True if it is not known which model it is."""
    try:
        return gateway.takes_tools(llm) if schema is None else gateway.takes_schema(llm, schema)
    except UsageError:
        return True


def _model_name(llm: LLM | None, gateway: Gateway) -> str:
    try:
        return gateway.endpoint(llm).name
    except UsageError:
        return str(llm.model) if llm is not None else "?"
