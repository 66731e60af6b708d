"""The manual and the README: pages that are listed, links that lead somewhere."""

import re
from pathlib import Path

import pytest
from support.paths import MANUAL, README, ROOT

from crewrun.manual import TOPICS, page

DOCUMENTS = [README, *sorted(MANUAL.glob("*.md"))]
_LINK = re.compile(r"\]\((?!https?:)([^)\s]*)\)")


def prose(document: Path) -> str:
    """The text without its code."""
    text = re.sub(r"```.*?```", "", document.read_text(encoding="utf-8"), flags=re.DOTALL)
    return re.sub(r"^    .*$", "", text, flags=re.MULTILINE)


def anchors(document: Path) -> set[str]:
    """What GitHub calls its headings."""
    headings = re.findall(r"^#+ (.*)$", prose(document), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


def test_every_page_is_a_topic_and_every_topic_a_page() -> None:
    """A page that the list leaves out would be found by nobody."""
    assert sorted(TOPICS) == sorted(path.stem for path in MANUAL.glob("*.md"))


def test_the_readme_links_to_every_page() -> None:
    """On GitHub it is the list of the manual's pages."""
    assert {f"crewrun/manual/{topic}.md" for topic in TOPICS} <= set(_LINK.findall(README.read_text(encoding="utf-8")))


@pytest.mark.parametrize("topic", TOPICS)
def test_a_page_begins_with_its_title_and_one_sentence(topic: str) -> None:
    """`crewrun help` lists the sentence."""
    document = page(topic)
    assert document.text.startswith(f"# {document.title}\n\n")
    assert re.fullmatch(r"[A-Z`].*[^.]\.", document.summary), document.summary
    assert len(document.summary) <= 160


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.stem)
def test_a_link_leads_to_a_file_and_a_heading(document: Path) -> None:
    """As GitHub resolves it: relative to the page."""
    lost = []
    for link in _LINK.findall(prose(document)):
        name, _, anchor = link.partition("#")
        target = (document.parent / name).resolve() if name else document
        is_there = target.exists() and target.is_relative_to(ROOT) and (not anchor or anchor in anchors(target))
        lost += [] if is_there else [link]
    assert lost == []


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.stem)
def test_no_line_is_wider_than_the_code(document: Path) -> None:
    """120 columns, as everywhere here; tables, code and addresses cannot be broken."""
    wide = [
        line
        for line in prose(document).splitlines()
        if len(line) > 120 and not line.startswith("|") and "://" not in line
    ]
    assert wide == []
