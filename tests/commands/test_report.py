"""`crewrun report`: what the page has of a run, read back from the page that the command wrote."""

import json
import stat
from typing import Any

import pytest
from support.report_page import parse_report, read_report
from support.workspace import Place

pytestmark = pytest.mark.xdist_group("report")


def records(place: Place) -> list[dict[str, Any]]:
    """The results, in the order of the input."""
    lines = [json.loads(line) for line in place.results.read_text().splitlines()]
    return sorted(lines, key=lambda record: int(record["index"]))


def test_a_page_has_the_rows_of_the_run_in_the_order_of_the_input(place: Place) -> None:
    """Their ids, lines, states, costs, times and texts, as the results have them."""
    place.rows({"topic": "one"}, {"topic": "two"}, {"nothing": 1})
    place.batch(code=3)
    place.crewrun("report", "in.results.jsonl")
    assert place.stderr == "wrote in.results.html\n"
    page = read_report(place.folder / "in.results.html")
    ended = records(place)
    assert [row["id"] for row in page.rows] == [record["id"] for record in ended]
    assert page.columns["line"] == [1, 2, 3]
    assert page.columns["status"] == ["ok", "ok", "failed"]
    assert page.columns["category"] == [None, None, "input"]
    assert page.columns["cost"] == [round(record["cost_usd"] * 1e6, 3) for record in ended]
    assert page.columns["time"] == [round(record["duration_s"] * 1000) for record in ended]
    assert page.texts("input") == ["one", "two", '{"nothing":1}']
    assert page.texts("output") == [record["output"] or "" for record in ended]
    assert [detail["record"] for detail in page.details.values()] == ended
    assert page.head["totals"]["rows"] == {"ok": 2, "failed": 1, "unfinished": 0}


def test_a_row_has_the_calls_that_show_has(place: Place) -> None:
    """With their prompts, which are rebuilt from the crew."""
    place.rows({"topic": "one"})
    place.batch()
    place.crewrun("show", "in.results.jsonl", "1", "--json")
    shown = json.loads(place.stdout)
    place.crewrun("report", "in.results.jsonl", "-o", "-")
    (detail,) = parse_report(place.stdout.encode()).details.values()
    assert detail["calls"] == shown["calls"]
    assert detail["no_prompt"] is shown["no_prompt"] is None
    assert detail["calls"][0]["prompt_source"] == "rebuilt"


def test_the_head_has_the_figures_of_status(place: Place) -> None:
    """Calls, tokens and money of all sessions, and how the run ended."""
    place.rows({"topic": "one"}, {"topic": "two"})
    place.batch("--limit", "1")
    place.batch()
    place.crewrun("status", "in.results.jsonl", "--json")
    status = json.loads(place.stdout)
    place.crewrun("report", "in.results.jsonl")
    head = read_report(place.folder / "in.results.html").head
    in_all = status["in_all"]
    assert head["totals"]["cost"] == pytest.approx(in_all["cost_usd"] * 1e6)
    assert {name: head["totals"][name] for name in ("prompt_tokens", "completion_tokens", "calls")} == {
        name: in_all["usage"][name] for name in ("prompt_tokens", "completion_tokens", "calls")
    }
    assert (head["state"], head["exit_code"], len(head["sessions"])) == ("finished", 0, 2)
    (model,) = head["by_model"]
    (task,) = head["by_task"]
    assert (model["calls"], task["calls"], task["rows"]) == (2, 2, 2)


def test_a_page_is_for_its_owner_only(place: Place) -> None:
    """It quotes rows and answers, as results do."""
    place.rows({"topic": "one"})
    place.batch()
    place.crewrun("report", "in.results.jsonl", "-o", "page.html")
    assert stat.S_IMODE((place.folder / "page.html").stat().st_mode) == 0o600


@pytest.mark.parametrize(
    ("output", "words"),
    [
        ("in.jsonl", "in.jsonl exists and is not an HTML page, so it is not overwritten; name another file"),
        ("in.results.jsonl.crewrun/page.html", "is in the run folder, which has the run's own files only"),
        ("missing/page.html", "missing/page.html: cannot be written: No such file or directory"),
        (".", ".: cannot be written: Is a directory"),
    ],
)
def test_a_path_that_must_not_be_written_is_refused(place: Place, output: str, words: str) -> None:
    """Before anything is read; what is there stays as it is."""
    place.rows({"topic": "one"})
    place.batch()
    place.crewrun("report", "in.results.jsonl", "-o", output, code=2)
    assert words in place.stderr
