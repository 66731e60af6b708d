"""Values of Python programs as JSON has them, the same as those of Arrow: see `arrow_values`.

NaN, infinities, NaT and pandas' NA are null. Decimals, dates and times are texts, in ISO 8601; times with a zone are in
UTC. Bytes are base64, UUIDs are texts. Values of numpy are what they are in Python, and arrays are lists.
"""

from base64 import b64encode
from collections.abc import Callable, Mapping
from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal
from enum import Enum
from math import isfinite
from typing import Any, Final, NoReturn
from uuid import UUID

from pydantic import BaseModel

from crewrun.tables.reading.arrow_values import duration_text, fraction_text

# JSON nested deeper than this is refused in files too.
_MAX_DEPTH: Final = 200
_PLAIN: Final = frozenset({str, bool, type(None)})
# Python reads no longer numbers from texts, and writes none. A file may have none either.
_MOST_DIGITS: Final = 4300
_TOO_LARGE: Final = 10**_MOST_DIGITS
# A decimal with a larger exponent would be a text of as many zeros.
_MOST_ZEROS: Final = 1000
_NS_PER_S: Final = 1_000_000_000
_DATES: Final = frozenset(f"datetime64[{unit}]" for unit in "YMWD")  # numpy's types without a time of day


class NotJson(ValueError):
    """A value that JSON cannot have. `place` is where in the row it is, such as `meta.image`."""

    def __init__(self, place: str, why: str) -> None:
        super().__init__(f"{place!r} {why}")


def json_row(row: Mapping[Any, Any]) -> dict[str, Any]:
    """`row` as a JSON object, which shares nothing with it that could be changed. Raises NotJson."""
    content = {
        key if type(key) is str else _key(key, ""): value if type(value) in _PLAIN else _value(value, str(key), 0)
        for key, value in row.items()
    }
    return content if len(content) == len(row) else _refuse_twins(row, "")


def _value(value: Any, place: str, depth: int) -> Any:
    kind = type(value)
    if kind in _PLAIN:
        return value
    if kind is float:
        return value if isfinite(value) else None
    if kind is int:
        if -_TOO_LARGE < value < _TOO_LARGE:
            return value
        raise NotJson(place, f"is a number of more than {_MOST_DIGITS:,} digits, which is too long")
    if depth > _MAX_DEPTH:
        raise NotJson(place, "is nested too deep")
    if isinstance(value, Mapping):
        content = {_key(key, place): _value(inner, f"{place}.{key}", depth + 1) for key, inner in value.items()}
        return content if len(content) == len(value) else _refuse_twins(value, place)
    if isinstance(value, list | tuple):
        return [_value(inner, f"{place}[{i}]", depth + 1) for i, inner in enumerate(value)]
    if isinstance(value, Enum):
        return _value(value.value, place, depth + 1)
    for standard, convert in _CONVERTERS:
        if isinstance(value, standard):
            return _value(convert(value), place, depth + 1)
    return _of_library(value, place, depth)


def _of_library(value: Any, place: str, depth: int) -> Any:
    """A value of numpy, pandas or pydantic, none of which has to be installed or imported for that."""
    kind = type(value)
    library = kind.__module__.partition(".")[0]
    if kind.__name__ in ("NAType", "NaTType"):
        return None
    if library == "numpy" and hasattr(value, "dtype"):
        return _of_numpy(value, place, depth)
    if isinstance(value, BaseModel):
        return _value(value.model_dump(mode="json"), place, depth + 1)
    name = kind.__qualname__ if library == "builtins" else f"{kind.__module__}.{kind.__qualname__}"
    raise NotJson(
        place, f"is of the type {name}, which JSON does not have; make a text, a number, a list or a dict of it"
    )


def _of_numpy(value: Any, place: str, depth: int) -> Any:
    code = value.dtype.kind
    if getattr(value, "ndim", 0):
        return [_value(inner, f"{place}[{i}]", depth + 1) for i, inner in enumerate(value)]
    if code == "f":
        # The shortest number that is the same in its precision: 0.1, and not 0.10000000149011612.
        number = float(str(value))
        return number if isfinite(number) else None
    if code in "mM":
        return _of_numpy_time(value)
    return _value(value.item(), place, depth + 1)


def _of_numpy_time(value: Any) -> str | None:
    if str(value) == "NaT":
        return None
    if value.dtype.kind == "m":
        return duration_text(_NS_PER_S, _nanoseconds(value))
    if str(value.dtype) in _DATES:
        return str(value.astype("datetime64[D]"))
    whole = value.astype("datetime64[s]")
    return f"{whole}{fraction_text(_nanoseconds(value - whole), _NS_PER_S)}"


def _nanoseconds(span: Any) -> int:
    return int(span.astype("timedelta64[ns]").astype("int64"))


def _key(key: Any, place: str) -> str:
    """The name of a field, as JSON writes it: columns of a DataFrame may have numbers."""
    if isinstance(key, str):
        return str(key)
    if isinstance(key, int) and not isinstance(key, bool):
        return str(key)
    raise NotJson(f"{place}.{key}" if place else str(key), f"is a {type(key).__name__}, and fields are named by texts")


def _refuse_twins(mapping: Mapping[Any, Any], place: str) -> NoReturn:
    """Raise NotJson: two keys, such as 1 and "1", are the same as names of fields."""
    names = [_key(key, place) for key in mapping]
    twin = next(name for name in names if names.count(name) > 1)
    raise NotJson(f"{place}.{twin}" if place else twin, "is the name of two fields, one a number and one a text")


def _instant(value: datetime) -> str | None:
    if value != value:  # noqa: PLR0124  (pandas' NaT is a datetime)
        return None
    zone = "" if value.tzinfo is None else "Z"
    moment = value if value.tzinfo is None else value.astimezone(UTC)
    nanoseconds = moment.microsecond * 1000 + getattr(moment, "nanosecond", 0)
    whole = datetime(moment.year, moment.month, moment.day, moment.hour, moment.minute, moment.second)
    return f"{whole.isoformat()}{fraction_text(nanoseconds, _NS_PER_S)}{zone}"


def _time(value: time) -> str:
    return f"{value:%H:%M:%S}{fraction_text(value.microsecond, 1_000_000)}"


def _duration(value: timedelta) -> str | None:
    if value != value:  # noqa: PLR0124  (as above)
        return None
    microseconds = value // timedelta(microseconds=1)
    return duration_text(_NS_PER_S, microseconds * 1000 + getattr(value, "nanoseconds", 0) % 1000)


def _decimal(value: Decimal) -> str | None:
    if not value.is_finite():
        return None
    return format(value, "f") if abs(value.adjusted()) <= _MOST_ZEROS else str(value)


# A datetime is a date too, so it comes first. Subclasses of plain types, such as numpy's str_, become those.
_CONVERTERS: tuple[tuple[type | tuple[type, ...], Callable[[Any], Any]], ...] = (
    (str, str),
    (datetime, _instant),
    (date, date.isoformat),
    (time, _time),
    (timedelta, _duration),
    (Decimal, _decimal),
    (UUID, str),
    ((bytes, bytearray, memoryview), lambda value: b64encode(value).decode()),
    (int, int),
    (float, float),
)
