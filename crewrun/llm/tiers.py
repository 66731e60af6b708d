"""Service tiers: which endpoints have a cheaper one, and how their requests ask for it.

Flex is the price of batch jobs for calls that may take longer, and that are refused when the provider has no capacity:
https://platform.openai.com/docs/guides/flex-processing, https://console.groq.com/docs/flex-processing,
https://ai.google.dev/gemini-api/docs/flex-inference. `sender` sends such calls, `limits/capacity` says how long they
wait for room, `prices` knows what each tier costs. Calls at the tier `batch` go in batch jobs: see `batch_jobs`.
"""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any, Final

from crewrun.errors import CallError, ModelRefused, NoCapacity, recast
from crewrun.llm.batch_jobs.accounts import WITH_JOBS, account_of
from crewrun.llm.model_fields import ModelFields
from crewrun.llm.parameters import FLEX_TIMEOUT_S
from crewrun.llm.placement import place
from crewrun.llm.prices.price import BATCH, find_price, requested_tier
from crewrun.messages import Endpoint, Tier
from crewrun.tier_use import STANDARD

FLEX: Final = "flex"
# The providers that have flex, each with its word for the standard tier. litellm passes it on to Azure and Gemini.
_WORDS: Final[Mapping[str, str]] = {"openai": "default", "azure": "default", "groq": "on_demand", "gemini": "default"}
# Groq's flex costs as much as its standard tier, and has ten times its limits.
_AT_FULL_PRICE: Final = frozenset({"groq"})
# Statuses by which a provider that has no code for it says that there is no capacity:
# https://ai.google.dev/gemini-api/docs/flex-inference
_FULL: Final[Mapping[str, frozenset[int]]] = {"gemini": frozenset({503})}
_WAY_OUT: Final = "say `tier: standard` in its agent or its llm, or run all of it at --tier standard"


def has_no_capacity(error: CallError, endpoint: Endpoint) -> CallError:
    """`error` as NoCapacity, if `endpoint` asks for flex and has no room for the call, else itself."""
    is_full = error.is_for_capacity or error.http_status in _FULL.get(endpoint.provider, ())
    return recast(error, NoCapacity) if endpoint.tier == FLEX and is_full else error


def with_tier(endpoint: Endpoint, llm: ModelFields, tier: Tier, env: Mapping[str, str]) -> Endpoint:
    """`endpoint` of `llm`, asking for the tier of the llm or else for `tier`. A `service_tier` that the llm sends comes
    first.

    Raises ModelRefused if there is no such tier, as far as is known, unless the llm's `service_tier` names it.
    """
    is_own = "service_tier" in endpoint.fields
    wanted = requested_tier(endpoint.fields) if is_own else llm.tier or tier
    if wanted == BATCH and not is_own:
        _check_has_jobs(endpoint, llm, env)
        return replace(endpoint, tier=BATCH, standard=replace(endpoint, tier=STANDARD))
    if wanted != FLEX:
        return endpoint
    flex = endpoint
    if not is_own:
        _check_has_flex(endpoint, llm)
        flex = _placed(endpoint, _saying(llm, FLEX), env)
        if requested_tier(flex.fields) != FLEX:
            raise ModelRefused(f"model {llm.model!r}: additional_drop_params leaves out service_tier; {_WAY_OUT}")
    standard = _placed(endpoint, _saying(llm, _WORDS.get(endpoint.provider)), env)
    return replace(flex, timeout_s=llm.timeout or FLEX_TIMEOUT_S, tier=FLEX, standard=replace(standard, tier=STANDARD))


def _saying(llm: ModelFields, word: str | None) -> ModelFields:
    """`llm` with `word` as the service tier of its requests; with None they have none."""
    fields: dict[str, Any] = {name: value for name, value in llm if name not in ("fallbacks", "service_tier")}
    if body := fields.get("extra_body"):
        fields["extra_body"] = {name: value for name, value in body.items() if name != "service_tier"}
    if word:
        fields["service_tier"] = word
    return ModelFields(**fields)


def _placed(endpoint: Endpoint, llm: ModelFields, env: Mapping[str, str]) -> Endpoint:
    """`endpoint` with the parameters of `llm`. What records have of them stays."""
    placed = place(llm, endpoint.provider, endpoint.model, endpoint.base_url, env)
    return replace(
        endpoint,
        params=placed.params,
        headers=placed.headers,
        tool_params=placed.tool_params,
        extra_body=placed.extra_body,
        query=placed.query,
    )


def _check_has_flex(endpoint: Endpoint, llm: ModelFields) -> None:
    provider = endpoint.provider
    if provider not in _WORDS:
        raise ModelRefused(
            f"model {llm.model!r}: {provider} has no flex tier; OpenAI, Azure, Groq and Gemini have one; {_WAY_OUT}"
        )
    price = find_price(endpoint)
    if price is not None and provider not in _AT_FULL_PRICE and FLEX not in price.schedules:
        raise ModelRefused(
            f"model {llm.model!r}: {provider} publishes no price for it at flex; {_WAY_OUT}; "
            "or, if it is sold there all the same, say `service_tier: flex` in its llm"
        )


def _check_has_jobs(endpoint: Endpoint, llm: ModelFields, env: Mapping[str, str]) -> None:
    if endpoint.provider not in WITH_JOBS:
        raise ModelRefused(
            f"model {llm.model!r}: crewrun knows no batch jobs of {endpoint.provider}; it knows those of OpenAI, "
            "Anthropic, Azure, Gemini, Groq, Mistral, Together, and of any base_url with /v1/batches as openai/MODEL; "
            f"{_WAY_OUT}"
        )
    account_of(endpoint, env)


def check_custom(llm: ModelFields, tier: Tier) -> None:
    """Raise ModelRefused if a model that the user's code calls is to go at another tier than the standard one."""
    if (llm.tier or tier) != STANDARD:
        raise ModelRefused(f"model {llm.model!r}: your own code calls it, which knows no tiers; {_WAY_OUT}")
