"""The folders and files of a user's project, without what is hidden, installed or generated in it."""

import ast
import os
from collections.abc import Iterator

MAX_DEPTH = 5

_SKIPPED = frozenset({"node_modules", "__pycache__", "venv", "env", "site-packages"})


def below(top: str) -> Iterator[str]:
    """`top` and the folders below it, MAX_DEPTH deep, from the outside in by name."""
    level = [os.path.normpath(top)]
    for _ in range(MAX_DEPTH + 1):
        yield from level
        level = [inner for folder in level for inner in inside(folder)]


def inside(folder: str) -> list[str]:
    """The folders right in `folder`, by name; none where it is not there."""
    try:
        with os.scandir(folder) as entries:
            names = [entry.name for entry in entries if entry.is_dir(follow_symlinks=False)]
    except OSError:  # a folder that may not be read
        return []
    inner = [path_in(folder, name) for name in sorted(names) if name not in _SKIPPED and not name.startswith(".")]
    return [path for path in inner if not os.path.exists(os.path.join(path, "pyvenv.cfg"))]


def python_files(folder: str) -> list[str]:
    """The Python files right in `folder`, by name; none where it is not there."""
    try:
        names = sorted(name for name in os.listdir(folder) if name.endswith(".py"))
    except OSError:  # not there, or not to be read
        return []
    return [file for file in (path_in(folder, name) for name in names) if os.path.isfile(file)]


def path_in(folder: str, name: str) -> str:
    """The path of `name` in `folder`, as messages have it."""
    return os.path.normpath(os.path.join(folder, name))


def classes_in(source: bytes) -> list[ast.ClassDef] | None:
    """The classes at the top of a Python file, which is not run; None when it does not parse, as its load reports."""
    try:
        body = ast.parse(source).body
    except (SyntaxError, ValueError, RecursionError):
        return None
    return [statement for statement in body if isinstance(statement, ast.ClassDef)]
