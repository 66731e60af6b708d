"""Amounts in words, and how the command line speaks on stderr."""

import sys
from contextlib import suppress


def money(cost_usd: float | None) -> str:
    """US dollars with as many digits as they need."""
    if cost_usd is None:
        return "cost unknown"
    return f"${cost_usd:.2f}" if cost_usd >= 1 or cost_usd == 0 else f"${cost_usd:.4f}"


def duration(seconds: float) -> str:
    """`45 s`, `3 m 20 s`, `2 h 5 m`."""
    if seconds < 10:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    if hours:
        return f"{hours} h {minutes} m"
    return f"{minutes} m {rest} s" if minutes else f"{rest} s"


def plain(line: str) -> str:
    """A line of what others said, with the characters that would steer a terminal as escapes."""
    return "".join(
        char if char.isprintable() or char == "\t" else char.encode("unicode_escape").decode() for char in line
    )


def say(text: str) -> None:
    """One line on stderr; a stderr that nobody reads any more is no reason to stop."""
    with suppress(OSError):
        print(text, file=sys.stderr, flush=True)
