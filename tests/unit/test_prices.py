"""Which price a model has under the names that users have for it, and the most that a call of it can cost.

What the prices are is held against litellm in `test_price_table.py`; what calls cost by them, in `test_usage.py`.
"""

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from crewrun.llm.endpoints import resolve
from crewrun.llm.model import LLM
from crewrun.llm.prices.entry import schedules
from crewrun.llm.prices.price import Price, find_price
from crewrun.llm.prices.table import table_entry
from crewrun.messages import Usage, UsageDetails


def price_of(model: str, **fields: Any) -> Price | None:
    return find_price(resolve(LLM(model, **fields), {}))


def dollars(price: Price | None) -> tuple[float, float] | None:
    """The prices of a million small prompts' tokens, and of as many answers'."""
    if price is None:
        return None
    return round(price.cost(Usage(1000)) * 1000, 6), round(price.cost(Usage(0, 0, 1000)) * 1000, 6)


def listed(name: str) -> tuple[float, float]:
    """What the table says of a name that is in it."""
    entry = table_entry(name)
    assert entry is not None, name
    return round(entry["input_cost_per_token"] * 1e6, 6), round(entry["output_cost_per_token"] * 1e6, 6)


SONNET = "anthropic.claude-sonnet-4-5-20250929-v1:0"
ARN = "arn:aws:bedrock:us-east-1:123456789012"
# A name that users write, and the one in the table whose price it has.
FOUND: Mapping[str, str] = {
    "gpt-4.1-mini": "gpt-4.1-mini",
    "openai/gpt-4.1-2025-04-14": "gpt-4.1-2025-04-14",
    "openai/gpt-4.1-2031-01-01": "gpt-4.1",
    "anthropic/claude-sonnet-4-5-20990101": "claude-sonnet-4-5",
    "ft:gpt-4o-mini-2024-07-18:my-org::abc123": "ft:gpt-4o-mini-2024-07-18",
    "openai/ft:gpt-4o-mini-2024-07-18:my-org:suffix:abc123:ckpt-step-100": "ft:gpt-4o-mini-2024-07-18",
    "ft:gpt-4.1-mini:my-org::abc123": "ft:gpt-4.1-mini-2025-04-14",
    f"bedrock/{SONNET}": SONNET,
    f"bedrock/us.{SONNET}": f"us.{SONNET}",
    f"bedrock/converse/us.{SONNET}": f"us.{SONNET}",
    f"bedrock/invoke/eu-north-1/{SONNET}": SONNET,
    f"bedrock/{ARN}:inference-profile/us.{SONNET}": f"us.{SONNET}",
    "bedrock/us-west-2/anthropic.claude-instant-v1": "bedrock/us-west-2/anthropic.claude-instant-v1",
    "bedrock/ca.anthropic.claude-sonnet-4-5-20250929-v1:0": SONNET,
    "bedrock/us.amazon.nova-lite-v1:0:24k": "us.amazon.nova-lite-v1:0",
    "vertex_ai/gemini-2.5-flash": "gemini-2.5-flash",
    "vertex_ai/gemini-2.5-flash-001": "gemini-2.5-flash",
    "vertex_ai/claude-sonnet-4-5@20250929": "vertex_ai/claude-sonnet-4-5@20250929",
    "vertex_ai/claude-sonnet-4-5@20990101": "vertex_ai/claude-sonnet-4-5",
    "cohere/command-a-03-2025": "command-a-03-2025",
    "cohere_chat/command-a-03-2025": "command-a-03-2025",
    "azure/gpt-4o": "azure/gpt-4o",
    "azure/gpt-4o-2031-01-01": "azure/gpt-4o",
    "azure/gpt-35-turbo-instruct": "azure/gpt-35-turbo-instruct",
    "gemini/gemini-2.5-flash": "gemini/gemini-2.5-flash",
}


@pytest.mark.parametrize(("model", "name"), FOUND.items(), ids=FOUND)
def test_a_model_has_the_price_of_its_entry(model: str, name: str) -> None:
    """Ways, regions, profiles, owners of fine-tunes and dates that the table does not have are no part of a name."""
    assert dollars(price_of(model)) == listed(name)


@pytest.mark.parametrize(
    "model",
    [
        "openrouter/anthropic/claude-sonnet-4.5",  # a namesake at another provider
        "groq/gpt-4.1-mini",
        "azure_ai/gpt-4.1-mini-2031-01-01",
        "vertex_ai/gpt-4.1-mini",
        "openai/gpt-4.1-minimal",  # a name that only begins alike
        "openai/gpt-4.1-mini-latest",  # another model, perhaps
        "azure/my-deployment",
        f"bedrock/{ARN}:application-inference-profile/a1b2c3",
        "bedrock/us-east-1/1-month-commitment/anthropic.claude-v1",  # sold by the second
        "perplexity/sonar-small-online",  # and by the request
        "vertex_ai/medlm-large",  # by characters
        "github_copilot/gpt-4o",  # not sold at all
        "gemini/lyria-3-pro-preview",  # by the piece: its tokens cost 0
    ],
)
def test_what_is_not_known_or_not_sold_by_tokens_has_no_price(model: str) -> None:
    """Null, and never 0 or a namesake's price."""
    assert price_of(model) is None


def test_what_the_table_gives_away_is_free() -> None:
    """A price of 0 that is written down."""
    assert dollars(price_of("publicai/swiss-ai/apertus-8b-instruct")) == (0.0, 0.0)


@pytest.mark.parametrize(
    ("model", "fields", "name"),
    [
        ("azure/my-deployment", {"base_model": "gpt-4o"}, "azure/gpt-4o"),
        ("azure/my-deployment", {"base_model": "azure/gpt-4o"}, "azure/gpt-4o"),
        ("azure/gpt-4o", {"base_model": "gpt-4o-mini"}, "azure/gpt-4o-mini"),
        (
            "azure/my-deployment",
            {"model_info": {"base_model": "azure/us/gpt-4o-2024-08-06"}},
            "azure/us/gpt-4o-2024-08-06",
        ),
        ("azure_ai/my-claude", {"base_model": "claude-sonnet-4-5"}, "azure_ai/claude-sonnet-4-5"),
        (f"bedrock/{ARN}:application-inference-profile/a1b2c3", {"base_model": SONNET}, SONNET),
        ("openai/mine", {"base_model": "groq/openai/gpt-oss-120b", "base_url": "http://x"}, "groq/openai/gpt-oss-120b"),
    ],
)
def test_a_base_model_has_the_price(model: str, fields: Mapping[str, Any], name: str) -> None:
    """Of the LLM, or of litellm's `model_info`: it is not sent, and it is the model whose price is taken."""
    endpoint = resolve(LLM(model, **fields), {})
    assert dollars(find_price(endpoint)) == listed(name)
    assert {"base_model", "model_info"}.isdisjoint(endpoint.params)


@pytest.mark.parametrize(
    ("model", "fields", "env", "factor"),
    [
        pytest.param("openai/gpt-5.4", {"base_url": "https://api.openai.com/v1"}, {}, 1.0, id="openai"),
        pytest.param("openai/gpt-5.4", {"base_url": "https://eu.api.openai.com/v1"}, {}, 1.1, id="openai in the EU"),
        pytest.param("openai/gpt-5.4", {"base_url": "https://eu.api.openai.com.x"}, {}, 1.0, id="another host"),
        pytest.param("vertex_ai/gemini-3.5-flash", {"vertex_location": "global"}, {}, 1.0, id="vertex"),
        pytest.param("vertex_ai/gemini-3.5-flash", {"vertex_location": "europe-west4"}, {}, 1.1, id="a location"),
        pytest.param("vertex_ai/gemini-3.5-flash", {}, {"VERTEXAI_LOCATION": "us-east5"}, 1.1, id="of the environment"),
    ],
)
def test_a_region_may_cost_more(
    model: str,
    fields: Mapping[str, Any],
    env: Mapping[str, str],
    factor: float,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """By the host that is called, and by a location that is not global, where the table has a factor for them."""
    plain, usage = price_of(model), Usage(1000, 500, 100, 50)
    for name, value in env.items():
        monkeypatch.setenv(name, value)
    price = price_of(model, **fields)
    assert plain is not None
    assert price is not None
    assert price.cost(usage) == pytest.approx(plain.cost(usage) * factor, rel=1e-9)


@pytest.mark.parametrize(
    ("at", "is_cheap"),
    [
        ("2026-11-30T00:30+00:00", True),  # a Monday
        ("2026-11-30T01:00+00:00", False),
        ("2026-11-30T03:59+00:00", False),
        ("2026-11-30T12:00+01:00", True),  # 11:00 in UTC
        ("2026-11-28T02:00+00:00", True),  # a Saturday
    ],
)
def test_a_provider_may_be_cheaper_at_night(at: str, is_cheap: bool) -> None:
    """DeepSeek sells at half the price from 10:00 to 01:00 and from 04:00 to 06:00 UTC, and on two days of the week."""
    price, usage = price_of("deepseek/deepseek-v4-flash"), Usage(1000, 400, 100)
    assert price is not None
    expected = 0.5 * (600 * 0.3e-6 + 400 * 0.006e-6 + 100 * 1.2e-6) * (1 if is_cheap else 2)
    assert price.cost(usage, at=datetime.fromisoformat(at).astimezone(UTC)) == pytest.approx(expected, rel=1e-9)


MODELS = (
    *(
        "gpt-4.1-mini",
        "openai/gpt-5.4",
        "anthropic/claude-opus-5",
        "anthropic/claude-sonnet-4-5",
        "gemini/gemini-2.5-pro",
    ),
    *(
        "xai/grok-4.20-0309-reasoning",
        "dashscope/qwen3-coder-plus",
        "deepseek/deepseek-v4-flash",
        "openai/gpt-4o-audio-preview",
    ),
    *("bedrock/us.anthropic.claude-sonnet-4-5-20250929-v1:0", "sail/zai-org/GLM-5.3", "vertex_ai/gemini-2.5-flash"),
)


@st.composite
def calls(draw: st.DrawFn) -> tuple[Price, Usage, tuple[int, int]]:
    """A price, what one call used, and bounds for it: any split of its tokens, at any tier that may serve it."""
    model = draw(st.sampled_from(MODELS))
    tier = draw(st.sampled_from(["", "flex", "priority", "default"]))
    price = price_of(model, **({"service_tier": tier} if tier else {}))
    assert price is not None
    prompt, completion = draw(st.integers(0, 1_100_000)), draw(st.integers(0, 100_000))
    cached = draw(st.integers(0, prompt))
    written = draw(st.integers(0, prompt - cached))
    audio = draw(st.integers(0, prompt - cached - written))
    reasoning = draw(st.integers(0, completion))
    details = UsageDetails(
        cache_write_1h_tokens=draw(st.integers(0, written)),
        prompt_audio_tokens=audio,
        prompt_image_tokens=draw(st.integers(0, prompt - cached - written - audio)),
        completion_audio_tokens=draw(st.integers(0, completion - reasoning)),
        service_tier=draw(st.sampled_from(["", "standard", *([] if tier else ["flex", "priority", "ultrafast"])])),
        region=draw(st.sampled_from(["", "us"])),
    )
    usage = Usage(prompt, cached, completion, reasoning, 0, written, draw(st.none() | st.just(details)))
    return price, usage, (prompt + draw(st.integers(0, 1000)), completion + draw(st.integers(0, 1000)))


@given(calls())
def test_no_call_costs_more_than_the_most(call: tuple[Price, Usage, tuple[int, int]]) -> None:
    """Whatever is cached, written, sound or reasoning, above any threshold, at any tier that was not ruled out."""
    price, usage, (prompt_tokens, answer_tokens) = call
    most = price.most(prompt_tokens, answer_tokens)
    for at in (datetime(2026, 11, 30, 2, tzinfo=UTC), datetime(2026, 11, 30, 12, tzinfo=UTC)):
        cost_usd = price.cost(usage, at=at)
        assert 0 <= cost_usd <= (most.prompt_usd + most.answer_usd) * (1 + 1e-12)


def test_the_most_is_what_a_call_can_cost() -> None:
    """As tight as the tiers that are left: the one that is asked for, or all where none is."""
    plain, dear = (price_of("gpt-4.1-mini", service_tier=tier) for tier in ("default", "priority"))
    left_open = price_of("gpt-4.1-mini")
    assert plain is not None
    assert dear is not None
    assert left_open is not None
    assert plain.most(1000, 100) == pytest.approx((1000 * 0.4e-6, 100 * 1.6e-6))
    assert dear.most(1000, 100) == left_open.most(1000, 100) == pytest.approx((1000 * 0.7e-6, 100 * 2.8e-6))


BANDED = {
    "input_cost_per_token": 1e-6,
    "output_cost_per_token": 2e-6,
    "input_cost_per_token_above_128k_tokens": 3e-6,
    "output_cost_per_token_above_128k_tokens": 4e-6,
    "input_cost_per_token_above_200000_tokens": 5e-6,
    "input_cost_per_token_above_128k_tokens_priority": 9e-6,
    "search_cost_above_1k_tokens": 1.0,
    "output_cost_per_token_above_300k_tokens": None,
}


@pytest.mark.parametrize(
    ("provider", "prompt", "rates"),
    [
        ("gemini", 128_000, (1, 2)),
        ("gemini", 128_001, (3, 4)),
        ("gemini", 200_000, (3, 4)),
        ("gemini", 200_001, (5, 4)),
        ("gemini", 900_000, (5, 4)),
        ("xai", 127_999, (1, 2)),
        ("xai", 128_000, (3, 4)),
    ],
)
def test_a_large_prompt_has_the_prices_of_its_size(provider: str, prompt: int, rates: tuple[int, int]) -> None:
    """All of its tokens, and its answer's; what a larger size has no price for costs what the smaller one does."""
    price = Price(schedules({"litellm_provider": provider, **BANDED}))
    assert price.cost(Usage(prompt)) == pytest.approx(prompt * rates[0] * 1e-6)
    assert price.cost(Usage(prompt, 0, 10)) - price.cost(Usage(prompt)) == pytest.approx(10 * rates[1] * 1e-6)
    assert [band.from_tokens for band in price.schedules["standard"]] == (
        [0, 128_000, 200_000] if provider == "xai" else [0, 128_001, 200_001]
    )


def test_explicitly_cached_tokens_have_a_price_of_their_own() -> None:
    """Where the request asked for the cache; else they cost what the provider's own cache does."""
    price = Price(
        schedules(
            {
                "input_cost_per_token": 1e-6,
                "output_cost_per_token": 2e-6,
                "cache_read_input_token_cost": 4e-7,
                "explicit_cache_read_input_token_cost": 1e-7,
            }
        )
    )
    for is_explicit, usd in ((True, 1e-7), (False, 4e-7)):
        details = UsageDetails(is_explicit_cache=is_explicit)
        assert price.cost(Usage(1000, 1000, details=details)) == pytest.approx(1000 * usd)


def test_the_most_that_a_call_costs_allows_for_every_surcharge() -> None:
    """By region and by speed, of the prompt and of the answer; a discount is not counted on."""
    price = Price(
        schedules({"input_cost_per_token": 1e-6, "output_cost_per_token": 2e-6}),
        surcharges={"eu": 1.5, "fast": 2.0, "slow": 0.5},
    )
    assert price.most(100, 10) == pytest.approx((100e-6 * 3, 20e-6 * 3))
