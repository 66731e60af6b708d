"""Functions and classes of the user's that each row calls: with its fields, for a crew or an answer."""

import json
import sys
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.command import problems, read_rows, write_rows
from support.forks import crewrun
from support.mock_process import MockProcess
from support.user_files import in_an_empty_folder, write

from crewrun import CrewrunWarning, DefinitionError, InputInvalid
from crewrun.definitions import load
from crewrun.target import CrewTarget, value_of
from crewrun.target.arguments import Arguments
from crewrun.testing import scripted

pytestmark = [pytest.mark.anyio, pytest.mark.usefixtures(in_an_empty_folder.__name__)]

TRIP = """\
from __future__ import annotations
from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum
from typing import TYPE_CHECKING, Any, Literal, Optional, TypedDict
from pydantic import BaseModel
from crewai import Agent, Crew, Flow, Task
from crewai.flow.flow import start
from crewai.project import CrewBase, crew as the_crew
if TYPE_CHECKING:
    from nowhere import Absent

def crew_of(text):
    agent = Agent(role="Writer", goal="write", backstory="You write.", llm="openai/gpt-4.1-mini")
    return Crew(agents=[agent], tasks=[Task(description=text, expected_output="text", agent=agent)])

class Style(Enum):
    calm = "calm"
    wild = "wild"

class Trip(BaseModel):
    origin: str
    days: int = 3

@dataclass
class Stay:
    origin: str
    days: int = 3

class Leg(TypedDict):
    origin: str
"""


async def prompts(body: str, *rows: dict[str, Any], ref: str = "build") -> list[str]:
    """The first line of the task that each of `rows` asks of a model, or why the row cannot be run."""
    write({"trip.py": f"{TRIP}\n{body}"})
    target = load(f"trip.py:{ref}").target
    asked = []
    for row in rows:
        try:
            async with scripted("an answer") as model:
                await target.akickoff(row)
        except InputInvalid as invalid:
            model.requests, told = [], str(invalid)
            asked.append(told)
        else:
            asked.append(model.requests[0].messages[-1].content.partition("\n")[0].removeprefix("Your task: "))
    return asked


@pytest.mark.parametrize(
    ("parameters", "row", "seen"),
    [
        pytest.param(
            "origin, days", {"origin": "Rome", "days": "4"}, {"origin": "Rome", "days": "4"}, id="as they are"
        ),
        pytest.param("origin: str, days: int", {"origin": 7, "days": "4"}, {"origin": "7", "days": 4}, id="numbers"),
        pytest.param("share: float, far: bool", {"share": "0.5", "far": "yes"}, {"share": 0.5, "far": True}, id="more"),
        pytest.param("a, /, b, *more, c=1", {"a": 1, "b": 2, "d": 3}, {"a": 1, "b": 2, "more": (), "c": 1}, id="kinds"),
        pytest.param("*, origin='Oslo', days=2", {"days": 5}, {"origin": "Oslo", "days": 5}, id="defaults"),
        pytest.param("a, **others", {"a": 1, "b": 2}, {"a": 1, "others": {"b": 2}}, id="all others"),
        pytest.param("cities: list[str]", {"cities": '["a"]'}, {"cities": ["a"]}, id="a list in a text"),
        pytest.param("cities: dict, a: int", {"cities": '{"b": 1}', "a": 1}, {"cities": {"b": 1}, "a": 1}, id="a dict"),
        pytest.param("style: Style", {"style": "wild"}, {"style": "wild"}, id="an enum"),
        pytest.param("n: Literal[1, 2]", {"n": "2"}, {"n": 2}, id="a literal"),
        pytest.param("n: Optional[int] = 5", {"n": ""}, {"n": None}, id="an empty cell"),
        pytest.param("n: int | None = 5", {"n": None}, {"n": None}, id="nothing"),
        pytest.param("a: Absent, b: Optional[Absent] = None", {"a": 1}, {"a": 1, "b": None}, id="an absent type"),
        pytest.param(
            "trip: Trip", {"origin": "a", "days": "2"}, {"trip": "origin='a' days=2"}, id="a model of the row"
        ),
        pytest.param("trip: Trip", {"trip": {"origin": "a"}, "x": 1}, {"trip": "origin='a' days=3"}, id="of a field"),
        pytest.param("trip: Trip = None", {"origin": "a"}, {"trip": None}, id="a model with a default"),
        pytest.param("stay: Stay", {"origin": "a"}, {"stay": "Stay(origin='a', days=3)"}, id="a dataclass"),
        pytest.param("leg: Leg", {"origin": "a"}, {"leg": {"origin": "a"}}, id="a typed dict"),
        pytest.param("inputs", {"a": 1}, {"inputs": {"a": 1}}, id="inputs"),
        pytest.param("inputs=None", {"a": 1}, {"inputs": {"a": 1}}, id="inputs with a default"),
        pytest.param("inputs", {"inputs": 1, "a": 2}, {"inputs": 1}, id="a field called inputs"),
        pytest.param("row: Mapping[str, Any], a", {"a": 1}, {"row": {"a": 1}, "a": 1}, id="a mapping"),
    ],
)
async def test_a_row_s_fields_are_the_arguments(parameters: str, row: dict[str, Any], seen: dict[str, Any]) -> None:
    """By name, converted to what the annotations say, from a CSV's texts as well."""
    shown = "{n: v if isinstance(v, (int, float, list, dict, tuple, type(None))) else getattr(v, 'value', str(v))"
    body = f"def build({parameters}):\n    return crew_of(str({shown} for n, v in sorted(locals().items())}}))\n"
    expected = str(dict(sorted(seen.items())))
    assert await prompts(body, row) == [expected]


@pytest.mark.parametrize(
    ("parameters", "row", "told"),
    [
        pytest.param(
            "origin", {"orgin": 1}, "missing 'origin' (needed by trip.py:build()); the row has 'orgin'", id="no"
        ),
        pytest.param(
            "a: int", {"a": "x"}, "field 'a' does not fit 'a' of trip.py:build(): Input should be a", id="int"
        ),
        pytest.param(
            "n: int = 5", {"n": ""}, "field 'n' does not fit 'n' of trip.py:build(): Input should", id="empty"
        ),
        pytest.param(
            "a: list[str]",
            {"a": "food,art"},
            "field 'a' does not fit 'a' of trip.py:build(): Input should be a valid list; a text says it as JSON: "
            '["a", "b"]',
            id="list",
        ),
        pytest.param(
            "a: dict | None",
            {"a": "food"},
            "field 'a' does not fit 'a' of trip.py:build(): Input should be a valid dictionary; a text says it as "
            'JSON: {"name": "value"}',
            id="no dict",
        ),
        pytest.param("d: dict, e", {"d": "[1]", "e": 1}, "field 'd' does not fit 'd' of trip.py:build(): ", id="dict"),
        pytest.param("t: Trip", {"days": 1}, "the row does not fit 't' of trip.py:build(): origin: Field", id="model"),
    ],
)
async def test_a_row_that_does_not_fit_is_its_own_input_error(parameters: str, row: dict[str, Any], told: str) -> None:
    """Found before the function is called."""
    body = f"called = []\ndef build({parameters}):\n    called.append(1)\n    return crew_of('text')"
    (problem,) = await prompts(body, row)
    target = load("trip.py:build").target
    assert (problem.startswith(told), target.problem(row)) == (True, problem)
    assert len(sys.modules["trip"].called) == 2 * isinstance(target, CrewTarget)  # to see what it gives, for each load


OBJECT = "class T:\n    def __init__(self, a): self.a = a\n    def {}(self): return crew_of(f'about {{self.a}}'){}\n"
PROJECT = """
@CrewBase
class P:
    def __init__(self, a): self.a = a
    @the_crew
    def crew(self): return crew_of(f'about {self.a}')
"""
FLOW = """
class F(Flow):
    def __init__(self, a='x'): super().__init__()
    @start()
    async def go(self): return await crew_of('about {a}').akickoff({'a': self.state['a']})
"""


@pytest.mark.parametrize(
    ("ref", "body"),
    [
        pytest.param("build", "async def build(a):\n    return crew_of(f'about {a}')", id="an async function"),
        pytest.param(
            "build",
            "def build(a):\n    async def made(): return crew_of(f'about {a}')\n    return made()",
            id="a coroutine",
        ),
        pytest.param("build", "def build(a, b='b'):\n    return crew_of('about {a}')", id="placeholders"),
        pytest.param("T", OBJECT.format("crew", ""), id="crew"),
        pytest.param("T", OBJECT.format("run", ".kickoff()"), id="run"),
        pytest.param(
            "T",
            "class T:\n    def kickoff(self, inputs): return crew_of('about {a}').kickoff(inputs=inputs)",
            id="kickoff",
        ),
        pytest.param(
            "T",
            "class T:\n    async def execute(self, a): return await crew_of('about {a}').akickoff({'a': a})",
            id="execute",
        ),
        pytest.param(
            "T",
            OBJECT.format("create_crew", "") + "    def run(self): return self.create_crew().kickoff()",
            id="the method that calls the other",
        ),
        pytest.param("T.go", OBJECT.format("go", ""), id="a method"),
        pytest.param("t.go", "class T:\n    def go(self, a): return crew_of(f'about {a}')\nt = T()", id="an object's"),
        pytest.param(
            "T.go", "class T:\n    @staticmethod\n    def go(a): return crew_of(f'about {a}')", id="a static one"
        ),
        pytest.param("build", OBJECT.format("run", "") + "def build(a): return T(a)", id="a function's object"),
        pytest.param("P", PROJECT, id="a crew class"),
        pytest.param("P.crew", PROJECT, id="its method"),
        pytest.param("F", FLOW.replace("a='x'", "a"), id="a flow"),
        pytest.param("build", FLOW + "one = F()\ndef build(a): return one", id="one flow for all"),
    ],
)
async def test_what_a_row_calls(ref: str, body: str) -> None:
    """Whatever makes or runs the crew: it gets what it asks for, and each row its own."""
    assert await prompts(body, {"a": "x"}, {"a": "y"}, ref=ref) == ["about x", "about y"]


async def test_defaults_are_overruled_by_the_rows_that_have_the_field() -> None:
    """The crew with the defaults is the target: its models and texts are known before any row."""
    body = "def build(a='all'):\n    return crew_of(f'about {a}')"
    write({"trip.py": f"{TRIP}\n{body}"})
    target = load("trip.py:build").target
    assert isinstance(target, CrewTarget)
    assert [(await target.for_a_row(row)).tasks[0].description for row in ({}, {"a": "x"})] == ["about all", "about x"]


@pytest.mark.parametrize(
    ("returned", "value"),
    [
        pytest.param("first", "one", id="an output"),
        pytest.param("first.raw.upper()", "ONE", id="a text"),
        pytest.param("{'first': first, 'n': 1}", {"first": "one", "n": 1}, id="a dict"),
        pytest.param("[first, second]", ["one", "two"], id="a list of outputs"),
        pytest.param("Trip(origin='x')", {"origin": "x", "days": 3}, id="a model"),
    ],
)
async def test_a_function_that_kicks_off_returns_the_output(returned: str, value: Any) -> None:
    """Its kickoffs are made in the row, sync ones in a worker thread."""
    body = "def run(a):\n    first = crew_of(a).kickoff()\n    second = crew_of(a).kickoff({'b': 1})\n    return "
    write({"trip.py": f"{TRIP}\n{body}{returned}\n"})
    async with scripted("one", "two"):
        assert value_of(await load("trip.py:run").target.akickoff({"a": "x"})) == value


async def test_a_function_that_returns_nothing_gives_its_last_kickoff() -> None:
    """That of the function itself, not one inside; one warning says so."""
    body = "def run(a):\n    crew_of(a).kickoff()\n    crew_of(a).kickoff_for_each([{'b': 1}, {'b': 2}])\n"
    write({"trip.py": f"{TRIP}\n{body}"})
    target = load("trip.py:run").target
    async with scripted("one", "two", "three"):
        with pytest.warns(CrewrunWarning) as caught:
            output = await target.akickoff({"a": "x"})
    assert value_of(output) == ["two", "three"]
    assert [str(warning.message) for warning in caught] == [
        f"trip.py:{len(TRIP.splitlines()) + 2}: trip.py:run returns nothing, so the answer of its last kickoff is the "
        "row's output; return it"
    ]


@pytest.mark.parametrize(
    ("body", "told"),
    [
        pytest.param("pass", "returns None and has kicked nothing off; return the crew, or the answer", id="None"),
        pytest.param(
            "return [crew_of(a)]", "returns a list with a crewrun.crew.crew.Crew in it, and a row", id="crews"
        ),
        pytest.param("return crew_of", "returns a function, which cannot be run; return a crew", id="a function"),
        pytest.param("return Crew", "returns the class crewrun.crew.crew.Crew, which cannot be run", id="a class"),
        pytest.param("return crew_of(a).agents[0]", "returns a crewrun.crew.agent.Agent, which cannot", id="an agent"),
        pytest.param("yield crew_of(a)", "returns a generator, which cannot be run", id="a generator"),
    ],
)
async def test_a_function_that_gives_nothing_to_run_is_the_row_s_error(body: str, told: str) -> None:
    """With its line and the way out."""
    write({"trip.py": f"{TRIP}\ndef run(a):\n    {body}\n"})
    with pytest.raises(DefinitionError) as caught:
        await load("trip.py:run").target.akickoff({"a": "x"})
    assert str(caught.value).startswith(f"trip.py:{len(TRIP.splitlines()) + 2}: trip.py:run {told}")


@pytest.mark.parametrize(
    ("body", "told"),
    [
        pytest.param(
            "class T:\n    def __init__(self, a): pass\n    def go(self): pass",
            "trip.py:T has none of the methods akickoff, kickoff_async, kickoff, run, crew, create_crew, execute; "
            "it has go. Name the one to call, as in trip.py:T.go",
            id="no method",
        ),
        pytest.param(
            "class T:\n    def crew(self): pass\n    def run(self): pass",
            "trip.py:T has several methods that could be meant, run, crew; name one of them: trip.py:T.run",
            id="two",
        ),
    ],
)
def test_a_class_without_one_method_to_call_is_refused(body: str, told: str) -> None:
    """When it is loaded, with the list of its methods."""
    write({"trip.py": f"{TRIP}\n{body}\n"})
    with pytest.raises(DefinitionError) as caught:
        load("trip.py:T")
    assert str(caught.value) == told


RUNS = """
def run(a: str, n: int):
    if a == "asks":
        city = input("City? ")
    first = crew_of(f"first of {a}").kickoff()
    if a == "breaks":
        raise KeyError("the shop is closed")
    return {"n": n, "second": crew_of(f"second of {a}").kickoff().raw}
"""


def test_the_kickoffs_of_a_function_are_the_run_s(tmp_path: Path) -> None:
    """Its model, account and journal; what the code raises has its line and no advice about crewrun."""
    write({"trip.py": TRIP + RUNS})
    rows = write_rows(tmp_path / "rows.csv", ["a,n", "x,1", "breaks,2", "y,many", "asks,3"])
    done = crewrun(
        "batch", rows, "--crew", "trip.py:run", "-m", "offline", "-o", "out.jsonl", "--ordered", cwd=tmp_path
    )
    assert done.returncode == 3, done.stderr
    results = read_rows(tmp_path / "out.jsonl")
    assert [(row["usage"]["calls"], len(row["tasks"]), row["cost_usd"]) for row in results] == [
        (2, 2, 0.0),
        (1, 1, 0.0),
        (0, 0, 0.0),
        (0, 0, 0.0),
    ]
    assert results[0]["output"]["n"] == 1
    where = {index: told.partition(": ")[0] for index, told in problems(results).items()}
    line = len(TRIP.splitlines()) + 2
    assert where == {1: f"trip.py:{line + 5}", 2: "line 4", 3: f"trip.py:{line + 2}"}
    assert "→ the crew's own code failed" in done.stderr
    assert "a bug" not in done.stderr


DIES = """
import os
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

def run(a: str):
    first = crew_of(f"first of {a}").kickoff()
    with ThreadPoolExecutor() as threads:
        second = threads.submit(crew_of(f"second of {a}").kickoff).result()
    if not Path("died").exists():
        Path("died").touch()
        os._exit(9)
    return [first, second, crew_of(f"third of {a}").kickoff()]
"""


def test_a_function_is_resumed_by_its_calls(tmp_path: Path) -> None:
    """Those of its threads too: what was paid for when the process died is not called again."""
    write({"trip.py": TRIP + DIES})
    rows = write_rows(tmp_path / "rows.jsonl", [{"a": "x"}])
    with MockProcess() as mock:
        command = ("batch", rows, "--crew", "trip.py:run", "-m", "openai/m", "--base-url", mock.base_url)
        done = crewrun(*command, "-o", "out.jsonl", cwd=tmp_path)
        assert (done.returncode, len(mock.ledger()["requests"])) == (9, 2)
        done = crewrun(*command, "-o", "out.jsonl", cwd=tmp_path)
        assert (done.returncode, len(mock.ledger()["requests"])) == (0, 3), done.stderr
    (row,) = read_rows(tmp_path / "out.jsonl")
    assert (row["usage"]["calls"], row["replayed"]["attempts"], len(row["output"])) == (3, 2, 3)


def test_check_and_plan_show_the_first_row_s_crew(tmp_path: Path) -> None:
    """Its agents and models, and what its texts need beside the parameters; no model is called."""
    body = "def build(origin: str, days: int):\n    return crew_of(f'{origin} for {{audience}}')\n"
    write({"trip.py": f"{TRIP}\n{body}"})
    rows = write_rows(
        tmp_path / "rows.jsonl",
        [
            {"origin": "a", "days": 1, "audience": "x"},
            {"origin": "a", "days": "b", "audience": "x"},
            {"origin": "c", "days": 2},
        ],
    )
    found = json.loads(crewrun("check", rows, "--crew", "trip.py:build", "--json", cwd=tmp_path).stdout)
    assert list(found["crew"]["placeholders"]) == ["audience", "origin", "days"]
    assert [agent["model"] for agent in found["crew"]["agents"]] == ["openai/gpt-4.1-mini"]
    assert [told.partition(":")[0] for told in found["failing_rows"]] == ["line 2", "line 3"]
    assert found["first_row"][0]["messages"][1]["content"].startswith("Your task: a for x")
    planned = json.loads(
        crewrun("plan", rows, "--crew", "trip.py:build", "--json", "-m", "offline", cwd=tmp_path).stdout
    )
    assert (planned["rows"], planned["calls"]["mean"], planned["models"][0]["name"]) == (2, 2, "offline")
    done = crewrun("batch", rows, "--crew", "trip.py:build", cwd=tmp_path)
    assert (done.returncode, "OPENAI_API_KEY is not set: agent 'Writer'" in done.stderr) == (2, True), done.stderr


def test_another_factory_is_another_run(tmp_path: Path) -> None:
    """Rows that are done under the one run again under the other, or with another model."""
    body = "def one(a): return crew_of(f'about {a}')\ndef two(a): return crew_of(f'on {a}')\n"
    write({"trip.py": f"{TRIP}\n{body}"})
    rows = write_rows(tmp_path / "rows.jsonl", [{"a": "x"}])
    asked = []
    for name, model in (("one", "offline"), ("two", "offline"), ("two", "offline"), ("two", "offline?latency=0.001")):
        crewrun("batch", rows, "--crew", f"trip.py:{name}", "-m", model, "-o", "out.jsonl", cwd=tmp_path)
        (row,) = read_rows(tmp_path / "out.jsonl")
        asked.append((row["output"].partition("Your task: ")[2][:7].strip(), row["started_at"]))
    assert [text for text, _ in asked] == ["about x", "on x Yo", "on x Yo", "on x Yo"]
    assert [asked[i][1] == asked[i + 1][1] for i in range(3)] == [False, True, False]


def test_a_function_that_blocks_ends_with_its_row(tmp_path: Path) -> None:
    """--row-timeout holds, and the other rows go on."""
    body = "import threading\ndef build(a):\n    if a: threading.Event().wait()\n    return crew_of('x')\n"
    write({"trip.py": f"{TRIP}\n{body}"})
    rows = write_rows(tmp_path / "rows.jsonl", [{"a": 0}, {"a": 1}])
    done = crewrun(
        *("batch", rows, "--crew", "trip.py:build", "-m", "offline", "-o", "out.jsonl", "--row-timeout", "0.3"),
        cwd=tmp_path,
    )
    assert done.returncode == 3, done.stderr
    assert {row["index"]: (row["error"] or {}).get("category") for row in read_rows(tmp_path / "out.jsonl")} == {
        0: None,
        1: "timeout",
    }


@given(
    st.dictionaries(st.sampled_from("abcdef"), st.integers() | st.text() | st.none(), max_size=6),
    st.sets(st.sampled_from("abcdef")),
    st.sets(st.sampled_from("abcdef")),
)
def test_every_parameter_gets_the_field_of_its_name_or_its_default(
    row: dict[str, Any], names: set[str], required: set[str]
) -> None:
    """And a function is called with no row that lacks one without a default."""
    signature = ", ".join(sorted(names & required) + [f"{name}='default'" for name in sorted(names - required)])
    scope: dict[str, Any] = {}
    exec(f"def function({signature}): return locals()", scope)
    arguments = Arguments.of(scope["function"], "function()")
    if (names & required) - row.keys():
        with pytest.raises(InputInvalid):
            arguments.bind(row)
        return
    positional, named = arguments.bind(row)
    assert scope["function"](*positional, **named) == {name: row.get(name, "default") for name in names}


OWN_CLIENT = """
import os
from urllib.request import urlopen
from crewai import Agent, Crew, Task
from crewai.tasks.conditional_task import ConditionalTask
from crewai.tools import tool

def ask():
    return urlopen(os.environ["OPENAI_BASE_URL"] + "/chat/completions", b"{}").read().decode()

@tool
def look_up(name: str) -> str:
    "Look a name up."
    return ask()

def build(topic):
    return make([], ask())

def make(tools, text):
    agent = Agent(role="Writer", goal="g", backstory="b", tools=tools)
    return Crew(agents=[agent], tasks=[Task(description=text, expected_output="text", agent=agent)])

crew = make([look_up], "About {topic}")

chosen = make([], "About {topic}")
more = ConditionalTask(
    description="More", expected_output="text", agent=chosen.agents[0], condition=lambda output: bool(ask())
)
conditional = Crew(agents=chosen.agents, tasks=[*chosen.tasks, more])
"""


def test_an_offline_run_calls_no_model_by_clients_of_the_users_own(tmp_path: Path) -> None:
    """In what makes a crew, in conditions and in tools: of a tool's call the model is told, the others fail the row."""
    (tmp_path / "ask.py").write_text(OWN_CLIENT, encoding="utf-8")
    rows = write_rows(tmp_path / "in.jsonl", [{"topic": "x"}])
    with MockProcess() as mock:
        env = {"OPENAI_BASE_URL": mock.base_url, "OPENAI_API_KEY": "x"}
        for crew, status in (("build", 3), ("crew", 0), ("conditional", 3)):
            command = ("batch", rows, "--crew", f"ask.py:{crew}", "-m", "offline", "-o", f"{crew}.jsonl", "-q")
            done = crewrun(*command, cwd=tmp_path, env=env)
            assert done.returncode == status, done.stderr
        assert mock.ledger()["requests"] == []
    (row,) = read_rows(tmp_path / "build.jsonl")
    where = mock.base_url.partition("//")[2].partition("/")[0]
    assert f"ask.py:9: a call to {where}: -m offline calls no model" in row["error"]["message"]
