"""Everything that crewrun prints for people goes through here.

`say` prints a line on stderr, `complain` an error there, and `announce` a line on stdout; `visible` is for text that is
printed some other way. Text from outside (servers, rows, files and their names) cannot control the terminal or reverse
the reading direction: such characters are shown as escapes. Lines are also redacted, as a last safeguard: text from
outside that they quote should have been already.
"""

import sys
from collections.abc import Iterable
from contextlib import suppress
from unicodedata import category

from crewrun.redaction.redactor import redact_line

# The joiners of letters and emoji, and spaces of other widths: harmless, and part of the text of many languages.
_HARMLESS = frozenset("\u200c\u200d")
_BLANKS = "Zs"


def visible(text: str, *, keep: str = "\t") -> str:
    """`text` with control, bidi and other invisible characters as escapes, `\\x1b`, except those in `keep`."""
    if text.isprintable():
        return text
    return "".join(char if _is_seen(char) or char in keep else _escape(char) for char in text)


def visible_data(text: str) -> str:
    """`visible` for JSON and CSV that goes to a terminal: with JSON's escapes, and with line breaks unchanged."""
    if text.isprintable():
        return text
    lines = text.replace("\r\n", "\n")  # CSV's line ends
    return "".join(char if _is_seen(char) or char in "\t\n" else _json_escape(char) for char in lines)


def say(line: str) -> None:
    """Print one line on stderr; a closed stderr is not an error."""
    _put(redact_line(line))


def say_all(lines: Iterable[str]) -> None:
    """Print lines on stderr."""
    for line in lines:
        say(line)


def is_terminal() -> bool:
    """Whether stderr is a terminal, where text is fitted to the screen and may have colours."""
    try:
        return sys.stderr.isatty()
    except ValueError:  # closed
        return False


def complain(message: str, program: str = "crewrun") -> None:
    """Print an error on stderr. The message may have several lines."""
    for line in f"{program}: {redact_line(message)}".split("\n"):  # redacted first: a secret may span lines
        _put(line)


def announce(line: str) -> None:
    """Print one line on stdout, for commands whose stdout is for people."""
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
