"""The summary fits the terminal that it is on, and is coloured as that allows."""

import re
from pathlib import Path
from typing import Any

import pytest
from support.command import topics
from support.terminal import Terminal
from support.workspace import Place

# A row for each of ten categories, of which some have several causes.
BAD = [
    *("FAIL-400", "FAIL-401", "FAIL-402", "FAIL-404", "FAIL-413", "FAIL-429", "FAIL-500", "FAIL-EMPTY", "FAIL-503"),
    *("FAIL-GARBAGE", "FAIL-HANG"),
]
CATEGORIES = {
    *("bad_request", "auth", "quota", "model_not_found", "context_length", "rate_limit", "server", "output_invalid"),
    *("timeout", "input"),
}
FLAGS = ("--retries", "0", "--call-timeout", "1", "-j", "8")


@pytest.fixture(scope="module")
def screens(tmp_path_factory: pytest.TempPathFactory, served: Any) -> dict[int, list[str]]:
    """What a screen of 24 lines shows at the end, by its width."""
    place = Place(tmp_path_factory.mktemp("wide"), *served)
    place.crew()
    place.rows(*topics(40), *({"topic": f"{word} {number}"} for word in BAD for number in range(2)), "nonsense")
    return {columns: ended(place, *FLAGS, "--fresh", columns=columns, code=3).lines for columns in (60, 80, 120, 200)}


def ended(
    place: Place, *flags: str, columns: int = 80, rows: int = 24, code: int = 0, env: dict[str, str] | None = None
) -> Terminal:
    """A terminal after a batch."""
    flags = ("batch", "in.jsonl", *flags)
    with Terminal(*flags, cwd=place.folder, columns=columns, rows=rows, env=place.env | (env or {})) as terminal:
        assert terminal.end() == code, terminal.text
    return terminal


@pytest.mark.parametrize("columns", [60, 80, 120, 200])
def test_ten_categories_fit_24_lines(screens: dict[int, list[str]], columns: int) -> None:
    """The counts are on the first line and before the last command, and each category has its example."""
    screen = screens[columns]
    assert len(screen) <= 23  # and the shell's prompt
    (first,) = [line for line in screen if re.match(r"\d+ ok, \d+ failed in ", line)]
    counts = first.partition(" in ")[0]
    assert any(line.startswith(f"{counts}; ") for line in screen[-4:])
    assert {match[1] for line in screen if (match := re.match(r" +\d+ × (\w+)", line))} >= CATEGORIES
    assert "".join(screen[-3:]).count("crewrun batch in.jsonl") == 1


def test_each_category_has_its_hint_at_80_columns(screens: dict[int, list[str]]) -> None:
    """In full: they are written to fit."""
    hints = [line for line in screens[80] if line.startswith("      → ")]
    assert len(hints) >= len(CATEGORIES) - 1
    assert not any(line.endswith("…") for line in hints)


def test_words_are_wrapped_at_words(place: Place) -> None:
    """On a screen with room for all; a command to copy is left to the terminal."""
    place.rows(*topics(1), {"a long name of a column": "x", "another long name": "y"})
    terminal = ended(place, "-m", "offline", columns=60, rows=40, code=3)
    text = " ".join(line.strip() for line in terminal.lines)
    assert "1 × input: line 2 (2adce9740a1a3af6): missing 'topic' (needed by task 'draft')" in text
    assert "→ never sent; mend these lines, or give what they lack: -i NAME=VALUE" in text
    assert "no model was called: the answers are those of the offline model" in text


@pytest.mark.parametrize(
    ("env", "colours"),
    [
        ({}, ("green", "red")),
        ({"NO_COLOR": "1"}, ("default", "default")),
        ({"TERM": "dumb"}, ("default", "default")),
    ],
    ids=["colours", "NO_COLOR", "dumb"],
)
def test_it_is_coloured_as_the_terminal_allows(
    place: Place, env: dict[str, str], colours: tuple[str, str], tmp_path: Path
) -> None:
    """What went well is green, what failed is red."""
    place.rows(*topics(1), "nonsense")
    terminal = ended(place, "-m", "offline", code=3, env=env)
    assert (terminal.style("1 ok"), terminal.style("1 failed")) == colours
    assert (b"\x1b[3" in terminal.written.partition(b"1 ok")[2]) == (colours[0] == "green")


def test_text_from_outside_cannot_steer_the_terminal(place: Place) -> None:
    """Its control characters are shown as escapes, and markup is none."""
    place.rows({"topic": "FAIL-400 \x1b[2J\x07 [red]x[/red]", "id": "\x1b[31mid"}, {"topic": "fine", "id": "b"})
    terminal = ended(place, "--id-field", "id", code=3)
    assert "(\\x1b[31mid)" in terminal.text
    assert b"\x1b[2J" not in terminal.written


def test_a_list_is_as_wide_as_the_terminal(place: Place) -> None:
    """Also where characters take two cells; what does not fit is left out by importance."""
    place.rows({"topic": "梟" * 100}, *topics(2))
    place.batch("-m", "offline")
    heads = {}
    for columns in (40, 80, 200):
        with Terminal("show", "in.results.jsonl", cwd=place.folder, columns=columns) as terminal:
            assert terminal.end() == 0
        assert len(terminal.lines) == 4
        heads[columns] = terminal.lines[0].split()
        assert terminal.lines[1].split()[0] == "1"
    assert heads == {
        40: ["LINE", "STATUS", "INPUT", "OUTPUT"],
        80: ["LINE", "ID", "STATUS", "COST", "TIME", "INPUT", "OUTPUT"],
        200: ["LINE", "ID", "STATUS", "COST", "TIME", "INPUT", "OUTPUT"],
    }
