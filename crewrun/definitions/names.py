"""`NameResolver`: finds what a definition refers to by name: tools, functions, classes, schema files, Python objects.

A name that leads nowhere raises DefinitionError without a place in the file; the caller adds it.
"""

import os
from collections.abc import Callable, Mapping, Sequence
from inspect import isclass
from typing import TYPE_CHECKING, Any, TypeVar

from pydantic import BaseModel, ValidationError

from crewrun import tools
from crewrun.compat.import_hook import install
from crewrun.crew.agent import Agent
from crewrun.crew.task import Task
from crewrun.definitions import jsonc_source, local_tools, yaml_source
from crewrun.definitions.problems import KeyPath, Problem, Value, listed
from crewrun.definitions.source import DefinitionSource, Expected
from crewrun.errors import CrewrunError, DefinitionError, suggest
from crewrun.knowledge.knowledge import Knowledge
from crewrun.llm.schema import OutputSchema
from crewrun.references import broken, is_reference, resolve
from crewrun.tools.base import BaseTool
from crewrun.tools.foreign import as_tool

if TYPE_CHECKING:
    from crewrun.expect.expectation import Called, Expectation

T = TypeVar("T")

_SCHEMA = Expected("a JSON Schema", "`type` and `properties`")
_READERS = {
    ".json": jsonc_source.read,
    ".jsonc": jsonc_source.read,
    ".yaml": yaml_source.read,
    ".yml": yaml_source.read,
}

# Fields of tools whose values cannot be written in a file.
_NOT_FOR_YAML = frozenset({"args_schema", "func", "cache_function", "env_vars", "package_dependencies"})


Objects = dict[KeyPath, Any]


class NameResolver:
    """Resolves names. The definition's own modules and files are looked for in `folders`, in that order.

    `tool_folders` are those of a CrewAI project, where a tool may be named without its file.
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
        return value  # type: ignore[no-any-return]  # callable() does not narrow to this signature

    def guardrail(self, text: str) -> str | Callable[..., Any]:
        """The function if `text` is a reference to one, else `text` itself: a rule for a model to judge."""
        return self.function(text) if is_reference(text) else text

    def expectation(self, entry: Any) -> "Expectation":
        """The expectation of an entry of `expect`: a comparison, a reference to a function, or a mapping of checks."""
        from crewrun.expect.comparison import parse
        from crewrun.expect.expectation import Compared, Expectation, expectation_of

        if not isinstance(entry, str):
            fields = entry.explicit()
            return expectation_of({**fields, "python": self.called(fields["python"])} if "python" in fields else fields)
        if is_reference(entry):
            return Expectation((self.called(entry),))
        return Expectation((Compared(parse(entry)),))

    def called(self, reference: str) -> "Called":
        """The function of an expectation. Raises DefinitionError for parameters that nothing fills."""
        from crewrun.expect.expectation import called_of

        return called_of(self.function(reference), reference)

    def pattern(self, text: str) -> Any:
        """A regular expression."""
        from crewrun.expect.comparison import compiled

        return compiled(text)

    def model_class(self, reference: str) -> type[BaseModel]:
        """The pydantic class at `module:attr`."""
        value = self._object(reference, "a pydantic class")
        if not (isclass(value) and issubclass(value, BaseModel)):
            kind = "another class" if isclass(value) else f"of type {type(value).__name__}"
            raise DefinitionError(f"{reference!r} is {kind}; a pydantic class (BaseModel) is needed here")
        return value

    def object(self, reference: str, kind: type[T], needed: str) -> T:
        """The object at `module:attr`, an instance of `kind`; `needed` describes `kind` in error messages."""
        value = self._object(reference, needed)
        if not isinstance(value, kind):
            raise DefinitionError(f"{reference!r} is of type {type(value).__name__}; {needed} is needed here")
        return value

    def subclass(self, reference: str, kind: type[T]) -> type[T]:
        """The class at `module:attr`: `kind` or a subclass of it."""
        value = self._object(reference, "a class")
        if not (isclass(value) and issubclass(value, kind)):
            raise DefinitionError(f"{reference!r} is not crewai's {kind.__name__} or a subclass, as is needed here")
        return value

    def knowledge(self, reference: str) -> Knowledge:
        """The `Knowledge` at `module:attr`."""
        return self.object(reference, Knowledge, "a Knowledge")

    def knowledge_source(self, entry: str | dict[str, Any]) -> Any:
        """The source at `module:attr` or `file.py:attr`. A path or a mapping stays: `build` makes a source of it."""
        if not isinstance(entry, str) or not is_reference(entry):
            return entry
        value = self._resolved(entry)
        if not isclass(value):
            return value
        return _user_code(f"making the source {entry}", value)

    def json_schema(self, entry: str | dict[str, Any]) -> dict[str, Any]:
        """The JSON Schema: `entry` itself, or what is in the file of that name."""
        schema = self._read_schema(entry) if isinstance(entry, str) else entry
        try:
            OutputSchema.of_json_schema(schema, "")
        except DefinitionError as wrong:
            reason = str(wrong).removeprefix(": output_schema").lstrip(".: ")
            raise DefinitionError(f"{entry}: {reason}" if isinstance(entry, str) else reason) from None
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
        names = list(tools.BUILT_IN)
        unknown = f"no tool {name!r}{suggest(name, names)}"
        if not self._tool_folders:
            raise DefinitionError(
                f"{unknown}; built in are {listed(names)}; a tool of your own is named as module:attr or file.py:attr"
            )
        if (value := local_tools.find(name, self._tool_folders)) is None:
            looked = local_tools.places(self._tool_folders)
            raise DefinitionError(f"{unknown}; built in are {listed(names)}, and it is not in {looked}")
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


def look_up_objects(source: DefinitionSource, names: NameResolver, problems: list[Problem]) -> Objects:
    """The Python objects that `source` refers to, by path. What is wrong with one is added to `problems`."""
    objects: Objects = {}
    for path, reference in source.objects.items():
        try:
            objects[path] = _object_at(path, reference, names)
        except DefinitionError as wrong:
            problems.append(source.at_value(path, str(wrong)))
    return objects


def _object_at(path: KeyPath, reference: str, names: NameResolver) -> Any:
    match path:
        case ["tasks", _, "type"]:
            return names.subclass(reference, Task)
        case [*_, "type"]:
            return names.subclass(reference, Agent)
        case ["manager_agent"]:
            return names.object(reference, Agent, "an agent")
    return names.object(reference, object, "a model")


def _made(value: Any, name: str, arguments: dict[str, Any]) -> BaseTool:
    """The tool: `value` itself, or an instance if it is a class."""
    if not isclass(value):
        if arguments:
            raise DefinitionError(f"{name!r} takes no arguments: it is not a class")
        return _user_code(f"making the tool {name}", lambda: _as_tool(value, name))
    # A user's tool with its own `__init__` may take arguments that are not fields.
    fields = None
    if issubclass(value, BaseTool):
        knows_all = value.__init__ is BaseTool.__init__ or value.__module__ in tools.BUILT_IN.values()
        fields = list(value.model_fields) if knows_all else None
    for argument in arguments:
        if fields is not None and argument not in fields:
            usable = [field for field in fields if field not in _NOT_FOR_YAML]
            near = suggest(argument, usable) or f"; its arguments are {listed(usable)}"
            raise DefinitionError(f"{name} has no argument {argument!r}{near}")
    return _user_code(f"making the tool {name}", lambda: _as_tool(_instance(value, name, arguments), name))


def _as_tool(value: Any, name: str) -> BaseTool:
    try:
        return as_tool(value)
    except DefinitionError as wrong:  # its message has the object's repr; users know the tool by its name
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
    except Exception as failed:  # the user's constructors and properties may raise anything
        raise broken(doing, failed) from None
