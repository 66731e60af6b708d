"""What `crewrun compare` prints for people: counts, what rows cost, fields, examples, conditions."""

import json
from collections.abc import Iterator, Sequence
from typing import Any, Final

from crewrun.cli.compare_tables import field_lines, metric_lines
from crewrun.cli.spans import ADDED, REMOVED, Span, SpanLine, line
from crewrun.cli.wording import count, shortened
from crewrun.compare.comparison import Comparison
from crewrun.compare.examples import Difference, Example
from crewrun.compare.row_changes import JOINED, RowChange
from crewrun.compare.runs import ComparedRuns, Side
from crewrun.score.inequality import Check

_STYLES: Final[dict[RowChange, str]] = {"fixed": "green", "broken": "bold red", "changed": "yellow"}
_SIGN_STYLES: Final = {"-": REMOVED, "+": ADDED, "=": ""}
_VALUE_CHARS: Final = 200
_SHORT_CHARS: Final = 40  # two values that stand on one line
_INPUT_CHARS: Final = 55
_TEXT_CHARS: Final = 1500  # of a word diff


def lines_of(runs: ComparedRuns, checks: Sequence[Check]) -> Iterator[SpanLine]:
    """The lines of the report."""
    comparison = runs.comparison
    yield _side_line("A", runs.a)
    yield _side_line("B", runs.b)
    yield line("")
    yield from _count_lines(comparison)
    yield from metric_lines(comparison.metrics)
    yield from field_lines(comparison.fields)
    for change in ("broken", "changed"):
        yield from _example_lines(comparison, change)
    if checks:
        yield line("")
        yield from map(_check_line, checks)


def _side_line(mark: str, side: Side) -> SpanLine:
    notes = [count(side.rows, "row"), *side.models[:3]]
    if len(side.models) > 3:
        notes.append(f"{len(side.models) - 3} more models")
    if side.snapshot:
        notes.append("still running: the results so far")
    return SpanLine([Span(f"{mark}  ", "bold"), Span(side.run), Span(f"  {' · '.join(notes)}", "dim")])


def _count_lines(comparison: Comparison) -> Iterator[SpanLine]:
    rows = comparison.rows
    spans = [Span(f"{count(rows.joined, 'row')} in both: ", "bold")]
    for number, change in enumerate(JOINED):
        share = f" ({rows.share(change):.1%})" if rows.count(change) else ""
        style = _STYLES.get(change, "") if rows.count(change) else ""
        spans += [Span(", " if number else ""), Span(f"{rows.count(change):,} {change}{share}", style)]
    yield SpanLine(spans)
    notes = []
    if rows.failed_in_both:
        notes.append(f"{rows.failed_in_both:,} of the same failed in both")
    if rows.other_input:
        notes.append(f"{rows.other_input:,} have other inputs in B")
    notes += [f"{rows.count(f'only_{run}'):,} only in {run.upper()}" for run in "ab" if rows.count(f"only_{run}")]
    if notes:
        yield line(", ".join(notes))


def _example_lines(comparison: Comparison, change: RowChange) -> Iterator[SpanLine]:
    examples = [example for example in comparison.examples if example.change == change]
    if not examples:
        return
    total = comparison.rows.count(change)
    drawn = f"{len(examples)} of {total:,}, drawn at random" if len(examples) < total else f"{total:,}"
    yield line("")
    yield SpanLine([Span(change, _STYLES[change]), Span(f" ({drawn})", "dim")])
    for example in examples:
        inputs = "other inputs in B" if example.inputs is None else shortened(_in_words(example.inputs), _INPUT_CHARS)
        yield SpanLine([Span(example.id, "bold"), Span(f"  {inputs}", "dim")], 2)
        yield from _ending_lines(example) if change == "broken" else _difference_lines(example)


def _ending_lines(example: Example) -> Iterator[SpanLine]:
    """Why a row failed in B."""
    error = example.b["error"] or {}
    words = f"{error.get('category')}: {error.get('message')}"
    yield line(shortened(words, _VALUE_CHARS), "red", 4)


def _difference_lines(example: Example) -> Iterator[SpanLine]:
    for difference in example.differences:
        name = [Span(f"{difference.field}: ", "cyan")] if difference.field != "output" else []
        first, *others = _in_lines(_spans(difference))
        yield SpanLine([*name, *first], 4)
        yield from (SpanLine(spans, 4) for spans in others)
    if example.more:
        yield line(f"{count(example.more, 'more field')} differ{'s' if example.more == 1 else ''}", "dim", 4)


def _spans(difference: Difference) -> list[Span]:
    """A difference: the words of a text, or the two values."""
    segments = difference.segments
    is_short = all(len(text) <= _SHORT_CHARS and "\n" not in text for _, text in segments)
    if segments and not ([sign for sign, _ in segments] == ["-", "+"] and is_short):
        return _words(difference)
    values = [
        Span(shortened(_in_words(difference.values[side]), _VALUE_CHARS), style) if side in difference.values else None
        for side, style in (("a", REMOVED), ("b", ADDED))
    ]
    old, new = (span or Span("no such field", "dim") for span in values)
    return [old, Span(" → "), new]


def _words(difference: Difference) -> list[Span]:
    spans: list[Span] = []
    left = _TEXT_CHARS
    for sign, text in difference.segments:
        if left <= 0:
            return [*spans, Span("…", "dim")]
        spans.append(Span(shortened(text, left), _SIGN_STYLES[sign], is_marked=sign != "="))
        left -= len(text)
    return spans


def _in_lines(spans: Sequence[Span]) -> list[list[Span]]:
    """The spans in lines, where their texts have line breaks."""
    lines: list[list[Span]] = [[]]
    for span in spans:
        for number, part in enumerate(span.text.split("\n")):
            if number:
                lines.append([])
            if part:
                lines[-1].append(span._replace(text=part))
    return lines


def _check_line(check: Check) -> SpanLine:
    words, style = ("holds", "bold red") if check.holds else ("does not hold", "green")
    text = check.condition.text
    return SpanLine([Span(f"--fail-if '{text}' "), Span(words, style), Span(f": {check.value_in_words}")])


def _in_words(value: Any) -> str:
    """A value as text; of an object with a single text only that."""
    if isinstance(value, dict) and len(value) == 1 and isinstance(text := next(iter(value.values())), str):
        return text
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
