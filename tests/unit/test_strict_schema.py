"""Schemas as they go to a provider: in OpenAI's strict subset where they have a form there, else as declared."""

import json
from collections.abc import Iterator
from datetime import datetime
from enum import Enum
from typing import Annotated, Any, Literal

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from jsonschema import Draft202012Validator
from pydantic import BaseModel, ConfigDict, Field

from crewrun import LLM
from crewrun.llm.endpoints import resolve
from crewrun.llm.schema import OutputSchema
from crewrun.llm.transports.chat_json import schema_on_wire
from crewrun.messages import relaxed

WORDS = {
    "type",
    "properties",
    "required",
    "additionalProperties",
    "items",
    "enum",
    "const",
    "anyOf",
    "$ref",
    "$defs",
} | {
    "title",
    "description",
}


def faults(schema: Any, at: str = "#") -> Iterator[str]:
    """What OpenAI's strict mode refuses in `schema`, by its documentation; independent of how it came about."""
    if at == "#" and schema.get("type") != "object":
        yield f"{at}: no object"
    if unknown := schema.keys() - WORDS:
        yield f"{at}: {unknown}"
    if not schema.keys() & {"type", "anyOf", "$ref"}:
        yield f"{at}: no type"
    if "$ref" in schema and len(schema) > 1:
        yield f"{at}: a reference with {schema.keys()}"
    kinds = schema.get("type", [])
    if "object" in kinds:
        if schema.get("additionalProperties") is not False:
            yield f"{at}: open"
        if schema.get("required") != list(schema.get("properties", {"": 0})):
            yield f"{at}: not all required"
    if "array" in kinds and "items" not in schema:
        yield f"{at}: no items"
    for group in ("properties", "$defs"):
        for name, part in schema.get(group, {}).items():
            yield from faults(part, f"{at}/{group}/{name}")
    for i, part in enumerate([*schema.get("anyOf", []), *([schema["items"]] if "items" in schema else [])]):
        yield from faults(part, f"{at}/{i}")


def strict(schema: dict[str, Any]) -> Any:
    """The strict form, None for a schema without one; then what goes out is as it was declared."""
    wire = OutputSchema.of_json_schema(schema, "task").wire
    assert (relaxed(wire).schema, relaxed(wire).strict, relaxed(wire).name) == (schema, False, wire.name)
    if not wire.strict:
        assert relaxed(wire) is wire
        return None
    assert list(faults(wire.schema)) == []
    return wire.schema


def closed(**properties: Any) -> dict[str, Any]:
    return {
        "type": "object",
        "properties": properties,
        "required": list(properties),
        "additionalProperties": False,
    }


def having(part: dict[str, Any], **more: Any) -> dict[str, Any]:
    """An object with `part` as its one property."""
    return {"type": "object", "properties": {"x": part}, **more}


DEFS = {"$defs": {"A": {"type": "string", "description": "an A"}}}
TEXT = {"type": "string"}


@pytest.mark.parametrize(
    ("part", "form"),
    [
        ({"$ref": "#/$defs/A", "description": "mine"}, {"type": "string", "description": "mine"}),
        ({"$ref": "#/$defs/A", "default": "a"}, {"$ref": "#/$defs/A"}),
        ({"allOf": [{"$ref": "#/$defs/A"}], "default": "a"}, {"$ref": "#/$defs/A"}),
        ({"allOf": [TEXT], "title": "T"}, {"type": "string", "title": "T"}),
        ({"const": 3}, {"type": "integer", "const": 3}),
        ({"enum": ["a", None]}, {"type": ["null", "string"], "enum": ["a", None]}),
        ({"type": "integer", "minimum": 1, "default": 2, "examples": [3]}, {"type": "integer"}),
        ({"type": "string", "format": "date", "pattern": "^x", "x-mine": 1}, TEXT),
        ({"type": "array", "items": TEXT, "minItems": 1, "uniqueItems": True}, {"type": "array", "items": TEXT}),
        ({"oneOf": [TEXT, {"type": "null"}]}, {"anyOf": [TEXT, {"type": "null"}]}),
        ({"properties": {"y": TEXT}}, closed(y=TEXT)),
        ({"type": "object", "additionalProperties": False}, closed()),
        ({"type": ["object", "null"], "properties": {"y": TEXT}}, closed(y=TEXT) | {"type": ["object", "null"]}),
    ],
    ids=repr,
)
def test_what_has_a_strict_form_is_brought_into_it(part: Any, form: Any) -> None:
    """An answer to the form is one to the schema."""
    schema = strict(having(part, **DEFS))
    assert schema is not None
    assert schema["properties"]["x"] == form
    assert schema.get("$defs", {}) == (DEFS["$defs"] if "$ref" in form else {})


@pytest.mark.parametrize(
    "part",
    [
        {},
        True,
        {"description": "anything"},
        {"type": "object"},
        {"type": "array"},
        {"type": "array", "items": {}},
        {"type": "array", "items": TEXT, "prefixItems": [TEXT]},
        {"type": "object", "additionalProperties": TEXT},
        {"type": "object", "additionalProperties": {}},
        {"type": "object", "properties": {"y": TEXT}, "additionalProperties": True},
        {"type": "object", "properties": {"y": TEXT}, "required": ["z"]},
        {"type": "object", "properties": {}, "patternProperties": {"a": TEXT}},
        {"anyOf": [TEXT, {}]},
        {"anyOf": [TEXT], "type": "string"},
        {"oneOf": [TEXT, {"type": "string", "minLength": 1}]},
        {"oneOf": [{"type": "integer"}, {"type": "number"}]},
        {"allOf": [TEXT, {"minLength": 2}]},
        {"allOf": [{"type": "object", "properties": {"y": TEXT}}], "properties": {"z": TEXT}},
        {"not": TEXT, "type": "integer"},
        {"if": TEXT, "then": TEXT, "type": "string"},
        {"enum": [[1]]},
    ],
    ids=repr,
)
def test_what_has_none_goes_out_as_declared(part: Any) -> None:
    """With `strict: false`."""
    assert strict(having(part)) is None


@pytest.mark.parametrize("schema", [{}, {"type": "array", "items": TEXT}, {"anyOf": [closed(), TEXT]}], ids=repr)
def test_the_root_must_be_an_object(schema: Any) -> None:
    """A list or a union has no strict form."""
    assert strict(schema) is None


class Mood(Enum):
    GLAD = "glad"
    SAD = "sad"


class Cat(BaseModel):
    kind: Literal["cat"] = "cat"
    mood: Mood = Field(default=Mood.GLAD, description="how it is")


class Dog(BaseModel):
    kind: Literal["dog"] = "dog"
    born: datetime | None = None


class Owner(BaseModel):
    name: str = Field(min_length=2, examples=["Ann"])
    pet: Annotated[Cat | Dog, Field(discriminator="kind")]
    others: list[Cat] = Field(default=[], max_length=3)
    best: Cat = Field(description="the best one")


class Tree(BaseModel):
    """A tree."""

    label: str
    left: "Tree | None" = Field(default=None, description="on the left")
    twin: "list[Branch]" = []


class Branch(BaseModel):
    tree: Tree = Field(description="again a tree")


class Bag(BaseModel):
    by_name: dict[str, int]


class Open(BaseModel):
    model_config = ConfigDict(extra="allow")
    x: int


class Lax(BaseModel):
    x: Any
    y: list  # type: ignore[type-arg]  # as users write it


@pytest.mark.parametrize(
    ("model", "is_strict"),
    [(Owner, True), (Tree, True), (Branch, True), (Cat, True), (Bag, False), (Open, False), (Lax, False)],
)
def test_pydantic_s_schemas_are_strict_where_they_can_be(model: type[BaseModel], is_strict: bool) -> None:
    """Descriptions beside references, discriminated unions and classes that have themselves inside included."""
    wire = OutputSchema.of_model(model, "pydantic", "task").wire
    assert wire.strict is is_strict
    if is_strict:
        assert list(faults(wire.schema)) == []
        assert wire.schema["required"] == list(model.model_fields)
    assert "default" not in json.dumps(wire.schema) or not is_strict


def test_a_class_on_the_llm_goes_out_in_the_same_form() -> None:
    """As `response_format`, for whoever asks the model."""
    for model in (Owner, Bag):
        sent = resolve(LLM("gpt-4o-mini", response_format=model)).reply_schema
        assert sent is not None
        assert sent.strict is (model is Owner)
        if sent.strict:
            assert schema_on_wire(sent) == schema_on_wire(OutputSchema.of_model(model, "pydantic", "task").wire)
        assert relaxed(sent).schema == model.model_json_schema()


def test_a_schema_that_doubles_at_every_level_is_left_as_it_is() -> None:
    """Written out it would be larger than what a provider takes."""
    levels = {f"L{i}": closed(a=_near(i + 1), b=_near(i + 1)) for i in range(40)} | {"L40": TEXT}
    assert strict(having(_near(0), **{"$defs": levels})) is None


def _near(level: int) -> dict[str, Any]:
    return {"$ref": f"#/$defs/L{level}", "description": "d"}


# --- any schema -------------------------------------------------------------------------------------------------------

_LIMITS = {"minimum", "maximum", "minLength", "maxLength", "pattern", "format", "minItems", "maxItems"}


def _described(parts: st.SearchStrategy[dict[str, Any]]) -> st.SearchStrategy[dict[str, Any]]:
    about = st.fixed_dictionaries({}, optional={"description": st.just("d"), "default": st.just(None)})
    return st.builds(lambda part, words: {**part, **words}, parts, about)


def _object(parts: st.SearchStrategy[Any]) -> st.SearchStrategy[dict[str, Any]]:
    return st.builds(
        lambda properties, some, rest: {
            "type": "object",
            "properties": properties,
            "required": [name for name in properties if name in some],
            **rest,
        },
        st.dictionaries(st.sampled_from("abc"), parts, max_size=3),
        st.sets(st.sampled_from("abc")),
        st.sampled_from([{}, {}, {"additionalProperties": False}, {"additionalProperties": True}]),
    )


def _tagged(parts: st.SearchStrategy[Any]) -> st.SearchStrategy[dict[str, Any]]:
    def tagged(tag: str, part: Any) -> dict[str, Any]:
        return {"type": "object", "properties": {"kind": {"const": tag}, "x": part}}

    return st.builds(
        lambda one, other, word: {word: [tagged("one", one), tagged("other", other)]},
        parts,
        parts,
        st.sampled_from(["oneOf", "anyOf"]),
    )


_LEAVES: st.SearchStrategy[dict[str, Any]] = st.sampled_from(
    [
        *({"type": "string"}, {"type": "string", "minLength": 2}, {"type": "string", "format": "date"}),
        *({"type": "integer", "minimum": 1}, {"type": ["number", "null"]}, {"type": "boolean"}, {"type": "null"}),
        *({"enum": ["a", 1, None]}, {"const": True}, {"enum": ["x"], "type": "string"}),
        *({"$ref": "#/$defs/Plain"}, {"$ref": "#/$defs/Around"}, {"allOf": [{"$ref": "#/$defs/Plain"}]}),
        *({}, {"type": "object"}, {"type": "object", "additionalProperties": {"type": "string"}}, {"type": "array"}),
    ]
)
_PARTS = st.recursive(
    _described(_LEAVES),
    lambda parts: _described(
        _object(parts)
        | _tagged(parts)
        | st.builds(lambda part: {"type": "array", "items": part, "maxItems": 2}, parts)
        | st.builds(lambda one, other: {"anyOf": [one, other]}, parts, parts)
        | st.builds(lambda one: {"oneOf": [one, {"type": "null"}]}, parts)
    ),
    max_leaves=5,
)
_DEFINITIONS = {
    "Plain": {"type": "object", "properties": {"n": {"type": "integer", "default": 1}}},
    "Around": {
        "type": "object",
        "properties": {
            "next": {"anyOf": [{"$ref": "#/$defs/Around"}, {"type": "null"}], "default": None},
            "all": {"type": "array", "items": {"$ref": "#/$defs/Around", "description": "of its kind"}},
        },
    },
}


def _without_limits(schema: Any) -> Any:
    if isinstance(schema, list):
        return [_without_limits(part) for part in schema]
    if not isinstance(schema, dict):
        return schema
    return {word: _without_limits(part) for word, part in schema.items() if word not in _LIMITS}


def _value(draw: st.DrawFn, schema: Any, defs: Any, depth: int) -> Any:
    """A value that `schema`, a strict one, allows."""
    if "$ref" in schema:
        return _value(draw, defs[schema["$ref"].rpartition("/")[2]], defs, depth)
    if "anyOf" in schema:
        parts = schema["anyOf"] if depth < 4 else schema["anyOf"][-1:]
        return _value(draw, draw(st.sampled_from(parts)), defs, depth)
    if "enum" in schema:
        return draw(st.sampled_from(schema["enum"]))
    if "const" in schema:
        return schema["const"]
    kind = schema["type"] if isinstance(schema["type"], str) else draw(st.sampled_from(schema["type"]))
    match kind:
        case "object":
            return {name: _value(draw, part, defs, depth + 1) for name, part in schema["properties"].items()}
        case "array":
            return [_value(draw, schema["items"], defs, depth + 1) for _ in range(draw(st.integers(0, 2)))][: 4 - depth]
        case "string":
            return draw(st.text(max_size=3))
        case "integer":
            return draw(st.integers(-3, 3))
        case "number":
            return draw(st.floats(-3, 3))
        case "boolean":
            return draw(st.booleans())
    return None


@settings(max_examples=60, suppress_health_check=[HealthCheck.too_slow], deadline=None)
@given(_object(_PARTS), st.data())
def test_any_schema_fits_or_goes_out_as_declared(schema: dict[str, Any], data: st.DataObject) -> None:
    """A strict form has nothing that strict mode refuses, and what it allows the schema allows, but for limits on
    single values, which an answer is held against afterwards.
    """
    declared = {**schema, "$defs": _DEFINITIONS}
    form = strict(declared)
    if form is not None:
        value = data.draw(st.composite(lambda draw: _value(draw, form, form.get("$defs"), 0))())
        Draft202012Validator(_without_limits(declared)).validate(value)
