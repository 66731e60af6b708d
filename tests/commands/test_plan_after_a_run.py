"""What `crewrun plan` takes from earlier answers, and a warning of models that nobody calls."""

import json

from support.workspace import Place


def test_a_plan_takes_its_answers_from_the_runs_last_ones(place: Place) -> None:
    """As many as there are of the models that the crew calls now; before them it guesses."""
    place.crew()
    place.rows(*({"topic": f"t{n}"} for n in range(6)))
    place.crewrun("plan", "in.jsonl", "--json")
    guessed = json.loads(place.stdout)
    assert guessed["answers_known"] == 0
    place.batch("--limit", "4")
    answers = [row["usage"]["completion_tokens"] for row in map(json.loads, place.results.read_text().splitlines())]
    place.crewrun("plan", "in.jsonl", "--json")
    learned = json.loads(place.stdout)
    assert learned["answers_known"] == 4
    assert learned["completion_tokens"]["mean"] != guessed["completion_tokens"]["mean"]
    rows = learned["rows"]
    assert rows * min(answers) <= learned["completion_tokens"]["mean"] <= rows * max(answers)


def test_a_limit_of_a_model_that_nobody_calls_is_warned_of(place: Place) -> None:
    """Of one that is called it is not."""
    place.crew()
    place.rows({"topic": "t"})
    place.batch("--rpm", "gpt-4.1-mini=600", "--rpm", "gpt-4.1-minni=5")
    assert "gpt-4.1-minni: no agent of the crew calls that model (did you mean 'gpt-4.1-mini'?)" in place.stderr
    assert "gpt-4.1-mini: no agent" not in place.stderr
