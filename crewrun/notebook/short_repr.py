"""`short_repr`: the `repr` of an object that may hold megabytes, and keys."""

from crewrun.redaction.redactor import redact
from crewrun.terminal import visible

_MOST_CHARS = 60
# Redacted before it is cut, since a cut could leave a part of a secret that nothing recognises.
_MARGIN = 1000


def short_repr(value: object, *parts: str) -> str:
    """`Crew(2 agents, 3 tasks)`: the class of `value`, and `parts` except empty ones."""
    return f"{type(value).__name__}({', '.join(line(part, 2 * _MOST_CHARS) for part in parts if part)})"


def quoted(text: object) -> str:
    """The beginning of `text` on one line in quotes, without secrets and control characters: at most 60 characters.

    Empty if `text` is empty.
    """
    begin = line(text, _MOST_CHARS)
    return repr(begin) if begin else ""


def counted(number: int, noun: str) -> str:
    """`1 task`, `2 tasks`; empty for none."""
    return f"{number:,} {noun}{'' if number == 1 else 's'}" if number else ""


def line(text: object, most_chars: int) -> str:
    """`text` on one line, without secrets and control characters, cut to `most_chars`."""
    return beginning(text, most_chars, is_line=True)


def beginning(text: object, most_chars: int, *, is_line: bool = False) -> str:
    """`text` without secrets and control characters but for line breaks, cut to `most_chars`."""
    whole = str(text)
    begin = redact(whole[: most_chars + _MARGIN])
    if is_line:
        begin = " ".join(begin.split())
    is_cut = len(whole) > most_chars + _MARGIN or len(begin) > most_chars
    return visible(f"{begin[:most_chars].rstrip()}…" if is_cut else begin, keep="\n\t")
