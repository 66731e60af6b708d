"""`Timeline`: what happened when in a run, from its log: one pass, in memory that does not depend on its length."""

from array import array
from collections.abc import Callable, Collection
from datetime import datetime
from functools import lru_cache
from pathlib import Path
from typing import Any, Final

from pydantic_core import from_json

from crewrun.redaction.redactor import redact_line
from crewrun.runs.results import lines_of

_MOST_BUCKETS: Final = 600  # as many as a wide screen shows apart
_FIRST_STEP_MS: Final = 1000
_MOST_MARKS: Final = 200
_OUTAGE_MS: Final = 5000  # without any answer, while attempts fail
_OUTAGES: Final = ("network", "server", "timeout")
_COUNTED: Final = ("rows", "failed", "rate_limited", "retries")
# `{"at":"2026-01-31T12:00:00.000Z","event":"call",`: where the time and the event's name are in a line of ours.
_AT, _EVENT = slice(7, 31), 42
_SECOND_CHARS: Final = 19
_SEQ: Final = b'"seq":'


class Timeline:
    """Counts events in buckets of time; when there are too many, each two become one.

    It remembers where the log has prompts, if --log-prompts wrote any: 16 bytes for each.
    """

    def __init__(self) -> None:
        self._from_ms: int | None = None
        self._step_ms = _FIRST_STEP_MS
        self._counts: dict[str, list[float]] = {name: [] for name in (*_COUNTED, "busy_ms")}
        self._marks: list[dict[str, Any]] = []
        self._answered_ms: int | None = None
        self._refused: str | None = None
        self._prompts, self._prompt_places = array("q"), array("q")

    def see(self, line: bytes, start: int) -> None:
        """Take a line of the log, which begins at `start`. Torn lines and those of other versions are left out."""
        name = line[_EVENT : line.find(b'"', _EVENT)]
        take = _TAKERS.get(name)
        if take is not None:
            try:
                take(self, line, start, _unix_ms(line[_AT]))
            except (ValueError, LookupError, TypeError):
                return

    def to_json(self) -> dict[str, Any] | None:
        """As the page's head has it; None when nothing happened."""
        if self._from_ms is None:
            return None
        size = max(map(len, self._counts.values()))
        series = {name: (counts + [0] * (size - len(counts)))[:size] for name, counts in self._counts.items()}
        busy_ms = series.pop("busy_ms")
        return {
            "from": self._from_ms,
            "step_ms": self._step_ms,
            "series": {**series, "in_flight": [round(one / self._step_ms, 1) for one in busy_ms]},
            "marks": self._marks,
        }

    def places_of_prompts(self, calls: Collection[int]) -> dict[int, int]:
        """Where the log has the prompts of these calls, by their numbers."""
        return {call: place for call, place in zip(self._prompts, self._prompt_places, strict=True) if call in calls}

    def _mark(self, at_ms: int, kind: str, text: str) -> None:
        if len(self._marks) < _MOST_MARKS:
            self._marks.append({"at": at_ms, "kind": kind, "text": redact_line(text)})

    def _count(self, name: str, at_ms: int, amount: float = 1) -> None:
        bucket = self._bucket(at_ms)
        counts = self._counts[name]  # after that, which may have made shorter ones
        if bucket >= len(counts):
            counts.extend([0] * (bucket + 1 - len(counts)))
        counts[bucket] += amount

    def _bucket(self, at_ms: int) -> int:
        if self._from_ms is None:
            self._from_ms = at_ms // _FIRST_STEP_MS * _FIRST_STEP_MS
        while (bucket := max(0, at_ms - self._from_ms) // self._step_ms) >= _MOST_BUCKETS:
            self._step_ms *= 2
            for name, counts in self._counts.items():
                self._counts[name] = [sum(counts[i : i + 2]) for i in range(0, len(counts), 2)]
        return bucket

    def _on_call(self, line: bytes, _: int, at_ms: int) -> None:
        duration_ms = round(float(line[line.rindex(b":") + 1 : -2]) * 1000)
        self._on_answer(at_ms)
        start_ms = at_ms - duration_ms
        if self._from_ms is not None:
            start_ms = max(start_ms, self._from_ms)
        while start_ms < at_ms:
            self._bucket(at_ms)
            end_ms = min(at_ms, start_ms - (start_ms - (self._from_ms or 0)) % self._step_ms + self._step_ms)
            self._count("busy_ms", start_ms, end_ms - start_ms)
            start_ms = end_ms

    def _on_answer(self, at_ms: int) -> None:
        """An answer came: what failed since the one before was an outage if that took long."""
        if self._refused is not None and self._answered_ms is not None and at_ms - self._answered_ms >= _OUTAGE_MS:
            seconds = (at_ms - self._answered_ms) / 1000
            self._mark(self._answered_ms, "outage", f"no answer for {seconds:.0f} s: {self._refused}")
        self._answered_ms, self._refused = at_ms, None

    def _on_row(self, line: bytes, _: int, at_ms: int) -> None:
        self._count("rows", at_ms)
        if b'"status":"failed"' in line:
            self._count("failed", at_ms)

    def _on_retry(self, line: bytes, _: int, at_ms: int) -> None:
        event = from_json(line)
        category = event.get("category")
        self._count("rate_limited" if category == "rate_limit" else "retries", at_ms)
        if category in _OUTAGES:
            self._refused = f"{category}{f', HTTP {code}' if (code := event.get('http_status')) else ''}"

    def _on_run(self, line: bytes, _: int, at_ms: int) -> None:
        self._bucket(at_ms)
        self._answered_ms, self._refused = at_ms, None
        self._mark(at_ms, "session", f"session {from_json(line).get('session')}")

    def _on_stop(self, line: bytes, _: int, at_ms: int) -> None:
        event = from_json(line)
        self._on_answer(at_ms)
        self._bucket(at_ms)
        reason = event.get("why")
        self._mark(at_ms, "stop" if reason else "end", str(reason) if reason else "the session ended")

    def _on_warning(self, line: bytes, _: int, at_ms: int) -> None:
        self._mark(at_ms, "warning", str(from_json(line).get("message")))

    def _on_prompt(self, line: bytes, start: int, _: int) -> None:
        at = line.index(_SEQ) + len(_SEQ)  # in texts of the line, quotes have a backslash
        self._prompts.append(int(line[at : line.index(b",", at)]))
        self._prompt_places.append(start)


_TAKERS: Final[dict[bytes, Callable[[Timeline, bytes, int, int], None]]] = {
    b"call": Timeline._on_call,
    b"failure": Timeline._on_retry,
    b"row": Timeline._on_row,
    b"retry": Timeline._on_retry,
    b"run": Timeline._on_run,
    b"stop": Timeline._on_stop,
    b"warning": Timeline._on_warning,
    b"prompt": Timeline._on_prompt,
}


def read_timeline(log: Path) -> Timeline:
    """The timeline of a log, empty if there is no such file. Raises OSError."""
    timeline = Timeline()
    start = 0
    for line in lines_of(log) if log.is_file() else ():
        timeline.see(line, start)
        start += len(line)
    return timeline


def _unix_ms(text: bytes) -> int:
    """The Unix time in milliseconds of `2026-01-31T12:00:00.000Z`."""
    return _second_ms(text[:_SECOND_CHARS]) + int(text[_SECOND_CHARS + 1 : -1])


@lru_cache(maxsize=1024)
def _second_ms(text: bytes) -> int:
    return int(datetime.fromisoformat(text.decode() + "+00:00").timestamp()) * 1000
