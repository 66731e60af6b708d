"""What cached prompt tokens saved, by the prices that the run's crew has now."""

from collections.abc import Mapping, Sequence
from typing import Any, Final

from crewrun.batch.rebuilt_prompts import RunCrew, folder_of_run
from crewrun.batch.run_input import settings_of
from crewrun.errors import CrewrunError
from crewrun.inspect.view import View
from crewrun.llm.gateway import Gateway
from crewrun.llm.options import GatewayOptions
from crewrun.llm.prices.price import Price
from crewrun.messages import Usage

# Few enough for the first price of models that charge more for long prompts.
_TOKENS: Final = 1000


def saved_usd(view: View, crew: RunCrew, models: Sequence[Mapping[str, Any]]) -> float | None:
    """How much more all cached tokens of `models`, as `calls.by_model` has them, would have cost as others do.

    None if a price is unknown. Long prompts, service tiers and times of the day with prices of their own are left out.
    """
    cached = {model["name"]: model["cached_prompt_tokens"] for model in models if model["cached_prompt_tokens"]}
    if not cached:
        return 0.0
    try:
        with folder_of_run(view.manifest):
            prices = _prices(view, crew)
    except (CrewrunError, OSError):
        return None
    saved = 0.0
    for name, tokens in cached.items():
        price = prices.get(name)
        if price is None:
            return None
        saved += tokens * _saved_per_token(price)
    return saved


def _prices(view: View, crew: RunCrew) -> dict[str, Price | None]:
    """The prices of the crew's models, by the names that calls have. Raises CrewrunError."""
    if crew.definition is None:
        return {}
    settings = settings_of(view.manifest)
    options = GatewayOptions(model=settings.model, base_url=settings.base_url, prices=settings.prices)
    gateway = Gateway(options)
    endpoints = [gateway.endpoint(llm) for _, llm in crew.definition.target.models(gateway)]
    endpoints += [other for endpoint in endpoints for other in gateway.fallbacks(endpoint)]
    return {endpoint.name: gateway.price(endpoint) for endpoint in endpoints}


def _saved_per_token(price: Price) -> float:
    whole, cached = Usage(prompt_tokens=_TOKENS), Usage(prompt_tokens=_TOKENS, cached_prompt_tokens=_TOKENS)
    return max(0.0, price.cost(whole) - price.cost(cached)) / _TOKENS
