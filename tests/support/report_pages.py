"""The browser and the pages that tests of the report share: each is made once."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from crewrun.report.page import write_page
from support.browser import Browser, Tab, program
from support.report_data import ReportData

needs_browser = pytest.mark.skipif(program() is None, reason="there is no headless Chromium")
# One process has the browser: starting it takes as long as a dozen tests.
in_one_process = pytest.mark.xdist_group("browser")


def page_of(data: ReportData, folder: Path, **head: object) -> Path:
    """A page with these data, `head` changed."""
    path = folder / "report.html"
    write_page(path, data.head(**head), data.packs())
    return path


@pytest.fixture(scope="session")
def browser() -> Iterator[Browser]:
    """One for all tests."""
    with Browser() as one:
        yield one


@pytest.fixture(scope="session")
def small(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A page of 600 rows, compared with another run, with the details of the first 512."""
    return page_of(ReportData(600, details=512, compared=True), tmp_path_factory.mktemp("small"))


@pytest.fixture(scope="session")
def large(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A page of 100,000 rows."""
    return page_of(ReportData(100_000, details=1024), tmp_path_factory.mktemp("large"))


@pytest.fixture
def tab(browser: Browser, small: Path) -> Iterator[Tab]:
    """The small page in a window of 1280 pixels, read to its end. The test fails on what the page complains of."""
    one = ready(browser.open(small))
    yield one
    problems, requests = one.problems, one.requests
    one.close()
    assert (problems, requests) == ([], [])


def ready(tab: Tab) -> Tab:
    """The tab when all its texts are read."""
    tab.wait("document.documentElement.dataset.ready === 'all'")
    return tab


def matching(tab: Tab) -> str:
    """How many rows match, as the page says it."""
    return tab.text("#matches")


def search(tab: Tab, words: str) -> None:
    """Type into the search field in place of what is there."""
    tab.run("(e => { e.focus(); e.select(); })(document.getElementById('search'))")
    tab.type(words)
    tab.run("new Promise(done => setTimeout(done))")


def shown_ids(tab: Tab) -> list[str]:
    """The ids of the first rows that the table shows, in their order."""
    found: list[str] = tab.run(
        "[...document.querySelectorAll('.grid-body .grid-row')].sort((a, b) => a.place - b.place)"
        ".slice(0, 5).map(e => e.querySelector('.key-id').innerText)"
    )
    return found
