"""crewrun runs a crew of LLM agents over every line of a JSONL file.

The public names, resolved when first used: `import crewrun` costs next to nothing.
"""

import sys

from crewrun._version import __version__

# As in `typing`, which takes longer to import than all of this. Until the command has taken the signals over, Ctrl-C is
# answered by Python, with a traceback.
TYPE_CHECKING = False

if TYPE_CHECKING:
    from importlib.machinery import ModuleSpec
    from typing import Any

    from crewrun.api.batch import arun_batch, run_batch
    from crewrun.api.run import Run
    from crewrun.compat.base_llm import BaseLLM
    from crewrun.crew.agent import Agent
    from crewrun.crew.crew import Crew
    from crewrun.crew.output import AgentOutput, CrewOutput, TaskOutput, UsageMetrics
    from crewrun.crew.process import Process
    from crewrun.crew.task import ConditionalTask, Task
    from crewrun.errors import (
        BatchFailed,
        CallError,
        CrewrunError,
        CrewrunWarning,
        DefinitionError,
        ForEachError,
        GuardrailFailed,
        InputInvalid,
        RunHeld,
        ToolFailed,
        UsageError,
    )
    from crewrun.flow.flow import Flow
    from crewrun.limits.retry import RetryPolicy
    from crewrun.llm.gateway import Gateway
    from crewrun.llm.model import LLM
    from crewrun.llm.options import GatewayOptions

__all__ = [
    "LLM",
    "Agent",
    "AgentOutput",
    "BaseLLM",
    "BatchFailed",
    "CallError",
    "ConditionalTask",
    "Crew",
    "CrewOutput",
    "CrewrunError",
    "CrewrunWarning",
    "DefinitionError",
    "Flow",
    "ForEachError",
    "Gateway",
    "GatewayOptions",
    "GuardrailFailed",
    "InputInvalid",
    "Process",
    "RetryPolicy",
    "Run",
    "RunHeld",
    "Task",
    "TaskOutput",
    "ToolFailed",
    "UsageError",
    "UsageMetrics",
    "__version__",
    "arun_batch",
    "run_batch",
]

_HOME = {
    "LLM": "crewrun.llm.model",
    "Agent": "crewrun.crew.agent",
    "AgentOutput": "crewrun.crew.output",
    "BaseLLM": "crewrun.compat.base_llm",
    "BatchFailed": "crewrun.errors",
    "CallError": "crewrun.errors",
    "ConditionalTask": "crewrun.crew.task",
    "Crew": "crewrun.crew.crew",
    "CrewOutput": "crewrun.crew.output",
    "CrewrunError": "crewrun.errors",
    "CrewrunWarning": "crewrun.errors",
    "DefinitionError": "crewrun.errors",
    "Flow": "crewrun.flow.flow",
    "ForEachError": "crewrun.errors",
    "Gateway": "crewrun.llm.gateway",
    "GatewayOptions": "crewrun.llm.gateway",
    "GuardrailFailed": "crewrun.errors",
    "InputInvalid": "crewrun.errors",
    "Process": "crewrun.crew.process",
    "RetryPolicy": "crewrun.limits.retry",
    "Run": "crewrun.api.run",
    "RunHeld": "crewrun.errors",
    "Task": "crewrun.crew.task",
    "TaskOutput": "crewrun.crew.output",
    "ToolFailed": "crewrun.errors",
    "UsageError": "crewrun.errors",
    "UsageMetrics": "crewrun.crew.output",
    "arun_batch": "crewrun.api.batch",
    "run_batch": "crewrun.api.batch",
}


class _AliasFinder:
    """Finds CrewAI's import paths below crewrun, such as `crewrun.tasks.task_output`, which are no files."""

    @staticmethod
    def find_spec(fullname: str, path: object = None, target: object = None) -> "ModuleSpec | None":
        """The spec of an alias. Called only where nothing else has found the module."""
        if not fullname.startswith("crewrun."):
            return None
        from crewrun.compat.aliases import alias_spec

        return alias_spec(fullname)


sys.meta_path.append(_AliasFinder)


def __getattr__(name: str) -> "Any":
    home = _HOME.get(name)
    if home is None:
        raise AttributeError(f"module 'crewrun' has no attribute {name!r}")
    from importlib import import_module

    value = globals()[name] = getattr(import_module(home), name)
    return value


def __dir__() -> list[str]:
    return sorted(__all__)
