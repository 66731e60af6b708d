"""`Ledger`: what the mock has received, answered and billed, to compare a batch's own figures with.

Totals count every request; the list has only the latest. Headers are not stored, so no keys are.
"""

import json
import time
from collections import Counter, deque
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from typing import Any, Literal

from crewrun.llm.prices.price import Price, find_price
from crewrun.llm.usage.details import TIERS
from crewrun.messages import Endpoint, UsageDetails
from crewrun.messages import Usage as BilledUsage
from crewrun.mock.replies import NO_USAGE, Usage

Status = int | Literal["cut", "hung up"]

# The list is for tests and for looking at, so it has more than a test sends, within the memory of a small machine.
_MAX_ENTRIES = 10_000
_MAX_BYTES = 256 * 1024 * 1024


@dataclass(slots=True)
class Entry:
    """One request. `status` is None while it is in flight; `digest` is 8 bytes of its body's hash.

    `rate_limited` is set if a limit refused it, not for a 429 that a fault word asked for. `tools` are the names of the
    tools that it offers, `tool_calls` those that the reply calls; `tier` is its service tier, `batch` for a line of the
    batch job `job`. `provider` is the one by whose prices it is billed.
    """

    number: int
    at_s: float
    started_s: float
    body: bytes
    digest: int
    model: str | None = None
    provider: str = "openai"
    tier: str | None = None
    custom_id: str | None = None
    job: str | None = None
    fault: str | None = None
    status: Status | None = None
    rate_limited: bool = False
    reply: str | None = None
    tools: tuple[str, ...] = ()
    tool_calls: tuple[str, ...] = ()
    billed: bool = False
    usage: Usage = NO_USAGE
    duration_s: float | None = None


class Ledger:
    """Every request for an answer since the start or the last `DELETE /ledger`, lines of batch jobs among them."""

    def __init__(self) -> None:
        self._entries: deque[Entry] = deque()
        self._body_bytes = 0
        self._requests = 0
        self._in_flight = 0
        self._peak_in_flight = 0
        self._statuses: Counter[Status] = Counter()
        self._rate_limited = 0
        self._billed = 0
        self._tool_calls = 0
        self._bodies: set[int] = set()
        self._peers: set[tuple[str, int]] = set()
        self._prices: dict[tuple[str, str | None, str | None], Price | None] = {}
        self._tiers: dict[str, _TierTotals] = {}
        self._lines = 0
        self._billed_bodies: set[int] = set()
        self._billed_ids: set[str] = set()
        self._billed_twice = 0
        self._lines_billed_twice = 0

    def begin(self, body: bytes, digest: int, peer: tuple[str, int] | None) -> Entry:
        """Record a request's arrival; a line of a batch job has no peer. The caller must call `end`, once."""
        self._requests += 1
        self._in_flight += 1
        self._peak_in_flight = max(self._peak_in_flight, self._in_flight)
        self._bodies.add(digest)
        if peer:
            self._peers.add(peer)
        entry = Entry(self._requests, time.time(), time.monotonic(), body, digest)
        self._append(entry)
        return entry

    def end(self, entry: Entry, status: Status) -> None:
        """Record how a request ended. The caller has set its tokens and `billed`."""
        entry.status = status
        entry.duration_s = time.monotonic() - entry.started_s
        self._in_flight -= 1
        self._statuses[status] += 1
        self._rate_limited += entry.rate_limited
        self._tool_calls += len(entry.tool_calls)
        self._lines += entry.custom_id is not None
        if entry.billed:
            self._bill(entry)

    def _bill(self, entry: Entry) -> None:
        self._billed += 1
        tier = entry.tier or "standard"
        tier = TIERS.get(tier, tier)
        if tier not in self._tiers:
            self._tiers[tier] = _TierTotals()
        self._tiers[tier].add(entry, self._cost(entry))
        self._billed_twice += entry.digest in self._billed_bodies
        self._billed_bodies.add(entry.digest)
        if entry.custom_id is not None:
            self._lines_billed_twice += entry.custom_id in self._billed_ids
            self._billed_ids.add(entry.custom_id)

    def _append(self, entry: Entry) -> None:
        self._entries.append(entry)
        self._body_bytes += len(entry.body)
        while len(self._entries) > _MAX_ENTRIES or (self._body_bytes > _MAX_BYTES and len(self._entries) > 1):
            self._body_bytes -= len(self._entries.popleft().body)

    def report(self, last: int | None = None) -> dict[str, Any]:
        """The reply to `GET /ledger`: `totals`, and `requests`, the `last` ones, the oldest first."""
        requests = list(self._entries)
        latest = requests if last is None else requests[max(0, len(requests) - last) :]
        return {"totals": self._totals(), "requests": [self._row(entry) for entry in latest]}

    def _totals(self) -> dict[str, Any]:
        tiers = self._tiers.values()
        costs = [tier.cost_usd for tier in tiers]
        return {
            "requests": self._requests,
            "in_flight": self._in_flight,
            "peak_in_flight": self._peak_in_flight,
            "connections": len(self._peers),
            "statuses": {str(status): n for status, n in sorted(self._statuses.items(), key=str)},
            "rate_limited": self._rate_limited,
            "billed": self._billed,
            "tool_calls": self._tool_calls,
            "prompt_tokens": sum(tier.prompt_tokens for tier in tiers),
            "cached_prompt_tokens": sum(tier.cached_prompt_tokens for tier in tiers),
            "cache_write_prompt_tokens": sum(tier.cache_write_prompt_tokens for tier in tiers),
            "completion_tokens": sum(tier.completion_tokens for tier in tiers),
            "cost_usd": None if None in costs else sum(cost for cost in costs if cost is not None),
            "distinct_bodies": len(self._bodies),
            "repeated_bodies": self._requests - len(self._bodies),
            "billed_twice": self._billed_twice,
            "lines": self._lines,
            "lines_billed_twice": self._lines_billed_twice,
            "tiers": {name: asdict(totals) for name, totals in sorted(self._tiers.items())},
        }

    def _row(self, entry: Entry) -> dict[str, Any]:
        at = datetime.fromtimestamp(entry.at_s, UTC).isoformat(timespec="milliseconds")
        return {
            "number": entry.number,
            "at": at.replace("+00:00", "Z"),
            "model": entry.model,
            "tier": entry.tier,
            "custom_id": entry.custom_id,
            "job": entry.job,
            **_request_fields(entry.body),
            "status": entry.status,
            "fault": entry.fault,
            "reply": entry.reply,
            "tools": list(entry.tools),
            "tool_calls": list(entry.tool_calls),
            "billed": entry.billed,
            "prompt_tokens": entry.usage.prompt_tokens,
            "cached_prompt_tokens": entry.usage.cached_tokens,
            "cache_write_prompt_tokens": entry.usage.written_tokens,
            "completion_tokens": entry.usage.completion_tokens,
            "cost_usd": self._cost(entry) if entry.billed else 0.0,
            "duration_s": entry.duration_s,
        }

    def _cost(self, entry: Entry) -> float | None:
        # Per call, since the price may depend on the size of the prompt.
        key = entry.provider, entry.model, entry.tier
        if key not in self._prices:
            params = {"service_tier": entry.tier}
            self._prices[key] = find_price(Endpoint("direct", entry.provider, entry.model or "", params=params))
        price = self._prices[key]
        return None if price is None else price.cost(_billed(entry.usage))


@dataclass(slots=True)
class _TierTotals:
    """What was billed at one service tier."""

    billed: int = 0
    prompt_tokens: int = 0
    cached_prompt_tokens: int = 0
    cache_write_prompt_tokens: int = 0
    completion_tokens: int = 0
    cost_usd: float | None = 0.0

    def add(self, entry: Entry, cost_usd: float | None) -> None:
        self.billed += 1
        usage = entry.usage
        self.prompt_tokens += usage.prompt_tokens
        self.cached_prompt_tokens += usage.cached_tokens
        self.cache_write_prompt_tokens += usage.written_tokens
        self.completion_tokens += usage.completion_tokens
        self.cost_usd = None if self.cost_usd is None or cost_usd is None else self.cost_usd + cost_usd


def _billed(usage: Usage) -> BilledUsage:
    return BilledUsage(
        usage.prompt_tokens,
        usage.cached_tokens,
        usage.completion_tokens,
        cache_write_prompt_tokens=usage.written_tokens,
        details=UsageDetails(cache_write_1h_tokens=usage.hour_tokens) if usage.hour_tokens else None,
    )


def _request_fields(body: bytes) -> dict[str, Any]:
    """The request's messages and, of embeddings and responses, its input, as received; None for what it had not."""
    # Parsed only now: 10,000 requests as objects would take several times the memory of their bytes.
    try:
        request = json.loads(body)
    except (ValueError, RecursionError):
        request = None
    fields = request if isinstance(request, dict) else {}
    return {name: fields.get(name) for name in ("messages", "input")}
