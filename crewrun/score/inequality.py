"""The form of a --fail-if: `NAME OPERATOR NUMBER`, such as `changed>5%`. What names there are, each command says."""

import re
from collections.abc import Callable
from dataclasses import dataclass
from math import inf, isfinite
from operator import ge, gt, le, lt
from typing import Any, Final

from crewrun.errors import UsageError

_OPERATORS: Final[dict[str, Callable[[float, float], bool]]] = {">": gt, ">=": ge, "<": lt, "<=": le}
_OPERATOR: Final = re.compile(r"[<>=!~]+")
_NUMBER: Final = re.compile(r"\s*([+-]?(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d+)?)\s*(%?)\s*")
_DIGITS: Final = 9  # what is behind them is an error of floating-point sums, which should not decide


@dataclass(frozen=True, slots=True)
class Inequality:
    """A condition as the user wrote it. The `number` is in percent with `is_percent`."""

    text: str
    name: str
    operator: str
    number: float
    is_percent: bool

    def check(self, value: float) -> "Check":
        """Whether it holds for `value`, which is in percent if the condition is."""
        value = round(value, _DIGITS)
        return Check(self, value, _OPERATORS[self.operator](value, self.number))


@dataclass(frozen=True, slots=True)
class Check:
    """A condition with its `value` in the runs, in percent if the condition is, and whether it `holds`."""

    condition: Inequality
    value: float
    holds: bool

    def to_json(self) -> dict[str, Any]:
        """As `--json` prints it; an infinite value, of a mean that was zero, is null."""
        return {
            "condition": self.condition.text,
            "value": None if abs(self.value) == inf else self.value,
            "unit": "%" if self.condition.is_percent else "",
            "holds": self.holds,
        }

    @property
    def value_in_words(self) -> str:
        """`7.25%`, `12`."""
        number = f"{self.value:.4g}"
        return f"{number}%" if self.condition.is_percent else number


def parse_inequality(text: str, examples: str) -> Inequality:
    """The condition that `text` is. Raises UsageError with the place, and `examples` of what it may be."""
    operators = list(_OPERATOR.finditer(text))
    if not operators:
        raise refused(text, len(text), "a comparison is missing", examples)
    operator = operators[-1]  # the name of a field may have others
    if operator[0] not in _OPERATORS:
        raise refused(text, operator.start(), f"{operator[0]!r} is not one of >, >=, < and <=", examples)
    number = _NUMBER.fullmatch(text, operator.end())
    if number is None or not isfinite(float(number[1])):
        rest = text[operator.end() :].strip()
        what = f"{rest!r} is not a number, such as 5 or 5%" if rest else "a number is missing, such as 5 or 5%"
        raise refused(text, operator.end(), what, examples)
    name = text[: operator.start()].strip()
    if not name:
        raise refused(text, 0, "there is nothing to compare", examples)
    return Inequality(text, name, operator[0], float(number[1]), bool(number[2]))


def refused(text: str, at: int, why: str, examples: str) -> UsageError:
    """The error for a condition with a fault at the character `at`."""
    return UsageError(f"--fail-if {text!r}: character {at + 1}: {why}; write it like {examples}")
