"""`scores_of`: what a score function returned, as scores by name; and the numbers in a line of scores."""

import math
from collections.abc import Mapping
from decimal import Decimal
from numbers import Integral, Real
from typing import Any

from crewrun.errors import Category, CrewrunError

ONLY = "score"
REASON = "reason"
_LONGEST_CHARS = 60
_LARGEST = 1e100

Scores = dict[str, float | int | bool | str]
"""Scores by name, and possibly a `reason`, a text."""


class BadScore(CrewrunError):
    """A function returned something that is no score."""

    category = Category.OUTPUT_INVALID


def scores_of(value: Any, name: str) -> Scores:
    """The scores in what the function `name` returned: a number, a bool, or a mapping of names to these, which may have
    a `reason` in words. Raises BadScore.
    """
    if not isinstance(value, Mapping):
        return {ONLY: _score(value, f"{name} returned {_shown(value)}")}
    scores: Scores = {}
    for key, inner in value.items():
        if not isinstance(key, str) or not key.strip():
            raise BadScore(f"{name} returned a mapping with the key {_shown(key)}; keys are the names of scores")
        if key != REASON:
            scores[key] = _score(inner, f"{name} returned {_shown(inner)} for {key!r}")
    if not scores:
        raise BadScore(f"{name} returned {_shown(value)}, which has no score in it")
    reason = value.get(REASON)
    return scores | ({REASON: str(reason)} if reason is not None else {})


def numbers_in(output: Any) -> dict[str, float]:
    """The scores by name in the output of a line of scores, with true as 1; none in what is not one."""
    if not isinstance(output, Mapping):
        return {}
    return {
        str(name): float(value)
        for name, value in output.items()
        if isinstance(value, int | float) and name != REASON and _is_ordinary(value)
    }


def _score(value: Any, what: str) -> float | int | bool:
    if type(value).__module__ == "numpy" and hasattr(value, "item") and not getattr(value, "ndim", 0):
        value = value.item()
    if isinstance(value, bool):
        return value
    if not isinstance(value, Real | Decimal):
        raise BadScore(f"{what}; a score is a number, True or False, or a mapping of names to these")
    try:
        number = float(value)
    except (OverflowError, ValueError):
        number = math.inf
    if not _is_ordinary(number):
        raise BadScore(f"{what}; a score is a finite number, below 1e100")
    return int(value) if isinstance(value, Integral) else number


def _is_ordinary(number: float) -> bool:
    """Whether a number is finite, and so small that sums and squares of such are finite too."""
    return -_LARGEST < number < _LARGEST


def _shown(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= _LONGEST_CHARS else f"{text[: _LONGEST_CHARS - 1]}…"
