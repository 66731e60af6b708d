"""Service tiers: flex where the provider has it, its refusals waited for, and what calls at each tier cost."""

from collections.abc import Callable

import pytest
from support.command import read_rows, topics
from support.scripted_provider import Asked, Fickle, Reply
from support.workspace import Place

# Dollars for a call of gpt-5 with USAGE: 100 tokens in, 10 out, at the standard tier and at flex.
STANDARD_USD = 100 * 1.25e-6 + 10 * 10e-6
FLEX_USD = STANDARD_USD / 2
FULL = Reply(429, "Resource Unavailable: there is no flex capacity for this model now.", code="resource_unavailable")


class FlexProvider:
    """Serves what it is asked for at the tier that it is asked for; `is_full` says which of the flex requests it
    refuses. `billed_usd` is what it bills.
    """

    def __init__(self, is_full: Callable[[Asked], bool] = lambda asked: False, refusal: Reply = FULL) -> None:
        self.is_full = is_full
        self.refusal = refusal
        self.billed_usd = 0.0
        self.served: list[str] = []

    def __call__(self, asked: Asked) -> Reply:
        tier = asked.body.get("service_tier", "default")
        if tier == "flex" and self.is_full(asked):
            return self.refusal
        self.served.append(tier)
        self.billed_usd += FLEX_USD if tier == "flex" else STANDARD_USD
        return Reply(beside={"service_tier": tier})


def test_flex_that_refuses_half_of_its_calls_does_every_row_at_the_right_price(place: Place) -> None:
    """No row fails, no retry is used up, no limit is concluded; the bill is the provider's to the cent and below."""
    place.crew(llm="gpt-5")
    place.rows(*topics(60))
    provider = FlexProvider(lambda asked: asked.number % 2 == 1)
    with Fickle(provider) as server:
        place.crewrun(
            "batch", "in.jsonl", "--tier", "flex", "--retries", "0", "-j", "20", "--summary", "s.json",
            OPENAI_BASE_URL=server.base_url,
        )  # fmt: skip
    summary = place.summary()
    assert summary["rows"]["ok"] == 60
    assert provider.served == ["flex"] * 60
    assert summary["cost_usd"] == pytest.approx(provider.billed_usd, abs=1e-9)
    assert summary["tiers"] == {
        "flex": {"calls": 60, "cost_usd": pytest.approx(60 * FLEX_USD), "saved_usd": pytest.approx(60 * FLEX_USD)}
    }
    assert [row["tiers"]["flex"]["calls"] for row in read_rows(place.results)] == [1] * 60
    print(place.stderr)
