"""The two tables of `crewrun compare`: what rows cost in both runs, and how the fields of their outputs differ."""

import json
from collections.abc import Callable, Iterator, Sequence
from typing import Final

from crewrun.batch.forecast import Interval
from crewrun.cli.spans import Span, SpanLine, line
from crewrun.cli.terminal_table import aligned
from crewrun.cli.wording import duration, money, shortened
from crewrun.compare.bootstrap import FEWEST_ROWS
from crewrun.compare.fields import FieldComparison, FieldComparisons
from crewrun.compare.metrics import Metric

_MOST_FIELDS: Final = 20
_MOST_CHANGES: Final = 3
_VALUE_CHARS: Final = 30
_TENTH: Final = 0.000995  # of a percent, below which it needs another digit
_EXACT_TOKENS: Final = 100  # below, a mean has a decimal


def metric_lines(metrics: Sequence[Metric]) -> Iterator[SpanLine]:
    """Cost, tokens, time and scores per row, with the change and its interval."""
    rows = [["per row", "A", "B", "B - A", "90 % interval", ""], *map(_cells, metrics)]
    yield line("")
    for number, (*cells, remark) in enumerate(aligned(rows, "lrrrll")):
        spans = [Span("  ".join(cells), "" if number else "dim"), Span(f"  {remark}".rstrip(), "dim")]
        yield SpanLine(spans if remark.strip() else [spans[0]._replace(text=spans[0].text.rstrip())])
    if any(0 < metric.rows < FEWEST_ROWS for metric in metrics):
        yield line(f"fewer than {FEWEST_ROWS} rows have no interval", "dim")


def _cells(metric: Metric) -> list[str]:
    words = _WORDS[metric.unit]
    if metric.a is None or metric.b is None:
        return [metric.name, "-", "-", "-", "", "unknown in all rows"]
    difference, relative = metric.change.difference, metric.change.relative
    a, b = words(metric.a), words(metric.b)
    shown, signed = (relative, _percent) if relative is not None else (difference, lambda value: _signed(value, words))
    if metric.a == metric.b and (difference is None or difference.low == difference.high):
        return [metric.name, a, b, "same", "", ""]
    if shown is None:
        return [metric.name, a, b, _signed(metric.b - metric.a, words), "-", ""]
    remark = "may be chance" if _has_zero(shown) else ""
    return [metric.name, a, b, signed(shown.mean), f"{signed(shown.low)} to {signed(shown.high)}", remark]


def _has_zero(interval: Interval) -> bool:
    return interval.low <= 0 <= interval.high


def _percent(share: float) -> str:
    return f"{share:+.1%}" if abs(share) >= _TENTH else f"{share:+.2%}"


def _signed(value: float, words: Callable[[float], str]) -> str:
    return ("-" if value < 0 else "+") + words(abs(value))


def _tokens(value: float) -> str:
    return f"{value:,.0f}" if value >= _EXACT_TOKENS else f"{value:.1f}"


def _score(value: float) -> str:
    return f"{value:.4g}"


_WORDS: Final[dict[str, Callable[[float], str]]] = {"USD": money, "tokens": _tokens, "s": duration, "": _score}


def field_lines(fields: FieldComparisons) -> Iterator[SpanLine]:
    """The fields that differ, those that differ most first, and the names of the others."""
    every = list(fields)
    different = sorted((field for field in every if field.equal < field.rows), key=lambda field: field.share)
    if not different or (len(every) == 1 and not _remarks(every[0])):
        return
    rows = [
        ["field", "equal", ""],
        *([f.name, f"{f.share:.1%}", "; ".join(_remarks(f))] for f in different[:_MOST_FIELDS]),
    ]
    yield line("")
    for number, cells in enumerate(aligned(rows, "lrl")):
        yield line("  ".join(cells).rstrip(), "" if number else "dim")
    if more := len(different) - _MOST_FIELDS:
        yield from [line(f"{more:,} more fields differ", "dim")] if more > 0 else []
    if same := [field.name for field in every if field.equal == field.rows]:
        names = ", ".join(same[:_MOST_FIELDS]) + (", …" if len(same) > _MOST_FIELDS else "")
        yield line(f"equal in all rows: {names}", "dim")
    if fields.left_out:
        yield line(f"more than {len(every):,} fields: the others are compared as part of the output only", "dim")


def _remarks(field: FieldComparison) -> list[str]:
    """What is to be said about a field that differs."""
    remarks = [f"only in {run} in {rows:,} rows" for run, rows in (("A", field.only_a), ("B", field.only_b)) if rows]
    if (numbers := field.differences()) is not None and field.mean is not None:
        ends = f"{_number(numbers['p05'])} to {_number(numbers['p95'])}"
        every = f"{_number(numbers['min'])} to {_number(numbers['max'])}"
        remarks.append(f"mean {_number(field.mean)}; 90 % of the rows {ends}, all {every}")
    if changes := field.changes():
        words = [f"{_value(old)} → {_value(new)} × {rows:,}" for old, new, rows in changes[:_MOST_CHANGES]]
        remarks.append(", ".join([*words, *(["…"] if len(changes) > _MOST_CHANGES else [])]))
    return remarks


def _number(value: float) -> str:
    return f"{value:+.3g}" if value else "0"


def _value(value: object) -> str:
    if isinstance(value, str):
        return shortened(value, _VALUE_CHARS) if value.strip() else repr(value)
    return json.dumps(value)
