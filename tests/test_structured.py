"""Structured output: schemas on the wire and in words, validation, the one repair, and what a row's output is then."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import BaseModel, Field

from crewrun import LLM, Agent, Crew, CrewOutput, DefinitionError, Task
from crewrun.errors import BadRequest, OutputInvalid
from crewrun.llm.schema import NotValid, OutputSchema
from crewrun.messages import ChatRequest
from crewrun.testing import Step, scripted

pytestmark = pytest.mark.anyio

KNOWN = LLM(model="gpt-4o-mini")
UNKNOWN = LLM(model="openai/nobody-knows-it")


class Review(BaseModel):
    """What a review says."""

    stars: int = Field(ge=1, le=5)
    title: str = "untitled"


class Plain(BaseModel):
    name: str
    age: int | None = None


SCHEMA = {"type": "array", "items": {"type": "string"}, "minItems": 1}


def crew_that_gives(llm: LLM = KNOWN, **declared: Any) -> Crew:
    agent = Agent(role="R", goal="g", backstory="b", llm=llm)
    return Crew(agents=[agent], tasks=[Task(description="d", expected_output="e", agent=agent, **declared)])


async def run(crew: Crew, *script: Step) -> tuple[CrewOutput, list[ChatRequest]]:
    async with scripted(*script) as model:
        output = await crew.akickoff()
    return output, model.requests


class Scored(BaseModel):
    review: Review


async def test_a_crew_s_output_is_read_by_key_as_it_is() -> None:
    """An attribute of the instance, objects inside it too; without an instance an entry of the JSON value."""
    text = '{"review": {"stars": 4}}'
    instance, _ = await run(crew_that_gives(output_pydantic=Scored), text)
    value, _ = await run(crew_that_gives(output_json=Scored), text)
    plain, _ = await run(crew_that_gives(), text)
    assert (instance["review"], value["review"]) == (Review(stars=4), {"stars": 4, "title": "untitled"})
    for output in (instance, value, plain):
        with pytest.raises(KeyError, match=r"^'stars'$"):
            output["stars"]


async def test_output_pydantic_gives_an_instance() -> None:
    """`raw` is what the model wrote, `value` what a result row has."""
    output, _ = await run(crew_that_gives(output_pydantic=Review), '{"stars": 4}')
    assert (output.pydantic, output.json_dict, output.raw) == (Review(stars=4), None, '{"stars": 4}')
    assert (output.value, output.to_dict(), output["stars"], str(output)) == (
        {"stars": 4, "title": "untitled"},
        {"stars": 4, "title": "untitled"},
        4,
        "stars=4 title='untitled'",
    )
    assert output.tasks_output[0].output_format == "pydantic"


async def test_output_json_gives_a_dict() -> None:
    """And `json` its text."""
    output, _ = await run(crew_that_gives(output_json=Review), '{"stars": 4, "title": "é"}')
    assert (output.pydantic, output.json_dict) == (None, {"stars": 4, "title": "é"})
    assert (output.json, str(output)) == ('{"stars": 4, "title": "é"}', "{'stars': 4, 'title': 'é'}")


async def test_output_schema_takes_any_json_schema() -> None:
    """Also one whose value is no object."""
    output, _ = await run(crew_that_gives(output_schema=SCHEMA), '["a"]')
    assert (output.value, output.json_dict, output.pydantic) == (["a"], None, None)


async def test_the_schema_goes_along_where_the_endpoint_takes_it() -> None:
    """In OpenAI's strict form when the schema allows that; always in words as well."""
    _, requests = await run(crew_that_gives(output_pydantic=Plain), '{"name": "a"}')
    wire = requests[0].schema
    assert wire is not None
    assert (wire.name, wire.strict) == ("Plain", True)
    assert (wire.schema["required"], wire.schema["additionalProperties"]) == (["name", "age"], False)
    assert "validates against this JSON Schema" in requests[0].messages[-1].content


@pytest.mark.parametrize(
    ("schema", "strict"),
    [
        pytest.param({"type": "object", "properties": {"a": {"type": "string"}}}, True, id="closed"),
        pytest.param({"type": "object", "properties": {"a": {"type": "string", "minLength": 2}}}, True, id="length"),
        pytest.param({"type": "object"}, False, id="open"),
        pytest.param(SCHEMA, False, id="no-object"),
    ],
)
async def test_strict_mode_is_for_schemas_that_it_takes(schema: dict[str, Any], strict: bool) -> None:
    """The others go as they are."""
    wire = OutputSchema.of_json_schema(schema, "task").wire
    assert (wire.strict, wire.schema == schema) == (strict, not strict)


async def test_an_unknown_model_is_asked_in_words_only() -> None:
    """No `response_format` that it might refuse."""
    output, requests = await run(crew_that_gives(UNKNOWN, output_pydantic=Plain), '{"name": "a"}')
    assert (output.pydantic, requests[0].schema) == (Plain(name="a"), None)


async def test_an_endpoint_that_refuses_the_schema_is_asked_in_words_and_remembered() -> None:
    """One refused request for all rows."""
    crew = crew_that_gives(output_pydantic=Plain)
    refused = BadRequest("HTTP 400: response_format is not supported", http_status=400)
    async with scripted(refused, '{"name": "a"}', '{"name": "b"}') as model:
        outputs = [(await crew.akickoff()).pydantic for _ in range(2)]
    assert outputs == [Plain(name="a"), Plain(name="b")]
    assert [request.schema is None for request in model.requests] == [False, True, True]


@pytest.mark.parametrize(
    "reply",
    [
        '```json\n{"stars": 3}\n```',
        'Here it is:\n```\n{"stars": 3}\n```\nGood day.',
        'The review is {"stars": 3}, as asked.',
        '{"stars": "3"}',
    ],
    ids=["fence", "fence-and-words", "among-words", "coerced"],
)
async def test_json_is_found_where_models_put_it(reply: str) -> None:
    """No repair is paid for a code fence."""
    output, _ = await run(crew_that_gives(output_pydantic=Review), reply)
    assert output.pydantic == Review(stars=3)


async def test_an_answer_that_does_not_validate_is_sent_back_once() -> None:
    """With what is wrong; `raw` is the mended answer."""
    output, requests = await run(crew_that_gives(output_pydantic=Review), '{"stars": 9}', '{"stars": 5}')
    assert (output.raw, output.pydantic) == ('{"stars": 5}', Review(stars=5))
    bad, plea = requests[1].messages[-2:]
    assert (bad.role, bad.content) == ("assistant", '{"stars": 9}')
    assert plea.content.startswith("This answer cannot be used: stars: Input should be less than or equal to 5\n")


@pytest.mark.parametrize(
    ("declared", "reply", "fault"),
    [
        ({"output_pydantic": Review}, "no json", "it is not JSON: "),
        ({"output_json": Review}, '{"stars": NaN}', "it is not JSON: "),
        ({"output_schema": SCHEMA}, "[1]", "[0]: 1 is not of type 'string'"),
    ],
    ids=["pydantic", "json", "schema"],
)
async def test_a_second_invalid_answer_fails_as_output_invalid_with_the_raw_reply(
    declared: dict[str, Any], reply: str, fault: str
) -> None:
    """CrewAI returns None here."""
    with pytest.raises(OutputInvalid, match="nor did its repair") as raised:
        await run(crew_that_gives(**declared), "first", reply)
    assert (raised.value.category, raised.value.raw, fault in str(raised.value)) == ("output_invalid", reply, True)


@pytest.mark.parametrize(
    ("declared", "message"),
    [
        ({"output_pydantic": Plain, "output_json": Plain}, "has both output_json and output_pydantic"),
        ({"output_schema": {"type": "objekt"}}, "output_schema.type: 'objekt' is not valid"),
        ({"output_schema": {"$ref": "https://example.com/x.json"}}, "leads nowhere; only parts of this schema"),
        ({"output_schema": {"$ref": "#/$defs/nothing"}}, "'#/$defs/nothing' leads nowhere"),
        ({"output_schema": True}, "is a JSON Schema, a mapping"),
    ],
    ids=["two", "invalid", "remote", "dangling", "boolean"],
)
async def test_a_schema_that_cannot_work_is_refused_when_the_task_is_made(declared: Any, message: str) -> None:
    """Not at the first row, and nothing is fetched."""
    with pytest.raises(DefinitionError) as raised:
        crew_that_gives(**declared)
    assert message in str(raised.value)


class Measure(BaseModel):
    x: float


async def test_a_number_that_json_cannot_say_is_refused() -> None:
    """Pydantic takes "nan" for a float; a result line must be JSON."""
    with pytest.raises(OutputInvalid, match="what JSON cannot say"):
        await run(crew_that_gives(output_pydantic=Measure), '{"x": "nan"}', '{"x": "inf"}')


async def test_a_schema_that_refers_to_itself_without_end_is_refused() -> None:
    """Checking with it would never come to an end."""
    loop = {"$ref": "#/$defs/a", "$defs": {"a": {"$ref": "#/$defs/b"}, "b": {"$ref": "#/$defs/a"}}}
    with pytest.raises(DefinitionError, match="refers to itself without end"):
        crew_that_gives(output_schema=loop)


class Node(BaseModel):
    value: int
    children: list["Node"] = []


async def test_a_recursive_class_works() -> None:
    """$defs and $ref, with the root a reference."""
    output, _ = await run(crew_that_gives(output_pydantic=Node), '{"value": 1, "children": [{"value": 2}]}')
    assert output.pydantic == Node(value=1, children=[Node(value=2)])


@given(st.text(max_size=200) | st.binary(max_size=50).map(lambda b: b.decode("latin-1")))
def test_any_reply_is_read_or_refused(reply: str) -> None:
    """Nothing but NotValid comes out, and every value that does is JSON's."""
    schema = OutputSchema.of_json_schema({"type": ["object", "array", "number", "string", "boolean", "null"]}, "task")
    try:
        value = schema.read(reply).value
    except NotValid:
        return
    assert value == value  # noqa: PLR0124  # NaN is no JSON


@pytest.mark.parametrize(
    "text", ["[" * 100_000, '{"a":' * 100_000, "1e999", "Infinity"], ids=["deep", "deeper", "huge", "inf"]
)
def test_hostile_json_is_refused(text: str) -> None:
    """No RecursionError, no infinity."""
    schema = OutputSchema.of_json_schema({}, "task")
    with pytest.raises(NotValid):
        schema.read(text)
