"""`-i`: inputs for all rows, below a row's own fields and above the crew's defaults."""

import json
from typing import Any

import pytest
from support.command import read_rows
from support.workspace import RESULTS, STATE, Place

from crewrun.row import content_id

ROWS: list[dict[str, Any]] = [{"topic": "ants"}, {"topic": "bees", "year": 1999}]
CREW = "inputs: {year: 1900, tone: plain}\n"


@pytest.fixture
def place(place: Place) -> Place:
    """Two rows for a crew that asks for {year} too, which one of them has."""
    crew = place.crew(more=CREW).replace("{topic}", "{topic} in {year}, {tone}")
    (place.folder / "crew.yaml").write_text(crew)
    place.rows(*ROWS)
    return place


def manifest(place: Place) -> Any:
    return json.loads((place.folder / STATE / "manifest.json").read_text())


def test_a_constant_is_below_a_rows_field_and_above_the_crews_default(place: Place) -> None:
    """A row's id and its `input` are those of its own fields; the manifest has the constants."""
    assert place.batch("-i", "year=2025") == ["Write about ants in 2025, plain", "Write about bees in 1999, plain"]
    rows = read_rows(place.results)
    assert [(row["input"], row["id"]) for row in rows] == [(row, content_id(row)) for row in ROWS]
    assert manifest(place)["options"] == {"input": {"year": "2025"}}
    assert place.crewrun("show", RESULTS, rows[0]["id"], "--json") == []
    shown = json.loads(place.stdout)
    assert (shown["input"], shown["calls"][0]["prompt_source"]) == (ROWS[0], "rebuilt")
    assert place.crewrun("export", RESULTS, "-f", "csv", "-o", "-") == []
    assert "2025" not in place.stdout.splitlines()[0]


def test_other_constants_are_another_crew_and_the_same_ones_are_done(place: Place) -> None:
    """In whatever order they are given. What is asked as before is answered from the journal."""
    place.batch("-i", "year=2025", "-i", "tone=calm")
    assert place.batch("-i", "tone=calm", "-i", "year=2025") == []
    assert place.batch("-i", "year=2026", "-i", "tone=calm") == ["Write about ants in 2026, calm"]
    assert place.batch() == ["Write about ants in 1900, plain", "Write about bees in 1999, plain"]


def test_a_file_of_constants_keeps_their_types(place: Place) -> None:
    """Later ones count, and a mapping in the crew's `batch:` comes before both."""
    (place.folder / "all.json").write_text('\ufeff{"year": 2024, "tone": ["calm", 1]}')  # as Windows saves it
    with (place.folder / "crew.yaml").open("a") as file:
        file.write("batch: {input: {year: 1, tone: x}}\n")
    assert place.batch("-i", "@all.json", "-i", "year=2025") == [
        "Write about ants in 2025, ['calm', 1]",
        "Write about bees in 1999, ['calm', 1]",
    ]
    assert place.batch("--fresh", CREWRUN_INPUT="year=3") == [
        "Write about ants in 3, x",
        "Write about bees in 1999, x",
    ]
    assert place.crewrun("run", "-i", "@all.json", "-i", "topic=owls", "-q") == [
        "Write about owls in 2024, ['calm', 1]"
    ]


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ("year", "-i 'year': write NAME=VALUE, as in -i topic=AI, or @FILE that holds a JSON object"),
        ("@none.json", "-i @none.json: cannot be read: No such file or directory"),
        ("@in.jsonl", "-i @in.jsonl: line 2: column 1: not JSON: Extra data"),
    ],
)
@pytest.mark.parametrize("command", ["batch", "plan", "check"])
def test_a_constant_that_is_none_is_refused(place: Place, command: str, words: str, message: str) -> None:
    """Before anything is sent."""
    place.rows(ROWS[0], ROWS[0])
    (place.folder / "in.jsonl").write_text('{"topic": "ants"}\n{}\n')
    assert place.crewrun(command, "in.jsonl", "-i", words, code=2) == []
    assert message in place.stderr


def test_check_and_plan_count_constants(place: Place) -> None:
    """As inputs that rows need not have, and in the prompts of the first row; one that no text has is said."""
    (place.folder / "crew.yaml").write_text(place.crew().replace("{topic}", "{topic} in {year}"))
    place.crewrun("check", "in.jsonl", "--json", code=2)
    assert json.loads(place.stdout)["failing_count"] == 1
    place.crewrun("check", "in.jsonl", "--json", "-i", "year=2025", "-i", "yaer=1")
    findings = json.loads(place.stdout)
    assert (findings["constants"], findings["crew"]["placeholders"], findings["failing_count"]) == (
        {"year": "2025", "yaer": "1"},
        {"topic": "task 'draft'"},
        0,
    )
    assert "Write about ants in 2025" in findings["first_row"][0]["messages"][1]["content"]
    warning = "-i yaer: no text of the crew has {yaer} (did you mean 'year'?)"
    assert findings["warnings"] == [warning]
    place.crewrun("check", "--json", "-i", "year=2025")
    assert "Write about {topic} in 2025" in json.loads(place.stdout)["first_row"][0]["messages"][1]["content"]
    place.crewrun("plan", "in.jsonl", "--json", "-i", "year=2025", "-i", "yaer=1")
    plan = json.loads(place.stdout)
    assert (plan["rows"], plan["failing_count"], f"warning: {warning}" in plan["notes"]) == (2, 0, True)


def test_retry_runs_with_the_constants_of_the_run(place: Place) -> None:
    """Without repeating them; another one is refused, since what is done was made with the old one."""
    place.rows({"topic": "FAIL-ONCE-500 a"}, {"topic": "b"})
    place.batch("-i", "year=2025", "--retries", "0", code=3)
    message = f"-i year=2026: {RESULTS} has year=2025, and what is done was made with it"
    place.crewrun("retry", RESULTS, "-i", "year=2026", code=2)
    assert message in place.stderr
    place.crewrun("retry", RESULTS, "-i", "tone=2026", code=2)
    assert f"{RESULTS} has no input 'tone' for all rows" in place.stderr
    assert place.crewrun("retry", RESULTS, "-i", "year=2025") == ["Write about FAIL-ONCE-500 a in 2025, plain"]


def test_a_constant_that_is_a_secret_is_not_kept(place: Place) -> None:
    """A retry is given it again."""
    secret = "Zq7Wmt-environ-4Kd0Pxb"
    place.rows({"topic": "FAIL-ONCE-500 a"})
    place.batch("-i", f"tone={secret}", "--retries", "0", code=3, SOME_API_KEY=secret)
    assert secret not in (place.folder / STATE / "manifest.json").read_text()
    place.crewrun("retry", RESULTS, code=2, SOME_API_KEY=secret)
    assert "a run keeps no secrets; give this one again: -i tone=…" in place.stderr
    place.crewrun("retry", RESULTS, "-i", f"tone={secret}", SOME_API_KEY=secret)


def test_a_field_that_names_rows_is_their_own(place: Place) -> None:
    """A constant of that name names none."""
    place.rows({"topic": "a", "id": "x"}, {"topic": "b"})
    place.batch("--id-field", "id", "-i", "id=all", code=3)
    first, second = read_rows(place.results)
    assert (first["id"], first["status"]) == ("x", "ok")
    assert "has no 'id', which is the id" in second["error"]["message"]
