"""`Progress`: counters of what a run has done so far. The command line shows them."""

import math
from dataclasses import dataclass, field
from typing import NamedTuple

import anyio

from crewrun.batch.expectation_counts import ExpectationCounts
from crewrun.batch.failures import Failures
from crewrun.batch.row_count import RowCount
from crewrun.batch.stop import Stopping
from crewrun.batch.tool_failures import ToolFailures
from crewrun.limits.budget import Budget
from crewrun.limits.waits import Wait
from crewrun.messages import Usage
from crewrun.row import Outcome, Replayed
from crewrun.tier_use import TierUse, add_use

# Row times are counted in buckets 2 % wide, so the percentiles of a million rows do not need a list of their times.
_BUCKET = math.log(1.02)
_SHORTEST_S = 1e-4
_MOST_WORDS = 20


class LastFailure(NamedTuple):
    """The row that failed last: its line in the input, and its error."""

    line: int
    category: str
    message: str


@dataclass(slots=True)
class Progress:
    """Updated by the engine, read by displays and the summary. Tokens and cost include failed rows.

    `abandoned` rows were given up while they ran, of which `left_to_jobs` wait for batch jobs; `unwritten` rows have
    ended, but their lines are not written (yet).
    `done_before` rows succeeded in an earlier session; `failed_before` and `pending` rows are left as they are;
    `elsewhere` rows belong to other shards. Attempts, calls, tokens and cost are this session's; earlier sessions paid
    for `replayed_calls`. `waits` is what calls are waiting for now, `budget` what the run may cost. `total` is how many
    rows the input has, None as long as that is not known. `finish_reasons` are those of
    replies that crewrun does not know, and `tiers` what each service tier served, for `tier_use.completed`.
    `shared_tool_calls` of this session were not made, since an equal one was. `unread` rows had not begun when the run
    stopped, None when their number is unknown. `stopping` says how it stops, once it does.
    """

    started: float = field(default_factory=anyio.current_time)
    ok: int = 0
    failed: int = 0
    in_flight: int = 0
    abandoned: int = 0
    left_to_jobs: int = 0
    unwritten: int = 0
    done_before: int = 0
    failed_before: int = 0
    pending: int = 0
    elsewhere: int = 0
    unread: int | None = 0
    attempts: int = 0
    calls: int = 0
    truncated: int = 0
    finish_reasons: dict[str, None] = field(default_factory=dict)
    replayed_calls: int = 0
    shared_tool_calls: int = 0
    prompt_tokens: int = 0
    cached_prompt_tokens: int = 0
    completion_tokens: int = 0
    reasoning_tokens: int = 0
    estimated_calls: int = 0
    cache_write_prompt_tokens: int = 0
    cost_usd: float = 0.0
    unpriced: bool = False
    tiers: dict[str, TierUse] = field(default_factory=dict)
    waits: list[Wait] = field(default_factory=list)
    budget: Budget | None = None
    total: RowCount | None = None
    last_failure: LastFailure | None = None
    stopping: Stopping | None = None
    models: dict[str, None] = field(default_factory=dict)
    failures: Failures = field(default_factory=Failures)
    tool_failures: ToolFailures = field(default_factory=ToolFailures)
    expectations: ExpectationCounts = field(default_factory=ExpectationCounts)
    _times: dict[int, int] = field(default_factory=dict)

    @property
    def done(self) -> int:
        """Rows that have an outcome."""
        return self.ok + self.failed

    @property
    def ended(self) -> int:
        """Rows of the input that need nothing more in this session: those that are done, and those that were before."""
        return self.done + self.done_before + self.failed_before + self.pending

    @property
    def begun(self) -> int:
        """Rows that this session has begun, without those that were done."""
        return self.done + self.in_flight + self.abandoned + self.unwritten + self.pending

    @property
    def usage(self) -> Usage:
        """The tokens that this session spent."""
        return Usage(
            self.prompt_tokens,
            self.cached_prompt_tokens,
            self.completion_tokens,
            self.reasoning_tokens,
            self.estimated_calls,
            self.cache_write_prompt_tokens,
        )

    @property
    def elapsed_s(self) -> float:
        """Seconds since the run began."""
        return anyio.current_time() - self.started

    @property
    def rows_per_s(self) -> float:
        """Rows per second over the whole run."""
        return self.done / self.elapsed_s if self.elapsed_s > 0 else 0.0

    def share(self, handed_out: float | None) -> float | None:
        """The share of the input that is done, 0 to 1, when the share `handed_out` has been read."""
        if handed_out is None:
            return None
        ended = self.ended + self.elsewhere
        begun = ended + self.in_flight
        return handed_out * ended / begun if begun else 0.0

    def count_stored(self, status: str) -> None:
        """Count a row that does not run."""
        if status == "ok":
            self.done_before += 1
        elif status == "failed":
            self.failed_before += 1
        elif status == "pending":
            self.pending += 1
        else:
            self.elsewhere += 1

    def eta_s(self, share: float | None) -> float | None:
        """Seconds to the end, if the rest of the input takes as long as the `share` that is done."""
        before = self.done_before + self.failed_before + self.pending
        gained = share * self.done / (self.done + before) if share and self.done else None
        return self.elapsed_s * (1 - share) / gained if share is not None and gained else None

    def add(self, outcome: Outcome) -> None:
        """Count a finished row."""
        if outcome.error is None:
            self.ok += 1
            self.expectations.add(outcome.row, outcome.expectations)
        else:
            self.failed += 1
            self.failures.add(outcome.row, outcome.error)
            self.last_failure = LastFailure(outcome.row.line, outcome.error.category, outcome.error.message)
        self._spend(outcome)
        bucket = int(math.log(max(outcome.duration_s, _SHORTEST_S)) / _BUCKET)
        self._times[bucket] = self._times.get(bucket, 0) + 1

    def add_pending(self, outcome: Outcome) -> None:
        """Count a row that has no result, and what it used."""
        self.pending += 1
        self._spend(outcome)

    def row_time_s(self, quantile: float) -> float | None:
        """This quantile of the rows' times, within 2 %; None without rows."""
        left = math.ceil(quantile * self.done)
        for bucket in sorted(self._times):
            left -= self._times[bucket]
            if left <= 0:
                return math.exp((bucket + 0.5) * _BUCKET)
        return None

    def _spend(self, outcome: Outcome) -> None:
        usage = outcome.usage
        self.attempts += outcome.attempts
        self.calls += outcome.calls
        self.shared_tool_calls += outcome.shared_tool_calls
        self.prompt_tokens += usage.prompt_tokens
        self.cached_prompt_tokens += usage.cached_prompt_tokens
        self.completion_tokens += usage.completion_tokens
        self.reasoning_tokens += usage.reasoning_tokens
        self.estimated_calls += usage.estimated_calls
        self.cache_write_prompt_tokens += usage.cache_write_prompt_tokens
        for task in outcome.tasks:
            self.truncated += task.truncated
            if task.finish_reason is not None and len(self.finish_reasons) < _MOST_WORDS:
                self.finish_reasons[task.finish_reason] = None
        if outcome.cost_usd is None:
            self.unpriced = True
        else:
            self.cost_usd += outcome.cost_usd
        for model in outcome.models:
            self.models[model] = None
        for tier, use in outcome.tiers.items():
            add_use(self.tiers, tier, use)
        if outcome.tool_failures:
            self.tool_failures.add(outcome.row, outcome.tool_failures)
        if outcome.replayed is not None:
            self._subtract(outcome.replayed)

    def _subtract(self, replayed: Replayed) -> None:
        """Subtract replayed calls, which an earlier session paid for: the counters say what this session spends."""
        self.replayed_calls += replayed.calls
        self.attempts -= replayed.attempts
        self.calls -= replayed.calls
        self.prompt_tokens -= replayed.usage.prompt_tokens
        self.cached_prompt_tokens -= replayed.usage.cached_prompt_tokens
        self.completion_tokens -= replayed.usage.completion_tokens
        self.reasoning_tokens -= replayed.usage.reasoning_tokens
        self.estimated_calls -= replayed.usage.estimated_calls
        self.cache_write_prompt_tokens -= replayed.usage.cache_write_prompt_tokens
        self.cost_usd -= replayed.cost_usd or 0.0
        for tier, use in replayed.tiers.items():
            add_use(self.tiers, tier, use, -1)
