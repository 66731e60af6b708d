"""The Python objects that a definition refers to in place of names: models, managers, and classes of the user's own."""

from typing import Any

from crewrun.crew.agent import Agent
from crewrun.crew.task import Task
from crewrun.definitions.names import Names
from crewrun.definitions.problems import KeyPath, Problem
from crewrun.definitions.source import Source
from crewrun.errors import DefinitionError

Objects = dict[KeyPath, Any]


def look_up(source: Source, names: Names, problems: list[Problem]) -> Objects:
    """The objects of `source` by their paths; what is wrong with one is added to `problems`."""
    found: Objects = {}
    for path, reference in source.objects.items():
        try:
            found[path] = _object(path, reference, names)
        except DefinitionError as wrong:
            problems.append(source.at_value(path, str(wrong)))
    return found


def _object(path: KeyPath, reference: str, names: Names) -> Any:
    match path:
        case ["tasks", _, "type"]:
            return names.subclass(reference, Task)
        case [*_, "type"]:
            return names.subclass(reference, Agent)
        case ["manager_agent"]:
            return names.object(reference, Agent, "an agent")
    return names.object(reference, object, "a model")
