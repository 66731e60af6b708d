"""What a run and its workers elsewhere say to each other: letters, and how a bundle of them travels.

The run has all that there is one of: journal, limits, budget, cache. A worker has a loaded crew and connections, and
nothing that must outlive it. Bundles are pickled: both ends run the same crewrun, and whoever can reach a worker can
run code in it anyway.
"""

import pickle
from collections.abc import Callable
from dataclasses import fields
from io import BytesIO
from operator import attrgetter
from typing import Any, NamedTuple, TypeAlias

from crewrun.limits.permit import CallResult, Price
from crewrun.messages import Completion, Endpoint, Message, RateLimits, ToolCall, Usage, UsageDetails
from crewrun.recorder import Spent
from crewrun.redaction.redactor import redact
from crewrun.row import ErrorRecord, FailedTool, Outcome, Row, TaskRecord

# What may be in a field of an exception of the user's, whatever else is.
_SIMPLE = (str, int, float, type(None), Usage, RateLimits)


class Fault(NamedTuple):
    """An exception of ours on its way. Pickle would call its class with its message, which not all of them take."""

    kind: type[Exception]
    arguments: tuple[Any, ...]
    fields: dict[str, Any]

    @classmethod
    def of(cls, error: Exception) -> "Fault":
        """What `error` comes to. One of a class of the user's is as the class of ours that it is made of.

        It is redacted here, where the secrets are known that this process has and the other may not.
        """
        if _is_ours(type(error)):
            arguments = tuple(redact(argument) if isinstance(argument, str) else argument for argument in error.args)
            return cls(type(error), arguments, dict(error.__dict__))
        kind = next(kind for kind in type(error).__mro__ if _is_ours(kind))
        fields = {name: value for name, value in error.__dict__.items() if isinstance(value, _SIMPLE)}
        return cls(kind, (redact(str(error)),), fields)

    def error(self) -> Exception:
        """The same exception, without its traceback."""
        error = self.kind.__new__(self.kind, *self.arguments)
        error.args = self.arguments
        error.__dict__.update(self.fields)
        return error


class Known(NamedTuple):
    """An answer that was recorded for a row: a model's, or a tool's text. `is_new` if it was in this session."""

    task: str
    identity: bytes
    answer: tuple[Completion, Spent] | str
    is_new: bool = False


# From the run to a worker.


class Gap(NamedTuple):
    """Bundles leave at least so many seconds after one another from here on."""

    seconds: float


class Leave(NamedTuple):
    """Leave to send one attempt through this limiter, before anybody has asked; `number` is the pass, below 0."""

    limiter: int
    number: int


class Start(NamedTuple):
    """Run a row; `number` names it from here on. Its first call may need no other leave."""

    number: int
    row: Row
    known: list[Known]
    leave: Leave | None = None


class Drop(NamedTuple):
    """Give a row up."""

    number: int


class Reply(NamedTuple):
    """The answer to the letter with this number, which waits for one."""

    number: int
    value: Any = None
    fault: Fault | None = None


class Refuses(NamedTuple):
    """An endpoint takes no tools or no schema, as another worker was told."""

    endpoint: str
    what: str


# From a worker to the run.


class Begun(NamedTuple):
    """A row that came without leave is at work now."""

    row: int


class Meet(NamedTuple):
    """An endpoint that calls will go to, without its key; `limiter` names it from here on."""

    limiter: int
    endpoint: Endpoint


class Enter(NamedTuple):
    """Wait for leave to send, for a call of `row` (0: of nobody knows which). `number` is then the permit; the answer
    says whether it is for a probe.
    """

    number: int
    limiter: int
    tokens: int
    price: Price | None
    is_patient: bool = True
    row: int = 0


class EnterProbe(NamedTuple):
    """Wait until it is known whether `fault`, which a call met, is its own. The answer
    is that, or None: then `number` is the permit for the probe that finds it out. Without a fault it is for a probe.
    """

    number: int
    limiter: int
    fault: Fault | None
    tokens: int
    price: Price | None


class Answered(NamedTuple):
    """The attempt with this pass was answered."""

    number: int
    end: CallResult


class Failed(NamedTuple):
    """The attempt with the permit `leave` failed. It is answered with whom that is about."""

    number: int
    leave: int
    fault: Fault
    end: CallResult


class GivenUp(NamedTuple):
    """The attempt with this pass was cancelled, or is not waited for any more: then it has no `end`."""

    number: int
    end: CallResult | None = None


class Keep(NamedTuple):
    """Something that a row recorded, as the method `what` of a recorder takes it. Answered when it is safe."""

    number: int
    row: int
    what: str
    arguments: tuple[Any, ...]


class Note(NamedTuple):
    """Something that a row says, as the method `what` of a recorder takes it. Not answered."""

    row: int
    what: str
    arguments: tuple[Any, ...]


class Ask(NamedTuple):
    """A question to the run's cache, as its method `what` takes it."""

    number: int
    what: str
    arguments: tuple[Any, ...]


class Ended(NamedTuple):
    """A row's outcome, which comes without its row and what `stopped` it; or the `fault` that is to end the run.

    `replayed` are the recorded answers that it used. `files` are those that its tasks wrote: the places of their names
    in the outcome's, and their contents.
    """

    row: int
    outcome: Outcome | None
    stopped: Fault | None = None
    fault: Fault | None = None
    replayed: tuple[tuple[str, bytes], ...] = ()
    files: tuple["Written", ...] = ()


class Written(NamedTuple):
    """A file that a task wrote: its path in the row's part of the files folder, and what is in it."""

    path: str
    content: bytes


Letter: TypeAlias = (
    Gap
    | Start
    | Drop
    | Reply
    | Refuses
    | Begun
    | Meet
    | Enter
    | EnterProbe
    | Answered
    | Failed
    | GivenUp
    | Keep
    | Note
    | Ask
    | Ended
)


def _by_fields(kind: type) -> Callable[[Any], tuple[Any, ...]]:
    values = attrgetter(*(field.name for field in fields(kind)))
    return lambda value: (kind, values(value))


# What an outcome has in place of its row while it travels: the run has the row.
_AWAY = Row(0, 0, "", None)
_outcome_values = attrgetter(*(field.name for field in fields(Outcome) if field.name not in ("row", "stopped")))


def _outcome(*values: Any) -> Outcome:
    return Outcome(_AWAY, *values)


# A frozen dataclass with slots looks its fields up for every single object; this is twice as fast.
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
# How an object of a subclass becomes one of the class itself.
_EXACT: dict[type, Callable[[Any], Any]] = {
    str: str.__str__,
    int: int.__int__,
    float: float.__float__,
    bytes: lambda value: b"".join((value,)),
}


def _reducer(kind: type) -> Callable[[Any], tuple[Any, ...]] | None:
    """How objects of a class that is not ours travel: texts and numbers as such, since the class may not be there."""
    for plain, exact in _EXACT.items():
        if issubclass(kind, plain) and not _is_ours(kind):
            return lambda value: (plain, (exact(value),))
    return None


def _is_ours(kind: type) -> bool:
    return kind.__module__.partition(".")[0] in ("crewrun", "builtins")


class _Pickler(pickle.Pickler):
    def reducer_override(self, value: Any) -> Any:
        kind = type(value)
        if kind not in _REDUCERS:
            _REDUCERS[kind] = _reducer(kind)
        reduce = _REDUCERS[kind]
        return NotImplemented if reduce is None else reduce(value)


def pack(number: int, letters: list[Letter]) -> bytes:
    """A bundle, the `number`th of its direction."""
    bundle = BytesIO()
    _Pickler(bundle, pickle.HIGHEST_PROTOCOL).dump((number, letters))
    return bundle.getvalue()


def unpack(bundle: bytes) -> tuple[int, list[Letter]]:
    """What `pack` was given."""
    number, letters = pickle.loads(bundle)  # noqa: S301  (from our own other end, over the cluster's own connections)
    return number, letters
