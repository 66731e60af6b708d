"""`expect:` in crew.yaml: checked for every row without a call, counted everywhere, and failing nothing."""

import json
import re

import pytest
from support import local_workers
from support.command import read_rows
from support.workspace import Place

EXPECT = """\
expect:
  total: output.total == row.total
  city: {field: city, matches: '^[A-Z]', schema: {enum: [Rome]}}
  function: checks:positive
  raises: {python: "checks:broken"}
"""
CHECKS = """\
def positive(output, row):
    output["total"] = -1  # a copy
    return True

def broken(output):
    raise LookupError("no such sk-proj-0123456789abcdef")

def other(text):
    return True

def by_place(output, /):
    return True

def slow(output):
    raise TimeoutError("no connection")

async def later(input):
    return bool(input)
"""
SCHEMA = "{type: object, properties: {total: {type: number}, city: {enum: [Rome]}}, required: [total, city]}"
RAISES = "could not be checked: checks.py:6: LookupError: no such [redacted]"
# What the offline model answers.
CREW = f"""\
agents:
  writer: {{role: Writer, goal: Write well, backstory: You have written for years.}}
tasks:
  draft: {{agent: writer, description: "Write about {{topic}}", expected_output: One, output_schema: {SCHEMA}}}
llm: gpt-4.1-mini
"""


@pytest.fixture
def place(place: Place) -> Place:
    """A crew with a structured output and expectations, and three rows, of which one has another total."""
    (place.folder / "crew.yaml").write_text(CREW + EXPECT)
    (place.folder / "checks.py").write_text(CHECKS)
    place.rows({"topic": "a", "total": "1.0"}, {"topic": "b", "total": 2}, {"topic": "c"})
    return place


def expectations(place: Place) -> list[dict[str, bool | str]]:
    return [row["expectations"] for row in read_rows(place.results)]


def test_a_row_says_which_expectations_it_met_and_why_not_the_others(place: Place) -> None:
    """A text of a CSV equals a number; a function that raises counts as missed; the row is ok, the exit code 0."""
    place.batch("--summary", "s.json")
    same = {"city": True, "function": True, "raises": RAISES}
    assert expectations(place) == [
        {"total": True, **same},
        {"total": "output.total is 1 and row.total is 2", **same},
        {"total": "the row has no 'total'", **same},
    ]
    assert {row["status"] for row in read_rows(place.results)} == {"ok"}
    by_name = {one["name"]: (one["checked"], one["missed"]) for one in place.summary()["expectations"]}
    assert by_name == {"total": (3, 2), "city": (3, 0), "function": (3, 0), "raises": (3, 3)}
    assert "  expected 'total': 2 of 3 rows missed it: line 2 (" in place.stderr
    assert "  expected 'raises': 3 of 3 rows missed it, all because it could not be checked: line " in place.stderr
    assert [one["unchecked"] for one in place.summary()["expectations"]] == [0, 0, 0, 3]
    assert "  expected and met by all rows: city, function\n" in place.stderr
    assert "  to see those that missed it: crewrun show in.results.jsonl --missed raises\n" in place.stderr


def test_status_and_show_and_tables_have_them(place: Place) -> None:
    """Also after the run, from the journal."""
    place.batch()
    place.crewrun("status", "in.results.jsonl", "--json")
    counts = json.loads(place.stdout)["expectations"]
    assert [(one["name"], one["checked"], one["missed"]) for one in counts] == [
        ("total", 3, 2),
        ("city", 3, 0),
        ("function", 3, 0),
        ("raises", 3, 3),
    ]
    assert counts[3]["example"]["reason"] == RAISES
    place.crewrun("status", "in.results.jsonl")
    assert "  expected 'total': 2 of 3 rows missed it; " in place.stdout
    place.crewrun("show", "in.results.jsonl", "2")
    assert "expected 'total': missed: output.total is 1 and row.total is 2\nexpected 'city': met\n" in place.stdout
    place.crewrun("show", "in.results.jsonl", "--missed", "total")
    assert [line.split("\t")[5:] for line in place.stdout.splitlines()] == [
        ['{"topic": "b", "total": 2}', "output.total is 1 and row.total is 2"],
        ["c", "the row has no 'total'"],
    ]
    place.crewrun("show", "in.results.jsonl", "--missed", "totl", code=2)
    assert "no such expectation (did you mean 'total'?)" in place.stderr
    place.crewrun("export", "in.results.jsonl", "-f", "csv", "--ordered", "--columns", "input.topic,expectations.city")
    assert place.stdout.splitlines() == ["input.topic,expectations.city", "a,true", "b,true", "c,true"]


def test_rows_that_run_on_other_workers_have_them(place: Place) -> None:
    """The check is on the worker, which sends what it found with the outcome."""
    place.batch("--executor", f"{local_workers.__file__}:two")
    assert [one["raises"] for one in expectations(place)] == [RAISES] * 3


def test_results_are_restored_with_them(place: Place) -> None:
    """A line made from the journal is the line that was written, and nothing is asked again."""
    place.batch()
    lines = sorted(place.results.read_bytes().splitlines())
    place.results.unlink()
    assert place.batch() == []
    assert sorted(place.results.read_bytes().splitlines()) == lines


def test_another_expectation_pays_for_no_row_again(place: Place) -> None:
    """What is expected is no part of the crew, so rows that are done stay done, with what was said of them then."""
    place.batch()
    before = expectations(place)
    (place.folder / "crew.yaml").write_text(CREW + "expect:\n  city: output.city == 'Paris'\n")
    assert place.batch() == []
    assert expectations(place) == before
    place.rows({"topic": "a", "total": "1.0"}, {"topic": "new"})
    assert len(place.batch()) == 1
    assert expectations(place)[1] == {"city": 'output.city is "Rome"'}


def test_an_input_that_only_an_expectation_reads_is_used(place: Place) -> None:
    """No warning for `-i`: the expectation reads it."""
    (place.folder / "crew.yaml").write_text(CREW + "expect: {most: output.total < row.most}\n")
    place.batch("-i", "most=9")
    assert "most" not in re.sub("expected and met.*", "", place.stderr)
    assert expectations(place) == [{"most": True}] * 3


@pytest.mark.parametrize(
    ("entry", "message"),
    [
        ("output.total = 3", "'output.total = 3': needs one of ==, !=, <=, >=, <, >, not in, in, "),
        ("outptu.total == 3", "'outptu.total' is no value (did you mean 'output'?)"),
        (
            "output.total == three",
            "'three' is no value; a path begins with output, row or input, and a text has quotes",
        ),
        ("row.total == 3", "says nothing of the output; write output, or output.FIELD, on one side"),
        ("output.total == 3 and row.x", "'and row.x' is too much; a comparison has two sides"),
        ("output.total == NaN", "'NaN' is no value"),
        ("output.total == [NaN]", "is no value; write a path such as"),
        ("output.total ==", "ends where a value is needed"),
        ("\"output matches '['\"", "'[' is not a regular expression: "),
        ("{matches: '['}", "matches: '[' is not a regular expression"),
        ("{field: total}", "says nothing of the output; it needs schema, equals, contains, matches or python"),
        ("{field: 'a[', equals: 1}", "field 'a[' is no path; write it as in items[0].price"),
        ("{feild: total}", "unknown key 'feild' (did you mean 'field'?)"),
        ("{schema: {type: nonsense}}", "schema: type: 'nonsense' is not valid"),
        ("checks:missing", "checks:missing: module 'checks' has no 'missing'"),
        ("nowhere:check", "no module 'nowhere'"),
        ("checks:other", "checks:other: nothing fills its parameter 'text'; it may have output, input and row"),
        ("checks:by_place", "checks:by_place: its parameters are filled by their names; remove the / behind them"),
        ("3", "needs a comparison such as output.total == row.total, a function module:attr, or a mapping"),
    ],
)
def test_a_wrong_expectation_is_refused_with_its_line(place: Place, entry: str, message: str) -> None:
    """Before the first call, with the way out."""
    (place.folder / "crew.yaml").write_text(f"{CREW}expect:\n  one: output contains 'a'\n  wrong: {entry}\n")
    assert place.batch(code=2) == []
    assert re.search(r"crew\.yaml:8: expect\.wrong", place.stderr)
    assert message in place.stderr


CLOSED = CREW.replace("required:", "additionalProperties: false, required:")


@pytest.mark.parametrize(
    ("crew", "entry", "message"),
    [
        (CLOSED, "output.totl == 1", "output.totl: the output has no field 'totl' (did you mean 'total'?)"),
        (CLOSED, "{field: x, equals: 1}", "output.x: the output has no field 'x'; it has total, city"),
        (CREW, "output.city == row.totl", "expect.wrong: in.jsonl: none of its 3 rows has 'totl' (did you mean 't"),
    ],
)
def test_an_expectation_on_a_field_that_there_cannot_be_is_refused(
    place: Place, crew: str, entry: str, message: str
) -> None:
    """All rows would miss it, and the misspelling would look like a bad model."""
    (place.folder / "crew.yaml").write_text(f"{crew}expect:\n  one: output.city == 'a'\n  wrong: {entry}\n")
    assert place.batch(code=2) == []
    assert message in place.stderr


def test_a_field_that_an_open_schema_does_not_name_is_a_warning(place: Place) -> None:
    """The model may answer with it."""
    (place.folder / "crew.yaml").write_text(f"{CREW}expect:\n  wrong: output.totl == 1\n")
    place.batch("-i", "unused=1", "--limit", "1")
    assert "warning: crew.yaml:7: expect.wrong: output.totl: the output has no field 'totl'" in place.stderr


def test_an_async_function_and_each_form_are_checked(place: Place) -> None:
    """All keys of a mapping must hold; `equals` may be null; texts of lists are found."""
    entries = [
        "{python: 'checks:later'}",
        "{field: output.city, equals: Rome, contains: om, matches: 'e$', schema: {type: string}}",
        "output.city in ['Rome', \"Paris\"]",
        "output not contains 'x'",
        "{field: city, equals: null}",
        "output.city > 3",
        "output.total.deep == 1",
        "output[0] == 1",
        "checks:slow",
    ]
    lines = "".join(f"  e{i}: {entry}\n" for i, entry in enumerate(entries))
    (place.folder / "crew.yaml").write_text(f"{CREW}expect:\n{lines}")
    place.batch("--limit", "1")
    assert list(expectations(place)[0].values()) == [
        *(True, True, True),
        "an object contains nothing; a text or a list does",
        'output.city is "Rome", and not: equals null',
        'a text ("Rome") and a number (3) have no order',
        "output.total is a number, not an object with fields",
        "the output is an object, not a list",
        "could not be checked: checks.py:15: TimeoutError: no connection",
    ]
