"""Inputs on the command line, for one kickoff or for all rows: `-i NAME=VALUE`, `-i @FILE`, `--inputs JSON`."""

import codecs
import json
import os
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

# Between two pairs NAME=COLUMN, whose columns may have blanks.
_PAIRS = re.compile(r"\s+(?=\S+=)")


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


def read_columns(columns: Sequence[str] | None) -> list[str] | None:
    """The names in `--columns a,b`, which may be repeated; None without the flag. Raises UsageError."""
    from crewrun.tables.writing.column_names import parse_columns, split_names

    if not columns:
        return None
    texts = [os.environ["CREWRUN_COLUMNS"]] if _is_from("CREWRUN_COLUMNS", columns) else columns
    return parse_columns([name for text in texts for name in split_names(text)])


def read_fields(columns: Sequence[str] | None, fields: Sequence[str] | None) -> dict[str, Any]:
    """The values of `--map` and `--fields` for the settings; None for a flag that is not there. Raises UsageError."""
    from crewrun.batch.field_flags import column_map, field_names

    # In a variable of the environment, Typer takes each word for a value of its own, and a column's name may have two.
    pairs = _PAIRS.split(os.environ["CREWRUN_MAP"].strip()) if _is_from("CREWRUN_MAP", columns) else columns
    texts = [os.environ["CREWRUN_FIELDS"]] if _is_from("CREWRUN_FIELDS", fields) else fields
    return {"map": column_map(pairs) if pairs else None, "fields": field_names(texts) if texts else None}


def _is_from(variable: str, values: Sequence[str] | None) -> bool:
    return bool(values) and os.environ.get(variable, "").split() == list(values or ())


def _object(flag: str, text: str) -> dict[str, Any]:
    """A JSON object, from the text itself or from the file that `@FILE` names."""
    from crewrun.errors import UsageError
    from crewrun.tables.reading.json_object import parse_object

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
