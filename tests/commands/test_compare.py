"""`crewrun compare`: two runs, joined by the ids of their rows."""

import fcntl
import json
import os
from pathlib import Path
from typing import Any

import pytest
from support.report_page import read_report
from support.terminal import Terminal
from support.workspace import RESULTS, STATE, Place


def result(row_id: str, output: Any = None, **more: Any) -> dict[str, Any]:
    """A line of results; one without an output has failed."""
    error = {"category": "timeout", "type": "RowTimedOut", "message": "took longer than 5 s", "task": "draft"}
    return {
        "schema": "crewrun.result/1",
        "id": row_id,
        "index": 0,
        "status": "failed" if output is None else "ok",
        "input": {"topic": row_id},
        "output": output,
        "tasks": [],
        "error": error if output is None else None,
        "usage": {"prompt_tokens": 10, "completion_tokens": 5, "total_tokens": 15, "calls": 1},
        "cost_usd": 0.001,
        "models": ["openai/x"],
        "started_at": "2026-12-01T00:00:00Z",
        "duration_s": 1.0,
        **more,
    }


def write(path: Path, *records: Any) -> None:
    path.write_text("".join(json.dumps(record) + "\n" for record in records), encoding="utf-8")


def compared(place: Place, *flags: str, code: int = 0) -> dict[str, Any]:
    """What `compare a.jsonl b.jsonl --json` prints."""
    place.crewrun("compare", "a.jsonl", "b.jsonl", "--json", *flags, code=code)
    printed: dict[str, Any] = json.loads(place.stdout)
    return printed


def test_rows_are_joined_by_their_ids(place: Place) -> None:
    """Each row is one of six; shares are of those in both runs, in whatever order the results are."""
    a = [result("1", "x"), result("2", "x"), result("3", "x"), result("4"), result("5"), result("6", "x")]
    b = [result("7", "x"), result("5"), result("4", "x"), result("3"), result("2", "y"), result("1", "x")]
    write(place.folder / "a.jsonl", *a)
    write(place.folder / "b.jsonl", *b)
    found = compared(place)
    assert found["schema"] == "crewrun.compare/1"
    assert found["rows"] == {
        "same": 2,
        "changed": 1,
        "fixed": 1,
        "broken": 1,
        "only_a": 1,
        "only_b": 1,
        "failed_in_both": 1,
        "other_input": 0,
        "joined": 5,
    }
    assert found["shares"] == {"same": 0.4, "changed": 0.2, "fixed": 0.2, "broken": 0.2}
    assert (found["a"], found["b"]["rows"]) == (
        {"run": "a.jsonl", "rows": 6, "models": ["openai/x"], "snapshot": False},
        6,
    )
    assert [(example["id"], example["change"]) for example in found["examples"]] == [
        ("3", "broken"),
        ("2", "changed"),
        ("4", "fixed"),
    ]
    assert found["examples"][1]["differences"] == [
        {"field": "output", "a": "x", "b": "y", "diff": [["-", "x"], ["+", "y"]]}
    ]


def test_outputs_are_compared_as_json(place: Place) -> None:
    """The order of keys and the way of writing a number do not matter; a text is another value than an object."""
    write(place.folder / "a.jsonl", result("1", {"n": 1, "s": "x"}), result("2", {"n": 1}), result("3", "{}"))
    write(place.folder / "b.jsonl", result("1", {"s": "x", "n": 1.0}), result("2", {"n": True}), result("3", {}))
    found = compared(place)
    assert (found["rows"]["same"], found["rows"]["changed"]) == (1, 2)


def test_a_run_is_compared_with_the_one_before(place: Place) -> None:
    """With --fresh that is NAME.1.jsonl. What was paid for each row has an interval."""
    place.crew()
    place.rows(*({"topic": f"tide {number}"} for number in range(8)))
    place.batch()
    crew = place.folder / "crew.yaml"
    crew.write_text(crew.read_text().replace("Write about {topic}", "Write a poem about {topic} please"))
    place.batch("--fresh")
    place.crewrun("compare", "in.results.1.jsonl", "in.results.jsonl", "--fail-if", "changed>=100%", code=3)
    assert "8 rows in both: 0 same, 8 changed (100.0%), 0 fixed, 0 broken" in place.stdout
    assert "{+a poem +}" in place.stdout
    assert "--fail-if 'changed>=100%' holds: 100%" in place.stdout
    cost = next(line for line in place.stdout.splitlines() if line.startswith("prompt_tokens"))
    assert "+" in cost
    assert " to " in cost


@pytest.mark.parametrize(
    ("condition", "code"),
    [
        ("changed>25%", 0),
        ("changed>=25%", 3),
        ("broken>0", 3),
        ("fixed>0", 0),
        ("only_b>0", 3),
        ("cost>50%", 0),
        ("cost>49%", 3),
        ("cost<0.001", 3),
        ("time>0", 0),
        ("tokens>0%", 0),
        ("output.city<=50%", 3),
        ("output.city<50%", 0),
        ("joined<4", 0),
    ],
)
def test_a_condition_decides_the_exit_code(place: Place, condition: str, code: int) -> None:
    """Counts, shares of the joined rows, changes of means, the equal share of a field; equal is not above."""
    a = [result("1", {"city": "Rome"}), result("2", {"city": "Rome"}), result("3", "x"), result("4")]
    b = [result("1", {"city": "Oslo"}), result("2", {"city": "Rome"}), result("3"), result("4"), result("5", "x")]
    write(place.folder / "a.jsonl", *a)
    write(place.folder / "b.jsonl", *({**record, "cost_usd": 0.0015} for record in b))
    found = compared(place, "--fail-if", condition, "--fail-if", "same>90%", code=code)
    assert [check["holds"] for check in found["conditions"]] == [code == 3, False]
    assert (f"--fail-if '{condition}' holds" in place.stderr) is (code == 3)


def test_what_two_runs_met_of_expectations_is_compared(place: Place) -> None:
    """The share of the rows that both runs checked, in the table and in conditions; another expectation is unknown."""
    for name, missed in (("a.jsonl", 2), ("b.jsonl", 5)):
        records = [result(str(i), "x", expectations={"label": i >= missed or "no"}) for i in range(10)]
        write(place.folder / name, *records, result("old", "x"))
    found = compared(place, "--fail-if", "expect.label<-20%", "--fail-if", "expect.label.high<0", code=3)
    one = found["metrics"]["expect.label"]
    assert (one["rows"], one["a"], one["b"]) == (10, 0.8, 0.5)
    assert [check["holds"] for check in found["conditions"]] == [True, one["difference"]["high"] < 0]
    place.crewrun("compare", "a.jsonl", "b.jsonl", "--fail-if", "expect.labl<0", code=2)
    assert "no row has 'expect.labl' (did you mean 'expect.label'?)" in place.stderr


def test_a_condition_on_an_end_of_the_interval(place: Place) -> None:
    """Which holds only if the change is more than chance."""
    write(place.folder / "a.jsonl", *(result(str(number), "x") for number in range(20)))
    b = [result(str(number), "x", cost_usd=0.001 + 0.0001 * (number % 5 - 1)) for number in range(20)]
    write(place.folder / "b.jsonl", *b)
    ends = [f"cost.{end}>{number}" for end in ("low", "high") for number in ("0%", "10%", "20%")]
    found = compared(place, *(word for end in ends for word in ("--fail-if", end)), code=3)
    assert [check["holds"] for check in found["conditions"]] == [True, False, False, True, True, False]


@pytest.mark.parametrize(
    ("condition", "message"),
    [
        ("output.town<95%", "no row has 'output.town' (did you mean 'output.city'?)"),
        ("time>0", "no row has its time in both runs"),
        ("cost.low>0%", "there is no interval with 1 rows"),
        ("chnaged>5%", "character 1: 'chnaged' is not known (did you mean 'changed'?)"),
    ],
)
def test_a_condition_that_cannot_be_decided_is_an_error(place: Place, condition: str, message: str) -> None:
    """It would pass for ever."""
    write(place.folder / "a.jsonl", result("1", {"city": "Rome"}, duration_s=None))
    write(place.folder / "b.jsonl", result("1", {"city": "Rome"}))
    place.crewrun("compare", "a.jsonl", "b.jsonl", "--fail-if", condition, code=2)
    assert message in place.stderr
    assert place.stdout == ""


def test_runs_without_a_common_row(place: Place) -> None:
    """Most likely their ids are made of other fields, which the message names."""
    place.crew()
    place.rows({"topic": "a", "key": "1"}, {"topic": "b", "key": "2"})
    place.batch("-o", "a.jsonl")
    place.batch("-o", "b.jsonl", "--id-field", "key")
    place.crewrun("compare", "a.jsonl", "b.jsonl", code=2)
    assert "a.jsonl and b.jsonl have no row in common" in place.stderr
    assert "In a.jsonl they are made of all inputs (topic, key), such as " in place.stderr
    assert "in b.jsonl they are the field 'key' (--id-field), such as '" in place.stderr


def test_rows_of_the_same_id_with_other_inputs(place: Place) -> None:
    """Are compared, and said: their outputs differ for another reason than the crew."""
    place.crew()
    place.rows({"topic": "a", "key": "1"}, {"topic": "b", "key": "2"})
    place.batch("-o", "a.csv", "--id-field", "key")
    place.rows({"topic": "a", "key": "1"}, {"topic": "FAIL-400", "key": "2"})
    place.batch("--run-dir", "b", "-o", "b.parquet", "--id-field", "key", code=3)
    place.crewrun("compare", "a.csv", "b")
    assert "2 rows in both: 1 same (50.0%), 0 changed, 0 fixed, 1 broken (50.0%)" in place.stdout
    assert "1 have other inputs in B" in place.stdout
    assert "bad_request: " in place.stdout


def test_more_fields_than_are_compared(place: Place) -> None:
    """Names that a model made up do not fill the memory; rows are compared in full all the same."""
    old, new = ({f"field {number}": value for number in range(600)} for value in ("x", "y"))
    write(place.folder / "a.jsonl", result("1", {**old, "last": 1}), result("2", {**old, "last": 1}))
    write(place.folder / "b.jsonl", result("1", {**new, "last": 2}), result("2", {**old, "last": 2}))
    found = compared(place)
    assert (found["rows"]["changed"], len(found["fields"]), found["fields_left_out"]) == (2, 500, 202)
    assert found["examples"][0]["more_differences"] == 581
    place.crewrun("compare", "a.jsonl", "b.jsonl")
    assert "480 more fields differ" in place.stdout
    assert "more than 500 fields: the others are compared as part of the output only" in place.stdout


def test_a_run_and_itself(place: Place) -> None:
    """By whatever names: such a check would never fail."""
    place.crew()
    place.rows({"topic": "a"})
    place.batch()
    os.symlink(place.results, place.folder / "link.jsonl")
    for other in ("in.results.jsonl", "in.results.jsonl.crewrun", "link.jsonl"):
        place.crewrun("compare", "in.results.jsonl", other, code=2)
        assert "are the same run; name two" in place.stderr


def test_a_run_that_is_going_is_a_snapshot(place: Place) -> None:
    """Which is said, in every form; the line that is being written does not count."""
    place.crew()
    place.rows({"topic": "a"}, {"topic": "b"})
    place.batch("-o", "b.jsonl")
    place.batch()
    with (place.folder / STATE / "lock").open("rb+") as lock, place.results.open("ab") as results:
        fcntl.flock(lock, fcntl.LOCK_EX)
        results.write(b'{"schema":"crewrun.result/1","id":"3f')
        results.flush()
        place.crewrun("compare", "b.jsonl", RESULTS, "--json")
        assert place.stderr == f"crewrun: {RESULTS}: is still running; these are its results so far\n"
        found = json.loads(place.stdout)
        assert (found["rows"]["same"], found["a"]["snapshot"], found["b"]["snapshot"]) == (2, False, True)
        place.crewrun("compare", "b.jsonl", RESULTS)
        assert f"B  {RESULTS}  2 rows · openai/gpt-4.1-mini · still running: the results so far" in place.stdout


def test_results_that_went_to_a_stream(place: Place) -> None:
    """Are restored from the journal, also to look at single rows."""
    place.crew()
    place.rows({"topic": "a"}, {"topic": "b"})
    place.batch("-o", "-", "--run-dir", "a")
    place.batch("-o", "b.jsonl")
    place.crewrun("compare", "a", "b.jsonl")
    assert "2 rows in both: 2 same" in place.stdout
    place.crewrun("compare", "b.jsonl", "a")
    assert "2 rows in both: 2 same" in place.stdout


def test_lines_that_are_no_results(place: Place) -> None:
    """Are left out and counted; a file of nothing else is refused."""
    write(place.folder / "a.jsonl", result("1", "x"), {"any": "thing"})
    write(place.folder / "b.jsonl", result("1", "old"), result("1", "x"))
    with (place.folder / "b.jsonl").open("a") as file:
        file.write('{"schema":"crewrun.result/1","id":"2"')
    place.crewrun("compare", "a.jsonl", "b.jsonl")
    assert "1 row in both: 1 same" in place.stdout
    assert "lines of a.jsonl that are left out: 1 that are not results" in place.stderr
    assert "lines of b.jsonl that are left out: 1 incomplete, 1 duplicated" in place.stderr
    (place.folder / "c.jsonl").write_text("{}\n")
    place.crewrun("compare", "a.jsonl", "c.jsonl", code=2)
    assert "none of its lines is a result" in place.stderr


def test_rows_with_nothing_but_an_output(place: Place) -> None:
    """Of another program, or of another version: what is missing is unknown, not zero."""
    bare = {key: result("1", "x")[key] for key in ("schema", "id", "index", "status", "input", "started_at")}
    write(place.folder / "a.jsonl", bare | {"output": "x"})
    write(place.folder / "b.jsonl", bare | {"cost_usd": "much", "usage": 3, "duration_s": [1], "models": 5})
    place.crewrun("compare", "a.jsonl", "b.jsonl")
    assert "1 row in both: 0 same, 1 changed (100.0%)" in place.stdout
    assert place.stdout.count("unknown in all rows") == 5


def test_numbers_beyond_floats_are_null_in_json(place: Place) -> None:
    """JSON may have 1e400, and no program can read what Python makes of it."""
    write(place.folder / "a.jsonl", result("1", {"n": 1}))
    line = json.dumps(result("1", {"n": 2})).replace('{"n": 2}', '{"n": 1e400}')
    (place.folder / "b.jsonl").write_text(f"{line}\n")
    (example,) = compared(place)["examples"]
    assert "Infinity" not in place.stdout
    assert [example[side]["output"] for side in "ab"] == [{"n": 1}, {"n": None}]


def test_hostile_texts(place: Place) -> None:
    """Control characters, lone surrogates, text from right to left and 10 MB can neither harm the terminal nor fill
    it.
    """
    texts = ("\x1b[31mred\u202e", "\ud800 half", "long " * 2_000_000)
    for name, more in (("a.jsonl", "x"), ("b.jsonl", "y")):
        write(place.folder / name, *(result(str(number), text + more) for number, text in enumerate(texts)))
    place.crewrun("compare", "a.jsonl", "b.jsonl")
    assert "\x1b" not in place.stdout
    assert "\u202e" not in place.stdout
    assert "\\x1b[31mred\\u202e" in place.stdout
    assert len(place.stdout) < 10_000
    assert len(json.dumps(compared(place))) < 500_000


def test_colours_on_a_terminal(place: Place) -> None:
    """Instead of the marks of a pipe; lines are as wide as the screen."""
    write(place.folder / "a.jsonl", result("1", "the tide turns " + "and turns again " * 8))
    write(place.folder / "b.jsonl", result("1", "the sea turns " + "and turns again " * 8))
    with Terminal("compare", "a.jsonl", "b.jsonl", cwd=place.folder, columns=60, rows=40) as terminal:
        assert terminal.end() == 0
        assert b"\x1b[9;31mtide" in terminal.written
        assert b"\x1b[32msea" in terminal.written
        assert "[-" not in "\n".join(terminal.lines)
    with Terminal("compare", "a.jsonl", "b.jsonl", cwd=place.folder, columns=60, env={"NO_COLOR": "1"}) as terminal:
        assert terminal.end() == 0
        assert any("[-tide-]{+sea+}" in text for text in terminal.lines)


def test_the_sample(place: Place) -> None:
    """N of each kind, the same for the same seed; 0 shows none."""
    write(place.folder / "a.jsonl", *(result(str(number), "x") for number in range(50)))
    write(place.folder / "b.jsonl", *(result(str(number), "y") for number in range(50)))
    drawn = [[one["id"] for one in compared(place, "--sample", "5", "--seed", seed)["examples"]] for seed in "112"]
    assert len(drawn[0]) == 5
    assert drawn[0] == drawn[1] != drawn[2]
    place.crewrun("compare", "a.jsonl", "b.jsonl", "--sample", "0")
    assert "drawn at random" not in place.stdout


def test_a_report_shows_the_run_before(place: Place) -> None:
    """What became of each row, and its result in the run before; the comparison is that of the command."""
    place.crew()
    place.rows({"topic": "a", "key": "1"}, {"topic": "FAIL-400", "key": "2"}, {"topic": "c", "key": "3"})
    place.batch("-o", "old.jsonl", "--id-field", "key", "--limit", "2", code=3)
    place.rows({"topic": "a, please", "key": "1"}, {"topic": "b", "key": "2"}, {"topic": "c", "key": "3"})
    place.batch("-o", "new.jsonl", "--id-field", "key")
    place.crewrun("compare", "old.jsonl", "new.jsonl", "--json")
    compared = json.loads(place.stdout)
    place.crewrun("report", "new.jsonl", "--with", "old.jsonl")
    page = read_report(place.folder / "new.html")
    assert page.columns["change"] == ["changed", "fixed", "only_b"]
    examples = page.head["comparison"].pop("examples")
    assert [example.pop("row") for example in examples] == [0, 1]
    assert examples == compared.pop("examples")
    del compared["conditions"]
    assert page.head["comparison"] == compared
    before = [json.loads(line) for line in (place.folder / "old.jsonl").read_text().splitlines()]
    others = [detail.get("other") for detail in page.details.values()]
    assert others == [*sorted(before, key=lambda record: str(record["id"])), None]
    place.crewrun("report", "new.jsonl", "--with", "new.jsonl", code=2)
    assert "are the same run" in place.stderr


def test_scores_are_compared_where_both_runs_have_them(place: Place) -> None:
    """By their names, of the outputs as they are now; those of one run alone are named."""
    (place.folder / "judge.py").write_text(
        "def words(output):\n    return {'count': len(output.split()), 'is_long': len(output) > 20}\n"
    )
    inputs = [{"topic": name} for name in "abcdef"]
    place.crew(llm="offline")
    for name, more in (("a", 0), ("b", 2)):
        records = [
            result(row["topic"], "word " * (3 + number % 2 + more), input=row) for number, row in enumerate(inputs)
        ]
        write(place.folder / f"{name}.jsonl", *records)
        place.crewrun("score", f"{name}.jsonl", "--by", "judge:words")
    place.crewrun("score", "a.jsonl", "--by", "judge:words", "--name", "alone")
    found = compared(place, "--fail-if", "score.words.count>=2", "--fail-if", "score.words.count.low>3", code=3)
    count, is_long = (found["metrics"][f"score.words.{name}"] for name in ("count", "is_long"))
    assert (count["rows"], count["a"], count["b"], count["difference"]["mean"]) == (6, 3.5, 5.5, 2.0)
    assert (is_long["a"], is_long["b"]) == (0.0, 1.0)
    assert [check["holds"] for check in found["conditions"]] == [True, False]
    assert "b.jsonl: has no scores 'alone', which the other run has" in place.stderr
    place.crewrun("score", "b.jsonl", "--by", "judge.py:words", "--name", "alone")
    compared(place)
    assert "scores 'alone': A is judged by 'judge:words', B by 'judge.py:words'" in place.stderr
    write(place.folder / "b.jsonl", *(result(row["topic"], "other", input=row) for row in inputs))
    place.crewrun("compare", "a.jsonl", "b.jsonl", "--fail-if", "score.words.count<0", code=2)
    assert "no row has its score.words.count in both runs" in place.stderr
