"""`crewrun report`: what the page has of rows that missed expectations, and of answers that were cut off."""

import pytest
from support.report_page import ReportPage, read_report
from support.workspace import RESULTS, Place

pytestmark = pytest.mark.xdist_group("report")

EXPECT = """
expect:
  names it: output contains row.topic
  is short: {python: "checks:is_short"}
"""
CHECKS = """\
def is_short(output, row):
    return row["topic"] != "owls"
"""


def report(place: Place) -> ReportPage:
    """The page of the run."""
    place.crewrun("report", RESULTS, "-o", "page.html")
    return read_report(place.folder / "page.html")


def test_each_row_has_the_expectations_that_it_missed_and_why(place: Place) -> None:
    """None where none was checked, since the row failed; the reasons are among the texts that are searched."""
    place.crew(more=EXPECT)
    (place.folder / "checks.py").write_text(CHECKS)
    place.rows({"topic": "owls"}, {"topic": "elks"}, {"nothing": 1})
    place.batch("-m", "offline", code=3)
    page = report(place)
    assert page.columns["missed"][1:] == [[], None]
    assert "is short" in page.columns["missed"][0]
    assert page.head["totals"]["missed_rows"] == 1
    reasons, *others = page.texts("missed")
    assert ("is short: " in reasons, others) == (True, [None, None])


def test_a_run_without_expectations_has_nothing_of_them(place: Place) -> None:
    """Neither a column nor texts."""
    place.rows({"topic": "owls"})
    place.batch("-m", "offline")
    page = report(place)
    assert {"missed", "answers"}.isdisjoint(page.columns)
    assert "missed" not in page.packs["texts-0"]
    assert (page.head["totals"]["missed_rows"], page.head["warnings"]) == (0, [])


def test_answers_that_were_cut_off_are_warned_about(place: Place) -> None:
    """As the summary of the run does; a column has their rows."""
    place.rows({"topic": "owls FAIL-LENGTH"}, {"topic": "elks"})
    place.batch()
    assert "1 answer cut off at max_tokens" in place.stderr
    page = report(place)
    assert page.columns["answers"] == [["cut off at max_tokens"], []]
    (warning,) = page.head["warnings"]
    assert warning == {
        "text": "1 answer cut off at max_tokens",
        "column": "answers",
        "value": "cut off at max_tokens",
    }
