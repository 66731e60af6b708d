"""Scores that both runs have, as metrics: `score.NAME`."""

from array import array
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from math import nan

from crewrun.batch.run_results import RunResults
from crewrun.compare.bootstrap import Bootstrap
from crewrun.compare.join import RowJoin
from crewrun.compare.metrics import SCORE, Metric, Pairs
from crewrun.inspect.view import nearby
from crewrun.score.score_sets import RowScore, ScoreSet, find_scores


@dataclass(frozen=True, slots=True)
class ComparedScores:
    """The metrics, and what could not be compared, a sentence each."""

    metrics: Sequence[Metric]
    notes: Sequence[str]


def compare_scores(a: RunResults, b: RunResults, seed: int) -> ComparedScores:
    """A metric for each score that rows have in both runs under the same name. A score of an output or input that the
    row no longer has does not count.
    """
    sets_a, sets_b = _by_label(a), _by_label(b)
    notes = [
        f"{nearby(run.name)}: has no scores {label!r}, which the other run has; `crewrun score` makes them"
        for run, own, others in ((a, sets_a, sets_b), (b, sets_b, sets_a))
        for label in others
        if label not in own
    ]
    labels = [label for label in sets_a if label in sets_b]
    if not labels:
        return ComparedScores((), notes)
    rows_a, rows_b, bootstrap = RowJoin(a.lines), RowJoin(b.lines), Bootstrap(seed)
    metrics: list[Metric] = []
    for label in labels:
        old, new = sets_a[label], sets_b[label]
        if old.by is not None and new.by is not None and old.by != new.by:
            notes.append(f"scores {label!r}: A is judged by {old.by!r}, B by {new.by!r}")
        metrics += (pairs.metric(bootstrap) for pairs in _pairs((old, rows_a), (new, rows_b)))
    return ComparedScores(metrics, notes)


def _by_label(results: RunResults) -> dict[str, ScoreSet]:
    return {scores.label: scores for scores in find_scores(results.name, results.view)}


def _pairs(a: tuple[ScoreSet, RowJoin], b: tuple[ScoreSet, RowJoin]) -> list[Pairs]:
    """The pairs of each score: 8 bytes per row of A, and 16 per row that has it in both."""
    scores, rows_a = a
    values: dict[str, array[float]] = {}
    for _, number, score in _present(scores, rows_a):
        for name, value in score.scores.items():
            values.setdefault(name, array("d", [nan]) * len(rows_a))[number] = value
    pairs = {name: Pairs(f"{SCORE}{scores.column(name)}", "") for name in values}
    scores, rows_b = b
    for row_id, _, score in _present(scores, rows_b):
        place = rows_a.find(row_id)
        if place is not None:
            for name in score.scores.keys() & values.keys():
                pairs[name].take(values[name][place], score.scores[name])
    return list(pairs.values())


def _present(scores: ScoreSet, rows: RowJoin) -> Iterator[tuple[str, int, RowScore]]:
    """The scores of what the results are now, with the row's id and the number of its line."""
    for row_id, score in scores.rows():
        number = rows.find(row_id)
        if number is not None and score.is_of(rows.record(number)):
            yield row_id, number, score
