"""Parses one line of JSON as a row's inputs, more strictly than `json` does: nothing in it is dropped silently."""

import json
from typing import Any

_MAX_DEPTH = 100  # far below Python's recursion limit, which encoding a row again must not reach


def parse_object(line: bytes) -> tuple[dict[str, Any] | None, str | None]:
    """The JSON object in `line`, or None and what is wrong with it."""
    try:
        value = _decoder.decode(line.decode())
    except UnicodeDecodeError as wrong:
        return None, f"byte {wrong.start + 1}: not UTF-8"
    except json.JSONDecodeError as wrong:
        return None, f"column {wrong.colno}: not JSON: {wrong.msg}"
    except RecursionError:
        return None, f"nested deeper than {_MAX_DEPTH} levels"
    except ValueError as wrong:
        return None, str(wrong)
    # Counting brackets is cheap, and rules out deep nesting in nearly every line.
    return _checked(value, line.count(b"{") + line.count(b"["))


def scan_object(text: str, start: int) -> tuple[dict[str, Any] | None, str | None, int]:
    """As `parse_object`, for a value that begins in `text` at `start`; and where it ends.

    Raises json.JSONDecodeError when it does not end, and RecursionError.
    """
    try:
        value, end = _decoder.raw_decode(text, start)
    except json.JSONDecodeError:
        raise
    except ValueError as wrong:
        _, end = _lenient.raw_decode(text, start)
        return None, str(wrong), end
    return *_checked(value, text.count("{", start, end) + text.count("[", start, end)), end


def _checked(value: object, brackets: int) -> tuple[dict[str, Any] | None, str | None]:
    if not isinstance(value, dict):
        return None, f"{_kind(value)}, where a JSON object is needed"
    if brackets > _MAX_DEPTH and _is_deep(value):
        return None, f"nested deeper than {_MAX_DEPTH} levels"
    return value, None


def _pairs(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    value = dict(pairs)
    if len(value) != len(pairs):
        names = [name for name, _ in pairs]
        twice = next(name for name in names if names.count(name) > 1)
        raise ValueError(f"the key {twice!r} occurs twice in one object")
    return value


def _constant(name: str) -> Any:
    raise ValueError(f"{name} is not JSON")


def _float(text: str) -> float:
    value = float(text)
    if value in (float("inf"), float("-inf")):
        raise ValueError(f"the number {text[:40]} is too large")
    return value


def _int(text: str) -> int:
    try:
        return int(text)
    except ValueError:
        raise ValueError(f"a number of {len(text)} digits is too long") from None


_decoder = json.JSONDecoder(object_pairs_hook=_pairs, parse_constant=_constant, parse_float=_float, parse_int=_int)

# Finds the end of a value that the other one refuses.
_lenient = json.JSONDecoder(parse_int=len, parse_float=len)


def _kind(value: object) -> str:
    names = {list: "a JSON array", str: "a JSON string", bool: "true or false", type(None): "null"}
    return names.get(type(value), "a number")


def _is_deep(value: object) -> bool:
    level: list[Any] = [value]
    for _ in range(_MAX_DEPTH):
        level = [
            inner
            for outer in level
            for inner in (outer.values() if isinstance(outer, dict) else outer)
            if isinstance(inner, dict | list)
        ]
        if not level:
            return False
    return True
