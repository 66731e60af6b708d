"""The failed tool calls of one task, kickoff or row, as its `RowContext` collects them."""

from typing import Any, Final, NamedTuple

from crewrun.redaction.redactor import LONGEST_QUOTATION, redact
from crewrun.row import FailedTool

# A row's line must not grow with the number of failures: at most this many groups, calls and characters.
_MAX_GROUPS = 20
_MAX_CALLS = 100
_MAX_ERROR_CHARS = 300
_MAX_NAME_CHARS = 64
OTHERS: Final = "(other tools)"
FAILED_PREFIX: Final = "The tool failed: "  # before an exception, for the model


class FailedCall(NamedTuple):
    """One failed call: `error` as the model was told, `arguments` as it wrote them, `failure` the `ToolFailure`."""

    task: str
    tool: str
    reason: str
    error: str
    arguments: str = ""
    failure: Any = None


class FailedTools:
    """Failed calls, counted by task, tool and reason. `calls` has the first hundred."""

    __slots__ = ("_groups", "calls")

    def __init__(self) -> None:
        self.calls: list[FailedCall] = []
        self._groups: dict[tuple[str, str, str], FailedTool] = {}

    def add(self, call: FailedCall) -> None:
        """Count one call."""
        if len(self.calls) < _MAX_CALLS:
            self.calls.append(call)
        # The model makes up the names of tools that do not exist.
        key = (call.task, call.tool[:_MAX_NAME_CHARS], call.reason)
        if key not in self._groups and len(self._groups) >= _MAX_GROUPS:
            key = ("", OTHERS, "")
        group = self._groups.get(key)
        error = shortened_error(call.error) if group is None else group.error
        self._groups[key] = FailedTool(*key, error, group.count + 1 if group is not None else 1)

    @property
    def groups(self) -> tuple[FailedTool, ...]:
        """The groups, in the order in which they began. Each has the error of its first call."""
        return tuple(self._groups.values())


def shortened_error(error: str) -> str:
    """What a call failed with, as rows, status and log say it, from what the model was told."""
    return redact(error.removeprefix(FAILED_PREFIX)[:LONGEST_QUOTATION])[:_MAX_ERROR_CHARS]
