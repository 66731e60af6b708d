"""Inputs on the command line, for one kickoff or for all rows: `-i NAME=VALUE`, `-i @FILE`, `--inputs JSON`."""

import codecs
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any


def read_inputs(pairs: Sequence[str], whole: str | None = None) -> dict[str, Any]:
    """The inputs of `--inputs`, overridden by each `-i` in turn. Raises UsageError."""
    from crewrun.errors import UsageError

    values = {} if whole is None else _object("--inputs", whole)
    for pair in pairs:
        if pair.startswith("@"):
            values |= _object("-i", pair)
            continue
        name, equals, value = pair.partition("=")
        if not equals or not name:
            raise UsageError(f"-i {pair!r}: write NAME=VALUE, as in -i topic=AI, or @FILE that holds a JSON object")
        values[name] = value
    return values


def _object(flag: str, text: str) -> dict[str, Any]:
    """A JSON object, from the text itself or from the file that `@FILE` names."""
    from crewrun.errors import UsageError
    from crewrun.tables.json_object import parse_object

    try:
        content = Path(text[1:]).read_bytes() if text.startswith("@") else text.encode("utf-8", "surrogateescape")
    except OSError as refused:
        raise UsageError(f"{flag} {text}: cannot be read: {refused.strerror}") from None
    content = content.removeprefix(codecs.BOM_UTF8)
    inputs, problem = parse_object(content)
    if inputs is None:
        raise UsageError(f"{flag} {text[:80]}: {_line(content)}{problem}")
    return inputs


def _line(content: bytes) -> str:
    """`line 2: ` for an error in JSON of several lines."""
    try:
        json.loads(content)
    except json.JSONDecodeError as wrong:
        return f"line {wrong.lineno}: " if b"\n" in content.strip() else ""
    except (ValueError, RecursionError):
        return ""
    return ""
