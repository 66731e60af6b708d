"""The figures of scores for a person: a line, a small histogram and the worst rows of each."""

from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import TYPE_CHECKING

from crewrun.cli.wording import count, shortened

if TYPE_CHECKING:
    from crewrun.score.figures import ScoreFigures
    from crewrun.score.inequality import Check
    from crewrun.score.score_sets import ScoreSet

_BAR = 40  # columns of the largest range
_REASON_CHARS = 200
_ID_CHARS = 40
_INPUT_CHARS = 60


def lines(scores: "ScoreSet", figures: Sequence["ScoreFigures"], inputs: Mapping[str, str]) -> list[str]:
    """All of them, in their order. `inputs` has those of the worst rows whose ids say nothing."""
    return [line for one in figures for line in _lines(scores.column(one.name), one, inputs)] or ["no row has a score"]


def condition_lines(checks: Sequence["Check"]) -> list[str]:
    """Whether each condition of --fail-if holds, and its value."""
    return [
        f"--fail-if '{check.condition.text}' {'holds' if check.holds else 'does not hold'}: {check.value_in_words}"
        for check in checks
    ]


def _lines(name: str, one: "ScoreFigures", inputs: Mapping[str, str]) -> list[str]:
    report = [f"{name}: {_mean(one)} of {count(one.rows, 'row')}"]
    if one.is_share:
        report.append(f"  true {one.counts[-1]:,}, false {one.rows - one.counts[-1]:,}")
    else:
        quantiles = f"  p10 {_number(one.p10)}, median {_number(one.median)}, p90 {_number(one.p90)}"
        report += [quantiles, *_bars(one)]
    report += ["  lowest:"] if one.worst else []
    for row in one.worst:
        reason = f": {shortened(' '.join(row.reason.split()), _REASON_CHARS)}" if row.reason else ""
        words = f"  {shortened(' '.join(inputs[row.id].split()), _INPUT_CHARS)}" if row.id in inputs else ""
        report.append(f"    {_number(row.score)}  {shortened(row.id, _ID_CHARS)}{words}{reason}")
    return report


def _mean(one: "ScoreFigures") -> str:
    words = "share" if one.is_share else "mean"
    if one.low is None or one.high is None:
        return f"{words} {_number(one.mean)}"
    return f"{words} {_number(one.mean)} (90 % interval {_number(one.low)} to {_number(one.high)})"


def _bars(one: "ScoreFigures") -> list[str]:
    """The ranges from the first to the last one that has rows."""
    ranges = [_range(low, high, is_whole=one.is_whole) for low, high in pairwise(one.edges)]
    width, most = max(map(len, ranges)), max(one.counts)
    bars = [
        f"  {words:{width}}  {'█' * max(1 if n else 0, round(_BAR * n / most))} {n:,}"
        for words, n in zip(ranges, one.counts, strict=True)
    ]
    first = next(i for i, n in enumerate(one.counts) if n)
    last = max(i for i, n in enumerate(one.counts) if n)
    return bars[first : last + 1]


def _range(low: float, high: float, *, is_whole: bool) -> str:
    """A range in words. Of whole numbers it has those up to the one before `high`."""
    last = high - 1 if is_whole else high
    return _number(low) if is_whole and last == low else f"{_number(low)} to {_number(last)}"


def _number(value: float) -> str:
    return f"{value:.3g}" if abs(value) < 1000 else f"{value:,.0f}"
