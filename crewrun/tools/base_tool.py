"""CrewAI's import path for `BaseTool`, `Tool` and `@tool`."""

from crewrun.tools.base import BaseTool, tool
from crewrun.tools.base import FunctionTool as Tool

__all__ = ["BaseTool", "Tool", "tool"]
