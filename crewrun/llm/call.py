"""`Call`: a request on its way to one endpoint, with whom it is for and what it has cost so far.

How attempts of it are made is in `sender`.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

from crewrun.errors import CallError
from crewrun.limits.permit import CallResult
from crewrun.limits.permit import Price as CallPrice
from crewrun.limits.unknown_bills import may_be_billed
from crewrun.limits.windows import RequestWindow
from crewrun.llm.endpoint_state import EndpointState
from crewrun.messages import ChatRequest, Completion, Usage
from crewrun.recorder import Spent
from crewrun.row_context import RowContext

_NOTHING = Usage()


class Caller(NamedTuple):
    """Who makes a call: the context of its row, and the windows that limit it."""

    row_context: RowContext
    windows: Sequence[RequestWindow] = ()


@dataclass(slots=True)
class Bill:
    """What a call has cost so far: attempts, probes, and what was billed for no answer."""

    attempts: int = 0
    probes: int = 0
    usage: Usage = _NOTHING
    cost_usd: float | None = 0.0

    def add(self, usage: Usage, cost_usd: float | None) -> None:
        """Something was billed; a cost of None is of an unknown price."""
        self.usage += usage
        self.cost_usd = None if self.cost_usd is None or cost_usd is None else self.cost_usd + cost_usd

    def close(self, error: CallError) -> None:
        """Put what the call has come to on the error that it ends with."""
        error.attempts, error.probes, error.billed = self.attempts, self.probes, (self.usage, self.cost_usd)

    def total(self, model: str, usage: Usage = _NOTHING, cost_usd: float | None = 0.0) -> Spent:
        """The whole bill, of a call that was answered with `usage`."""
        if self.usage is not _NOTHING:
            self.add(usage, cost_usd)
            usage, cost_usd = self.usage, self.cost_usd
        return Spent(model, usage, cost_usd, self.attempts + self.probes)


@dataclass(slots=True)
class Call:
    """A request on its way to one endpoint: for whom, on which bill, what an attempt takes and costs at most.

    `price` is None where no budget needs it.
    """

    request: ChatRequest
    caller: Caller
    bill: Bill
    way: EndpointState
    tokens: int
    price: CallPrice | None

    def answered(self, got: Completion) -> CallResult:
        """How an attempt that was answered ended, after it is on the bill of the caller's row."""
        usage = got.usage
        cost_usd = self.way.bill(usage, self.caller.row_context.usage)
        end = CallResult(usage.total_tokens, cost_usd, got.limits, usage.prompt_tokens)
        if self.price is None or not usage.estimated_calls:
            return end
        return self._with_rest(end, None if self.price.is_bound else self.way.most_of(got, self.price))

    def failed(self, error: CallError) -> CallResult:
        """How a failed attempt ended, after what the provider counted for it is on the bill."""
        usage = error.usage
        if usage.total_tokens:
            cost_usd = self.way.bill(usage, self.caller.row_context.usage)
            self.bill.add(usage, cost_usd)
            end = CallResult(usage.total_tokens, cost_usd, error.limits, usage.prompt_tokens)
            return self._with_rest(end) if usage.estimated_calls else end
        return self.lost()._replace(limits=error.limits) if may_be_billed(error) else CallResult(limits=error.limits)

    def lost(self) -> CallResult:
        """How an attempt ended whose bill nobody told."""
        return self._with_rest(CallResult())

    def _with_rest(self, end: CallResult, most_usd: float | None = None) -> CallResult:
        """`end`, of an attempt whose bill is not known or not all of it, with what may be owed besides: up to the most
        that it can have cost, `most_usd` if that is less than its price says.
        """
        price = self.price or self.way.most(self.request, self.caller.row_context.task_path)
        if most_usd is None and price is not None:
            most_usd = price.usd
        owed_usd = None if most_usd is None else max(0.0, most_usd - (end.cost_usd or 0.0))
        self.caller.row_context.usage.add_unknown_bill(owed_usd)
        return end._replace(owed_usd=owed_usd, is_unknown=True)
