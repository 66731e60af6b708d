"""What a run and its workers elsewhere send each other: calls and their replies, and the values in them.

The run has everything that exists once: journal, limits, budget, cache. A worker has a loaded crew and connections, and
nothing that must outlive it. The methods that each end can call are in `run_service.RunService` and
`server.WorkerService`. `codec` encodes messages as bytes.
"""

from typing import Any, NamedTuple, TypeAlias

from crewrun.errors import CallError
from crewrun.messages import Completion, RateLimits, Usage
from crewrun.recorder import Spent
from crewrun.redaction.redactor import redact
from crewrun.row import Outcome

# The types of fields that an exception of a user's class keeps in transit.
_SIMPLE = (str, int, float, type(None), Usage, RateLimits)


class RemoteCall(NamedTuple):
    """Call `method` of the other end's service. Number 0 is a notification: it gets no reply."""

    number: int
    method: str
    arguments: tuple[Any, ...]


class RemoteReply(NamedTuple):
    """What the call with this number returned, or the exception that it raised."""

    number: int
    value: Any = None
    fault: "RemoteFault | None" = None


WireMessage: TypeAlias = RemoteCall | RemoteReply


class RemoteFault(NamedTuple):
    """An exception in transit. Pickle would call its class with its message alone, which not every class accepts."""

    kind: type[Exception]
    arguments: tuple[Any, ...]
    fields: dict[str, Any]

    @classmethod
    def of(cls, error: Exception) -> "RemoteFault":
        """`error` in transit. An exception of a user's class becomes the class of ours from which it derives.

        It is redacted here, in the process that knows the secrets.
        """
        if is_ours(type(error)):
            arguments = tuple(redact(argument) if isinstance(argument, str) else argument for argument in error.args)
            return cls(type(error), arguments, dict(error.__dict__))
        kind = next(kind for kind in type(error).__mro__ if is_ours(kind))
        fields = {name: value for name, value in error.__dict__.items() if isinstance(value, _SIMPLE)}
        return cls(kind, (redact(str(error)),), fields)

    def error(self) -> Exception:
        """The same exception, without its traceback."""
        error = self.kind.__new__(self.kind, *self.arguments)
        error.args = self.arguments
        error.__dict__.update(self.fields)
        return error

    def call_error(self) -> CallError:
        """The failure of a call to a model."""
        error = self.error()
        assert isinstance(error, CallError)  # noqa: S101  (our own worker sent it)
        return error


class GrantedPermit(NamedTuple):
    """A call may be sent, or only a probe instead of it. The run has the permit itself, by the request's number."""

    is_probe: bool


class RecordedAnswer(NamedTuple):
    """A recorded answer of a row: a model's, or a tool's text. `is_new` says that this session recorded it."""

    task: str
    identity: bytes
    answer: tuple[Completion, Spent] | str
    is_new: bool = False


class OutputFile(NamedTuple):
    """A file that a task wrote: its path below the run's files folder, and its content."""

    path: str
    content: bytes


class RowResult(NamedTuple):
    """A row's outcome, without its row and without the exception that stopped it, which is `stopped`.

    `replayed` are task and identity of the recorded answers that the row used. `files` were written by its tasks; the
    outcome lists their paths.
    """

    outcome: Outcome
    stopped: RemoteFault | None = None
    replayed: tuple[tuple[str, bytes], ...] = ()
    files: tuple[OutputFile, ...] = ()


def is_ours(kind: type) -> bool:
    """Whether both ends have this class: a user's module may exist at only one of them."""
    return kind.__module__.partition(".")[0] in ("crewrun", "builtins")
