"""A repeat says what it will do before it is paid for: which rows are done, and why done ones run again."""

import json
import os
import shutil
from pathlib import Path
from typing import Any

import pytest
from support.command import read_rows, start, topics
from support.mock_process import MockProcess
from support.paths import ROOT
from support.scripted_provider import Asked, Fickle, Reply
from support.workspace import STATE, Place

TOOL = '''
from crewrun.tools import tool

@tool("lookup")
def lookup(what: str) -> str:
    """Looks it up."""
    return "here"
'''
CREW_PY = """
from crewrun import Agent, Crew, Task
from tools import lookup

writer = Agent(role="Writer", goal="Write", backstory="Old", tools=[lookup], name="writer")
crew = Crew(agents=[writer], tasks=[Task(name="draft", description="Write about {topic}", expected_output="x",
                                         agent=writer)])
"""
FACTORY = """
from crewrun import Agent, Crew, Task

def make(topic):
    writer = Agent(role="Writer", goal="Write", backstory="Old")
    return Crew(agents=[writer], tasks=[Task(description=f"Write about {topic}", expected_output="x", agent=writer)])
"""


@pytest.fixture
def three(place: Place) -> Place:
    """A run of three rows, all done."""
    place.crew("Polish it")
    place.rows(*topics(3))
    place.batch()
    return place


def edit(place: Place, old: str, new: str, file: str = "crew.yaml") -> None:
    """Replace a text in a file of the crew."""
    path = place.folder / file
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new))


def again(place: Place) -> list[Any]:
    """What the summary says of rows that ran again, without costs."""
    return [(entry["rows"], entry["why"]) for entry in place.summary()["repeat"]["again"]]


@pytest.mark.parametrize(
    ("old", "new", "why"),
    [
        ("You have written for years.", "New here.", "backstory of agent 'writer' changed"),
        ("Write about {topic}", "Sing about {topic}", "description of task 'draft' changed"),
        ("One line\n  task_2", "A word\n  task_2", "expected_output of task 'draft' changed"),
        ("llm: gpt-4.1-mini", "llm: gpt-4.1", "another model: openai/gpt-4.1, before openai/gpt-4.1-mini"),
        (
            "llm: gpt-4.1-mini",
            "llm: {model: gpt-4.1-mini, temperature: 0.2}",
            "parameters of openai/gpt-4.1-mini changed: temperature",
        ),
        ("  task_2:\n", "  fix:\n", "task 'fix' added; task 'task_2' removed"),
    ],
)  # fmt: skip
def test_a_change_of_the_crew_is_named(three: Place, old: str, new: str, why: str) -> None:
    """By a plan, by the batch, and in its summary; with what the rows cost."""
    edit(three, old, new)
    assert three.crewrun("plan", "in.jsonl", "--json") == []
    planned = json.loads(three.stdout)["repeat"]
    three.crewrun("plan", "in.jsonl")
    lines = three.stdout.splitlines()
    three.batch("--summary", "s.json")
    assert f"{why}: 3 rows run again, less than a cent" in three.stderr.splitlines()
    assert f"{why}: 3 rows run again, less than a cent" in lines
    assert again(three) == [(3, why.split("; "))]
    assert three.summary()["repeat"] == planned
    assert 0 < planned["again"][0]["cost_usd"] < 0.01
    three.batch()
    assert "again" not in three.stderr


def test_the_cost_is_that_of_the_rows_that_run_again(place: Place) -> None:
    """At the price they were paid with, and replayed calls are a part of it."""
    place.crew()
    place.rows(*topics(4))
    price = ("--price", "gpt-4.1-mini=1000,1000")
    place.batch(*price, "--summary", "s.json")
    spent = place.summary()["cost_usd"]
    edit(place, "for years", "for ages")
    place.batch("--limit", "2", *price, "--summary", "s.json")
    (entry,) = place.summary()["repeat"]["again"]
    assert entry["rows"] == 2
    assert entry["cost_usd"] == pytest.approx(spent / 2, rel=0.05)
    assert f"2 rows run again, about ${spent / 2:.2f}"[:-1] in place.stderr


THREE_TASKS = """
agents:
  scout: {role: Scout, goal: g, backstory: old}
  judge: {role: Judge, goal: g, backstory: old}
tasks:
  look: {agent: scout, description: "Look at {topic}", expected_output: One line}
  note: {agent: scout, description: Note it, expected_output: One line, context: []}
  weigh: {agent: judge, description: Weigh it, expected_output: One line, context: [look]}
llm: gpt-4.1-mini
"""


@pytest.mark.parametrize(
    ("old", "new", "asked"),
    [
        ("Judge, goal: g, backstory: old", "Judge, goal: g, backstory: new", ["Weigh it"] * 3),
        ("Note it", "Note that", ["Note that"] * 3),
        ("Look at", "Gaze at", [*[f"Gaze at topic {i}" for i in range(3)], *["Weigh it"] * 3]),
        ("role: Scout", "role: Spy", [*[f"Look at topic {i}" for i in range(3)], *["Note it", "Weigh it"] * 3]),
    ],
    ids=["last agent", "task that nobody reads", "task that another one reads", "agent of two tasks"],
)
def test_the_cost_is_without_calls_that_are_replayed(place: Place, old: str, new: str, asked: list[str]) -> None:
    """What the journal answers costs nothing: what is said is what is billed then."""
    (place.folder / "crew.yaml").write_text(THREE_TASKS)
    place.rows(*topics(3))
    price = ("--price", "gpt-4.1-mini=1000,1000")
    place.batch(*price)
    edit(place, old, new)
    assert place.batch(*price, "--summary", "s.json") == sorted(asked)
    (entry,) = place.summary()["repeat"]["again"]
    assert entry["cost_usd"] == pytest.approx(place.summary()["cost_usd"], rel=0.15)


def test_another_model_and_address_by_flags_are_named(three: Place) -> None:
    """As they are where the environment has them."""
    with MockProcess() as other:
        three.batch("--summary", "s.json", OPENAI_BASE_URL=other.base_url)
        why = f"another base_url: {other.base_url}, before {three.mock.base_url}"
        assert again(three) == [(3, [why])]
        three.batch("--base-url", other.base_url, "--summary", "s.json")
        assert again(three) == []
    three.batch("-m", "gpt-4.1", "--summary", "s.json")
    assert again(three) == [(3, ["another model: openai/gpt-4.1, before openai/gpt-4.1-mini"])]


def test_another_constant_is_named(place: Place) -> None:
    """A new one, another value, and none any more."""
    place.crew("Say it in {tone}")
    place.rows(*topics(2))
    place.batch("-i", "tone=red")
    place.batch("-i", "tone=blue", "--summary", "s.json")
    assert again(place) == [(2, ["another -i tone"])]
    place.batch("-i", "tone=red", "--summary", "s.json")
    assert place.summary()["rows"]["kept"] == 2


def test_code_of_a_tool_is_named(place: Place) -> None:
    """Of a crew in Python, as the agent has it."""
    (place.folder / "tools.py").write_text(TOOL)
    (place.folder / "crew.py").write_text(CREW_PY)
    place.rows(*topics(2))
    place.batch("--crew", "crew.py:crew")
    edit(place, "here", "there", "tools.py")
    place.batch("--crew", "crew.py:crew", "--summary", "s.json")
    assert again(place) == [(2, ["tool 'lookup' of agent 'writer' changed"])]


def test_code_that_makes_a_crew_for_each_row_is_named_by_its_file(place: Place) -> None:
    """What a row runs is known when the row runs."""
    (place.folder / "crew.py").write_text(FACTORY)
    place.rows(*topics(2))
    place.batch("--crew", "crew.py:make")
    edit(place, "Old", "New", "crew.py")
    place.batch("--crew", "crew.py:make", "--summary", "s.json")
    assert again(place) == [(2, ["crew.py changed"])]


def test_new_changed_and_failed_rows_are_counted(place: Place) -> None:
    """Rows with ids may have changed; a failed row runs again."""
    place.crew()
    place.rows({"id": 1, "topic": "a"}, {"id": 2, "topic": "b"}, {"id": 3, "topic": "FAIL-400 c"})
    place.batch("--id-field", "id", code=3)
    place.rows(
        {"id": 1, "topic": "a"}, {"id": 2, "topic": "z"}, {"id": 3, "topic": "FAIL-400 c"}, {"id": 4, "topic": "d"}
    )
    place.crewrun("plan", "in.jsonl", "--id-field", "id", "--json")
    planned = json.loads(place.stdout)["repeat"]
    place.batch("--id-field", "id", "--summary", "s.json", code=3)
    assert "rows: 1 done, 1 new, 1 changed, 1 failed before" in place.stderr.splitlines()
    assert place.summary()["repeat"] == planned
    edit(place, "for years", "for ages")
    place.rows({"id": 1, "topic": "a"}, {"id": 2, "topic": "z"}, {"id": 4, "topic": "x"}, {"id": 5, "topic": "e"})
    place.batch("--id-field", "id")
    lines = ["backstory of agent 'writer' changed: 2 rows run again", "rows: 2 to run again, 1 new, 1 changed"]
    assert [line.partition(", less than")[0] for line in place.stderr.splitlines()[:2]] == lines
    assert planned == {"done": 1, "new": 1, "changed": 1, "failed": 1, "again": [], "counted": "all"}


def test_a_first_run_and_one_with_nothing_to_do_say_nothing(three: Place) -> None:
    """The summary says that all is done."""
    three.batch("-o", "other.jsonl", "--summary", "s.json")
    assert "rows:" not in three.stderr
    assert "repeat" not in three.summary()
    three.batch()
    assert three.stderr.startswith("0 ok, 0 failed, 3 done before in ")


def test_going_back_to_an_earlier_crew_runs_nothing_again(three: Place) -> None:
    """Its rows are done; and what changed since is told of each version of the crew that has rows of its own."""
    first = (three.folder / "crew.yaml").read_text()
    edit(three, "for years", "for ages")
    three.batch("--limit", "1")
    (three.folder / "crew.yaml").write_text(first)
    assert three.batch() == []
    edit(three, "for years", "for weeks")
    edit(three, "Write well", "Write badly")
    three.batch("--summary", "s.json")
    goal = "goal of agent 'writer' changed"
    assert again(three) == [(3, [goal, "backstory of agent 'writer' changed"])]


def test_a_pipe_is_not_read_ahead(three: Place) -> None:
    """What it may run again is said of the journal."""
    rows = (three.folder / "in.jsonl").read_text()
    three.batch("-o", "piped.jsonl", inputs="-", stdin=rows)
    edit(three, "for years", "for ages")
    three.batch("-o", "piped.jsonl", "--summary", "s.json", inputs="-", stdin=rows)
    assert "backstory of agent 'writer' changed: up to 3 rows run again" in three.stderr
    assert three.summary()["repeat"]["counted"] == "nothing"


def test_shards_count_their_own_rows(place: Place) -> None:
    """Those of others are none of them."""
    place.crew()
    place.rows(*topics(12))
    place.batch("--shard", "1/2")
    rows = len(read_rows(place.folder / "in.shard-1-of-2.results.jsonl"))
    edit(place, "for years", "for ages")
    place.batch("--shard", "1/2", "--summary", "s.json")
    assert 0 < rows < 12
    assert again(place) == [(rows, ["backstory of agent 'writer' changed"])]


def test_retry_says_it_too(place: Place) -> None:
    """It runs a changed crew, too."""
    place.crew()
    place.rows({"topic": "a"}, {"topic": "FAIL-400 b"})
    place.batch(code=3)
    place.crewrun("retry", "in.results.jsonl", code=3)
    assert "rows: 1 done, 1 failed before" in place.stderr.splitlines()
    edit(place, "for years", "for ages")
    place.crewrun("retry", "in.results.jsonl", code=3)
    assert "backstory of agent 'writer' changed: 1 row runs again" in place.stderr


def test_nothing_is_sent_before_it_is_said(tmp_path: Path) -> None:
    """What is on stderr when the first request comes."""
    said: list[str] = []
    place = [0]

    def look(asked: Asked) -> Reply:
        if place[0]:
            said.append(os.read(place[0], 1 << 16).decode())
            place[0] = 0
        return Reply()

    (tmp_path / "crew.yaml").write_text(
        "agents: {a: {role: R, goal: g, backstory: b}}\n"
        "tasks: {t: {agent: a, description: 'Do {topic}', expected_output: e}}\n"
    )
    (tmp_path / "in.jsonl").write_text("".join(json.dumps(row) + "\n" for row in topics(3)))
    with Fickle(look) as provider:
        env = {"OPENAI_BASE_URL": provider.base_url, "OPENAI_API_KEY": "x"}
        with start("batch", "in.jsonl", cwd=tmp_path, env=env) as first:
            assert first.wait() == 0
        text = (tmp_path / "crew.yaml").read_text()
        (tmp_path / "crew.yaml").write_text(text.replace("backstory: b", "backstory: c"))
        with start("batch", "in.jsonl", cwd=tmp_path, env=env) as second:
            assert second.stderr is not None
            place[0] = second.stderr.fileno()
            assert second.wait() == 0
    assert said[0].startswith("backstory of agent 'a' changed: 3 rows run again")


RUNS = ROOT / "tests" / "data" / "runs_of_2a01590"


@pytest.fixture
def older(place: Place) -> Place:
    """A copy of a run of an older version, where it now says that it was made."""
    shutil.copytree(RUNS, place.folder, dirs_exist_ok=True)
    for manifest in place.folder.glob("*/manifest.json"):
        manifest.write_text(manifest.read_text().replace("/tmp/older-run", str(place.folder)))
    place.env = {"HTTP_PROXY": place.mock.base_url.removesuffix("/v1"), "OPENAI_API_KEY": "sk-test"}
    return place


def test_of_an_older_run_the_texts_tell_what_changed(older: Place) -> None:
    """Its manifest has them, and nothing of the loaded crew."""
    older.crewrun("plan", "in.jsonl", "--json")
    assert json.loads(older.stdout)["repeat"] == {
        "done": 2, "new": 2, "changed": 0, "failed": 1, "again": [], "counted": "all"
    }  # fmt: skip
    text = (older.folder / "crew.yaml").read_text()
    (older.folder / "crew.yaml").write_text(text.replace("goal: ", "goal: Truly "))
    older.batch("--summary", "s.json", code=3)
    ((rows, why),) = again(older)
    assert rows == 2
    assert why[0].startswith("goal of agent ")


def test_of_an_older_run_without_texts_it_is_not_known(older: Place) -> None:
    """Nor is it where what changed is in no text."""
    path = older.folder / STATE / "manifest.json"
    manifest = json.loads(path.read_text())
    manifest["definition"] = {"kind": manifest["definition"]["kind"]}
    path.write_text(json.dumps(manifest))
    edit(older, "description: ", "description: Please ")
    older.batch("--summary", "s.json", code=3)
    assert again(older) == [(2, ["why is not known"])]
    assert "why is not known: 2 rows run again" in older.stderr


def test_secrets_are_in_no_record(place: Place) -> None:
    """Neither as text, nor as the digest of a text that could be tried."""
    place.crew(llm="{model: gpt-4.1-mini, extra_headers: {x-token: hunter2-hunter2}}")
    place.rows(*topics(1))
    place.batch("-i", "password=swordfish-swordfish")
    first = (place.folder / STATE / "manifest.json").read_text()
    edit(place, "hunter2-hunter2", "hunter3-hunter3")
    place.batch()
    second = (place.folder / STATE / "manifest.json").read_text()
    assert "hunter" not in first + second
    assert json.loads(first)["definition"]["parts"] == json.loads(second)["definition"]["parts"]


@pytest.mark.parametrize("model", ["offline", "offline?latency=0"])
def test_the_offline_model_does_not_replace_what_was_paid_for(three: Place, model: str) -> None:
    """It is refused before anything is touched; another output takes it, and --fresh moves the results aside."""
    before = three.results.read_bytes()
    for command in ("batch", "plan"):
        assert three.crewrun(command, "in.jsonl", "-m", model, code=2) == []
        assert "openai/gpt-4.1-mini, and the offline model would replace them" in three.stderr
        assert "-o" in three.stderr
        assert "--fresh" in three.stderr
    assert three.results.read_bytes() == before
    three.batch("-m", model, "-o", "other.jsonl")
    assert three.batch() == []
    three.batch("-m", model, "--fresh")
    assert {model for row in read_rows(three.results) for model in row["models"]} == {"offline"}


def test_a_crew_file_and_the_environment_may_name_the_offline_model(three: Place) -> None:
    """They are refused alike, and so is a retry, which asks the models that the run had."""
    edit(three, "llm: gpt-4.1-mini\n", "")
    three.batch(MODEL="gpt-4.1-mini")
    three.batch(MODEL="offline", code=2)
    assert "the offline model would replace them" in three.stderr
    edit(three, "agents:\n", "llm: offline\nagents:\n")
    three.batch(code=2)
    assert "the offline model would replace them" in three.stderr
    three.crewrun("retry", "in.results.jsonl", code=2)


def test_an_offline_run_goes_on_and_a_real_one_replaces_it(place: Place) -> None:
    """No row of it was paid for; and real models replace it."""
    place.crew(llm="offline")
    place.rows(*topics(2))
    place.batch()
    edit(place, "for years", "for ages")
    place.batch("--summary", "s.json")
    assert again(place) == [(2, ["backstory of agent 'writer' changed"])]
    edit(place, "llm: offline", "llm: gpt-4.1-mini")
    assert len(place.batch("--summary", "s.json")) == 2
    assert again(place) == [(2, ["another model: openai/gpt-4.1-mini, before offline"])]
    assert "rows run again\n" in place.stderr


def test_rows_that_failed_with_a_real_model_may_be_run_offline(place: Place) -> None:
    """There is nothing to replace."""
    place.crew()
    place.rows({"topic": "FAIL-400 a"})
    place.batch(code=3)
    place.batch("-m", "offline")


FLOW = """
from crewrun import LLM
from crewrun.flow import Flow, start

class Ask(Flow):
    @start()
    async def ask(self):
        return await LLM(model="gpt-4.1-mini").acall(f"Write about {self.state['topic']}")
"""


@pytest.mark.parametrize(("file", "text"), [("crew.py:make", FACTORY), ("flow.py:Ask", FLOW)], ids=["factory", "flow"])
def test_rows_of_code_are_not_replaced_either(place: Place, file: str, text: str) -> None:
    """Which models it calls is known by what its rows called."""
    (place.folder / file.partition(":")[0]).write_text(text)
    place.rows(*topics(2))
    assert len(place.batch("--crew", file, MODEL="gpt-4.1-mini")) == 2
    before = place.results.read_bytes()
    for command in ("batch", "plan"):
        assert place.crewrun(command, "in.jsonl", "--crew", file, "-m", "offline", code=2) == []
        assert "openai/gpt-4.1-mini, and the offline model would replace them" in place.stderr
    assert place.results.read_bytes() == before
    assert place.batch("--crew", file, MODEL="gpt-4.1-mini") == []


def test_results_on_a_stream_are_not_replaced_either(place: Place) -> None:
    """Their run has a folder."""
    place.crew()
    place.rows(*topics(2))
    place.batch("-o", "-", "--run-dir", "state")
    place.batch("-o", "-", "--run-dir", "state", "-m", "offline", code=2)
    assert "state: its rows were run by openai/gpt-4.1-mini" in place.stderr


def test_one_offline_agent_among_others_is_a_change_like_any_other(place: Place) -> None:
    """It is named as another model; a crew whose models are all offline by then is refused."""
    place.crew("Polish it")
    place.rows(*topics(2))
    place.batch()
    text = (place.folder / "crew.yaml").read_text()
    (place.folder / "crew.yaml").write_text(
        text.replace("agents:\n", "agents:\n  critic: {role: C, goal: g, backstory: b, llm: offline}\n").replace(
            "  task_2:\n    agent: writer", "  task_2:\n    agent: critic"
        )
    )
    place.batch("--summary", "s.json")
    ((rows, why),) = again(place)
    assert (rows, why[-1]) == (2, "another model: offline")
    assert "agent 'critic' added" in why
    place.batch("-m", "offline", code=2)
    assert "openai/gpt-4.1-mini, and the offline model would replace them" in place.stderr


def test_status_counts_what_a_repeat_counts(three: Place) -> None:
    """Done rows are those of the crew as it was last."""
    three.rows(*topics(3), {"topic": "FAIL-400 x"})
    three.batch("--summary", "s.json", code=3)
    three.crewrun("status", "in.results.jsonl", "--json")
    assert json.loads(three.stdout)["rows"] == {"ok": 3, "failed": 1, "in_flight": 0}
    three.batch("--summary", "s.json", code=3)
    repeat = three.summary()["repeat"]
    assert (repeat["done"], repeat["failed"]) == (3, 1)
