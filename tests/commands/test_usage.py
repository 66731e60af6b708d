"""Token counts as providers spell them, and what a row says of them: its usage, and its cost at the tier that served.

What prices there are is held in `test_prices.py`; what stands in for counts that are none, in `test_money.py`.
"""

import json
from collections.abc import Mapping
from typing import Any, NamedTuple

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.command import read_rows
from support.scripted_provider import Fickle, Reply
from support.workspace import RESULTS, STATE, Place

from crewrun.llm.usage.counts import read_usage

TEXT = "an answer of 36 characters, 9 tokens"
# Dollars for a token of gpt-4.1-mini, at the standard tier and at priority.
IN, CACHED, OUT = 0.4e-6, 0.1e-6, 1.6e-6
PRIORITY = 1.75


class Counted(NamedTuple):
    """What a provider sends, and what a row must say: tokens, all and from the cache, out and for reasoning."""

    usage: Any
    prompt: int
    cached: int
    completion: int
    reasoning: int = 0
    written: int = 0
    estimated: int = 0

    @property
    def as_row(self) -> dict[str, int]:
        """The row's `usage`."""
        rare = {"cache_write_prompt_tokens": self.written, "estimated_calls": self.estimated}
        return {
            "prompt_tokens": self.prompt,
            "cached_prompt_tokens": self.cached,
            "completion_tokens": self.completion,
            "reasoning_tokens": self.reasoning,
            "total_tokens": self.prompt + self.completion,
            "calls": 1,
            **{name: count for name, count in rare.items() if count},
        }

    @property
    def cost_usd(self) -> float:
        """What it costs at gpt-4.1-mini, which sells what it caches as any other input."""
        return (self.prompt - self.cached) * IN + self.cached * CACHED + self.completion * OUT


def counts(prompt: Any, completion: Any, total: Any = None, **more: Any) -> dict[str, Any]:
    told = {} if total is None else {"total_tokens": total}
    return {"prompt_tokens": prompt, "completion_tokens": completion, **told, **more}


REASONED = {"completion_tokens_details": {"reasoning_tokens": 285}}
COUNTED: Mapping[str, Counted] = {
    # Reasoning beside the completion, as xAI and Gemini have it, and inside, as the others do.
    "xai": Counted(counts(32, 9, 326, **REASONED), 32, 0, 294, 285),
    "gemini": Counted(counts(32, 9, 326), 32, 0, 294),
    "inside": Counted(counts(32, 294, 326, **REASONED), 32, 0, 294, 285),
    "total too small": Counted(counts(32, 294, 300, **REASONED), 32, 0, 294, 285),
    "no total": Counted(counts(32, 9, **REASONED), 32, 0, 9, 9),
    "absurd total": Counted(counts(32, 9, 10**11), 32, 0, 9),
    "beside at the top": Counted(counts(32, 300, 332, reasoning_tokens=250), 32, 0, 300, 250),
    # Numbers of other kinds.
    "floats": Counted(counts(100.0, 10.0, 110.0), 100, 0, 10),
    "fractions": Counted(counts(100.0, 12.7), 100, 0, 13),
    "strings": Counted(counts("100", "10.0", " 110 "), 100, 0, 10),
    # Partly null.
    "completion of the total": Counted(counts(100, None, 140), 100, 0, 40),
    "prompt of the total": Counted(counts(None, 40, 140), 100, 0, 40),
    "completion null": Counted(counts(100, None, prompt_tokens_details={"cached_tokens": 80}), 100, 80, 9, estimated=1),
    "details null": Counted(counts(100, 10, prompt_tokens_details=None, completion_tokens_details=None), 100, 0, 10),
    # Cached reads.
    "openai": Counted(counts(100, 10, 110, prompt_tokens_details={"cached_tokens": 80}), 100, 80, 10),
    "deepseek": Counted(counts(100, 10, 110, prompt_cache_hit_tokens=80, prompt_cache_miss_tokens=20), 100, 80, 10),
    "moonshot": Counted(counts(100, 10, 110, cached_tokens=80), 100, 80, 10),
    "anthropic inside": Counted(counts(100, 10, 110, cache_read_input_tokens=80), 100, 80, 10),
    "anthropic outside": Counted(counts(20, 10, cache_read_input_tokens=80), 100, 80, 10),
    "counted outside": Counted(counts(90, 10, 180, cache_read_input_tokens=80), 170, 80, 10),
    "anthropic's own": Counted(
        {"input_tokens": 15, "output_tokens": 10, "cache_read_input_tokens": 80, "cache_creation_input_tokens": 5},
        *(100, 80, 10, 0, 5),
    ),
    "responses": Counted(
        {
            "input_tokens": 100,
            "input_tokens_details": {"cached_tokens": 80},
            "output_tokens": 10,
            "output_tokens_details": {"reasoning_tokens": 4},
            "total_tokens": 110,
        },
        *(100, 80, 10, 4),
    ),
    "more cached than sent": Counted(counts(100, 10, prompt_tokens_details={"cached_tokens": 180}), 100, 100, 10),
    # Cached writes.
    "openrouter": Counted(
        counts(100, 10, prompt_tokens_details={"cached_tokens": 40, "cache_write_tokens": 50}), 100, 40, 10, 0, 50
    ),
    "litellm": Counted(
        counts(
            *(100, 10, 110),
            cache_creation_input_tokens=50,
            cache_read_input_tokens=40,
            prompt_tokens_details={"cached_tokens": 40, "cache_creation_tokens": 50},
        ),
        *(100, 40, 10, 0, 50),
    ),
    "by lifetime": Counted(
        counts(100, 10, 110, cache_creation={"ephemeral_5m_input_tokens": 20, "ephemeral_1h_input_tokens": 30}),
        *(100, 0, 10, 0, 50),
    ),
    "alibaba": Counted(
        counts(100, 10, 110, prompt_tokens_details={"cache_creation_input_tokens": 50, "cached_tokens": 0}),
        *(100, 0, 10, 0, 50),
    ),
}


def test_counts_are_read_in_every_spelling(place: Place) -> None:
    """Each reply's tokens are in its row, and cost what they cost: output that only the total has is output, once."""
    place.rows(*({"topic": f"<{name}>"} for name in COUNTED))
    asked = {f"<{name}>": counted for name, counted in COUNTED.items()}

    def mood(request: Any) -> Reply:
        return Reply(text=TEXT, usage=next(c.usage for name, c in asked.items() if name in request.prompt))

    with Fickle(mood) as provider:
        place.batch("--summary", "s.json", OPENAI_BASE_URL=provider.base_url)
    rows = {row["input"]["topic"].strip("<>"): row for row in read_rows(place.results)}
    assert {name: row["usage"] for name, row in rows.items()} == {name: c.as_row for name, c in COUNTED.items()}
    costs = {name: row["cost_usd"] for name, row in rows.items()}
    assert costs == {name: pytest.approx(c.cost_usd, abs=1e-10) for name, c in COUNTED.items()}
    written = sum(counted.written for counted in COUNTED.values())
    assert place.summary()["usage"]["cache_write_prompt_tokens"] == written
    place.crewrun("status", RESULTS, "--json")
    assert json.loads(place.stdout)["in_all"]["usage"]["cache_write_prompt_tokens"] == written


def test_what_is_replayed_has_the_same_counts(place: Place) -> None:
    """What was written to the cache is in the journal too: rows that are made of it again say the same."""
    place.rows({"topic": "<openrouter>"})
    with Fickle(lambda asked: Reply(usage=COUNTED["openrouter"].usage)) as provider:
        place.batch(OPENAI_BASE_URL=provider.base_url)
        before = read_rows(place.results)
        place.results.unlink()
        place.batch("--replay", OPENAI_BASE_URL=provider.base_url)
        assert len(provider.asked) == 1
    (row,) = read_rows(place.results)
    assert (row["usage"], row["cost_usd"]) == (before[0]["usage"], before[0]["cost_usd"])
    assert (place.folder / STATE / "journal.sqlite").exists()


@given(
    completion=st.integers(0, 10**6),
    reasoning=st.integers(0, 10**6),
    prompt=st.integers(0, 10**6),
    total=st.none() | st.integers(0, 10**7),
)
def test_a_part_is_never_more_than_the_whole(completion: int, reasoning: int, prompt: int, total: int | None) -> None:
    """Whatever a provider says: reasoning is of the completion, and the sum is what was said or what the total says."""
    details = {"reasoning_tokens": reasoning}
    usage = read_usage(counts(prompt, completion, total, completion_tokens_details=details))
    assert usage.reasoning_tokens == min(reasoning, usage.completion_tokens)
    said = prompt + completion
    assert usage.total_tokens == (total if total is not None and said and total > said else said)


CREW = """\
from crewrun import LLM, Agent, Crew, Task

agent = Agent(role="r", goal="g", backstory="b", llm=LLM("gpt-4.1-mini", **{params}))
crew = Crew(agents=[agent], tasks=[Task(description="Praise {{topic}}", expected_output="One line", agent=agent)])
"""
TIERS: Mapping[str, tuple[str | None, Mapping[str, Any], float]] = {
    "not named": (None, {}, 1.0),
    "default": (None, {"service_tier": "default"}, 1.0),
    "scale": (None, {"service_tier": "scale"}, 1.0),
    "priority": (None, {"service_tier": "priority"}, PRIORITY),
    "Priority": (None, {"service_tier": "Priority"}, PRIORITY),
    "unknown": (None, {"service_tier": "economy"}, 1.0),
    "no word": (None, {"service_tier": {"tier": 1}}, 1.0),
    "asked for": ("priority", {}, PRIORITY),
    "asked for, null": ("priority", {"service_tier": None}, PRIORITY),
    "asked for and refused": ("priority", {"service_tier": "default"}, 1.0),
    "left open": ("auto", {"service_tier": "priority"}, PRIORITY),
    "no such price": ("flex", {}, 1.0),  # gpt-4.1-mini is not sold at it
}


@pytest.mark.parametrize(("wanted", "beside", "factor"), TIERS.values(), ids=TIERS)
def test_the_tier_that_served_a_call_has_its_price(
    place: Place, wanted: str | None, beside: Mapping[str, Any], factor: float
) -> None:
    """The one that the reply names, else the one that was asked for."""
    params = {"service_tier": wanted} if wanted else {}
    (place.folder / "tiers.py").write_text(CREW.format(params=params))
    place.rows({"topic": "one"})
    usage = counts(100, 10, 110, prompt_tokens_details={"cached_tokens": 80})
    with Fickle(lambda asked: Reply(usage=usage, beside=beside)) as provider:
        place.batch("--crew", "tiers.py:crew", OPENAI_BASE_URL=provider.base_url)
    (row,) = read_rows(place.results)
    assert row["cost_usd"] == pytest.approx(factor * (20 * IN + 80 * CACHED + 10 * OUT), abs=1e-10)


def test_the_mock_bills_the_tier_that_is_asked_for(place: Place) -> None:
    """Its ledger and the row say the same of a call at another price."""
    (place.folder / "tiers.py").write_text(CREW.format(params={"service_tier": "priority"}))
    place.rows({"topic": "one"})
    place.batch("--crew", "tiers.py:crew")
    (row,) = read_rows(place.results)
    assert row["cost_usd"] == pytest.approx(place.mock.ledger(last=0)["totals"]["cost_usd"], abs=1e-10)
    usage = row["usage"]
    assert row["cost_usd"] == pytest.approx(
        PRIORITY * (usage["prompt_tokens"] * IN + usage["completion_tokens"] * OUT), abs=1e-10
    )


STATED: Mapping[str, tuple[Mapping[str, Any], Mapping[str, str], float | None]] = {
    "nobody says": ({}, {}, None),
    "a proxy's header": ({}, {"x-litellm-response-cost": "0.00125"}, 0.00125),
    "a header that is none": ({}, {"x-litellm-response-cost": "None"}, None),
    "openrouter": ({"cost": 0.0014, "is_byok": False, "cost_details": {"upstream_inference_cost": 0.0014}}, {}, 0.0014),
    "with a key of one's own": (
        {"cost": 0.0005, "is_byok": True, "cost_details": {"upstream_inference_cost": 0.01}},
        {},
        0.0105,
    ),
    "with a key, not said": ({"cost": 0.0005, "cost_details": {"upstream_inference_cost": 0.01}}, {}, 0.0105),
    "free": ({"cost": 0}, {}, 0.0),
    "perplexity": ({"cost": {"input_tokens_cost": 0.001, "total_cost": 0.006}}, {}, 0.006),
    "deepinfra": ({"estimated_cost": 2.5e-05}, {}, 2.5e-05),
    "negative": ({"cost": -1}, {}, None),
    "no number": ({"cost": "cheap"}, {}, None),
}


@pytest.mark.parametrize(("usage", "headers", "cost_usd"), STATED.values(), ids=STATED)
def test_a_stated_cost_is_taken_where_no_price_is_known(
    place: Place, usage: Mapping[str, Any], headers: Mapping[str, str], cost_usd: float | None
) -> None:
    """Null where nobody says one; and what is said counts for nothing where there is a price."""
    place.crew(llm="somebodys-model")
    place.rows({"topic": "one"})
    with Fickle(lambda asked: Reply(usage={**counts(100, 10, 110), **usage}, headers=headers)) as provider:
        place.batch(OPENAI_BASE_URL=provider.base_url)
        (row,) = read_rows(place.results)
        assert row["cost_usd"] == (None if cost_usd is None else pytest.approx(cost_usd, abs=1e-10))
        place.batch("--fresh", "--price", "somebodys-model=1,2", OPENAI_BASE_URL=provider.base_url)
    (row,) = read_rows(place.results)
    assert row["cost_usd"] == pytest.approx(120e-6)


def test_a_name_of_ones_own_costs_what_its_base_model_costs(place: Place) -> None:
    """`base_model` in a crew file: the model whose price it has, which no server sees. `-m` is another model."""
    place.crew(llm="{model: our-deployment, base_model: gpt-4.1-mini, max_tokens: 80}")
    place.rows({"topic": "one"})
    with Fickle(lambda asked: Reply(usage=counts(100, 10, 110))) as provider:
        place.batch("--budget", "1", OPENAI_BASE_URL=provider.base_url)
        assert [(asked.model, "base_model" in asked.body) for asked in provider.asked] == [("our-deployment", False)]
        (row,) = read_rows(place.results)
        assert (row["models"], row["cost_usd"]) == (["openai/our-deployment"], pytest.approx(100 * IN + 10 * OUT))
        place.batch("--fresh", "-m", "gpt-4.1", OPENAI_BASE_URL=provider.base_url)
    (row,) = read_rows(place.results)
    assert (row["models"], row["cost_usd"]) == (["openai/gpt-4.1"], pytest.approx(100 * 2e-6 + 10 * 8e-6))


def test_a_price_may_say_what_the_cache_costs(place: Place) -> None:
    """`--price MODEL=IN,OUT,CACHED,WRITTEN`: what is read from the provider's cache, and what is written to it."""
    place.rows({"topic": "one"})
    with Fickle(lambda asked: Reply(usage=COUNTED["openrouter"].usage)) as provider:
        place.batch("--price", "gpt-4.1-mini=1,4,0.1,1.25", OPENAI_BASE_URL=provider.base_url)
    (row,) = read_rows(place.results)
    assert row["cost_usd"] == pytest.approx((10 * 1 + 40 * 0.1 + 50 * 1.25 + 10 * 4) / 1e6)
