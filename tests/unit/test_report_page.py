"""The page of a report in a real browser: what people do with it. The data are made up by `support.report_data`."""

import json
import re
from pathlib import Path

import pytest
from support.browser import Browser, Tab
from support.report_data import FAILURES, ReportData
from support.report_pages import in_one_process, matching, needs_browser, page_of, ready, search, shown_ids
from support.workspace import RESULTS, Place

from crewrun.report.page import write_page
from crewrun.report.page.assets import SCRIPTS, source

pytestmark = in_one_process


def test_each_script_imports_only_from_those_before_it() -> None:
    """They share one scope in the page, where an import is nothing but a remark."""
    imported = re.compile(r'^import .* from "\./(\w+)\.js";$', re.MULTILINE)
    imports = {name: imported.findall(source(name)) for name in SCRIPTS}
    assert imports["main"]
    late = [(name, other) for at, name in enumerate(SCRIPTS) for other in imports[name] if other not in SCRIPTS[:at]]
    assert late == []


def test_no_two_scripts_have_a_name_in_common() -> None:
    """In one scope the second would replace the first."""
    declared = re.compile(r"^(?:export )?(?:async )?(?:function|const|let|class) (\w+)", re.MULTILINE)
    names = [name for script in SCRIPTS for name in declared.findall(source(script))]
    assert sorted({name for name in names if names.count(name) > 1}) == []


def test_no_script_makes_elements_of_text() -> None:
    """What the run's texts could turn into code with."""
    forbidden = re.compile(
        r"innerHTML|outerHTML|insertAdjacentHTML|document\.write|eval\(|Function\(|setAttribute\(.on|srcdoc"
    )
    assert [name for name in SCRIPTS if forbidden.search(source(name))] == []


def test_a_page_is_replaced_whole_and_private(tmp_path: Path) -> None:
    """Only its owner may read it, whatever was there before."""
    data, path = ReportData(3), tmp_path / "page.html"
    path.write_text("<html>")
    write_page(path, data.head(), data.packs())
    assert (path.stat().st_mode & 0o777, list(tmp_path.iterdir())) == (0o600, [path])
    assert path.read_text().endswith("</html>\n")


def test_a_page_that_fails_leaves_the_earlier_one(tmp_path: Path) -> None:
    """As when the data cannot be read to their end."""
    path = tmp_path / "page.html"
    path.write_text("<html>")
    with pytest.raises(ZeroDivisionError):
        write_page(path, ReportData(3).head(), ((str(1 / n), b"") for n in (2, 1, 0)))
    assert (path.read_text(), list(tmp_path.iterdir())) == ("<html>", [path])


@needs_browser
def test_all_parts_are_there(tab: Tab) -> None:
    """Each with its heading, in the order of how much it matters, and a link from the top."""
    headings = tab.texts("main h2")
    assert headings == [
        "Comparison", "Failures", "Scores and expectations", "Models and tasks", "Timeline", "Time and cost", "Outputs",
        "Tool failures", "Rows", "The run",
    ]  # fmt: skip
    assert tab.texts("nav a") == headings
    assert matching(tab) == "600 rows"
    assert "finished with" in tab.text(".badge")


@needs_browser
def test_a_search_finds_the_rows_with_all_its_words(tab: Tab) -> None:
    """In any of their texts, or where the reader says; words in quotes are one."""
    data = ReportData(600)
    texts = [f"{data.ids[row]}\n{data.text(row, 'input')}\n{data.text(row, 'output')}" for row in range(600)]
    both = [row for row, text in enumerate(texts) if "river" in text and "copper" in text]
    pair = [row for row, text in enumerate(texts) if "river copper" in text]
    for words, expected in [("river copper", both), ('"RIVER copper"', pair), ("needle77 ", [77]), ("nowhere", [])]:
        search(tab, words)
        assert (words, matching(tab)) == (words, f"{len(expected)} of 600 rows match")
    assert tab.run("document.querySelector('.empty').checkVisibility()")


@needs_browser
def test_filters_and_order(tab: Tab) -> None:
    """By status, value and range; sorted by a click on a column's head, a second time the other way round."""
    data = ReportData(600)
    failed = [row for row in range(600) if data.failed[row]]
    tab.click(".chip.state-failed")
    assert matching(tab) == f"{len(failed)} of 600 rows match"
    choose(tab, "Error", FAILURES[1][0])
    schema = [row for row in failed if data.failure[row] == 1]
    assert (matching(tab), shown_ids(tab)[:1]) == (f"{len(schema)} of 600 rows match", [data.ids[schema[0]]])
    tab.click(".search-line .quiet")
    assert matching(tab) == "600 rows"
    order = sorted(range(600), key=lambda row: data.time[row])
    for direction, rows in (("ascending", order), ("descending", order[::-1])):
        tab.click("[data-key=time] button")
        assert tab.run("document.querySelector('[data-key=time]').getAttribute('aria-sort')") == direction
        assert shown_ids(tab) == [data.ids[row] for row in rows[:5]]
    tab.run("document.querySelector('[aria-label=\"Time (s), from\"]').value = '2.5'")
    tab.run("document.querySelector('[aria-label=\"Time (s), from\"]').dispatchEvent(new Event('change'))")
    assert matching(tab) == f"{sum(time >= 2500 for time in data.time)} of 600 rows match"


@needs_browser
def test_a_row_opens_and_the_keyboard_goes_on(tab: Tab) -> None:
    """Enter opens, J and K go to its neighbours, Escape closes, and the focus is where it was."""
    tab.run("document.getElementById('grid').focus()")
    for key in ("ArrowDown", "ArrowDown", "Enter"):
        tab.press(key)
    assert tab.text("#drawer-title") == "row-000002"
    tab.press("j")
    tab.press("j")
    tab.press("k")
    assert (tab.text("#drawer-title"), tab.run("location.hash")) == ("row-000003", "#row=row-000003")
    tab.wait("document.querySelector('.drawer-body .call')")
    assert "You are Writer." in tab.text(".drawer-body")
    tab.press("Escape")
    tab.wait("location.hash === ''")
    assert tab.run("[document.activeElement.id, document.querySelector('dialog').open]") == ["grid", False]


@needs_browser
def test_a_row_can_open_again_as_soon_as_it_is_closed(tab: Tab) -> None:
    """The browser reports that it was closed when it is already back."""
    tab.run("location.hash = 'row=row-000001'")
    tab.wait("document.querySelector('.drawer-body .call')")
    tab.run("document.querySelector('.drawer [aria-label=Close]').click(); document.getElementById('place-1').click()")
    tab.run("new Promise(done => setTimeout(done, 20))")
    tab.wait("document.querySelector('.drawer-body .call')")
    assert (tab.text("#drawer-title"), tab.run("location.hash")) == ("row-000001", "#row=row-000001")


@needs_browser
def test_a_link_opens_its_row_with_the_same_search(browser: Browser, tab: Tab, small: Path) -> None:
    """What the address says is what a colleague sees who gets it."""
    search(tab, "river")
    tab.click("[data-key=cost] button")
    address = tab.run("location.hash") + "&row=row-000005"
    other = ready(browser.open(small, address))
    assert other.text("#drawer-title") == "row-000005"
    state = "[document.getElementById('search').value, document.querySelector('[aria-sort=ascending]').innerText]"
    assert other.run(state) == ["river", "Cost"]
    other.run("location.hash = 'row=nobody'")
    other.wait("!document.querySelector('dialog').open")
    other.close()


@needs_browser
@pytest.mark.parametrize(
    ("fragment", "words"),
    [
        ("#rows", "600 rows"),
        ("#nothing", "600 rows"),
        ("#row=nobody&sort=nothing&f.nothing=1&in=nowhere", "600 rows"),
        ("#f.category=nothing", "0 of 600 rows match"),
        ("#f.output.city=nothing", "0 of 600 rows match"),
        ("#f.tools=nothing", "0 of 600 rows match"),
    ],
)
def test_a_link_with_what_the_page_does_not_have(browser: Browser, small: Path, fragment: str, words: str) -> None:
    """To a part of the page, or made by hand: the table has the rows that match, all of them if nothing is asked."""
    tab = ready(browser.open(small, fragment))
    assert (matching(tab), bool(shown_ids(tab)), tab.problems) == (words, words == "600 rows", [])
    tab.close()


@needs_browser
def test_a_text_of_json_has_its_digits(browser: Browser, tmp_path: Path) -> None:
    """Laid out, with every number and key as it is in the text; nested too deeply, it is shown as it came."""
    text = '{"b":12345678901234567890,"10":[1.0,{}],"2":"caf\\u00e9, [x]","b":[]}'
    laid_out = '{\n  "b": 12345678901234567890,\n  "10": [\n    1.0,\n    {}\n  ],\n  "2": "café, [x]",\n  "b": []\n}'
    tab = ready(
        browser.open(
            page_of(ReportData(2, changes={0: {"error": text}, 1: {"error": "[" * 20_000 + "]" * 20_000}}), tmp_path),
            "#row=row-000000",
        )
    )
    tab.wait("document.querySelector('.part.failure pre')")
    assert tab.run("document.querySelector('.part.failure pre').textContent") == laid_out
    tab.press("j")
    tab.wait("document.querySelector('.part.failure pre').textContent.startsWith('[[[[')")
    assert tab.problems == []
    tab.close()


@needs_browser
def test_a_row_without_details_names_the_command(tab: Tab) -> None:
    """Its texts are there; its calls are in the run folder."""
    tab.run("location.hash = 'row=row-000590'")
    tab.wait("document.querySelector('.drawer-body .copyable')")
    assert tab.text(".drawer-body .copyable code") == "crewrun show places.results.jsonl.crewrun row-000590"
    assert ReportData(600).text(590, "output") in tab.text(".drawer-body")


@needs_browser
def test_failures_lead_to_their_rows(tab: Tab) -> None:
    """Each kind with its cause, the command that tries it again, and its rows in the table."""
    data = ReportData(600)
    first = data.failures()[0]
    entry = tab.text("#failures li")
    assert all(text in entry for text in (first["category"], first["cause"], first["retry_command"]))
    tab.click("#failures li .quiet")
    assert matching(tab) == f"{first['count']} of 600 rows match"
    tab.click("#failures li .link")
    assert tab.text("#drawer-title") == first["example"]["id"]
    tab.wait("document.querySelector('.drawer-body .failure pre')")
    assert tab.text(".drawer-body .failure pre") == first["example"]["message"]


@needs_browser
def test_a_comparison_shows_both_outputs(tab: Tab) -> None:
    """The counts lead to the rows; a row shows what differs, word by word."""
    changed = ReportData(600, compared=True).comparison()["rows"]["changed"]
    assert tab.text(".change-changed .tile-value") == str(changed)
    tab.click(".change-counts .change-changed")
    assert matching(tab) == f"{changed} of 600 rows match"
    tab.press("Enter")
    tab.wait("document.querySelector('.two-sides')")
    removed, added = (tab.texts(f".two-sides {tag}") for tag in ("del", "ins"))
    assert ("Oslo" in added, "100" in added, "Oslo" in removed) == (False, False, True)
    assert tab.texts(".two-sides h4 .state") == ["ok", "ok"]


@needs_browser
def test_a_value_of_an_output_leads_to_its_rows(tab: Tab) -> None:
    """As do the bars of a histogram."""
    tab.click("#outputs button.bar-row")
    city, count = ReportData(600).output_columns()[0]["values"][0]
    assert (matching(tab), city) == (f"{count} of 600 rows match", "Lisbon")


@needs_browser
def test_the_colours_follow_the_system_until_the_reader_chooses(browser: Browser, small: Path) -> None:
    """Light, dark and back."""
    one = ready(browser.open(small, dark=True))
    background = "getComputedStyle(document.body).backgroundColor"
    assert one.run(background) == "rgb(20, 24, 31)"
    one.run("theme.value = 'light'; theme.dispatchEvent(new Event('change'))")
    assert one.run(background) == "rgb(255, 255, 255)"
    one.run("theme.value = 'system'; theme.dispatchEvent(new Event('change'))")
    one.set_dark(False)
    assert (one.run(background), one.problems) == ("rgb(255, 255, 255)", [])
    one.close()


@needs_browser
def test_a_telephone_shows_all_of_it(browser: Browser, small: Path) -> None:
    """Nothing is wider than 390 pixels, but what scrolls by itself; rows are cards."""
    one = ready(browser.open(small, width=390, height=844))
    wide = (
        "[...document.querySelectorAll('main *, .bar-top *, dialog *')]"
        ".filter(e => !e.closest('.scroll, nav, svg, pre, .unseen, .skip, figure')"
        " && e.checkVisibility() && e.getBoundingClientRect().right > 390.5).map(e => e.className || e.localName)"
    )
    assert one.run(f"[document.documentElement.scrollWidth, ...{wide}]") == [390]
    assert one.run("document.querySelector('.grid-body .grid-row').offsetHeight") == 88
    one.run("location.hash = 'row=row-000010'")
    one.wait("document.querySelector('.two-sides')")
    assert one.run(f"[document.documentElement.scrollWidth, ...{wide}]") == [390]
    one.close()


@needs_browser
def test_the_reader_chooses_the_columns(tab: Tab) -> None:
    """All that there are can be shown; the order stays marked."""
    tab.click("[data-key=cost] button")
    tab.run("document.querySelector('.column-choice').open = true")
    for title in ("Input", "Tokens in"):
        boxes = "[...document.querySelectorAll('.choice')]"
        tab.run(f"{boxes}.find(e => e.textContent === '{title}').querySelector('input').click()")
    heads = tab.run("[...document.querySelectorAll('.grid-head > div')].map(e => e.textContent)")
    assert ("Input" in heads, "Tokens in" in heads, heads[0]) == (False, True, "Row")
    assert tab.run("document.querySelector('[aria-sort=ascending]').dataset.key") == "cost"


@needs_browser
def test_a_page_that_lost_its_rows_says_so(browser: Browser, tmp_path: Path) -> None:
    """As when it was cut off while it was copied; what is there is shown."""
    page = page_of(ReportData(50), tmp_path)
    text = page.read_text()
    at = text.index('id="rows">') + 400
    page.write_text(text[:at])
    one = browser.open(page)
    one.wait("document.querySelector('#rows .note')")
    assert "The rows of this page cannot be read" in one.text("#rows .note")
    assert one.text("h1") == "places.results.jsonl"
    one.close()


@needs_browser
def test_a_page_with_next_to_nothing(browser: Browser, tmp_path: Path) -> None:
    """No rows, no run folder, no log: what is unknown is left out, and nothing breaks."""
    data = ReportData(0)
    unknown: dict[str, None] = dict.fromkeys(
        ("run", "state", "command", "next_command", "crew", "exit_code", "timeline")
    )
    nothing: dict[str, list[object]] = {
        name: [] for name in ("sessions", "by_model", "by_task", "failures", "tool_failures", "columns")
    }
    empty: dict[str, object] = {"row_time": None, "row_cost": None, "tasks": {}}
    page = page_of(data, tmp_path, **unknown, **nothing, histograms=empty, without_run_folder=True)
    one = ready(browser.open(page))
    assert one.texts("main h2") == ["Rows", "The run"]
    assert (matching(one), one.text(".empty"), one.problems) == ("0 rows", "No row matches.", [])
    one.close()


@needs_browser
def test_the_page_of_a_real_run(browser: Browser, place: Place) -> None:
    """Its crew as a picture with figures, its failures, its rows with their prompts."""
    place.crew("Shorten it")
    place.rows(*({"topic": f"topic {n}"} for n in range(30)))
    place.batch("-m", "offline?fail=0.2", code=3)
    place.crewrun("report", RESULTS, "-o", "page.html")
    one = ready(browser.open(place.folder / "page.html"))
    assert one.texts("main h2")[:3] == ["Failures", "The crew", "Models and tasks"]
    assert one.run("document.querySelectorAll('#crew figure .node').length") == 2
    assert re.search(r"\d+ calls", one.run("document.querySelector('#crew figure svg').textContent"))
    one.click(".chip.state-ok")
    one.run("document.querySelector('.grid-body .grid-row').click()")
    one.wait("document.querySelector('.drawer-body .call')")
    assert "Your task: " in one.text(".drawer-body")
    assert (one.problems, one.requests) == ([], [])
    one.close()


@needs_browser
def test_paper_has_no_controls(tab: Tab) -> None:
    """Head, failures and the first rows are printed."""
    tab.send("Emulation.setEmulatedMedia", media="print")
    hidden = ".bar-top, .filters, .copy, #failures .quiet"
    assert not tab.run(f"[...document.querySelectorAll({json.dumps(hidden)})].some(e => e.checkVisibility())")
    assert tab.run("['.figures', '#failures', '.grid-row'].every(s => document.querySelector(s).checkVisibility())")


def choose(tab: Tab, title: str, value: str) -> None:
    """Choose a value in the filter with this title."""
    field = f"[...document.querySelectorAll('.filter-fields label')].find(e => e.textContent.startsWith({title!r}))"
    tab.run(f"(e => {{ e.value = {value!r}; e.dispatchEvent(new Event('change')); }})({field}.querySelector('select'))")
