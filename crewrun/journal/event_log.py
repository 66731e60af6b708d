"""`log.jsonl`: what happened in a run, one event per line, for finding causes afterwards.

Events are `run`, `call`, `tool`, `tool_failure`, `retry`, `failure` (a model's call that failed for good), `row`,
`warning` (of a library) and `stop`, with ids and timings. Prompts and replies are logged only with `--log-prompts`, as
`prompt` events.
"""

import json
import os
import time
from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any

from crewrun.errors import UsageError
from crewrun.recorder import Spent
from crewrun.row import Outcome, as_json

_TAIL_BYTES = 1 << 16  # far longer than a `stop` event, the only one that is read back


class EventLog:
    """Appends to one log file. Lines that cannot be written are dropped: a run does not stop because of its log."""

    def __init__(self, path: Path) -> None:
        """Raises UsageError when the file cannot be opened."""
        self._second, self._prefix = 0, ""
        try:
            self._fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)
        except OSError as refused:
            raise UsageError(f"{path}: cannot be opened: {refused.strerror}") from None
        size = os.fstat(self._fd).st_size
        # A killed session may have left a torn last line.
        self._mend = b"\n" if size and os.pread(self._fd, 1, size - 1) != b"\n" else b""

    def event(self, name: str, /, **fields: Any) -> bytes:
        """An event as a line."""
        return as_json({"at": self._now(), "event": name, **fields}) + b"\n"

    def call(self, row: str, task: str, seq: int, spent: Spent) -> bytes:
        """The event of an answered call: the same line as from `event`, in a third of the time."""
        usage, cost = spent.usage, "null" if spent.cost_usd is None else spent.cost_usd
        tier = f',"tier":"{spent.tier}"' if spent.tier else ""
        return (
            f'{{"at":"{self._now()}","event":"call","row":{_quoted(row)},"task":{_quoted(task)},"seq":{seq},'
            f'"model":{_quoted(spent.model)},"prompt_tokens":{usage.prompt_tokens},'
            f'"completion_tokens":{usage.completion_tokens},"cost_usd":{cost},"attempts":{spent.attempts},'
            f'"duration_s":{spent.duration_s:.3f}{tier}}}\n'
        ).encode()

    def row(self, outcome: Outcome) -> bytes:
        """The event of a row's end, formatted by hand as in `call`."""
        category = "null" if outcome.error is None else f'"{outcome.error.category}"'
        return (
            f'{{"at":"{self._now()}","event":"row","row":{_quoted(outcome.row.id)},"line":{outcome.row.line},'
            f'"status":"{outcome.status}","category":{category},"attempts":{outcome.attempts},'
            f'"duration_s":{outcome.duration_s:.3f}}}\n'
        ).encode()

    def _now(self) -> str:
        # Called for every event, so the part that changes once a second is reused.
        second, fraction = divmod(time.time(), 1)
        if second != self._second:
            self._second, self._prefix = int(second), time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(second))
        return f"{self._prefix}.{int(fraction * 1000):03d}Z"

    def write(self, lines: Sequence[bytes]) -> None:
        """Append lines in one write."""
        try:
            os.write(self._fd, self._mend + b"".join(lines))
            self._mend = b""
        except OSError:
            self._mend = b"\n"

    def close(self) -> None:
        """Close the file."""
        os.close(self._fd)


def last_event(path: Path) -> dict[str, Any]:
    """The last event of a log, empty when it cannot be read."""
    try:
        with path.open("rb") as file:
            file.seek(max(0, os.fstat(file.fileno()).st_size - _TAIL_BYTES))
            event = json.loads(file.read().rstrip(b"\n").rpartition(b"\n")[2])
    except (OSError, ValueError, RecursionError):
        return {}
    return event if isinstance(event, dict) else {}


@lru_cache(maxsize=4096)
def _quoted(text: str) -> str:
    """`text` as JSON."""
    return as_json(text).decode()
