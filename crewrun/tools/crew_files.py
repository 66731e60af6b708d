"""Files that tools may show to a model but not write: the crew's definition and code, and the inputs.

They are recognised by path and by location: a file that a model wrote where the crew or Python loads its parts from
would decide what the next run does.
"""

import os
import sys
from importlib.machinery import all_suffixes
from pathlib import Path

from crewrun.confinement.own_files import current_own_files
from crewrun.confinement.place import Place
from crewrun.confinement.private_files import folded

# Python prefers extension modules to sources, and runs a .pth in a folder that it imports from:
# https://docs.python.org/3/library/site.html
_CODE = (*all_suffixes(), ".pyw", ".pth", ".so", ".pyd", ".dll", ".dylib")
_DEFINITIONS = frozenset({"crew.yaml", "crew.yml", "crew.jsonc", "crew.json", "pyproject.toml"})
# Folders in a crew's folder, and the endings of files that are read from them.
_PARTS = {"config": (".yaml", ".yml"), "agents": (".json", ".jsonc"), "tools": _CODE, "src": _CODE}


def why_fixed(path: str) -> str | None:
    """Why the file at `path`, a real path, may not be written, as an input or a part of the crew; None if it may."""
    own = current_own_files.get()
    for files, why in ((own.inputs, "it is the input"), (own.crew, "the crew was loaded from it")):
        if any(path == file or _is_same(path, file) for file in files):
            return why
    plain = folded(os.path.basename(path))
    if plain.endswith(_CODE) and any(folded(os.path.basename(f)) == plain and _is_same(path, f) for f in _loaded()):
        return "it is the crew's Python code"
    if plain in _DEFINITIONS and os.path.dirname(path) in {os.path.realpath(os.getcwd()), *_homes()}:
        return "a crew is defined in a file of that name"
    return None


def why_active(place: Place) -> str | None:
    """Why no file may be written at `place`, where the crew or Python would load it; None if it may.

    If the developer chose a root below the crew's folder, the rules for the crew's folder do not apply.
    """
    plain = folded(place.name)
    if plain.endswith(_CODE) and (_is_importable(place.folder, plain) or _has_loaded(place.folder)):
        return "Python may take it for a part of the crew's code"
    homes = {home for home in _homes() if Path(home).is_relative_to(place.home)}
    if plain.endswith(_CODE) and place.folder in homes:
        return "Python code in the crew's directory is the crew's"
    around, part = os.path.split(place.folder)
    if plain.endswith(_PARTS.get(folded(part), ())) and (around in homes or _has_loaded(around)):
        return f"the crew's definition and code are in {part!r}"
    return None


def _homes() -> frozenset[str]:
    """The folders that this crew is, or would be, loaded from; outside a run the working directory."""
    return current_own_files.get().homes or frozenset({os.path.realpath(os.getcwd())})


def _is_same(path: str, other: str) -> bool:
    """Whether two paths are one file: hard links, or spellings that the file system treats as equal."""
    try:
        return os.path.samefile(path, other)
    except OSError:
        return False


def _is_importable(folder: str, plain: str) -> bool:
    """Whether Python would import a file `plain` in `folder`, directly or as a part of a package."""
    roots = {os.path.realpath(entry) for entry in sys.path}
    if plain == "__init__.py":
        folder = os.path.dirname(folder)
    while folder not in roots:
        if not os.path.isfile(os.path.join(folder, "__init__.py")):
            return False
        folder = os.path.dirname(folder)
    return True


def _has_loaded(folder: str) -> bool:
    """Whether code was loaded from a file directly in `folder`."""
    return any(os.path.dirname(file) == folder for file in _loaded())


def _loaded() -> list[str]:
    files = [getattr(module, "__dict__", {}).get("__file__") for module in list(sys.modules.values())]
    return [os.path.abspath(file) for file in files if isinstance(file, str)]
