"""Encodes messages as bytes, with pickle: both ends run the same crewrun, and a process that can reach a worker can run
code in it anyway.
"""

import pickle
from collections.abc import Callable, Sequence
from dataclasses import fields
from io import BytesIO
from operator import attrgetter
from typing import Any

from crewrun.executors.remote.messages import WireMessage, is_ours
from crewrun.messages import Completion, Message, RateLimits, ToolCall, Usage, UsageDetails
from crewrun.row import ErrorRecord, FailedTool, Outcome, Row, TaskRecord


def _by_fields(kind: type) -> Callable[[Any], tuple[Any, ...]]:
    values = attrgetter(*(field.name for field in fields(kind)))
    return lambda value: (kind, values(value))


# An outcome travels without its row, which the run has.
_NO_ROW = Row(0, 0, "", None)
_outcome_values = attrgetter(*(field.name for field in fields(Outcome) if field.name not in ("row", "stopped")))


def _outcome(*values: Any) -> Outcome:
    return Outcome(_NO_ROW, *values)


# Pickle looks up the fields of a frozen dataclass with slots for every object; this is twice as fast.
_REDUCERS: dict[type, Callable[[Any], tuple[Any, ...]] | None] = {
    kind: _by_fields(kind)
    for kind in (
        Completion,
        ErrorRecord,
        FailedTool,
        Message,
        RateLimits,
        Row,
        TaskRecord,
        ToolCall,
        Usage,
        UsageDetails,
    )
}
_REDUCERS[Outcome] = lambda outcome: (_outcome, _outcome_values(outcome))
# From an object of a subclass to an object of the class itself.
_EXACT: dict[type, Callable[[Any], Any]] = {
    str: str.__str__,
    int: int.__int__,
    float: float.__float__,
    bytes: lambda value: b"".join((value,)),
}


def _reducer(kind: type) -> Callable[[Any], tuple[Any, ...]] | None:
    """Encodes foreign subclasses of text and numbers as the plain type: the other end may not have the class."""
    for plain, exact in _EXACT.items():
        if issubclass(kind, plain) and not is_ours(kind):
            return lambda value: (plain, (exact(value),))
    return None


class _Pickler(pickle.Pickler):
    def reducer_override(self, value: Any) -> Any:
        kind = type(value)
        if kind not in _REDUCERS:
            _REDUCERS[kind] = _reducer(kind)
        reduce = _REDUCERS[kind]
        return NotImplemented if reduce is None else reduce(value)


def pack(messages: Sequence[WireMessage]) -> bytes:
    """A bundle of messages, in their order."""
    bundle = BytesIO()
    _Pickler(bundle, pickle.HIGHEST_PROTOCOL).dump(messages)
    return bundle.getvalue()


def unpack(bundle: bytes) -> Sequence[WireMessage]:
    """The messages in a bundle of `pack`."""
    messages: Sequence[WireMessage] = pickle.loads(bundle)  # noqa: S301  (from our own other end)
    return messages
