"""`SpentByResults`: what results say of calls, tokens and money, for those that have no run folder."""

from collections import Counter
from collections.abc import Mapping
from typing import Any, Final

from crewrun.report.values import micro_usd, number_in, object_in, text_in

_TOKENS: Final = ("prompt_tokens", "cached_prompt_tokens", "completion_tokens", "reasoning_tokens", "calls")
_OF_TASKS: Final = ("calls", "prompt_tokens", "cached_prompt_tokens", "completion_tokens")


class SpentByResults:
    """Sums over rows, and over their tasks by name."""

    def __init__(self) -> None:
        self._sums: Counter[str] = Counter()
        self._cost_usd: float | None = 0.0
        self._tasks: dict[str, Counter[str]] = {}

    def add(self, record: Mapping[str, Any]) -> None:
        """Take a result."""
        usage, cost_usd = object_in(record, "usage"), number_in(record, "cost_usd")
        for name in _TOKENS:
            self._sums[name] += int(number_in(usage, name) or 0)
        self._sums["attempts"] += int(number_in(record, "attempts") or 0)
        self._cost_usd = None if cost_usd is None or self._cost_usd is None else self._cost_usd + cost_usd
        tasks = record.get("tasks")
        for task in tasks if isinstance(tasks, list) else ():
            if isinstance(task, dict):
                self._add_task(task)

    def _add_task(self, task: Mapping[str, Any]) -> None:
        name, usage = text_in(task, "name"), object_in(task, "usage")
        if name is not None:
            sums = self._tasks.setdefault(name, Counter())
            sums["rows"] += 1
            for token in _OF_TASKS:
                sums[token] += int(number_in(usage, token) or 0)

    def totals(self) -> dict[str, Any]:
        """The sums over all rows, as the head of the page has them."""
        return {
            **{name: self._sums[name] for name in (*_TOKENS, "attempts")},
            "cost": micro_usd(self._cost_usd),
            "saved_cost": None,
            "may_be_owed": None,
            "unpriced": self._cost_usd is None,
        }

    def by_task(self) -> list[dict[str, Any]]:
        """The sums of each task; results do not say what a task cost, nor how long it took."""
        return [
            {"name": name, "duration_ms": None, "cost": None, "rows": sums["rows"]}
            | {token: sums[token] for token in _OF_TASKS}
            for name, sums in self._tasks.items()
        ]
