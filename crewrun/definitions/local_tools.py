"""Tools in a CrewAI project's `tools/*.py`, found by the name of the class, the function or the tool itself.

Only files that contain the name are loaded, so that no other file's code runs.
"""

import glob
import os
from collections.abc import Sequence
from inspect import isclass, ismodule
from types import ModuleType
from typing import Any

from crewrun.errors import DefinitionError
from crewrun.references import known_names, load_file
from crewrun.tools.base import BaseTool

_CUSTOM = "custom:"


def is_custom(name: str) -> bool:
    """Whether `name` has the form `custom:lookup`, which is the tool in `tools/lookup.py`."""
    return name.startswith(_CUSTOM)


def find_custom(name: str, folders: Sequence[str]) -> Any:
    """The tool in the file that `custom:lookup` names. Raises DefinitionError."""
    stem = name.removeprefix(_CUSTOM)
    files = [os.path.join(folder, f"{stem}.py") for folder in folders] if stem.isidentifier() else []
    file = next((file for file in files if os.path.isfile(file)), None)
    if file is None:
        raise DefinitionError(f"no tool {name!r}; looked for {' and '.join(files) or 'nothing, it is not a file name'}")
    module = load_file(os.path.abspath(file))
    for value in _public(module).values():
        if isclass(value) and value.__module__ == module.__name__ and _is_tool_class(value):
            return value
        if not isclass(value) and _own_name(value) is not None and hasattr(value, "description"):
            return value
    raise DefinitionError(f"{file}: has no tool in it, neither a class with `_run` nor a function under @tool")


def find(name: str, folders: Sequence[str]) -> Any:
    """What `name` stands for in the files of `folders`, None if none has it. DefinitionError for a file that fails."""
    for folder in folders:
        for file in sorted(glob.glob(os.path.join(glob.escape(folder), "*.py"))):
            if os.path.basename(file) == "__init__.py" or not _mentions(file, name):
                continue
            if (value := _named(load_file(os.path.abspath(file)), name)) is not None:
                return value
    return None


def places(folders: Sequence[str]) -> str:
    """Where `find` looks, in words."""
    return " or ".join(f"{f}/*.py" if os.path.isdir(f) else f"{f} (no such folder)" for f in folders)


def _mentions(file: str, name: str) -> bool:
    try:
        with open(file, "rb") as stream:
            return name.encode("utf-8", "replace") in stream.read()
    except OSError:
        return False


def _named(module: ModuleType, name: str) -> Any:
    public = _public(module)
    if name in public:
        return public[name]
    return next((value for value in public.values() if _own_name(value) == name), None)


def _public(module: ModuleType) -> dict[str, Any]:
    return {name: value for name, value in known_names(module).items() if not ismodule(value)}


def _own_name(value: Any) -> str | None:
    """The name that a tool has, or that a tool class gives its tools."""
    if isclass(value):
        field = getattr(value, "model_fields", {}).get("name")
        name = field.default if field is not None else getattr(value, "name", None)
    else:
        name = getattr(value, "name", None)
    return name if isinstance(name, str) else None


def _is_tool_class(value: type) -> bool:
    return issubclass(value, BaseTool) or hasattr(value, "_run")
