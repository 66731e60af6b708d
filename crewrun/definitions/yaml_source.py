"""YAML as plain data, with the line of everything in it: `read` a file, `parse` bytes.

This file takes text to YAML nodes and words syntax errors; `yaml_nodes` takes nodes to data.
"""

import re
from contextlib import suppress
from typing import Any

import yaml

from crewrun.definitions.file_text import decode, read_bytes
from crewrun.definitions.source import CREW_FILE, MAX_DEPTH, DefinitionSource, Expected, as_mapping, empty
from crewrun.definitions.yaml_nodes import MAX_VALUES, Loader, convert, too_deep, too_many
from crewrun.errors import DefinitionError

# The longest text of a key before its ':', in characters: https://yaml.org/spec/1.1/#simple%20key
_READ_AHEAD = 1024
# https://yaml.org/spec/1.1/#c-printable
_UNPRINTABLE = re.compile("[^\t\n\r\x20-\x7e\x85\xa0-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")
_LINE_BREAK = re.compile("\r\n|[\r\n\x85\u2028\u2029]")

_EXPECTED_KEY = (
    "expected a key here; keys of one mapping need the same indentation, and a text that starts with a brace or a "
    "quote needs quotes around all of it"
)
# Advice for the user. The error's class and the text at its marks select one: the messages of libyaml and PyYAML
# differ from each other and between versions.
_COLON = (
    "a ':' that is out of place; a text that contains ': ' needs quotes, "
    "and keys of one mapping need the same indentation"
)
_NO_START = "a text cannot start with this character unless it is in quotes"
_OPEN_QUOTE = "a quote is not closed"
_NO_COLON = "expected a ':' after the key"
_ENTRY = "expected '- ' here; the entries of a list need the same indentation"
_LIST = "a list that starts with '[' is not closed"
_BRACE = "a '{' is not closed; a text that starts with a brace needs quotes"
_VALUE = "expected a value here; a text that starts with this character needs quotes"
_ALIAS = "an alias (*name) without its anchor (&name) above it"
_QUOTED = re.compile(r"""'(?:[^']|'')*+'|"(?:[^"\\]|\\.)*+\"""", re.DOTALL)


def read(file: str, expected: Expected = CREW_FILE) -> DefinitionSource:
    """The YAML mapping in `file`. Raises DefinitionError if the file cannot be read or contains anything else."""
    return parse(read_bytes(file), file, expected)


def parse(content: bytes, file: str, expected: Expected = CREW_FILE) -> DefinitionSource:
    """The YAML mapping in `content`; `file` names it in messages. Raises DefinitionError."""
    text = decode(content, file)
    if control := _UNPRINTABLE.search(text):
        line = text.count("\n", 0, control.start()) + 1
        raise DefinitionError(f"{file}:{line}: the character U+{ord(control[0]):04X} is not allowed in YAML")
    try:
        _check_shape(text, file)
        root = yaml.compose(text, Loader)
    except DefinitionError:
        raise
    except (yaml.YAMLError, ValueError) as broken:  # ValueError: PyYAML's own scanner, for "\UFFFFFFFF"
        raise _syntax_error(broken, text, file) from None
    if root is None:
        raise empty(file, expected)
    return as_mapping(convert(root, file), expected)


def _check_shape(text: str, file: str) -> None:
    """Refuse a second document, and nesting or size that is too much for the composer, which recurses in C."""
    try:
        _check_events(text, file)
    except yaml.YAMLError as broken:
        # libyaml may have a depth limit of its own, and scans ahead of the events for the end of a key. If that is
        # where it stopped, the events of the text up to half that distance before the mark show the depth.
        if mark := getattr(broken, "problem_mark", None):
            with suppress(yaml.YAMLError):
                _check_events(text[: max(0, mark.index - _READ_AHEAD // 2)], file)
        raise


def _check_events(text: str, file: str) -> None:
    depth = values = documents = 0
    for event in yaml.parse(text, Loader):
        line = event.start_mark.line + 1 if event.start_mark else 1
        if isinstance(event, yaml.DocumentStartEvent):
            documents += 1
            if documents > 1:
                raise DefinitionError(
                    f"{file}:{line}: a second document starts here (`---`); a crew file is one document"
                )
        elif isinstance(event, yaml.CollectionStartEvent):
            depth += 1
        elif isinstance(event, yaml.CollectionEndEvent):
            depth -= 1
        values += isinstance(event, yaml.NodeEvent)
        if depth > MAX_DEPTH:
            raise too_deep(file, line)
        if values > 2 * MAX_VALUES:  # keys are nodes as well
            raise too_many(file)


def _syntax_error(broken: Exception, text: str, file: str) -> DefinitionError:
    mark = getattr(broken, "problem_mark", None)
    if mark is None:
        return DefinitionError(f"{file}: is not valid YAML: {broken}")
    lines = _LINE_BREAK.split(text)
    indent = re.match(r"[ \t]*", lines[mark.line] if mark.line < len(lines) else "")
    if indent and "\t" in indent[0]:
        return DefinitionError(f"{file}:{mark.line + 1}: a tab in the indentation; YAML wants spaces")
    start = getattr(broken, "context_mark", None)
    since = f" (in what starts on line {start.line + 1})" if start and start.line != mark.line else ""
    advice = _advice(broken, text, mark, start) or getattr(broken, "problem", None) or broken
    return DefinitionError(f"{file}:{mark.line + 1}: column {mark.column + 1}: not valid YAML: {advice}{since}")


def _advice(broken: Exception, text: str, mark: Any, start: Any) -> str | None:
    """Advice about the character at `mark`, in what begins at `start`; None without advice to give."""
    character = text[mark.index : mark.index + 1]
    is_inside = start is not None and start.index < mark.index
    match broken:
        case yaml.composer.ComposerError() if character == "*":
            return _ALIAS
        case yaml.scanner.ScannerError():
            if is_inside:
                return _unfinished(text, mark, start)
            return _COLON if character == ":" else _NO_START if character and character in "@`%>|" else None
        case yaml.parser.ParserError() if is_inside:
            return _misplaced(text)
        case yaml.parser.ParserError() if start is not None and character:
            return _EXPECTED_KEY if character == ":" else _VALUE
    return None


def _unfinished(text: str, mark: Any, start: Any) -> str | None:
    """Advice about a token that begins at `start` and breaks off at `mark`."""
    if text[start.index] in "'\"" and _QUOTED.match(text, start.index) is None:
        return _OPEN_QUOTE if mark.index >= len(text) else None
    return _NO_COLON if mark.line > start.line or mark.index - start.index > _READ_AHEAD else None


def _misplaced(text: str) -> str | None:
    """Advice about where the parser stopped: what the list or mapping around it needs there."""
    opened: list[yaml.CollectionStartEvent] = []
    with suppress(yaml.YAMLError):
        for event in yaml.parse(text, Loader):
            if isinstance(event, yaml.CollectionStartEvent):
                opened.append(event)
            elif isinstance(event, yaml.CollectionEndEvent):
                opened.pop()
    match opened[-1:]:
        case [yaml.SequenceStartEvent(flow_style=is_flow)]:
            return _LIST if is_flow else _ENTRY
        case [yaml.MappingStartEvent(flow_style=is_flow)]:
            return _BRACE if is_flow else _EXPECTED_KEY
    return None
