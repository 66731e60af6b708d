"""Calling models: what users write (`model`), the gateway that calls go through, and `transports` to providers.

The gateway is the run's (`current_gateway`), or one that all kickoffs outside any run share (`shared_gateway`).
"""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from crewrun.llm.model import LLM

# `from crewrun.llm import LLM` is CrewAI's spelling.
__all__ = ["LLM"]


def __getattr__(name: str) -> Any:
    if name != "LLM":
        raise AttributeError(f"module 'crewrun.llm' has no attribute {name!r}")
    from crewrun.llm.model import LLM

    return LLM
