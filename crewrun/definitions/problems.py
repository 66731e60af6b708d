"""What is wrong with a crew file, in plain words: a `Problem` per fault, with pydantic's errors translated.

`source` knows the lines, `spec` the keys.
"""

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from crewrun.errors import DefinitionError, suggest
from crewrun.redaction.redactor import redact

if TYPE_CHECKING:
    from pydantic_core import ErrorDetails

KeyPath = tuple[str | int, ...]

LAST_COUNTS = "the last one counts"

# Enough to see what to change, in a message that still fits a terminal.
_MAX_PROBLEMS = 20
_MAX_SHOWN_CHARS = 60
_MAX_NAMES = 12
_SECRET = frozenset({"api_key", "extra_headers", "extra_body", "extra_query", "env", "headers"})
_PLAIN_NAME = re.compile(r"[\w-]+")

# By pydantic's error types (https://docs.pydantic.dev/latest/errors/validation_errors/) and those of `spec` and
# `value_types`. Missing and unknown keys need the place to describe: `validation` and `keys` do that.
_WORDS = {
    "string_type": "needs text, not {value}{quote}",
    "blank": "must not be empty",
    "bool_type": "needs true or false, not {value}",
    "bool_parsing": "needs true or false, not {value}",
    "int_type": "needs a whole number, not {value}",
    "int_parsing": "needs a whole number, not {value}",
    "int_from_float": "needs a whole number, not {value}",
    "float_type": "needs a number, not {value}",
    "float_parsing": "needs a number, not {value}",
    "finite_number": "needs a number of ordinary size, not {value}",
    "greater_than": "needs to be more than {gt:g}, not {value}",
    "greater_than_equal": "needs to be at least {ge:g}, not {value}",
    "literal_error": "needs to be {expected}, not {value}{near}",
    "list_type": "needs a list, not {value}",
    "dict_type": "needs a mapping of names to values, not {value}",
    "model_type": "needs a mapping of names to values, not {value}",
    "too_short": "is empty; at least one is needed",
    "value_error": "{error}, not {value}",
    "shape": "needs {msg}, not {value}",
    "reference": "is not a reference to an environment variable; write ${{NAME}}",
    "no_reference": "{text} is not a reference to an environment variable; write ${{NAME}}, or $${{…}} for that text",
    "reserved": "{name!r} is a key of the llm itself; write it beside additional_params",
    "name": "{why}",
    "human_input": "needs a person to answer, and crewrun runs unattended; remove it",
}


@dataclass(frozen=True, slots=True)
class Problem:
    """One fault: its file, its line (None for the file as a whole), its path in the data, and what to do."""

    file: str
    line: int | None
    path: KeyPath
    message: str

    def __str__(self) -> str:
        """The line of the error message, `crew.yaml:14: tasks.draft.agent: …`."""
        place = self.file if self.line is None else f"{self.file}:{self.line}"
        return ": ".join(part for part in (place, dotted(self.path), self.message) if part)


@dataclass(frozen=True, slots=True)
class Value:
    """A faulty value as messages show it: secrets are not. `written` is its spelling in the file unless it is text."""

    path: KeyPath
    content: Any
    written: str | None = None

    def __str__(self) -> str:
        if not _SECRET.isdisjoint(self.path):
            return "this value"
        match self.content:
            case None:
                return "an empty value"
            case dict():
                return "a mapping"
            case list():
                return "a list"
            case str():
                return repr(_cut(redact(self.content)))
        return _cut(redact(self.written or str(self.content)))


def with_advice(problems: Iterable[Problem], advice: str) -> list[Problem]:
    """The same `problems`, with `advice` after each message."""
    return [replace(problem, message=f"{problem.message}; {advice}") for problem in problems]


def failure(file: str, problems: Iterable[Problem]) -> DefinitionError:
    """The error that lists up to `_MAX_PROBLEMS` problems by file and line, those of the definition's `file` first."""
    lines = [str(p) for p in sorted(problems, key=lambda p: (p.file != file, p.file, p.line or 0))]
    if len(lines) > _MAX_PROBLEMS:
        lines[_MAX_PROBLEMS:] = [f"{file}: and {len(lines) - _MAX_PROBLEMS} more problems"]
    return DefinitionError("\n".join(lines))


def explain(error: "ErrorDetails", value: Value) -> str:
    """What pydantic's `error` says about `value`, in words for the author of the file."""
    details = {"quote": _quoting(value), "near": "", "msg": error["msg"], **error.get("ctx", {})}
    if error["type"] == "literal_error" and isinstance(value.content, str):
        details["near"] = suggest(value.content, re.findall(r"'([^']+)'", str(details["expected"])))
    return _WORDS.get(error["type"], "{value} is not accepted here").format_map({**details, "value": value})


def listed(names: Sequence[str]) -> str:
    """`'a', 'b'`, and how many more there are."""
    text = ", ".join(repr(_cut(name)) for name in names[:_MAX_NAMES])
    return text if len(names) <= _MAX_NAMES else f"{text} and {len(names) - _MAX_NAMES} more"


def repeated(lines: Sequence[int]) -> str:
    """The message for a key that is on all of these `lines` already."""
    before = " and ".join(map(str, lines))
    return f"this key is on line{'s' if lines[1:] else ''} {before} already"


def missing(noun: str, needed: Sequence[str]) -> str:
    """The message for a key that `noun` must have and does not."""
    *others, last = needed
    return f"is missing; {noun} needs {', '.join(others)}{' and ' if others else ''}{last}"


def dotted(path: KeyPath) -> str:
    """`path` as `tasks[1].agent`. A key that is not a plain word is quoted."""
    text = ""
    for key in path:
        if isinstance(key, int):
            text += f"[{key}]"
        else:
            text += ("." if text else "") + (key if _PLAIN_NAME.fullmatch(key) else repr(_cut(key)))
    return text


def _quoting(value: Value) -> str:
    """The advice to put a text into quotes where YAML read something else."""
    content = value.content
    if isinstance(content, dict) and list(content.values()) == [None] and (key := next(iter(content))).isprintable():
        return f'; a text that starts with a brace needs quotes: "{{{_cut(key)}}}"'
    if isinstance(content, bool | int | float) and _SECRET.isdisjoint(value.path):
        return f'; put it in quotes: "{value}"'
    return ""


def _cut(text: str) -> str:
    return text if len(text) <= _MAX_SHOWN_CHARS else text[: _MAX_SHOWN_CHARS - 1] + "…"
