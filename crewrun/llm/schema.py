"""Structured output: the schema that an answer must follow, how a model is told about it, and the validation.

`replies.json_values` finds JSON in an answer, and `strict_schema` converts schemas to OpenAI's strict form.
"""

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from operator import itemgetter
from typing import Any, Literal

from pydantic import BaseModel, PydanticUserError, ValidationError

from crewrun.errors import DefinitionError
from crewrun.library_warnings import tolerant
from crewrun.llm.replies.json_values import Values, decode, find_values
from crewrun.llm.strict_schema import strict_form
from crewrun.messages import ReplySchema
from crewrun.patterns import Pattern, PatternTooSlow

Format = Literal["pydantic", "json"]

# How many faults a model is told at once; the text is part of recorded requests, so it must not change.
_MAX_FAULTS = 10
_NOT_IN_NAMES = re.compile(r"[^a-zA-Z0-9_-]")


class NotValid(ValueError):
    """An answer that does not validate. The message lists the faults, and is sent to the model.

    `is_other_kind` says that it does not even have the right type, such as a list in place of an object.
    """

    def __init__(self, faults: str, fault_count: int = 1, *, is_other_kind: bool = False) -> None:
        super().__init__(faults)
        self.fault_count = fault_count
        self.is_other_kind = is_other_kind


@dataclass(frozen=True, slots=True)
class Structured:
    """A validated answer: `value` is plain JSON, `instance` the pydantic object if the task asks for one."""

    value: Any
    instance: BaseModel | None


class OutputSchema:
    """The schema of an answer. `format` says which field of the output the answer goes into."""

    def __init__(self, name: str, schema: Mapping[str, Any], model: type[BaseModel] | None, format: Format) -> None:  # noqa: A002
        self.format: Format = format
        self._model = model
        self._validator: Any = None
        declared = ReplySchema(_NOT_IN_NAMES.sub("_", name)[:64] or "answer", schema)
        strict = strict_form(schema)
        self.wire = declared if strict is None else ReplySchema(declared.name, strict, strict=True, original=declared)
        self.text = json.dumps(schema, ensure_ascii=False)

    @classmethod
    def of(
        cls,
        output_pydantic: type[BaseModel] | None,
        output_json: type[BaseModel] | None,
        output_schema: Mapping[str, Any] | bool | None,
        whose: str,
    ) -> "OutputSchema | None":
        """The declared schema, if any. Raises DefinitionError if it is not a valid schema."""
        model = output_pydantic or output_json
        if model is not None:
            return cls.of_model(model, "pydantic" if output_pydantic else "json", whose)
        return None if output_schema is None else cls.of_json_schema(output_schema, whose)

    @classmethod
    def of_model(cls, model: type[BaseModel], format: Format, whose: str) -> "OutputSchema":  # noqa: A002
        """The schema of a pydantic class."""
        try:
            return cls(model.__name__, without_titles(model.model_json_schema()), model, format)
        except (PydanticUserError, ValueError, TypeError) as error:
            raise DefinitionError(f"{whose}: {model.__name__} has no JSON Schema: {error}") from None

    @classmethod
    def of_json_schema(cls, schema: Mapping[str, Any] | bool, whose: str) -> "OutputSchema":
        """A JSON Schema, draft 2020-12 unless its `$schema` names another."""
        from jsonschema.exceptions import SchemaError

        if not isinstance(schema, dict):
            raise DefinitionError(f"{whose}: output_schema is a JSON Schema, a mapping such as {{type: object, …}}")
        try:
            validator = _validator_of(schema)
        except SchemaError as error:
            where = ".".join(map(str, error.absolute_path))
            raise DefinitionError(f"{whose}: output_schema{'.' + where if where else ''}: {error.message}") from None
        except _BadReference as error:
            raise DefinitionError(f"{whose}: output_schema: {error}") from None
        made = cls(str(schema.get("title") or "answer"), schema, None, "json")
        made._validator = validator
        return made

    def read(self, text: str) -> Structured:
        """The value of an answer: the whole text, or the last value in it that validates. Raises NotValid.

        If a malformed object follows that value, that object is the answer, and what comes before it is a draft. For a
        text without a valid value, NotValid lists the faults of the one that comes closest.
        """
        try:
            value = decode(text)
        except (ValueError, RecursionError) as error:
            return self._read_among(find_values(text), f"it is not JSON: {error}")
        try:
            return self._validated(value)
        except NotValid as invalid:
            if not isinstance(value, str):
                raise
            return self._read_among(find_values(value), str(invalid))  # JSON that was encoded twice

    def _read_among(self, values: Values, otherwise: str) -> Structured:
        """The last value that validates; `otherwise` is the fault to report if the text has no values at all."""
        invalid: list[tuple[tuple[bool, int, int], NotValid]] = []
        last_broken = next((one for one in reversed(values.broken) if one.has_key), None)
        for one in reversed(values.values):
            try:
                valid = self._validated(one.value)
            except NotValid as error:
                invalid.append(((error.is_other_kind, error.fault_count, one.start - one.end), error))
            else:
                if last_broken is not None and last_broken.start > one.start:
                    raise NotValid(f"it is not JSON: {last_broken.problem}")
                return valid
        nearest = min(invalid, key=itemgetter(0), default=None)
        broken = max(values.broken, key=lambda one: one.end - one.start, default=None)
        if broken is not None and (nearest is None or broken.end - broken.start > -nearest[0][2]):
            raise NotValid(f"it is not JSON: {broken.problem}")
        raise nearest[1] if nearest is not None else NotValid(otherwise)

    def _validated(self, value: Any) -> Structured:
        if self._model is None:
            return Structured(self._checked(value), None)
        try:
            instance = self._model.model_validate(value)
        except ValidationError as invalid:
            faults = invalid.errors(include_url=False, include_input=False)
            words = [f"{'.'.join(map(str, fault['loc'])) or 'the answer'}: {fault['msg']}" for fault in faults]
            raise NotValid(
                _listed(words), len(faults), is_other_kind=any(not fault["loc"] for fault in faults)
            ) from None
        return Structured(_finite_only(instance.model_dump(mode="json")), instance)

    def check(self, value: Any) -> None:
        """Raise NotValid if `value`, of JSON, does not validate. For a schema made by `of_json_schema`."""
        self._checked(value)

    @tolerant
    def _checked(self, value: Any) -> Any:
        try:
            faults = list(self._validator.iter_errors(value))
        except (RecursionError, OverflowError) as endless:
            raise NotValid(f"it is too deep or too large to be checked: {endless}") from None
        if faults:
            words = [f"{fault.json_path.removeprefix('$.')}: {fault.message}" for fault in faults]
            other = any(fault.validator == "type" and not fault.absolute_path for fault in faults)
            raise NotValid(_listed(words), len(faults), is_other_kind=other)
        return value


def schema_prompt(schema: str) -> str:
    """Tells the model the JSON Schema of its answer."""
    return f"Reply with one JSON value only, which validates against this JSON Schema: {schema}"


def repair_prompt(faults: str, schema: str) -> str:
    """Asks the model to correct an answer that did not validate."""
    return f"This answer cannot be used: {faults}\nGive the same answer again, mended. {schema_prompt(schema)}"


def without_titles(schema: Any) -> Any:
    """`schema` without the titles that pydantic derives from names: they add nothing and cost tokens in every call."""
    if isinstance(schema, list):
        return [without_titles(part) for part in schema]
    if not isinstance(schema, dict):
        return schema
    # A property may be called `title`; then its schema is a mapping.
    return {k: without_titles(v) for k, v in schema.items() if not (k == "title" and isinstance(v, str))}


def _finite_only(value: Any) -> Any:
    try:
        json.dumps(value, allow_nan=False)
    except (ValueError, RecursionError) as error:
        raise NotValid(f"it has what JSON cannot say: {error}") from None
    return value


class _BadReference(Exception):
    pass


@tolerant
def _validator_of(schema: dict[str, Any]) -> Any:
    """A validator that fetches nothing. Raises SchemaError, or _BadReference for a $ref without a target."""
    from jsonschema.validators import Draft202012Validator, extend, validator_for
    from referencing import Registry
    from referencing.exceptions import Unresolvable
    from referencing.jsonschema import DRAFT202012

    kind = validator_for(schema, default=Draft202012Validator)
    kind.check_schema(schema)
    kind = extend(kind, {"pattern": _pattern})  # type: ignore[no-untyped-call]  # the stubs have none
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


def _pattern(validator: Any, source: str, value: Any, schema: Any) -> Iterator[Any]:
    """The keyword `pattern`, as jsonschema has it, with a time limit."""
    from jsonschema.exceptions import ValidationError

    if not validator.is_type(value, "string"):
        return
    try:
        if not Pattern(source).occurs_in(value):
            yield ValidationError(f"{value!r} does not match {source!r}")
    except PatternTooSlow as slow:
        yield ValidationError(str(slow))


def _references(schema: Any) -> Iterator[str]:
    if isinstance(schema, dict):
        if isinstance(schema.get("$ref"), str):
            yield schema["$ref"]
        for part in schema.values():
            yield from _references(part)
    elif isinstance(schema, list):
        for part in schema:
            yield from _references(part)


def _listed(faults: list[str]) -> str:
    more = f"; and {len(faults) - _MAX_FAULTS} more" if len(faults) > _MAX_FAULTS else ""
    return "; ".join(fault[:300] for fault in faults[:_MAX_FAULTS]) + more
