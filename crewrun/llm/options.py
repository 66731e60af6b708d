"""`GatewayOptions`: the options of a run's calls."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from crewrun.limits.capacity import Patience
from crewrun.limits.retry import RetryPolicy
from crewrun.llm.prices.price import Price
from crewrun.llm.request_identity import Addresses
from crewrun.messages import Tier


@dataclass(frozen=True, slots=True)
class GatewayOptions:
    """The options of a run's calls. `call_timeout_s` and `model` override those of each LLM.

    With `replay_only` nothing is sent: a call that the row's recorder does not have fails with NotRecorded. `prices`,
    by model, override the published ones. `row_budget_usd` is what one row may cost.
    `addresses` are where models count as called in records. `tier` is the service tier of LLMs that name none, and
    `patience` how long their calls wait for room in a cheaper one.
    """

    retry: RetryPolicy = field(default_factory=RetryPolicy)
    call_timeout_s: float | None = None
    model: str | None = None
    base_url: str | None = None
    replay_only: bool = False
    prices: Mapping[str, Price] = field(default_factory=dict)
    row_budget_usd: float | None = None
    addresses: Addresses = None
    tier: Tier = "standard"
    patience: Patience = field(default_factory=Patience)
