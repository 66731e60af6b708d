"""`read` a file of JSON with comments and trailing commas as plain data, with the line of everything in it.

The standard library parses the strings and numbers. It does not report positions of keys and values, which error
messages need, so objects and lists are parsed here.
"""

import re
from bisect import bisect_right
from json import JSONDecodeError, JSONDecoder
from typing import Any

from crewrun.definitions.file_text import decode, read_bytes
from crewrun.definitions.problems import KeyPath, Problem, repeated
from crewrun.definitions.source import CREW_FILE, MAX_DEPTH, DefinitionSource, Expected, as_mapping, empty
from crewrun.definitions.yaml_nodes import too_deep
from crewrun.errors import DefinitionError

_GAP = re.compile(r"(?:[ \t\r\n]+|//[^\r\n]*|/\*.*?\*/)*", re.DOTALL)
_WORD = re.compile(r"[^\s,:{}\[\]\"/]+")
_INT = re.compile(r"-?(?:0|[1-9][0-9]*)")
_FLOAT = re.compile(r"-?(?:0|[1-9][0-9]*)(?:\.[0-9]+)?(?:[eE][-+]?[0-9]+)?")
_HALF_CHARACTER = re.compile("[\ud800-\udfff]")
_STRING = JSONDecoder()
_CONSTANTS = {"true": True, "false": False, "null": None}
# A part of the standard library's message, and what to tell the user.
_STRINGS = (
    ("Unterminated string", "a quote is not closed"),
    ("Invalid control character", "a text cannot contain a line break or a tab; write \\n and \\t"),
    ("escape", "a backslash in a text must be written twice"),
)


def read(file: str, expected: Expected = CREW_FILE) -> DefinitionSource:
    """The JSON object in `file`. Raises DefinitionError if the file cannot be read or contains anything else."""
    reader = _Reader(decode(read_bytes(file), file), file)
    data = reader.document(expected)
    source = DefinitionSource(
        file, data, reader.key_lines, reader.value_lines, reader.written, repeated=reader.repeated
    )
    return as_mapping(source, expected)


class _Reader:
    """Parses the text in one pass and records the line of every key and value."""

    def __init__(self, text: str, file: str) -> None:
        self.key_lines: dict[KeyPath, int] = {}
        self.value_lines: dict[KeyPath, int] = {}
        self.written: dict[KeyPath, str] = {}
        self.repeated: list[Problem] = []
        self._text = text
        self._file = file
        self._at = 0
        self._starts = [0, *(newline.end() for newline in re.finditer("\n", text))]

    def document(self, expected: Expected) -> Any:
        """The one value of the file. Raises DefinitionError."""
        if not self._peek():
            raise empty(self._file, expected)
        data = self._value(())
        if self._peek():
            raise self._wrong("unexpected text after the end of the JSON value")
        return data

    def _value(self, path: KeyPath) -> Any:
        first = self._peek()
        self.value_lines[path] = self._line
        if len(path) > MAX_DEPTH:
            raise too_deep(self._file, self._line)
        match first:
            case "{":
                return self._object(path)
            case "[":
                return self._list(path)
            case '"':
                return self._string()
        return self._word(path)

    def _object(self, path: KeyPath) -> dict[str, Any]:
        data: dict[str, Any] = {}
        lines: dict[str, list[int]] = {}
        self._at += 1
        while self._peek() != "}":
            if self._peek() != '"':
                raise self._wrong("expected a key in double quotes, or '}'")
            line, key = self._line, self._string()
            inner = (*path, key)
            if key in data:
                self._forget(inner)
            lines.setdefault(key, []).append(line)
            if self._peek() != ":":
                raise self._wrong("expected a ':' after the key")
            self._at += 1
            self.key_lines[inner] = line
            data[key] = self._value(inner)
            self._next_or("}")
        self._at += 1
        for key, (*before, last) in lines.items():
            if before:
                self.repeated.append(Problem(self._file, last, (*path, key), repeated(before)))
        return data

    def _forget(self, path: KeyPath) -> None:
        """Remove the lines of a value that a repeated key replaces."""
        for places in (self.key_lines, self.value_lines, self.written):
            for inner in [inner for inner in places if inner[: len(path)] == path]:
                del places[inner]

    def _list(self, path: KeyPath) -> list[Any]:
        data: list[Any] = []
        self._at += 1
        while self._peek() != "]":
            data.append(self._value((*path, len(data))))
            self._next_or("]")
        self._at += 1
        return data

    def _next_or(self, end: str) -> None:
        if self._peek() == ",":
            self._at += 1
        elif self._peek() != end:
            raise self._wrong(f"expected ',' or {end!r}")

    def _string(self) -> str:
        try:
            text, end = _STRING.raw_decode(self._text, self._at)
        except JSONDecodeError as wrong:
            if not wrong.msg.startswith("Unterminated"):  # that one is reported where it starts
                self._at = wrong.pos
            raise self._wrong(next((words for part, words in _STRINGS if part in wrong.msg), wrong.msg)) from None
        if _HALF_CHARACTER.search(text):
            raise self._wrong("a \\u escape is half a character; write the character itself")
        self._at = end
        return str(text)

    def _word(self, path: KeyPath) -> Any:
        match = _WORD.match(self._text, self._at)
        word = match[0] if match else ""
        self.written[path] = word
        try:
            if word in _CONSTANTS:
                value: Any = _CONSTANTS[word]
            elif _INT.fullmatch(word):
                value = int(word)
            elif _FLOAT.fullmatch(word) and abs(float(word)) != float("inf"):
                value = float(word)
            else:
                raise ValueError(word)
        except ValueError:  # int() refuses more than 4,300 digits
            raise self._wrong(
                f"{word[:40]!r} is not a JSON value; texts need double quotes" if word else "expected a value"
            ) from None
        self._at += len(word)
        return value

    def _peek(self) -> str:
        """The next character after blanks and comments; empty at the end of the text."""
        self._at = _GAP.match(self._text, self._at).end()  # type: ignore[union-attr]  # it matches everywhere
        if self._text.startswith("/*", self._at):
            raise self._wrong("a comment is not closed")
        return self._text[self._at : self._at + 1]

    @property
    def _line(self) -> int:
        return bisect_right(self._starts, self._at)

    def _wrong(self, message: str) -> DefinitionError:
        column = self._at - self._starts[self._line - 1] + 1
        return DefinitionError(f"{self._file}:{self._line}: column {column}: not valid JSON: {message}")
