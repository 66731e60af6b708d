"""The command that installs an extra is one that works where it is printed."""

import ast
import re
import shlex
import tomllib
from pathlib import Path

import pytest
from support.paths import MANUAL, README, ROOT

from crewrun.extras import install_command

EXTRAS: dict[str, list[str]] = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]


@pytest.mark.parametrize("extra", EXTRAS)
def test_in_a_checkout_it_is_the_checkout_with_the_extra(
    extra: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Relative in the checkout itself, as the README has it; absolute elsewhere."""
    monkeypatch.chdir(ROOT)
    assert install_command(extra) == f"pip install -c constraints.txt -e '.[{extra}]'"
    monkeypatch.chdir(tmp_path)
    assert shlex.split(install_command(extra)) == [
        *("pip", "install", "-c", f"{ROOT}/constraints.txt", "-e", f"{ROOT}[{extra}]")
    ]


def test_a_checkout_with_a_blank_in_its_path_is_quoted(tmp_path: Path) -> None:
    """So that the line can be pasted."""
    checkout = tmp_path / "my code"
    (checkout / "crewrun").mkdir(parents=True)
    (checkout / "pyproject.toml").touch()
    (checkout / "constraints.txt").touch()
    words = shlex.split(install_command("pdf", checkout / "crewrun"))
    assert words[-3:] == [f"{checkout}/constraints.txt", "-e", f"{checkout}[pdf]"]


@pytest.mark.parametrize("extra", ["cache", "pdf", "ray"])
def test_outside_a_checkout_it_is_the_packages_of_the_extra(extra: str, tmp_path: Path) -> None:
    """A wheel has no checkout beside it, and PyPI has no crewrun. Extras newer than this environment are not tried."""
    words = shlex.split(install_command(extra, tmp_path / "site-packages" / "crewrun"))
    assert words[:2] == ["pip", "install"]
    names = [re.split(r"[<>=]", requirement)[0].lower() for requirement in words[2:]]
    assert sorted(names) == sorted(re.split(r"[<>=]", requirement)[0].lower() for requirement in EXTRAS[extra])


def test_nothing_else_in_the_code_says_how_to_install_an_extra() -> None:
    """Nor do the README and the manual name a package that PyPI does not have."""
    pattern = re.compile(r"pip install[^\n]*crewrun\[")
    texts = {
        path: [node.value for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, ast.Constant)]
        for path in (ROOT / "crewrun").rglob("*.py")
        if path.name != "extras.py"
    }
    texts |= {path: [path.read_text()] for path in (README, *MANUAL.glob("*.md"))}
    wrong = [path.name for path, parts in texts.items() for part in parts if pattern.search(str(part))]
    assert wrong == []
