"""What calls at each tier came to: sums that lose nothing, and the standard tier as the rest."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from crewrun.tier_use import STANDARD, TierUse, add_use, completed, tiers_json

TIERS = ("", STANDARD, "flex", "priority")
calls = st.lists(st.tuples(st.sampled_from(TIERS), st.floats(0, 10), st.floats(0, 10)), max_size=20)


def use_of(tier: str, cost_usd: float, saved_usd: float) -> TierUse:
    return TierUse(1, cost_usd, saved_usd if tier in ("flex", "priority") else 0.0, int(tier == STANDARD))


@given(calls)
def test_the_tiers_add_up_to_all_calls(several: list[tuple[str, float, float]]) -> None:
    """Calls and money; only a call that had asked for less counts as moved."""
    uses: dict[str, TierUse] = {}
    for tier, cost_usd, saved_usd in several:
        if tier:
            add_use(uses, tier, use_of(tier, cost_usd, saved_usd))
    total_usd = sum(cost_usd for _, cost_usd, _ in several)
    tiers = completed(uses, len(several), total_usd)
    if not any(tier for tier, _, _ in several):
        assert tiers == {}
        return
    assert sum(use.calls for use in tiers.values()) == len(several)
    assert sum(use.cost_usd or 0.0 for use in tiers.values()) == pytest.approx(total_usd)
    assert sum(use.moved for use in tiers.values()) == sum(tier == STANDARD for tier, _, _ in several)
    assert all(tiers["flex"].calls == sum(t == "flex" for t, _, _ in several) for tier in tiers if tier == "flex")


@given(calls)
def test_what_is_replayed_leaves_nothing(several: list[tuple[str, float, float]]) -> None:
    """A session that only replays calls spent nothing at any tier."""
    uses: dict[str, TierUse] = {}
    for times in (1, -1):
        for tier, cost_usd, saved_usd in several:
            add_use(uses, tier or STANDARD, use_of(tier, cost_usd, saved_usd), times)
    assert completed(uses, 0, 0.0) == {}


def test_an_unknown_price_stays_unknown() -> None:
    """And the rest of it too."""
    uses = {"flex": TierUse(1, None)}
    assert tiers_json(completed(uses, 3, None)) == {
        "flex": {"calls": 1, "cost_usd": None},
        "standard": {"calls": 2, "cost_usd": None},
    }
