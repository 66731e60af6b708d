"""`DefinitionSource`: a definition's data with the line of everything in it, from one file or several.

`yaml_source` and `jsonc_source` read a file; `joined` combines several.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, TypeVar

from crewrun.definitions.problems import KeyPath, Problem
from crewrun.errors import DefinitionError

# The readers recurse twice per level: well under Python's limit of 1,000 nested calls.
MAX_DEPTH = 100

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Expected:
    """What a file should contain, worded for the error message if it does not."""

    noun: str = "a crew file"
    content: str = "`agents:` and `tasks:`"


CREW_FILE = Expected()


@dataclass(frozen=True, slots=True)
class DefinitionSource:
    """`data` is a mapping of plain values.

    `key_lines` and `value_lines` map the path of a key or a value to its line, counted from 1. `written` has the
    original spelling of each value that is not text. `problems` are faults after which reading could go on. `repeated`
    are keys that occur more than once: `data` has the last one. `parts` names the files that parts of the data come
    from; everything else is from `file`. `objects` are references to Python objects, `module:attr`, that replace what
    `data` has at their paths.
    """

    file: str
    data: Any
    key_lines: dict[KeyPath, int] = field(default_factory=dict)
    value_lines: dict[KeyPath, int] = field(default_factory=dict)
    written: dict[KeyPath, str] = field(default_factory=dict)
    problems: list[Problem] = field(default_factory=list)
    repeated: list[Problem] = field(default_factory=list)
    parts: dict[KeyPath, str] = field(default_factory=dict)
    objects: dict[KeyPath, str] = field(default_factory=dict)

    def at_key(self, path: KeyPath, message: str) -> Problem:
        """A problem with the key at the end of `path`, on its line or that of the nearest thing around it."""
        return self._problem(path, self.key_lines, message)

    def at_value(self, path: KeyPath, message: str) -> Problem:
        """A problem with the value at `path`, on its line or that of the nearest thing around it."""
        return self._problem(path, self.value_lines, message)

    def place_of_key(self, path: KeyPath) -> str:
        """`line 3`, with the file if the data comes from several."""
        problem = self.at_key(path, "")
        return f"line {problem.line}" + (f" of {problem.file}" if self.parts else "")

    def move(self, old: KeyPath, new: KeyPath) -> None:
        """Copy the lines and spellings of `old`, and of everything in it, to `new`."""
        for places in (self.key_lines, self.value_lines):
            _copy(places, old, new)
        _copy(self.written, old, new)

    def _problem(self, path: KeyPath, lines: dict[KeyPath, int], message: str) -> Problem:
        part = max((prefix for prefix in self.parts if path[: len(prefix)] == prefix), key=len, default=())
        return Problem(self.parts.get(part, self.file), self._nearest(path, lines), path[len(part) :], message)

    def _nearest(self, path: KeyPath, lines: dict[KeyPath, int]) -> int | None:
        while path:
            if line := lines.get(path) or self.key_lines.get(path) or self.value_lines.get(path):
                return line
            path = path[:-1]
        return self.value_lines.get(())


def empty(file: str, expected: Expected) -> DefinitionError:
    """The error for a file with nothing in it."""
    return DefinitionError(f"{file}: is empty; {expected.noun} has {expected.content}")


def as_mapping(source: DefinitionSource, expected: Expected) -> DefinitionSource:
    """`source` itself. Raises DefinitionError if its data is not a mapping."""
    if source.data is None:
        raise empty(source.file, expected)
    if not isinstance(source.data, dict):
        kind = "a list" if isinstance(source.data, list) else "one single value"
        raise DefinitionError(f"{source.file}: is {kind}; {expected.noun} is a mapping with {expected.content}")
    return source


def joined(whole: DefinitionSource, parts: Mapping[KeyPath, DefinitionSource]) -> DefinitionSource:
    """`whole` with the data of `parts` inserted at their paths; missing mappings on the way are created."""
    result = DefinitionSource(
        whole.file,
        dict(whole.data),
        dict(whole.key_lines),
        dict(whole.value_lines),
        dict(whole.written),
        list(whole.problems),
        list(whole.repeated),
        dict(whole.parts),
    )
    for path, part in parts.items():
        around = result.data
        for key in path[:-1]:
            around[key] = dict(around[key]) if isinstance(around.get(key), dict) else {}
            around = around[key]
        around[path[-1]] = part.data
        result.key_lines.update(_below(path, part.key_lines))
        result.value_lines.update(_below(path, part.value_lines))
        result.written.update(_below(path, part.written))
        result.problems.extend(part.problems)
        result.repeated.extend(part.repeated)
        result.parts[path] = part.file
    return result


def _below(top: KeyPath, places: dict[KeyPath, T]) -> dict[KeyPath, T]:
    return {(*top, *path): place for path, place in places.items()}


def _copy(places: dict[KeyPath, T], old: KeyPath, new: KeyPath) -> None:
    moved = {path[len(old) :]: place for path, place in places.items() if path[: len(old)] == old}
    places.update(_below(new, moved))
