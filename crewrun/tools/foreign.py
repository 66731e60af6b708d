"""Other libraries' tools: anything with a name, a description and a way to run it, such as CrewAI's and LangChain's."""

from collections.abc import Callable
from inspect import isclass
from typing import Any, ClassVar

from pydantic import BaseModel, ValidationError

from crewrun.errors import DefinitionError
from crewrun.redaction.redactor import learn
from crewrun.redaction.values import secrets_in
from crewrun.tools.base import BaseTool, FunctionTool, tool, unset_variables

# In the order in which they are looked for. LangChain's `_run` and `_arun` want a config, where `func` and `coroutine`
# are the user's own function.
_ENTRANCES = ("coroutine", "func", "_run", "_arun", "run", "arun")
# Classes whose async entrance only raises, or only calls the sync one in a thread.
_BASES = frozenset({"BaseTool", "StructuredTool", "Tool"})


class _LangChainTool(FunctionTool):
    """A tool of LangChain's, whose nested arguments are objects."""

    takes_objects: ClassVar[bool] = True


def as_tool(value: Any) -> BaseTool:
    """`value` as a tool of ours: one already, a class of one, a function, or another library's tool.

    Raises DefinitionError for anything else.
    """
    if isinstance(value, BaseTool):
        return value
    if isclass(value) and issubclass(value, BaseTool):
        return _made(value)
    name, description = getattr(value, "name", None), getattr(value, "description", None)
    if isinstance(name, str) and isinstance(description, str) and not isclass(value):
        learn(secrets_in({"tool": value, **getattr(value, "__dict__", {})}))
        schema = getattr(value, "args_schema", None)
        kind = _LangChainTool if _is_langchain(value) else FunctionTool
        return kind(
            name=name,
            description=_purpose(description),
            func=_entrance(value, name),
            args_schema=schema if isclass(schema) and issubclass(schema, BaseModel) else None,
            result_as_answer=getattr(value, "result_as_answer", None) or getattr(value, "return_direct", False) is True,
            max_usage_count=_count(getattr(value, "max_usage_count", None)),
            env_vars=_variables(value),
        )
    if callable(value) and not isclass(value):
        made: BaseTool = tool(value)
        return made
    raise DefinitionError(
        f"{value!r} is no tool; a tool is a BaseTool, a function with a docstring, "
        "or an object with name, description and _run"
    )


def _is_langchain(value: Any) -> bool:
    return hasattr(value, "return_direct") and not hasattr(value, "result_as_answer")


def _made(kind: type[BaseTool]) -> BaseTool:
    try:
        return kind()  # type: ignore[call-arg]  # a subclass has a name and a description of its own
    except ValidationError as incomplete:
        missing = ", ".join(".".join(map(str, fault["loc"])) for fault in incomplete.errors())
        raise DefinitionError(f"tool {kind.__name__} cannot be made without arguments: {missing}") from None


def as_tools(values: Any) -> Any:
    """A list of tools out of what a `tools=` field is given; None is no tools."""
    if values is None:
        return []
    return [as_tool(value) for value in values] if isinstance(values, list | tuple) else values


def _entrance(value: Any, name: str) -> Callable[..., Any]:
    for entrance in _ENTRANCES:
        function = getattr(value, entrance, None)
        if callable(function) and not _is_inherited(value, entrance):
            return function  # type: ignore[no-any-return]  # whatever the other library has there
    raise DefinitionError(f"tool {name!r} ({type(value).__name__}) has nothing to run: none of {', '.join(_ENTRANCES)}")


def _is_inherited(value: Any, method: str) -> bool:
    """Whether `method` is what the other library's base class has, and not the tool's own."""
    owner = next((c for c in type(value).__mro__ if method in vars(c)), None)
    return owner is not None and owner.__name__ in _BASES


def _purpose(description: str) -> str:
    """CrewAI puts name, arguments and description into one text; we say the first two ourselves."""
    marker = "Tool Description: "
    return description.partition(marker)[2].strip() if marker in description else description


def _variables(value: Any) -> list[Any]:
    """The variables that a tool says it reads, less those whose values it was given."""
    declared = getattr(value, "env_vars", None)
    if not isinstance(declared, list | tuple):
        return []
    return [variable for variable in declared if unset_variables([variable], value)]


def _count(value: Any) -> int | None:
    return value if isinstance(value, int) and value > 0 else None
