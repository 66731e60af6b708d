"""YAML as plain data, with the line of everything in it: `read` a file, `parse` bytes.

Here is the way from text to YAML nodes; from nodes to data is `yaml_nodes`. Which keys mean what is `spec`'s affair.
"""

import re

import yaml

from crewrun.definitions.file_text import decode, read_bytes
from crewrun.definitions.source import CREW_FILE, MAX_DEPTH, Expected, Source, as_mapping, empty
from crewrun.definitions.yaml_nodes import MAX_VALUES, Loader, convert, too_deep, too_many
from crewrun.errors import DefinitionError

# https://yaml.org/spec/1.1/#c-printable
_UNPRINTABLE = re.compile("[^\t\n\r\x20-\x7e\x85\xa0-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")
_LINE_BREAK = re.compile("\r\n|[\r\n\x85\u2028\u2029]")

_EXPECTED_KEY = (
    "expected a key here; keys of one mapping need the same indentation, and a text that starts with a brace or a "
    "quote needs quotes around all of it"
)
# A part of what libyaml or PyYAML says, and what to tell the user.
_SYNTAX = (
    (
        "mapping values are not allowed",
        "a ':' that is out of place; a text that contains ': ' needs quotes, "
        "and keys of one mapping need the same indentation",
    ),
    ("cannot start any token", "a text cannot start with this character unless it is in quotes"),
    ("did not find expected key", _EXPECTED_KEY),
    ("expected <block end>", _EXPECTED_KEY),
    ("expected '-' indicator", "expected '- ' here; the entries of a list need the same indentation"),
    ("',' or ']'", "a list that starts with '[' is not closed"),
    ("',' or '}'", "a '{' is not closed; a text that starts with a brace needs quotes"),
    ("unexpected end of stream", "a quote is not closed"),
    ("could not find expected ':'", "expected a ':' after the key"),
    ("undefined alias", "an alias (*name) without its anchor (&name) above it"),
)


def read(file: str, expected: Expected = CREW_FILE) -> Source:
    """The YAML mapping in `file`. Raises DefinitionError when there is none to be had."""
    return parse(read_bytes(file), file, expected)


def parse(content: bytes, file: str, expected: Expected = CREW_FILE) -> Source:
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
    """Refuse what would take the composer, which recurses in C, too deep or too long; and a second document."""
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
    problem = str(getattr(broken, "problem", None) or broken)
    start = getattr(broken, "context_mark", None)
    since = f" (in what starts on line {start.line + 1})" if start and start.line != mark.line else ""
    advice = next((advice for part, advice in _SYNTAX if part in problem), problem)
    return DefinitionError(f"{file}:{mark.line + 1}: column {mark.column + 1}: not valid YAML: {advice}{since}")
