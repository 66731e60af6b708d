"""Placeholders in prompts: `{topic}`, parsed once per text and filled in once per row.

CrewAI's rules apply: a name is a letter or underscore, then letters, digits, underscores and hyphens; any other use of
braces is plain text. Values are never templates: rendering is a single pass, so a value with `{other}` in it stays as
it is.
"""

import re
from collections.abc import Mapping
from functools import lru_cache
from typing import Any

from crewrun.errors import InputInvalid, nearest

_PLACEHOLDER = re.compile(r"\{([A-Za-z_][A-Za-z0-9_\-]*)\}")
_SCALARS = (str, int, float, bool, type(None))


class Template:
    """A text split at its placeholders. Get one from `compile_template`, which caches it."""

    __slots__ = ("_parts", "names", "text")

    def __init__(self, text: str) -> None:
        self.text = text
        # re.split with one group alternates: text, name, text, name, …, text.
        self._parts = _PLACEHOLDER.split(text)
        self.names = frozenset(self._parts[1::2])

    def render(self, inputs: Mapping[str, Any], field: str) -> str:
        """Fill in every placeholder; `field` names this text in the error, as in `tasks.draft.description`.

        Raises InputInvalid when `inputs` lacks a name.
        """
        if not self.names:
            return self.text
        parts = self._parts.copy()
        try:
            for i in range(1, len(parts), 2):
                parts[i] = str(inputs[parts[i]])
        except KeyError as missing:
            name = missing.args[0]
            near = nearest(name, list(inputs))
            hint = f"; the inputs have {near!r}" if near else ""
            raise InputInvalid(f"missing input {name!r}, needed by {field}{hint}") from None
        return "".join(parts)


@lru_cache(maxsize=4096)
def compile_template(text: str) -> Template:
    """The compiled form of `text`, parsed once per process however many rows use it."""
    return Template(text)


def check_inputs(inputs: Mapping[str, Any]) -> None:
    """Raise InputInvalid unless every value is None, str, int, float, bool, or a list or dict of these."""
    if type(inputs) is not dict and not isinstance(inputs, Mapping):  # the ABC check costs as much as the rest
        raise InputInvalid(f"inputs are a mapping of names to values, not a {type(inputs).__name__}")
    for name, value in inputs.items():
        if not isinstance(value, _SCALARS):
            _check_value(name, value)


def _check_value(path: str, value: object) -> None:
    if isinstance(value, dict):
        for key, inner in value.items():
            _check_value(f"{path}.{key}", inner)
    elif isinstance(value, list):
        for i, inner in enumerate(value):
            _check_value(f"{path}[{i}]", inner)
    elif not isinstance(value, _SCALARS):
        raise InputInvalid(
            f"input {path!r} is a {type(value).__name__}; "
            "inputs are None, str, int, float, bool, and lists and dicts of these"
        )
