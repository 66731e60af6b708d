"""Placeholders in prompts: `{topic}`, parsed once per text and filled in once per row.

CrewAI's names, a letter or underscore and then letters, digits, underscores and hyphens, must have a value. Any other
text in braces, such as `{Ticket ID}`, is filled in if the inputs have a key for it, else it stays as it is. `find_key`
says which key that is. Values are never templates: rendering is a single pass, so a value with `{other}` in it stays
as it is.

In crew.yaml doubled braces stand for single ones, as in Python's f-strings: `{{topic}}` is the text `{topic}`. In
CrewAI's formats the outer braces are plain text there, and `{topic}` inside them is filled in.
"""

import re
import shlex
from collections.abc import Mapping
from functools import lru_cache
from typing import Any, NamedTuple
from unicodedata import normalize

from crewrun.errors import InputInvalid, nearest

# A longer text in braces is no column's name: those of forms are whole questions, of a few hundred characters.
_BRACES = re.compile(r"\{([^{}]{1,1000})\}")
_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_\-]*")
_SCALARS = (str, int, float, bool, type(None))
# Blanks, underscores and hyphens; also those that nobody sees in a table's header: the soft and the non-breaking
# hyphen, the blank without a width, the byte order mark.
_IGNORED = re.compile("[\\s_\u00ad\u200b\u2010\u2011\ufeff-]+")


class _Optional(NamedTuple):
    """Braces that are filled in only if the inputs have a key for `name`: part `position` of the text.

    `lead` and `tail` are the braces around the value that doubled ones stand for. Without `fills`, `name` itself is
    between them.
    """

    position: int
    name: str
    lead: str = ""
    tail: str = ""
    fills: bool = True


class _Keys(NamedTuple):
    """The keys of `inputs` that fill in a text: those of required names, None for a missing one, and of others."""

    inputs: tuple[str, ...]
    required: list[str | None]
    optional: list[tuple[_Optional, str]]


class Template:
    """A text split at its placeholders. Get one from `compile_template`, which caches it.

    `names` must have a value. `others` are texts in braces that are filled in if the inputs have a key for them.
    """

    __slots__ = ("_latest", "_optional", "_parts", "_required", "names", "others", "text", "unfilled")

    def __init__(self, text: str, doubled: bool = False) -> None:
        self.text = text
        self._parts: list[str] = []
        self._required: list[tuple[int, str]] = []
        self._optional: list[_Optional] = []
        # What the keys of the latest inputs fill in: those of a table are the same in every row.
        self._latest: _Keys | None = None
        self._parse(doubled)
        self.names = frozenset(name for _, name in self._required)
        self.others = frozenset(slot.name for slot in self._optional if slot.fills)
        self.unfilled = "".join(self._parts)
        """The text without inputs."""

    @property
    def varies(self) -> bool:
        """Whether the text may depend on the inputs."""
        return bool(self._required or self._optional)

    def render(self, inputs: Mapping[str, Any], field: str) -> str:
        """Fill in every placeholder; `field` names this text in the error, as in `tasks.draft.description`.

        Raises InputInvalid when `inputs` lack a name, or have two keys that are alike for one.
        """
        if not self.varies:
            return self.unfilled
        parts = self._parts.copy()
        try:
            for position, name in self._required:
                parts[position] = str(inputs[name])
        except KeyError:
            self._fill_alike(parts, inputs, field)
        if self._optional:
            for slot, key in self._keys(inputs, field).optional:
                parts[slot.position] = f"{slot.lead}{inputs[key] if slot.fills else slot.name}{slot.tail}"
        return "".join(parts)

    def keys(self, inputs: Mapping[str, Any]) -> list[str]:
        """The keys of `inputs` whose values `render` fills in. Raises InputInvalid as it does."""
        keys = self._keys(inputs, "text")
        required = (name if key is None else key for (_, name), key in zip(self._required, keys.required, strict=True))
        return list(dict.fromkeys((*required, *(key for slot, key in keys.optional if slot.fills))))

    def _parse(self, doubled: bool) -> None:
        text, end, tail = self.text, 0, ""
        for braces in _BRACES.finditer(text):
            name, depth = braces[1], _depth(text, braces)
            is_name = _NAME.fullmatch(name) is not None
            if not doubled:
                if not is_name and depth > 1:  # `{{ user.name }}` is an example of another language's template
                    continue
                depth = 1
            start = braces.start() - depth + 1
            if not is_name and depth > 1 and name != name.strip():  # `{{ user.name }}` again
                continue
            self._parts.append(tail + text[end:start])
            end, tail = braces.end() + depth - 1, ""
            lead, close, fills = "{" * (depth // 2), "}" * (depth // 2), depth % 2 == 1
            if not is_name:
                self._optional.append(_Optional(len(self._parts), name, lead, close, fills))
                self._parts.append(text[start:end])
            elif fills:
                self._parts[-1] += lead
                self._required.append((len(self._parts), name))
                self._parts.append(braces[0])
                tail = close
            else:
                self._parts.append(f"{lead}{name}{close}")
        self._parts.append(tail + text[end:])

    def _fill_alike(self, parts: list[str], inputs: Mapping[str, Any], field: str) -> None:
        """Fill in the required names by keys that may be spelled differently."""
        for (position, name), key in zip(self._required, self._keys(inputs, field).required, strict=True):
            if key is None:
                near = nearest(name, list(map(str, inputs)))
                hint = f"; the inputs have {near!r}" if near else ""
                raise InputInvalid(f"missing input {name!r}, needed by {field}{hint}")
            parts[position] = str(inputs[key])

    def _keys(self, inputs: Mapping[str, Any], field: str) -> "_Keys":
        names = tuple(inputs)
        keys = self._latest
        if keys is None or keys.inputs != names:
            optional = [(slot, _key_of(slot.name, inputs, field)) for slot in self._optional]
            self._latest = keys = _Keys(
                names,
                [_key_of(name, inputs, field) for _, name in self._required],
                [(slot, key) for slot, key in optional if key is not None],
            )
        return keys


@lru_cache(maxsize=4096)
def compile_template(text: str, doubled: bool = False) -> Template:
    """The compiled form of `text`, parsed once per process however many rows use it.

    With `doubled`, doubled braces stand for single ones, as in crew.yaml.
    """
    return Template(text, doubled)


def find_key(name: str, inputs: Mapping[str, Any]) -> str | None:
    """The key of `inputs` that fills in `{name}`: an equal one, else the one that is `alike`; None without one.

    Raises InputInvalid if several are alike and none is equal.
    """
    if name in inputs:
        return name
    form = alike(name)
    keys = _by_form(tuple(inputs)).get(form, ()) if form else ()
    if len(keys) > 1:
        raise InputInvalid(
            f"{{{name}}} may be {' or '.join(map(repr, keys))}: write one of them between the braces, or choose one "
            f"with --map {shlex.quote(f'{name}={keys[0]}')}"
        )
    return keys[0] if keys else None


@lru_cache(maxsize=4096)
def alike(name: str) -> str:
    """The form that names share which differ by blanks, underscores, hyphens and case only: `Ticket ID`, `ticket_id`.

    Characters that look the same are the same: `ö` as one character or as two.
    """
    return _IGNORED.sub("", normalize("NFKC", name)).casefold()


def doubles_a_name(text: str) -> bool:
    """Whether `text` means something else with `doubled`: it has `{{name}}`, with or without a value for the name."""
    return any(_NAME.fullmatch(braces[1]) and _depth(text, braces) > 1 for braces in _BRACES.finditer(text))


def check_inputs(inputs: Mapping[str, Any]) -> None:
    """Raise InputInvalid unless every value is None, str, int, float, bool, or a list or dict of these."""
    if type(inputs) is not dict and not isinstance(inputs, Mapping):  # the ABC check costs as much as the rest
        raise InputInvalid(f"inputs are a mapping of names to values, not a {type(inputs).__name__}")
    for name, value in inputs.items():
        if not isinstance(value, _SCALARS):
            _check_value(name, value)


def _depth(text: str, braces: re.Match[str]) -> int:
    """How many pairs of braces are directly around the text in `braces`, at least one."""
    depth, start, end = 1, braces.start(), braces.end()
    while start - depth >= 0 and text[start - depth] == "{" and text[end + depth - 1 : end + depth] == "}":
        depth += 1
    return depth


def _key_of(name: str, inputs: Mapping[str, Any], field: str) -> str | None:
    try:
        return find_key(name, inputs)
    except InputInvalid as ambiguous:
        raise InputInvalid(f"{field}: {ambiguous}") from None


@lru_cache(maxsize=64)
def _by_form(keys: tuple[Any, ...]) -> Mapping[str, tuple[str, ...]]:
    """The keys that are alike, by the form that they share."""
    forms: dict[str, tuple[str, ...]] = {}
    for key in keys:
        if isinstance(key, str):
            form = alike(key)
            forms[form] = (*forms.get(form, ()), key)
    return forms


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
