"""Other libraries' tools, such as CrewAI's and LangChain's: anything with a name, a description and a method to run."""

from collections.abc import Callable
from inspect import isclass
from typing import Any, ClassVar

from pydantic import BaseModel, ValidationError

from crewrun.errors import DefinitionError
from crewrun.redaction.redactor import learn
from crewrun.redaction.values import secrets_in
from crewrun.tools.base import BaseTool, FunctionTool, tool, unset_variables
from crewrun.tools.deferred import DeferredToolList

# In order of preference. LangChain's `func` and `coroutine` are the user's own function; its `_run` and `_arun` need a
# config.
_ENTRY_POINTS = ("coroutine", "func", "_run", "_arun", "run", "arun")
# Classes whose async method only raises, or only calls the sync one in a thread.
_BASES = frozenset({"BaseTool", "StructuredTool", "Tool"})


class _LangChainTool(FunctionTool):
    """A tool of LangChain's, which gets nested arguments as pydantic objects."""

    takes_objects: ClassVar[bool] = True


def as_tool(value: Any) -> BaseTool:
    """`value` as a BaseTool. It may be one, a class of one, a function, or another library's tool.

    Raises DefinitionError for anything else.
    """
    if isinstance(value, BaseTool):
        return value
    if isclass(value) and issubclass(value, BaseTool):
        return _instance(value)
    name, description = getattr(value, "name", None), getattr(value, "description", None)
    if isinstance(name, str) and isinstance(description, str) and not isclass(value):
        learn(secrets_in({"tool": value, **getattr(value, "__dict__", {})}))
        schema = getattr(value, "args_schema", None)
        kind = _LangChainTool if _is_langchain(value) else FunctionTool
        return kind(
            name=name,
            description=_purpose(description),
            func=_entry_point(value, name),
            args_schema=schema if isclass(schema) and issubclass(schema, BaseModel) else None,
            result_as_answer=getattr(value, "result_as_answer", None) or getattr(value, "return_direct", False) is True,
            max_usage_count=_count(getattr(value, "max_usage_count", None)),
            env_vars=_variables(value),
        )
    if callable(value) and not isclass(value):
        function_tool: BaseTool = tool(value)
        return function_tool
    raise DefinitionError(
        f"{value!r} is no tool; a tool is a BaseTool, a function with a docstring, "
        "or an object with name, description and _run"
    )


def _is_langchain(value: Any) -> bool:
    return hasattr(value, "return_direct") and not hasattr(value, "result_as_answer")


def _instance(kind: type[BaseTool]) -> BaseTool:
    try:
        return kind()  # type: ignore[call-arg]  # a subclass has a name and a description of its own
    except ValidationError as incomplete:
        missing = ", ".join(".".join(map(str, fault["loc"])) for fault in incomplete.errors())
        raise DefinitionError(f"tool {kind.__name__} cannot be made without arguments: {missing}") from None


def as_tools(values: Any) -> Any:
    """The tools of a `tools=` field; None is no tools. Pydantic refuses what is not a list."""
    if values is None:
        return []
    if isinstance(values, DeferredToolList):
        return values.deferred
    return [as_tool(value) for value in values] if isinstance(values, list | tuple) else values


def _entry_point(value: Any, name: str) -> Callable[..., Any]:
    for attribute in _ENTRY_POINTS:
        function = getattr(value, attribute, None)
        if callable(function) and not _is_inherited(value, attribute):
            return function  # type: ignore[no-any-return]  # an attribute of the other library
    names = ", ".join(_ENTRY_POINTS)
    raise DefinitionError(f"tool {name!r} ({type(value).__name__}) has nothing to run: none of {names}")


def _is_inherited(value: Any, method: str) -> bool:
    """Whether `method` is inherited from the other library's base class, and not the tool's own."""
    owner = next((c for c in type(value).__mro__ if method in vars(c)), None)
    return owner is not None and owner.__name__ in _BASES


def _purpose(description: str) -> str:
    """The description alone. CrewAI puts name, arguments and description into one text; requests have the first two."""
    marker = "Tool Description: "
    return description.partition(marker)[2].strip() if marker in description else description


def _variables(value: Any) -> list[Any]:
    """The variables that a tool declares, without those whose values it has in attributes."""
    declared = getattr(value, "env_vars", None)
    if not isinstance(declared, list | tuple):
        return []
    return [variable for variable in declared if unset_variables([variable], value)]


def _count(value: Any) -> int | None:
    return value if isinstance(value, int) and value > 0 else None
