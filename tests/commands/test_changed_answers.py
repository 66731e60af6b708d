"""What guardrails and callbacks make of an answer is what the row, files, later tasks and the Python API have of it."""

import json
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from typing import Any

import pytest
from support.command import read_rows, topics
from support.workspace import Place

from crewrun import Agent, Crew, Task
from crewrun.crew.output import CrewOutput, OutputFormat
from crewrun.testing import scripted

CREW = '''
from pydantic import BaseModel
from crewrun import Agent, Crew, Task

class Note(BaseModel):
    title: str
    stars: int

class Other(BaseModel):
    other: list[int]

agent = Agent(role="Writer", goal="Write", backstory="Old", llm="offline")

def crew(kind, guardrail=None, callback=None, after=None, **fields):
    """A crew whose one task has an output of `kind`, and what is done to it."""
    schema = {"type": "object", "properties": {"title": {"type": "string"}, "stars": {"type": "integer"}}}
    kinds = {
        "pydantic": {"output_pydantic": Note}, "json": {"output_json": Note}, "schema": {"output_schema": schema},
        "list": {"output_schema": {"type": "array", "items": {"type": "integer"}}}, "text": {},
    }
    task = Task(
        name="note", description="Note {topic}", expected_output="A note", agent=agent,
        guardrail=guardrail, callback=callback, **kinds[kind], **fields,
    )
    return Crew(agents=[agent], tasks=[task], after_kickoff_callbacks=[after] if after else [])

def in_place(output):
    if output.pydantic is not None:
        output.pydantic.title, output.pydantic.stars = "new", 7
    else:
        output.json_dict.update(title="new", stars=7)

def assign(output):
    if output.pydantic is not None:
        output.pydantic = Other(other=[1, 2])
    else:
        output.json_dict = {"other": [1, 2]}

def passes(change):
    return lambda output: (True, change(output) or output)

def keeps_text(change):
    return lambda output: (True, change(output) or output.raw)

def also_json(output):
    output.json_dict = {"other": [1, 2]}

def also_model(output):
    output.pydantic = Other(other=[1, 2])

def text_of(output):
    output.raw, output.structured = "text", output.structured

MODEL, FIELDS, TEXT = Other(other=[1, 2]), {"title": "new", "stars": 7}, '{"title": "new", "stars": 7}'
'''
NEW, OTHER = {"title": "new", "stars": 7}, {"other": [1, 2]}


@pytest.fixture
def values(place: Place) -> Place:
    """A folder with crews of all kinds."""
    place.rows(*topics(1))
    return place


def define(values: Place, call: str) -> Path:
    path = values.folder / "crews.py"
    path.write_text(f"{CREW}\nmade = {call}\n")
    return path


async def by_python(path: Path) -> CrewOutput:
    """What the Python API gives for the same crew."""
    spec = spec_from_file_location("crews", path)
    assert spec is not None
    assert spec.loader is not None
    module = module_from_spec(spec)
    spec.loader.exec_module(module)
    output: CrewOutput = await module.made.akickoff({"topic": "topic 0"})
    return output


@pytest.mark.parametrize("kind", ["pydantic", "json"])
@pytest.mark.parametrize(
    ("deed", "expected"),
    [
        pytest.param("guardrail=passes(in_place)", NEW, id="guardrail in place"),
        pytest.param("guardrail=keeps_text(in_place)", NEW, id="guardrail in place, text returned"),
        pytest.param("guardrail=passes(assign)", OTHER, id="guardrail assigns"),
        pytest.param("guardrail=lambda output: (True, FIELDS)", NEW, id="guardrail returns fields"),
        pytest.param("guardrail=lambda output: (True, Note(**FIELDS))", NEW, id="guardrail returns a model"),
        pytest.param("guardrail=lambda output: (True, MODEL)", OTHER, id="guardrail returns another model"),
        pytest.param("guardrail=lambda output: (True, TEXT)", NEW, id="guardrail returns text"),
        pytest.param(
            "guardrail=lambda o: (True, o.model_copy(update={'pydantic': MODEL}))", OTHER, id="guardrail returns a copy"
        ),
        pytest.param("callback=in_place", NEW, id="callback in place"),
        pytest.param("callback=assign", OTHER, id="callback assigns"),
        pytest.param("after=in_place", NEW, id="after_kickoff in place"),
        pytest.param("after=assign", OTHER, id="after_kickoff assigns"),
        pytest.param("after=lambda output: MODEL", OTHER, id="after_kickoff returns a model"),
        pytest.param("after=lambda output: output.tasks_output[0]", None, id="after_kickoff returns a task's output"),
    ],
)
@pytest.mark.anyio
async def test_a_change_is_in_the_row_as_in_python(values: Place, kind: str, deed: str, expected: Any) -> None:
    """Whoever makes it and however; the text of an answer that was returned is its JSON."""
    path = define(values, f"crew({kind!r}, {deed})")
    output = await by_python(path)
    api: Any = getattr(output, "pydantic", output) or output.json_dict
    api = api.model_dump(mode="json") if hasattr(api, "model_dump") else api
    values.batch("--crew", "crews.py:made", "-q")
    (row,) = read_rows(values.results)
    assert row["output"] == api
    assert expected in (None, api)
    if "(True, FIELDS)" in deed or "(True, MODEL)" in deed:
        assert json.loads(row["tasks"][0]["output"]) == expected


@pytest.mark.parametrize(
    ("call", "expected"),
    [
        ("crew('pydantic', callback=also_json)", OTHER),
        ("crew('json', callback=also_model)", OTHER),
        ("crew('text', callback=also_json)", OTHER),
        ("crew('schema', after=in_place)", NEW),
        ("crew('schema', guardrail=lambda output: (True, MODEL))", OTHER),
        ("crew('text', guardrail=lambda output: (True, FIELDS))", NEW),
        ("crew('text', guardrail=lambda output: (True, MODEL))", OTHER),
        ("crew('list', guardrail=lambda output: (True, [4, 5]))", [4, 5]),
        ("crew('list', callback=text_of)", "text"),
    ],
)
@pytest.mark.anyio
async def test_the_field_that_was_changed_is_the_row_s(values: Place, call: str, expected: Any) -> None:
    """Also where the task asks for the other field, or for none, and where no field holds the value."""
    path = define(values, call)
    assert (await by_python(path)).value == expected
    values.batch("--crew", "crews.py:made", "-q")
    assert read_rows(values.results)[0]["output"] == expected


@pytest.mark.parametrize(
    ("kind", "deed", "expected"),
    [
        ("pydantic", "", None),
        ("list", "", None),
        ("pydantic", "callback=in_place", NEW),
        ("json", "guardrail=lambda output: (True, MODEL)", OTHER),
    ],
)
def test_the_file_of_a_structured_task_is_json(values: Place, kind: str, deed: str, expected: Any) -> None:
    """What the row has, with the changes of callbacks, which run before it is written, as in CrewAI."""
    define(values, f"crew({kind!r}, {deed + ', ' if deed else ''}output_file='note.json')")
    values.batch("--crew", "crews.py:made", "-q")
    (row,) = read_rows(values.results)
    written = json.loads((values.folder / row["files"][0]).read_text())
    assert written == row["output"]
    assert expected in (None, written)


def test_run_prints_structured_answers_as_json(values: Place) -> None:
    """One line of JSON; text stays text."""
    define(values, "crew('pydantic', callback=in_place)")
    values.crewrun("run", "crews.py:made", "topic=x", "-q")
    assert values.stdout == '{"title":"new","stars":7}\n'
    define(values, "crew('text', guardrail=lambda output: (True, 'just so'))")
    values.crewrun("run", "crews.py:made", "topic=x", "-q")
    assert values.stdout == "just so\n"


def plain_task(**fields: Any) -> Task:
    agent = Agent(role="Writer", goal="Write", backstory="Old")
    return Task(description="Note", expected_output="A note", agent=agent, **fields)


@pytest.mark.anyio
async def test_chatter_around_an_answer_does_not_reach_its_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nor do fences, whatever declares the schema."""
    monkeypatch.chdir(tmp_path)
    schema = {"type": "array", "items": {"type": "integer"}}
    task = plain_task(output_schema=schema, output_file="list.json")
    async with scripted("Here you are:\n```json\n[1, 2]\n```"):
        await Crew(tasks=[task]).akickoff()
    assert (tmp_path / "list.json").read_text() == "[1, 2]"


@pytest.mark.anyio
async def test_a_later_task_reads_what_a_guardrail_returned() -> None:
    """Context is text, as in CrewAI: of a value that was returned its JSON; a change in place leaves it alone."""
    first = plain_task(guardrail=lambda output: (True, {"n": 1}))
    second = plain_task(callback=lambda output: setattr(output, "json_dict", {"n": 2}))
    third = plain_task()
    crew = Crew(tasks=[first, second, third])
    async with scripted("one", "two", "three") as model:
        output = await crew.akickoff()
    asked = str(model.requests[2].messages[-1].content)
    assert ('{"n": 1}' in asked, "two" in asked, '{"n": 2}' in asked) == (True, True, False)
    assert [one.value for one in output.tasks_output] == [{"n": 1}, {"n": 2}, "three"]
    assert output.tasks_output[0].output_format == OutputFormat.JSON


@pytest.mark.anyio
async def test_an_agent_s_own_guardrail_may_return_a_value() -> None:
    """A model or fields, in a direct kickoff."""
    agent = Agent(role="Writer", goal="Write", backstory="Old", guardrail=lambda output: (True, {"n": 1}))
    async with scripted("one"):
        output = await agent.akickoff("Note")
    assert (output.json_dict, output.value, output.raw) == ({"n": 1}, {"n": 1}, '{"n": 1}')


@pytest.mark.anyio
async def test_one_function_is_called_once() -> None:
    """As a task's callback, among its `callbacks` and as the crew's; a bound method is one, too; so for steps."""

    class Seen:
        def __init__(self) -> None:
            self.tasks: list[str] = []
            self.steps: list[str] = []

        def task(self, output: Any) -> None:
            self.tasks.append(output.raw)

        def step(self, step: Any) -> None:
            self.steps.append(step.output)

    seen = Seen()
    agent = Agent(role="Writer", goal="Write", backstory="Old", step_callback=seen.step)
    task = Task(
        description="Note", expected_output="A note", agent=agent, callback=seen.task, callbacks=[seen.task, seen.task]
    )
    crew = Crew(agents=[agent], tasks=[task], task_callback=seen.task, step_callback=seen.step)
    async with scripted("one"):
        await crew.akickoff()
    assert (seen.tasks, seen.steps) == (["one"], ["one"])
