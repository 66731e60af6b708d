"""The page of a report, as a real browser shows it. The data are made up by `support.report_data`."""

import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from support.browser import Browser, Tab, program
from support.report_data import ReportData

from crewrun.report.page import write_page
from crewrun.report.page.assets import SCRIPTS, imports_of, source

pytestmark = pytest.mark.xdist_group("browser")
needs_browser = pytest.mark.skipif(program() is None, reason="there is no headless Chromium")


@pytest.fixture(scope="session")
def browser() -> Iterator[Browser]:
    """One for all tests."""
    with Browser() as one:
        yield one


@pytest.fixture(scope="session")
def small(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A page of 600 rows with the details of all."""
    data = ReportData(600)
    path = tmp_path_factory.mktemp("page") / "small.html"
    write_page(path, data.head(), data.packs())
    return path


def ready(tab: Tab) -> Tab:
    """The tab when all its texts are read."""
    tab.wait("document.documentElement.dataset.ready === 'all'")
    return tab


def test_each_script_imports_only_from_those_before_it() -> None:
    """They share one scope in the page, where an import is nothing but a remark."""
    assert [
        (name, other) for at, name in enumerate(SCRIPTS) for other in imports_of(name) if other not in SCRIPTS[:at]
    ] == []


def test_no_two_scripts_have_a_name_in_common() -> None:
    """In one scope the second would replace the first."""
    names = [
        name
        for script in SCRIPTS
        for name in re.findall(
            r"^(?:export )?(?:async )?(?:function|const|let|class) (\w+)", source(script), re.MULTILINE
        )
    ]
    assert sorted({name for name in names if names.count(name) > 1}) == []


def test_a_page_is_replaced_whole_and_private(tmp_path: Path) -> None:
    """Only its owner may read it, whatever was there before."""
    data, path = ReportData(3), tmp_path / "page.html"
    path.write_text("<html>")
    write_page(path, data.head(), data.packs())
    assert (path.stat().st_mode & 0o777, list(tmp_path.iterdir())) == (0o600, [path])
    assert path.read_text().endswith("</html>\n")


@needs_browser
def test_the_page_opens_without_an_error_or_a_request(browser: Browser, small: Path) -> None:
    """All of its parts are there."""
    tab = ready(browser.open(small))
    assert (tab.problems, tab.requests) == ([], [])
    assert tab.texts("main h2") == [
        "Failures", "Models and tasks", "Timeline", "Time and cost", "Outputs", "Tool failures", "Rows", "The run",
    ]  # fmt: skip
    assert tab.text("#matches") == "600 rows"
    tab.close()
