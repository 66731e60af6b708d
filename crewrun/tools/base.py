"""`BaseTool` and `@tool`: a function that a model may call, with a name, a description and a schema for its arguments.

A tool is a definition like an agent: runs never write to it, and many rows use one tool at once.
"""

import inspect
import os
from collections.abc import Callable, Iterable, Mapping
from functools import partial
from typing import Any, ClassVar, cast, overload

from pydantic import BaseModel, ConfigDict, Field, PrivateAttr

from crewrun.errors import DefinitionError
from crewrun.tools.schema import arguments_of, documented
from crewrun.tools.tool_failure import ToolFailurePolicy

# Longer than tools usually take, so that it ends only calls that hang.
DEFAULT_TIMEOUT_S = 300.0
# About 25,000 tokens: most of a context of 32,000, and affordable in those of 128,000 and more.
MAX_RESULT_CHARS = 100_000
_EVERY_TOOL_HAS = frozenset({"name", "description"})


class BaseTool(BaseModel):
    """A tool. Subclasses define `_run`, or `async _arun`, or both; if both, `_run` is used unless `is_async` is set.

    `args_schema` is a pydantic class for the arguments; by default it is derived from the signature of `_run`. With
    `result_as_answer` the tool's result is the agent's answer. `max_usage_count` bounds how often one task may call it.
    A call that takes longer than `timeout_s` seconds is abandoned, and a result of more than `max_result_chars`
    characters is cut; the model is told about both. When a row resumes, a tool whose result is in the run's journal is
    not called again, unless it sets `replay` to False. With `share`, rows of a run that call it with the same arguments
    get the result of one call. `env_vars` are the `EnvVar`s that it reads: a run does not begin
    while a required one is not set. With `tool_failure_policy` `raise` a failed call fails its row.
    """

    # Subclasses have fields of their own, of any type. CrewAI's other constructor arguments have no effect.
    model_config = ConfigDict(arbitrary_types_allowed=True, extra="ignore")

    name: str
    description: str
    args_schema: type[BaseModel] | None = None
    result_as_answer: bool = False
    max_usage_count: int | None = Field(default=None, ge=1)
    timeout_s: float | None = Field(default=DEFAULT_TIMEOUT_S, gt=0)
    max_result_chars: int = Field(default=MAX_RESULT_CHARS, ge=1)
    replay: bool = True
    share: bool = False
    tool_failure_policy: ToolFailurePolicy | None = None
    env_vars: list[Any] = Field(default_factory=list)
    # CrewAI's, without effect.
    cache_function: Any = None
    package_dependencies: list[str] = Field(default_factory=list)

    # Set by a tool that has both and whose `_arun` is the one to use.
    is_async: ClassVar[bool] = False
    # Set by a tool that only calls models: running it again costs nothing, since their answers are recorded.
    calls_models: ClassVar[bool] = False
    # Set by a tool whose arguments may be pydantic objects; other tools get dicts, as in CrewAI.
    takes_objects: ClassVar[bool] = False

    _arguments: type[BaseModel] | None = PrivateAttr(default=None)

    # Tools are compared by identity, like agents: two with equal texts are two tools.
    __hash__ = object.__hash__

    def __fingerprint__(self) -> dict[str, Any]:
        """The fields, without `share` where it is not set, so that fingerprints from before it existed stay valid."""
        items = {**self.__dict__, **(self.model_extra or {})}
        return {name: value for name, value in items.items() if name != "share" or value is not False}

    def __eq__(self, other: object) -> bool:
        return self is other

    @property
    def function(self) -> Callable[..., Any]:
        """The function to call with the arguments: `_run`, in a thread, unless there is only `_arun`.

        The `_arun` of many tools raises NotImplementedError, or calls `_run`, which would block the event loop.
        """
        kind = type(self)
        own_sync, own_async = kind._run is not BaseTool._run, kind._arun is not BaseTool._arun
        return self._arun if own_async and (self.is_async or not own_sync) else self._run

    @property
    def arguments(self) -> type[BaseModel]:
        """The pydantic class of the arguments, created once for each tool. DefinitionError if that is not possible."""
        if self._arguments is None:
            self._arguments = self.args_schema or arguments_of(self.function, f"tool {self.name!r}")
        return self._arguments

    @property
    def missing_variables(self) -> list[str]:
        """The required environment variables in `env_vars` that are not set."""
        return unset_variables(self.env_vars, self)

    @property
    def problem(self) -> str | None:
        """What prevents the tool from working, such as a key that is not set; None if nothing is known to."""
        names = self.missing_variables
        return f"{' and '.join(names)} {'is' if len(names) == 1 else 'are'} not set" if names else None

    def run(self, *args: Any, **kwargs: Any) -> Any:
        """Call the tool directly, in sync code."""
        return self._run(*args, **kwargs)

    async def arun(self, *args: Any, **kwargs: Any) -> Any:
        """Call the tool directly, in async code."""
        return await self._arun(*args, **kwargs)

    def _run(self, *args: Any, **kwargs: Any) -> Any:
        raise NotImplementedError(f"{type(self).__name__} has no _run")

    async def _arun(self, *args: Any, **kwargs: Any) -> Any:
        raise NotImplementedError(f"{type(self).__name__} has no _arun")


def unset_variables(declared: Iterable[Any], tool: Any) -> list[str]:
    """The names of required variables that are not set, from CrewAI's `EnvVar`s, or mappings with their fields.

    A variable is not missing if `tool` has its value in an attribute named like it, or like its end, such as `api_key`.
    """
    names = []
    for variable in declared:
        read = variable.get if isinstance(variable, Mapping) else partial(getattr, variable)
        name = read("name", None)
        if not isinstance(name, str) or not read("required", True) or read("default", None) is not None:
            continue
        if not os.environ.get(name, "").strip() and not _has_value(tool, name.lower()):
            names.append(name)
    return names


def _has_value(tool: Any, name: str) -> bool:
    """Whether `tool` has a value for the variable `x_api_key` in `x_api_key`, `api_key` or `key`."""
    words = name.split("_")
    ends = {"_".join(words[start:]) for start in range(len(words))} - _EVERY_TOOL_HAS
    values = [getattr(tool, end, None) for end in ends]
    return any((isinstance(value, str) and value) or hasattr(value, "get_secret_value") for value in values)


class FunctionTool(BaseTool):
    """A function as a tool, created by `@tool`. Calling it calls the function."""

    func: Callable[..., Any]

    @property
    def function(self) -> Callable[..., Any]:
        """The function itself."""
        return self.func

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        return self.func(*args, **kwargs)

    def _run(self, *args: Any, **kwargs: Any) -> Any:
        return self.func(*args, **kwargs)

    async def _arun(self, *args: Any, **kwargs: Any) -> Any:
        result = self.func(*args, **kwargs)
        return await result if inspect.isawaitable(result) else result


class _Decorator:
    """The decorator that `@tool("name")` returns, with its options."""

    __slots__ = ("_name", "_options")

    _OPTIONS: ClassVar = frozenset(BaseTool.model_fields) - {"name", "description"}

    def __init__(self, name: str | None, options: dict[str, Any]) -> None:
        if unknown := options.keys() - self._OPTIONS:
            raise DefinitionError(
                f"@tool has no option {min(unknown)!r}; options are {', '.join(sorted(self._OPTIONS))}"
            )
        self._name = name
        self._options = options

    def __call__(self, function: Callable[..., Any]) -> FunctionTool:
        name = self._name or str(getattr(function, "__name__", type(function).__name__))
        description = documented(function)
        if not description:
            code = getattr(inspect.unwrap(function), "__code__", None)
            place = f"{code.co_filename}:{code.co_firstlineno}: " if code else ""
            raise DefinitionError(
                f"{place}tool {name!r} has no docstring; the model is told what the tool does by its first lines"
            )
        function_tool = FunctionTool(name=name, description=description, func=function, **self._options)
        function_tool.args_schema = function_tool.arguments  # CrewAI's users read it there
        return function_tool


@overload
def tool(function: Callable[..., Any], /) -> FunctionTool: ...


@overload
def tool(name: str | None = None, /, **options: Any) -> Callable[[Callable[..., Any]], FunctionTool]: ...


def tool(name: Any = None, /, **options: Any) -> Any:
    """Turn a function into a tool: `@tool`, `@tool("Name")`, `@tool("Name", result_as_answer=True)`.

    The docstring becomes the description, the signature the schema; `options` are fields of `BaseTool`. Raises
    DefinitionError for a function without a docstring.
    """
    if name is None or isinstance(name, str):
        return _Decorator(name, options)
    return _Decorator(None, options)(cast("Callable[..., Any]", name))
