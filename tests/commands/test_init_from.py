"""`crewrun init --from`: a crew for a table of the user's own, that runs at once."""

import csv
import io
import shlex
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.command import read_rows, write_rows
from support.workspace import Place

from crewrun.batch.row_fields import RowFields
from crewrun.cli.starter_crew import Table, starter_crew
from crewrun.definitions import load
from crewrun.tables.reading.input_options import InputOptions

_NAMES = st.lists(
    st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=12).filter(str.strip)
    | st.sampled_from(["Ticket ID", "ticket_id", "Ticket-ID", "{a}", "{{b}}", "c: d", '"e"', "#f", "- g", "h\ni"]),
    min_size=1,
    max_size=8,
    unique=True,
)


@pytest.fixture
def place(place: Place) -> Place:
    """A folder without a crew."""
    (place.folder / "crew.yaml").unlink()
    return place


def write_csv(path: Path, *rows: list[str]) -> None:
    text = io.StringIO(newline="")
    csv.writer(text).writerows(rows)
    path.write_text(text.getvalue(), encoding="utf-8", newline="")


def described(crew: Place, name: str = "crew.yaml") -> list[str]:
    """The lines of the task's description that have a column."""
    text = (crew.folder / name).read_text()
    return [line.strip() for line in text.splitlines() if line.startswith("      ") and line.endswith("}")]


def test_three_commands_lead_to_the_first_table_of_ones_own(place: Place) -> None:
    """What `init` prints runs as it is, and nothing is wrong with the crew."""
    header = ["Ticket ID", "Größe (cm)", 'He said "hi": x', "Betrag {netto}", "Zeile\numbruch", "topic", "Topic"]
    write_csv(place.folder / "my tickets.csv", header, ["1", "2", "3", "4", "5", "6", "7"])
    place.crewrun("init", "--from", "my tickets.csv")
    said, first, second = place.stdout.splitlines()
    assert said == "crew.yaml: one task for each row, with the 7 columns of my tickets.csv; edit the task to suit"
    assert (first, second) == (
        "try it: crewrun batch 'my tickets.csv' -m offline",
        "see what is sent: crewrun check 'my tickets.csv'",
    )
    place.crewrun(*shlex.split(first.partition("crewrun ")[2]))
    assert "warning" not in place.stderr
    assert [row["status"] for row in read_rows(place.folder / "my tickets.results.jsonl")] == ["ok"]
    place.crewrun(*shlex.split(second.partition("crewrun ")[2]), "-m", "offline", "--strict")
    for line in ("Ticket ID: 1", 'He said "hi": x: 3', "Betrag (netto): 4", "Zeile umbruch: 5", "topic: 6", "Topic: 7"):
        assert f"{line}\n" in place.stdout


def test_a_crew_in_another_folder_is_named_in_the_commands(place: Place) -> None:
    """As is one that would not be found, since the table has another crew beside it."""
    write_csv(place.folder / "t.csv", ["a"], ["1"])
    place.crewrun("init", "--from", "t.csv", "new/crew")
    assert "try it: crewrun batch t.csv --crew new/crew/crew.yaml -m offline\n" in place.stdout
    assert described(place, "new/crew/crew.yaml") == ["a: {a}"]
    place.crewrun("batch", "t.csv", "--crew", "new/crew/crew.yaml", "-m", "offline")


def test_nothing_is_written_over(place: Place) -> None:
    """Neither a crew.yaml nor a crew file that it would hide."""
    write_csv(place.folder / "t.csv", ["a"], ["1"])
    (place.folder / "crew.jsonc").write_text("{}")
    place.crewrun("init", "--from", "t.csv", code=2)
    assert place.stderr == "crewrun: .: has crew.jsonc already; nothing was written, name another folder\n"
    assert not (place.folder / "crew.yaml").exists()


def test_fields_that_some_rows_lack_have_a_default(place: Place) -> None:
    """So that no row fails. Nested values are fields too."""
    write_rows(place.folder / "t.jsonl", [{"a": 1, "deep": {"x": 2}}, {"a": 3, "b b": "x"}, "no json"])
    place.crewrun("init", "--from", "t.jsonl")
    assert described(place) == ["a: {a}", "deep: {deep}", "b b: {b b}"]
    place.crewrun("batch", "t.jsonl", "-m", "offline", code=3)
    assert [row["status"] for row in read_rows(place.folder / "t.results.jsonl")] == ["ok", "ok", "failed"]


def test_map_and_fields_are_written_into_the_crew(place: Place) -> None:
    """The prompt has the chosen columns and the user's own names."""
    write_rows(place.folder / "t.jsonl", [{"Subject": "late", "body": "x", "by": {"name": "Ada"}, "other": 1}])
    flags = ["--map", "topic=subject", "--map", "who=by.name", "--fields", "body,Subject"]
    place.crewrun("init", "--from", "t.jsonl", *flags)
    assert described(place) == ["Subject: {topic}", "body: {body}", "by.name: {who}"]
    place.crewrun("batch", "t.jsonl", "-m", "offline")
    (row,) = read_rows(place.folder / "t.results.jsonl")
    assert row["input"] == {"body": "x", "Subject": "late"}
    place.crewrun("check", "t.jsonl", "-m", "offline")
    assert "Subject: late\nbody: x\nby.name: Ada\n" in place.stdout


@pytest.mark.parametrize(
    ("args", "message"),
    [
        (["t.csv", "--map", "x=Subjekt"], "--map x=Subjekt: no column 'Subjekt' (did you mean 'Subject'?); t.csv has "),
        (["t.csv", "--fields", "Subject,b"], "--fields b: no column 'b'; t.csv has 'Subject'"),
        (["empty.jsonl"], "--from empty.jsonl: has no rows, so its columns are not known"),
        (["none.csv"], "none.csv: no such file"),
        (["-"], "--from -: a pipe can be read only once; write it to a file, and name that"),
    ],
    ids=["map", "fields", "empty", "missing", "pipe"],
)
def test_what_cannot_be_a_table_is_refused(place: Place, args: list[str], message: str) -> None:
    """Before anything is written."""
    write_csv(place.folder / "t.csv", ["Subject"], ["x"])
    (place.folder / "empty.jsonl").write_text("\n")
    place.crewrun("init", "--from", *args, code=2)
    assert place.stderr.startswith(f"crewrun: {message}")
    assert not (place.folder / "crew.yaml").exists()


def test_a_wide_table_has_its_filled_columns_in_the_prompt(place: Place) -> None:
    """60 of them, the others in a comment; forty are all there."""
    names = [f"Column {i}" for i in range(300)]
    write_csv(place.folder / "wide.csv", names, ["x" if i % 2 else "" for i in range(300)])
    write_csv(place.folder / "forty.csv", names[:40], ["x"] * 40)
    place.crewrun("init", "--from", "wide.csv", "wide")
    place.crewrun("init", "--from", "forty.csv", "forty")
    assert described(place, "wide/crew.yaml") == [f"Column {i}: {{Column {i}}}" for i in range(1, 120, 2)]
    assert "# Further columns: Column 0, Column 2, " in (place.folder / "wide" / "crew.yaml").read_text()
    assert described(place, "forty/crew.yaml") == [f"Column {i}: {{Column {i}}}" for i in range(40)]


@given(names=_NAMES)
def test_every_column_fills_its_line_whatever_its_name(names: list[str]) -> None:
    """Braces, quotes, colons, line breaks, what YAML takes for its own, names that are alike."""
    row: dict[str, Any] = {name: f"<{i}>" for i, name in enumerate(names)}
    text = starter_crew(Table("t.csv", names, [row]))
    with TemporaryDirectory() as folder:
        file = Path(folder, "crew.yaml")
        file.write_text(text, encoding="utf-8")
        definition = load(file)
    inputs, fault = RowFields(InputOptions(map=definition.batch.get("map", {}))).inputs(row)
    assert fault is None
    (prompt,) = definition.crew.preview(inputs)
    assert [f"<{i}>" in prompt.messages[1]["content"] for i in range(len(names))] == [True] * len(names)
    assert "{" not in prompt.messages[1]["content"]


def test_a_name_of_half_a_character_is_left_out() -> None:
    """JSON may have one, and YAML has not."""
    text = starter_crew(Table("t.jsonl", ["a", "\ud800"], [{"a": 1, "\ud800": 2}]))
    assert text.encode()
    assert "a: {a}" in text


def test_flags_that_read_the_table_go_into_the_crew(place: Place) -> None:
    """So that `batch` needs none of them, whatever it would have found out by itself."""
    (place.folder / "odd.txt").write_bytes("Größe~Name\n1;2~3\n".encode("cp1252"))
    place.crewrun("init", "--from", "odd.txt", "--format", "csv", "--delimiter", "~", "--encoding", "cp1252")
    assert described(place) == ["Größe: {Größe}", "Name: {Name}"]
    place.crewrun("batch", "odd.txt", "-m", "offline", "-o", "odd.results.jsonl")
    (row,) = read_rows(place.folder / "odd.results.jsonl")
    assert row["input"] == {"Größe": "1;2", "Name": "3"}
    assert place.crewrun("retry", "odd.results.jsonl", "--delimiter", "~") == []
    place.crewrun("retry", "odd.results.jsonl", "--delimiter", ";", code=2)
    assert place.stderr == (
        "crewrun: --delimiter ;: odd.results.jsonl had --delimiter ~, and would have other rows; leave it out, retry "
        "takes what the run had\n"
    )


def test_how_the_table_is_read_is_said(place: Place) -> None:
    """Where its name does not say it. A header alone is enough."""
    (place.folder / "t.csv").write_text("a;b c\n1;2\n")
    place.crewrun("init", "--from", "t.csv")
    assert described(place) == ["a: {a}", "b c: {b c}"]
    assert place.stdout.startswith("t.csv: semicolons\n")
    (place.folder / "t.tsv").write_text("a\tb\n")
    place.crewrun("init", "--from", "t.tsv", "new")
    assert described(place, "new/crew.yaml") == ["a: {a}", "b: {b}"]
