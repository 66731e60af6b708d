"""References to environment variables in what a user says of a model: `${NAME}` anywhere in a text.

A whole value may also be `$NAME`, or litellm's `os.environ/NAME`. `$${NAME}` and a whole `$$NAME` are that text, with
one dollar. Definitions and records keep the reference; its value is looked up when an endpoint is resolved.
"""

import re
from collections.abc import Mapping
from typing import Any

from crewrun.errors import UsageError

_WHOLE = re.compile(r"\s*(?:\$([A-Za-z_]\w*)|os\.environ/([A-Za-z_]\w*))\s*")
_ESCAPED_WHOLE = re.compile(r"\s*\$(\$[A-Za-z_]\w*)\s*")
# What has a name behind the brace is meant as a reference, `${HOST:-localhost}` and `${MY-KEY}` too.
_PART = re.compile(r"(\$)?\$\{([A-Za-z_][^{}]*)\}")
_NAME = re.compile(r"[A-Za-z_]\w*")


def is_reference(value: object) -> bool:
    """Whether `value` is a text in which something is to be looked up, or an escaped dollar to be taken away."""
    return isinstance(value, str) and bool(_PART.search(value) or _WHOLE.fullmatch(value) or _is_escaped(value))


def has_references(value: object) -> bool:
    """Whether `value`, or anything in it, is one."""
    if isinstance(value, Mapping):
        return any(has_references(inner) for inner in value.values())
    if isinstance(value, list | tuple):
        return any(has_references(inner) for inner in value)
    return is_reference(value)


def malformed(value: object) -> str | None:
    """The first text in `value` that looks like a reference and is none, such as `${HOST:-localhost}`."""
    if isinstance(value, Mapping | list | tuple):
        inner = value.values() if isinstance(value, Mapping) else value
        return next((wrong for one in inner if (wrong := malformed(one)) is not None), None)
    found = _PART.finditer(value) if isinstance(value, str) else ()
    return next((one[0] for one in found if not one[1] and not _NAME.fullmatch(one[2])), None)


class Variables:
    """Looks references up. `values` are what the variables held, each once: candidates for a redactor."""

    def __init__(self, env: Mapping[str, str], whose: str) -> None:
        """`whose` begins the messages, such as `model 'gpt-4o'`."""
        self.values: list[str] = []
        self._env = env
        self._whose = whose

    def fill(self, value: Any, place: str) -> Any:
        """`value` with the variables' values, texts in mappings and lists too; `place` is for messages.

        Raises UsageError for a variable that is not set.
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
        return _PART.sub(lambda found: found[0][1:] if found[1] else self._value(found[2], place), value)

    def _value(self, name: str, place: str) -> str:
        if not _NAME.fullmatch(name):
            raise UsageError(
                f"{self._whose}: its {place} has ${{{name}}}, which is no reference: write ${{NAME}}, "
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
