"""`TierUse`: what calls at one service tier came to, in rows, runs and summaries.

Uses are held by tier, under the names of the price table: `flex`, `priority`, `batch`. The standard tier is in such a
mapping only with the calls that had asked for a cheaper one; `completed` makes it the rest of all calls.
"""

from collections.abc import Mapping
from typing import Any, Final, NamedTuple

STANDARD: Final = "standard"
_NO_USD: Final = 1e-8  # smaller amounts are the noise of floating-point sums


class TierUse(NamedTuple):
    """Answered calls, and US dollars (None: a price is unknown).

    `saved_usd` is what the same would have cost more at the standard tier. `moved` of the calls had asked for a cheaper
    tier than the one that served them.
    """

    calls: int = 0
    cost_usd: float | None = 0.0
    saved_usd: float = 0.0
    moved: int = 0

    def plus(self, other: "TierUse", times: int = 1) -> "TierUse":
        """The sum with `times` the `other`."""
        is_priced = self.cost_usd is not None and other.cost_usd is not None
        return TierUse(
            self.calls + times * other.calls,
            (self.cost_usd or 0.0) + times * (other.cost_usd or 0.0) if is_priced else None,
            self.saved_usd + times * other.saved_usd,
            self.moved + times * other.moved,
        )

    def to_json(self) -> dict[str, Any]:
        """As in result lines and summaries: `saved_usd` and `moved` only if there is something to say."""
        record: dict[str, Any] = {"calls": self.calls, "cost_usd": _rounded(self.cost_usd)}
        if self.saved_usd > _NO_USD:
            record["saved_usd"] = _rounded(self.saved_usd)
        return {**record, "moved": self.moved} if self.moved else record


NO_USE: Final = TierUse()


def add_use(uses: dict[str, TierUse], tier: str, use: TierUse, times: int = 1) -> None:
    """Add `times` the `use` to that of its tier in `uses`."""
    uses[tier] = uses.get(tier, NO_USE).plus(use, times)


def completed(uses: Mapping[str, TierUse], calls: int, cost_usd: float | None) -> dict[str, TierUse]:
    """`uses` with the standard tier as what the others leave of all `calls` and of `cost_usd`; empty if no other tier
    served any of them, nor had been asked to.
    """
    others = {tier: use for tier, use in uses.items() if tier != STANDARD and _is_any(use)}
    moved = uses.get(STANDARD, NO_USE).moved
    if not others and not moved:
        return {}
    rest = TierUse(calls, cost_usd, moved=moved)
    for use in others.values():
        rest = rest.plus(use._replace(saved_usd=0.0, moved=0), -1)
    rest = rest._replace(cost_usd=None if rest.cost_usd is None else max(0.0, rest.cost_usd))
    return {**others, STANDARD: rest} if _is_any(rest) else others


def _is_any(use: TierUse) -> bool:
    return use.calls > 0 or use.moved > 0 or (use.cost_usd or 0.0) > _NO_USD


def tiers_json(uses: Mapping[str, TierUse]) -> dict[str, dict[str, Any]]:
    """What each tier served, as JSON, the cheaper tiers first."""
    return {tier: uses[tier].to_json() for tier in sorted(uses, key=lambda tier: (tier == STANDARD, tier))}


def _rounded(usd: float | None) -> float | None:
    return None if usd is None else round(usd, 10)
