"""`crewrun score`: the outputs of a run judged by a function or a model, as a batch of its own beside the results."""

import csv
import fcntl
import json
import re
import shutil
from pathlib import Path
from typing import Any

import pytest
from support.command import topics
from support.report_page import read_report
from support.scripted_provider import Asked, Fickle, Reply
from support.workspace import RESULTS, STATE, Place

FUNCTIONS = """\
from decimal import Decimal

def length(output):
    return len(output)

def about(output, row):
    return row["topic"] in output

async def several(output, input, result):
    output = input = None
    return {"cost": result["cost_usd"], "is_ok": True, "share": Decimal("0.25"), "reason": "as it is"}

def fails(output, input):
    if input["topic"] == "topic 1":
        return ANSWERS[input["topic"]]
    raise LookupError("no such word")

ANSWERS = {"topic 1": float("nan")}

def picks(output, row, answers=("0", "text", None, [1], {}, {"": 1}, {"a": "x"}, float("inf"), 10 ** 400)):
    return answers[int(row["topic"].split()[1])]

def other(text):
    return 1
"""


@pytest.fixture
def place(place: Place) -> Place:
    """Three rows that are done, and score functions in `judge.py`."""
    place.crew(llm="offline")
    place.rows(*topics(3))
    (place.folder / "judge.py").write_text(FUNCTIONS)
    place.batch()
    return place


def scores(place: Place, name: str = "in.scores.jsonl") -> dict[str, Any]:
    """What is in a file of scores: the output of each row by its id, None for a failed one."""
    lines = (place.folder / name).read_text().splitlines()
    return {row["id"]: row["output"] for row in map(json.loads, lines)}


def figures(place: Place, *args: str, code: int = 0) -> dict[str, Any]:
    place.crewrun("score", *args, "--json", code=code)
    printed: dict[str, Any] = json.loads(place.stdout)
    return printed


def test_a_function_judges_each_output(place: Place) -> None:
    """The scores have the ids of the rows; figures go to standard output; repeating it does nothing."""
    place.crewrun("score", RESULTS, "--by", "judge:length")
    rows = {row["id"]: row for row in map(json.loads, place.results.read_text().splitlines())}
    assert scores(place) == {row_id: {"score": len(row["output"])} for row_id, row in rows.items()}
    assert re.match(r"length: mean \d+ \(90 % interval \d+ to \d+\) of 3 rows\n  p10 ", place.stdout)
    assert "3 ok, 0 failed; results: in.scores.jsonl\n" in place.stderr
    again = figures(place, RESULTS, "--by", "judge:length")
    assert "0 ok, 0 failed, 3 done before" in place.stderr
    assert (again["schema"], again["exit_code"], again["scores"][0]["rows"]) == ("crewrun.score/1", 0, 3)


def test_true_and_false_are_a_share_and_a_mapping_has_several_scores(place: Place) -> None:
    """With Wilson's interval, which does not vanish; an async function gets what its parameters name."""
    (one,) = figures(place, RESULTS, "--by", "judge.py:about")["scores"]
    assert (one["mean"], one["is_share"], one["counts"], one["worst"]) == (1, True, [0, 3], [])
    assert (round(one["low"], 3), one["high"]) == (0.526, 1)
    several = figures(place, RESULTS, "--by", "judge:several", "--name", "more")["scores"]
    assert [(one["name"], one["mean"]) for one in several] == [("cost", 0), ("is_ok", 1), ("share", 0.25)]
    assert set(map(json.dumps, scores(place, "in.more.scores.jsonl").values())) == {
        '{"cost": 0.0, "is_ok": true, "share": 0.25, "reason": "as it is"}'
    }


def test_only_what_has_changed_is_scored_again(place: Place) -> None:
    """A row whose output is another one now, and a new row; the scores of a row that is gone go too."""
    place.crewrun("score", RESULTS, "--by", "judge:length")
    old = scores(place)
    lines = [json.loads(line) for line in place.results.read_text().splitlines()]
    lines[0]["output"] = "short"
    shutil.rmtree(place.folder / STATE)
    place.results.write_text("".join(json.dumps(line) + "\n" for line in lines[:2]))
    place.crewrun("score", RESULTS, "--by", "judge:length")
    assert "1 ok, 0 failed, 1 done before" in place.stderr
    assert scores(place) == {lines[1]["id"]: old[lines[1]["id"]], lines[0]["id"]: {"score": 5}}


def test_a_function_that_fails_fails_its_rows(place: Place) -> None:
    """Exit code 3, with place and message; they run again when it has been mended."""
    place.crewrun("score", RESULTS, "--by", "judge:fails", code=3)
    assert "2 × internal: line " in place.stderr
    assert "judge.py:16: LookupError: no such word" in place.stderr
    assert "judge:fails returned nan; a score is a finite number, below 1e100" in place.stderr
    assert "crewrun retry" not in place.stderr
    assert place.stdout == "no row has a score\n"
    file = place.folder / "judge.py"
    file.write_text(file.read_text().replace('raise LookupError("no such word")', "return 1").replace("nan", "1"))
    assert figures(place, RESULTS, "--by", "judge:fails", code=0)["scores"][0]["rows"] == 3


def test_what_is_no_score_is_refused_row_by_row(place: Place) -> None:
    """Texts, None, lists, empty mappings, and numbers that are no number."""
    place.rows(*topics(9))
    place.batch()
    place.crewrun("score", RESULTS, "--by", "judge:picks", code=3)
    lines = [json.loads(line) for line in (place.folder / "in.scores.jsonl").read_text().splitlines()]
    number = "a score is a number, True or False, or a mapping of names to these"
    assert {row["error"]["message"].removeprefix("judge:picks returned ") for row in lines} == {
        f"'0'; {number}",
        f"'text'; {number}",
        f"None; {number}",
        f"[1]; {number}",
        "{}, which has no score in it",
        "a mapping with the key ''; keys are the names of scores",
        f"'x' for 'a'; {number}",
        "inf; a score is a finite number, below 1e100",
        f"1{'0' * 58}…; a score is a finite number, below 1e100",
    }


@pytest.mark.parametrize(
    ("args", "message"),
    [
        ((), "what judges is missing: --by module:function, or a sentence"),
        (
            ("--by", "judge:length", "--crew", "crew.yaml"),
            "--crew says whose expect: is checked; give --expect with it",
        ),
        (("--by", " "), "--by is empty; it needs a function"),
        (("--by", "judge.py"), "--by 'judge.py': names no function; it needs a function"),
        (("--by", "judge.length"), "--by 'judge.length': names no function; it needs a function"),
        (("--by", "judge.py:length()"), "--by 'judge.py:length()': names no function"),
        (("--by", "length"), "--by 'length': names no function"),
        (("--by", "a file.txt"), "--by 'a file.txt': names no function"),
        (("--by", "judge:missing"), "--by judge:missing: module 'judge' has no 'missing'"),
        (("--by", "nowhere:length"), "--by nowhere:length: no module 'nowhere'"),
        (
            ("--by", "judge:other"),
            "--by judge:other: nothing fills its parameter 'text'; it may have",
        ),
        (("--by", "judge:length", "--field", "a["), "--field 'a[': is no path"),
        (("--by", "judge:length", "--name", "../x"), "--name '../x': is part of a file's name"),
        (("--by", "judge:length", "-j", "0"), "-j"),
    ],
)
def test_a_wrong_judge_is_refused_at_once(place: Place, args: tuple[str, ...], message: str) -> None:
    """Exit code 2, and no file."""
    (place.folder / "a file.txt").touch()
    place.crewrun("score", RESULTS, *args, code=2)
    assert message in place.stderr
    assert not list(place.folder.glob("*.scores.jsonl*"))


def test_another_judge_does_not_replace_scores(place: Place) -> None:
    """They may have cost money: another name, or --fresh, which moves them aside."""
    place.crewrun("score", RESULTS, "--by", "judge:length")
    place.crewrun("score", RESULTS, "--by", "judge:about", code=2)
    assert "has the scores of output by 'judge:length'; --name NAME puts other scores" in place.stderr
    place.crewrun("score", RESULTS, "--by", "judge:about", "--fresh")
    assert (place.folder / "in.scores.1.jsonl").exists()


@pytest.mark.parametrize("kind", ["csv", "run-dir", "stream", "copied", "link"])
def test_results_of_any_kind_are_scored(place: Place, kind: str) -> None:
    """Tables, runs with --run-dir, streams, results without a run folder."""
    folder, run, name = place.folder, "x.csv", "x.scores.jsonl"
    if kind == "csv":
        place.batch("-o", "x.csv")
    elif kind == "run-dir":
        place.batch("-o", "x.results.jsonl", "--run-dir", "state")
        run = "state"
    elif kind == "stream":
        place.batch("-o", "-", "--run-dir", "state")
        run, name = "state", "state.scores.jsonl"
    elif kind == "copied":
        shutil.copy(place.results, folder / "x.jsonl")
        run = "x.jsonl"
    else:
        (folder / "sub").mkdir()
        (folder / "sub" / "x.jsonl").symlink_to(place.results)
        run, name = "sub/x.jsonl", "in.scores.jsonl"
    place.crewrun("score", run, "--by", "judge:length")
    assert len(scores(place, name)) == 3


def test_a_run_without_successes_or_one_that_is_going_is_refused(place: Place) -> None:
    """With what to do."""
    place.rows({"topic": "a"}, "no row")
    with (place.folder / STATE / "lock").open("rb+") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        place.crewrun("score", RESULTS, "--by", "judge:length", code=75)
    assert "is working on this run; score it when that has ended" in place.stderr
    place.rows("no row")
    place.batch("-o", "bad.results.jsonl", code=3)
    place.crewrun("score", "bad.results.jsonl", "--by", "judge:length", code=2)
    assert "bad.results.jsonl: no row has succeeded, so there is nothing to score" in place.stderr


def test_only_a_field_is_judged(place: Place) -> None:
    """A row that lacks it fails; the other fields may change."""
    (line, *_) = map(json.loads, place.results.read_text().splitlines())
    outputs: list[Any] = [{"city": {"name": "Rome"}, "note": 1}, {"town": 1}]
    records = [{**line, "id": str(i), "index": i, "output": output} for i, output in enumerate(outputs)]
    path = place.folder / "x.jsonl"
    path.write_text("".join(json.dumps(record) + "\n" for record in records))
    place.crewrun("score", "x.jsonl", "--by", "judge:length", "--field", "city.name", code=3)
    assert scores(place, "x.scores.jsonl") == {"0": {"score": 4}, "1": None}
    assert "the output has no 'city'" in place.stderr
    path.write_text(path.read_text().replace('"note": 1', '"note": 2').replace('"town"', '"city"'))
    place.crewrun("score", "x.jsonl", "--by", "judge:length", "--field", "output.city.name", code=3)
    assert "0 ok, 1 failed, 1 done before" in place.stderr


def judged(asked: Asked) -> Reply:
    """Nonsense the first time, then a score by the answer."""
    if asked.number == 1:
        return Reply(text="I would say it is rather good.")
    return Reply(text=json.dumps({"reason": "it is so", "score": 0.25}))


def test_a_sentence_is_judged_by_a_model_which_is_asked_again_after_nonsense(place: Place) -> None:
    """Its calls are in the journal; outputs reach it as data, between fences that they cannot contain."""
    with Fickle(judged) as provider:
        place.env["OPENAI_BASE_URL"] = provider.base_url
        args = (RESULTS, "--by", "It names {what} it is about.", "-m", "openai/gpt-4.1-mini", "-j", "1")
        done = figures(place, *args)
        prompt = provider.asked[0].prompt
        count = len(provider.asked)
        figures(place, *args)
        assert len(provider.asked) == count == 4
    (one,) = done["scores"]
    assert (one["rows"], one["mean"]) == (3, 0.25)
    assert "It names {what} it is about." in prompt
    fence = re.findall(r"<answer-([0-9a-f]{16})>\n", prompt)[0]
    assert f"\n</answer-{fence}>" in prompt
    assert set(map(json.dumps, scores(place).values())) == {'{"reason": "it is so", "score": 0.25}'}


@pytest.mark.parametrize("sentence", ["Is it polite?!", "Polite: no insults", "It names main.py", "回答是否有禮貌？"])
def test_any_text_with_words_is_a_sentence(place: Place, sentence: str) -> None:
    """With or without a full stop, in any language."""
    place.crewrun("score", RESULTS, "--by", sentence, "-m", "offline", "--limit", "1")
    assert len(scores(place)) == 1


@pytest.mark.parametrize(
    ("condition", "code", "words"),
    [
        ("missed>0", 3, "holds: 3"),
        ("missed > 99.9%", 3, "holds: 100%"),
        ("one<95%", 0, "does not hold: 100%"),
        ("expect.two<0.5", 3, "holds: 0"),
        ("one.low>=1", 0, "does not hold: 0.5258"),
    ],
)
def test_expectations_fail_a_command_where_a_condition_says_so(
    place: Place, condition: str, code: int, words: str
) -> None:
    """Exit code 3 by the figures; the scores are the same, so another condition costs nothing."""
    place.crew(llm="offline", more="expect: {one: output contains row.topic, two: output == 'x'}\n")
    place.crewrun("score", RESULTS, "--expect", "--fail-if", condition, code=code)
    assert place.stdout.splitlines()[-1] == f"--fail-if '{condition}' {words}"
    done = figures(place, RESULTS, "--expect", "--fail-if", condition, "--fail-if", "missed>3", code=code)
    assert (done["exit_code"], [one["holds"] for one in done["conditions"]]) == (code, [code == 3, False])


@pytest.mark.parametrize(
    ("args", "message"),
    [
        (("--expect", "--fail-if", "onee<1"), "there is no score 'onee' (did you mean 'one'?)"),
        (("--expect", "--fail-if", "one=1"), "character 4: '=' is not one of >, >=, < and <="),
        (("--by", "judge:length", "--fail-if", "size<1"), "there is no score 'size'; there are missed, "),
        (("--by", "judge:length", "--fail-if", "length<9%"), "the scores are not from 0 to 1; leave the % out"),
    ],
)
def test_a_condition_on_no_score_is_an_error(place: Place, args: tuple[str, ...], message: str) -> None:
    """Before anything is checked where the names of the scores are known, else after; the scores stay."""
    place.crew(llm="offline", more="expect: {one: output contains row.topic}\n")
    place.crewrun("score", RESULTS, *args, code=2)
    assert message in place.stderr
    assert (place.folder / "in.scores.jsonl").exists() == ("--by" in args)
    assert not (place.folder / "in.expect.scores.jsonl").exists()


def test_a_score_goes_by_its_name(place: Place) -> None:
    """The one that `report` and `compare` use, so that it can be copied into --fail-if."""
    place.crewrun("score", RESULTS, "--by", "judge:length", "--name", "size")
    assert place.stdout.startswith("size: mean ")
    assert figures(place, RESULTS, "--by", "judge:length", "--name", "size")["label"] == "size"
    place.crewrun("score", RESULTS, "--by", "judge:several", "--name", "more")
    assert re.findall(r"(?m)^(\S+):", place.stdout) == ["more.cost", "more.is_ok", "more.share"]


def test_a_lowest_row_has_its_input_and_the_reason_of_its_own_score(place: Place) -> None:
    """A hash says nothing; an id from a field does."""
    place.crew(llm="offline", more="expect: {long: output contains 'zzz', two: output contains 'topic 2'}\n")
    place.crewrun("score", RESULTS, "--expect")
    two = place.stdout.partition("expect.two:")[2]
    assert "true 1, false 2\n" in two
    assert sorted(re.findall(r"    0  [0-9a-f]{16}  (topic \d): output is ", two)) == ["topic 0", "topic 1"]
    assert "zzz" not in two
    place.batch("--id-field", "topic", "-o", "named.results.jsonl")
    place.crewrun("score", "named.results.jsonl", "--by", "judge:length")
    assert place.stdout.count("topic ") == place.stdout.count("\n    ")


def test_a_judge_that_only_answers_nonsense_fails_the_row(place: Place) -> None:
    """Exit code 3; a score above 1 is nonsense too."""
    with Fickle(lambda asked: Reply(text='{"reason": "great", "score": 11}')) as provider:
        place.env["OPENAI_BASE_URL"] = provider.base_url
        args = ("--by", "It is short.", "-m", "openai/gpt-4.1-mini", "--limit", "1")
        place.crewrun("score", RESULTS, *args, code=3)
    assert "1 × output_invalid" in place.stderr
    assert "11 is greater than the maximum of 1" in place.stderr


def test_a_budget_stops_the_judge_and_the_same_command_goes_on(place: Place) -> None:
    """As a batch: exit code 5, then only the rest is paid."""
    usage = {"prompt_tokens": 100_000, "completion_tokens": 100, "total_tokens": 100_100}
    with Fickle(lambda asked: Reply(text='{"reason": "a", "score": 1}', usage=usage)) as provider:
        place.env["OPENAI_BASE_URL"] = provider.base_url
        args = ("score", RESULTS, "--by", "It is short.", "-m", "openai/gpt-4.1-mini", "-j", "1")
        place.crewrun(*args, "--budget", "0.07", "--price", "gpt-4.1-mini=0.4,1.6", code=5)
        paid = len(provider.asked)
        assert 0 < paid < 3
        place.crewrun(*args)
        assert len(provider.asked) == 3


def test_scores_are_results_that_other_commands_read(place: Place) -> None:
    """`export` makes a table of them, `status` counts them, `show` lists them."""
    place.crewrun("score", RESULTS, "--by", "judge:several")
    place.crewrun("export", "in.scores.jsonl", "-f", "csv", "--columns", "id,output.cost,output.is_ok")
    assert next(csv.reader(place.stdout.splitlines())) == ["id", "output.cost", "output.is_ok"]
    place.crewrun("status", "in.scores.jsonl")
    assert "rows: 3 ok, 0 failed" in place.stdout
    place.crewrun("show", "in.scores.jsonl", "--json")
    assert Path(place.folder / "in.scores.jsonl").stat().st_mode & 0o777 == 0o600


def test_expectations_are_checked_again_as_they_are_now(place: Place) -> None:
    """Of rows that are done, without a call and without --by; the crew is the run's own."""
    place.crewrun("score", RESULTS, "--expect", code=2)
    assert "has no expect:, so there is nothing to check" in place.stderr
    place.crew(llm="offline", more="expect: {one: output contains row.topic, two: output == 'x'}\n")
    done = figures(place, RESULTS, "--expect")["scores"]
    assert [(one["name"], one["mean"], len(one["worst"])) for one in done] == [("one", 1, 0), ("two", 0, 3)]
    row = next(iter(scores(place, "in.expect.scores.jsonl").values()))
    assert (row["one"], row["two"], list(row["reason"]), row["reason"]["two"][:10]) == (
        *(True, False),
        *(["two"], "output is "),
    )
    place.crew(llm="offline", more="expect: {one: output contains 'zzz'}\n")
    assert [one["mean"] for one in figures(place, RESULTS, "--expect")["scores"]] == [0]
    place.crewrun("score", RESULTS, "--expect", "--by", "judge:length", code=2)


def test_a_report_has_scores_and_expectations(place: Place) -> None:
    """A column for each score, figures, the lowest rows; a score of another output than the present one is left out."""
    place.crew(llm="offline", more="expect: {one: output != 'y', short: output == 'x'}\n")
    place.batch("--fresh")
    place.crewrun("score", RESULTS, "--by", "judge:length")
    place.crewrun("score", RESULTS, "--by", "judge:several", "--name", "more")
    place.crewrun("report", RESULTS, "-o", "x.html")
    page = read_report(place.folder / "x.html")
    lengths = [float(len(json.loads(line)["output"])) for line in place.results.read_text().splitlines()]
    assert sorted(page.columns["score.length"]) == sorted(lengths)
    assert page.columns["score.more.is_ok"] == [1, 1, 1]
    names = [(one["name"], one["rows"]) for one in page.head["scores"]]
    assert names == [("more.cost", 3), ("more.is_ok", 3), ("more.share", 3), ("length", 3)]
    assert [(one["name"], one["checked"], one["missed"]) for one in page.head["expectations"]] == [
        ("one", 3, 0),
        ("short", 3, 3),
    ]
    shutil.rmtree(place.folder / STATE)
    place.results.write_text(re.sub(r'"output":"[^"]*"', '"output":"other"', place.results.read_text(), count=1))
    place.crewrun("report", RESULTS, "-o", "x.html")
    assert read_report(place.folder / "x.html").columns["score.length"].count(None) == 1
