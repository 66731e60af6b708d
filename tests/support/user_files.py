"""Files of a user's that a test writes and loads in this process; what they import is forgotten after it."""

import sys
from collections.abc import Iterator
from pathlib import Path
from textwrap import dedent
from typing import Any

import pytest


def write(files: dict[str, str]) -> None:
    """Write `files`, by their paths from the working directory on."""
    for name, text in files.items():
        path = Path(name)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(dedent(text))


@pytest.fixture
def in_an_empty_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """The test's folder is the working directory, and its modules are not those of another test."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    monkeypatch.setattr(sys, "meta_path", list(sys.meta_path))
    _forget(tmp_path.parent)
    yield
    _forget(tmp_path.parent)


def _forget(folder: Path) -> None:
    def is_below(module: Any) -> bool:
        places = [getattr(module, "__file__", None) or "", *getattr(module, "__path__", ())]
        return any(place.startswith(f"{folder}/") for place in places)

    for name in [name for name, module in list(sys.modules.items()) if is_below(module)]:
        del sys.modules[name]
