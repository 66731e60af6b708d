"""Defaults for the flags of every crew in a project: crewrun.toml, or `[tool.crewrun]` of pyproject.toml.

`find_defaults` reads the nearest of them, from the working directory upwards, and no other: a crewrun.toml, or a
pyproject.toml that has the table (others are passed by, as ruff does). Keys are those of the crew file's `batch:`, and
`crew`. The crew file's own values come before them, then flags and variables.
"""

import codecs
import os
import re
import stat
import tomllib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import date, datetime, time
from typing import Any

from pydantic import ValidationError

from crewrun.batch_flags import batch_flags
from crewrun.definitions.batch_section import needed_at
from crewrun.definitions.definition import Definition
from crewrun.definitions.problems import KeyPath, Problem, Value, explain, failure, listed
from crewrun.definitions.spec import BatchSpec
from crewrun.definitions.value_types import TAG
from crewrun.errors import DefinitionError, UsageError, suggest

OWN_FILE, SHARED_FILE = "crewrun.toml", "pyproject.toml"
_TABLE = ("tool", "crewrun")
_ENGINES = ("crewrun", "crewai")
# What stands for the value of a flag that is a path; these are relative to the project file.
_PATHS = frozenset({"FILE", "DIR"})
_HEADER = re.compile(r"\s*\[\[?[^\[\]]+\]\]?\s*(?:#.*)?")
_KEY = re.compile(r"\s*([^=#]+?)\s*=")


@dataclass(frozen=True, slots=True)
class ProjectDefaults:
    """What a project file sets. `path` is the file as messages name it, None without a file; `batch` has values as
    `Definition.batch` has them, `crew` is a crew as --crew takes it.
    """

    path: str | None = None
    batch: Mapping[str, Any] = field(default_factory=dict)
    crew: str | None = None
    warnings: Sequence[str] = ()

    @property
    def engine(self) -> str:
        """Whose classes `crewai` means."""
        return str(self.batch.get("engine", "crewrun"))

    def under(self, definition: Definition) -> Definition:
        """`definition`, whose file's `batch:` comes before these defaults."""
        if self.path is None:
            return definition
        own, batch = definition.batch, dict(self.batch)
        if own.keys() & {"max_failures", "fail_fast"}:  # both set the same limit
            batch.pop("max_failures", None)
            batch.pop("fail_fast", None)
        batch |= own
        if "input" in batch:
            batch["input"] = {**self.batch.get("input", {}), **own.get("input", {})}
        return replace(definition, batch=batch, defaults=self.path)


def find_defaults() -> ProjectDefaults:
    """The defaults of the project around the working directory; empty ones where no file sets any.

    Raises DefinitionError with a line per mistake, `crewrun.toml:3: limit: …`, and UsageError for a file that cannot be
    read.
    """
    try:
        folder = os.getcwd()
    except FileNotFoundError:  # it was deleted
        return ProjectDefaults()
    while True:
        own, shared = os.path.join(folder, OWN_FILE), os.path.join(folder, SHARED_FILE)
        if _is_trusted(own) and os.path.isfile(own):
            ignored = [f"{_shown(shared)}: [tool.crewrun] has no effect beside {OWN_FILE}"] if _table(shared) else []
            return replace(_read(own, (), _parsed(own)), warnings=ignored)
        table = _table(shared) if _is_trusted(shared) else None
        if table is not None:
            return _read(shared, _TABLE, table)
        parent = os.path.dirname(folder)
        if parent == folder:
            return ProjectDefaults()
        folder = parent


def _is_trusted(file: str) -> bool:
    """Whether it is not another user's in a folder such as /tmp, where anyone may leave one: it names commands."""
    try:
        owner, folder = os.stat(file).st_uid, os.stat(os.path.dirname(file))
    except OSError:
        return False
    return owner in (0, os.geteuid(), folder.st_uid) or not folder.st_mode & stat.S_IWOTH


def _table(file: str) -> Any:
    """`[tool.crewrun]` of a pyproject.toml, None if it has none. One that does not name us need not be valid TOML."""
    try:
        with open(file, "rb") as opened:
            if b"crewrun" not in opened.read():
                return None
    except OSError:
        return None
    tool = _parsed(file).get("tool")
    return tool.get("crewrun") if isinstance(tool, dict) else None


def _parsed(file: str) -> dict[str, Any]:
    try:
        with open(file, "rb") as opened:
            return tomllib.loads(opened.read().removeprefix(codecs.BOM_UTF8).decode())
    except OSError as refused:
        raise UsageError(f"{_shown(file)}: cannot be read: {refused.strerror}") from None
    except UnicodeDecodeError as wrong:
        raise UsageError(f"{_shown(file)}: is not UTF-8 (byte {wrong.start + 1})") from None
    except (ValueError, RecursionError) as wrong:
        raise UsageError(f"{_shown(file)}: is not valid TOML: {wrong}") from None


def _read(file: str, prefix: KeyPath, table: Any) -> ProjectDefaults:
    """The defaults in `table`, which is at `prefix` of the file."""
    if not isinstance(table, dict):
        raise DefinitionError(f"{_shown(file)}: {'.'.join(map(str, prefix))}: needs to be a table of flags' defaults")
    problems = list(_problems(file, prefix, table))
    if problems:
        raise failure(_shown(file), problems)
    values = {_name(key): _plain(value) for key, value in table.items()}
    crew, engine = values.pop("crew", None), values.pop("engine", None)
    batch = BatchSpec.model_validate(values, strict=True).model_dump(exclude_none=True)
    folder = os.path.dirname(file)
    for name in batch.keys() & {name for name, one in batch_flags().items() if one.flag.metavar in _PATHS}:
        batch[name] = _from_here(batch[name], folder)
    if engine is not None:
        batch["engine"] = engine
    return ProjectDefaults(_shown(file), batch, crew and _from_here(crew, folder))


def _problems(file: str, prefix: KeyPath, table: Mapping[str, Any]) -> Iterator[Problem]:
    names = ["crew", *batch_flags()]
    values: dict[str, Any] = {}
    spelled: dict[str | int, str] = {}

    def problem(path: KeyPath, message: str) -> Problem:
        return Problem(_shown(file), _line(file, (*prefix, *path)), (*prefix, *path), message)

    for key, value in table.items():
        name = _name(key)
        if name not in names:
            near = _misplaced(key, value) or suggest(name, names) or f"; the keys are {listed(names)}"
            yield problem((key,), f"unknown key {key!r}{near}")
        elif name in values:
            yield problem((key,), f"this key is there already, as {spelled[name]!r}")
        else:
            values[name], spelled[name] = _plain(value), key
    for name, words in (("crew", None), ("engine", _ENGINES)):
        value = values.pop(name, "crewrun")
        if not isinstance(value, str) or not value.strip() or (words and value not in words):
            needed = f"to be {' or '.join(map(repr, words))}" if words else "the file, folder or module:attr of a crew"
            yield problem((spelled[name],), f"needs {needed}, not {_written((name,), value)}")
    try:
        BatchSpec.model_validate(values, strict=True)
    except ValidationError as invalid:
        for error in invalid.errors(include_url=False):
            path = tuple(key for key in error["loc"] if not (isinstance(key, str) and key.startswith(TAG)))
            needs, shown = needed_at(path), _written(path, error["input"])
            message = explain(error, shown) if needs is None else f"needs to be {needs}, not {shown}"
            yield problem((spelled[path[0]], *path[1:]), message)


def _misplaced(key: str, value: Any) -> str | None:
    """What to do with a table that would be right in pyproject.toml or in a crew file."""
    if isinstance(value, dict) and key in ("tool", "batch", "crewrun"):
        return (
            "; the keys of flags stand at the top, in no table" if key != "batch" else "; its keys stand one level up"
        )
    return None


def _name(key: str) -> str:
    return key.replace("-", "_")


def _plain(value: Any) -> Any:
    """TOML's dates and times as text, which is how flags have them."""
    return value.isoformat() if isinstance(value, datetime | date | time) else value


def _written(path: KeyPath, value: Any) -> Value:
    return Value(path, value, str(value).lower() if isinstance(value, bool) else None)


def _from_here(path: str, folder: str) -> str:
    """A path of the file, relative to its folder, as it is from the working directory. `-` and modules stay."""
    is_module = ":" in path and not os.path.exists(os.path.join(folder, path.rpartition(":")[0]))
    if path == "-" or os.path.isabs(path) or is_module or folder == os.getcwd():
        return path
    return os.path.relpath(os.path.join(folder, path))


def _shown(file: str) -> str:
    return os.path.relpath(file)


def _line(file: str, path: KeyPath) -> int | None:
    """The line of the key at `path`, or of the nearest one around it; only looked for when something is wrong."""
    lines: dict[KeyPath, int] = {}
    table: KeyPath = ()
    with open(file, encoding="utf-8-sig") as opened:
        for number, line in enumerate(opened, 1):
            if _HEADER.fullmatch(line.rstrip("\n")):
                table = place = _path_of(f"{line.partition(']')[0].replace('[[', '[')}]")
            elif key := _KEY.match(line):
                place = (*table, *_path_of(f"{key[1]} = 0"))
            else:
                continue
            for size in range(len(place), 0, -1):  # a table is where its first key is
                lines.setdefault(place[:size], number)
    return next((lines[path[:size]] for size in range(len(path), 0, -1) if path[:size] in lines), None)


def _path_of(line: str) -> KeyPath:
    """The path of the one table or key in `line`; () for what only looks like one, as in a text of several lines."""
    try:
        data: Any = tomllib.loads(line)
    except tomllib.TOMLDecodeError:
        return ()
    path: KeyPath = ()
    while isinstance(data, dict) and data:
        ((key, data),) = data.items()
        path = (*path, key)
    return path
