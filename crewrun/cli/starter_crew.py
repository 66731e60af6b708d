"""`starter_crew`: the crew.yaml that `crewrun init --from` writes for the rows of a table."""

import json
import re
import shlex
from collections.abc import Iterator, Mapping, Sequence, Set
from dataclasses import dataclass, field
from textwrap import wrap
from typing import Any, Final, NamedTuple

from crewrun.errors import InputInvalid
from crewrun.templates import alike, compile_template, find_key

# A prompt with more fields is of no use to anybody; the others are listed in a comment.
_MOST_COLUMNS = 60
_LONGEST_NAME = 80
_AS_COMMENT: Final[Mapping[str, Any]] = {
    "initial_indent": "# ",
    "subsequent_indent": "#   ",
    "break_long_words": False,
}

_TEXT = """\
# Written by `crewrun init --from {name}`.
# This crew runs once for each row of the table. {example} is filled in from the column of that name.
# Say below what should be done with each row. `crewrun help crews` explains this file.

agents:
  analyst:
    role: Analyst
    goal: Say what matters in each row
    backstory: You read every field and invent nothing.
    # llm: gpt-4.1-mini          # or ollama/llama3.2, anthropic/…; without it the MODEL variable decides

tasks:
  summary:
    agent: analyst
    description: |
      Say in one sentence what this row of a table is about.

{lines}
    expected_output: One sentence.
"""


@dataclass(frozen=True, slots=True)
class Table:
    """What is known of a table: its name, its columns, its first rows, and the settings of `batch:` that read it.

    `settings["map"]` has columns by the placeholders that they are to fill.
    """

    name: str
    columns: Sequence[str]
    rows: Sequence[Mapping[str, Any]]
    settings: Mapping[str, Any] = field(default_factory=dict)


class _Line(NamedTuple):
    """A column in the prompt: a label without braces, and the placeholder for its value."""

    column: str
    label: str
    placeholder: str


def starter_crew(table: Table) -> str:
    """The text of a crew.yaml whose prompt has the table's columns.

    Columns that not all rows have get empty defaults. A column whose name cannot stand between braces gets another
    name, by `map`.
    """
    chosen = _chosen(table)
    own = {name: _whole_name(column, table.columns) for name, column in table.settings.get("map", {}).items()}
    optional = {name for name in chosen if any(name not in row for row in table.rows)}
    lines = [*_lines(table.columns, chosen, own, optional), *_further(own, chosen)]
    columns = {line.placeholder: line.column for line in lines if find_key(line.placeholder, {line.column: 0}) is None}
    left_out = [_label(column) for column in table.columns if column not in {line.column for line in lines}]
    text = _TEXT.format(
        name=_label(shlex.quote(table.name)),
        example=f"{{{lines[0].placeholder}}}" if lines else "{column}",
        lines="\n".join(f"      {line.label}: {{{line.placeholder}}}" for line in lines),
    )
    if left_out:
        names = [*left_out[:_MOST_COLUMNS], *(["…"] if len(left_out) > _MOST_COLUMNS else [])]
        text += "\n" + "\n".join(wrap(f"Further columns: {', '.join(names)}", 116, **_AS_COMMENT)) + "\n"
    if defaults := [line.column for line in lines if line.column in optional and line.placeholder not in own]:
        text += "\ninputs:                          # where a row has no such field\n"
        text += "".join(f'  {_quoted(name)}: ""\n' for name in defaults)
    settings = {**table.settings, **({"map": own | columns} if own or columns else {})}
    return text + _section("batch", settings)


def _chosen(table: Table) -> list[str]:
    """The columns for the prompt: all that the user has chosen and that can be written, first those with values."""
    fields = table.settings.get("fields")
    columns = [name for name in table.columns if _can_be_written(name) and (fields is None or _is_one_of(name, fields))]
    if len(columns) <= _MOST_COLUMNS:
        return columns
    filled = {name for row in table.rows for name, value in row.items() if value not in (None, "")}
    best = sorted(columns, key=lambda name: name not in filled)[:_MOST_COLUMNS]
    return [name for name in columns if name in best]


def _is_one_of(name: str, fields: Sequence[str]) -> bool:
    return any(find_key(one, {name: 0}) is not None for one in fields)


def _can_be_written(name: str) -> bool:
    return bool(name.strip()) and not any("\ud800" <= character <= "\udfff" for character in name)


def _whole_name(column: str, columns: Sequence[str]) -> str:
    """The column as the table spells it; unchanged where it is the field of an object."""
    return next((name for name in [column, *columns] if name in columns and alike(name) == alike(column)), column)


def _further(own: Mapping[str, str], chosen: Sequence[str]) -> Iterator[_Line]:
    """What the user's own placeholders are filled from, where that is not a chosen column."""
    seen = set(chosen)
    for name, column in own.items():
        if column not in seen:
            yield _Line(column, _label(column), name)


def _lines(
    columns: Sequence[str], chosen: Sequence[str], own: Mapping[str, str], optional: Set[str]
) -> Iterator[_Line]:
    """The lines of the chosen columns, without those that not all rows have and that would need `map`."""
    row = dict.fromkeys(columns, 0)
    taken, renamed = set(own), {column: name for name, column in own.items()}
    for column in chosen:
        label = _label(column)
        placeholder = renamed.get(column) or (label if _fills(label, column, row) and label not in taken else None)
        if placeholder is None and column in optional:
            continue
        if placeholder is None:
            placeholder = _identifier(label, row, taken)
        taken.add(placeholder)
        yield _Line(column, label, placeholder)


def _fills(label: str, column: str, row: Mapping[str, int]) -> bool:
    """Whether `{label}` is a placeholder that this column fills, and no other."""
    template = compile_template(f"{{{label}}}", doubled=True)
    if len(label) > _LONGEST_NAME or template.names | template.others != {label}:
        return False
    try:
        return find_key(label, row) == column
    except InputInvalid:
        return False


def _identifier(label: str, row: Mapping[str, int], taken: set[str]) -> str:
    """A placeholder that no column fills, made of the words of `label`."""
    words = re.sub(r"[^A-Za-z0-9]+", "_", label).strip("_")[:_LONGEST_NAME]
    name = words if words[:1].isalpha() else f"column_{words}".rstrip("_")
    number = 1
    while True:
        candidate = name if number == 1 else f"{name}_{number}"
        number += 1
        try:
            if candidate not in taken and find_key(candidate, row) is None:
                return candidate
        except InputInvalid:
            continue


def _label(name: str) -> str:
    """A name as one line of visible text without braces."""
    words = " ".join(name.split()).replace("{", "(").replace("}", ")")
    return "".join(character if character.isprintable() else "?" for character in words)


def _section(name: str, settings: Mapping[str, Any]) -> str:
    if not settings:
        return ""
    return f"\n{name}:\n" + "".join(f"  {key}: {_quoted(value)}\n" for key, value in settings.items())


def _quoted(value: Any) -> str:
    """A text, list or mapping as JSON, which is YAML too, apart from characters that YAML wants escaped."""
    text = json.dumps(value, ensure_ascii=False)
    return "".join(character if character.isprintable() else f"\\U{ord(character):08x}" for character in text)
