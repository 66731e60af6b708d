"""When two outputs are the same: as JSON values, whatever the order of keys or the way a number is written."""

from collections.abc import Iterable
from itertools import repeat
from typing import Any, Final

_NUMBERS: Final = (int, float)
_MISSING: Final = object()
_LARGEST: Final = 1e300  # sums of these stay finite


def is_same(a: Any, b: Any) -> bool:
    """Whether two decoded JSON values are equal.

    1 and 1.0 are the same number, 0 and -0.0 too; `true` and 1 differ, and so do a field that is null and one that is
    missing. Texts are the same if each character is, spaces and line breaks included. Any depth.
    """
    if not isinstance(a, dict | list):
        return _is_same_leaf(a, b)
    pairs = [(a, b)]
    while pairs:
        one, other = pairs.pop()
        if type(one) is not type(other) or len(one) != len(other):
            return False
        for value, counterpart in _members(one, other):
            if isinstance(value, dict | list):
                pairs.append((value, counterpart))
            elif not _is_same_leaf(value, counterpart):
                return False
    return True


def _members(one: Any, other: Any) -> Iterable[tuple[Any, Any]]:
    """The values of two objects with as many keys, or of two lists of the same length, side by side."""
    if isinstance(one, dict):
        return zip(one.values(), map(other.get, one, repeat(_MISSING)), strict=True)
    return zip(one, other, strict=True)


def _is_same_leaf(value: Any, other: Any) -> bool:
    # For Python, True is 1.
    return bool(value == other) and (type(value) is str or (type(value) is bool) is (type(other) is bool))


def is_number(value: Any) -> bool:
    """Whether a decoded JSON value is a number with which one can calculate: finite, and no larger than a float."""
    return type(value) in _NUMBERS and -_LARGEST < value < _LARGEST
