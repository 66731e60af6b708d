"""The page of a report in a real browser: what leads from its figures to their rows, and how it names them."""

from pathlib import Path

import pytest
from support.browser import Browser, Tab
from support.report_data import ReportData
from support.report_pages import in_one_process, matching, needs_browser, page_of, ready, search, shown_ids

pytestmark = in_one_process


@needs_browser
def test_rows_that_missed_an_expectation_can_be_listed_and_searched(tab: Tab) -> None:
    """By the badge one sees that there are any; a card leads to its rows, the search finds the words of the reasons."""
    data = ReportData(600, compared=True)
    missed = [row for row in range(600) if data.missed(row)]
    assert f"{len(missed)} that missed an expectation" in tab.text(".badge")
    assert "tone-warn" in tab.run("document.querySelector('.badge').className")
    tab.click("#scores .card .quiet")
    assert (matching(tab), shown_ids(tab)) == (
        f"{len(missed)} of 600 rows match",
        [data.ids[row] for row in missed[:5]],
    )
    assert tab.text(".grid-body .key-missed") == "total is positive"
    tab.click(".search-line .quiet")
    search(tab, "quantum57")
    assert matching(tab) == "1 of 600 rows match"
    tab.run("location.hash = 'f.missed=\u2205'")
    tab.wait(f"document.getElementById('matches').innerText === '{600 - len(missed)} of 600 rows match'")


@needs_browser
def test_a_row_without_details_says_what_it_missed(tab: Tab) -> None:
    """The reasons are among the texts of all rows."""
    row = next(row for row in range(512, 600) if ReportData(600, compared=True).missed(row))
    tab.run(f"location.hash = 'row={ReportData(600).ids[row]}'")
    tab.wait("document.querySelector('.drawer-body .missed')")
    assert f"quantum{row}" in tab.text(".drawer-body .missed")


@needs_browser
def test_a_warning_of_the_run_leads_to_its_rows(tab: Tab) -> None:
    """Answers that were cut off, which the summary of the run warned about."""
    assert "6 answers cut off at max_tokens" in tab.text(".warning")
    tab.click(".warning button")
    assert matching(tab) == "6 of 600 rows match"


@needs_browser
@pytest.mark.parametrize("key", ["ArrowDown", "Enter"])
def test_the_keyboard_goes_from_the_search_to_the_rows(tab: Tab, key: str) -> None:
    """What was typed applies at once, and Enter opens the first of the rows that match."""
    tab.run("document.activeElement.blur()")
    tab.press("/")
    tab.type("needle77 ")
    tab.press(key)
    assert (matching(tab), tab.run("document.activeElement.id")) == ("1 of 600 rows match", "grid")
    tab.press("Enter")
    assert tab.text("#drawer-title") == "row-000077"


@needs_browser
def test_a_bar_leads_to_its_rows_by_keyboard(tab: Tab) -> None:
    """Arrow keys go from bar to bar, Enter filters the table."""
    tab.run("document.querySelector('#distribution .can-pick[tabindex=\"0\"]').focus()")
    tab.press("ArrowRight")
    label = tab.run("document.activeElement.getAttribute('aria-label')")
    tab.press("Enter")
    assert matching(tab) == f"{label.rsplit(': ', 1)[1]} of 600 rows match"


@needs_browser
def test_links_to_rows_say_what_the_rows_are_about(tab: Tab) -> None:
    """Ids alone say nothing."""
    data = ReportData(600)
    slowest = max(range(600), key=lambda row: data.time[row])
    assert tab.texts("#distribution .row-id")[0] == data.ids[slowest]
    assert tab.texts("#distribution .row-words")[0] == data.text(slowest, "input")
    for part in ("failures", "scores", "comparison"):
        assert all(tab.texts(f"#{part} .row-words")), part


@needs_browser
def test_a_comparison_says_what_may_be_chance(tab: Tab) -> None:
    """As `crewrun compare` does, with intervals in percent."""
    assert tab.texts("#comparison tbody tr")[:2] == [
        "Cost\t$0.00050\t$0.00040\t\u221220.0 %\t\u221224.0 % to \u221216.0 %\t\t500",
        "Time\t1.8 s\t1.9 s\t+2.0 %\t\u22124.0 % to +8.0 %\tmay be chance\t500",
    ]


@needs_browser
def test_the_labels_of_an_axis_differ_and_are_not_broken(tab: Tab) -> None:
    """Also those of costs that are close together."""
    for at, labels in enumerate(tab.run("[...document.querySelectorAll('.ticks')].map(e => e.innerText.split('\\n'))")):
        assert len(set(labels)) == len(labels) >= 2, at
    assert set(tab.run("[...document.querySelectorAll('.ticks span')].map(e => e.getClientRects().length)")) == {1}


@needs_browser
def test_the_labels_of_few_bars_stand_at_their_edges(browser: Browser, tmp_path: Path) -> None:
    """Ten bars of a score have one in the middle, not 0.3 at a quarter."""
    score = {"name": "tone", "rows": 10, "mean": 0.5, "low": None, "high": None, "worst": []}
    bars = {"edges": [n / 10 for n in range(11)], "counts": [1] * 10}
    one = ready(browser.open(page_of(ReportData(9), tmp_path, scores=[score | {"histogram": bars}])))
    assert one.texts("#scores .ticks span") == ["0", "0.5", "1"]
    one.close()
