"""What crewrun says that calls cost, against what litellm says: over the whole table, from the same replies.

    pytest -m soak tests/unit/test_price_table.py

is every model with every kind of usage; without `-m soak` it is a sample of the sets of prices. Both read the same
table, so what is held here is what its keys mean. Where the two differ on purpose, `DIFFERENT` says why.
"""

import json
import math
import re
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

import pytest

from crewrun.llm.prices.price import find_price
from crewrun.llm.transports.litellm.library import load_litellm
from crewrun.llm.usage.counts import usage_of
from crewrun.messages import Endpoint

TIERS = ("flex", "balanced", "priority", "ultrafast")
# How users write providers that the table has other words for; litellm's calculator knows some by the table's only.
WRITTEN_AS = {"bedrock_converse": "bedrock", "cohere_chat": "cohere", "azure_text": "azure"}
THEIR_WORDS = {"bedrock_converse": "bedrock"}
DIFFERENT: Mapping[str, str] = {
    r"(\w+\.)?twelvelabs\.pegasus-.*": "films are sold by the second, so tokens alone do not say what a call costs",
    r"perplexity/.*-online": "each request costs $0.005 beside its tokens, which litellm leaves out",
    r"(.*/)?.*(sonar|search).*": "each request has a fee for its search; what the reply states is taken, or it is null",
    r"together-ai-.*b": "is no model: a size by which litellm guesses the price of models that the table lacks",
    r"together_ai/togethercomputer/CodeLlama-34b-Instruct": "has no price, and litellm guesses one from its size",
}
# litellm has no tiers for them, although its table does.
WITHOUT_TIERS = frozenset({"fireworks_ai"})


class Case(NamedTuple):
    """One reply: what the provider counted, and the tier that it served."""

    usage: dict[str, Any]
    tier: str | None


pytestmark = pytest.mark.xdist_group("litellm")


@pytest.fixture(scope="module")
def litellm() -> Any:
    """litellm, quiet, with the table that it ships."""
    return load_litellm()


def models(litellm: Any) -> dict[str, dict[str, Any]]:
    """Every model of the table that chats."""
    entries = {name: entry for name, entry in litellm.model_cost.items() if entry.get("mode") in ("chat", "completion")}
    return {name: entry for name, entry in entries.items() if not any(re.fullmatch(p, name) for p in DIFFERENT)}


def distinct(litellm: Any) -> dict[str, dict[str, Any]]:
    """One model of each provider's sets of prices; of the sets that have but two or three prices, every fifth."""
    found: dict[str, tuple[str, dict[str, Any]]] = {}
    for name, entry in models(litellm).items():
        prices = {key: entry[key] for key in priced(entry)}
        found.setdefault(json.dumps([entry["litellm_provider"], prices], sort_keys=True), (name, entry))
    return {name: entry for i, (name, entry) in enumerate(found.values()) if i % 5 == 0 or len(priced(entry)) > 3}


def priced(entry: Mapping[str, Any]) -> list[str]:
    return [key for key in entry if "cost" in key or "pric" in key]


def sizes(entry: Mapping[str, Any]) -> list[int]:
    """Prompt sizes on both sides of every threshold."""
    thresholds = {int(m[1]) * (1000 if m[2] else 1) for key in entry if (m := re.search(r"_above_(\d+)(k?)_tok", key))}
    thresholds |= {int(one["range"][1]) for one in entry.get("tiered_pricing") or ()}
    return sorted({1000, *thresholds, *(size + 1 for size in thresholds)})


def usages(prompt: int) -> Iterator[dict[str, Any]]:
    """Every kind of token, alone and together, of a prompt of so many."""
    plain = {"prompt_tokens": prompt, "completion_tokens": 200, "total_tokens": prompt + 200}
    writes = {
        "cache_creation_tokens": prompt // 4,
        "cache_creation_token_details": {
            "ephemeral_5m_input_tokens": prompt // 8,
            "ephemeral_1h_input_tokens": prompt // 16,
            "ephemeral_12h_input_tokens": prompt // 4 - prompt // 8 - prompt // 16,
        },
    }
    media = {"audio_tokens": prompt // 10, "image_tokens": prompt // 20}
    cached = {"cached_tokens": prompt // 4, "cached_tokens_details": {"audio_tokens": prompt // 40}}
    reasoning, spoken = {"reasoning_tokens": 120}, {"audio_tokens": 30, "image_tokens": 20}
    yield {
        **plain,
        "prompt_tokens_details": {**cached, **writes, **media},
        "completion_tokens_details": {**reasoning, **spoken},
    }
    yield plain
    yield {**plain, "prompt_tokens_details": {"cached_tokens": prompt // 2}}
    yield {**plain, "prompt_tokens_details": writes}
    yield {**plain, "prompt_tokens_details": media}
    yield {**plain, "completion_tokens_details": reasoning}
    yield {**plain, "completion_tokens_details": spoken}
    yield {**plain, "inference_geo": "us", "speed": "fast"}


def cases(entry: Mapping[str, Any], *, is_whole: bool) -> Iterator[Case]:
    """Replies of every tier that a model has prices for."""
    tiers = [tier for tier in TIERS if any(key.endswith(f"_{tier}") for key in entry)]
    if entry["litellm_provider"] in WITHOUT_TIERS:
        tiers = []
    for prompt in sizes(entry):
        for i, usage in enumerate(usages(prompt)):
            if is_whole or i == 0:
                yield from (Case(usage, tier) for tier in (None, *tiers))
            elif i == 1:
                yield Case(usage, None)


def provider_of(entry: Mapping[str, Any]) -> str:
    provider = str(entry["litellm_provider"])
    return "vertex_ai" if provider.startswith("vertex_ai-") else WRITTEN_AS.get(provider, provider)


def theirs(litellm: Any, model: str, provider: str, case: Case) -> float | None:
    """What litellm says, None where it does not know the model or takes it for free.

    `provider` is the table's word for it, which its calculator knows, or that of a family which it knows by the users'.
    """
    provider = "vertex_ai" if provider.startswith("vertex_ai-") else THEIR_WORDS.get(provider, provider)
    reply = litellm.ModelResponse(model=model, usage=litellm.Usage(**json.loads(json.dumps(case.usage))))
    if case.tier is not None:
        reply.service_tier = case.tier
    reply._hidden_params = {"custom_llm_provider": provider}
    try:
        return float(litellm.completion_cost(reply, model=model, custom_llm_provider=provider)) or None
    except Exception:  # it raises nothing more special
        return None


def differences(litellm: Any, entries: Mapping[str, dict[str, Any]], *, is_whole: bool) -> tuple[list[Any], int]:
    """Where the two are not one, and how many replies were priced."""
    found: list[Any] = []
    count = 0
    for name, entry in entries.items():
        provider = provider_of(entry)
        price = find_price(Endpoint("litellm", provider, name.removeprefix(f"{provider}/")))
        for case in cases(entry, is_whole=is_whole):
            count += 1
            reply = {"usage": case.usage, "service_tier": case.tier}
            ours = (price.cost(usage_of(reply)) or None) if price is not None else None
            expected = theirs(litellm, name, str(entry["litellm_provider"]), case)
            if not is_same(ours, expected):
                found.append((name, case, ours, expected))
    return found, count


def is_same(ours: float | None, expected: float | None) -> bool:
    """One to 1e-9, or known to neither."""
    if ours is None or expected is None:
        return ours is expected
    return math.isclose(ours, expected, rel_tol=1e-9)


def test_a_call_costs_what_litellm_says(litellm: Any) -> None:
    """A sample of the sets of prices, at every tier and on both sides of every threshold: plain, and all in one."""
    found, count = differences(litellm, distinct(litellm), is_whole=False)
    assert found == []
    assert count > 3_000


@pytest.mark.soak
def test_every_call_costs_what_litellm_says(litellm: Any) -> None:
    """Every model, every tier, every threshold, each kind of token by itself."""
    found, count = differences(litellm, models(litellm), is_whole=True)
    assert found == []
    assert count > 40_000


def test_a_batch_job_costs_what_litellm_says(litellm: Any) -> None:
    """Where the table has prices for batch jobs: text, out of the cache and not, on both sides of every threshold."""
    from litellm.cost_calculator import batch_cost_calculator

    found: list[Any] = []
    for name, entry in distinct(litellm).items():
        provider = provider_of(entry)
        price = find_price(Endpoint("litellm", provider, name.removeprefix(f"{provider}/")))
        is_listed_twice = not name.startswith(provider) and f"{provider}/{name}" in litellm.model_cost
        if price is None or is_listed_twice or entry.get("input_cost_per_token_batches") is None:
            continue
        for prompt in sizes(entry):
            plain = {"prompt_tokens": prompt, "completion_tokens": 200, "total_tokens": prompt + 200}
            for usage in (plain, {**plain, "prompt_tokens_details": {"cached_tokens": prompt // 2}}):
                ours = price.cost(usage_of({"usage": usage}), tier="batch")
                expected = sum(batch_cost_calculator(litellm.Usage(**json.loads(json.dumps(usage))), name, provider))
                if not is_same(ours, expected):
                    found.append((name, usage, ours, expected))
    assert found == []
