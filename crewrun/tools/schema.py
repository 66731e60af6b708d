"""The schema of a tool's arguments: from a function's signature and docstring, or from a pydantic class."""

import inspect
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any, get_type_hints

from docstring_parser import parse as parse_docstring
from pydantic import BaseModel, ConfigDict, Field, PydanticUserError, create_model
from pydantic.fields import FieldInfo

from crewrun.errors import DefinitionError
from crewrun.llm.schema import without_titles

_FIELD = "field_"


def documented(function: Callable[..., Any]) -> str:
    """The description in `function`'s docstring, without its parameters; empty without a docstring."""
    text = _docstring(function)
    parsed = parse_docstring(text)
    return (parsed.description or text).strip()


def arguments_of(function: Callable[..., Any], whose: str) -> type[BaseModel]:
    """A pydantic class with a field for each parameter of `function`, described by its docstring.

    A parameter without an annotation takes any value. `*args` and `**kwargs` are left out; with `**kwargs` the class
    allows other names. Parameters that a functools.partial has set are left out too. Raises DefinitionError for an
    annotation that cannot be read, for a positional-only parameter, and for a function without a signature, as of some
    built-in ones.
    """
    try:
        hints = get_type_hints(_source_function(function), include_extras=True)
    except (NameError, TypeError, AttributeError, SyntaxError) as wrong:
        raise DefinitionError(f"{whose}: an annotation of its function cannot be read: {wrong}") from None
    described = {p.arg_name: p.description for p in parse_docstring(_docstring(function)).params}
    fields: dict[str, Any] = {}
    extra = False
    for name, parameter in _parameters(function, whose).items():
        if parameter.kind is parameter.VAR_KEYWORD:
            extra = True
        elif parameter.kind is not parameter.VAR_POSITIONAL and name not in ("self", "cls"):
            default = ... if parameter.default is parameter.empty else parameter.default
            # An alias, since a field may not start with an underscore or hide a method of pydantic's.
            about = Field(default, alias=name, description=described.get(name))
            fields[f"{_FIELD}{name}"] = (hints.get(name, Any), about)
    config = ConfigDict(extra="allow" if extra else "forbid", arbitrary_types_allowed=True)
    return create_model("Arguments", __config__=config, **fields)


def _parameters(function: Callable[..., Any], whose: str) -> dict[str, inspect.Parameter]:
    """The parameters that a caller may set."""
    try:
        parameters = inspect.signature(function).parameters
    except (ValueError, TypeError):
        raise DefinitionError(
            f"{whose}: {function!r} does not tell its parameters; write a function with named parameters that calls it"
        ) from None
    for name, parameter in parameters.items():
        if parameter.kind is parameter.POSITIONAL_ONLY and name not in ("self", "cls"):
            raise DefinitionError(
                f"{whose}: parameter {name!r} of {function!r} cannot be given by its name, as a tool's arguments are; "
                "remove the '/' after it, or write a function with named parameters that calls it"
            )
    fixed = function.keywords if isinstance(function, partial) else {}
    return {name: parameter for name, parameter in parameters.items() if name not in fixed}


def _source_function(function: Callable[..., Any]) -> Any:
    """The function in the user's source: inside a functools.partial, or the `__call__` of an object."""
    bare = _without_partials(function)
    return bare if inspect.isroutine(bare) or inspect.isclass(bare) else bare.__call__


def _docstring(function: Callable[..., Any]) -> str:
    """The docstring of `function`, not of functools.partial; for an object, of its class, else of its `__call__`."""
    return inspect.getdoc(_without_partials(function)) or inspect.getdoc(_source_function(function)) or ""


def _without_partials(function: Any) -> Any:
    while isinstance(function, partial):
        function = function.func
    return function


def json_schema(arguments: type[BaseModel], whose: str) -> dict[str, Any]:
    """The JSON Schema of `arguments` for models, without pydantic's titles.

    Raises DefinitionError for a type that has no schema, such as a callable.
    """
    try:
        schema = arguments.model_json_schema()
    except (PydanticUserError, ValueError, TypeError) as wrong:
        raise DefinitionError(f"{whose}: its arguments have no JSON Schema: {wrong}") from None
    schema.pop("description", None)
    schema.setdefault("properties", {})
    without: dict[str, Any] = without_titles(schema)
    return without


def values_of(arguments: BaseModel, *, as_objects: bool = False) -> dict[str, Any]:
    """The keyword arguments in a validated instance, by the names of the function's parameters.

    Nested pydantic objects become dicts by `model_dump`, as CrewAI's tools expect; LangChain's tools need them
    `as_objects`. https://docs.pydantic.dev/latest/concepts/serialization/
    """
    fields = type(arguments).model_fields
    if as_objects:
        values = {name: getattr(arguments, name) for name in fields} | (arguments.model_extra or {})
    else:
        # A default may have another type than its field; no reason to warn here.
        values = arguments.model_dump(warnings=False)
    return {_parameter(name, fields): value for name, value in values.items()}


def _parameter(name: str, fields: Mapping[str, FieldInfo]) -> str:
    """The parameter of a field. In the classes that `arguments_of` creates, the field has another name."""
    alias = fields[name].alias if name in fields else None
    return alias if alias is not None and name == f"{_FIELD}{alias}" else name
