"""Structured output: schemas on the wire and in words, validation, the one repair, and what a row's output is then."""

from typing import Any

import pytest
from hypothesis import given, settings
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


async def test_an_unknown_model_is_tried_with_the_schema() -> None:
    """Servers of one's own mostly take it, and answer better for it."""
    output, requests = await run(crew_that_gives(UNKNOWN, output_pydantic=Plain), '{"name": "a"}')
    assert (output.pydantic, requests[0].schema is not None) == (Plain(name="a"), True)


async def test_an_endpoint_that_refuses_the_schema_is_asked_in_words_and_remembered() -> None:
    """Its strict form, the form in which it was written, a probe with that: then in words, for all rows."""
    crew = crew_that_gives(output_pydantic=Plain)
    refused = BadRequest("HTTP 400: response_format is not supported", http_status=400)
    async with scripted(refused, refused, refused, '{"name": "a"}', '{"name": "b"}') as model:
        outputs = [(await crew.akickoff()).pydantic for _ in range(2)]
    assert outputs == [Plain(name="a"), Plain(name="b")]
    forms = [request.schema.strict if request.schema else None for request in model.requests]
    assert forms == [True, False, False, None, None]


async def test_a_schema_that_is_refused_as_a_strict_one_goes_relaxed_from_then_on() -> None:
    """One refused request for all rows, and the probe that is refused alike."""
    crew = crew_that_gives(output_pydantic=Plain)
    refused = BadRequest("HTTP 400: Invalid schema for response_format 'Plain'", http_status=400)
    async with scripted(refused, '{"name": "a"}', refused, '{"name": "b"}') as model:
        outputs = [(await crew.akickoff()).pydantic for _ in range(2)]
    assert outputs == [Plain(name="a"), Plain(name="b")]
    assert [request.schema and request.schema.strict for request in model.requests] == [True, False, True, False]


async def test_one_call_whose_strict_schema_is_refused_leaves_it_strict_for_the_next() -> None:
    """The probe was answered, and is on the bill."""
    crew = crew_that_gives(output_pydantic=Plain)
    refused = BadRequest("HTTP 400: Invalid schema for response_format 'Plain'", http_status=400)
    async with scripted(refused, '{"name": "a"}', "OK", '{"name": "b"}') as model:
        outputs = [await crew.akickoff() for _ in range(2)]
    assert [request.schema and request.schema.strict for request in model.requests] == [True, False, True, True]
    assert outputs[0].token_usage.total_tokens > outputs[1].token_usage.total_tokens


@pytest.mark.parametrize(
    "reply",
    [
        pytest.param('```json\n{"stars": 3}\n```', id="fence"),
        pytest.param('Here it is:\n```\n{"stars": 3}\n```\nGood day.', id="fence-and-words"),
        pytest.param('```javascript\n{"stars": 3}', id="fence-of-another-language-left-open"),
        pytest.param('The review is {"stars": 3}, as asked.', id="among-words"),
        pytest.param('{"stars": "3"}', id="coerced"),
        pytest.param('"{\\"stars\\": 3}"', id="encoded-twice"),
        pytest.param('Of {1, 2} in [0, 5), see [1] and {topic}: {"stars": 3}', id="after-brackets-of-prose"),
        pytest.param('First {"stars": 9}. No: {"stars": 3}', id="after-a-draft"),
        pytest.param('First {"stars": 2}. No: {"stars": 3}, not {"stars": 6} nor ["stars"].', id="before-others"),
        pytest.param('{"stars": 3}. See [note], [1, [2, and {topic: "x"}.', id="before-brackets-of-prose"),
        pytest.param('```json\n{"stars": 2,}\n```\nI mean\n```json\n{"stars": 3}\n```', id="after-a-broken-one"),
        pytest.param('```json\n{"stars": [2,\n```\nI mean\n{"stars": 3}', id="after-one-cut-in-its-fence"),
        pytest.param('```python\nx = {1}\n```\n```json5\n{"stars": 3}\n```\n```\n7\n```', id="several-fences"),
        pytest.param('{"stars": 3, "title": "```\\n{}\\n```"}', id="a-fence-inside"),
    ],
)
async def test_json_is_found_where_models_put_it(reply: str) -> None:
    """The last value that validates; no repair is paid for what stands around it."""
    output, _ = await run(crew_that_gives(output_pydantic=Review), reply)
    assert isinstance(output.pydantic, Review)
    assert output.pydantic.stars == 3


ANYTHING: dict[str, Any] = {}


@pytest.mark.parametrize(
    ("schema", "reply", "value"),
    [
        pytest.param(ANYTHING, 'So: {"a": [1, {"b": 2}]}', {"a": [1, {"b": 2}]}, id="anything"),
        pytest.param({"type": "array"}, "So: [[1], [2]] it is", [[1], [2]], id="array"),
        pytest.param({"type": "object"}, '[{"a": 1}] or {"b": {"c": 2}}', {"b": {"c": 2}}, id="object"),
        pytest.param({"type": "integer"}, "So:\n```\n7\n```", 7, id="number-in-a-fence"),
        pytest.param({"type": "string"}, '"[1]"', "[1]", id="text"),
        pytest.param(ANYTHING, "true", True, id="word"),
    ],
)
async def test_a_value_is_taken_whole(schema: dict[str, Any], reply: str, value: Any) -> None:
    """Never a part of a larger one, however much the schema takes."""
    assert OutputSchema.of_json_schema(schema, "task").read(reply).value == value


@pytest.mark.parametrize(
    ("reply", "fault"),
    [
        pytest.param('[{"name": "a"}]', "the answer: Input should be", id="list"),
        pytest.param('{"name": "a", "kids": [{"name": "b"}],}', "it is not JSON: ", id="comma"),
        pytest.param('{"x": "say "hi"", "kid": {"name": "b"}}', "it is not JSON: ", id="quotes"),
        pytest.param('{"x": 1, "kids": [{"name": "b"}, {"na', "it is not JSON: ", id="cut-off"),
        pytest.param('[{"name": "a"}, {"name": "b"}, ', "it is not JSON: ", id="list-cut-off"),
        pytest.param('{"x": NaN, "kid": {"name": "b"}}', "it is not JSON: NaN is not JSON", id="no-number"),
        pytest.param('See [1]. {"nam": 1, "age": "x"}', "name: Field required; age: ", id="the-nearest"),
        pytest.param('{"age": 1} and {"name": 5, "age": []}', "name: Field required", id="fewest-faults"),
        pytest.param("none", "it is not JSON: Expecting value", id="nothing"),
        pytest.param('Draft: {"name": "a"}\nBetter: {"name": "the "b""}', "it is not JSON: ", id="broken-after-draft"),
        pytest.param('Draft: {"name": "a"}\nBetter: {"name": "b', "it is not JSON: ", id="cut-off-after-draft"),
        pytest.param('{"name": "a"} {"name": "b",, } {"age": 1}', "it is not JSON: ", id="broken-between"),
        pytest.param('{"name": "a"} so [{"name": "b"},, ]', "it is not JSON: ", id="broken-list-after-a-draft"),
    ],
)
def test_a_part_of_a_broken_answer_is_none(reply: str, fault: str) -> None:
    """An inner object may look like the answer. What is wrong with the value that comes nearest is said."""
    with pytest.raises(NotValid) as invalid:
        OutputSchema.of_model(Plain, "pydantic", "task").read(reply)
    assert str(invalid.value).startswith(fault)


_PROSE = st.sampled_from(["so ", "[1] ", "{x} ", "[0, 5) ", "\n", '"', "a: b ", "{ ", "]", "``` "])
_VALID = st.builds(lambda name, age: Plain(name=name, age=age), st.text(max_size=8), st.none() | st.integers())
_INVALID = st.sampled_from(['{"name": 1}', "[2]", '{"nam": {"name": "x"}}', '[{"name": "x"}]', "{}"])


@settings(max_examples=50)
@given(st.lists(_PROSE | _INVALID | _VALID, max_size=8), _VALID, st.lists(_INVALID | st.sampled_from([" so", "."])))
def test_the_last_value_that_validates_is_the_answer(before: list[Any], last: Plain, after: list[str]) -> None:
    """Whatever else is in the reply, unless a bracket of prose may be the beginning of JSON."""
    words = [one if isinstance(one, str) else one.model_dump_json() for one in before]
    reply = "".join([*words, last.model_dump_json(), *after])
    assert OutputSchema.of_model(Plain, "pydantic", "task").read(reply).instance == last


async def _by_task(reply: str, **declared: Any) -> Any:
    return (await run(crew_that_gives(**declared), reply))[0].value


async def _by_agent(reply: str) -> Any:
    async with scripted(reply):
        output = await Agent(role="R", goal="g", backstory="b", llm=KNOWN).akickoff("Hi", response_format=Plain)
    return output.value


async def _by_llm(reply: str, **fields: Any) -> Any:
    async with scripted(reply):
        answer = await LLM("gpt-4o-mini", **fields).acall("Hi", response_model=None if fields else Plain)
    return answer.model_dump()


@pytest.mark.parametrize(
    "read",
    [
        pytest.param(lambda reply: _by_task(reply, output_pydantic=Plain), id="output_pydantic"),
        pytest.param(lambda reply: _by_task(reply, output_json=Plain), id="output_json"),
        pytest.param(lambda reply: _by_task(reply, output_schema=Plain.model_json_schema()), id="output_schema"),
        pytest.param(_by_agent, id="agent"),
        pytest.param(_by_llm, id="response_model"),
        pytest.param(lambda reply: _by_llm(reply, response_format=Plain), id="response_format"),
    ],
)
async def test_all_that_has_a_schema_reads_an_answer_alike(read: Any) -> None:
    """One call, whatever stands around the value."""
    reply = 'Not {x} but {"name": 1}, or rather:\n```jsonc\n{"name": "a", "age": null}\n```\nas in [1].'
    assert await read(reply) == {"name": "a", "age": None}


@pytest.mark.parametrize(
    ("judgement", "passes"),
    [
        ('{"valid": true, "feedback": null}', True),
        ('{"valid": true}', True),
        ('{"valid": "true", "feedback": ""}', True),
        ('A rule {x}. First {"valid": false, "feedback": "no"}, but:\n```\n{"valid": true}\n```', True),
        ('{"valid": false, "feedback": null}', False),
        ('{"valid": false}', False),
    ],
)
async def test_a_judge_needs_no_words(judgement: str, passes: bool) -> None:
    """To say that an answer is valid, or not; then the answer is sent back with the rule itself."""
    agent = Agent(role="R", goal="g", backstory="b", llm=KNOWN)
    task = Task(description="d", expected_output="e", agent=agent, guardrail="be kind")
    more = [] if passes else ["better", '{"valid": true}']
    output, requests = await run(Crew(agents=[agent], tasks=[task]), "answer", judgement, *more)
    assert output.raw == ("answer" if passes else "better")
    assert passes or "not accepted: it does not keep to: be kind\n" in requests[2].messages[-1].content


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


_PIECES = ["{", "[{", "[", '{"a":', "[1,", '{"', "{ "]
_DEARER_PIECES = [
    *("{}", '["[",', '{"a": 1,}', "```\n", '{"a":1\n```\n', '\\"{"', '{"a": NaN}', '"[', '{"\\u', "```json\n1\n```"),
]


@pytest.mark.parametrize(
    "text",
    [
        *("1e999", "Infinity"),
        *(piece * (1_000_000 // len(piece)) for piece in _PIECES),
        *(piece * (100_000 // len(piece)) for piece in _DEARER_PIECES),
    ],
    ids=["huge", "inf", *map(repr, _PIECES), *map(repr, _DEARER_PIECES)],
)
def test_hostile_json_is_refused_in_the_time_of_its_length(text: str) -> None:
    """No RecursionError, no infinity; to try every bracket by itself would take minutes."""
    schema = OutputSchema.of_model(Plain, "pydantic", "task")
    with pytest.raises(NotValid):
        schema.read(text)
