"""Structured output: the schema that an answer must validate against, in which words a model is told, and the check."""

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Literal

from pydantic import BaseModel, PydanticUserError, ValidationError

from crewrun.errors import DefinitionError
from crewrun.library_warnings import tolerant
from crewrun.messages import ReplySchema

Format = Literal["pydantic", "json"]

_MAX_FAULTS = 10
_FENCED = re.compile(r"```(?:json)?[ \t]*\n(.*?)```", re.DOTALL | re.IGNORECASE)
_NOT_IN_NAMES = re.compile(r"[^a-zA-Z0-9_-]")


class NotValid(ValueError):
    """An answer that does not validate. The message lists the faults, for the model to read."""


@dataclass(frozen=True, slots=True)
class Structured:
    """A validated answer: `value` is plain JSON, `instance` the pydantic object where the task asks for one."""

    value: Any
    instance: BaseModel | None


class OutputSchema:
    """What an answer must look like. `format` says which field of the output carries it."""

    def __init__(self, name: str, schema: Mapping[str, Any], model: type[BaseModel] | None, format: Format) -> None:  # noqa: A002
        self.format: Format = format
        self._model = model
        self._validator: Any = None
        strict = _strictly(schema)
        self.wire = ReplySchema(_NOT_IN_NAMES.sub("_", name)[:64] or "answer", strict or schema, strict is not None)
        self.text = json.dumps(schema, ensure_ascii=False)

    @classmethod
    def of(
        cls,
        output_pydantic: type[BaseModel] | None,
        output_json: type[BaseModel] | None,
        output_schema: Mapping[str, Any] | bool | None,
        whose: str,
    ) -> "OutputSchema | None":
        """The one that is declared, if any. Raises DefinitionError for one that is no schema."""
        model = output_pydantic or output_json
        if model is not None:
            return cls.of_model(model, "pydantic" if output_pydantic else "json", whose)
        return None if output_schema is None else cls.of_json_schema(output_schema, whose)

    @classmethod
    def of_model(cls, model: type[BaseModel], format: Format, whose: str) -> "OutputSchema":  # noqa: A002
        """The schema of a pydantic class."""
        try:
            return cls(model.__name__, without_titles(model.model_json_schema()), model, format)
        except (PydanticUserError, ValueError, TypeError) as wrong:
            raise DefinitionError(f"{whose}: {model.__name__} has no JSON Schema: {wrong}") from None

    @classmethod
    def of_json_schema(cls, schema: Mapping[str, Any] | bool, whose: str) -> "OutputSchema":
        """A JSON Schema, draft 2020-12 unless its `$schema` says another."""
        from jsonschema.exceptions import SchemaError

        if not isinstance(schema, dict):
            raise DefinitionError(f"{whose}: output_schema is a JSON Schema, a mapping such as {{type: object, …}}")
        found = cls(str(schema.get("title") or "answer"), schema, None, "json")
        try:
            found._validator = _validator_of(schema)
        except SchemaError as wrong:
            where = ".".join(map(str, wrong.absolute_path))
            raise DefinitionError(f"{whose}: output_schema{'.' + where if where else ''}: {wrong.message}") from None
        except _BadReference as wrong:
            raise DefinitionError(f"{whose}: output_schema: {wrong}") from None
        return found

    def read(self, text: str) -> Structured:
        """The value in an answer, which may stand in a code fence or among words. Raises NotValid."""
        try:
            value = _find_json(text)
        except ValueError as wrong:
            raise NotValid(f"it is not JSON: {wrong}") from None
        if self._model is None:
            return Structured(self._checked(value), None)
        try:
            instance = self._model.model_validate(value)
        except ValidationError as invalid:
            raise NotValid(_listed(_pydantic_faults(invalid))) from None
        return Structured(_finite_only(instance.model_dump(mode="json")), instance)

    @tolerant
    def _checked(self, value: Any) -> Any:
        try:
            faults = list(self._validator.iter_errors(value))
        except (RecursionError, OverflowError) as endless:
            raise NotValid(f"it is too deep or too large to be checked: {endless}") from None
        if faults:
            raise NotValid(_listed([f"{fault.json_path.removeprefix('$.')}: {fault.message}" for fault in faults]))
        return value


def schema_prompt(schema: str) -> str:
    """How the answer must look, as JSON Schema."""
    return f"Reply with one JSON value only, which validates against this JSON Schema: {schema}"


def repair_prompt(faults: str, schema: str) -> str:
    """Asks for an answer once more that did not validate."""
    return f"This answer cannot be used: {faults}\nGive the same answer again, mended. {schema_prompt(schema)}"


def without_titles(schema: Any) -> Any:
    """`schema` less the titles that pydantic makes from names: they say nothing new and cost tokens in every call."""
    if isinstance(schema, list):
        return [without_titles(part) for part in schema]
    if not isinstance(schema, dict):
        return schema
    # A property may be called `title`; then its schema is a mapping.
    return {k: without_titles(v) for k, v in schema.items() if not (k == "title" and isinstance(v, str))}


def _finite_only(value: Any) -> Any:
    try:
        json.dumps(value, allow_nan=False)
    except (ValueError, RecursionError) as wrong:
        raise NotValid(f"it has what JSON cannot say: {wrong}") from None
    return value


class _BadReference(Exception):
    pass


@tolerant
def _validator_of(schema: dict[str, Any]) -> Any:
    """A validator that fetches nothing. Raises SchemaError, and _BadReference for a $ref that leads nowhere."""
    from jsonschema.validators import Draft202012Validator, validator_for
    from referencing import Registry
    from referencing.exceptions import Unresolvable
    from referencing.jsonschema import DRAFT202012

    kind = validator_for(schema, default=Draft202012Validator)
    kind.check_schema(schema)
    registry: Any = Registry()
    resolver = registry.resolver_with_root(DRAFT202012.create_resource(schema))
    for reference in _references(schema):
        try:
            resolver.lookup(reference)
        except Unresolvable:
            raise _BadReference(
                f"$ref {reference!r} leads nowhere; only parts of this schema can be referred to"
            ) from None
    validator = kind(schema, registry=registry)
    try:
        validator.is_valid(None)
        validator.is_valid({})
    except RecursionError:
        raise _BadReference("it refers to itself without end") from None
    return validator


def _references(schema: Any) -> Iterator[str]:
    if isinstance(schema, dict):
        if isinstance(schema.get("$ref"), str):
            yield schema["$ref"]
        for part in schema.values():
            yield from _references(part)
    elif isinstance(schema, list):
        for part in schema:
            yield from _references(part)


def _find_json(text: str) -> Any:
    """The JSON value that `text` is or contains: whole, else in a code fence, else from the first brace or bracket."""
    problem = ""
    for candidate in (text, *_FENCED.findall(text)):
        try:
            return _DECODER.decode(candidate.strip())
        except (ValueError, RecursionError) as wrong:
            problem = str(wrong)
    for start in sorted(i for i in (text.find("{"), text.find("[")) if i >= 0):
        try:
            return _DECODER.raw_decode(text, start)[0]
        except (ValueError, RecursionError) as wrong:
            problem = str(wrong)
    raise ValueError(problem)


def _no_constant(name: str) -> Any:
    raise ValueError(f"{name} is not JSON")


def _finite(digits: str) -> float:
    number = float(digits)
    if number - number != 0:
        raise ValueError(f"the number {digits[:20]} is too large")
    return number


_DECODER = json.JSONDecoder(parse_constant=_no_constant, parse_float=_finite, strict=False)


def _pydantic_faults(invalid: ValidationError) -> list[str]:
    return [
        f"{'.'.join(map(str, fault['loc'])) or 'the answer'}: {fault['msg']}"
        for fault in invalid.errors(include_url=False, include_input=False)
    ]


def _listed(faults: list[str]) -> str:
    more = f"; and {len(faults) - _MAX_FAULTS} more" if len(faults) > _MAX_FAULTS else ""
    return "; ".join(fault[:300] for fault in faults[:_MAX_FAULTS]) + more


# https://platform.openai.com/docs/guides/structured-outputs#supported-schemas
_STRICT_KEYWORDS = frozenset(
    {"type", "properties", "required", "additionalProperties", "items", "enum", "const", "anyOf", "$ref", "$defs"}
    | {"description", "title"}
)


def _strictly(schema: Any) -> dict[str, Any] | None:
    """`schema` with every object closed and every property required, None where strict mode does not take it.

    An answer to the stricter schema also validates against `schema`: what was optional is always there, and defaults
    mean nothing any more.
    """
    try:
        closed = _closed(schema)
    except _NotStrict:
        return None
    return closed if isinstance(closed, dict) and closed.get("type") == "object" else None


class _NotStrict(Exception):
    pass


def _closed(schema: Any) -> Any:
    if not isinstance(schema, dict):
        raise _NotStrict
    closed = {keyword: part for keyword, part in schema.items() if keyword != "default"}
    if closed.keys() - _STRICT_KEYWORDS:
        raise _NotStrict
    for group in ("properties", "$defs"):
        if group in closed:
            closed[group] = {name: _closed(part) for name, part in closed[group].items()}
    if "anyOf" in closed:
        closed["anyOf"] = [_closed(part) for part in closed["anyOf"]]
    if "items" in closed:
        closed["items"] = _closed(closed["items"])
    if closed.get("type") == "object":
        if closed.get("additionalProperties") or "properties" not in closed:
            raise _NotStrict
        closed |= {"additionalProperties": False, "required": list(closed["properties"])}
    return closed
