"""The door to a terminal: everything that crewrun prints for people goes through here.

`say` is a line on stderr, `complain` an error there, `announce` a line on stdout; `visible` is for what goes there by
other ways. What comes from outside (servers, rows, files and their names) cannot steer the terminal, nor turn a line's
reading direction around: such characters are shown as escapes. A line is redacted too, as the last net: what is quoted
in it from outside has been already.
"""

import sys
from collections.abc import Iterable
from contextlib import suppress
from unicodedata import category

from crewrun.redaction.redactor import redact_line

# Blanks of other widths, and what joins letters and emoji: harmless, and a part of many languages' texts.
_HARMLESS = frozenset("\u200c\u200d")
_BLANKS = "Zs"


def visible(text: str, *, keep: str = "\t") -> str:
    """`text` with control, bidi and other characters that are not seen as escapes, `\\x1b`; not those in `keep`."""
    if text.isprintable():
        return text
    return "".join(char if _is_seen(char) or char in keep else _escape(char) for char in text)


def visible_data(text: str) -> str:
    """`visible` for JSON and CSV that goes to a terminal: the escapes are JSON's, and lines stay."""
    if text.isprintable():
        return text
    lines = text.replace("\r\n", "\n")  # CSV's ends of lines
    return "".join(char if _is_seen(char) or char in "\t\n" else _json_escape(char) for char in lines)


def say(line: str) -> None:
    """One line on stderr; a stderr that nobody reads any more is no reason to stop."""
    _put(redact_line(line))


def say_all(lines: Iterable[str]) -> None:
    """Lines on stderr."""
    for line in lines:
        say(line)


def complain(message: str, program: str = "crewrun") -> None:
    """Say what is wrong, on stderr. A message may have several lines."""
    for line in f"{program}: {redact_line(message)}".split("\n"):  # a secret may have several lines, too
        _put(line)


def announce(line: str) -> None:
    """One line on stdout, of a command whose stdout is for people."""
    print(visible(redact_line(line)), flush=True)


def _put(line: str) -> None:
    with suppress(OSError):
        print(visible(line), file=sys.stderr, flush=True)


def _is_seen(char: str) -> bool:
    return char.isprintable() or char in _HARMLESS or category(char) == _BLANKS


def _escape(char: str) -> str:
    return char.encode("unicode_escape").decode()


def _json_escape(char: str) -> str:
    units = char.encode("utf-16-be", "surrogatepass").hex()
    return "".join(f"\\u{units[at : at + 4]}" for at in range(0, len(units), 4))
