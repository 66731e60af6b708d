"""`FieldPath`: where a value is in an output or a row, as in `output.items[0].price`."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from crewrun.errors import suggest

_STEP = re.compile(r"""\.(?P<name>[^\W\d][\w-]*)|\[(?P<index>-?\d+)\]|\[(?P<quote>['"])(?P<key>.*?)(?P=quote)\]""")

# What begins the reason of a missed expectation whose check is at fault, not the output.
UNCHECKED = "could not be checked: "


class NoValue(Exception):
    """There is no value at a path. The message says where it ends."""


@dataclass(frozen=True, slots=True)
class FieldPath:
    """`text` as it is written; `steps` are the keys of mappings and the indices of lists below the `root`."""

    text: str
    root: str
    steps: tuple[str | int, ...]

    def value(self, roots: Mapping[str, Any]) -> Any:
        """The value at this path. Raises NoValue."""
        value = roots[self.root]
        place = "the row" if self.root in ("row", "input") else "the output"
        for step in self.steps:
            value = _inner(value, step, place)
            place = f"{place.removeprefix('the ')}{_written(step)}"
        return value


def steps_of(text: str) -> tuple[str | int, ...] | None:
    """The steps in `.items[0]["unit price"]`, None if it has another form. `[-1]` is the last one of a list."""
    steps: list[str | int] = []
    end = 0
    while end < len(text):
        match = _STEP.match(text, end)
        if match is None:
            return None
        steps.append(int(match["index"]) if match["index"] else match["name"] or match["key"])
        end = match.end()
    return tuple(steps)


def field_of_output(text: str) -> FieldPath | None:
    """The path of a field of the output, as in `items[0].price` or `output.items[0].price`; None for another form."""
    name = text.strip()
    below = name.removeprefix("output") if name.startswith(("output.", "output[")) else f".{name}"
    steps = steps_of(below if below.startswith((".", "[")) and not below.startswith(".[") else below.removeprefix("."))
    return None if steps is None else FieldPath(f"output{''.join(map(_written, steps))}", "output", steps)


def _written(step: str | int) -> str:
    if isinstance(step, int):
        return f"[{step}]"
    return f".{step}" if _STEP.fullmatch(f".{step}") else f"[{step!r}]"


def _inner(value: Any, step: str | int, place: str) -> Any:
    if isinstance(step, int):
        if not isinstance(value, list):
            raise NoValue(f"{place} is {kind_of(value)}, not a list")
        try:
            return value[step]
        except IndexError:
            raise NoValue(f"{place} has {len(value)} entries, and [{step}] is none of them") from None
    if not isinstance(value, Mapping):
        advice = "; a task with output_schema makes it one" if place == "the output" and isinstance(value, str) else ""
        raise NoValue(f"{place} is {kind_of(value)}, not an object with fields{advice}")
    if step not in value:
        raise NoValue(f"{place} has no {step!r}{suggest(step, [key for key in value if isinstance(key, str)])}")
    return value[step]


def kind_of(value: Any) -> str:
    """The type of a JSON value in words."""
    if value is None:
        return "null"
    names = {bool: "true or false", int: "a number", float: "a number", str: "a text", list: "a list"}
    return names.get(type(value), "an object")
