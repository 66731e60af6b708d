"""What a run may cost, and what it will: --budget, --row-budget, --price and --canary, by the provider's account."""

import json
import re
from typing import Any

import pytest
from support.command import problems, read_rows, topics
from support.forks import crewrun, start
from support.scripted_provider import Asked, Fickle, Reply
from support.wire_server import Reply as WireReply
from support.wire_server import Script, WireServer, completion
from support.workspace import RESULTS, Place

# Each call costs about $0.00007 and, with so many tokens at most, never more than about $0.0005: at the priority tier,
# which a project of OpenAI's may have as its default.
BOUND = "{model: gpt-4.1-mini, max_tokens: 80}"
# The model's standard prices, as if it had no others.
PRICED = ("--price", "gpt-4.1-mini=0.4,1.6")


@pytest.fixture
def place(place: Place) -> Place:
    """A folder with a crew of one task, whose answers have 80 tokens at most."""
    place.crew(llm=BOUND)
    return place


def paid(place: Place) -> float:
    """What the provider would bill for all that came so far."""
    return float(place.mock.ledger(last=0)["totals"]["cost_usd"])


# The run's budget


def test_a_budget_holds_at_64_in_flight_and_a_larger_one_goes_on(place: Place) -> None:
    """Exit 5 with less than one call's worth left, no row failed; the same command with more ends the run."""
    place.rows(*topics(200))
    place.batch("-j", "64", "--budget", "0.005", "--summary", "s.json", code=5)
    assert 0.005 - 0.0005 <= paid(place) <= 0.005
    first = place.summary()
    assert (first["rows"]["failed"], first["cost_usd"]) == (0, pytest.approx(paid(place), abs=1e-6))
    assert place.stopped().startswith(
        f"${paid(place):.6g} of the budget of $0.005 is spent and the next call may cost $"
    )
    assert place.stopped().endswith("; the same command with a larger --budget goes on")
    done = len(place.done())
    before = paid(place)
    place.batch("-j", "64", "--budget", "0.008", "--summary", "s.json", code=5)
    assert before < paid(place) <= 0.008
    place.batch("-j", "64", "--budget", "$1", "--summary", "s.json")
    assert len(place.done()) == 200 > done
    assert place.mock.ledger(last=0)["totals"]["requests"] == 200
    assert place.summary()["in_all"]["cost_usd"] == pytest.approx(paid(place), abs=1e-6)


def test_calls_in_flight_at_a_kill_count_as_paid(place: Place) -> None:
    """Nobody heard what they cost, so each counts as the dearest late one, and the message says so."""
    place.rows(*topics(10), *({"topic": f"FAIL-HANG {i}"} for i in range(3)))
    with start("batch", "in.jsonl", "-q", cwd=place.folder, env=place.env) as run:
        while run.poll() is None:
            seen = crewrun("status", RESULTS, "--json", cwd=place.folder)
            if seen.returncode == 0 and json.loads(seen.stdout)["rows"]["in_flight"] == 3:
                run.kill()
    place.rows(*topics(60))
    place.batch("--budget", "0.003", code=5)
    (unseen_usd,) = re.findall(
        r"up to \$([\d.]+) of it on calls whose bill is not known, and the next", place.stopped()
    )
    dearest_usd = max(row["cost_usd"] for row in read_rows(place.results)[:10])
    assert float(unseen_usd) == pytest.approx(3 * dearest_usd, rel=1e-3)
    assert 0.003 - 0.0005 <= paid(place) + float(unseen_usd) <= 0.003


def test_a_budget_that_is_spent_stays_spent(place: Place) -> None:
    """Earlier sessions count: the same command again sends nothing, and says why."""
    place.rows(*topics(60))
    place.batch("--budget", "0.002", code=5)
    assert place.batch("--budget", "0.002", code=5) == []
    assert place.stopped().startswith(f"${paid(place):.6g} of the budget of $0.002 is spent")


def test_what_failed_attempts_cost_counts(place: Place) -> None:
    """Answers that are empty are billed, and asked for again: the budget pays for all of them."""
    place.rows(*({"topic": f"FAIL-EMPTY {i}" if i % 4 == 0 else f"good {i}"} for i in range(80)))
    place.batch("-j", "1", "--retries", "1", "--budget", "0.003", "--summary", "s.json", code=5)
    assert 0.003 - 0.0005 <= paid(place) <= 0.003
    assert place.summary()["cost_usd"] == pytest.approx(paid(place), abs=1e-6)
    assert "output_invalid" in {row["error"]["category"] for row in read_rows(place.results) if row["error"]}


def test_a_call_that_nothing_bounds_is_guessed_until_it_is_known(place: Place) -> None:
    """Without max_tokens the budget is used as far as with it, once some answers have been seen."""
    place.crew()
    place.rows(*topics(200))
    place.batch("-j", "64", "--budget", "0.008", code=5)
    assert 0.006 <= paid(place) <= 0.008


def test_a_call_that_is_dearer_than_the_whole_budget_is_not_sent(place: Place) -> None:
    """And what would pay for it is said: exit 5."""
    place.rows(*topics(3))
    assert place.batch("--budget", "0.00001", code=5) == []
    assert place.stopped().startswith("$0 of the budget of $1e-05 is spent and the next call may cost $0.000")


def test_a_budget_of_the_crew_file_is_kept(place: Place) -> None:
    """`budget: 0.001` under `batch:`, and `price:` beside it."""
    place.crew(llm="{model: mine, max_tokens: 50}", more="batch:\n  budget: 0.01\n  price: {mine: [10, 20]}\n")
    place.rows(*topics(100))
    place.batch("--summary", "s.json", code=5)
    totals = place.mock.ledger(last=0)["totals"]
    cost_usd = (10 * totals["prompt_tokens"] + 20 * totals["completion_tokens"]) / 1e6
    assert place.summary()["cost_usd"] == pytest.approx(cost_usd, abs=1e-6)
    assert 0.005 < cost_usd <= 0.01


@pytest.mark.parametrize("llm", ["somebodys-model", "[gpt-4.1-mini, somebodys-model]"], ids=["model", "fallback"])
def test_a_budget_needs_prices(place: Place, llm: str) -> None:
    """A model of unknown price, also one that only stands in, is refused before the first call, with the way out."""
    place.crew(llm=llm)
    place.rows(*topics(3))
    assert place.batch("--budget", "1", code=2) == []
    assert place.stderr == (
        "crewrun: --budget: the price of openai/somebodys-model is not known; give it in US dollars per million "
        "tokens: --price somebodys-model=IN,OUT\n"
    )
    assert len(place.batch("--budget", "1", "--price", "somebodys-model=0,0")) == 3


@pytest.mark.parametrize(
    ("llm", "why", "way_out"),
    [
        ("model: azure/ours", "", ", or name the model behind it as base_model of its llm"),
        (
            "model: azure/ours, base_model: gpt-4oo",
            ": no price is published for its base_model 'gpt-4oo'",
            "",
        ),
    ],
    ids=["none", "unknown"],
)
def test_a_deployment_needs_a_price_or_its_base_model(place: Place, llm: str, why: str, way_out: str) -> None:
    """A name of one's own is in no table; an offline run is told so too."""
    place.crew(llm=f'{{{llm}, base_url: "http://127.0.0.1:9", api_key: x}}')
    place.rows(*topics(3))
    assert place.batch("--budget", "1", "--dry-run", code=2) == []
    assert place.stderr == (
        f"crewrun: --budget: the price of azure/ours is not known{why}; give it in US dollars per million tokens: "
        f"--price ours=IN,OUT{way_out}\n"
    )


# Prices


def test_a_name_that_no_agent_has_is_told_of(place: Place) -> None:
    """In --rpm, --tpm and --price: unused. An offline run, which calls other models anyway, says nothing."""
    place.crew()
    place.rows(*topics(1))
    flags = ["--rpm", "gpt-4.1-mni=60", "--tpm", "openai/gpt-4.1-mini=90000", "--price", "gpt-5=1,2", "--rpm", "90"]
    said = [
        "warning: --rpm gpt-4.1-mni: no agent of the crew calls that model (did you mean 'gpt-4.1-mini'?)",
        "warning: --price gpt-5: no agent of the crew calls that model",
    ]
    assert len(place.batch(*flags)) == 1
    assert [line for line in place.stderr.splitlines() if line.startswith("warning: ")] == said
    assert place.batch(*flags, "--fresh", "--dry-run") == []
    assert [line for line in place.stdout.splitlines() if "no agent" in line] == said
    place.batch(*flags, "--fresh", "-m", "offline")
    assert "warning: " not in place.stderr


@pytest.mark.parametrize(
    ("price", "cost_usd"),
    [
        (None, 0.4e-6 * 20 + 0.1e-6 * 80 + 1.6e-6 * 10),
        ("gpt-4.1-mini=1,2", 1e-6 * 100 + 2e-6 * 10),
        ("openai/gpt-4.1-mini=1,2,0.5", 1e-6 * 20 + 0.5e-6 * 80 + 2e-6 * 10),
        ("another=9,9", 0.4e-6 * 20 + 0.1e-6 * 80 + 1.6e-6 * 10),
    ],
    ids=["published", "given", "given with cached", "given for another"],
)
def test_cached_tokens_have_their_own_price(place: Place, price: str | None, cost_usd: float) -> None:
    """80 of 100 prompt tokens came out of the provider's cache."""
    usage = {"prompt_tokens": 100, "completion_tokens": 10, "prompt_tokens_details": {"cached_tokens": 80}}
    place.rows(*topics(1))
    with Fickle(lambda asked: Reply(usage=usage)) as provider:
        place.batch(*(["--price", price] if price else []), OPENAI_BASE_URL=provider.base_url)
    (row,) = read_rows(place.results)
    assert row["usage"]["cached_prompt_tokens"] == 80
    assert row["cost_usd"] == pytest.approx(cost_usd)


@pytest.mark.parametrize(
    "usage",
    [
        None,
        {},
        {"prompt_tokens": -100, "completion_tokens": -1},
        {"prompt_tokens": 10**12, "completion_tokens": None},
        {"prompt_tokens": 100, "completion_tokens": 0},
        {"prompt_tokens": "many", "completion_tokens": [5]},
        {"prompt_tokens": float("inf"), "completion_tokens": True},
        [],
    ],
    ids=["none", "empty", "negative", "absurd", "no answer", "no numbers", "no counts", "no object"],
)
def test_usage_that_cannot_be_is_estimated_and_marked(place: Place, usage: Any) -> None:
    """Rows and summary say how many calls were estimated; what they cost is an estimate too, and never null."""
    place.rows(*topics(2))
    with Fickle(lambda asked: Reply(text="an answer of 36 characters, 9 tokens", usage=usage)) as provider:
        place.batch("--summary", "s.json", OPENAI_BASE_URL=provider.base_url)
    for row in read_rows(place.results):
        assert (row["usage"]["calls"], row["usage"]["estimated_calls"], row["usage"]["completion_tokens"]) == (1, 1, 9)
        assert 20 < row["usage"]["prompt_tokens"] < 200
        assert row["cost_usd"] == pytest.approx(0.4e-6 * row["usage"]["prompt_tokens"] + 1.6e-6 * 9)
    assert place.summary()["usage"]["estimated_calls"] == 2


def test_a_budget_holds_without_the_providers_counts(place: Place) -> None:
    """Estimates are spent as counts are, and the rest of what each call can have cost may be owed."""
    place.rows(*topics(100))
    with Fickle(lambda asked: Reply(usage=None)) as provider:
        flags = ("--budget", "0.001", "--summary", "s.json", *PRICED)
        place.batch(*flags, code=5, OPENAI_BASE_URL=provider.base_url)
    cost_usd, owed_usd = (place.summary()[name] for name in ("cost_usd", "may_be_owed_usd"))
    calls = place.summary()["usage"]["calls"]
    assert cost_usd + owed_usd == pytest.approx(calls * (80 * 1.6e-6 + 250 * 0.4e-6), rel=0.1)
    assert 0.0006 < cost_usd + owed_usd <= 0.001


# A row's budget


def test_a_runaway_row_fails_alone(place: Place) -> None:
    """It may not make its next call once it has cost too much; the others go on. More for each row ends it."""
    place.crew("Praise {topic}", llm=BOUND)
    place.rows({"topic": "long " * 2000}, *topics(10))
    place.batch("--row-budget", "0.0005", code=3)
    row, *others = read_rows(place.results)
    assert (row["error"]["category"], row["error"]["type"], row["error"]["task"]) == (
        *("budget", "RowBudgetExceeded"),
        "task_2",
    )
    assert row["error"]["message"] == (
        f"the row has cost ${row['cost_usd']:.6g} of at most $0.0005 (--row-budget) and asks for another call; "
        "the same command with a larger --row-budget goes on from here"
    )
    assert (len(row["tasks"]), [other["status"] for other in others]) == (1, ["ok"] * 10)
    assert len(place.batch("--row-budget", "1")) == 1


# The canary


def test_a_canary_runs_first_and_counts_as_done(place: Place) -> None:
    """The forecast is said after it and is in the summary; every row is asked for once."""
    place.rows(*topics(60))
    assert len(place.batch("--canary", "20", "-j", "4", "--summary", "s.json")) == 60
    assert len(place.done()) == 60
    forecast = place.summary()["forecast"]
    assert (forecast["rows"], forecast["sample"]) == (60, 20)
    assert forecast["cost_usd"]["low"] <= place.summary()["cost_usd"] <= forecast["cost_usd"]["high"]
    assert forecast["failed_share"] == {"mean": 0.0, "low": 0.0, "high": pytest.approx(0.0833, abs=0.05)}
    assert forecast["duration_s"]["low"] <= forecast["duration_s"]["mean"] <= forecast["duration_s"]["high"]
    assert place.stderr[9:].startswith("forecast for 60 rows, from 20 of them: $0.00")  # after the time


def test_a_forecast_above_the_limit_stops_behind_the_canary(place: Place) -> None:
    """Exit 5; what ran is done, and with a larger limit the same command runs only the rest."""
    place.rows(*topics(60))
    sample = place.batch("--canary", "20", "--max-forecast", "0.001", "--summary", "s.json", code=5)
    assert len(sample) == len(place.done()) == 20
    mean = place.summary()["forecast"]["cost_usd"]["mean"]
    assert place.stopped() == f"all 60 rows would cost about ${mean:,.4g}, more than --max-forecast allows"
    rest = place.batch("--canary", "20", "--max-forecast", "1")
    assert len(rest) == 40
    assert not set(rest) & set(sample)


def test_an_input_that_is_sorted_does_not_fool_the_canary(place: Place) -> None:
    """Its rows come from everywhere, the same ones each time, so that the interval holds what all of them cost."""
    place.rows(*({"topic": f"{i} " + "long " * i} for i in range(200)))
    place.batch("--canary", "60", "--summary", "s.json")
    forecast = place.summary()["forecast"]["cost_usd"]
    assert forecast["low"] <= paid(place) <= forecast["high"]
    indexes = [json.loads(line)["index"] for line in place.results.read_text().splitlines()[:60]]
    assert min(indexes) < 20
    assert max(indexes) > 180


def test_a_canary_of_stdin_runs_every_row_once(place: Place) -> None:
    """The input is read to its end before the first call."""
    place.rows(*topics(30))
    stdin = (place.folder / "in.jsonl").read_text()
    assert len(place.batch("--canary", "10", "--summary", "s.json", inputs="-", stdin=stdin)) == 30
    assert len(place.stdout.splitlines()) == 30
    assert place.summary()["forecast"]["sample"] == 10


def test_a_canary_of_a_run_that_goes_on_is_of_what_is_left(place: Place) -> None:
    """Rows that are done are neither drawn nor forecast; when all are done there is nothing to foresee."""
    place.rows(*topics(20))
    place.batch("--limit", "12")
    assert len(place.batch("--canary", "5", "--max-forecast", "1", "--summary", "s.json")) == 8
    assert (place.summary()["forecast"]["rows"], place.summary()["forecast"]["sample"]) == (8, 5)
    assert place.batch("--canary", "5", "--max-forecast", "0.000001", "--summary", "s.json") == []
    assert place.summary()["forecast"] is None


@pytest.mark.parametrize("n", ["0", "1", "50"], ids=["none", "one", "more than there are"])
def test_a_canary_of_any_size_runs_all_rows(place: Place, n: str) -> None:
    """Of no row no forecast, of one row one without an upper end, of all rows the truth."""
    place.rows(*topics(10))
    assert len(place.batch("--canary", n, "--ordered", "--summary", "s.json")) == 10
    assert place.done() == [row["topic"] for row in topics(10)]
    found = place.summary()
    if n == "0":
        assert found["forecast"] is None
    elif n == "1":
        assert found["forecast"]["cost_usd"]["high"] is None
        assert re.search(r" \(90 %: at least \$0\.\d+; a single row does not tell more\) ", place.stderr)
    else:
        cost_usd = found["forecast"]["cost_usd"]
        assert (cost_usd["low"], cost_usd["mean"], cost_usd["high"]) == (pytest.approx(found["cost_usd"]),) * 3


def test_a_limit_of_a_forecast_needs_prices(place: Place) -> None:
    """Without one nobody could say whether it holds: refused before the first call, with the way out."""
    place.crew(llm="somebodys-model")
    place.rows(*topics(3))
    assert place.batch("--canary", "3", "--max-forecast", "1", code=2) == []
    assert "--max-forecast: the price of openai/somebodys-model is not known; give it in" in place.stderr


def test_a_repeated_canary_does_not_creep_over_its_limit(place: Place) -> None:
    """What was spent before counts, and no other sample is paid for; a larger limit goes on."""
    place.rows(*topics(40))
    for calls in (10, 0, 0):
        assert len(place.batch("--canary", "10", "--max-forecast", "0.0015", "--summary", "s.json", code=5)) == calls
        assert place.stopped().endswith("more than --max-forecast allows")
    assert re.fullmatch(
        r"\$0\.000\d+ are spent on 10 rows, and 30 more rows would cost about \$0\.00\d+: more than --max-forecast "
        "allows",
        place.stopped(),
    )
    assert place.summary()["rows"]["kept"] == 0
    assert len(place.batch("--canary", "10", "--max-forecast", "1")) == 30


def test_money_that_is_gone_stops_before_the_canary(place: Place) -> None:
    """Where fewer rows are done than a sample has, what they cost is enough to stop when it is over the limit."""
    place.rows(*topics(40))
    place.batch("--limit", "5")
    assert place.batch("--canary", "10", "--max-forecast", "0.0001", code=5) == []
    assert re.fullmatch(r"\$0\.000\d+ are spent on 5 rows: more than --max-forecast allows", place.stopped())


def test_a_stop_before_the_canary_ends_leaves_no_forecast(place: Place) -> None:
    """A key that is refused ends the run as ever: exit 4, nothing is forecast."""
    place.rows(*topics(30))

    def refuses(asked: Asked) -> Reply:
        return Reply(401, "no")

    with Fickle(refuses) as provider:
        place.batch("--canary", "10", "-j", "2", "--summary", "s.json", code=4, OPENAI_BASE_URL=provider.base_url)
    assert place.summary()["forecast"] is None
    assert len(provider.asked) == 2 + 1  # and the probe


def test_a_forecast_says_how_many_rows_will_fail(place: Place) -> None:
    """Every fourth row fails, and the interval has that share in it."""
    place.rows(*({"topic": f"FAIL-400 {i}" if i % 4 == 0 else f"topic {i}"} for i in range(80)))
    place.batch("--canary", "40", "--summary", "s.json", code=3)
    share = place.summary()["forecast"]["failed_share"]
    assert share["low"] <= 0.25 <= share["high"]
    assert set(problems(read_rows(place.results))) == set(range(0, 80, 4))
    assert 0.1 < share["mean"] < 0.5


# What may be owed


@pytest.mark.parametrize(
    ("reply", "bills"),
    [
        pytest.param(WireReply(after_s=1.0), 2, id="late"),
        pytest.param(WireReply(manner="closed"), 2, id="closed"),
        pytest.param(WireReply(body=completion("an answer"), manner="cut"), 2, id="cut"),
        pytest.param(WireReply(body=b"<html>It works!</html>"), 2, id="garbage"),
        pytest.param(WireReply(500, {"error": {"message": "oops"}}), 2, id="500"),
        pytest.param(WireReply(body=completion("") | {"usage": None}), 2, id="empty-uncounted"),
        pytest.param(WireReply(429, {"error": {"message": "rate limit", "code": "rate_limit_exceeded"}}), 0, id="429"),
        pytest.param(WireReply(400, {"error": {"message": "no", "code": "invalid_request"}}), 0, id="400"),
        pytest.param(WireReply(401, {"error": {"message": "no", "code": "invalid_api_key"}}), 0, id="401"),
    ],
)
def test_what_nobody_billed_may_be_owed(place: Place, reply: WireReply, bills: int) -> None:
    """A row whose two attempts met that: the summary and `status` say what they may cost at most, not $0."""
    place.rows({"topic": "topic 0"}, {"topic": "topic 1 WIRE:faulty"})
    with WireServer({"faulty": Script((reply,), lasts=True)}) as server:
        flags = ("-j", "1", "--retries", "1", "--call-timeout", "0.3", "--summary", "s.json", *PRICED)
        place.batch(*flags, code=3, OPENAI_BASE_URL=server.base_url)
    summary = place.summary()
    # 80 tokens of an answer at most, and a prompt of a few hundred bytes.
    low, high = bills * 80 * 1.6e-6, bills * (80 * 1.6e-6 + 500 * 0.4e-6)
    assert low <= summary["may_be_owed_usd"] <= high
    assert summary["unknown_bills"] == bills
    assert summary["in_all"]["may_be_owed_usd"] == summary["may_be_owed_usd"]
    assert ("may be owed: $0.00" in place.stderr) == (bills > 0)
    place.crewrun("status", RESULTS, "--json")
    status = json.loads(place.stdout)
    assert [status[part]["may_be_owed_usd"] for part in ("spent", "in_all")] == [summary["may_be_owed_usd"]] * 2


def test_an_unknown_bill_of_unknown_price_is_said_to_be_one(place: Place) -> None:
    """Not $0: null, and words."""
    place.crew(llm="somebodys-model")
    place.rows({"topic": "topic 1 WIRE:faulty"})
    with WireServer({"faulty": Script((WireReply(500, {"error": "oops"}),))}) as server:
        place.batch("--summary", "s.json", OPENAI_BASE_URL=server.base_url)
    assert (place.summary()["may_be_owed_usd"], place.summary()["unknown_bills"]) == (None, 1)
    assert "cost unknown (more may be owed, of unknown price)" in place.stderr


def test_what_is_owed_counts_in_later_sessions(place: Place) -> None:
    """Rows that time out: what they may have cost is off the budget for good, and the message says so."""
    place.rows(*({"topic": f"topic {i} WIRE:late"} for i in range(30)))
    with WireServer({"late": Script((WireReply(after_s=1.0),), lasts=True)}) as server:
        flags = ("--retries", "0", "--call-timeout", "0.1", "--budget", "0.002", "--summary", "s.json", *PRICED)
        place.batch(*flags, code=5, OPENAI_BASE_URL=server.base_url)
        owed_usd, sent = place.summary()["may_be_owed_usd"], len(server.asked)
        assert 0.0015 < owed_usd <= 0.002
        place.batch(*flags, code=5, OPENAI_BASE_URL=server.base_url)
        assert len(server.asked) == sent
    told = re.match(
        r"\$([\d.]+) of the budget of \$0\.002 is spent, up to \$([\d.]+) of it on calls whose bill is not known, and "
        r"the next call may cost \$",
        place.stopped(),
    )
    assert told is not None
    spent_usd = place.summary()["in_all"]["cost_usd"]  # a probe was answered
    assert [float(told[1]), float(told[2])] == pytest.approx([spent_usd + owed_usd, owed_usd], abs=1e-6)


def test_what_is_owed_counts_against_a_rows_budget(place: Place) -> None:
    """Each attempt that times out may have cost its worst case, and the row stops before it is out of hand."""
    place.rows({"topic": "topic 1 WIRE:late"})
    with WireServer({"late": Script((WireReply(after_s=1.0),), lasts=True)}) as server:
        flags = ("--retries", "20", "--call-timeout", "0.1", "--row-budget", "0.0005", *PRICED)
        place.batch(*flags, code=3, OPENAI_BASE_URL=server.base_url)
        assert len(server.asked) == 3
    (row,) = read_rows(place.results)
    assert row["error"]["message"].startswith("the row has cost $0, and up to $0.000")
    assert (row["error"]["type"], row["cost_usd"]) == ("RowBudgetExceeded", 0)


def test_what_was_billed_before_a_row_ran_out_of_time_is_kept(place: Place) -> None:
    """Empty answers are billed, and the row ends while its call waits for another attempt: the journal has the bill."""
    place.rows({"topic": "topic 1 WIRE:empty"})
    empty = WireReply(body=completion(""))
    with WireServer({"empty": Script((empty, WireReply(after_s=5.0)))}) as server:
        flags = ("--row-timeout", "1.2", "--retries", "3", "--summary", "s.json")
        place.batch(*flags, code=3, OPENAI_BASE_URL=server.base_url)
    billed_usd = 100 * 0.4e-6 + 10 * 1.6e-6
    summary = place.summary()
    assert summary["cost_usd"] == pytest.approx(billed_usd, abs=1e-9)
    assert summary["in_all"]["cost_usd"] == pytest.approx(billed_usd, abs=1e-9)
