"""`share=True`: rows call a tool with the same arguments, and it is called once; each row has an entry of its own."""

import sqlite3
from contextlib import closing
from pathlib import Path

import pytest
from support.command import read_rows, topics
from support.local_workers import NEAR
from support.workspace import STATE, Place

from crewrun.journal.schema import TOOL

CREW = """\
agents:
  writer: {role: Writer, goal: Write well, backstory: You have written for years., tools: ["tools:rates"]}
tasks:
  draft: {agent: writer, description: "Write about {topic} CALL-rates", expected_output: One line}
llm: gpt-4.1-mini
"""
ROWS = 64


@pytest.fixture
def shop(place: Place) -> Place:
    """A crew whose model calls a tool without arguments once a row."""
    (place.folder / "crew.yaml").write_text(CREW)
    set_tool(place.folder, "share=True", 'return "one to one"')
    place.rows(*topics(ROWS))
    return place


def set_tool(folder: Path, option: str, body: str) -> None:
    """Write the tool, with a hook after it."""
    (folder / "tools.py").write_text(f"""\
import time
from pathlib import Path

from crewrun.hooks import after_tool_call, before_tool_call
from crewrun.tools import ToolFailure, tool


def count(file):
    with Path(file).open("a") as lines:
        lines.write("called\\n")


@before_tool_call
def note_call(context):
    count("asked.txt")


@after_tool_call
def note_result(context):
    count("hooks.txt")


@tool("rates", {option})
def rates() -> str:
    '''The rates of today.'''
    count("calls.txt")
    {body}
""")


def called(place: Place, file: str = "calls.txt") -> int:
    """How often the tool was called, or the hook."""
    return len((place.folder / file).read_text().splitlines())


def entries(place: Place) -> list[tuple[int, int]]:
    """How many rows have how many results of tools in the journal."""
    with closing(sqlite3.connect(place.folder / STATE / "journal.sqlite")) as db:
        per_row = "SELECT count(*) AS many FROM calls WHERE kind = ? GROUP BY row"
        return db.execute(f"SELECT count(*), many FROM ({per_row}) GROUP BY many", [TOOL]).fetchall()


def test_rows_at_once_call_it_once(shop: Place) -> None:
    """Each row has its entry and its hook; the summary says what was saved; a repeat calls nothing."""
    shop.batch("-j", str(ROWS), "--summary", "s.json")
    assert (called(shop), called(shop, "hooks.txt"), entries(shop)) == (1, ROWS, [(ROWS, 1)])
    assert shop.summary()["shared_tool_calls"] == ROWS - 1
    assert "63 calls of tools saved: rows shared the results of equal ones" in shop.stderr
    assert shop.batch() == []


def test_it_is_off_by_default(shop: Place) -> None:
    """Every row calls the tool, and nothing is said of it."""
    set_tool(shop.folder, "share=False", 'return "one to one"')
    shop.batch("--summary", "s.json")
    assert (called(shop), "shared_tool_calls" in shop.summary(), "saved" in shop.stderr) == (ROWS, False, False)


def test_each_worker_elsewhere_calls_it_once(shop: Place) -> None:
    """They share nothing with each other, and the summary has all of them."""
    shop.batch("-j", str(ROWS), "--summary", "s.json", "--executor", NEAR)
    assert (called(shop), entries(shop)) == (2, [(ROWS, 1)])
    assert shop.summary()["shared_tool_calls"] == ROWS - 2


def test_a_failure_is_every_rows_own(shop: Place) -> None:
    """Those that wait for it are told as the one that called, and have it in their line; the next row tries again."""
    waits = 'while len(Path("asked.txt").read_text()) < 7 * 8: time.sleep(0.05)'
    set_tool(shop.folder, "share=True", f'{waits}\n    time.sleep(0.05)\n    return ToolFailure("closed")')
    shop.rows(*topics(8))
    shop.batch("-j", "8", "--summary", "s.json")
    first = called(shop)
    assert {row["tool_failures"][0]["count"] for row in read_rows(shop.results)} == {1}
    assert (first < 8, shop.summary()["shared_tool_calls"]) == (True, 8 - first)
    shop.rows(*topics(10))
    shop.batch("-j", "1")
    assert called(shop) == first + 2


def test_a_result_of_an_earlier_session_serves_new_rows(shop: Place) -> None:
    """Rows that run again give others what the journal has for them."""
    shop.rows(*topics(4))
    shop.batch()
    (shop.folder / "crew.yaml").write_text(CREW.replace("One line", "One sentence"))
    shop.rows(*topics(8))
    shop.batch("-j", "1", "--summary", "s.json")
    assert (called(shop), shop.summary()["shared_tool_calls"]) == (1, 4)
