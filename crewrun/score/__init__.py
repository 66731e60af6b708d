"""Scores: what a function or a model says of each output of a finished run, for `crewrun score`.

Scoring is a batch: `scored_rows` makes its rows from the results, a `ScoreTarget` or a `JudgeTarget` is what they run,
and `scoring` is the request. The scores are a results file of their own, `NAME.scores.jsonl`, with a run folder; its
rows have the ids of the rows that they judge. `figures` sums them up, and `score_sets` finds and reads the scores of a
run for other commands.
"""
