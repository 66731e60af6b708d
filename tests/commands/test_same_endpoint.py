"""`--same-endpoint`: what was done at another address stays done, down to the calls in the middle of a row."""

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from support.command import read_rows, topics
from support.mock_process import MockProcess
from support.paths import ROOT
from support.workspace import STATE, Place

RESULTS = "in.results.jsonl"


@pytest.fixture(scope="module")
def other() -> Iterator[MockProcess]:
    """The same models at another address."""
    with MockProcess() as process:
        yield process


@pytest.fixture
def moved(place: Place, other: MockProcess) -> Place:
    """A run of three rows with two calls each; from now on its models are at the other address."""
    place.crew("Polish it")
    place.rows(*topics(3))
    assert len(place.batch()) == 6
    place.mock, place.env["OPENAI_BASE_URL"] = other, other.base_url
    return place


def test_rows_stay_done_at_another_address(moved: Place) -> None:
    """Byte for byte; and the next session with the flag, at any address, has nothing to do either."""
    before = moved.results.read_bytes()
    moved.crewrun("plan", "in.jsonl", "--same-endpoint", "--json")
    assert json.loads(moved.stdout)["rows"] == 0
    assert moved.batch("--same-endpoint") == []
    assert moved.batch("--same-endpoint", "--base-url", moved.mock.base_url.replace("127.0.0.1", "localhost")) == []
    assert moved.results.read_bytes() == before


def test_without_the_flag_they_run_again_and_the_message_names_it(moved: Place) -> None:
    """A plan says it before; and who has stopped such a repeat goes on with the flag, and pays for no row twice."""
    moved.crewrun("plan", "in.jsonl")
    assert ": 3 rows run again, less than a cent (--same-endpoint keeps them)" in moved.stdout
    before = {row["id"]: row for row in read_rows(moved.results)}
    assert len(moved.batch("--limit", "1")) == 2
    assert moved.batch("--same-endpoint") == []
    assert {row["id"]: row for row in read_rows(moved.results)} == before


def test_the_crew_file_says_it_too(moved: Place) -> None:
    """And a flag overrides it."""
    path = moved.folder / "crew.yaml"
    text = path.read_text()
    path.write_text(f"{text}identity: {{base_url: ignore}}\n")
    assert moved.batch() == []
    assert moved.crewrun("plan", "in.jsonl", "--no-same-endpoint", "--json") == []
    assert json.loads(moved.stdout)["rows"] == 3
    path.write_text(f"{text}batch: {{same-endpoint: true}}\n")
    assert moved.batch() == []
    path.write_text(f"{text}identity: {{base_url: count}}\n")
    assert len(moved.batch()) == 6


@pytest.mark.parametrize("value", ["{base_url: no}", "{url: ignore}", "[]", "ignore"])
def test_what_an_identity_cannot_be_is_an_error_with_its_line(place: Place, value: str) -> None:
    """As anywhere in the file."""
    lines = place.crew().count("\n") + 1
    with (place.folder / "crew.yaml").open("a") as file:
        file.write(f"identity: {value}\n")
    place.rows(*topics(1))
    assert place.batch(code=2) == []
    assert f"crew.yaml:{lines}: identity" in place.stderr


@pytest.mark.parametrize("executor", ["inline", f"{ROOT}/tests/support/local_workers.py:two"], ids=["here", "workers"])
def test_a_row_goes_on_in_its_middle(place: Place, other: MockProcess, executor: str) -> None:
    """Its first call was answered at the old address, its second failed there."""
    place.crew("Polish FAIL-ONCE-500")
    place.rows(*topics(2))
    place.batch("--retries", "0", code=3)
    place.mock, place.env["OPENAI_BASE_URL"] = other, other.base_url
    place.crew("Polish it")
    assert place.batch("--same-endpoint", "--executor", executor) == ["Polish it"] * 2
    assert [row["replayed"]["usage"]["calls"] for row in read_rows(place.results)] == [1, 1]


def test_calls_of_a_repeat_without_the_flag_are_not_paid_for_again(place: Place, other: MockProcess) -> None:
    """They were recorded under the new address."""
    place.crew()
    place.rows({"topic": "a"}, {"topic": "FAIL-400 b"})
    place.batch(code=3)
    place.mock, place.env["OPENAI_BASE_URL"] = other, other.base_url
    place.crew("Polish it")
    place.rows({"topic": "a"}, {"topic": "c"})
    place.crew()
    place.batch("--limit", "2")
    place.rows({"topic": "a"}, {"topic": "c"}, {"topic": "d"})
    place.crew("Polish it")
    assert place.batch("--same-endpoint") == ["Polish it", "Polish it", "Polish it", "Write about d"]


def test_what_else_changes_the_answers_still_counts(moved: Place) -> None:
    """Another model, other parameters, another text."""
    assert moved.batch("--same-endpoint", "--limit", "1", "-m", "gpt-4.1") != []
    assert "another model: openai/gpt-4.1, before openai/gpt-4.1-mini: 1 row runs again" in moved.stderr
    path = moved.folder / "crew.yaml"
    text = path.read_text()
    path.write_text(text.replace("llm: gpt-4.1-mini", "llm: {model: gpt-4.1-mini, temperature: 0.5}"))
    assert moved.batch("--same-endpoint", "--limit", "1") != []
    path.write_text(text.replace("for years", "for ages"))
    assert moved.batch("--same-endpoint", "--limit", "1") != []
    path.write_text(text)
    assert moved.batch("--same-endpoint") == []


def test_an_address_in_the_crew_file_does_not_count_either(place: Place, other: MockProcess) -> None:
    """Nor does one that moves there."""
    place.crew(llm=f"{{model: openai/m, base_url: '{place.mock.base_url}'}}")
    place.rows(*topics(2))
    place.batch()
    place.mock = other
    place.crew(llm=f"{{model: openai/m, base_url: '{other.base_url}'}}")
    assert place.batch("--same-endpoint") == []
    place.crew(llm="openai/m")
    assert place.batch("--same-endpoint", OPENAI_BASE_URL=other.base_url) == []
    place.crew(llm=f"{{model: openai/n, base_url: '{other.base_url}'}}")
    assert len(place.batch("--same-endpoint")) == 2


def test_runs_that_stored_less_go_on_at_another_address(moved: Place) -> None:
    """A manifest of an older version has the addresses, and its journal the fingerprint."""
    path = moved.folder / STATE / "manifest.json"
    manifest = json.loads(path.read_text())
    for name in ("anywhere", "parts", "earlier", "definition"):
        manifest["definition"].pop(name)
    path.write_text(json.dumps(manifest))
    assert moved.batch("--same-endpoint") == []


def test_a_retry_is_of_the_same_run(moved: Place) -> None:
    """With the flag it goes wherever the environment leads; without it is refused as before."""
    moved.crewrun("retry", RESULTS, code=2)
    assert "set OPENAI_BASE_URL" in moved.stderr
    moved.batch("--same-endpoint")
    assert moved.crewrun("retry", RESULTS) == []
    moved.rows(*topics(3), {"topic": "FAIL-400 x"})
    moved.batch("--same-endpoint", code=3)
    assert moved.crewrun("retry", RESULTS, "--only", "bad_request", code=3, OPENAI_BASE_URL=moved.mock.base_url) == [
        "Write about FAIL-400 x"
    ]


def test_show_rebuilds_the_prompts_of_such_a_run(moved: Place) -> None:
    """Those that went to the old address, and those that went to the new one."""
    moved.rows(*topics(4))
    moved.batch("--same-endpoint")
    for row in read_rows(moved.results):
        moved.crewrun("show", RESULTS, row["id"], "--json")
        calls = json.loads(moved.stdout)["calls"]
        assert [call["prompt_source"] for call in calls] == ["rebuilt"] * 2


def test_shards_at_two_addresses_are_of_one_crew(place: Place, other: MockProcess) -> None:
    """Merging them says nothing of other models."""
    place.crew()
    place.rows(*topics(8))
    place.batch("--shard", "1/2", "--same-endpoint")
    place.env["OPENAI_BASE_URL"] = other.base_url
    place.batch("--shard", "2/2", "--same-endpoint")
    shards = sorted(str(path.name) for path in place.folder.glob("in.shard-*.results.jsonl"))
    place.crewrun("merge", *shards, "-o", "all.jsonl")
    assert "differ" not in place.stderr + place.stdout
    assert len(read_rows(place.folder / "all.jsonl")) == 8


def test_the_identity_of_a_first_run_is_the_same_with_the_flag(place: Place) -> None:
    """Rows that were done with it are done without it, at the same address."""
    place.crew("Polish it")
    place.rows(*topics(2))
    place.batch("--same-endpoint")
    assert place.batch() == []


def test_a_password_in_the_address_does_not_count(place: Place, tmp_path: Path) -> None:
    """A manifest does not have it, so rows are known by what they are without addresses."""
    host = place.mock.base_url.removeprefix("http://")
    place.crew()
    place.rows(*topics(2))
    place.batch("--base-url", f"http://me:old-secret-1@{host}")
    assert place.batch("--same-endpoint", "--base-url", f"http://me:new-secret-2@{host}") == []
    assert "secret" not in (place.folder / STATE / "manifest.json").read_text()


@pytest.mark.parametrize("flag", ["--same-endpoint", "--no-same-endpoint"])
def test_code_that_makes_crews_goes_on_at_another_address(place: Place, other: MockProcess, flag: str) -> None:
    """The models of such rows have never been a part of their identity."""
    (place.folder / "crew.py").write_text(
        "from crewrun import Agent, Crew, Task\n"
        "def make(topic):\n"
        "    a = Agent(role='R', goal='g', backstory='b', llm='gpt-4.1-mini')\n"
        "    return Crew(agents=[a], tasks=[Task(description=topic, expected_output='e', agent=a)])\n"
    )
    place.rows(*topics(2))
    place.batch("--crew", "crew.py:make", flag)
    place.mock, place.env["OPENAI_BASE_URL"] = other, other.base_url
    assert place.batch("--crew", "crew.py:make", flag) == []
