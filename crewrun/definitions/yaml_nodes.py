"""`convert`: from YAML nodes to plain data.

YAML 1.1 as PyYAML's safe loader reads it, without its surprises: 2024-01-01, 12:30 and 010 stay text, 1e3 is a number,
and every key is text. If a key is repeated, the last one counts and the repetition is recorded.
"""

import re
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

import yaml

from crewrun.definitions.problems import KeyPath, Problem, repeated
from crewrun.definitions.source import MAX_DEPTH, DefinitionSource
from crewrun.errors import DefinitionError

try:
    from yaml import CSafeLoader as SafeLoader
except ImportError:  # PyYAML built without libyaml
    from yaml import SafeLoader  # type: ignore[assignment]  # the same interface

# Bounds what aliases may expand to: reading 100,000 values takes 0.8 s of CPU, and an alias bomb has billions.
MAX_VALUES = 100_000

_TAG = "tag:yaml.org,2002:"
_MERGE = _TAG + "merge"
_IMPLICIT = (
    ("null", r"~|null|Null|NULL", "~nN"),
    ("bool", r"yes|Yes|YES|no|No|NO|true|True|TRUE|false|False|FALSE|on|On|ON|off|Off|OFF", "yYnNtTfFoO"),
    ("int", r"[-+]?(?:0|[1-9][0-9]*)|0x[0-9a-fA-F]+|0o[0-7]+", "-+0123456789"),
    ("float", r"[-+]?(?:\.[0-9]+|(?:0|[1-9][0-9]*)(?:\.[0-9]*)?)(?:[eE][-+]?[0-9]+)?", "-+.0123456789"),
    ("merge", r"<<", "<"),
)


def convert(root: yaml.Node, file: str) -> DefinitionSource:
    """The data of `root` with its lines. Raises DefinitionError if it is too large, too deep or contains itself."""
    converter = _Converter(file)
    return replace(converter.source, data=converter.value(root, ()))


def too_deep(file: str, line: int) -> DefinitionError:
    """The error for nesting that exceeds `MAX_DEPTH` on `line`."""
    return DefinitionError(f"{file}:{line}: is nested more than {MAX_DEPTH} levels deep")


def too_many(file: str) -> DefinitionError:
    """The error for more than `MAX_VALUES` values, as in an alias bomb."""
    return DefinitionError(
        f"{file}: has more than {MAX_VALUES:,} values, aliases written out; too many for a crew file"
    )


def _by_first_character() -> dict[str, list[tuple[str, re.Pattern[str]]]]:
    table: dict[str, list[tuple[str, re.Pattern[str]]]] = {"": [(_TAG + "null", re.compile(r"\Z"))]}
    for tag, pattern, characters in _IMPLICIT:
        for character in characters:
            table.setdefault(character, []).append((_TAG + tag, re.compile(rf"(?:{pattern})\Z")))
    return table


class Loader(SafeLoader):
    """Composes nodes, with `_IMPLICIT` for plain scalars. It never constructs objects."""

    yaml_implicit_resolvers = _by_first_character()


class _Converter:
    """Turns nodes into plain data and records their lines. Aliases are expanded."""

    def __init__(self, file: str) -> None:
        self.source = DefinitionSource(file, None)
        self._count = 0
        # Ids of nodes, since an alias is the same node as its anchor: the nodes around the current one, and those with
        # a fault, so that it is reported once.
        self._open: set[int] = set()
        self._reported: set[int] = set()

    def value(self, node: yaml.Node, path: KeyPath) -> Any:
        """The data of `node`, which is at `path`."""
        self._enter(node)
        try:
            self.source.value_lines[path] = _line(node)
            match node:
                case yaml.MappingNode(tag=tag) if tag == _TAG + "map":
                    return self._mapping(node, path)
                case yaml.SequenceNode(tag=tag) if tag == _TAG + "seq":
                    return [self.value(inner, (*path, i)) for i, inner in enumerate(node.value)]
                case yaml.ScalarNode(tag=tag) if tag.removeprefix(_TAG) in _SCALARS:
                    return self._scalar(node, path)
            return self._without_tag(node, path)
        finally:
            self._open.discard(id(node))

    def _enter(self, node: yaml.Node) -> None:
        self._count += 1
        if self._count > MAX_VALUES:
            raise too_many(self.source.file)
        line = _line(node)
        if id(node) in self._open:
            raise DefinitionError(f"{self.source.file}:{line}: contains an alias (*name) to itself")
        if len(self._open) > MAX_DEPTH:
            raise too_deep(self.source.file, line)
        self._open.add(id(node))

    def _without_tag(self, node: yaml.Node, path: KeyPath) -> Any:
        tag = node.tag.replace(_TAG, "!!")
        self._report(node, path, f"the tag {tag!r} is not supported; crew files hold plain YAML only")
        if isinstance(node, yaml.MappingNode):
            return self._mapping(node, path)
        return [] if isinstance(node, yaml.SequenceNode) else str(node.value)

    def _mapping(self, node: yaml.MappingNode, path: KeyPath) -> dict[str, Any]:
        data = {}
        for name, (key, value) in self._pairs(node, path).items():
            self.source.key_lines[(*path, name)] = _line(key)
            data[name] = self.value(value, (*path, name))
        return data

    def _pairs(self, node: yaml.MappingNode, path: KeyPath) -> dict[str, tuple[yaml.Node, yaml.Node]]:
        """The keys of `node` and of its merges (https://yaml.org/type/merge.html): its own win, then earlier merges."""
        merged: dict[str, tuple[yaml.Node, yaml.Node]] = {}
        named: dict[str, list[tuple[yaml.Node, yaml.Node]]] = {}
        for key, value in node.value:
            named.setdefault(self._name(key, path), []).append((key, value))
        for name, ((*before, (last, _))) in named.items():
            if before:
                message = repeated([_line(key) for key, _ in before])
                self._note(last, (*path, name), message, self.source.repeated)
        for name in [name for name, pairs in named.items() if pairs[0][0].tag == _MERGE]:
            for _, bases in reversed(named.pop(name)):
                for base in self._bases(bases, (*path, name)):
                    for inherited, pair in base.items():
                        merged.setdefault(inherited, pair)
        return merged | {name: pairs[-1] for name, pairs in named.items()}

    def _bases(self, node: yaml.Node, path: KeyPath) -> Iterator[dict[str, tuple[yaml.Node, yaml.Node]]]:
        for base in node.value if isinstance(node, yaml.SequenceNode) else [node]:
            if isinstance(base, yaml.MappingNode):
                self._enter(base)
                self._count += len(base.value)
                yield self._pairs(base, path)
                self._open.discard(id(base))
            else:
                self._report(base, path, "needs an alias (*name) of a mapping, or a list of them")

    def _name(self, key: yaml.Node, path: KeyPath) -> str:
        if not isinstance(key, yaml.ScalarNode):
            self._report(key, path, "a list or mapping cannot be a key; a text that starts with a brace needs quotes")
            return f"{key.start_mark.line}:{key.start_mark.column}"
        written = str(key.value)
        if key.tag not in (_TAG + "str", _MERGE):
            shown = " ".join(written.split())
            self._report(key, path, f'the key {shown or "without a name"} is not text; put it in quotes: "{shown}"')
        return written

    def _scalar(self, node: yaml.ScalarNode, path: KeyPath) -> Any:
        text = str(node.value)
        kind = node.tag.removeprefix(_TAG)
        if kind == "str":
            return text
        self.source.written[path] = text.strip()
        try:
            return _SCALARS[kind](text)
        except (ValueError, OverflowError, KeyError):
            self._report(node, path, f"{text[:40]!r} is not a usable {kind}; put it in quotes if it is text")
            return None

    def _report(self, node: yaml.Node, path: KeyPath, message: str) -> None:
        self._note(node, path, message, self.source.problems)

    def _note(self, node: yaml.Node, path: KeyPath, message: str, problems: list[Problem]) -> None:
        if id(node) not in self._reported:
            self._reported.add(id(node))
            problems.append(Problem(self.source.file, _line(node), path, message))


def _line(node: yaml.Node) -> int:
    return int(node.start_mark.line) + 1


def _finite(text: str) -> float:
    number = float(text)
    if number - number != 0:
        raise ValueError(text)
    return number


_BOOLS = {"yes": True, "true": True, "on": True, "no": False, "false": False, "off": False}
_SCALARS: dict[str, Callable[[str], Any]] = {
    "str": str,
    "null": lambda _: None,
    "bool": lambda text: _BOOLS[text.lower()],
    "int": lambda text: int(text, 0),
    "float": _finite,
}
