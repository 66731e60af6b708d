"""Looking up what the names in a definition name: tools, functions, classes, files with a schema, Python objects.

A wrong name is a DefinitionError without a place, which the caller adds.
"""

import os
from collections.abc import Callable, Mapping, Sequence
from inspect import isclass
from typing import Any, TypeVar

from pydantic import BaseModel, ValidationError

from crewrun import tools
from crewrun.compat.import_hook import install
from crewrun.crew.agent import Agent
from crewrun.crew.task import Task
from crewrun.definitions import jsonc_source, local_tools, yaml_source
from crewrun.definitions.problems import KeyPath, Problem, Value, listed
from crewrun.definitions.source import Expected, Source
from crewrun.errors import CrewrunError, DefinitionError, suggest
from crewrun.llm.schema import OutputSchema
from crewrun.references import broken, is_reference, resolve
from crewrun.tools.base import BaseTool
from crewrun.tools.foreign import as_tool

T = TypeVar("T")

_SCHEMA = Expected("a JSON Schema", "`type` and `properties`")
_READERS = {
    ".json": jsonc_source.read,
    ".jsonc": jsonc_source.read,
    ".yaml": yaml_source.read,
    ".yml": yaml_source.read,
}

# Fields of tools that a file cannot say anything useful for.
_NOT_FOR_YAML = frozenset({"args_schema", "func", "cache_function", "env_vars", "package_dependencies"})


Objects = dict[KeyPath, Any]


class Names:
    """Looks names up in `folders`, where the definition's own modules and files are, the first one that has them.

    `tool_folders` are those of a CrewAI project, whose tools may be named without saying in which file they are.
    """

    def __init__(self, folders: Sequence[str], tool_folders: Sequence[str] = ()) -> None:
        self._folders = folders
        self._tool_folders = tool_folders

    def tool(self, entry: str | Mapping[str, Any]) -> BaseTool:
        """The tool of an entry in `tools`: `SerperDevTool`, `shop.py:look_up`, `{FileReadTool: {root: docs}}`."""
        if isinstance(entry, str):
            return self._tool(entry, {})
        if len(entry) != 1 or not isinstance(next(iter(entry.values())), dict | None):
            shown = next((name for name in tools.BUILT_IN if name in [*entry.values(), *entry]), "FileReadTool")
            raise DefinitionError(f"write a tool with arguments as one name and a mapping: {{{shown}: {{…: …}}}}")
        ((name, arguments),) = entry.items()
        return self._tool(name.strip(), arguments or {})

    def function(self, reference: str) -> Callable[..., Any]:
        """The function at `module:attr` or `file.py:attr`."""
        value = self._object(reference, "a function")
        if not callable(value):
            raise DefinitionError(f"{reference!r} is of type {type(value).__name__}; a function is needed here")
        return value  # type: ignore[no-any-return]  # callable() says as much

    def guardrail(self, text: str) -> str | Callable[..., Any]:
        """A function if `text` is a reference to one, else the sentence that it is."""
        return self.function(text) if is_reference(text) else text

    def model_class(self, reference: str) -> type[BaseModel]:
        """The pydantic class at `module:attr`."""
        value = self._object(reference, "a pydantic class")
        if not (isclass(value) and issubclass(value, BaseModel)):
            kind = "another class" if isclass(value) else f"of type {type(value).__name__}"
            raise DefinitionError(f"{reference!r} is {kind}; a pydantic class (BaseModel) is needed here")
        return value

    def object(self, reference: str, kind: type[T], needed: str) -> T:
        """The object at `module:attr`, which is a `kind`; `needed` says so in words."""
        value = self._object(reference, needed)
        if not isinstance(value, kind):
            raise DefinitionError(f"{reference!r} is of type {type(value).__name__}; {needed} is needed here")
        return value

    def subclass(self, reference: str, kind: type[T]) -> type[T]:
        """The class at `module:attr`, which is `kind` or made from it."""
        value = self._object(reference, "a class")
        if not (isclass(value) and issubclass(value, kind)):
            raise DefinitionError(f"{reference!r} is no class made from crewai's {kind.__name__}, as is needed here")
        return value

    def knowledge_source(self, entry: str | dict[str, Any]) -> Any:
        """The source at `module:attr` or `file.py:attr`; a path or a mapping is made one when the crew is built."""
        if not isinstance(entry, str) or not is_reference(entry):
            return entry
        value = self._resolved(entry)
        if not isclass(value):
            return value
        return _user_code(f"making the source {entry}", value)

    def json_schema(self, given: str | dict[str, Any]) -> dict[str, Any]:
        """The JSON Schema itself, or in the file that is named."""
        schema = self._read_schema(given) if isinstance(given, str) else given
        try:
            OutputSchema.of_json_schema(schema, "")
        except DefinitionError as wrong:
            reason = str(wrong).removeprefix(": output_schema").lstrip(".: ")
            raise DefinitionError(f"{given}: {reason}" if isinstance(given, str) else reason) from None
        return schema

    def _read_schema(self, file: str) -> dict[str, Any]:
        reader = _READERS.get(os.path.splitext(file)[1].lower())
        if reader is None:
            raise DefinitionError(
                f"{Value((), file)} is neither a JSON Schema nor a .json or .yaml file that holds one"
            )
        source = reader(os.path.join(self._folder_with(file) or self._folders[0], file), _SCHEMA)
        if problems := [*source.problems, *source.repeated]:
            raise DefinitionError("\n".join(map(str, problems)))
        return dict(source.data)

    def _tool(self, name: str, arguments: dict[str, Any]) -> BaseTool:
        built_in = name.removeprefix("crewai_tools:")
        if built_in in tools.BUILT_IN:
            return _made(getattr(tools, built_in), built_in, arguments)
        install()
        if self._tool_folders and local_tools.is_custom(name):
            return _made(local_tools.find_custom(name, self._tool_folders), name, arguments)
        if is_reference(name):
            return _made(self._resolved(name), name, arguments)
        known = list(tools.BUILT_IN)
        unknown = f"no tool {name!r}{suggest(name, known)}"
        if not self._tool_folders:
            raise DefinitionError(
                f"{unknown}; built in are {listed(known)}; a tool of your own is named as module:attr or file.py:attr"
            )
        if (value := local_tools.find(name, self._tool_folders)) is None:
            looked = local_tools.places(self._tool_folders)
            raise DefinitionError(f"{unknown}; built in are {listed(known)}, and it is not in {looked}")
        return _made(value, name, arguments)

    def _object(self, reference: str, needed: str) -> Any:
        if not is_reference(reference):
            raise DefinitionError(f"needs {needed} as module:attr or file.py:attr, not {Value((), reference)}")
        return self._resolved(reference)

    def _resolved(self, reference: str) -> Any:
        install()
        name = reference.strip().rpartition(":")[0]
        first = name if name.endswith(".py") else name.partition(".")[0]
        folder = self._folder_with(first) or self._folder_with(f"{first}.py") or self._folders[0]
        return _user_code(f"looking {reference} up", lambda: resolve(reference, folder))

    def _folder_with(self, name: str) -> str | None:
        return next((folder for folder in self._folders if os.path.exists(os.path.join(folder, name))), None)


def look_up_objects(source: Source, names: Names, problems: list[Problem]) -> Objects:
    """The objects of `source` by their paths; what is wrong with one is added to `problems`."""
    found: Objects = {}
    for path, reference in source.objects.items():
        try:
            found[path] = _object_at(path, reference, names)
        except DefinitionError as wrong:
            problems.append(source.at_value(path, str(wrong)))
    return found


def _object_at(path: KeyPath, reference: str, names: Names) -> Any:
    match path:
        case ["tasks", _, "type"]:
            return names.subclass(reference, Task)
        case [*_, "type"]:
            return names.subclass(reference, Agent)
        case ["manager_agent"]:
            return names.object(reference, Agent, "an agent")
    return names.object(reference, object, "a model")


def _made(value: Any, name: str, arguments: dict[str, Any]) -> BaseTool:
    """The tool that `value` is, or is a class of."""
    if not isclass(value):
        if arguments:
            raise DefinitionError(f"{name!r} takes no arguments: it is no class")
        return _user_code(f"making the tool {name}", lambda: _as_tool(value, name))
    # A tool of the user's with an `__init__` of its own may take what is no field.
    fields = None
    if issubclass(value, BaseTool):
        knows_all = value.__init__ is BaseTool.__init__ or value.__module__ in tools.BUILT_IN.values()
        fields = list(value.model_fields) if knows_all else None
    for argument in arguments:
        if fields is not None and argument not in fields:
            known = [field for field in fields if field not in _NOT_FOR_YAML]
            near = suggest(argument, known) or f"; its arguments are {listed(known)}"
            raise DefinitionError(f"{name} has no argument {argument!r}{near}")
    return _user_code(f"making the tool {name}", lambda: _as_tool(_instance(value, name, arguments), name))


def _as_tool(value: Any, name: str) -> BaseTool:
    try:
        return as_tool(value)
    except DefinitionError as wrong:  # says it of the object, where the user knows a name
        raise DefinitionError(str(wrong).replace(repr(value), repr(name), 1)) from None


def _instance(kind: type, name: str, arguments: dict[str, Any]) -> Any:
    try:
        return kind(**arguments)
    except ValidationError as invalid:
        faults = [(".".join(map(str, e["loc"])), e["msg"]) for e in invalid.errors(include_url=False)]
        raise DefinitionError("; ".join(f"{name}: {place}: {why}" for place, why in faults)) from None


def _user_code(doing: str, run: Callable[[], T]) -> T:
    try:
        return run()
    except CrewrunError:
        raise
    except Exception as failed:  # a constructor or a property of theirs may raise anything
        raise broken(doing, failed) from None
