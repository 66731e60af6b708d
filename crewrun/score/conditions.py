"""The conditions of `crewrun score --fail-if`: `missed>0`, `label<95%`, `tone.low<0.8`."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from crewrun.errors import UsageError, suggest
from crewrun.score.figures import ScoreFigures
from crewrun.score.inequality import Check, Inequality, parse_inequality
from crewrun.score.score_sets import ScoreSet

_EXAMPLES: Final = "'missed>0', 'label<95%' or 'tone<0.8'"
_MISSED: Final = "missed"
_PARTS: Final = ("mean", "low", "high")


@dataclass(frozen=True, slots=True)
class ScoreConditions:
    """The conditions on the scores with one `label`. `names` are those of the scores, None until there are any."""

    conditions: Sequence[Inequality]
    label: str
    names: Sequence[str] | None

    @classmethod
    def parse(cls, texts: Sequence[str], label: str, names: Sequence[str] | None) -> "ScoreConditions":
        """The conditions in `texts`. Raises UsageError, also for the name of no score where these are known."""
        made = cls([parse_inequality(text, _EXAMPLES) for text in texts], label, names)
        for condition in made.conditions if names is not None else ():
            if condition.name != _MISSED:
                made._split(condition, names or ())
        return made

    def check(self, scores: ScoreSet, figures: Sequence[ScoreFigures]) -> list[Check]:
        """The conditions with their values. Raises UsageError for what the scores do not have."""
        return [condition.check(self._value(condition, scores, figures)) for condition in self.conditions]

    def _value(self, condition: Inequality, scores: ScoreSet, figures: Sequence[ScoreFigures]) -> float:
        if condition.name == _MISSED:
            missed, rows = scores.missed_rows()
            return 100 * missed / max(1, rows) if condition.is_percent else missed
        name, part = self._split(condition, [one.name for one in figures])
        (one,) = (one for one in figures if one.name == name)
        value = {"mean": one.mean, "low": one.low, "high": one.high}[part]
        if value is None:
            raise UsageError(f"--fail-if {condition.text!r}: one row has no interval; leave .{part} out")
        if condition.is_percent and not 0 <= one.edges[0] <= one.edges[-1] <= 1:
            raise UsageError(f"--fail-if {condition.text!r}: the scores are not from 0 to 1; leave the % out")
        return 100 * value if condition.is_percent else value

    def _split(self, condition: Inequality, names: Sequence[str]) -> tuple[str, str]:
        """The name of the score and which part of its figures is meant: `label.low` as `label` and `low`."""
        columns = {ScoreSet.column_of(self.label, name): name for name in names} | {name: name for name in names}
        stem, _, part = condition.name.rpartition(".")
        if condition.name in columns:
            return columns[condition.name], "mean"
        if part in _PARTS and stem in columns:
            return columns[stem], part
        near = suggest(condition.name, [*columns, _MISSED])
        there = near or (f"; there are {', '.join([_MISSED, *names])}" if names else "; no row has a score")
        raise UsageError(f"--fail-if {condition.text!r}: there is no score {condition.name!r}{there}")
