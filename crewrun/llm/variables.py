"""References to environment variables in a model's settings: `${NAME}` anywhere in a text.

A whole value may also be `$NAME`, or litellm's `os.environ/NAME`. `$${NAME}` and a whole `$$NAME` stand for the text
with a single dollar. Definitions and records keep the reference; its value is looked up when an endpoint is resolved.
"""

import re
from collections.abc import Mapping
from typing import Any

from crewrun.errors import UsageError

_WHOLE = re.compile(r"\s*(?:\$([A-Za-z_]\w*)|os\.environ/([A-Za-z_]\w*))\s*")
_ESCAPED_WHOLE = re.compile(r"\s*\$(\$[A-Za-z_]\w*)\s*")
# Anything with a name after the brace is meant as a reference, even `${HOST:-localhost}` and `${MY-KEY}`.
_PART = re.compile(r"(\$)?\$\{([A-Za-z_][^{}]*)\}")
_NAME = re.compile(r"[A-Za-z_]\w*")


def is_reference(value: object) -> bool:
    """Whether `value` is a text with a reference to look up, or with an escaped dollar to unescape."""
    return isinstance(value, str) and bool(_PART.search(value) or _WHOLE.fullmatch(value) or _is_escaped(value))


def has_references(value: object) -> bool:
    """Whether `value`, or anything inside it, is a reference."""
    if isinstance(value, Mapping):
        return any(has_references(inner) for inner in value.values())
    if isinstance(value, list | tuple):
        return any(has_references(inner) for inner in value)
    return is_reference(value)


def malformed(value: object) -> str | None:
    """The first text in `value` that looks like a reference but is not a valid one, such as `${HOST:-localhost}`."""
    if isinstance(value, Mapping | list | tuple):
        inner = value.values() if isinstance(value, Mapping) else value
        return next((wrong for one in inner if (wrong := malformed(one)) is not None), None)
    references = _PART.finditer(value) if isinstance(value, str) else ()
    return next((one[0] for one in references if not one[1] and not _NAME.fullmatch(one[2])), None)


class Variables:
    """Looks up references. `values` collects the values found, each once, for redaction."""

    def __init__(self, env: Mapping[str, str], whose: str) -> None:
        """`whose` starts the error messages, such as `model 'gpt-4o'`."""
        self.values: list[str] = []
        self._env = env
        self._whose = whose

    def fill(self, value: Any, place: str) -> Any:
        """`value` with references replaced by the variables' values, also inside mappings and lists.

        `place` is for error messages. Raises UsageError for a variable that is not set.
        """
        if isinstance(value, Mapping):
            return {name: self.fill(inner, f"{place}.{name}") for name, inner in value.items()}
        if isinstance(value, list | tuple):
            return [self.fill(inner, f"{place}[{i}]") for i, inner in enumerate(value)]
        if not isinstance(value, str):
            return value
        if whole := _WHOLE.fullmatch(value):
            return self._value(whole[1] or whole[2], place)
        if escaped := _ESCAPED_WHOLE.fullmatch(value):
            return escaped[1]
        return _PART.sub(
            lambda reference: reference[0][1:] if reference[1] else self._value(reference[2], place), value
        )

    def _value(self, name: str, place: str) -> str:
        if not _NAME.fullmatch(name):
            raise UsageError(
                f"{self._whose}: its {place} has ${{{name}}}, which is not a valid reference: write ${{NAME}}, "
                "or $${…} for the text itself"
            )
        value = self._env.get(name, "").strip()
        if not value:
            raise UsageError(
                f"{self._whose}: its {place} refers to ${name}, which is not set; export it or put it into .env"
            )
        if value not in self.values:
            self.values.append(value)
        return value


def _is_escaped(text: str) -> bool:
    return _ESCAPED_WHOLE.fullmatch(text) is not None
