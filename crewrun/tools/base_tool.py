"""CrewAI's import path for `BaseTool`, `Tool` and `@tool`, and its `EnvVar`."""

from pydantic import BaseModel

from crewrun.tools.base import BaseTool, tool
from crewrun.tools.base import FunctionTool as Tool

__all__ = ["BaseTool", "EnvVar", "Tool", "tool"]


class EnvVar(BaseModel):
    """An environment variable that a tool declares, in `env_vars`."""

    name: str
    description: str
    required: bool = True
    default: str | None = None
