"""Estimates what a row takes: calls, tokens, cost and time, each as a mean with a low and a high end."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from operator import add, mul
from typing import NamedTuple

from crewrun.batch.cache_estimate import CacheEstimator
from crewrun.crew.crew import Crew
from crewrun.crew.task_run import TaskAssignment, opening
from crewrun.errors import UsageError
from crewrun.inspect.run_so_far import RunSoFar, usual
from crewrun.limits.estimates import fewest_tokens, most_tokens
from crewrun.llm.gateway import Gateway
from crewrun.llm.prices.price import tier_of
from crewrun.messages import ChatRequest, Endpoint, Usage
from crewrun.row import Row
from crewrun.tier_use import STANDARD


class Range(NamedTuple):
    """A usual amount, and how low and how high it mostly gets."""

    mean: float
    low: float
    high: float


# Guesses for a run without earlier sessions: tokens of an answer, seconds per token and until the first one, and calls
# of an agent that has tools.
_ANSWER = Range(300, 60, 1200)
_TOKEN_S = Range(0.015, 0.006, 0.04)
_FIRST_TOKEN_S = Range(0.8, 0.3, 3.0)
_TOOL_CALLS = Range(3, 1, 8)
_OFFLINE_S = Range(0.01, 0.0, 0.05)


class TierEstimate(NamedTuple):
    """What one service tier serves: its calls, what they cost, and what they would cost at the standard tier."""

    calls: Range
    cost_usd: Range | None
    standard_usd: Range | None

    def plus(self, other: "TierEstimate") -> "TierEstimate":
        """The sum."""
        return TierEstimate(
            for_each_bound(add, self.calls, other.calls),
            sum_of(self.cost_usd, other.cost_usd),
            sum_of(self.standard_usd, other.standard_usd),
        )


def sum_by_tier(several: Iterable[Mapping[str, TierEstimate]]) -> dict[str, TierEstimate]:
    """The sum of estimates by tier."""
    total: dict[str, TierEstimate] = {}
    for estimates in several:
        for tier, estimate in estimates.items():
            total[tier] = total[tier].plus(estimate) if tier in total else estimate
    return total


class RowEstimate(NamedTuple):
    """What one row takes, `tiers` the calls and money of it by service tier."""

    calls: Range
    prompt_tokens: Range
    completion_tokens: Range
    cost_usd: Range | None
    duration_s: Range
    tiers: Mapping[str, TierEstimate]

    def plus(self, other: "RowEstimate") -> "RowEstimate":
        """The sum, as of two tasks one after the other."""
        return RowEstimate(
            for_each_bound(add, self.calls, other.calls),
            for_each_bound(add, self.prompt_tokens, other.prompt_tokens),
            for_each_bound(add, self.completion_tokens, other.completion_tokens),
            sum_of(self.cost_usd, other.cost_usd),
            for_each_bound(add, self.duration_s, other.duration_s),
            sum_by_tier((self.tiers, other.tiers)),
        )


class RowEstimator:
    """Estimates rows of one crew; `past` has the answers of earlier sessions."""

    def __init__(self, crew: Crew, gateway: Gateway, past: RunSoFar) -> None:
        self._crew = crew
        self._gateway = gateway
        self._past = past
        self.cache = CacheEstimator(gateway)
        self.uses_tools = False
        self.unpriced: dict[str, None] = {}  # models of unknown price, in order

    def row(self, row: Row) -> RowEstimate:
        """The estimate of one row. Raises InputInvalid as its kickoff would."""
        total: RowEstimate | None = None
        answers: list[Range] = []
        self.cache.begin_row()
        for assignment in self._crew.assignments(row.inputs or {}, self._gateway, reads_files=False):
            endpoint = self._gateway.endpoint(assignment.agent.model)
            answer = self._answer(endpoint, assignment.name)
            task = self._task(assignment, endpoint, answer, answers)
            answers.append(answer)
            total = task if total is None else total.plus(task)
        if total is None:
            raise UsageError("the crew has no tasks")
        return total

    def _task(
        self, assignment: TaskAssignment, endpoint: Endpoint, answer: Range, previous: list[Range]
    ) -> RowEstimate:
        seen = previous if assignment.task.context is None else previous[: len(assignment.task.context)]
        context = scaled_sum(seen, 1.0) if seen else Range(0, 0, 0)
        prompt = opening(assignment, "")
        tools = assignment.toolbox.specs
        schema = assignment.schema.wire if assignment.schema else None
        request = ChatRequest(endpoint, prompt.messages(), tools, schema)
        fixed = fewest_tokens(request)
        has_tools = bool(tools or assignment.toolbox.deferred or assignment.agent.mcps)
        self.uses_tools = self.uses_tools or has_tools
        calls = _TOOL_CALLS if has_tools else Range(1, 1, 1)
        prompt_of_each = for_each_bound(add, Range(fixed, fixed, fixed), context)
        prompts, completions = for_each_bound(mul, calls, prompt_of_each), for_each_bound(mul, calls, answer)
        self.cache.add(request, calls.mean, prompt_of_each.mean)
        costs = self._costs(endpoint, calls, prompt_of_each, answer)
        time_s = self._time(endpoint, assignment.name, calls, answer)
        tiers = {tier_of(endpoint) or STANDARD: costs}
        return RowEstimate(calls, prompts, completions, costs.cost_usd, time_s, tiers)

    def _costs(self, endpoint: Endpoint, calls: Range, prompt: Range, answer: Range) -> TierEstimate:
        """What `calls` cost, each with a `prompt` and an `answer` of so many tokens."""
        price = self._gateway.price(endpoint)
        if price is None:
            self.unpriced[endpoint.model] = None
            return TierEstimate(calls, None, None)
        usages = [Usage(round(p), 0, round(c)) for p, c in zip(prompt, answer, strict=True)]
        at_standard = [price.cost(usage, tier=STANDARD) for usage in usages]
        return TierEstimate(
            calls,
            for_each_bound(mul, calls, Range(*map(price.cost, usages))),
            for_each_bound(mul, calls, Range(*at_standard)),
        )

    def _answer(self, endpoint: Endpoint, task: str) -> Range:
        answers = self._past.answers.get((endpoint.name, task))
        if answers:
            return Range(*usual(answers.tokens))
        most = most_tokens(endpoint)
        return _ANSWER if most is None else Range(*(min(end, most) for end in _ANSWER))

    def _time(self, endpoint: Endpoint, task: str, calls: Range, answer: Range) -> Range:
        answers = self._past.answers.get((endpoint.name, task))
        if answers:
            each = Range(*usual(answers.seconds))
        elif endpoint.transport_name == "offline":
            each = _OFFLINE_S
        else:
            each = for_each_bound(add, _FIRST_TOKEN_S, for_each_bound(mul, answer, _TOKEN_S))
        return for_each_bound(mul, calls, each)


def for_each_bound(what: Callable[..., float], *ranges: Range) -> Range:
    """Apply `what` to the means, to the low ends and to the high ends."""
    return Range(*(what(*ends) for ends in zip(*ranges, strict=True)))


def sum_of(one: Range | None, two: Range | None) -> Range | None:
    """The sum, None when either is unknown."""
    return for_each_bound(add, one, two) if one is not None and two is not None else None


def scaled_sum(ranges: Sequence[Range], times: float) -> Range:
    """The sum of `ranges`, multiplied by `times`."""
    return Range(*(times * sum(column) for column in zip(*ranges, strict=True)))
