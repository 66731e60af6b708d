"""Where imports in one of the user's files may start: `make_importable` puts these folders into `sys.path`."""

import ast
import os
import sys
from collections.abc import Sequence
from importlib.machinery import PathFinder

from crewrun.loading.user_code import is_users

# Files at the top of a project, the most certain sign first.
_MARKS = (("pyproject.toml", ".git"), ("setup.py", "setup.cfg", "requirements.txt"))


def make_importable(file: str, project: str | None = None) -> None:
    """Let imports look in the folders of `file`, in order, and last in the folders around it in its project.

    An application that is started in `backend` may have files in `backend/ai` that import modules from `backend`.
    """
    search(places_of(file, project))
    sys.path += [folder for folder in _around(os.path.dirname(file)) if folder not in sys.path]


def _around(folder: str) -> list[str]:
    """The folders between `folder` and the top of its project, the nearest first."""
    top, around = project_of(folder), list[str]()
    while top is not None and (folder := os.path.dirname(folder)) != top and folder.startswith(top + os.sep):
        around.append(folder)
    return around


def places_of(file: str, project: str | None = None) -> list[str]:
    """The folder of `file`, its package's root, the project's `src`, the project itself and the working directory.

    `project` is the folder that the user named, which may be a part of a larger project.
    """
    folder = os.path.dirname(file)
    named = _inside(project) if project is not None else []
    return list(dict.fromkeys([folder, root_of(file), *named, *project_places(folder), os.getcwd()]))


def project_places(folder: str) -> list[str]:
    """The `src` and the top folder of the project that `folder` is in; empty if it is in none."""
    top = project_of(folder)
    return [] if top is None else _inside(top)


def _inside(top: str) -> list[str]:
    source = os.path.join(top, "src")
    is_package = os.path.isfile(os.path.join(source, "__init__.py"))
    return [source, top] if os.path.isdir(source) and not is_package else [top]


def project_of(folder: str) -> str | None:
    """`folder` or the nearest folder around it with a pyproject.toml or .git, else with one of the weaker signs."""
    around = [folder]
    while (above := os.path.dirname(around[-1])) != around[-1]:
        around.append(above)
    for marks in _MARKS:
        for one in around:
            if any(os.path.exists(os.path.join(one, mark)) for mark in marks):
                return one
    return None


def above_packages(folder: str) -> str:
    """`folder` or the nearest folder around it that is not a package: where imports start."""
    while os.path.isfile(os.path.join(folder, "__init__.py")):
        folder = os.path.dirname(folder)
    return folder


def root_of(file: str) -> str:
    """The folder where the imports of `file` start: above its package, and above all that its relative imports reach.

    Folders that relative imports reach are packages even without an `__init__.py`.
    """
    root = above_packages(os.path.dirname(file))
    depth = len(os.path.relpath(file, root).split(os.sep)) - 1
    for _ in range(_levels(file) - depth):
        if not os.path.basename(root).isidentifier():
            break
        root = os.path.dirname(root)
    return root


def search(folders: Sequence[str]) -> None:
    """Let imports look in `folders` first, in order, except that packages which would hide other modules come last."""
    first = [folder for folder in folders if folder not in sys.path and not _hides(folder)]
    last = [folder for folder in folders if folder not in sys.path and folder not in first]
    sys.path[:0] = first
    sys.path += last


def _hides(folder: str) -> bool:
    """Whether `folder` is a package with modules whose names are taken by others."""
    if not os.path.isfile(os.path.join(folder, "__init__.py")):
        return False
    with os.scandir(folder) as entries:
        names = {entry.name.removesuffix(".py") for entry in entries}
    modules = {name for name in names if name.isidentifier() and not name.startswith("__")}
    return bool(modules & sys.stdlib_module_names) or any(_is_installed(name) for name in modules)


def _is_installed(name: str) -> bool:
    if name in sys.modules:
        return not is_users(getattr(sys.modules[name], "__file__", None) or "<")
    try:
        spec = PathFinder.find_spec(name)
    except (ImportError, ValueError):
        return False
    return spec is not None and spec.origin is not None and not is_users(spec.origin)


def _levels(file: str) -> int:
    """How many packages up the relative imports of `file` reach."""
    try:
        with open(file, "rb") as stream:
            tree = ast.parse(stream.read())
    except (OSError, SyntaxError, ValueError, RecursionError):
        return 0
    return max((node.level for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)), default=0)
