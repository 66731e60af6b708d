"""`GatewayOptions`: how a run wants its calls made."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from crewrun.limits.retry import RetryPolicy
from crewrun.llm.prices.price import Price


@dataclass(frozen=True, slots=True)
class GatewayOptions:
    """How a run wants its calls made. `call_timeout_s` and `model` overrule what an LLM says for itself.

    With `replay_only` nothing is sent: what the row's recorder does not know fails with NotRecorded. `prices` overrule
    the published ones, by model. `row_budget_usd` is what one row may cost.
    """

    retry: RetryPolicy = field(default_factory=RetryPolicy)
    call_timeout_s: float | None = None
    model: str | None = None
    base_url: str | None = None
    replay_only: bool = False
    prices: Mapping[str, Price] = field(default_factory=dict)
    row_budget_usd: float | None = None
