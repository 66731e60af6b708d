"""Braces in a crew's texts that look like placeholders and are not: what `check`, `plan` and `batch` warn about."""

import re
import shlex
from collections.abc import Collection, Iterator, Mapping
from difflib import get_close_matches
from typing import Any

from crewrun.crew.crew_definition import CrewDefinition
from crewrun.crew.process import task_name
from crewrun.errors import InputInvalid
from crewrun.templates import Template, alike, compile_template, find_key

# A text between braces that may be the name of a column, and not JSON or code.
_WORDS = re.compile(r"\s*\w[\w .&/#+%-]{0,99}")
_TITLE = re.compile(r"[^\W\d]\w*([ -]\w+)*")
_BRACE = re.compile(r"[{}]")
_OPENED = re.compile(r"\{+\s*(\w[\w-]*)")
_CLOSED = re.compile(r"([\w-]*\w)\s*\}\Z")
# How alike two names are where one is a typing error of the other. difflib's own 0.6 takes `name` for `frame`.
_SIMILARITY = 0.75


def names_in(crew: CrewDefinition, *, words_only: bool = False) -> frozenset[str]:
    """Every name in the crew's texts that an input may fill in, required or not; `words_only` leaves code out."""
    texts = [template.names | template.others for _, template in _templates(crew)]
    files = [file.placeholders for task in crew.tasks for file in task.input_files.values()]
    names = frozenset().union(*texts, *files)
    return frozenset(filter(_WORDS.fullmatch, names)) if words_only else names


def has_key(name: str, inputs: Mapping[str, Any]) -> bool:
    """Whether `inputs` have a key that fills in `{name}`, or several of which none is equal."""
    try:
        return find_key(name, inputs) is not None
    except InputInvalid:  # each row says so
        return True


def brace_warnings(crew: CrewDefinition, columns: Collection[str], constants: Collection[str]) -> list[str]:
    """Warnings about braces that are sent as they are, and probably should not be.

    `columns` are the keys of the rows, as far as they are known, `constants` those of inputs for all rows.
    """
    templates = list(_templates(crew))
    required = {name for _, template in templates for name in template.names}
    row, shared = dict.fromkeys(columns, ""), dict.fromkeys((*constants, *crew.default_inputs), "")
    inputs = {**shared, **row}
    forms = {alike(name): name for name in (*required, *inputs)}
    warnings = []
    for where, template in templates:
        warnings += [f"{where}: {fault}" for fault in _open_braces(template.text, forms)]
        warnings += [f"{where}: {fault}" for fault in _near_misses(template, inputs, forms, has_columns=bool(row))]
        warnings += [f"{where}: {fault}" for fault in _overridden(template, row, shared)]
    for where, text in _guardrails(crew):
        names = compile_template(text).names | compile_template(text).others
        for name in sorted(name for name in names if alike(name) in forms):
            warnings.append(f"{where}: {{{name}}} is sent as it is: guardrails are the same for all rows")
    return list(dict.fromkeys(warnings))


def _templates(crew: CrewDefinition) -> Iterator[tuple[str, Template]]:
    for position, task in enumerate(crew.tasks):
        for field, template in task.templates.items():
            yield f"tasks.{task_name(task, position)}.{field}", template
    for agent in dict.fromkeys([*crew.agents_at_work, *crew.agents]):
        for field, template in agent.templates.items():
            yield f"agents.{agent.name or agent.role.strip()}.{field}", template


def _guardrails(crew: CrewDefinition) -> Iterator[tuple[str, str]]:
    for position, task in enumerate(crew.tasks):
        texts = (guardrail for guardrail in task.all_guardrails if isinstance(guardrail, str))
        yield from ((f"tasks.{task_name(task, position)}.guardrail", text) for text in texts)
    for agent in crew.agents_at_work:
        if isinstance(agent.guardrail, str):
            yield f"agents.{agent.name or agent.role.strip()}.guardrail", agent.guardrail


def _near_misses(
    template: Template, inputs: Mapping[str, str], forms: Mapping[str, str], *, has_columns: bool
) -> Iterator[str]:
    """Texts in braces that nothing fills in, and that are nearly a name, or look like the title of a column."""
    for name in sorted(template.others):
        if not _WORDS.fullmatch(name) or has_key(name, inputs):
            continue
        near = get_close_matches(alike(name), list(forms), n=1, cutoff=_SIMILARITY)
        if "." in name and has_key(name.partition(".")[0], inputs):
            yield f"{{{name}}} is sent as it is: a field of an object is taken by --map NAME={name.strip()}"
        elif near:
            yield f"{{{name}}} is sent as it is: there is no such input; did you mean {{{forms[near[0]]}}}?"
        elif has_columns and _TITLE.fullmatch(name):
            yield f"{{{name}}} is sent as it is: the rows have no such column"


def _overridden(template: Template, row: Mapping[str, str], shared: Mapping[str, str]) -> Iterator[str]:
    """Names that an input for all rows fills in, though the rows have a column that is spelled differently."""
    for name in sorted(template.names | template.others):
        if name in row or name not in shared:
            continue
        columns = [column for column in row if alike(column) == alike(name)]
        if columns:
            yield (
                f"{{{name}}} is the input {name!r} for all rows, and not the rows' {columns[0]!r}; "
                f"--map {shlex.quote(f'{name}={columns[0]}')} takes that"
            )


def _open_braces(text: str, forms: Mapping[str, str]) -> Iterator[str]:
    """Braces of placeholders that are never closed, or never opened."""
    opened: list[int] = []
    for brace in _BRACE.finditer(text):
        if brace[0] == "{":
            opened.append(brace.start())
        elif opened:
            opened.pop()
        elif (word := _CLOSED.search(text, max(0, brace.start() - 100), brace.end())) and alike(word[1]) in forms:
            yield f"{word[0]!r} has no opening brace"
    for start in opened:
        if word := _OPENED.match(text, start):
            yield f"{word[0]!r} is never closed"
