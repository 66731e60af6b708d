"""`Call`: a request on its way to one endpoint, with its caller and what it has cost so far.

`sender` makes its attempts.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

from crewrun.errors import CallError, NoCapacity
from crewrun.limits.permit import CallPrice, CallResult
from crewrun.limits.unknown_bills import may_be_billed
from crewrun.limits.windows import RequestWindow
from crewrun.llm.endpoint_state import EndpointState
from crewrun.messages import ChatRequest, Completion, Usage
from crewrun.recorder import Spent
from crewrun.row_context import RowContext

_NOTHING = Usage()


class Caller(NamedTuple):
    """Who makes a call: the context of its row, the windows that limit it, and what identifies its lines of batch jobs,
    empty if it can have none.
    """

    row_context: RowContext
    windows: Sequence[RequestWindow] = ()
    line_id: str = ""


@dataclass(slots=True)
class Bill:
    """What a call has cost so far: attempts, probes, and what was billed without an answer.

    `tier` is the service tier of what was billed last, as in `Spent`, `saved_usd` what was saved in all, and `lines`
    the custom ids of its lines of batch jobs.
    """

    attempts: int = 0
    probes: int = 0
    usage: Usage = _NOTHING
    cost_usd: float | None = 0.0
    tier: str = ""
    saved_usd: float = 0.0
    lines: tuple[str, ...] = ()

    def add(self, usage: Usage, cost_usd: float | None) -> None:
        """Something was billed; its cost is None if the price is unknown."""
        self.usage += usage
        self.cost_usd = None if self.cost_usd is None or cost_usd is None else self.cost_usd + cost_usd

    def close(self, error: CallError) -> None:
        """Put the bill on the error that the call ends with."""
        error.attempts, error.probes, error.billed = self.attempts, self.probes, (self.usage, self.cost_usd)

    def total(self, model: str, usage: Usage = _NOTHING, cost_usd: float | None = 0.0) -> Spent:
        """The whole bill of a call whose answer took `usage`."""
        if self.usage is not _NOTHING:
            self.add(usage, cost_usd)
            usage, cost_usd = self.usage, self.cost_usd
        attempts = self.attempts + self.probes
        return Spent(model, usage, cost_usd, attempts, 0.0, self.tier, self.saved_usd, self.lines)


@dataclass(slots=True)
class Call:
    """A request on its way to one endpoint.

    `tokens` is what an attempt is expected to take, `price` what it may cost at most; None if no budget needs it.
    """

    request: ChatRequest
    caller: Caller
    bill: Bill
    state: EndpointState
    tokens: int
    price: CallPrice | None

    def answered(self, completion: Completion) -> CallResult:
        """The result of an answered attempt, which is added to the usage of the caller's row."""
        usage = completion.usage
        cost_usd = self._bill(usage)
        result = CallResult(usage.total_tokens, cost_usd, completion.limits, usage.prompt_tokens)
        if self.price is None or not usage.estimated_calls:
            return result
        return self._with_rest(result, None if self.price.is_bound else self.state.most_of(completion, self.price))

    def failed(self, error: CallError) -> CallResult:
        """The result of a failed attempt. What the provider counted for it is added to the bill."""
        usage = error.usage
        if usage.total_tokens:
            cost_usd = self._bill(usage)
            self.bill.add(usage, cost_usd)
            result = CallResult(usage.total_tokens, cost_usd, error.limits, usage.prompt_tokens)
            return self._with_rest(result) if usage.estimated_calls else result
        if isinstance(error, NoCapacity):
            return CallResult(0, limits=error.limits)  # it was never begun
        return self.lost()._replace(limits=error.limits) if may_be_billed(error) else CallResult(limits=error.limits)

    def _bill(self, usage: Usage) -> float | None:
        """Bill `usage`, and return its cost."""
        cost_usd, tier, saved_usd = self.state.bill(usage, self.caller.row_context.usage)
        self.bill.tier = tier
        self.bill.saved_usd += saved_usd
        return cost_usd

    def lost(self) -> CallResult:
        """The result of an attempt whose bill is unknown."""
        return self._with_rest(CallResult())

    def _with_rest(self, result: CallResult, most_usd: float | None = None) -> CallResult:
        """`result` of an attempt whose bill is unknown, at least in part, with what may be owed in addition.

        That is the rest of the most that it can have cost: `most_usd`, or by default what its price says.
        """
        price = self.price or self.state.most(self.request, self.caller.row_context.task_path)
        if most_usd is None and price is not None:
            most_usd = price.usd
        owed_usd = None if most_usd is None else max(0.0, most_usd - (result.cost_usd or 0.0))
        self.caller.row_context.usage.add_unknown_bill(owed_usd)
        return result._replace(owed_usd=owed_usd, is_unknown=True)
