"""`AnswerEnds`: the rows with answers that did not end as they should: cut off, or for a reason that is not known."""

from collections import Counter
from collections.abc import Mapping
from typing import Any, Final

from crewrun.report.columns import NameSets
from crewrun.report.values import text_in
from crewrun.wording import count

COLUMN: Final = "answers"  # of the rows

_CUT_OFF: Final = "cut off at max_tokens"
_MOST_REASONS: Final = 50  # providers have a handful


class AnswerEnds:
    """Sees each result."""

    def __init__(self) -> None:
        self._column = NameSets()
        self._answers: Counter[str] = Counter()

    def see(self, record: Mapping[str, Any]) -> None:
        """Take the next result."""
        tasks = record.get("tasks")
        names = [name for task in tasks if isinstance(task, Mapping) for name in _ends(task)] if tasks else []
        names = [name for name in names if name in self._answers or len(self._answers) < _MOST_REASONS]
        self._answers.update(names)
        self._column.add(sorted(set(names)))

    def columns(self, rows: int) -> Mapping[str, NameSets]:
        """The column, for all `rows`; none where all answers ended well."""
        if self._column.is_empty:
            return {}
        self._column.fill(rows)
        return {COLUMN: self._column}

    def warnings(self) -> list[dict[str, Any]]:
        """What the head of the page says of them, with the filter that shows their rows."""
        return [
            {"text": _words(name, answers), "column": COLUMN, "value": name}
            for name, answers in self._answers.most_common()
        ]


def _ends(task: Mapping[str, Any]) -> list[str]:
    reason = text_in(task, "finish_reason")
    cut_off = [_CUT_OFF] if task.get("truncated") is True else []
    return [*cut_off, *([f"finish_reason {reason!r}"] if reason else [])]


def _words(name: str, answers: int) -> str:
    if name == _CUT_OFF:
        return f"{count(answers, 'answer')} cut off at max_tokens"
    return f"{count(answers, 'answer')} ended with {name}, which is not known"
