"""`GatewayOptions`: the options of a run's calls, and the limits of a gateway that is no part of a run."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from crewrun.limits.budget import Budget
from crewrun.limits.capacity import Patience
from crewrun.limits.local_limiters import LocalLimiters
from crewrun.limits.options import LimiterOptions
from crewrun.limits.retry import RetryPolicy
from crewrun.llm.prices.price import Price
from crewrun.llm.request_identity import Addresses
from crewrun.messages import PromptCacheUse, Tier


@dataclass(frozen=True, slots=True)
class GatewayOptions:
    """The options of a run's calls. `call_timeout_s` and `model` override those of each LLM.

    With `replay_only` nothing is sent: a call that the row's recorder does not have fails with NotRecorded. `prices`,
    by model, override the published ones. `row_budget_usd` is what one row may cost.
    `addresses` are where models count as called in records. `tier` is the service tier of LLMs that name none, and
    `patience` how long their calls wait for room in a cheaper one. `prompt_cache` says for which models calls are
    arranged for the provider's prompt cache.

    In a program of one's own, `max_concurrent` is how many calls of each model may be in flight, and `budget_usd` what
    all calls together may cost. With `share_limits`, its processes keep the limits of their accounts together, also
    with runs, and remember them. A batch's limiters have limits of their own.
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
    prompt_cache: PromptCacheUse = "auto"
    max_concurrent: int | None = None
    budget_usd: float | None = None
    share_limits: bool = False


def own_limiters(options: GatewayOptions) -> LocalLimiters:
    """The limiters of a gateway outside any run. Raises ValueError for a limit below 1, or a budget that is none."""
    if options.max_concurrent is None:
        limiters = LocalLimiters(LimiterOptions(shares=options.share_limits))
    elif options.max_concurrent < 1:
        raise ValueError(f"max_concurrent is {options.max_concurrent}; it must be at least 1, or None for no bound")
    else:
        limiters = LocalLimiters(LimiterOptions(max_calls=options.max_concurrent, shares=options.share_limits))
    if options.budget_usd is not None:
        limiters.budget = Budget(options.budget_usd, remedy="a larger budget_usd allows it")
    return limiters
