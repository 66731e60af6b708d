"""When two outputs are the same: as JSON values, whatever the order of keys or the way a number is written."""

from typing import Any, Final

_NUMBERS: Final = (int, float)
_LARGEST: Final = 1e300  # sums of these stay finite


def is_same(a: Any, b: Any) -> bool:
    """Whether two decoded JSON values are equal.

    1 and 1.0 are the same number, 0 and -0.0 too; `true` and 1 differ, and so do a field that is null and one that is
    missing. Texts are the same if each character is, spaces and line breaks included. Any depth.
    """
    if type(a) is str or type(b) is str:
        return bool(a == b)
    pairs = [(a, b)]
    while pairs:
        one, other = pairs.pop()
        if isinstance(one, dict) and isinstance(other, dict):
            if one.keys() != other.keys():
                return False
            pairs += [(value, other[key]) for key, value in one.items()]
        elif isinstance(one, list) and isinstance(other, list):
            if len(one) != len(other):
                return False
            pairs += zip(one, other, strict=True)
        elif one != other or (type(one) is bool) is not (type(other) is bool):  # for Python, True is 1
            return False
    return True


def is_number(value: Any) -> bool:
    """Whether a decoded JSON value is a number with which one can calculate: finite, and no larger than a float."""
    return type(value) in _NUMBERS and -_LARGEST < value < _LARGEST
