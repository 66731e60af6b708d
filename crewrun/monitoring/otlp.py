"""Spans in the wire format of OTLP, which is protobuf: fields of bytes, put together by hand.

A row of one task has four spans, and a row of an instant model takes 500 µs. The SDK took 145 to 185 µs to make and
encode three spans; the four of a row take 48 here, on the same busy machine. The numbers of the fields are fixed by the
protocol; tests decode what is made here with the messages of `opentelemetry-proto`. https://github.com/open-telemetry/opentelemetry-proto
(trace.proto, common.proto)
"""

from collections.abc import Iterable, Mapping, Sequence
from functools import lru_cache
from struct import Struct
from typing import Final, NamedTuple

Value = str | bool | int | float | Sequence[str]

# The field for an attribute in each message that has some: its number, and that its length follows.
OF_SPAN: Final = b"\x4a"
OF_EVENT: Final = b"\x1a"
_OF_RESOURCE: Final = b"\x0a"

INTERNAL: Final = 1
CLIENT: Final = 3

_KINDS: Final = {kind: b"\x30" + bytes((kind,)) for kind in (INTERNAL, CLIENT)}
# The field `flags`: sampled (0x1), and whether the parent is remote (0x200) is known (0x100).
_OF_OWN_PARENT: Final = b"\x85\x01" + Struct("<I").pack(0x101)
_OF_REMOTE_PARENT: Final = b"\x85\x01" + Struct("<I").pack(0x301)
_FEWEST_OF_TWO: Final = 0x80
_ONE_BYTE: Final = tuple(bytes((number,)) for number in range(_FEWEST_OF_TWO))

_fixed64 = Struct("<Q").pack
_double = Struct("<d").pack


class Place(NamedTuple):
    """Where a span is: ids of 16 and 8 bytes. `parent` is empty for a root; `is_remote` says that another process has
    it. `state` is W3C's `tracestate`, as it came.
    """

    trace_id: bytes
    span_id: bytes
    parent: bytes
    is_remote: bool = False
    state: str = ""


class Span(NamedTuple):
    """What a span says; `attributes` and `events` are encoded. `error` is why it failed, None if it did not."""

    name: str
    kind: int
    start_ns: int
    end_ns: int
    attributes: bytes
    events: bytes = b""
    error: str | None = None


def attribute(key: str, value: Value, field: bytes = OF_SPAN) -> bytes:
    """One attribute. Text that is no Unicode has `?` for what cannot be encoded."""
    return field + _sized(_key(key) + _sized(_value(value)))


@lru_cache(maxsize=4096)
def constant(key: str, value: str | int | bool) -> bytes:
    """An attribute of a span that many spans have: a model, an agent, a task."""
    return attribute(key, value)


def event(name: str, time_ns: int, attributes: bytes) -> bytes:
    """Something that happened during a span."""
    return b"\x5a" + _sized(b"\x09" + _fixed64(time_ns) + _text(b"\x12", name) + attributes)


def encoded(place: Place, span: Span) -> bytes:
    """A span, as a field of `spans`."""
    trace_id, span_id, parent, is_remote, state = place
    name, kind, start_ns, end_ns, attributes, events, error = span
    content = (
        b"\x0a\x10",
        trace_id,
        b"\x12\x08",
        span_id,
        b"\x22\x08" + parent if parent else b"",
        _name(name),
        _KINDS[kind],
        b"\x39",
        _fixed64(start_ns),
        b"\x41",
        _fixed64(end_ns),
        attributes,
        events,
        _OF_REMOTE_PARENT if is_remote else _OF_OWN_PARENT,
        b"\x1a" + _sized(state.encode()) if state else b"",
        b"" if error is None else b"\x7a" + _sized(_text(b"\x12", error) + b"\x18\x02"),
    )
    return b"\x12" + _sized(b"".join(content))


def export_request(
    resource: Mapping[str, Value], scope: str, version: str, schema_url: str, spans: Iterable[bytes]
) -> bytes:
    """The body of an export: `spans` from `encoded`, of one `resource`, made by the instrumentation `scope`."""
    about = b"\x0a" + _sized(b"".join(attribute(key, value, _OF_RESOURCE) for key, value in resource.items()))
    made_by = b"\x0a" + _sized(_text(b"\x0a", scope) + _text(b"\x12", version))
    scope_spans = b"\x12" + _sized(made_by + b"".join(spans) + _text(b"\x1a", schema_url))
    return b"\x0a" + _sized(about + scope_spans)


@lru_cache(maxsize=4096)
def _name(name: str) -> bytes:
    return _text(b"\x2a", name)


@lru_cache(maxsize=1024)
def _key(key: str) -> bytes:
    """An attribute's key, and the number of the field for its value."""
    return _text(b"\x0a", key) + b"\x12"


def _value(value: Value) -> bytes:
    if isinstance(value, str):
        return _text(b"\x0a", value)
    if isinstance(value, bool):
        return b"\x10\x01" if value else b"\x10\x00"
    if isinstance(value, int):
        return b"\x18" + _varint(value & 0xFFFF_FFFF_FFFF_FFFF)  # negative ones in two's complement
    if isinstance(value, float):
        return b"\x21" + _double(value)
    return b"\x2a" + _sized(b"".join(b"\x0a" + _sized(_text(b"\x0a", each)) for each in value))


def _text(field: bytes, text: str) -> bytes:
    return field + _sized(text.encode("utf-8", "replace"))


def _sized(content: bytes) -> bytes:
    """`content` with its length before it."""
    return _varint(len(content)) + content


def _varint(number: int) -> bytes:
    """Seven bits in each byte, the lowest first; the eighth says that another follows."""
    if number < _FEWEST_OF_TWO:
        return _ONE_BYTE[number]
    groups = bytearray()
    while number > 0x7F:
        groups.append(number & 0x7F | 0x80)
        number >>= 7
    groups.append(number)
    return bytes(groups)
