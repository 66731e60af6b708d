"""`Job`: a batch job as it goes on by the mock's clock, whatever the provider's wire.

    validating ─┬─► in progress ─┬─► finalizing ─► completed, or expired
                └─► failed       └─► cancelling ─► cancelled

A job of n lines takes its latency: a tenth of it for validation, then one line after the other, then a tenth for its
files. Nothing runs in the background: whoever looks at a job has it go on to the present. `batch_jobs` has all jobs.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

from crewrun.mock.replies import MockReply

WINDOW_S = 24 * 3600.0
_STAGE_SHARE = 0.1


class JobStatus(StrEnum):
    """OpenAI's words, which tell more than Anthropic's."""

    VALIDATING = "validating"
    FAILED = "failed"
    IN_PROGRESS = "in_progress"
    FINALIZING = "finalizing"
    COMPLETED = "completed"
    EXPIRED = "expired"
    CANCELLING = "cancelling"
    CANCELLED = "cancelled"

    @property
    def has_ended(self) -> bool:
        """Whether nothing happens to the job any more."""
        return self in (JobStatus.FAILED, JobStatus.COMPLETED, JobStatus.EXPIRED, JobStatus.CANCELLED)


class LineState(StrEnum):
    """What became of a line. A lost one has no result at all, and a stuck one none before the job's window ends."""

    WAITING = "waiting"
    ANSWERED = "answered"
    EXPIRED = "expired"
    CANCELLED = "cancelled"
    LOST = "lost"
    STUCK = "stuck"


@dataclass(slots=True)
class JobLine:
    """One request of a job. `reply` is set once it is answered."""

    custom_id: str
    request: dict[str, Any]
    state: LineState = LineState.WAITING
    reply: MockReply | None = None

    @property
    def has_succeeded(self) -> bool:
        """Whether it was answered, and not with an error."""
        return self.reply is not None and self.reply.status == 200


@dataclass(slots=True)
class Job:
    """A batch job. `created_s` is on the clock's Unix time; `reached_s` are the times at which it got its statuses.

    `errors` are set if validation fails. `tokens` is the length of its prompts. `details` are the wire's own.
    """

    number: int
    id: str
    lines: list[JobLine]
    created_s: float
    latency_s: float
    answer: Callable[[JobLine], MockReply]
    on_end: "Callable[[Job], None]"
    details: dict[str, Any]
    errors: list[dict[str, Any]] = field(default_factory=list)
    tokens: int = 0
    never_ends: bool = False
    status: JobStatus = JobStatus.VALIDATING
    reached_s: dict[JobStatus, float] = field(default_factory=dict)
    _next_line: int = 0

    @property
    def ends_at_s(self) -> float:
        """The end of its completion window."""
        return self.created_s + WINDOW_S

    def count(self, *states: LineState) -> int:
        """The number of lines in these states."""
        return sum(line.state in states for line in self.lines)

    def advance(self, now_s: float) -> None:
        """Go on to the present."""
        if self.status is JobStatus.VALIDATING and now_s >= self._starts_at_s:
            self._enter(JobStatus.FAILED if self.errors else JobStatus.IN_PROGRESS, self._starts_at_s)
        if self.status is JobStatus.IN_PROGRESS:
            self._run_lines(min(now_s, self.ends_at_s))
            self._leave_progress(now_s)
        if self.status is JobStatus.FINALIZING and now_s >= self.created_s + self.latency_s:
            has_expired = any(line.state is LineState.EXPIRED for line in self.lines)
            self._enter(JobStatus.EXPIRED if has_expired else JobStatus.COMPLETED, self.created_s + self.latency_s)
        if self.status is JobStatus.CANCELLING:
            at_s = self.reached_s[JobStatus.CANCELLING] + self._stage_s
            if now_s >= at_s:
                self._enter(JobStatus.CANCELLED, at_s)

    def cancel(self, now_s: float) -> bool:
        """Let no further line run. False if it is too late for that."""
        if self.status not in (JobStatus.VALIDATING, JobStatus.IN_PROGRESS):
            return False
        # A line that would have expired has not done so yet.
        self._settle(LineState.CANCELLED, LineState.WAITING, LineState.STUCK, LineState.EXPIRED)
        self._enter(JobStatus.CANCELLING, now_s)
        return True

    @property
    def _stage_s(self) -> float:
        return self.latency_s * _STAGE_SHARE

    @property
    def _starts_at_s(self) -> float:
        return self.created_s + self._stage_s

    @property
    def _lines_end_at_s(self) -> float:
        return self.created_s + self.latency_s - self._stage_s

    def _run_lines(self, now_s: float) -> None:
        span_s = self._lines_end_at_s - self._starts_at_s
        share = 1.0 if now_s >= self._lines_end_at_s else (now_s - self._starts_at_s) / span_s
        due = int(share * len(self.lines))
        for line in self.lines[self._next_line : due]:
            if line.state is LineState.WAITING:
                line.reply, line.state = self.answer(line), LineState.ANSWERED
                if line.reply.cut:  # it was answered and billed, and the answer is lost
                    line.reply, line.state = None, LineState.LOST
        self._next_line = max(self._next_line, due)

    def _leave_progress(self, now_s: float) -> None:
        if self.never_ends:
            return
        is_stuck = any(line.state is LineState.STUCK for line in self.lines)
        if (is_stuck or self._lines_end_at_s > self.ends_at_s) and now_s >= self.ends_at_s:
            self._settle(LineState.EXPIRED, LineState.WAITING, LineState.STUCK)
            self._enter(JobStatus.EXPIRED, self.ends_at_s)
        elif self._next_line == len(self.lines) and not is_stuck:
            self._enter(JobStatus.FINALIZING, self._lines_end_at_s)

    def _settle(self, end: LineState, *states: LineState) -> None:
        for line in self.lines:
            if line.state in states:
                line.state = end

    def _enter(self, status: JobStatus, at_s: float) -> None:
        self.status, self.reached_s[status] = status, at_s
        if status.has_ended:
            self.on_end(self)
            # Only the results are asked for from now on.
            for line in self.lines:
                line.request = {}
