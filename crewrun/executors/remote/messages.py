"""What a run and its workers elsewhere send each other: calls and their replies, and the values in them.

The run has all that there is one of: journal, limits, budget, cache. A worker has a loaded crew and connections, and
nothing that must outlive it. What each end can be called for are the methods of `run_service.RunService` and
`server.WorkerService`. How messages become bytes is in `codec`.
"""

from typing import Any, NamedTuple, TypeAlias

from crewrun.errors import CallError
from crewrun.messages import Completion, RateLimits, Usage
from crewrun.recorder import Spent
from crewrun.redaction.redactor import redact
from crewrun.row import Outcome

# What an exception of a class of the user's may keep in its fields.
_SIMPLE = (str, int, float, type(None), Usage, RateLimits)


class Call(NamedTuple):
    """Call `method` of the other end's service. Number 0 is a notification: it gets no reply."""

    number: int
    method: str
    arguments: tuple[Any, ...]


class Reply(NamedTuple):
    """What the call with this number returned, or the exception that it raised."""

    number: int
    value: Any = None
    fault: "Fault | None" = None


WireMessage: TypeAlias = Call | Reply


class Fault(NamedTuple):
    """An exception of ours in transit. Pickle would call its class with its message, which not every class takes."""

    kind: type[Exception]
    arguments: tuple[Any, ...]
    fields: dict[str, Any]

    @classmethod
    def of(cls, error: Exception) -> "Fault":
        """`error` in transit. One of a class of the user's becomes the class of ours that it derives from.

        It is redacted here, by the process that knows the secrets in it.
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
    """A call may be sent, or only a probe in its place. The run has the permit itself, by the number that was asked
    with.
    """

    is_probe: bool


class RecordedAnswer(NamedTuple):
    """An answer that was recorded for a row: a model's, or a tool's text. `is_new` if recorded in this session."""

    task: str
    identity: bytes
    answer: tuple[Completion, Spent] | str
    is_new: bool = False


class OutputFile(NamedTuple):
    """A file that a task wrote: its path below the run's files folder, and its content."""

    path: str
    content: bytes


class RowResult(NamedTuple):
    """A row's outcome, which travels without its row and without the exception that stopped it: that is `stopped`.

    `replayed` are task and identity of the recorded answers that it used. Of `files`, which its tasks wrote, the
    outcome lists the paths.
    """

    outcome: Outcome
    stopped: Fault | None = None
    replayed: tuple[tuple[str, bytes], ...] = ()
    files: tuple[OutputFile, ...] = ()


def is_ours(kind: type) -> bool:
    """Whether both ends have this class: a user's module may be on one of them only."""
    return kind.__module__.partition(".")[0] in ("crewrun", "builtins")
