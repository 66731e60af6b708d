"""What workers on other machines get of a crew: the text of its file where that is enough, else its folder."""

import os
import stat
import sys
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from crewrun.definitions.definition import Definition
from crewrun.loading.import_path import project_of, root_of
from crewrun.loading.user_code import is_users
from crewrun.references import find_file
from crewrun.run_files import FILES_SUFFIX, FOLDER_SUFFIX, RESULTS_SUFFIX
from crewrun.tables.writing.output_format import FORMATS

_LONGEST_PATH_CHARS = 300  # longer texts in a crew file are prompts, not paths
# What is never part of a crew even if it is in its folder, as .gitignore patterns. `.*` would match the folder itself.
_NEVER = (
    ".?*",
    "__pycache__/",
    f"*{FOLDER_SUFFIX}/",
    f"*{FILES_SUFFIX}/",
    *(f"*{RESULTS_SUFFIX.removesuffix('jsonl')}{form}" for form in FORMATS),
    "venv/",
    "node_modules/",
)


@dataclass(frozen=True, slots=True)
class Package:
    """`ref` is the reference by which workers load the crew: a file in `folder`, which is sent without the paths that
    match `excluded`; the name of a file with `text`; or a module that is installed there.
    """

    ref: str
    text: str | None = None
    folder: str | None = None
    excluded: tuple[str, ...] = ()


def package_crew(crew: str, definition: Definition, left_out: Sequence[Path]) -> Package:
    """What has to be sent so that `crew`, which was loaded here as `definition`, can be loaded elsewhere.

    `left_out` are files and folders that may be in its folder but do not belong to it, such as the inputs.
    """
    if os.path.isdir(crew):
        inner = definition.path if definition.path.is_file() else None
        return _folder(os.path.abspath(crew), inner.name if inner else ".", left_out)
    if os.path.isfile(crew):
        folder, name = os.path.split(os.path.abspath(crew))
        # The files that rows will name are not known yet.
        has_files = definition.target.has_files or bool(definition.target.knowledge_files)
        if definition.kind == "crew.yaml" and not has_files and not _needs_folder(crew, folder):
            return Package(name, text=Path(crew).read_text(encoding="utf-8"))
        top = _top_around(os.path.join(folder, name)) if name.endswith(".py") else folder
        return _folder(top, os.path.relpath(os.path.join(folder, name), top), left_out)
    name, _, attr = crew.strip().rpartition(":")
    if name.endswith(".py"):
        file = find_file(name)
        top = _top_around(file)
        return _folder(top, f"{os.path.relpath(file, top)}:{attr}", left_out)
    here = os.getcwd()
    module = sys.modules.get(name)
    if module is not None and _is_below(getattr(module, "__file__", None), here):
        return _folder(here, crew.strip(), left_out)
    return Package(crew.strip())  # an installed module, which must be installed there too


def _top_around(file: str) -> str:
    """The folder with everything that was loaded for `file`: its package's, or the project's if more was loaded."""
    top, project = root_of(file), project_of(os.path.dirname(file))
    loaded = [getattr(module, "__file__", None) or "" for module in list(sys.modules.values())]
    own = [path for path in loaded if path and is_users(path)]
    if project is not None and any(_is_below(path, project) and not _is_below(path, top) for path in own):
        return project
    return top


def _folder(folder: str, ref: str, left_out: Sequence[Path]) -> Package:
    within = [path.resolve().relative_to(folder) for path in left_out if _is_below(str(path.resolve()), folder)]
    unreadable = (os.path.relpath(path, folder) for path in _special_files(folder))
    return Package(ref, folder=folder, excluded=(*_NEVER, *(f"/{path}" for path in (*within, *unreadable))))


def _special_files(folder: str) -> Iterator[str]:
    """Pipes, sockets and devices: Ray, which packs the folder, would read them and never return."""
    for inner, _, files in os.walk(folder):
        for name in files:
            path = os.path.join(inner, name)
            with suppress(OSError):
                mode = os.stat(path).st_mode
                if not stat.S_ISREG(mode):
                    yield path


def _needs_folder(crew: str, folder: str) -> bool:
    """Whether the file names another file or folder in its folder, or uses code that was loaded from there."""
    loaded = [getattr(module, "__file__", None) for module in list(sys.modules.values())]
    if any(_is_below(file, folder) and "site-packages" not in str(file) and not _is_ours(file) for file in loaded):
        return True
    try:
        data = yaml.safe_load(Path(crew).read_text(encoding="utf-8"))
    except (OSError, ValueError, yaml.YAMLError):
        return True
    return any(
        0 < len(text) < _LONGEST_PATH_CHARS and "\n" not in text and os.path.exists(os.path.join(folder, text))
        for text in _texts(data)
        if text.strip(" ./") and "\0" not in text
    )


def _texts(value: Any) -> Iterator[str]:
    if isinstance(value, str):
        yield value.strip()
    elif isinstance(value, dict):
        for inner in value.values():
            yield from _texts(inner)
    elif isinstance(value, list):
        for inner in value:
            yield from _texts(inner)


def _is_ours(file: str | None) -> bool:
    return _is_below(file, str(Path(__file__).absolute().parents[2]))


def _is_below(file: str | None, folder: str) -> bool:
    return file is not None and os.path.abspath(file).startswith(folder.rstrip(os.sep) + os.sep)
