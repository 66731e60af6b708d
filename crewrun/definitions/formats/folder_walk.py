"""The folders and files of a user's project, without hidden, installed or generated ones."""

import ast
import os
from collections.abc import Iterator

# How deep CrewAI's template for flows has a crew's files: src/NAME/crews/CREW/config.
MAX_DEPTH = 5

_SKIPPED = frozenset({"node_modules", "__pycache__", "venv", "env", "site-packages"})


def below(top: str) -> Iterator[str]:
    """`top` and the folders up to MAX_DEPTH levels below it, level by level, sorted by name."""
    level = [os.path.normpath(top)]
    for _ in range(MAX_DEPTH + 1):
        yield from level
        level = [inner for folder in level for inner in inside(folder)]


def inside(folder: str) -> list[str]:
    """The folders directly in `folder`, sorted by name; empty if it cannot be read."""
    try:
        with os.scandir(folder) as entries:
            names = [entry.name for entry in entries if entry.is_dir(follow_symlinks=False)]
    except OSError:  # missing or not readable
        return []
    inner = [path_in(folder, name) for name in sorted(names) if name not in _SKIPPED and not name.startswith(".")]
    return [path for path in inner if not os.path.exists(os.path.join(path, "pyvenv.cfg"))]


def python_files(folder: str) -> list[str]:
    """The Python files directly in `folder`, sorted by name; empty if it cannot be read."""
    try:
        names = sorted(name for name in os.listdir(folder) if name.endswith(".py"))
    except OSError:  # missing or not readable
        return []
    return [file for file in (path_in(folder, name) for name in names) if os.path.isfile(file)]


def path_in(folder: str, name: str) -> str:
    """The path of `name` in `folder`, normalised for messages."""
    return os.path.normpath(os.path.join(folder, name))


def classes_in(source: bytes) -> list[ast.ClassDef] | None:
    """The classes at the top level of a Python file, found without running it; None if it does not parse."""
    try:
        body = ast.parse(source).body
    except (SyntaxError, ValueError, RecursionError):
        return None
    return [statement for statement in body if isinstance(statement, ast.ClassDef)]
