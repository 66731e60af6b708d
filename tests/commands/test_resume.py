"""Repeating a command: what is kept, what is redone, and what is sent for it, as the mock's ledger counts it."""

import json
import os
import re
import shutil
import signal
import sqlite3
import subprocess
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from queue import Queue
from threading import Thread
from typing import Any

import pytest
from support.command import PROGRAM, clean_env, parse_rows, problems, read_rows, topics
from support.forks import Fork, Forks, crewrun, shell, start
from support.kill_points import Point
from support.mock_process import MockProcess
from support.scripted_provider import USAGE, Fickle, Reply
from support.workspace import KEY, RESULTS, STATE, Place


@pytest.fixture(scope="module")
def mock() -> Iterator[MockProcess]:
    with MockProcess() as process:
        yield process


@pytest.fixture(scope="module")
def slow() -> Iterator[MockProcess]:
    with MockProcess("--latency", "0.4") as process:
        yield process


@pytest.fixture
def place(tmp_path: Path, mock: MockProcess, forks: Forks) -> Place:
    """A crew of one task and three rows."""
    made = Place(tmp_path, mock, forks)
    made.crew()
    made.rows(*topics(3))
    return made


def lines_of(path: Path) -> list[bytes]:
    return path.read_bytes().splitlines(keepends=True)


ALL = ["Write about topic 0", "Write about topic 1", "Write about topic 2"]
T0, T1, T2 = topics(3)

# --- rows -------------------------------------------------------------------------------------------------------------


def test_the_second_run_sends_nothing(place: Place) -> None:
    """And leaves the results as they are."""
    assert place.batch() == ALL
    before = place.results.read_bytes()
    assert place.batch() == []
    assert place.results.read_bytes() == before
    assert place.stderr.startswith("0 ok, 0 failed, 3 done before in ")


@pytest.mark.parametrize(
    ("rows", "asked", "left"),
    [
        pytest.param([T2, T0, T1], [], ["topic 0", "topic 1", "topic 2"], id="reordered"),
        pytest.param(
            [T0, T1, T2, {"topic": "x"}], ["Write about x"], ["topic 0", "topic 1", "topic 2", "x"], id="more"
        ),
        pytest.param([T0, {"topic": "x"}, T2], ["Write about x"], ["topic 0", "topic 2", "x"], id="changed"),
        pytest.param([T0, T2], [], ["topic 0", "topic 2"], id="removed"),
        pytest.param([], [], [], id="all removed"),
    ],
)
def test_an_input_that_was(place: Place, rows: list[Any], asked: list[str], left: list[str]) -> None:
    """What is new in it is run, what is gone from it goes from the results, nothing is sent for the rest."""
    place.batch()
    place.rows(*rows)
    assert place.batch() == asked
    assert sorted(place.done()) == left
    assert place.batch() == []
    assert sorted(place.done()) == left


def test_a_row_that_comes_back_is_not_paid_for_again(place: Place) -> None:
    """The journal has kept it."""
    place.batch()
    place.rows(T0)
    place.batch()
    assert "2 results were removed" in place.stderr
    place.rows(T0, T1, T2)
    assert place.batch() == []
    assert sorted(place.done()) == ["topic 0", "topic 1", "topic 2"]


def test_keys_in_another_order_are_the_same_row(place: Place) -> None:
    """Its line may say them in the old order, or in the new one."""
    place.rows({"topic": "a", "more": 1})
    place.batch()
    place.rows({"more": 1, "topic": "a"})
    assert place.batch() == []
    place.results.unlink()
    assert place.batch() == []
    place.crewrun("status", RESULTS, "--json")
    status = json.loads(place.stdout)
    assert (status["rows"], status["rows_per_s"]) == ({"ok": 1, "failed": 0, "in_flight": 0}, None)
    assert place.batch() == []
    assert place.done() == ["a"]


def test_identical_rows_are_rows_of_their_own(place: Place) -> None:
    """Each is run once; one more of them is one more call, one less is one result less."""
    place.rows(T0, T0, T0)
    assert place.batch() == ALL[:1] * 3
    assert place.batch() == []
    place.rows(T0, T1, T0, T0, T0)
    assert place.batch() == ALL[:1] + ALL[1:2]
    place.rows(T0, T0)
    assert place.batch() == []
    assert place.done() == ["topic 0"] * 2
    assert len({row["id"] for row in read_rows(place.results)}) == 2


def test_id_field_names_rows_whatever_their_place(place: Place) -> None:
    """What is new under an id is redone and takes the old line's place."""
    flags = ("--id-field", "n")
    place.rows(*({"n": n, **row} for n, row in enumerate([T0, T1, T2])))
    assert place.batch(*flags) == ALL
    place.rows(*({"n": n, **row} for n, row in ((2, {"topic": "x"}), (0, T0), (1, T1))))
    assert place.batch(*flags) == ["Write about x"]
    assert sorted(place.done()) == ["topic 0", "topic 1", "x"]
    assert lines_by_id(place) == [("0", "topic 0"), ("1", "topic 1"), ("2", "x")]
    assert place.batch(*flags) == []


def test_whatever_the_id_a_row_has_a_folder_of_its_own(place: Place) -> None:
    """For the files that its tasks write: also where the id is no name for one, or no UTF-8."""
    crew = place.crew().replace("    description:", "    output_file: o.md\n    description:")
    (place.folder / "crew.yaml").write_text(crew)
    ids = ["plain", "../up", "\ud800", "\udfff"]
    place.rows(*({"n": n, **T0} for n in ids))
    place.batch("--id-field", "n")
    files = [file for row in read_rows(place.results) for file in row["files"]]
    assert len(set(files)) == len(list(place.folder.glob(f"{RESULTS}.files/*/o.md"))) == len(ids)


def named(*topics: str) -> list[dict[str, Any]]:
    """Rows with ids."""
    return [{"n": f"p{i}", "topic": topic} for i, topic in enumerate(topics)]


def lines_by_id(place: Place) -> list[tuple[str, str]]:
    """The ids and topics of the results, sorted."""
    return sorted((row["id"], row["input"]["topic"]) for row in read_rows(place.results))


@pytest.mark.parametrize("inputs", ["in.jsonl", "-"], ids=["file", "pipe"])
def test_a_changed_row_has_one_line_even_if_only_a_part_is_run(place: Place, inputs: str) -> None:
    """Its old line goes before the first row is run, and comes back with the old content, which is not paid again."""
    flags = ("--id-field", "n", "-o", RESULTS)

    def give(*topics: str) -> str | None:
        place.rows(*named(*topics))
        return (place.folder / "in.jsonl").read_text() if inputs == "-" else None

    place.batch(*flags, inputs=inputs, stdin=give("a", "b", "c", "d", "e"))
    changed = give("a", "x", "y", "d", "z")
    assert place.batch(*flags, "--limit", "3", inputs=inputs, stdin=changed) == ["Write about x", "Write about y"]
    assert lines_by_id(place) == [("p0", "a"), ("p1", "x"), ("p2", "y"), ("p3", "d"), ("p4", "e")]
    assert "taken out" not in place.stderr
    assert place.batch(*flags, inputs=inputs, stdin=give("a", "b", "y", "d")) == []
    assert lines_by_id(place) == [("p0", "a"), ("p1", "b"), ("p2", "y"), ("p3", "d")]
    assert "1 result was removed: no longer in the input" in place.stderr
    assert place.crewrun("status", RESULTS, "--verify") == []


def test_a_run_that_is_killed_over_changed_rows_has_one_line_for_each(place: Place) -> None:
    """The old lines are gone before new ones come."""
    command = ("--id-field", "n", "-j", "1")
    place.rows(*named(*"abcdef"))
    place.batch(*command)
    place.rows(*named(*"abcxyz"))
    point = Point("after", "write", RESULTS, 2)
    killed = place.forks.crewrun("batch", "in.jsonl", *command, cwd=place.folder, env=place.env, kill_at=point)
    assert killed.returncode == -9
    assert lines_by_id(place) == [("p0", "a"), ("p1", "b"), ("p2", "c"), ("p3", "x"), ("p4", "y")]
    assert place.batch(*command) == ["Write about z"]
    assert lines_by_id(place) == [(f"p{i}", topic) for i, topic in enumerate("abcxyz")]


def test_ids_from_elsewhere_than_before_are_refused(place: Place) -> None:
    """No row would be known again, so all would be paid twice, unless that is what --fresh is for."""
    place.rows(*({"n": f"r{i}", **row} for i, row in enumerate((T0, T1))))
    assert place.batch() == ALL[:2]
    assert place.batch("--id-field", "n", code=2) == []
    assert place.stderr == (
        f"crewrun: {STATE}: its rows have their ids from their inputs, so with the field 'n' every row would run "
        "again: leave --id-field out, or start over with --fresh\n"
    )
    assert place.batch("--id-field", "n", "--fresh") == ALL[:2]
    assert place.batch(code=2) == []
    assert place.stderr == (
        f"crewrun: {STATE}: its rows have their ids from the field 'n', so with their inputs every row would run "
        "again: --id-field n, or start over with --fresh\n"
    )


def test_an_id_may_be_any_text(place: Place) -> None:
    """Half of a surrogate pair is legal in JSON, and not in SQLite."""
    rows = [{"n": "\ud800", **T0}, {"n": "é", **T1}, {"n": "\ud801", **T2}]
    place.rows(*rows)
    assert place.batch("--id-field", "n") == ALL
    assert [row["id"] for row in read_rows(place.results)] == ["\ud800", "é", "\ud801"]
    place.results.write_bytes(lines_of(place.results)[0].replace(b"Mock reply", b"My answer"))
    assert place.batch("--id-field", "n") == []
    assert [row["input"] for row in read_rows(place.results)] == rows
    assert place.crewrun("status", RESULTS, "--verify") == []


def test_a_missing_or_second_id_is_an_input_error(place: Place) -> None:
    """It names the line, and the one that has the id already; nothing is sent for it."""
    place.rows({"n": "a", **T0}, T1, {"n": "a", **T2}, {"n": "", **T2}, {"n": None, **T2})
    assert place.batch("--id-field", "n", code=3) == ALL[:1]
    assert problems(read_rows(place.results)) == {
        1: "line 2: has no 'n', which is the id (--id-field)",
        2: "line 3: has the id 'a' ('n'), which line 1 has already (--id-field)",
        3: "line 4: its id, 'n', must be a text or a whole number, not \"\" (--id-field)",
        4: "line 5: its id, 'n', must be a text or a whole number, not null (--id-field)",
    }
    assert place.batch("--id-field", "n", code=3) == []
    assert len(lines_of(place.results)) == 5


def test_a_part_and_then_the_whole(place: Place) -> None:
    """--limit and --offset leave out rows, and take no result away."""
    assert place.batch("--limit", "1") == ALL[:1]
    assert place.batch("--offset", "2") == ALL[2:]
    assert place.done() == ["topic 0", "topic 2"]
    assert place.batch() == ALL[1:2]
    assert place.batch("--limit", "1") == []
    assert sorted(place.done()) == ["topic 0", "topic 1", "topic 2"]


def test_ordered_sorts_what_was_there_before(place: Place) -> None:
    """Also when the only thing to do is to sort."""
    place.batch("--offset", "2")
    place.batch("--offset", "1")
    assert place.done() == ["topic 2", "topic 1"]
    assert place.batch("--ordered") == ALL[:1]
    assert place.done() == ["topic 0", "topic 1", "topic 2"]
    place.rows(T2, T0, T1)
    assert place.batch("--ordered") == []
    assert place.done() == ["topic 2", "topic 0", "topic 1"]


def test_ordered_puts_a_redone_row_in_its_place(place: Place) -> None:
    """However late it succeeded."""
    place.rows(T0, {"topic": "FAIL-ONCE-500 ordered"}, T2)
    flags = ("--ordered", "--retries", "0")
    place.batch(*flags, code=3)
    assert place.batch(*flags) == ["Write about FAIL-ONCE-500 ordered"]
    assert place.done() == ["topic 0", "FAIL-ONCE-500 ordered", "topic 2"]


def test_rows_from_stdin_are_known_again(place: Place) -> None:
    """The input has no name, its rows have."""
    lines = "".join(json.dumps(row) + "\n" for row in (T0, T1, T2))
    flags = ("-o", RESULTS)
    assert place.batch(*flags, inputs="-", stdin=lines) == ALL
    assert place.batch(*flags, inputs="-", stdin=lines) == []
    assert sorted(place.done()) == ["topic 0", "topic 1", "topic 2"]


def test_standard_output_with_run_dir_gets_all_rows_each_time(place: Place) -> None:
    """Those that are done come from the journal."""
    flags = ("-o", "-", "--run-dir", "state")
    assert place.batch(*flags) == ALL
    first = parse_rows(place.stdout)
    assert place.batch(*flags) == []
    assert parse_rows(place.stdout) == first


# --- the crew ---------------------------------------------------------------------------------------------------------


def test_an_edited_last_task_is_all_that_runs_again(place: Place) -> None:
    """The calls before it come from the journal, and are counted apart."""
    place.crew("Criticise {topic}", "Conclude on {topic}")
    assert len(place.batch()) == 9
    place.crew("Criticise {topic}", "Sum {topic} up")
    assert place.batch("--summary", "s.json") == [f"Sum topic {i} up" for i in range(3)]
    summary = json.loads((place.folder / "s.json").read_text())
    assert (summary["usage"]["calls"], summary["replayed_calls"], summary["in_all"]["usage"]["calls"]) == (3, 6, 12)
    assert [(row["usage"]["calls"], row["replayed"]["usage"]["calls"]) for row in read_rows(place.results)] == [
        (3, 2)
    ] * 3
    assert place.batch() == []


def test_an_edit_that_is_taken_back_costs_nothing(place: Place) -> None:
    """What the journal has of the old wording is used again."""
    place.crew("Criticise {topic}")
    place.batch()
    place.crew("Praise {topic}")
    place.batch()
    place.crew("Criticise {topic}")
    assert place.batch() == []
    assert [row["tasks"][1]["output"][24:46] for row in read_rows(place.results)] == ["Your task: Criticise t"] * 3


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("llm: gpt-4.1-mini", "llm: gpt-4.1-nano"),
        ("llm: gpt-4.1-mini", "llm: {model: gpt-4.1-mini, temperature: 0.5}"),
        ("llm: gpt-4.1-mini", "llm: {model: gpt-4.1-mini, base_url: 'URL'}"),
        ("role: Writer", "role: Author"),
        ("goal: Write well", "goal: Write badly"),
        ("backstory: You have", "backstory: You had"),
        ("expected_output: One line", "expected_output: Two lines"),
        ("    role:", "    tools: [FileReadTool]\n    role:"),
    ],
    ids=["model", "temperature", "base_url", "role", "goal", "backstory", "expected output", "tools"],
)
def test_what_decides_an_answer_is_asked_for_anew_when_it_changes(place: Place, old: str, new: str) -> None:
    """There is one result a row all the same."""
    place.batch()
    text = place.crew().replace(old, new.replace("URL", place.mock.base_url.replace("/v1", "/other/v1")))
    (place.folder / "crew.yaml").write_text(text)
    assert sorted(set(place.batch())) == ALL
    assert sorted(place.done()) == ["topic 0", "topic 1", "topic 2"]


@pytest.mark.parametrize("flags", [("-m", "gpt-4.1-nano"), ("--base-url", "URL")], ids=["--model", "--base-url"])
def test_flags_that_decide_an_answer_do_too(place: Place, flags: Sequence[str]) -> None:
    """Another model is another answer."""
    place.batch()
    other = place.mock.base_url.replace("/v1", "/other/v1")
    assert place.batch(*(flag.replace("URL", other) for flag in flags)) == ALL


def test_what_decides_no_answer_runs_nothing_again(place: Place) -> None:
    """Comments, the batch section, the key and how fast it goes are none of the rows' affair."""
    place.batch()
    before = place.results.read_bytes()
    text = place.crew(more="verbose: true\nbatch:\n  max_concurrent: 2\n  retries: 1\n")
    (place.folder / "crew.yaml").write_text(f"# a comment\n{text}")
    assert place.batch("--call-timeout", "30", OPENAI_API_KEY="another-key") == []
    assert place.results.read_bytes() == before


# --- failures ---------------------------------------------------------------------------------------------------------


def test_failed_rows_are_redone_and_no_others(place: Place) -> None:
    """A failure is never an answer; its line makes way for the new one."""
    place.rows(T0, {"topic": "FAIL-ONCE-500 a"}, T2)
    flags = ("--retries", "0")
    assert len(place.batch(*flags, code=3)) == 3
    assert problems(read_rows(place.results)).keys() == {1}
    assert place.batch(*flags) == ["Write about FAIL-ONCE-500 a"]
    assert sorted(place.done()) == ["FAIL-ONCE-500 a", "topic 0", "topic 2"]
    assert place.batch(*flags) == []


def test_a_row_that_fails_again_has_one_line(place: Place) -> None:
    """Its earlier calls are replayed, the one that failed is sent again."""
    place.crew("Criticise {topic} FAIL-400")
    assert len(place.batch(code=3)) == 6
    assert place.batch(code=3) == [f"Criticise topic {i} FAIL-400" for i in range(3)]
    assert [(row["index"], row["error"]["http_status"]) for row in read_rows(place.results)] == [
        (i, 400) for i in range(3)
    ]


SCHEMA = "{type: object, properties: {fit: {type: string}}, required: [fit]}"
CHECKS = """\
def is_fit(output):
    return "fit" in output.raw, "is not fit"
"""


@pytest.mark.parametrize(
    ("field", "category", "again"),
    [
        (f"output_schema: {SCHEMA}", "output_invalid", ("batch", "in.jsonl")),
        (f"output_schema: {SCHEMA}", "output_invalid", ("retry", RESULTS, "--only", "output_invalid")),
        ("guardrails: ['checks.py:is_fit']\n    guardrail_max_retries: 1", "guardrail", ("batch", "in.jsonl")),
    ],
    ids=["schema", "schema, by retry", "guardrail"],
)
def test_answers_that_could_not_be_used_are_asked_for_anew(
    place: Place, field: str, category: str, again: Sequence[str]
) -> None:
    """Else the row would fail by them for ever. What was answered before them is not asked again, nor anything by
    --replay; and later an edit asks for what it changes, and no more.
    """

    def write(last: str) -> None:
        text = place.crew("Criticise {topic}", last).replace(
            '    description: "C', f'    {field}\n    description: "C', 1
        )
        (place.folder / "crew.yaml").write_text(text)

    def asked_by(*command: str, code: int = 0) -> list[str]:
        seen = len(provider.asked)
        place.crewrun(*command, code=code, OPENAI_BASE_URL=provider.base_url)
        return [asked.prompt.removeprefix("Your task: ").partition("\n")[0] for asked in provider.asked[seen:]]

    (place.folder / "checks.py").write_text(CHECKS)
    place.rows(T0)
    write("Conclude on {topic}")
    with Fickle(lambda asked: Reply(text="nonsense" if asked.number in (2, 3) else '{"fit": "yes"}')) as provider:
        assert len(asked_by("batch", "in.jsonl", code=3)) == 3
        assert [row["error"]["category"] for row in read_rows(place.results)] == [category]
        assert asked_by("batch", "in.jsonl", "--replay", code=3) == []
        assert asked_by(*again) == ["Criticise topic 0", "Conclude on topic 0"]
        assert place.done() == ["topic 0"]
        write("Sum {topic} up")
        assert asked_by("batch", "in.jsonl") == ["Sum topic 0 up"]


def test_counts_of_tokens_that_no_journal_can_hold_end_no_run(place: Place) -> None:
    """No model takes so many: they are no counts."""
    details = {
        "prompt_tokens_details": {"cached_tokens": 10**24},
        "completion_tokens_details": {"reasoning_tokens": 9 * 10**18},
    }
    with Fickle(lambda _: Reply(usage={**USAGE, **details})) as provider:
        for _ in range(2):
            place.batch("--summary", "s.json", OPENAI_BASE_URL=provider.base_url)
        assert len(provider.asked) == 3
    assert sorted(place.done()) == ["topic 0", "topic 1", "topic 2"]
    in_all = json.loads((place.folder / "s.json").read_text())["in_all"]["usage"]
    assert (in_all["cached_prompt_tokens"], in_all["reasoning_tokens"]) == (0, 0)
    assert (in_all["prompt_tokens"], in_all["completion_tokens"]) == (300, 30)


def test_replay_sends_nothing(place: Place) -> None:
    """What the journal has not is a failed row, which the next run mends; no key is needed."""
    place.batch()
    place.rows(T0, {"topic": "new"}, T2)
    place.results.unlink()
    assert place.batch("--replay", code=3, OPENAI_API_KEY="") == []
    rows = read_rows(place.results)
    assert [row["status"] for row in rows] == ["ok", "failed", "ok"]
    error = rows[1]["error"]
    assert (error["category"], error["type"], error["task"]) == ("network", "NotRecorded", "draft")
    assert place.batch() == ["Write about new"]
    assert place.batch("--replay") == []
    assert sorted(place.done()) == ["new", "topic 0", "topic 2"]


# --- the results file -------------------------------------------------------------------------------------------------

SPOILED: dict[str, Callable[[list[bytes]], bytes]] = {
    "emptied": lambda lines: b"",
    "torn in its last line": lambda lines: b"".join(lines)[:-20],
    "without its last newline": lambda lines: b"".join(lines)[:-1],
    "edited": lambda lines: lines[0].replace(b"Mock reply", b"My answer") + lines[1] + lines[2],
    "with a line twice": lambda lines: lines[0] + lines[1] + lines[0] + lines[2],
    "with lines that are none": lambda lines: lines[0] + b"garbage\n\n" + lines[1] + b"{}\n" + lines[2],
    "without its first line": lambda lines: lines[1] + lines[2],
    "with zeros at its end": lambda lines: b"".join(lines) + bytes(500),
}


@pytest.mark.parametrize("spoil", SPOILED.values(), ids=SPOILED.keys())
def test_a_results_file_is_mended_that_is(place: Place, spoil: Callable[[list[bytes]], bytes]) -> None:
    """From the journal, with nothing sent: the same lines, each once."""
    place.batch()
    lines = lines_of(place.results)
    place.results.write_bytes(spoil(lines))
    assert place.batch() == []
    assert sorted(lines_of(place.results)) == sorted(lines)


def test_a_deleted_results_file_is_made_again(place: Place) -> None:
    """Byte for byte, but for the order."""
    place.batch()
    lines = lines_of(place.results)
    place.results.unlink()
    assert place.batch("--ordered") == []
    assert sorted(lines_of(place.results)) == sorted(lines)


@pytest.mark.parametrize("name", ["manifest.json", "lock", "log.jsonl"])
def test_the_run_folder_can_do_without(place: Place, name: str) -> None:
    """What was answered is in the journal alone."""
    place.batch()
    (place.folder / STATE / name).unlink()
    assert place.batch() == []
    (place.folder / STATE / name).write_bytes(b'{"torn')
    assert place.batch() == []


def test_results_without_their_run_folder_are_not_run_over(place: Place) -> None:
    """Nothing is sent, and nothing overwritten."""
    place.batch()
    before = place.results.read_bytes()
    shutil.rmtree(place.folder / STATE)
    assert place.batch(code=2) == []
    assert (place.results.read_bytes(), (place.folder / STATE).exists()) == (before, False)
    assert "--fresh moves the file aside" in place.stderr


def test_a_journal_that_lost_its_rows_says_what_fresh_would_cost(place: Place) -> None:
    """Nothing is sent until somebody decides."""
    place.batch()
    (place.folder / STATE / "journal.sqlite").unlink()
    assert place.batch(code=2) == []
    assert place.stderr == (
        f"crewrun: {place.folder / STATE}/journal.sqlite: is missing\n"
        "--fresh moves it aside, with the results, and runs every row again: "
        f"for the 3 rows that {place.results} has, 3 calls ($0.00) would be paid for a second time\n"
    )
    assert place.batch("--fresh") == ALL


@pytest.mark.parametrize("loss", ["wal", "another's"])
def test_a_journal_that_lost_most_of_its_rows_is_not_gone_on_with(place: Place, loss: str) -> None:
    """However few they are; the results stay as they are."""
    place.rows(*topics(8))
    state = place.folder / STATE
    if loss == "wal":
        point = Point("after", "write", RESULTS, 5)
        command = ("batch", "in.jsonl", "-j", "1")
        assert place.forks.crewrun(*command, cwd=place.folder, env=place.env, kill_at=point).returncode == -9
        (state / "journal.sqlite-wal").unlink()
    else:
        place.batch("--limit", "5")
        (place.folder / "other.jsonl").write_text(json.dumps({"topic": "x"}) + "\n")
        place.batch(inputs="other.jsonl")
        shutil.copyfile(place.folder / "other.results.jsonl.crewrun" / "journal.sqlite", state / "journal.sqlite")
    before = place.results.read_bytes()
    assert place.batch(code=2) == []
    assert place.results.read_bytes() == before
    assert place.stderr.splitlines()[0] == f"crewrun: {state}/journal.sqlite: has lost 5 rows that the results have"


@pytest.mark.parametrize(
    ("damage", "entry"),
    [
        ("update rows set record = x'5b31' where seq = 2", 2),
        ("update rows set record = x'5b315d' where seq = 2", 2),
        ("delete from calls where seq = 2", 2),
    ],
    ids=["no JSON", "another JSON", "without its call"],
)
def test_a_result_that_cannot_be_read_out_of_the_journal_is_said_to_be_damaged(
    place: Place, damage: str, entry: int
) -> None:
    """The run ends, and is free for the next command."""
    place.batch("-j", "1")
    spoil(place, damage)
    place.results.unlink()
    for _ in range(2):
        assert place.batch("-j", "1", code=2) == []
        assert place.stderr.splitlines()[-2:] == [
            f"crewrun: {place.folder / STATE}/journal.sqlite: is damaged: its entry {entry} cannot be read",
            "--fresh moves it aside, with the results, and runs every row again: "
            f"for the 1 rows that {place.results} has, 1 calls ($0.00) would be paid for a second time",
        ]


def test_an_answer_that_cannot_be_read_out_of_the_journal_is_said_to_be_damaged(place: Place) -> None:
    """It fails no row, which would fail for ever; what is behind it is not paid for."""
    place.crew("Criticise {topic}")
    place.rows(T0)
    place.batch()
    spoil(place, "update calls set reply = x'ff' where seq = 1")
    place.crew("Praise {topic}")
    for _ in range(2):
        assert place.batch(code=2) == []
        assert place.stderr.endswith(
            f"crewrun: {place.folder / STATE}/journal.sqlite: is damaged: its entry 1 cannot be read\n"
            "--fresh moves it aside, with the results, and runs every row again\n"
        )


def spoil(place: Place, sql: str) -> None:
    """Change what the journal has."""
    db = sqlite3.connect(place.folder / STATE / "journal.sqlite")
    db.execute(sql)
    db.commit()
    db.close()


def test_a_run_folder_of_other_results_is_refused(place: Place) -> None:
    """Their rows would be lost from it. Results that were moved are the same ones."""
    place.batch("--run-dir", "state")
    before = place.results.read_bytes()
    (place.folder / "other.jsonl").write_text(json.dumps({"topic": "x"}) + "\n")
    for flags in ((), ("--fresh",)):
        assert place.batch("--run-dir", "state", *flags, inputs="other.jsonl", code=2) == []
        assert place.stderr == (
            f"crewrun: --run-dir state: has the state of another run, whose results are {place.results}; "
            f"name another folder for {place.folder / 'other.results.jsonl'}\n"
        )
    assert place.results.read_bytes() == before
    place.results.rename(place.folder / "moved.jsonl")
    assert place.batch("--run-dir", "state", "-o", "moved.jsonl") == []


@pytest.mark.parametrize(
    ("point", "asked"),
    [
        (Point("after", "rename", "in.results.1.jsonl"), []),
        (Point("after", "rename", "in.results.1.jsonl.crewrun"), ALL),
        (Point("before", "open", "lock", 2), ALL),
        (Point("after", "flock", "lock", 2), ALL),
        (Point("before", "replace", "manifest.json"), ALL),
    ],
    ids=str,
)
def test_a_fresh_beginning_that_is_killed_tears_nothing_apart(place: Place, point: Point, asked: list[str]) -> None:
    """What was paid for is still a run, in its place or aside."""
    place.batch()
    before = sorted(lines_of(place.results))
    command = ("batch", "in.jsonl", "--fresh")
    assert place.forks.crewrun(*command, cwd=place.folder, env=place.env, kill_at=point).returncode == -9
    old = "in.results.1.jsonl" if asked else RESULTS
    if asked:
        assert place.crewrun("status", old, "--verify") == []
    assert place.batch("-o", old) == []
    assert sorted(lines_of(place.folder / old)) == before
    assert place.batch() == asked


def test_a_run_folder_with_other_files_in_it_keeps_them(place: Place) -> None:
    """Only what is the run's goes aside."""
    flags = ("--run-dir", "shared")
    place.batch(*flags)
    (place.folder / "shared" / "notes.txt").write_text("mine")
    assert place.batch(*flags, "--fresh") == ALL
    assert (place.folder / "shared" / "notes.txt").read_text() == "mine"
    assert place.batch("-o", "in.results.1.jsonl") == []
    assert place.batch(*flags) == []


def test_fresh_moves_what_was_there_away(place: Place) -> None:
    """Each time to the next number, as a run that can be looked at; all is paid again."""
    place.batch()
    first = place.results.read_bytes()
    assert place.batch("--fresh") == ALL
    second = place.results.read_bytes()
    assert place.batch("--fresh") == ALL
    moved = [place.folder / f"in.results.{n}.jsonl" for n in (1, 2)]
    assert [path.read_bytes() for path in moved] == [first, second]
    assert place.crewrun("status", "in.results.1.jsonl", "--verify") == []
    assert place.batch("-o", "in.results.2.jsonl") == []
    assert place.batch() == []


def test_a_journal_of_a_newer_crewrun_is_refused(place: Place) -> None:
    """It is not touched, and nothing is sent."""
    place.batch()
    path = place.folder / STATE / "journal.sqlite"
    db = sqlite3.connect(path)
    db.execute("pragma user_version = 99")
    db.close()
    before = path.read_bytes()
    assert place.batch(code=2) == []
    assert "was made by a newer crewrun (schema 99, this one knows " in place.stderr
    assert path.read_bytes() == before


def test_a_journal_of_an_older_crewrun_is_brought_up_to_date(place: Place) -> None:
    """Nothing is sent again; who only looks is told to give the command first."""
    place.batch()
    db = sqlite3.connect(place.folder / STATE / "journal.sqlite")
    added = ("high_water_usd", "owed_usd", "owed_calls", "owed_unpriced", "cache_write_prompt_tokens")
    db.executescript(
        "drop index tiers; alter table calls drop column tier; alter table calls drop column saved_usd; "
        "alter table calls drop column estimated_calls; alter table calls drop column cache_write_prompt_tokens; "
        "drop table refusals; drop table learned_bounds; drop table jobs; drop table job_lines; "
        "create table refusals (endpoint text, error text, primary key (endpoint, error)); pragma user_version = 1; "
        + "; ".join(f"alter table sessions drop column {name}" for name in added)
    )
    db.close()
    looked = crewrun("status", RESULTS, cwd=place.folder)
    assert (looked.returncode, "was made by an older crewrun; repeat the run's command" in looked.stderr) == (2, True)
    assert place.batch() == []
    assert crewrun("status", RESULTS, cwd=place.folder).returncode == 0


def test_a_clock_that_was_set_back_changes_nothing(place: Place) -> None:
    """What the journal, the manifest and the lock say of the time may lie in the future: the order is by number."""
    place.crew("Criticise {topic}")
    place.batch("--limit", "2")
    db = sqlite3.connect(place.folder / STATE / "journal.sqlite")
    db.execute("update calls set at_ms = at_ms + 4000000000000")
    db.execute("update sessions set started_at = 5e9, updated_at = 5e9, ended_at = 5e9")
    db.commit()
    db.close()
    for name in ("manifest.json", "lock"):
        path = place.folder / STATE / name
        path.write_text(path.read_text().replace('"20', '"30'))
    assert place.batch() == ["Criticise topic 2", ALL[2]]
    assert sorted(place.done()) == ["topic 0", "topic 1", "topic 2"]
    assert place.crewrun("status", RESULTS, "--verify") == []
    place.crew("Praise {topic}")
    assert place.batch() == [f"Praise topic {i}" for i in range(3)]


# --- tools and coworkers ----------------------------------------------------------------------------------------------

TOOLS = """\
from pathlib import Path
from crewrun import Agent, Crew, Task
from crewrun.tools import tool

@tool{options}
def look_up(topic: str) -> str:
    \"\"\"Look a topic up.\"\"\"
    with Path("calls.txt").open("a") as file:
        file.write("called\\n")
    return "found"

@tool
def ask_a_crew(topic: str) -> str:
    \"\"\"Ask others.\"\"\"
    clerk = Agent(role="Clerk", goal="g", backstory="b", llm="gpt-4.1-mini")
    task = Task(description="Ask around", expected_output="A line", agent=clerk)
    return str(Crew(agents=[clerk], tasks=[task]).kickoff())
"""


def give_tools(place: Place, tool: str, last_task: str, options: str = "") -> None:
    """A crew whose first task has a tool, and whose last one has none."""
    (place.folder / "my_tools.py").write_text(TOOLS.replace("{options}", options))
    text = place.crew(last_task).replace("  draft:\n", f"  draft:\n    tools: ['my_tools:{tool}']\n")
    (place.folder / "crew.yaml").write_text(text)


@pytest.mark.parametrize(
    ("options", "calls"), [("", 3), ("('look_up', replay=False)", 6)], ids=["usual", "replay=False"]
)
def test_a_tool_that_gave_its_result_is_not_called_again(place: Place, options: str, calls: int) -> None:
    """Unless it says that it has to be."""
    give_tools(place, "look_up", "Conclude on {topic}", options)
    assert len(place.batch()) == 9
    give_tools(place, "look_up", "Sum {topic} up", options)
    assert place.batch() == [f"Sum topic {i} up" for i in range(3)]
    assert len((place.folder / "calls.txt").read_text().splitlines()) == calls
    assert place.batch() == []


def test_a_crew_inside_a_tool_replays_its_calls(place: Place) -> None:
    """The tool runs again, its models are not paid again."""
    give_tools(place, "ask_a_crew", "Conclude on {topic}")
    assert place.batch().count("Ask around") == 3
    give_tools(place, "ask_a_crew", "Sum {topic} up")
    assert place.batch() == [f"Sum topic {i} up" for i in range(3)]


def test_delegated_work_is_replayed(place: Place) -> None:
    """The coworker's calls are the row's."""

    def write(last_task: str) -> None:
        text = place.crew(last_task).replace(
            "Write about {topic}", "Write about {topic} CALL-delegate_work_to_coworker"
        )
        coworker = "  critic: {role: Critic, goal: g, backstory: b}\n"
        text = text.replace("agents:\n  writer:\n", f"agents:\n{coworker}  writer:\n    allow_delegation: true\n")
        (place.folder / "crew.yaml").write_text(text)

    write("Conclude on {topic} CALL-NONE")
    sent = place.batch()
    assert len(sent) >= 9
    write("Sum {topic} up CALL-NONE")
    assert place.batch() == [f"Sum topic {i} up CALL-NONE" for i in range(3)]


# --- several processes ------------------------------------------------------------------------------------------------


def test_of_four_processes_at_once_one_runs(place: Place) -> None:
    """The others say who has the run, and exit 75."""
    command = ("batch", "-", "-o", RESULTS)
    four = [start(*command, cwd=place.folder, env=place.env, pipe_stdin=True) for _ in range(4)]
    try:
        refused = first_to_end(3, four)
        assert [process.returncode for process in refused] == [75] * 3
        (holder,) = (process for process in four if process not in refused)
        assert {process.communicate()[1] for process in refused} == {
            f"crewrun: {place.folder / STATE}: process {holder.pid} is working on this run\n"
        }
        _, stderr = holder.communicate(json.dumps(T0) + "\n", timeout=20)
        assert (holder.returncode, place.done()) == (0, ["topic 0"]), stderr
    finally:
        end(*four)


def test_a_pipe_of_something_else_changes_nothing(place: Place) -> None:
    """Its beginning is looked at before a failed row is taken out of the results."""
    assert place.batch("-o", RESULTS, inputs="-", stdin="\0no table\n", code=2) == []
    assert sorted(path.name for path in place.folder.iterdir()) == ["crew.yaml", "in.jsonl"]
    place.batch("-o", RESULTS, inputs="-", stdin='{"topic":"a"}\nno JSON\n', code=3)
    before = place.results.read_bytes()
    assert place.batch("-o", RESULTS, inputs="-", stdin="\0no table\n", code=2) == []
    assert place.results.read_bytes() == before
    assert place.batch("-o", RESULTS, inputs="-", stdin="topic;n\na;1\n") == ["Write about a"]
    assert place.stderr.count("standard input: CSV, semicolons\n") == 1


def test_with_lock_wait_four_processes_follow_each_other(place: Place) -> None:
    """All end well, and nothing is paid for twice."""
    seen = place.sent()
    four = [start("batch", "in.jsonl", "--lock", "wait", cwd=place.folder, env=place.env) for _ in range(4)]
    try:
        assert [process.wait(timeout=30) for process in four] == [0] * 4
    finally:
        end(*four)
    assert place.asked_since(seen) == ALL
    assert sorted(place.done()) == ["topic 0", "topic 1", "topic 2"]


def test_a_held_run_is_skipped_or_waited_for_and_free_when_its_holder_is_killed(place: Place) -> None:
    """--lock skip exits 0; who waits takes over from the dead."""
    command = ("batch", "-", "-o", RESULTS)
    holder = start(*command, cwd=place.folder, env=place.env, pipe_stdin=True)
    waiting: list[Fork] = []
    try:
        assert holder.stdin is not None
        holder.stdin.write(json.dumps(T0) + "\n")
        holder.stdin.flush()
        wait_for_line(holder, place.results)
        assert place.batch("-o", RESULTS, "--lock", "skip") == []
        assert place.stderr.endswith("is working on this run; skipped (--lock skip)\n")
        waiting.append(start("batch", "in.jsonl", "--lock", "wait", cwd=place.folder, env=place.env))
        seen = place.sent()
        holder.kill()
        assert waiting[0].wait(timeout=20) == 0
        assert place.asked_since(seen) == ALL[1:]
        assert place.batch() == []
    finally:
        end(holder, *waiting)


def test_who_waits_for_a_run_that_begins_anew_meanwhile_goes_on_with_the_new_one(place: Place) -> None:
    """The lock that they waited for went aside; nothing is paid for by two of them."""
    place.batch()
    holder = start("batch", "-", "-o", RESULTS, cwd=place.folder, env=place.env, pipe_stdin=True)
    waiting: list[Fork] = []
    try:
        wait_for(holder, lambda: str(holder.pid) in (place.folder / STATE / "lock").read_text())
        flags = ("--lock", "wait")
        waiting += [
            start("batch", "in.jsonl", *flags, *more, cwd=place.folder, env=place.env) for more in ((), ("--fresh",))
        ]
        seen = place.sent()
        holder.communicate("".join(json.dumps(row) + "\n" for row in (T0, T1, T2)), timeout=20)
        assert [process.wait(timeout=30) for process in waiting] == [0, 0]
    finally:
        end(holder, *waiting)
    assert place.asked_since(seen) == ALL
    assert sorted(place.done()) == ["topic 0", "topic 1", "topic 2"]
    assert place.batch("-o", "in.results.1.jsonl") == []


def test_two_runs_do_not_share_their_results(place: Place) -> None:
    """With a folder for each, or when somebody deleted the lock of the one that they have: the second exits 75."""
    holder = start("batch", "-", "-o", RESULTS, "--run-dir", "one", cwd=place.folder, env=place.env, pipe_stdin=True)
    held = f"{place.results}: another process is writing these results"
    try:
        wait_for(holder, (place.folder / "one" / "journal.sqlite").exists)
        assert place.batch("--run-dir", "two", code=75) == []
        assert place.stderr == f"crewrun: {held}\n"
        assert place.batch("--run-dir", "two", "--lock", "skip") == []
        assert place.stderr == f"crewrun: {held}; skipped (--lock skip)\n"
        (place.folder / "one" / "lock").unlink()
        assert place.batch("--run-dir", "one", code=75) == []
        _, stderr = holder.communicate(json.dumps(T0) + "\n", timeout=20)
        assert (holder.returncode, place.done()) == (0, ["topic 0"]), stderr
    finally:
        end(holder)
    assert place.batch("--run-dir", "one") == ALL[1:]


def test_results_of_a_run_with_its_state_elsewhere_lead_there(place: Place) -> None:
    """Another --run-dir is refused, and the right one named; while a process writes the results it exits 75."""
    place.batch("--limit", "1")
    refused = (
        f"crewrun: {RESULTS}: the state of its run is in {STATE}, not in two; leave --run-dir out to go on with it, or "
        "name another file with -o\n"
    )
    assert (place.batch("--run-dir", "two", code=2), place.stderr) == ([], refused)
    holder = start("batch", "-", "-o", RESULTS, cwd=place.folder, env=place.env, pipe_stdin=True)
    try:
        wait_for(holder, lambda: str(holder.pid) in (place.folder / STATE / "lock").read_text())
        for flags in ((), ("--fresh",)):
            assert place.batch("--run-dir", "two", *flags, code=75) == []
            assert place.stderr == f"crewrun: {place.results}: another process is writing these results\n"
        assert (place.batch("--run-dir", "two", "--lock", "wait", code=2), place.stderr) == ([], refused)
    finally:
        end(holder)


def test_another_writer_is_not_taken_for_damage(place: Place) -> None:
    """Without a lock file and without a results file nothing keeps two processes apart but their numbers."""
    flags = ("-o", "-", "--run-dir", "state")
    holder = start("batch", "-", *flags, cwd=place.folder, env=place.env, pipe_stdin=True)
    try:
        assert holder.stdin is not None
        assert holder.stdout is not None
        holder.stdin.write(json.dumps(T0) + "\n")
        holder.stdin.flush()
        assert json.loads(holder.stdout.readline())["input"] == T0
        (place.folder / "state" / "lock").unlink()
        assert place.batch(*flags) == ALL[1:]
        _, stderr = holder.communicate(json.dumps({"topic": "x"}) + "\n", timeout=20)
        assert holder.returncode == 1
        assert (
            "journal.sqlite: another process works on this run too, as it can when the lock file is deleted; "
            "let that end, then repeat the command"
        ) in stderr
    finally:
        end(holder)
    assert place.batch(*flags) == []


def end(*processes: Fork) -> None:
    """Leave nothing running."""
    for process in processes:
        process.kill()
        process.close()
        process.wait()


def first_to_end(count: int, processes: Sequence[Fork]) -> list[Fork]:
    """Wait until so many have ended; those."""
    ended: Queue[Fork] = Queue()

    def wait(process: Fork) -> None:
        process.wait()
        ended.put(process)

    for process in processes:
        Thread(target=wait, args=(process,), daemon=True).start()
    return [ended.get(timeout=60) for _ in range(count)]


def wait_for(process: Fork, is_so: Callable[[], bool]) -> None:
    """Look again and again, until it is so or the process has ended."""
    while not is_so() and process.poll() is None:
        os.sched_yield()


def wait_for_line(process: Fork, results: Path) -> None:
    """Look at the results until they have a line."""
    wait_for(process, lambda: results.exists() and results.read_bytes().endswith(b"\n"))


# --- interruptions ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("number", "code", "why"),
    [
        (signal.SIGINT, 130, "interrupted"),
        (signal.SIGTERM, 143, "terminated"),
        (signal.SIGHUP, 129, "hung up"),
    ],
    ids=["SIGINT", "SIGTERM", "SIGHUP"],
)
def test_a_signal_keeps_what_was_in_flight_and_says_how_to_go_on(
    tmp_path: Path, slow: MockProcess, forks: Forks, number: signal.Signals, code: int, why: str
) -> None:
    """The command that it names does the rest, and the rest only."""
    place = Place(tmp_path, slow, forks)
    place.crew()
    place.rows(*topics(4))
    seen = place.sent()
    with start("batch", "in.jsonl", "-j", "2", cwd=tmp_path, env=place.env) as process:
        slow.wait_in_flight(2)
        process.send_signal(number)
        _, stderr = process.communicate(timeout=20)
    assert process.returncode == code
    assert stderr.splitlines()[-3:] == [
        f"stopped: {why}",
        "results: in.results.jsonl",
        "2 ok, 0 failed, 2 left; to go on: crewrun batch in.jsonl -j 2",
    ]
    assert place.asked_since(seen) == ALL[:2]
    assert place.batch("-j", "2") == ["Write about topic 2", "Write about topic 3"]


def test_nohup_is_obeyed(tmp_path: Path, slow: MockProcess, forks: Forks) -> None:
    """A run that was started so goes on when its terminal is closed."""
    place = Place(tmp_path, slow, forks)
    place.crew()
    place.rows(*topics(3))
    with subprocess.Popen(
        ["nohup", *PROGRAM, "batch", "in.jsonl", "-j", "3"],
        cwd=tmp_path,
        env=clean_env(**place.env),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    ) as process:
        slow.wait_in_flight(3)
        process.send_signal(signal.SIGHUP)
        process.communicate(timeout=20)
    assert (process.returncode, sorted(place.done())) == (0, ["topic 0", "topic 1", "topic 2"])


def test_a_run_folder_that_is_deleted_during_the_run_ends_it(place: Place) -> None:
    """What it held is written there again, so the same command goes on without paying twice."""
    command = ("-o", RESULTS)
    with start("batch", "-", *command, cwd=place.folder, env=place.env, pipe_stdin=True) as process:
        assert process.stdin is not None
        process.stdin.write(json.dumps(T0) + "\n")
        process.stdin.flush()
        wait_for_line(process, place.results)
        manifest = (place.folder / STATE / "manifest.json").read_bytes()
        shutil.rmtree(place.folder / STATE)
        wait_for(process, (place.folder / STATE / "journal.sqlite").exists)
        _, stderr = process.communicate(json.dumps(T1) + "\n", timeout=20)
    assert (process.returncode, "Traceback" in stderr) == (1, False)
    assert "was deleted or replaced while the run was going; its content has been written there again" in stderr
    assert (place.folder / STATE / "manifest.json").read_bytes() == manifest
    lines = "".join(json.dumps(row) + "\n" for row in (T0, T1, T2))
    assert set(place.batch(*command, inputs="-", stdin=lines)) <= {ALL[1], ALL[2]}
    assert sorted(place.done()) == ["topic 0", "topic 1", "topic 2"]


def test_a_full_disk_ends_the_run_and_loses_nothing(place: Place) -> None:
    """A file that may not grow is as good as one. The same command sends again what was in flight at most."""
    place.rows(*topics(80))
    seen = place.sent()
    full = place.forks.shell("ulimit -f 64; crewrun batch in.jsonl -j 4", place.folder, place.env)
    assert full.returncode == 1
    why, *rest = full.stderr.splitlines()[-3:]
    journal = place.folder / STATE / "journal.sqlite"
    lost = "(rows in flight were given up|finished rows could not be written)"
    assert re.match(rf"stopped: {journal}: cannot be written: disk I/O error; \d+ {lost}", why)
    assert rest[0] == "results: in.results.jsonl"
    assert re.fullmatch(r"\d+ ok, 0 failed, \d+ left; to go on: crewrun batch in.jsonl -j 4", rest[1])
    first = place.asked_since(seen)
    again = place.batch("-j", "4")
    assert {*first, *again} == {f"Write about topic {i}" for i in range(80)}
    assert len(first) + len(again) <= 84
    assert len(place.done()) == 80


def test_a_closed_standard_output_keeps_the_state(place: Place) -> None:
    """The repeated command prints every row, and sends what was not sent before."""
    place.rows(*topics(40))
    flags = "-o - --run-dir state -j 2"
    seen = place.sent()
    assert shell(f"crewrun batch in.jsonl {flags} | head -n 1", place.folder, place.env).returncode == 0
    first = place.asked_since(seen)
    assert len(first) < 40
    rest = place.batch(*flags.split())
    assert sorted({*first, *rest}) == sorted(f"Write about topic {i}" for i in range(40))
    assert len(parse_rows(place.stdout)) == 40
    # What was in flight when the reader went may repeat.
    assert len(first) + len(rest) <= 42


# --- the log ----------------------------------------------------------------------------------------------------------


def test_the_log_has_one_event_a_line_and_prompts_only_when_asked(place: Place) -> None:
    """With ids and timings; and the key is in no file of the run."""
    place.rows(T0, {"topic": "FAIL-ONCE-500 b"}, {"topic": "FAIL-400"})
    place.batch(code=3)
    log = place.folder / STATE / "log.jsonl"
    events = [json.loads(line) for line in log.read_text().splitlines()]
    assert [event["event"] for event in events if event["event"] in ("run", "stop")] == ["run", "stop"]
    assert {event["event"] for event in events} == {"run", "call", "retry", "failure", "row", "stop"}
    ids = {row["id"] for row in read_rows(place.results)}
    assert {event["row"] for event in events if "row" in event} == ids
    assert [text for text in ("Write about", "Mock reply") if text in log.read_text()] == []
    place.rows({"topic": "owls"})
    place.batch("--log-prompts")
    (prompt,) = (event for event in map(json.loads, log.read_text().splitlines()) if event["event"] == "prompt")
    assert (prompt["task"], prompt["reply"]) == ("draft", read_rows(place.results)[0]["output"])
    assert [message["role"] for message in prompt["messages"]] == ["system", "user"]
    files = [path for path in place.folder.rglob("*") if path.is_file()]
    assert [path.name for path in files if KEY.encode() in path.read_bytes()] == []
    assert {path.stat().st_mode & 0o777 for path in files if path.parent.name == STATE} == {0o600}
