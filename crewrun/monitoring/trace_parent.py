"""`TraceParent`: the span of another program that a run is part of, as W3C's Trace Context has it in two variables.

https://www.w3.org/TR/trace-context/ and https://opentelemetry.io/docs/specs/otel/context/env-carriers/
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

_FORM: Final = re.compile(r"(?!ff)[0-9a-f]{2}-([0-9a-f]{32})-([0-9a-f]{16})-([0-9a-f]{2})(?:-.*)?", re.ASCII)
_LONGEST_STATE: Final = 512


@dataclass(frozen=True, slots=True)
class TraceParent:
    """A trace and a span of it, 16 and 8 bytes; whether the trace is recorded; and its `tracestate`, as it came."""

    trace_id: bytes
    span_id: bytes
    is_sampled: bool
    state: str = ""

    @classmethod
    def of(cls, env: Mapping[str, str]) -> "TraceParent | None":
        """What TRACEPARENT and TRACESTATE say, None without them, or if TRACEPARENT is invalid."""
        match = _FORM.fullmatch(env.get("TRACEPARENT", "").strip())
        if match is None:
            return None
        trace_id, span_id = bytes.fromhex(match[1]), bytes.fromhex(match[2])
        if not any(trace_id) or not any(span_id):
            return None
        state = env.get("TRACESTATE", "").strip()
        is_state = state.isascii() and state.isprintable() and len(state) <= _LONGEST_STATE
        return cls(trace_id, span_id, bool(int(match[3], 16) & 1), state if is_state else "")
