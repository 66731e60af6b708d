"""The offline model, as agents meet it, and the values that it and the mock make up from schemas."""

import json
import re
from datetime import date
from decimal import Decimal
from enum import Enum
from typing import Annotated, Any, Literal

import pytest
from hypothesis import given
from hypothesis import strategies as st
from jsonschema import Draft202012Validator
from pydantic import BaseModel, Field, HttpUrl, TypeAdapter

from crewrun import LLM, Agent, Crew, Task
from crewrun.crew.output import AgentOutput
from crewrun.errors import UsageError
from crewrun.llm.offline_model.values import example
from crewrun.tools import tool

pytestmark = pytest.mark.anyio

TEXT = st.text(st.characters(codec="utf-8"), max_size=20)
SCALARS = st.none() | st.booleans() | st.integers() | TEXT
NAMES = st.sampled_from(["a", "b", "title", "$ref", "ü"])


@st.composite
def bounded(draw: st.DrawFn, low: str, high: str, numbers: st.SearchStrategy[Any]) -> dict[str, Any]:
    """Up to two bounds between which there is something."""
    first, second = sorted((draw(numbers), draw(numbers)))
    return {**({low: first} if draw(st.booleans()) else {}), **({high: second} if draw(st.booleans()) else {})}


@st.composite
def numbers(draw: st.DrawFn) -> dict[str, Any]:
    kind = draw(st.sampled_from(["integer", "number"]))
    bounds = draw(bounded("minimum", "maximum", st.integers(-1000, 1000) | st.floats(-1000, 1000)))
    if kind == "integer" or draw(st.booleans()):
        # A hundred more is room for every step and for excluded ends.
        step = draw(st.sampled_from([None, 1, 2, 3, 7, 10, 0.5, 0.25]))
        bounds |= {"multipleOf": step} if step else {}
        bounds |= {"maximum": bounds["maximum"] + 100} if "maximum" in bounds else {}
    if "minimum" in bounds and draw(st.booleans()):
        bounds["exclusiveMinimum"] = bounds.pop("minimum") - 1
    return {"type": kind, **bounds}


@st.composite
def objects(draw: st.DrawFn, parts: st.SearchStrategy[Any]) -> dict[str, Any]:
    properties = draw(st.dictionaries(NAMES, parts, max_size=4))
    required = draw(st.lists(st.sampled_from(sorted(properties)), unique=True)) if properties else []
    fewest = draw(st.integers(0, len(properties)))
    others = draw(st.sampled_from([True, False, {"type": "null"}]))
    sizes = {"minProperties": fewest, "additionalProperties": others}
    return {"type": "object", "properties": properties, "required": required, **sizes}


@st.composite
def arrays(draw: st.DrawFn, parts: st.SearchStrategy[Any]) -> dict[str, Any]:
    sizes = draw(bounded("minItems", "maxItems", st.integers(0, 4)))
    if draw(st.booleans()):
        return {"type": "array", "items": draw(parts), **sizes}
    if draw(st.booleans()):
        items = {"type": draw(st.sampled_from(["string", "integer"]))}
        return {"type": "array", "items": items, "uniqueItems": True, **sizes}
    first = draw(st.lists(parts, min_size=1, max_size=3))
    return {"type": "array", "prefixItems": first, "items": False, "minItems": len(first)}


@st.composite
def merged(draw: st.DrawFn, parts: st.SearchStrategy[Any]) -> dict[str, Any]:
    """Two objects in one, and one of several."""
    halves = [{"type": "object", "properties": {name: draw(parts)}, "required": [name]} for name in ("left", "right")]
    choice = {"anyOf": [{"required": ["left"]}, {"type": "null"}]}
    return {"allOf": [*halves, choice]} if draw(st.booleans()) else {**halves[0], "allOf": [halves[1]]}


NODE = {
    "type": "object",
    "properties": {
        "name": {"type": "string"},
        "next": {"anyOf": [{"$ref": "#/$defs/Node"}, {"type": "null"}]},
        "children": {"type": "array", "items": {"$ref": "#/$defs/Node"}},
    },
    "required": ["name", "next", "children"],
    "additionalProperties": False,
}
LEAVES = st.one_of(
    bounded("minLength", "maxLength", st.integers(0, 300)).map(lambda sizes: {"type": "string", **sizes}),
    numbers(),
    st.sampled_from([{"type": "boolean"}, {"type": "null"}, {"type": ["null", "string"]}, {}, True]),
    st.lists(SCALARS, min_size=1).map(lambda values: {"enum": values}),
    SCALARS.map(lambda value: {"const": value}),
    st.sampled_from(["date", "date-time", "email", "uri", "uuid", "ipv4"]).map(
        lambda n: {"type": "string", "format": n}
    ),
    st.just({"$ref": "#/$defs/Node"}),
)
SCHEMAS = st.recursive(
    LEAVES,
    lambda parts: st.one_of(
        objects(parts),
        arrays(parts),
        merged(parts),
        st.lists(parts, min_size=1, max_size=3).map(lambda s: {"anyOf": s}),
    ),
    max_leaves=12,
)


@given(SCHEMAS, TEXT)
def test_a_made_up_value_validates(schema: Any, seed_text: str) -> None:
    """Whatever supported keywords a schema is made of, and the same value again for the same arguments."""
    whole = {"allOf": [schema], "$defs": {"Node": NODE}}
    value = example(whole, seed_text)
    checked = Draft202012Validator(whole, format_checker=Draft202012Validator.FORMAT_CHECKER)
    assert [fault.message for fault in checked.iter_errors(value)] == []
    assert example(whole, seed_text) == value


WORDS = st.sampled_from(
    [
        *("$ref", "$defs", "type", "properties", "required", "items", "prefixItems", "anyOf", "oneOf", "allOf", "enum"),
        *(
            "const",
            "minimum",
            "maximum",
            "multipleOf",
            "exclusiveMinimum",
            "exclusiveMaximum",
            "minLength",
            "maxLength",
        ),
        *("pattern", "format", "minItems", "maxItems", "uniqueItems", "minProperties", "additionalProperties", "a"),
    ]
)
ODD = st.one_of(
    SCALARS,
    st.floats(),
    st.sampled_from(
        ["#", "#/allOf/0", "#/properties/a", "object", "array", "string", "number", "[[a](", "(a{999}){999}"]
    ),
    st.sampled_from([10**12, -(10**400), 1e308, [], {}]),
)


@given(st.recursive(ODD, lambda parts: st.dictionaries(WORDS, parts) | st.lists(parts, max_size=4), max_leaves=30))
def test_no_schema_is_too_odd(schema: Any) -> None:
    """Nonsense in every keyword and references in circles: it ends, raises nothing, and what it gives is JSON."""
    json.dumps(example(schema, "seed"))


@pytest.mark.parametrize(
    ("schema", "value"),
    [
        pytest.param({"$ref": "#"}, "seed", id="itself"),
        pytest.param({"type": "object", "properties": {"a": {"$ref": "#"}}, "required": ["a"]}, {}, id="without end"),
        pytest.param({"anyOf": [{"$ref": "#"}, {"type": "null"}]}, None, id="one way out"),
        pytest.param({"type": "array", "items": {"type": "string"}, "minItems": 10**9}, None, id="a billion items"),
        pytest.param({"type": "string", "minLength": 10**9, "maxLength": 10**9}, None, id="a billion characters"),
        pytest.param({"type": "object", "minProperties": 10**9}, {}, id="a billion properties"),
        pytest.param(
            {
                "$defs": {f"d{i}": {"anyOf": [{"$ref": f"#/$defs/d{j}"} for j in range(20)]} for i in range(20)},
                "$ref": "#/$defs/d0",
            },
            None,
            id="a maze",
        ),
        pytest.param({"$ref": "http://example.com/schema"}, "seed", id="elsewhere"),
        pytest.param(False, None, id="nothing fits"),
    ],
)
def test_a_schema_without_end_gives_something(schema: Any, value: Any) -> None:
    """{} for an object, else null, and at once."""
    assert example(schema, "seed") == value


def test_deep_nesting_gives_something() -> None:
    """Deeper than Python's stack."""
    schema: dict[str, Any] = {"type": "string"}
    for _ in range(5000):
        schema = {"type": "array", "items": schema}
    assert example(schema, "seed") is None


@pytest.mark.parametrize(
    ("pattern", "text"),
    [
        (r"^[A-Z]{3}-\d+$", "AAA-1"),
        (r"^(red|green)?$", "red"),
        (r"^\+?[1-9]\d{1,14}$", "+11"),
        (r"^[^\d\s@]+@[^\d]+\.\w{2,}$", "a@a.aa"),
        (r"^#(?:[0-9a-f]{3}){1,2}$", "#000"),
        (r"^(?=.*\d)secret$", "a seed"),
        (r"^\p{L}+$", "a seed"),
        ("(", "a seed"),
    ],
)
def test_a_pattern_is_met_where_it_is_understood(pattern: str, text: str) -> None:
    """Look-arounds and other dialects' classes are not; then it is the usual text."""
    assert example({"type": "string", "pattern": pattern}, "a seed") == text


class Colour(Enum):
    RED = "red"


class Cat(BaseModel):
    kind: Literal["cat"]
    lives: Annotated[int, Field(ge=3, lt=9, multiple_of=3)]


class Dog(BaseModel):
    kind: Literal["dog"]


class Everything(BaseModel):
    """What users' output classes are made of."""

    title: Annotated[str, Field(min_length=40, max_length=49)]
    zip_code: Annotated[str, Field(pattern=r"^\d{5}$")]
    mail: Annotated[str, Field(json_schema_extra={"format": "email"})]
    site: HttpUrl
    day: date
    price: Decimal
    share: Annotated[float, Field(gt=0, lt=1)]
    colour: Colour
    pet: Annotated[Cat | Dog, Field(discriminator="kind")]
    pair: tuple[int, str]
    tags: Annotated[set[str], Field(min_length=3)]
    counts: dict[str, int]
    parent: "Everything | None"
    children: list["Everything"]
    note: str = "optional"


def test_a_pydantic_class_takes_what_its_schema_gives() -> None:
    """Constraints, formats, enums, unions, tuples, sets, decimals and references to itself."""
    made = Everything.model_validate(example(Everything.model_json_schema(), "seed"))
    assert made == Everything(
        title="seed seed seed seed seed seed seed seed seed seed",
        zip_code="11111",
        mail="someone@example.com",
        site=TypeAdapter(HttpUrl).validate_python("https://example.com/"),
        day=date(2024, 1, 1),
        price=Decimal(1),
        share=0.5,
        colour=Colour.RED,
        pet=Cat(kind="cat", lives=3),
        pair=(1, "seed"),
        tags={"seed", "2 seed", "3 seed"},
        counts={},
        parent=None,
        children=[],
    )


@tool
def look_up(word: str) -> str:
    """Look a word up."""
    return f"what {word!r} means"


IN_WORDS = LLM(model="offline", function_calling=False, structured_output=False)


async def explain(llm: LLM | str, subject: str = "owls", **fields: Any) -> AgentOutput:
    agent = Agent(role="Explainer", goal="Explain", backstory="b", tools=[look_up], llm=llm)
    return await agent.akickoff(f"Explain {subject}", **fields)


async def test_it_asks_for_the_first_tool_once_and_answers() -> None:
    """The argument is taken from the prompt, and the answer, which says that no model made it, from the result."""
    output = await explain("offline")
    call = {"id": "call_offline", "name": "look_up", "arguments": '{"word": "Explain owls"}'}
    assert output.messages[2:] == [
        {"role": "assistant", "content": "", "tool_calls": [call]},
        {"role": "tool", "content": "what 'Explain owls' means", "tool_call_id": "call_offline"},
        {"role": "assistant", "content": "[offline 67848b96: no model was called] what 'Explain owls' means"},
    ]


async def test_it_asks_in_words_when_tools_are_explained_in_words() -> None:
    """As a model does that takes no tools."""
    output = await explain(IN_WORDS)
    assert [message["content"] for message in output.messages[1:-1]] == [
        "Explain owls",
        'Thought: look_up may tell more\nAction: look_up\nAction Input: {"word": "Explain owls"}',
        "Observation: what 'Explain owls' means",
    ]
    assert output.raw.endswith(": no model was called] what 'Explain owls' means")


@pytest.mark.parametrize("function_calling", [True, False], ids=["as tools", "in words"])
async def test_with_tools_0_no_tool_runs(function_calling: bool) -> None:
    """An offline run that must not send the mail."""
    output = await explain(LLM(model="offline?tools=0", function_calling=function_calling))
    assert [message["role"] for message in output.messages] == ["system", "user", "assistant"]
    assert output.raw.endswith(": no model was called] Explain owls")


async def test_an_option_out_of_range_says_its_range() -> None:
    """`tools` is on or off."""
    with pytest.raises(UsageError, match=r"^model offline: tools=2 must be 0 or 1$"):
        await explain("offline?tools=2")


class Fact(BaseModel):
    text: str
    score: Annotated[int, Field(ge=1, le=5)]
    source: Literal["book", "web"]


@pytest.mark.parametrize("llm", ["offline", IN_WORDS], ids=["as a schema", "in words"])
async def test_given_a_schema_it_answers_with_json_that_fits(llm: LLM | str) -> None:
    """After its tool, too; and the text in it still says that no model was called."""
    output = await explain(llm, response_format=Fact)
    fact = Fact.model_validate(json.loads(output.raw))
    assert re.match(r"\[offline [0-9a-f]{8}: no model was called\] what 'Explain owls", fact.text)
    assert (output.pydantic, fact.score, fact.source) == (fact, 1, "book")


async def test_a_crew_with_tools_schemas_and_a_judge_runs_offline() -> None:
    """Each task calls its tool once, and a guardrail in words is passed."""
    agent = Agent(role="Explainer", goal="Explain", backstory="b", tools=[look_up], llm="offline")
    tasks = [
        Task(description="Explain {topic}", expected_output="A fact", agent=agent, output_pydantic=Fact),
        Task(description="Shorten it", expected_output="A line", agent=agent, guardrail="It is short"),
    ]
    output = await Crew(agents=[agent], tasks=tasks).akickoff({"topic": "owls"})
    first, second = output.tasks_output
    assert isinstance(first.pydantic, Fact)
    assert second.raw.startswith("[offline ")
    assert output.token_usage.successful_requests == 5


async def test_the_same_prompt_has_the_same_answer() -> None:
    """And another prompt another one."""
    first, again, other = [await explain("offline", subject) for subject in ("owls", "owls", "bats")]
    assert (first.messages == again.messages, first.raw == other.raw) == (True, False)
