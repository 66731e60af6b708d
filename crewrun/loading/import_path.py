"""Where the imports in a file of the user's may start: `make_importable` puts these folders into `sys.path`."""

import ast
import os
import sys
from collections.abc import Sequence
from importlib.machinery import PathFinder

from crewrun.loading.user_code import is_users

# What stands at the top of a project, the surest first.
_MARKS = (("pyproject.toml", ".git"), ("setup.py", "setup.cfg", "requirements.txt"))


def make_importable(file: str, project: str | None = None) -> None:
    """Have imports look into the folders of `file`, in their order; last into those around it in its project.

    An application that is started in `backend` has files in `backend/ai` that import what is beside that.
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

    `project` is the user's own name for the project; its file may lie in a larger one.
    """
    folder = os.path.dirname(file)
    named = _inside(project) if project is not None else []
    return list(dict.fromkeys([folder, root_of(file), *named, *project_places(folder), os.getcwd()]))


def project_places(folder: str) -> list[str]:
    """The `src` and the top of the project that `folder` is in; none where it is in no project."""
    top = project_of(folder)
    return [] if top is None else _inside(top)


def _inside(top: str) -> list[str]:
    source = os.path.join(top, "src")
    is_package = os.path.isfile(os.path.join(source, "__init__.py"))
    return [source, top] if os.path.isdir(source) and not is_package else [top]


def project_of(folder: str) -> str | None:
    """The nearest folder around `folder`, or it itself, with a pyproject.toml or .git, else one with other marks."""
    around = [folder]
    while (above := os.path.dirname(around[-1])) != around[-1]:
        around.append(above)
    for marks in _MARKS:
        for one in around:
            if any(os.path.exists(os.path.join(one, mark)) for mark in marks):
                return one
    return None


def above_packages(folder: str) -> str:
    """The nearest folder around `folder`, or it itself, that is no package: the one that imports start at."""
    while os.path.isfile(os.path.join(folder, "__init__.py")):
        folder = os.path.dirname(folder)
    return folder


def root_of(file: str) -> str:
    """The folder that the imports of `file` start at: above its package, and as far up as its relative imports lead.

    Folders without `__init__.py` are packages too where that is so.
    """
    root = above_packages(os.path.dirname(file))
    depth = len(os.path.relpath(file, root).split(os.sep)) - 1
    for _ in range(_levels(file) - depth):
        if not os.path.basename(root).isidentifier():
            break
        root = os.path.dirname(root)
    return root


def search(folders: Sequence[str]) -> None:
    """Have imports look into `folders`: first, in their order; last into packages that would hide other modules."""
    first = [folder for folder in folders if folder not in sys.path and not _hides(folder)]
    last = [folder for folder in folders if folder not in sys.path and folder not in first]
    sys.path[:0] = first
    sys.path += last


def _hides(folder: str) -> bool:
    """Whether `folder` is a package, made so that what is in it may have any names, and some are taken."""
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
    """How many packages the relative imports of `file` are in."""
    try:
        with open(file, "rb") as stream:
            tree = ast.parse(stream.read())
    except (OSError, SyntaxError, ValueError, RecursionError):
        return 0
    return max((node.level for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)), default=0)
