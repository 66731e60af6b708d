"""What `--map` and `--fields` say, from the command line, the environment, a crew file or a manifest."""

from collections.abc import Mapping, Sequence
from typing import Any

from crewrun.errors import UsageError
from crewrun.tables.writing.column_names import split_names


def column_map(raw: Any) -> dict[str, str]:
    """The column of each placeholder: from a mapping, or from texts NAME=COLUMN. Raises UsageError."""
    if isinstance(raw, Mapping):
        pairs = [(str(name), str(column)) for name, column in raw.items()]
    else:
        pairs = [_pair(text) for text in ([raw] if isinstance(raw, str) else raw)]
    columns: dict[str, str] = {}
    for written, column in pairs:
        name = written.strip().removeprefix("{").removesuffix("}").strip()
        if not name or not column.strip():
            raise UsageError(f"--map {name}={column}: needs a placeholder and a column, as in --map topic=Subject")
        if columns.get(name, column) != column:
            raise UsageError(f"--map {name}={column}: {{{name}}} is filled from {columns[name]!r} already; keep one")
        columns[name] = column
    return columns


def field_names(raw: str | Sequence[str] | None) -> list[str] | None:
    """The columns of `--fields a,b`, each once; None for all. Raises UsageError.

    A name that has a comma is written in quotes, as in a CSV. In a list, each text is `a,b` again.
    """
    if raw is None:
        return None
    texts = [raw] if isinstance(raw, str) else raw
    names = [name for text in texts for name in split_names(text)]
    if not names or not all(names):
        raise UsageError(
            "--fields is empty; it needs names of columns with commas between them, as in --fields id,text"
        )
    return list(dict.fromkeys(names))


def _pair(text: str) -> tuple[str, str]:
    name, equals, column = text.partition("=")
    if not equals:
        what = f"--map {text!r}: needs to be" if text.strip() else "--map is empty; it needs to be"
        raise UsageError(f"{what} PLACEHOLDER=COLUMN, as in --map topic=Subject")
    return name, column
