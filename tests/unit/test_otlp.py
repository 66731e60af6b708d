"""What is encoded by hand is what the protocol's own classes read."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from crewrun.monitoring.otlp import CLIENT, INTERNAL, OF_EVENT, Place, Span, attribute, encoded, event, export_request
from crewrun.monitoring.trace_parent import TraceParent

TEXTS = st.text()  # without surrogates
VALUES = st.one_of(
    TEXTS, st.booleans(), st.integers(-(2**63), 2**63 - 1), st.floats(allow_nan=False), st.lists(TEXTS, max_size=3)
)
TIMES = st.integers(0, 2**64 - 1)


@given(
    name=TEXTS,
    kind=st.sampled_from([INTERNAL, CLIENT]),
    times=st.tuples(TIMES, TIMES),
    attributes=st.dictionaries(TEXTS, VALUES, max_size=5),
    events=st.lists(st.tuples(TEXTS, TIMES, st.dictionaries(TEXTS, VALUES, max_size=2)), max_size=3),
    error=st.none() | TEXTS,
    ids=st.tuples(st.binary(min_size=16, max_size=16), *[st.binary(min_size=8, max_size=8)] * 2),
    is_remote=st.booleans(),
    state=st.text(st.characters(min_codepoint=33, max_codepoint=126), max_size=20),
)
def test_any_span_is_read_as_it_was_meant(
    name: str,
    kind: int,
    times: tuple[int, int],
    attributes: dict[str, object],
    events: list[tuple[str, int, dict[str, object]]],
    error: str | None,
    ids: tuple[bytes, bytes, bytes],
    is_remote: bool,
    state: str,
) -> None:
    """Whatever is in it: long texts, numbers below zero, lists, and any number of each."""
    span = Span(
        name,
        kind,
        *times,
        attributes=b"".join(attribute(key, value) for key, value in attributes.items()),  # type: ignore[arg-type]  # VALUES
        events=b"".join(
            event(what, at, b"".join(attribute(key, value, OF_EVENT) for key, value in more.items()))  # type: ignore[arg-type]  # VALUES
            for what, at, more in events
        ),
        error=error,
    )
    body = export_request(
        {"service.name": "crewrun"}, "crewrun", "1", "url", [encoded(Place(*ids, is_remote, state), span)]
    )
    (resource_spans,) = ExportTraceServiceRequest.FromString(body).resource_spans
    (scope_spans,) = resource_spans.scope_spans
    (read,) = scope_spans.spans
    assert [(one.key, one.value.string_value) for one in resource_spans.resource.attributes] == [
        ("service.name", "crewrun")
    ]
    assert (scope_spans.scope.name, scope_spans.scope.version, scope_spans.schema_url) == ("crewrun", "1", "url")
    assert (read.trace_id, read.span_id, read.parent_span_id) == ids
    assert (read.name, read.kind, read.start_time_unix_nano, read.end_time_unix_nano) == (name, kind, *times)
    assert (read.flags, read.trace_state) == (0x301 if is_remote else 0x101, state)
    assert {one.key: value_of(one.value) for one in read.attributes} == attributes
    assert [
        (one.name, one.time_unix_nano, {each.key: value_of(each.value) for each in one.attributes})
        for one in read.events
    ] == events
    assert (read.status.code, read.status.message) == ((0, "") if error is None else (2, error))


def value_of(value: object) -> object:
    """A value of the protocol in Python."""
    kind = value.WhichOneof("value")  # type: ignore[attr-defined]  # an AnyValue
    found = getattr(value, kind)
    return [value_of(one) for one in found.values] if kind == "array_value" else found


def test_text_that_is_no_unicode_is_sent_nevertheless() -> None:
    """A lone surrogate, as in a file's name or a model's broken JSON, would make the whole export unreadable."""
    body = export_request(
        {}, "s", "1", "", [encoded(Place(b"1" * 16, b"2" * 8, b""), Span("a\ud800b", INTERNAL, 1, 2, b""))]
    )
    (read,) = ExportTraceServiceRequest.FromString(body).resource_spans[0].scope_spans[0].spans
    assert read.name == "a?b"


TRACE, SPAN = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"


@pytest.mark.parametrize(
    ("variables", "parent"),
    [
        pytest.param(
            {"TRACEPARENT": f"00-{TRACE}-{SPAN}-01", "TRACESTATE": "a=1"},
            TraceParent(bytes.fromhex(TRACE), bytes.fromhex(SPAN), True, "a=1"),
            id="sampled, with a state",
        ),
        pytest.param(
            {"TRACEPARENT": f"00-{TRACE}-{SPAN}-02"},
            TraceParent(bytes.fromhex(TRACE), bytes.fromhex(SPAN), False),
            id="not sampled",
        ),
        pytest.param(
            {"TRACEPARENT": f"cc-{TRACE}-{SPAN}-01-what-comes-later", "TRACESTATE": "a=\x00"},
            TraceParent(bytes.fromhex(TRACE), bytes.fromhex(SPAN), True),
            id="a later version, with a state that is none",
        ),
        pytest.param({}, None, id="none"),
        pytest.param({"TRACEPARENT": f"ff-{TRACE}-{SPAN}-01"}, None, id="no version"),
        pytest.param({"TRACEPARENT": f"00-{'0' * 32}-{SPAN}-01"}, None, id="no trace"),
        pytest.param({"TRACEPARENT": f"00-{TRACE}-{'0' * 16}-01"}, None, id="no span"),
        pytest.param({"TRACEPARENT": f"00-{TRACE.upper()}-{SPAN}-01"}, None, id="upper case"),
        pytest.param({"TRACEPARENT": "nonsense"}, None, id="nonsense"),
    ],
)
def test_a_trace_parent_is_read_as_w3c_says(variables: dict[str, str], parent: TraceParent | None) -> None:
    """An invalid one counts as none."""
    assert TraceParent.of(variables) == parent
