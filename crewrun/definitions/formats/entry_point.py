"""`find_entry_point`: the one crew, flow, factory or runner in a Python file that the user named without `:name`.

It looks at the objects in the loaded file and at its source (`outline`), which alone tells a function that makes a crew
from one that runs it.
"""

import os
import sys
import warnings
from collections.abc import Iterable
from dataclasses import replace
from inspect import isclass, ismodule
from types import ModuleType
from typing import Any

from crewrun.crew.crew import Crew
from crewrun.definitions.file_text import read_bytes
from crewrun.definitions.formats.outline import ENTRANCES, CodePart, Outline, outline_of
from crewrun.errors import CrewrunWarning, DefinitionError
from crewrun.flow.flow import Flow
from crewrun.loading.partial_modules import stop_of
from crewrun.loading.user_code import is_users
from crewrun.references import known_names

_LOOKED_FOR = (
    "a flow, a crew, a @CrewBase class, a function that returns a crew, a class with one of "
    f"{', '.join(ENTRANCES)}, and a function that kicks one off"
)


def find_entry_point(module: ModuleType, file: str) -> str | None:
    """The name in `module`, which was loaded from `file`, of what a row runs; None if rows run the file as a whole.

    The first kind that the file has counts: flows, crews, crew classes, factories, runners. Functions without
    parameters, which no row's fields reach, come last, followed by a file that kicks off by itself. Of several of a
    kind it is the one that the file itself runs. Raises DefinitionError if several are left, with a list, or none.
    """
    outline = outline_of(read_bytes(file), _imported_parts(module)) or Outline()
    names = next((names for names in _kinds(module, outline) if names), [])
    if len(names) > 1:
        names = [name for name in names if name in outline.started] or names
    if len(names) == 1:
        part = outline.parts.get(names[0])
        if part is not None and part.kicks and not (part.takes or part.makes or part.is_class):
            if outline.kicks and outline.asks:  # the file asks for the function's inputs before it calls it
                return None
            _warn_of_no_input(f"{file}: {names[0]}()", "one with parameters, or a crew")
        return names[0]
    if names:
        commands = ", ".join(f"--crew {file}:{name}" for name in names)
        raise DefinitionError(f"{file}: several things in it could be run; say which is meant: {commands}")
    stop = stop_of(module.__file__)
    if outline.kicks and not (stop is not None and stop.is_final) and not _is_streamlit(module):
        if stop is not None:
            stop.is_known = True
        if not outline.asks:
            _warn_of_no_input(f"{file}: the file as a whole", "a function with parameters, or a crew")
        return None
    raise DefinitionError(_nothing_in(module, outline, file))


def _warn_of_no_input(what: str, instead: str) -> None:
    consequence = f"takes nothing from a row, so that every row runs the same; name {instead}"
    warnings.warn(f"{what} {consequence}", CrewrunWarning, stacklevel=3)


def _is_streamlit(module: ModuleType) -> bool:
    """Whether the file is a Streamlit app, which waits for a person to press buttons."""
    return any(ismodule(value) and value.__name__ == "streamlit" for value in vars(module).values())


def _kinds(module: ModuleType, outline: Outline) -> Iterable[list[str]]:
    """The names of each kind in `module`, the most likely kind first."""
    values = known_names(module)
    own = {name: value for name, value in values.items() if _is_own(name, value, module, outline)}
    yield from _values(own)
    parts = [part for part in outline.parts.values() if part.name in values and part.is_command]
    yield from _functions(_outermost([part for part in parts if part.takes or part.makes]))
    imported = {name: value for name, value in values.items() if name not in own and _is_users(value)}
    others = [*_values(imported), *_functions(list(outline.imported.values()))]
    choices: list[str] = next((names for names in others if names), [])
    yield choices if len(choices) == 1 else []
    yield [part.name for part in _outermost(parts) if part.kicks and not part.is_class]
    yield choices


def _functions(parts: list[CodePart]) -> Iterable[list[str]]:
    """The names among `parts` of factories, of classes that run a crew, and of functions that kick off."""
    yield [part.name for part in parts if part.makes and not part.is_class and not part.kicks]
    yield [part.name for part in parts if part.is_class and (part.makes or part.kicks)]
    yield [part.name for part in parts if part.kicks and not part.is_class and part.takes]


def _imported_parts(module: ModuleType) -> dict[str, CodePart]:
    """The functions and plain classes that `module` imports from the user's other files."""
    parts: dict[str, CodePart] = {}
    for name, value in known_names(module).items():
        origin = sys.modules.get(getattr(value, "__module__", None) or "")
        file = getattr(origin, "__file__", None)
        if origin is module or file is None or not is_users(file) or not os.path.isfile(file):
            continue
        outline = outline_of(read_bytes(file))
        part = outline.parts.get(getattr(value, "__name__", "")) if outline is not None else None
        if part is not None:
            parts[name] = replace(part, name=name)
    return parts


def _values(values: dict[str, Any]) -> Iterable[list[str]]:
    """The names among `values` of flow classes, flows, crews and crew classes."""
    flows = {name: value for name, value in values.items() if _is_flow_class(value)}
    bases = {base for value in flows.values() for base in value.__mro__[1:]}
    yield [name for name, value in flows.items() if value not in bases]
    yield _different({name: value for name, value in values.items() if _is_flow_class(type(value))})
    yield _different({name: value for name, value in values.items() if _is_crew(value)})
    projects = {name: value for name, value in values.items() if getattr(value, "is_crew_class", False) is True}
    yield [name for name, value in projects.items() if isclass(value)] or list(projects)


def _different(values: dict[str, Any]) -> list[str]:
    """The first name of each object."""
    names = {id(value): name for name, value in reversed(values.items())}
    return [name for name in values if name in names.values()]


def _is_own(name: str, value: Any, module: ModuleType, outline: Outline) -> bool:
    """Whether the file itself defines `name`, and does not import it."""
    if isclass(value) or callable(value):
        origin = getattr(value, "__module__", None)
        return origin == module.__name__ or name in outline.parts or name in outline.assigned
    return name in outline.assigned


def _is_users(value: Any) -> bool:
    """Whether a class, or an object's class, is the user's own. Crews count as the user's, whatever their class."""
    if ismodule(value):
        return False
    if _is_crew(value):
        return True
    origin = value if isclass(value) else type(value)
    file = getattr(sys.modules.get(origin.__module__), "__file__", None)
    return file is not None and is_users(file)


def _is_flow_class(value: Any) -> bool:
    if not isclass(value):
        return False
    return any(base is Flow or (base.__name__ == "Flow" and "crewai" in base.__module__) for base in value.__mro__[1:])


def _is_crew(value: Any) -> bool:
    if isclass(value) or ismodule(value):
        return False
    return isinstance(value, Crew) or (type(value).__name__ == "Crew" and hasattr(value, "kickoff"))


def _outermost(parts: list[CodePart]) -> list[CodePart]:
    """Those of `parts` that no other part calls."""
    running = [part for part in parts if part.makes or part.kicks]
    called = {name for part in running for name in part.calls if name != part.name}
    return [part for part in running if part.name not in called]


def _nothing_in(module: ModuleType, outline: Outline, file: str) -> str:
    if (stop := stop_of(module.__file__)) is not None:
        return f"{file}: defines nothing that can be run: {stop}"
    if _is_streamlit(module):
        return (
            f"{file}: is a Streamlit app that makes its crew once somebody has filled in fields and pressed a button; "
            "move the code that makes it into a function with parameters"
        )
    if outline.is_in_main:
        return (
            f"{file}: all that could be run is under `if __name__ == '__main__':`, which is not executed; "
            "move the code that makes the crew into a function"
        )
    return f"{file}: nothing in it can be run; looked for {_LOOKED_FOR}"
