"""What the journal has of a run's calls: figures by model and by task, and the tools of each row, in one pass each."""

from array import array
from bisect import bisect_left
from collections.abc import Sequence
from itertools import groupby
from operator import itemgetter
from typing import Any, Final

from crewrun.inspect.view import View
from crewrun.journal.keys import row_key
from crewrun.journal.schema import ANSWER, FAILURE, TOOL, TOOL_FAILURE, TURN
from crewrun.report.histograms import histogram
from crewrun.report.values import micro_usd
from crewrun.tier_use import STANDARD

_OF_MODELS: Final = f"kind in ({ANSWER}, {TURN}, {FAILURE})"
_ANSWERED: Final = f"kind in ({ANSWER}, {TURN})"
_OF_TOOLS: Final = f"kind in ({TOOL}, {TOOL_FAILURE})"
# As everywhere, calls are those that were answered; what failed ones were billed counts.
_SUMS: Final = (
    f"coalesce(sum({_ANSWERED}), 0), coalesce(sum(prompt_tokens), 0), coalesce(sum(cached_prompt_tokens), 0), "
    f"coalesce(sum(completion_tokens), 0), sum(cost_usd), sum(cost_usd is null and {_OF_MODELS})"
)
_NAMES: Final = ("calls", "prompt_tokens", "cached_prompt_tokens", "completion_tokens")


class RowTools:
    """The tools that rows called, also those that failed: 12 bytes for each row that called any."""

    def __init__(self, view: View | None) -> None:
        self._rows, self._codes = array("q"), array("i")
        self._names: list[tuple[str, ...]] = []
        if view is None:
            return
        codes: dict[tuple[str, ...], int] = {}
        query = f"select distinct row, name from calls where {_OF_TOOLS} order by row"  # noqa: S608  (numbers of ours)
        for row, pairs in groupby(view.db.execute(query), key=itemgetter(0)):
            names = tuple(sorted({view.name(name) for _, name in pairs}))
            self._rows.append(row)
            self._codes.append(codes.setdefault(names, len(codes)))
        self._names = list(codes)

    def of_row(self, row_id: str) -> Sequence[str]:
        """The names of the row's tools, sorted."""
        if not self._rows:
            return ()
        key = row_key(row_id)
        at = bisect_left(self._rows, key)
        return self._names[self._codes[at]] if at < len(self._rows) and self._rows[at] == key else ()


def by_model(view: View) -> list[dict[str, Any]]:
    """Calls, tokens and money of each model over all sessions, the most expensive first."""
    query = f"select name, {_SUMS} from calls where {_OF_MODELS} group by name"  # noqa: S608  (ours)
    figures = [{"name": view.name(name), **_sums(sums)} for name, *sums in view.db.execute(query)]
    return sorted(figures, key=lambda one: (-(one["cost"] or 0), -one["calls"]))


def by_tier(view: View) -> list[dict[str, Any]]:
    """As `by_model`, for each service tier; empty if no call was served at another than the standard one, nor had asked
    for one.
    """
    if view.db.execute("select 1 from calls where tier is not null limit 1").fetchone() is None:
        return []
    query = f"select coalesce(tier, ?) as tier, {_SUMS} from calls where {_OF_MODELS} group by 1 order by 1"  # noqa: S608  (ours)
    return [{"name": tier, **_sums(sums)} for tier, *sums in view.db.execute(query, (STANDARD,))]


def by_task(view: View) -> list[dict[str, Any]]:
    """As `by_model`, for each task, with the time that its calls and tools took and the number of its rows; in the
    order in which the tasks were first called.
    """
    columns = f"task, sum(duration_ms), count(distinct row), {_SUMS}, min(seq)"
    query = f"select {columns} from calls group by task order by min(seq)"  # noqa: S608  (ours)
    return [
        {"name": view.name(task), "duration_ms": duration_ms or 0, "rows": rows, **_sums(sums)}
        for task, duration_ms, rows, *sums, _ in view.db.execute(query)
    ]


def task_histograms(view: View) -> dict[str, dict[str, Any]]:
    """How much time and money each task took per row: that of its calls and tools over all sessions together."""
    query = "select task, sum(duration_ms), sum(cost_usd) from calls group by task, row order by task"
    histograms = {}
    for task, sums in groupby(view.db.execute(query), key=itemgetter(0)):
        times, costs = array("q"), array("d")
        for _, duration_ms, cost_usd in sums:
            times.append(duration_ms or 0)
            if cost_usd is not None:
                costs.append(micro_usd(cost_usd) or 0)
        histograms[view.name(task)] = {"time": histogram(times), "cost": histogram(costs)}
    return histograms


def _sums(sums: Sequence[Any]) -> dict[str, Any]:
    *counts, cost_usd, unpriced = sums
    cost = None if unpriced else micro_usd(cost_usd or 0.0)
    return {**dict(zip(_NAMES, counts, strict=True)), "cost": cost}
