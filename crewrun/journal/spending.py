"""What the sessions of a run have spent together, and what they may owe on top of that."""

import sqlite3
from typing import Any, Final

from crewrun.journal.schema import FAILURE, TOKEN_COLUMNS
from crewrun.tier_use import STANDARD, TierUse

# The most expensive of the latest calls bounds what a call that was lost with its session may have cost. The same
# number as the budget learns from: see `RunAccounts.latest_answers`.
_LATEST_CALLS: Final = 2000


def owed_usd(db: sqlite3.Connection, *, current: int, only: int | None = None) -> float | None:
    """What attempts of all sessions, or of `only` one, may have cost beyond what they are known to have spent.

    In US dollars, None when a price is unknown. The `current` session (0 for none) has an exact record of what it owes.
    A killed session owes up to its high-water mark; without a budget it has no mark, and each row that it had in flight
    counts as much as the most expensive of the latest calls, except for those that waited for a batch job: its answers
    are still to come.
    """
    query = (
        "select coalesce(sum(case when ended_at is not null or id = ? then owed_usd "
        "when high_water_usd is null then owed_usd + max(0, in_flight - in_jobs) * dearest "
        "else max(owed_usd, high_water_usd - cost_usd) end), 0), coalesce(sum(owed_unpriced), 0) from (select *, "
        "(select coalesce(sum(lines), 0) from jobs where jobs.session <= sessions.id "
        "and (ended_in is null or ended_in > sessions.id)) as in_jobs from sessions), "
        "(select coalesce(max(cost_usd), 0) as dearest from (select cost_usd from calls order by seq desc limit ?)) "
        "where ? is null or id = ?"
    )
    usd, unpriced = db.execute(query, (current, _LATEST_CALLS, only, only)).fetchone()
    return None if unpriced else float(usd)


def total_spent(db: sqlite3.Connection, *, current: int) -> dict[str, Any]:
    """The sums over all sessions, by the columns of `sessions`, `owed_usd`, and `tiers` as from `tier_uses`. `cost_usd`
    is None when unknown.
    """
    names = ("attempts", "calls", *TOKEN_COLUMNS)
    sums = ", ".join(f"coalesce(sum({name}), 0)" for name in (*names, "cost_usd", "unpriced"))
    *counts, cost_usd, unpriced = db.execute(f"select {sums} from sessions").fetchone()  # noqa: S608  (names are ours)
    spent = {**dict(zip(names, counts, strict=True)), "cost_usd": None if unpriced else cost_usd}
    return {**spent, "owed_usd": owed_usd(db, current=current), "tiers": tier_uses(db)}


def tier_uses(db: sqlite3.Connection, *, only: int | None = None) -> dict[str, TierUse]:
    """What each service tier served in all sessions, or in `only` one, for `tier_use.completed`."""
    groups = db.execute(
        "select tier, sum(kind != ?), sum(cost_usd), sum(cost_usd is null), total(saved_usd) "
        "from calls where tier is not null and (? is null or session = ?) group by tier",
        (FAILURE, only, only),
    )
    return {
        tier: TierUse(calls, None if unpriced else cost_usd, saved_usd, calls if tier == STANDARD else 0)
        for tier, calls, cost_usd, unpriced, saved_usd in groups
    }
