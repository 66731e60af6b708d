"""CrewAI's import path for `CrewStructuredTool`, which turns a function into a tool without a decorator."""

import inspect
from collections.abc import Callable
from typing import Any, Self

from pydantic import BaseModel

from crewrun.errors import DefinitionError
from crewrun.tools.base import FunctionTool
from crewrun.tools.schema import documented

__all__ = ["CrewStructuredTool"]


class CrewStructuredTool(FunctionTool):
    """A function as a tool; `from_function` takes defaults from the function, as `@tool` does."""

    @classmethod
    def from_function(
        cls,
        func: Callable[..., Any],
        name: str | None = None,
        description: str | None = None,
        return_direct: bool = False,
        args_schema: type[BaseModel] | None = None,
        **options: Any,
    ) -> Self:
        """A tool that calls `func`. With `return_direct` its result is the agent's answer.

        `options` are the fields of `BaseTool`; others have no effect. Raises DefinitionError without a description.
        """
        name = name or str(getattr(func, "__name__", type(func).__name__))
        description = inspect.cleandoc(description) if description else documented(func)
        if not description:
            raise DefinitionError(f"tool {name!r} has no description, and its function no docstring; write one of them")
        options = {"result_as_answer": return_direct, **options}
        tool = cls(name=name, description=description, func=func, args_schema=args_schema, **options)
        tool.args_schema = tool.arguments
        return tool
