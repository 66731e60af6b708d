"""The line of counters that says how far a run is: `batch` and `status --watch` show it, live and in logs.

One word for each number, here, in `--progress json`, in `status` and in the summary: ok, failed, in flight, done
before, left, /s. `console` draws the line, `display` decides when.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from math import ceil
from typing import Any

import anyio

from crewrun.batch.progress import LastFailure, Progress
from crewrun.batch.row_count import RowCount
from crewrun.batch.stop import Stopping
from crewrun.cli.wording import count, duration, money, rate
from crewrun.limits.waits import Wait, WaitKind
from crewrun.redaction.redactor import redact_line
from crewrun.terminal import visible

BETWEEN = " · "
# How far ahead the weekday alone tells the day.
_WEEK = timedelta(days=6)
# A rate limit is worth the time until it lets the next call go from here on; below, the next call is as good as out.
_SHORTEST_WAIT_S = 1.0


@dataclass(frozen=True, slots=True)
class Counts:
    """What the line says.

    Attributes:
        ended: rows that have ended, in this session or before, of `total`, None if that is not known.
        share: how much of the input is done, 0 to 1, None if that is not known.
        cost_usd: what the session has cost, None if a price is not known; then tokens are shown instead.
        budget_usd: what all sessions may cost, None without a budget; then `cost_usd` is that of all sessions.
        eta_s: seconds to the end, None if they cannot be told.
    """

    ended: int
    failed: int
    in_flight: int
    total: RowCount | None = None
    share: float | None = None
    done_before: int = 0
    cost_usd: float | None = 0.0
    budget_usd: float | None = None
    tokens: int = 0
    rows_per_s: float = 0.0
    eta_s: float | None = None
    waits: list[Wait] = field(default_factory=list)
    last_failure: LastFailure | None = None


def counts_of(progress: Progress, share: float | None) -> Counts:
    """What the line says of a run in this process."""
    budget = progress.budget
    cost_usd = None if progress.unpriced else progress.cost_usd
    return Counts(
        ended=progress.ended,
        failed=progress.failed,
        in_flight=progress.in_flight,
        total=progress.total,
        share=share,
        done_before=progress.done_before,
        cost_usd=cost_usd if budget is None else budget.spent_usd,
        budget_usd=None if budget is None else budget.limit_usd,
        tokens=progress.prompt_tokens + progress.completion_tokens,
        rows_per_s=progress.rows_per_s,
        eta_s=progress.eta_s(share),
        waits=progress.waits,
        last_failure=progress.last_failure,
    )


def counts_from(progress: Mapping[str, Any]) -> Counts:
    """What the line says of a run in another process, from its `progress.json`. Unknown values are left out."""
    failure, budget, total = (progress.get(name) for name in ("last_failure", "budget", "total"))
    return Counts(
        ended=progress.get("ended", 0),
        failed=progress.get("failed", 0),
        in_flight=progress.get("in_flight", 0),
        total=None if total is None else RowCount(total, bool(progress.get("total_is_estimate"))),
        share=progress.get("share"),
        done_before=progress.get("done_before", 0),
        cost_usd=budget["spent_usd"] if budget else progress.get("cost_usd"),
        budget_usd=budget["limit_usd"] if budget else None,
        tokens=progress.get("total_tokens", 0),
        rows_per_s=progress.get("rows_per_s", 0.0),
        eta_s=progress.get("eta_s"),
        waits=[Wait.from_json(wait) for wait in progress.get("waiting", [])],
        last_failure=LastFailure(**failure) if failure else None,
    )


def full_line(counts: Counts, now: datetime) -> str:
    """All of the line, for logs. `now` is the local time."""
    return BETWEEN.join(next(narrower_lines(counts, now)))


def narrower_lines(counts: Counts, now: datetime) -> Iterator[list[str]]:
    """The parts of the line, all of them and then fewer and fewer.

    The least important go first: what is waited for, rows done before, the clock, the rate, money, rows in flight, the
    position. The failed count and the time left stay.
    """
    position, failed, in_flight, spent, speed, left, before = _parts(counts, now)
    clock = f"{left} ({_clock(counts.eta_s, now)})" if counts.eta_s is not None else ""
    waits = [waiting(wait) for wait in counts.waits]
    for parts in (
        [position, failed, in_flight, spent, speed, clock, before, *waits],
        [position, failed, in_flight, spent, speed, clock, before],
        [position, failed, in_flight, spent, speed, clock],
        [position, failed, in_flight, spent, speed, left],
        [position, failed, in_flight, spent, left],
        [position, failed, in_flight, left],
        [position, failed, left],
        [failed, left],
        [failed, left.partition(" left")[0]],
        [failed, _coarse(counts.eta_s)],
    ):
        yield [part for part in parts if part]


def waiting(wait: Wait) -> str:
    """What is waited for, why and until when."""
    return next(wait_words(wait))


def wait_words(wait: Wait) -> Iterator[str]:
    """As `waiting`, and then in forms that get shorter."""
    until = _until(wait)
    cause = _cause(wait)
    if wait.since_s is not None:
        yield f"waiting: {cause} (since {duration_left(wait.since_s)}{', ' + until if until else ''})"
    yield f"waiting: {cause} ({until})" if until else f"waiting: {cause}"
    yield f"{cause} ({until})" if until else cause
    if until and wait.left_s is not None:
        yield f"{cause} ({duration_left(wait.left_s)} left)"
    yield cause


def failure_words(failure: LastFailure) -> str:
    """The last failure on one line."""
    message = " ".join(failure.message.split()).removeprefix(f"line {failure.line}: ")
    return f"last failure: {failure.category}, line {failure.line}: {visible(redact_line(message))}"


def stopping_words(stopping: Stopping, in_flight: int, left_s: float) -> str:
    """What happens to the rows in flight when the run stops, the reason last."""
    reason, rows = stopping.reason, f"{count(in_flight, 'row')} in flight"
    why = "" if reason.kind == "interrupted" else f"{BETWEEN}{visible(redact_line(reason.why))}"
    if not in_flight:
        return f"stopping{why}"
    if stopping.is_now or left_s <= 0:
        return f"ending now: {rows} given up; the same command runs them again{why}"
    if stopping.is_stuck and stopping.for_jobs:
        return f"stopping: {rows} wait for batch jobs, whose answers the same command uses{why}"
    if stopping.is_stuck:
        return f"stopping: {rows} given up, as they wait for a provider that does not answer{why}"
    then = "again ends now" if reason.is_signal else "Ctrl-C ends now"
    return f"stopping: {rows}, up to {duration_left(left_s)}; {then}{why}"


def left_s(stopping: Stopping) -> float:
    """Seconds until rows in flight are given up."""
    return 0.0 if stopping.is_now else max(0.0, stopping.until - anyio.current_time())


def duration_left(seconds: float) -> str:
    """A time in whole seconds: `8 s`, `2 m 8 s`, `3 h 5 m`, `2 d 4 h`."""
    if seconds < 10:
        return f"{ceil(seconds)} s"
    return duration(seconds)


def _parts(counts: Counts, now: datetime) -> tuple[str, ...]:
    """Position, failed, in flight, money, rate, time left and rows done before; empty where there is nothing to say."""
    position = f"{counts.ended:,}"
    if counts.total is not None:
        position += f"/{'~' if counts.total.is_about else ''}{max(counts.total.rows, counts.ended):,}"
    elif counts.share is not None:
        position += f"{BETWEEN}{counts.share:.0%}"
    if counts.budget_usd is not None:
        spent = f"{money(counts.cost_usd or 0.0)} of {money(counts.budget_usd)}"
    else:
        spent = count(counts.tokens, "token") if counts.cost_usd is None else money(counts.cost_usd)
    return (
        position,
        f"{counts.failed:,} failed",
        f"{counts.in_flight:,} in flight",
        spent,
        rate(counts.rows_per_s) if counts.rows_per_s else "",
        f"{duration_left(counts.eta_s)} left" if counts.eta_s is not None else "",
        f"{counts.done_before:,} done before" if counts.done_before else "",
    )


def _coarse(eta_s: float | None) -> str:
    """The time left in its largest unit: `~3 m`."""
    if eta_s is None or eta_s < 60:
        return "" if eta_s is None else f"{ceil(eta_s)} s"
    return f"~{eta_s / 60:.0f} m" if eta_s < 3600 else f"~{eta_s / 3600:.0f} h"


def _clock(eta_s: float | None, now: datetime) -> str:
    """The local time in `eta_s` seconds: `02:41`, with the day if that is another one."""
    end = now + timedelta(seconds=eta_s or 0.0)
    if end.date() == now.date() or (eta_s or 0.0) < 6 * 3600:
        return f"{end:%H:%M}"
    return f"{end:%a %H:%M}" if end - now < _WEEK else f"{end:%Y-%m-%d}"


def _cause(wait: Wait) -> str:
    model = wait.endpoint.rpartition("/")[2]
    match wait.kind:
        case WaitKind.OUTAGE if wait.reason and wait.address:
            return f"{wait.reason[0].lower()}{wait.reason[1:]} at {wait.address}"
        case WaitKind.OUTAGE:
            return f"outage of {model}: {_one_line(wait.cause)}"
        case WaitKind.PROBE:
            return f"{model} refused a call; a probe decides"
        case WaitKind.RESET | WaitKind.REFUSALS:
            return f"rate limit of {model}"
        case WaitKind.REQUESTS | WaitKind.TOKENS:
            flag = "--rpm" if wait.kind is WaitKind.REQUESTS else "--tpm"
            return (
                f"{flag} {wait.limit}"
                if wait.is_own
                else (f"rate limit of {model}, {wait.limit:,} {wait.kind}/min{wait.shared_with}")
            )
        case WaitKind.RATE:
            return f"rate limit of {model}, about {wait.limit:,} requests/min{wait.shared_with}"
        case WaitKind.CONCURRENCY:
            return f"rate limit of {model}, {wait.limit} at once"
        case WaitKind.SLOW_START:
            return f"{wait.limit} at once so far, growing"
        case WaitKind.MAX_RPM:
            return f"max_rpm {wait.limit} of the crew"
        case WaitKind.RETRY:
            return f"retry after {_one_line(wait.cause)}"
        case WaitKind.CAPACITY:
            return f"no capacity for {count(wait.calls, 'call')} of {model} at flex"
        case WaitKind.JOBS:
            return _jobs_in_words(wait, model)
    spent, limit = money(wait.spent_usd or 0.0), money(wait.limit_usd or 0.0)
    return f"budget: {spent} of {limit} spent, the rest is reserved for calls in flight"


def _jobs_in_words(wait: Wait, model: str) -> str:
    if not wait.jobs:
        return f"{count(wait.calls, 'call')} of {model}, gathered for a batch job"
    jobs = f"{count(wait.jobs, 'batch job')} of {model}, {wait.lines_ended:,} of {count(wait.lines, 'request')} ended"
    return f"{jobs}, {wait.calls:,} more gathered" if wait.calls else jobs


def _one_line(text: str | None) -> str:
    return visible(redact_line(" ".join((text or "").split())))


def _until(wait: Wait) -> str:
    if wait.left_s is None or (wait.left_s < _SHORTEST_WAIT_S and wait.kind is not WaitKind.OUTAGE):
        return ""
    left = duration_left(wait.left_s)
    if wait.kind is WaitKind.OUTAGE:
        return f"gives up in {left}"
    return f"resets in {left}" if wait.kind is WaitKind.RESET else f"next in {left}"
