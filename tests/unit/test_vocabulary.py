"""One word per thing: words that the glossary in CONTRIBUTING.md has replaced do not come back as names."""

import ast
import re
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest
from support.paths import ROOT

# Refused wherever they are a part of a name, as in `RemoteGate` or `_keep_hired`.
RETIRED = {
    "allowance": "concurrency limit",
    "ambient": "current gateway",
    "aside": "backup",
    "brief": "worker spec",
    "correspondence": "pending replies",
    "desk": "worker client",
    "errand": "assignment",
    "fleet": "worker pool",
    "gate": "limiter",
    "hire": "start worker",
    "hired": "started",
    "hushed": "muted",
    "lane": "transport",
    "letter": "message",
    "loose": "results file",
    "luggage": "package",
    "meter": "quota",
    "pace": "rate limiter",
    "rehearsal": "offline model",
    "reread": "resume",
    "respelled": "normalised",
    "respelling": "normalising",
    "settlement": "call result",
    "sift": "drop unknown keys",
    "station": "worker server",
    "tally": "usage counter, row context",
    "verdict": "the result of a check, by its own name",
    "wish": "prompt directive",
}
# Refused as a whole name: what the value is says more than how it came about.
PARTICIPLES = frozenset(
    {
        *("again", "asked", "beside", "changed", "earlier", "found", "given", "heard", "kept", "known", "leave"),
        *("meant", "said", "told", "way"),
    }
)
# Columns of the journal and a key of what `status --json` prints.
_STORED = {"crewrun/inspect/view.py: kept", "crewrun/journal/changes.py: kept"}
_WORD = re.compile(r"[A-Z]?[a-z0-9]+|[A-Z]+(?![a-z])")


def names_of(tree: ast.AST) -> Iterator[tuple[str, int]]:
    """The names that a file gives: of functions, classes, parameters, variables and attributes."""
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            yield node.name, node.lineno
        elif isinstance(node, ast.arg):
            yield node.arg, node.lineno
        elif isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
            yield node.id, node.lineno
        elif isinstance(node, ast.Attribute) and isinstance(node.ctx, ast.Store):
            yield node.attr, node.lineno
        elif isinstance(node, ast.alias) and node.asname:
            yield node.asname, node.lineno


@cache
def names_in(path: Path) -> tuple[tuple[str, int], ...]:
    """Those of a file, which is parsed once for all tests."""
    return tuple(names_of(ast.parse(path.read_text(encoding="utf-8"))))


def retired(name: str) -> str | None:
    """What to say in its place, None where a name is not refused."""
    for word in _WORD.findall(name):
        singular = word.lower().removesuffix("s") if word.lower() not in RETIRED else word.lower()
        better = RETIRED.get(singular) or RETIRED.get(word.lower().removesuffix("es"))
        if better:
            return better
    return None


@pytest.mark.parametrize("folder", ["crewrun", "tests"])
def test_no_name_is_a_retired_word(folder: str) -> None:
    """The message of a failure names each place and the word to use."""
    refused = [
        f"{path.relative_to(ROOT)}:{line}: {name}: say {better}"
        for path in sorted((ROOT / folder).rglob("*.py"))
        if "data" not in path.relative_to(ROOT).parts  # run folders of older versions
        for name, line in names_in(path)
        if (better := retired(name))
    ]
    assert refused == []


def test_no_name_is_a_participle() -> None:
    """In the package; what a test has `found` or was `told` reads well enough."""
    refused = {
        f"{path.relative_to(ROOT)}: {name}"
        for path in (ROOT / "crewrun").rglob("*.py")
        for name, _ in names_in(path)
        if name.strip("_").lower() in PARTICIPLES
    }
    assert sorted(refused - _STORED) == []


def test_no_file_has_a_retired_name() -> None:
    """Files and folders, of the package and of the tests."""
    paths = [path.relative_to(ROOT) for folder in ("crewrun", "tests") for path in (ROOT / folder).rglob("*")]
    assert [path.as_posix() for path in paths if path.suffix in ("", ".py") and retired(path.stem)] == []


@pytest.mark.parametrize("name", ["RemoteGate", "_lanes", "wishes", "station_of", "HIRED", "Tally"])
def test_a_retired_word_is_noticed(name: str) -> None:
    """In every form that a name can have."""
    assert retired(name)


@pytest.mark.parametrize("name", ["delegate", "planes", "Path", "lettering", "passes"])
def test_other_words_are_not(name: str) -> None:
    """Those that contain one."""
    assert retired(name) is None
