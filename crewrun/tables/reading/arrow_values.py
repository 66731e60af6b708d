"""Values of Arrow as JSON has them, the same wherever and with whatever libraries they are read.

Whole numbers, texts and booleans stay what they are. NaN and infinities are null. Decimals, dates and times are texts,
in ISO 8601 and without trailing zeros in fractions of a second; times with a zone are in UTC. Bytes are base64, UUIDs
are texts. Lists and structs are arrays and objects; a map is an object if its keys are texts, else an array of pairs.
"""

from base64 import b64encode
from collections.abc import Callable
from datetime import date, datetime, timedelta
from functools import partial
from itertools import pairwise
from math import isfinite
from typing import Any
from uuid import UUID

_PER_S = {"s": 1, "ms": 1_000, "us": 1_000_000, "ns": 1_000_000_000}
_EPOCH = datetime(1970, 1, 1)

Converter = Callable[[Any], list[Any]]


def converter_of(kind: Any) -> Converter:
    """A function that makes values of an Arrow array of this type."""
    from pyarrow import types

    if types.is_dictionary(kind):
        inner = converter_of(kind.value_type)
        return lambda array: inner(array.dictionary_decode())
    if types.is_struct(kind):
        return _struct(kind)
    if types.is_map(kind):
        return _map(kind)
    if types.is_list(kind) or types.is_large_list(kind) or types.is_fixed_size_list(kind):
        return partial(_lists, converter_of(kind.value_type))
    if getattr(kind, "extension_name", None) is not None:
        is_uuid = kind.extension_name == "arrow.uuid"
        stored = _each(lambda value: str(UUID(bytes=value))) if is_uuid else converter_of(kind.storage_type)
        return lambda array: stored(array.storage)
    return _scalar(kind, types)


def _scalar(kind: Any, types: Any) -> Converter:
    if types.is_float16(kind) or types.is_float32(kind):
        return _short_floats
    if types.is_floating(kind):
        return _each(lambda value: value if isfinite(value) else None)
    if types.is_decimal(kind):
        return _each(lambda value: format(value, "f"))
    if types.is_timestamp(kind):
        return _from_int64(partial(_instant, _PER_S[kind.unit], "Z" if kind.tz else ""))
    if types.is_date(kind):
        return _dates
    if types.is_time(kind):
        return _from_int64(partial(_time, _PER_S[kind.unit]))
    if types.is_duration(kind):
        return _from_int64(partial(duration_text, _PER_S[kind.unit]))
    if types.is_interval(kind):
        return _each(lambda value: f"P{value.months}M{value.days}DT{_decimal(value.nanoseconds, _PER_S['ns'])}S")
    if types.is_binary(kind) or types.is_large_binary(kind) or types.is_fixed_size_binary(kind):
        return _each(lambda value: b64encode(value).decode())
    if types.is_binary_view(kind):
        return _each(lambda value: b64encode(value).decode())
    if types.is_run_end_encoded(kind):
        return partial(_decoded_runs, converter_of(kind.value_type))
    return lambda array: array.to_pylist()  # integers, texts, booleans, null


def _each(convert: Callable[[Any], Any]) -> Converter:
    return lambda array: [None if value is None else convert(value) for value in array.to_pylist()]


def _from_int64(convert: Callable[[int], str]) -> Converter:
    """Through the numbers that are stored: as Python objects, times of nanoseconds need pandas."""
    import pyarrow as pa

    def convert_all(array: Any) -> list[Any]:
        stored = array.cast(pa.int32()).cast(pa.int64()) if array.type.bit_width == 32 else array.cast(pa.int64())
        return [None if value is None else convert(value) for value in stored.to_pylist()]

    return convert_all


def _short_floats(array: Any) -> list[Any]:
    """The shortest numbers that are the same in single precision: 0.1, and not 0.10000000149011612."""
    import pyarrow as pa

    texts = array.cast(pa.float32()).cast(pa.string()).to_pylist()
    values = [None if text is None else float(text) for text in texts]
    return [value if value is None or isfinite(value) else None for value in values]


def _dates(array: Any) -> list[Any]:
    import pyarrow as pa

    days = array.cast(pa.date32()).cast(pa.int32()).to_pylist()
    return [None if n is None else _date(n) for n in days]


def _date(days: int) -> str:
    try:
        return (date(1970, 1, 1) + timedelta(days)).isoformat()
    except OverflowError:
        return f"{days} days since 1970-01-01"


def _instant(per_s: int, zone: str, value: int) -> str:
    seconds, fraction = divmod(value, per_s)
    try:
        moment = _EPOCH + timedelta(seconds=seconds)
    except OverflowError:
        return f"{_decimal(value, per_s)} s since 1970-01-01{zone}"
    return f"{moment.isoformat()}{fraction_text(fraction, per_s)}{zone}"


def _time(per_s: int, value: int) -> str:
    seconds, fraction = divmod(value, per_s)
    minutes, seconds = divmod(seconds, 60)
    return f"{minutes // 60:02}:{minutes % 60:02}:{seconds:02}{fraction_text(fraction, per_s)}"


def duration_text(per_s: int, value: int) -> str:
    """`PT1.5S` for a number of which there are `per_s` in a second."""
    return f"{'-' if value < 0 else ''}PT{_decimal(abs(value), per_s)}S"


def _decimal(value: int, per_s: int) -> str:
    sign, value = ("-", -value) if value < 0 else ("", value)
    return f"{sign}{value // per_s}{fraction_text(value % per_s, per_s)}"


def fraction_text(value: int, per_s: int) -> str:
    """`.25` for a part of a second, nothing for none."""
    return f".{value:0{len(str(per_s)) - 1}}".rstrip("0") if value else ""


def _struct(kind: Any) -> Converter:
    names = [kind.field(i).name for i in range(kind.num_fields)]
    converters = [converter_of(kind.field(i).type) for i in range(kind.num_fields)]

    def convert(array: Any) -> list[Any]:
        columns = [convert(array.field(i)) for i, convert in enumerate(converters)]
        valid = array.is_valid().to_pylist()
        rows = zip(*columns, strict=True) if columns else iter([()] * len(array))
        return [dict(zip(names, row, strict=True)) if ok else None for ok, row in zip(valid, rows, strict=True)]

    return convert


def _map(kind: Any) -> Converter:
    import pyarrow as pa

    pair = pa.struct([pa.field("key", kind.key_type), pa.field("value", kind.item_type)])
    inner = converter_of(pair)
    is_text = pa.types.is_string(kind.key_type) or pa.types.is_large_string(kind.key_type)

    def convert(array: Any) -> list[Any]:
        lists = array.cast(pa.list_(pair))
        pairs = [None if row is None else [(one["key"], one["value"]) for one in row] for row in _lists(inner, lists)]
        return [row if row is None else dict(row) if is_text else [list(one) for one in row] for row in pairs]

    return convert


def _lists(inner: Converter, array: Any) -> list[Any]:
    """`flatten` leaves out what null lists cover, and respects slices."""
    values = inner(array.flatten())
    lengths = [0 if n is None else n for n in array.value_lengths().to_pylist()]
    ends = [0]
    for length in lengths:
        ends.append(ends[-1] + length)
    valid = array.is_valid().to_pylist()
    return [values[start:end] if ok else None for ok, (start, end) in zip(valid, pairwise(ends), strict=True)]


def _decoded_runs(inner: Converter, array: Any) -> list[Any]:
    import pyarrow as pa

    compute: Any = pa.compute
    return inner(compute.run_end_decode(array))
