"""Which columns fill which placeholders, and what is said where none does, before anything is paid for."""

import json
from pathlib import Path
from textwrap import dedent
from typing import Any

import pytest
from support.command import problems, read_rows
from support.workspace import RESULTS, Place

from crewrun.row import content_id


def crew(place: Place, description: str, more: str = "") -> None:
    """A crew of one task with that description."""
    text = place.crew(more=more).replace("Write about {topic}", json.dumps(description))
    (place.folder / "crew.yaml").write_text(text)


def table(place: Place, text: str) -> str:
    """`t.csv` with that text."""
    (place.folder / "t.csv").write_text(dedent(text))
    return "t.csv"


TICKETS = """\
    Ticket ID,Subject,Größe (cm)
    7,late,180
    8,{Ticket ID},2
    """


def test_a_column_fills_what_is_spelled_like_it(place: Place) -> None:
    """By blanks, underscores, hyphens and case; values are never templates, and {{name}} is a literal."""
    crew(place, '{ticket_id}/{Ticket ID}/{ticket-id}/{Größe (cm)} {subject} {{subject}} {"a": 1}')
    inputs = table(place, TICKETS)
    assert place.batch(inputs=inputs) == [
        '7/7/7/180 late {subject} {"a": 1}',
        '8/8/8/2 {Ticket ID} {subject} {"a": 1}',
    ]
    assert place.stderr.startswith("2 ok")
    place.crewrun("check", inputs)
    assert 'Your task: 7/7/7/180 late {subject} {"a": 1}' in place.stdout
    assert "needs {ticket_id} for task 'draft'" in place.stdout


def test_a_run_of_an_older_crewrun_asks_nothing_again(place: Place) -> None:
    """What was sent as it was spelled is sent like that now."""
    crew(place, "{topic} {{ topic }} {0} {}")
    place.rows({"topic": "ants"})
    assert place.batch() == ["ants {{ topic }} {0} {}"]


def test_columns_that_are_alike_fail_their_rows_unless_one_is_equal(place: Place) -> None:
    """Nothing is sent for them, and the message says what to write."""
    crew(place, "{ticket_id}")
    place.rows({"Ticket ID": 1, "Ticket-ID": 2}, {"Ticket ID": 1, "Ticket-ID": 2, "ticket_id": 3})
    assert place.batch(code=3) == ["3"]
    assert problems(read_rows(place.results)) == {
        0: "line 1: {ticket_id} may be 'Ticket ID' or 'Ticket-ID': write one of them between the braces, or choose "
        "one with --map 'ticket_id=Ticket ID'"
    }


def test_a_table_without_the_column_is_refused_at_once(place: Place) -> None:
    """By batch, plan and check, which name the columns; with --offset and --limit the rows that would run count."""
    crew(place, "{topic}")
    inputs = table(place, "Ticket ID,Topics\n" + "1,x\n" * 1200)
    said = (
        "t.csv: none of its first 1,000 rows has 'topic' (needed by task 'draft'); the rows have 'Ticket ID', "
        "'Topics'; --map topic=Topics fills {topic} from a column, -i topic=… is the same for all rows"
    )
    for command in ("batch", "plan"):
        assert place.crewrun(command, inputs, code=2) == []
        assert place.stderr == f"crewrun: {said}\n"
    place.crewrun("check", inputs, code=2)
    assert f"problem: {said}\n" in place.stdout
    assert not (place.folder / "t.results.jsonl").exists()
    place.batch("--limit", "1", inputs=inputs, code=2)
    assert "none of its 1 row has 'topic'" in place.stderr
    assert place.batch("-i", "topic=ants", "--limit", "1", inputs=inputs) == ["ants"]


def test_one_row_of_a_thousand_is_enough_and_a_pipe_is_not_read_ahead(place: Place) -> None:
    """The other rows fail one by one."""
    place.rows(*[{"tpic": i} for i in range(999)], {"topic": "ants"})
    assert place.batch("--max-failures", "1000", code=3) == ["Write about ants"]
    place.batch("-o", "out.jsonl", inputs="-", stdin='{"tpic": 1}\n', code=3)
    assert problems(read_rows(place.folder / "out.jsonl")) == {
        0: "line 1: missing 'topic' (needed by task 'draft'); the row has 'tpic'"
    }


@pytest.mark.parametrize(
    ("description", "warning"),
    [
        ("{Tickt ID}", "{Tickt ID} is sent as it is: there is no such input; did you mean {Ticket ID}?"),
        ("{subject.de}", "{subject.de} is sent as it is: a field of an object is taken by --map NAME=subject.de"),
        ("{Name of customer}", "{Name of customer} is sent as it is: the rows have no such column"),
        ("about {subject and", "'{subject' is never closed"),
        ("about subject}", "'subject}' has no opening brace"),
        ('{"a": 1} {} {x: 2} {Ticket ID} \\d{3} {[1, 2]} { return x; }', None),
    ],
    ids=["near", "a field of a field", "a title", "not closed", "not opened", "JSON and code"],
)
def test_braces_that_nothing_fills_are_warned_about(place: Place, description: str, warning: str | None) -> None:
    """By check, plan and batch alike."""
    crew(place, description)
    inputs = table(place, TICKETS)
    said = [] if warning is None else [f"warning: tasks.draft.description: {warning}"]
    place.batch(inputs=inputs)
    assert [line for line in place.stderr.splitlines() if line.startswith("warning")] == said
    for command in ("plan", "check"):
        place.crewrun(command, inputs)
        assert [line for line in place.stdout.splitlines() if line.startswith("warning: tasks")] == said


def test_an_input_for_all_rows_that_hides_a_column_is_warned_about(place: Place) -> None:
    """An equal name wins, so the rows' own column has no effect."""
    crew(place, "{subject}", more="inputs: {subject: all}\n")
    assert place.batch(inputs=table(place, TICKETS)) == ["all", "all"]
    assert (
        "warning: tasks.draft.description: {subject} is the input 'subject' for all rows, and not the rows' "
        "'Subject'; --map subject=Subject takes that\n"
    ) in place.stderr


def test_map_fills_a_placeholder_from_another_column(place: Place) -> None:
    """Before a field of that name and an input for all rows; ids and `input` are those of the row's own fields."""
    crew(place, "{topic}, {who}")
    place.rows({"Subject": "late", "topic": "x", "by": {"name": "Ada"}}, {"Subject": "lost", "by": {"name": "Bo"}})
    flags = ["--map", "topic=subject", "--map", "who=by.name", "-i", "topic=all"]
    assert place.batch(*flags) == ["late, Ada", "lost, Bo"]
    rows = read_rows(place.results)
    assert [row["input"] for row in rows] == [
        {"Subject": "late", "topic": "x", "by": {"name": "Ada"}},
        {"Subject": "lost", "by": {"name": "Bo"}},
    ]
    assert [row["id"] for row in rows] == [content_id(row["input"]) for row in rows]
    place.crewrun("check", "in.jsonl", *flags)
    assert "fills {topic} from 'subject'\nfills {who} from 'by.name'\n" in place.stdout
    assert place.batch(*reversed_pairs(flags)) == []
    place.crewrun("show", RESULTS, rows[0]["id"], "--json")
    assert json.loads(place.stdout)["calls"][0]["prompt_source"] == "rebuilt"
    assert place.crewrun("retry", RESULTS) == []
    assert place.batch("--map", "topic=Subject", "--map", "who=by.name") == []  # another spelling asks the same


def reversed_pairs(flags: list[str]) -> list[str]:
    pairs = [flags[i : i + 2] for i in range(0, len(flags), 2)]
    return [word for pair in reversed(pairs) for word in pair]


def test_map_comes_from_the_crew_file_and_the_environment_too(place: Place) -> None:
    """A flag counts for its placeholder, the others stay; a column's name may have blanks."""
    crew(place, "{a} {b}", more="batch: {map: {a: Subject, b: Ticket ID}}\n")
    inputs = table(place, TICKETS)
    assert place.batch(inputs=inputs) == ["late 7", "{Ticket ID} 8"]
    assert place.batch(inputs=inputs, CREWRUN_MAP="a=Ticket ID b=Größe (cm)") == ["7 180", "8 2"]
    assert place.batch("--map", "a=Größe (cm)", inputs=inputs) == ["180 7", "2 8"]


def test_a_row_without_the_mapped_column_fails_and_uses_nothing_else(place: Place) -> None:
    """Neither its own field of the placeholder's name nor an input for all rows."""
    crew(place, "{topic}")
    place.rows({"Subject": "late"}, {"topic": "x", "Subjekt": 1})
    assert place.batch("--map", "topic=Subject", "-i", "topic=all", code=3) == ["late"]
    assert problems(read_rows(place.results)) == {
        1: "line 2: has no 'Subject' (did you mean 'Subjekt'?), which fills {topic} (--map)"
    }


def test_fields_are_what_a_rows_id_and_input_are_made_of(place: Place) -> None:
    """In the order of the flag; the other columns still fill placeholders, which is warned about."""
    crew(place, "{subject}")
    inputs = table(place, TICKETS)
    flags = ["--fields", "größe (cm), ticket_id"]
    assert place.batch(*flags, inputs=inputs) == ["late", "{Ticket ID}"]
    results = place.folder / "t.results.jsonl"
    rows = read_rows(results)
    assert [row["input"] for row in rows] == [
        {"Größe (cm)": "180", "Ticket ID": "7"},
        {"Größe (cm)": "2", "Ticket ID": "8"},
    ]
    assert [row["id"] for row in rows] == [content_id(row["input"]) for row in rows]
    said = "warning: --fields leaves out 'subject', which fills {subject}: a row counts as done though only that has"
    assert said in place.stderr
    place.crewrun("show", "t.results.jsonl", rows[0]["id"], "--json")
    assert json.loads(place.stdout)["calls"][0]["prompt_source"] == "rebuilt"
    table(place, TICKETS.replace("late", "new"))
    assert place.batch(*flags, inputs=inputs) == []
    assert place.batch("--fields", "Ticket ID", "--fields", "Größe (cm)", inputs=inputs) == []
    table(place, TICKETS.replace("180", "181"))
    assert place.batch("--fields", "Ticket ID,Größe (cm)", inputs=inputs) == ["late"]
    for value in ("[Ticket ID, Größe (cm)]", "'Ticket ID, Größe (cm)'"):
        crew(place, "{subject}", more=f"batch: {{fields: {value}}}\n")
        assert place.batch(inputs=inputs) == []
        assert place.crewrun("retry", "t.results.jsonl") == []
    crew(place, "{subject}", more="batch: {fields: 3}\n")
    place.batch(inputs=inputs, code=2)
    assert "batch.fields: needs a list of columns, or their names with commas between them, not 3" in place.stderr


def test_a_run_with_other_fields_is_refused(place: Place) -> None:
    """As with another --id-field: every row would be paid for again."""
    crew(place, "{subject}")
    inputs = table(place, TICKETS)
    place.batch("--fields", "Subject", inputs=inputs)
    assert place.batch(inputs=inputs, code=2) == []
    assert place.stderr == (
        "crewrun: t.results.jsonl.crewrun: its rows are made of Subject, so with all columns every row would run "
        "again: --fields Subject, or start over with --fresh\n"
    )
    assert place.crewrun("retry", "t.results.jsonl") == []
    assert place.crewrun("retry", "t.results.jsonl", "--fields", "Ticket ID", code=2) == []
    assert "the rows of t.results.jsonl are made of Subject" in place.stderr
    assert place.crewrun("retry", "t.results.jsonl", "--map", "subject=Subject", code=2) == []
    assert "t.results.jsonl has no --map subject" in place.stderr


def test_a_column_that_fields_leave_out_may_fill_its_own_placeholder(place: Place) -> None:
    """`--map topic=topic` names a column that the rows have."""
    place.crew()
    (place.folder / "own.csv").write_text("n,topic\n1,owls\n")
    assert place.batch("--fields", "n", "--map", "topic=topic", inputs="own.csv") == ["Write about owls"]


def test_an_id_may_be_in_a_field_that_is_left_out(place: Place) -> None:
    """What has changed is decided by the fields."""
    crew(place, "{subject}")
    inputs = table(place, TICKETS)
    flags = ["--id-field", "Ticket ID", "--fields", "Subject"]
    place.batch(*flags, inputs=inputs)
    table(place, TICKETS.replace("180", "181").replace("late", "new"))
    assert place.batch(*flags, inputs=inputs) == ["new"]
    rows = read_rows(place.folder / "t.results.jsonl")
    assert [(row["id"], row["input"]) for row in rows] == [("7", {"Subject": "new"}), ("8", {"Subject": "{Ticket ID}"})]


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["--map", "subject"], "--map 'subject': needs to be PLACEHOLDER=COLUMN, as in --map topic=Subject"),
        (["--map", ""], "--map is empty; it needs to be PLACEHOLDER=COLUMN, as in --map topic=Subject"),
        (["--map", "=x"], "--map =x: needs a placeholder and a column, as in --map topic=Subject"),
        (["--map", "a=b", "--map", "a=c"], "--map a=c: {a} is filled from 'b' already; keep one"),
        (
            ["--map", "subject=Sbject"],
            "--map subject=Sbject: t.csv: none of its 2 rows has 'Sbject' (did you mean 'Subject'?); the rows have "
            "'Ticket ID', 'Subject', 'Größe (cm)'",
        ),
        (["--fields", "Subject,,"], "--fields is empty; it needs names of columns with commas between them, as in"),
        (
            ["--fields", "Subject,nope"],
            "--fields nope: t.csv: none of its 2 rows has 'nope'; the rows have 'Ticket ID', 'Subject', 'Größe (cm)'",
        ),
    ],
)
def test_a_wrong_flag_is_refused_before_anything_is_sent(place: Place, flags: list[str], message: str) -> None:
    """By batch, plan and check, with the columns that there are."""
    crew(place, "{subject}")
    inputs = table(place, TICKETS)
    for command in ("batch", "plan"):
        assert place.crewrun(command, inputs, *flags, code=2) == []
        assert place.stderr.startswith(f"crewrun: {message}")
    place.crewrun("check", inputs, *flags, code=2)
    assert message in place.stdout + place.stderr


def test_a_map_that_nothing_uses_is_warned_about(place: Place) -> None:
    """As an input for all rows is."""
    crew(place, "{subject}")
    place.batch("--map", "sbject=Subject", inputs=table(place, TICKETS))
    assert "warning: --map sbject: no text of the crew has {sbject} (did you mean 'subject'?)\n" in place.stderr


def test_another_map_is_named_as_what_has_changed(place: Place) -> None:
    """Before the rows that are done are paid for again."""
    crew(place, "{topic}")
    inputs = table(place, TICKETS)
    place.batch("--map", "topic=Subject", inputs=inputs)
    place.crewrun("plan", inputs, "--map", "topic=Ticket ID")
    assert "another --map topic" in place.stdout


def test_crewais_formats_keep_what_doubled_braces_mean(place: Place) -> None:
    """A value in braces, and another language's template as it is; a crew.yaml reads the same text in its own way."""
    agent = {"role": "Writer", "goal": "g", "backstory": "b", "llm": "gpt-4.1-mini"}
    text = "{{subject}} {Subject} {{Subject }} {{ subject }}"
    task = {"description": text, "expected_output": "e", "agent": "writer"}
    write_json(place, "config/agents.yaml", {"writer": agent})
    write_json(place, "config/tasks.yaml", {"draft": task})
    write_json(place, "crew.jsonc", {"agents": ["writer"], "tasks": [{"name": "draft", **task}]})
    write_json(place, "agents/writer.jsonc", agent)
    write_json(place, "own.yaml", {"agents": {"writer": agent}, "tasks": {"draft": task}})
    inputs = table(place, "Subject\nlate\n")
    (place.folder / "crew.yaml").unlink()
    for crew_file in (".", "crew.jsonc"):
        assert place.batch("--crew", crew_file, "--fresh", inputs=inputs) == ["{late} late {{Subject }} {{ subject }}"]
    assert place.batch("--crew", "own.yaml", "--fresh", inputs=inputs) == ["{subject} late {{Subject }} {{ subject }}"]


def write_json(place: Place, name: str, value: Any) -> None:
    (place.folder / name).parent.mkdir(exist_ok=True)
    (place.folder / name).write_text(json.dumps(value))


def test_a_file_may_be_named_by_any_column_and_stays_in_the_folder(place: Place) -> None:
    """`input_files` and `output_file`, also where CrewAI would see no placeholder."""
    more = "    input_files: {note: '{Note file}'}\n    output_file: out/{Ticket ID}.md\n"
    text = place.crew().replace("    agent: writer\n", f"    agent: writer\n{more}", 1)
    (place.folder / "crew.yaml").write_text(text)
    (place.folder / "a.txt").write_text("the note")
    place.rows(
        {"topic": "x", "note_file": "a.txt", "Ticket ID": "7"},
        {"topic": "y", "note_file": "a.txt", "Ticket ID": "../../7"},
        {"topic": "z", "note_file": "../a.txt", "Ticket ID": "8"},
    )
    place.batch(code=3)
    rows = read_rows(place.results)
    assert [Path(file).name for file in rows[0]["files"]] == ["7.md"]
    assert problems(rows).keys() == {1, 2}
    assert "input 'Ticket ID' is '../../7', which cannot be part of a file's name" in problems(rows)[1]


def test_an_id_field_that_no_row_has_is_refused_at_once(place: Place) -> None:
    """As every other column that a flag names."""
    crew(place, "{subject}")
    place.batch("--id-field", "ticket", inputs=table(place, TICKETS), code=2)
    assert place.stderr.startswith("crewrun: --id-field ticket: t.csv: none of its 2 rows has 'ticket'")
