"""Which columns fill which placeholders, and what is said where none does, before anything is paid for."""

import json
from textwrap import dedent

import pytest
from support.command import problems, read_rows
from support.workspace import Place


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
        ("{Name of customer}", "{Name of customer} is sent as it is: the rows have no such column"),
        ("about {subject and", "'{subject' is never closed"),
        ("about subject}", "'subject}' has no opening brace"),
        ('{"a": 1} {} {x: 2} {Ticket ID} \\d{3} {[1, 2]} { return x; }', None),
    ],
    ids=["near", "a title", "not closed", "not opened", "JSON and code"],
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
