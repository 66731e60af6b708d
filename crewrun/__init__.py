"""crewrun runs a crew of LLM agents over every line of a JSONL file.

The public names, resolved when first used: `import crewrun` costs next to nothing.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from crewrun._version import __version__

if TYPE_CHECKING:
    from crewrun.crew.agent import Agent
    from crewrun.crew.crew import Crew
    from crewrun.crew.output import CrewOutput, TaskOutput, UsageMetrics
    from crewrun.crew.process import Process
    from crewrun.crew.task import Task
    from crewrun.errors import CallError, CrewrunError, DefinitionError, ForEachError, InputInvalid, UsageError
    from crewrun.llm.gateway import Gateway, GatewayOptions
    from crewrun.llm.model import LLM
    from crewrun.llm.retry import RetryPolicy

__all__ = [
    "LLM",
    "Agent",
    "CallError",
    "Crew",
    "CrewOutput",
    "CrewrunError",
    "DefinitionError",
    "ForEachError",
    "Gateway",
    "GatewayOptions",
    "InputInvalid",
    "Process",
    "RetryPolicy",
    "Task",
    "TaskOutput",
    "UsageError",
    "UsageMetrics",
    "__version__",
]

_HOME = {
    "LLM": "crewrun.llm.model",
    "Agent": "crewrun.crew.agent",
    "CallError": "crewrun.errors",
    "Crew": "crewrun.crew.crew",
    "CrewOutput": "crewrun.crew.output",
    "CrewrunError": "crewrun.errors",
    "DefinitionError": "crewrun.errors",
    "ForEachError": "crewrun.errors",
    "Gateway": "crewrun.llm.gateway",
    "GatewayOptions": "crewrun.llm.gateway",
    "InputInvalid": "crewrun.errors",
    "Process": "crewrun.crew.process",
    "RetryPolicy": "crewrun.llm.retry",
    "Task": "crewrun.crew.task",
    "TaskOutput": "crewrun.crew.output",
    "UsageError": "crewrun.errors",
    "UsageMetrics": "crewrun.crew.output",
}


def __getattr__(name: str) -> Any:
    home = _HOME.get(name)
    if home is None:
        raise AttributeError(f"module 'crewrun' has no attribute {name!r}")
    value = globals()[name] = getattr(import_module(home), name)
    return value


def __dir__() -> list[str]:
    return sorted(__all__)
