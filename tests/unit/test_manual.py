"""The manual and the README: pages that are listed, links that lead somewhere, commands and flags that exist."""

import re
import shlex
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from support.documents import DOCUMENTS, anchors, blocks, prose, sections
from support.paths import MANUAL, README, ROOT
from typer.main import get_command

from crewrun.batch.failures import likely_cause
from crewrun.batch.stop import EXIT_CODES
from crewrun.batch_flags import batch_flags
from crewrun.cli.app import app
from crewrun.errors import Category, CrewrunError
from crewrun.manual import TOPICS, page
from crewrun.row import ErrorRecord
from crewrun.score.values import BadScore

_LINK = re.compile(r"\]\((?!https?:)([^)\s]*)\)")
_WORDS_OF_SHELLS = re.compile(r"\|\||&&|[|;&()`]|\$\(")
# Of other programs that the pages name.
_FOREIGN_FLAGS = {"--head", "--address"}
LANGUAGES = {"sh", "yaml", "python", "json", "text", "toml"}


def options() -> dict[str, set[str]]:
    """The options of each command."""
    group: Any = get_command(app)
    flags = {
        name: {"-h", "--help", *(flag for field in command.params for flag in (*field.opts, *field.secondary_opts))}
        for name, command in group.commands.items()
    }
    return flags | {"plan": flags["plan"] | flags["batch"]}


OPTIONS = options()


def crewrun_commands(line: str) -> Iterator[list[str]]:
    """The words of each call of crewrun in a command line, from the command on."""
    for part in _WORDS_OF_SHELLS.split(line.partition("  # ")[0]):
        try:
            words = shlex.split(part, comments=True)
        except ValueError:  # a quote around a `|` or `;`, and so no call of crewrun
            continue
        if "crewrun" in words:
            yield words[words.index("crewrun") + 1 :]


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
    """120 columns, as everywhere here; tables and addresses cannot be broken."""
    lines = document.read_text(encoding="utf-8").splitlines()
    assert [line for line in lines if len(line) > 120 and not line.startswith("|") and "://" not in line] == []


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.stem)
def test_headings_stand_between_blank_lines(document: Path) -> None:
    """Else some renderers take one for text of the paragraph before it."""
    text = prose(document)
    assert re.findall(r"(?<!\n)\n(#+ .*)", text) + re.findall(r"^(#+ .*)\n(?!\n)", text, re.MULTILINE) == []


@pytest.mark.parametrize("topic", TOPICS)
def test_code_fits_a_terminal_of_80_columns(topic: str) -> None:
    """`crewrun help` would wrap it, and what is copied then would not run. Python is for editors."""
    text = page(topic).text
    lines = [
        line for kind in LANGUAGES - {"python"} for block in blocks(text, kind) for line in block.text.splitlines()
    ]
    assert [line for line in lines if len(line) > 78] == []


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.stem)
def test_every_command_and_flag_exists(document: Path) -> None:
    """In blocks each flag is one of its own command; in the text, of any."""
    wrong = []
    inline = [" ".join(code.split()) for code in re.findall(r"`([^`]+)`", prose(document))]
    inline = [code for code in inline if code.startswith("crewrun ")]
    shown = [command for block in blocks(document.read_text("utf-8"), "sh") for command in block.commands]
    for line in shown + inline:
        for name, *words in crewrun_commands(line):
            flags = [word.partition("=")[0] for word in words if re.match(r"--?[a-zA-Z]", word)]
            if name.startswith("-"):
                continue  # `crewrun --help`
            if name not in OPTIONS:
                wrong.append(line)
            wrong += [f"{name} {flag}" for flag in flags if flag not in OPTIONS[name] and flag[:2] not in OPTIONS[name]]
    everywhere = set[str]().union(*OPTIONS.values(), _FOREIGN_FLAGS, {"--help", "--version"})
    wrong += set(re.findall(r"(?<![\w-])--[a-z][a-z-]+", prose(document))) - everywhere
    assert wrong == []


def test_the_page_on_flags_has_every_flag_of_batch() -> None:
    """It says where each is described."""
    text = page("flags").text
    flags = {field.name for field in batch_flags().values()}
    assert (
        sorted(flag for flag in flags if not re.search(rf"(?<![\w-])--{flag.replace('_', '-')}(?![\w-])", text)) == []
    )


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.stem)
def test_every_block_says_its_language(document: Path) -> None:
    """It is coloured by that, and those of `sh` are run; the README's first command is indented."""
    fences = re.findall(r"^```(.*)$", document.read_text(encoding="utf-8"), re.MULTILINE)[::2]
    assert set(fences) <= LANGUAGES


def error_classes() -> list[type[CrewrunError]]:
    """The tree of errors, and the one that is not in its file."""
    classes = [CrewrunError, BadScore]
    for kind in classes:
        classes += kind.__subclasses__()
    return classes


@pytest.mark.parametrize("category", Category)
def test_troubleshooting_has_each_category_with_the_causes_that_the_summary_names(category: Category) -> None:
    """Word for word, and no others, so that neither can drift from the other."""
    text = sections(MANUAL / "troubleshooting.md")["Categories of failures"]
    own = re.split(r"^### ", text.split(f"### `{category}`\n")[1], flags=re.MULTILINE)[0]
    names = [kind.__name__ for kind in error_classes()]
    errors = [ErrorRecord(category, name, "m", http_status=code) for name in names for code in (None, *range(200, 600))]
    causes = {
        likely_cause(error) for error in [*errors, ErrorRecord(category, "ValueError", "crew.py:1: ValueError: x")]
    }
    assert set(re.findall(r"^> - (.*)$", own, re.MULTILINE)) == causes


def test_troubleshooting_has_each_exit_code_once() -> None:
    """Those of errors and of stops; 0 and 3 are those of a run that has finished."""
    codes = {0, 3, *EXIT_CODES.values(), *(kind.exit_code for kind in error_classes())}
    table = sections(MANUAL / "troubleshooting.md")["Exit codes"]
    documented = [
        int(code) for cell in re.findall(r"^\| ([\d, ]+) \|", table, re.MULTILINE) for code in cell.split(",")
    ]
    assert sorted(documented) == sorted(codes)
