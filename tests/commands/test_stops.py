"""What ends an unattended run, and what does not: keys, accounts, models, outages, single bad rows, time."""

import json
import re
import socket
from collections import Counter
from collections.abc import Callable
from datetime import datetime, timedelta
from pathlib import Path
from time import monotonic

import pytest
from support.command import read_rows, topics, write_crew, write_rows
from support.forks import start
from support.mock_process import MockProcess
from support.scripted_provider import Asked, Fickle, Reply
from support.workspace import RESULTS, Place

NO_ROWS = dict.fromkeys(("ok", "failed", "abandoned", "unwritten", "kept", "kept_failed", "pending"), 0)


# Everything would be refused

REVOKED = Reply(401, "Incorrect API key provided", code="invalid_api_key")
EMPTY = Reply(429, "You exceeded your current quota", code="insufficient_quota")
GONE = Reply(404, "The model does not exist", code="model_not_found")


@pytest.mark.parametrize(
    ("refusal", "words"),
    [(REVOKED, "HTTP 401: Incorrect"), (EMPTY, "HTTP 429: You exceeded"), (GONE, "HTTP 404: The model")],
    ids=["key revoked", "account empty", "model gone"],
)
def test_a_refusal_after_row_37_costs_no_row(place: Place, refusal: Reply, words: str) -> None:
    """At most 32 requests and a probe follow; exit 4, no row failed; with a good key the same command goes on."""
    place.rows(*topics(150))

    def until_37(asked: Asked) -> Reply:
        return refusal if asked.answered >= 37 and asked.key == "revoked" else Reply()

    with Fickle(until_37) as provider:
        place.batch(
            "-j", "32", "--summary", "s.json", code=4, OPENAI_BASE_URL=provider.base_url, OPENAI_API_KEY="revoked"
        )
        sent = len(provider.asked)
        done = place.done()
        why, first = place.stopped(), place.summary()
        assert place.stderr.splitlines()[-1].endswith("to go on: crewrun batch in.jsonl -j 32 --summary s.json")
        place.batch("-j", "32", "--summary", "s.json", OPENAI_BASE_URL=provider.base_url)
    assert (len(done), sent - 37 <= 33, provider.answered) == (37, True, 150)
    assert (first["rows"]["ok"], first["rows"]["failed"], first["rows"]["abandoned"]) == (37, 0, 0)
    assert why.startswith(f"openai/gpt-4.1-mini refuses every call: {words}")
    assert place.summary()["rows"] == {**NO_ROWS, "ok": 113, "kept": 37}
    assert sorted(place.done()) == sorted(row["topic"] for row in topics(150))


@pytest.mark.parametrize("refusal", [Reply(402, "pay"), Reply(403, "no"), EMPTY], ids=["402", "403", "quota"])
def test_a_run_that_is_refused_from_the_start_sends_a_call_per_slot(place: Place, refusal: Reply) -> None:
    """No more than -j rows and a probe are tried, no row is marked failed, and stderr says what refuses: exit 4."""
    place.rows(*topics(50))
    with Fickle(lambda asked: refusal) as provider:
        place.batch("-j", "4", "--summary", "s.json", code=4, OPENAI_BASE_URL=provider.base_url)
    assert 2 <= len(provider.asked) <= 5
    assert read_rows(place.results) == []
    assert place.summary()["rows"] == {**NO_ROWS, "pending": place.summary()["rows"]["pending"]}
    assert place.stopped().startswith("openai/gpt-4.1-mini refuses every call: HTTP 4")


def test_a_key_that_is_missing_is_found_at_the_first_call(place: Place) -> None:
    """Where nobody can say before which models will be called, as in a flow: exit 4, no row failed, nothing sent."""
    (place.folder / "press.py").write_text(
        "from crewrun import Agent\n"
        "from crewrun.flow import Flow, start\n"
        "class Press(Flow):\n"
        "    @start()\n"
        "    async def write(self):\n"
        "        agent = Agent(role='Writer', goal='Write', backstory='Long', llm='groq/fast')\n"
        "        return (await agent.akickoff(self.state['topic'])).raw\n"
    )
    place.rows(*topics(20))
    assert place.batch("--crew", "press.py:Press", "-j", "2", code=4) == []
    assert read_rows(place.results) == []
    assert place.stopped() == (
        "groq/fast refuses every call: GROQ_API_KEY is not set, and groq/fast needs it; export it or put it into .env"
    )


def test_the_first_rows_that_fail_alike_stop_the_run(place: Place) -> None:
    """Five bad requests and no answer: the parameters are wrong, so row 6 does not follow; exit 4, all pending."""
    place.rows(*({"topic": f"FAIL-400 {i}"} for i in range(50)))
    assert len(place.batch("-j", "1", "--summary", "s.json", code=4)) == 5
    assert place.stopped() == (
        "the first 5 rows all failed alike: bad_request in task 'draft': HTTP 400: FAIL-400 asked the mock for this 400"
    )
    assert [row["error"]["category"] for row in read_rows(place.results)] == ["bad_request"] * 4
    assert (place.summary()["rows"]["failed"], place.summary()["rows"]["pending"]) == (4, 46)
    assert place.stderr.splitlines()[0].startswith("0 ok, 4 failed, 46 left in ")


def test_what_is_left_of_a_pipe_is_not_known(place: Place) -> None:
    """A file is read to its end to count it; what comes through a pipe may never end."""
    stdin = "".join(json.dumps({"topic": f"FAIL-400 {i}"}) + "\n" for i in range(2000))
    place.batch("-j", "1", "--summary", "s.json", "-o", RESULTS, inputs="-", stdin=stdin, code=4)
    assert (place.summary()["unread"], place.summary()["rows"]["pending"]) == (None, 1)
    assert place.stderr.splitlines()[0].startswith("0 ok, 4 failed, at least 1 left in ")


def test_what_goes_wrong_later_stops_the_run_as_well(place: Place) -> None:
    """Over half of the last 50 rows failed alike, after 40 good ones."""
    rows = [*topics(40), *({"topic": f"FAIL-400 {i}"} for i in range(100))]
    place.rows(*rows)
    asked = place.batch("-j", "1", "--summary", "s.json", code=4)
    assert place.stopped().startswith("26 of the last 50 rows failed alike: bad_request in task 'draft': ")
    assert len(asked) == 40 + 26


# One bad row


@pytest.mark.parametrize(
    ("word", "category"), [("FAIL-400", "bad_request"), ("FAIL-401", "auth"), ("FAIL-500", "server")]
)
def test_one_poisoned_row_stops_nothing(place: Place, word: str, category: str) -> None:
    """Every other row is answered, and only that one fails: exit 3, with the command that runs it again."""
    rows = topics(400)
    rows[100] = {"topic": word}
    place.rows(*rows)
    place.batch("-j", "16", "--retries", "1", "--summary", "s.json", code=3)
    statuses = [row["status"] for row in read_rows(place.results)]
    assert statuses == ["ok"] * 100 + ["failed"] + ["ok"] * 299
    (group,) = place.summary()["failures"]
    assert (group["category"], group["task"], group["count"], group["example"]["line"]) == (category, "draft", 1, 101)
    assert (
        f"  to run one kind of them again: crewrun retry in.results.jsonl --only {category}"
        in place.stderr.splitlines()
    )


def test_failures_are_grouped_by_their_cause(place: Place) -> None:
    """Each category with its count, its first row and what is probably behind it; the counts come first and last."""
    bad = ["FAIL-400 a", "FAIL-413 b", "FAIL-400 c"]
    place.rows(*topics(10), *({"topic": topic} for topic in bad), "oops")
    place.batch("-j", "1", "--summary", "s.json", code=3)
    ids = {row["index"]: row["id"] for row in read_rows(place.results)}
    first, *lines = place.stderr.splitlines()
    assert first.startswith("10 ok, 4 failed in ")
    assert lines == [
        f"  2 × bad_request: line 11 ({ids[10]}) in task 'draft': HTTP 400: FAIL-400 asked the mock for this 400",
        "      → the provider does not take the request; check the parameters of the llm",
        f"  1 × context_length: line 12 ({ids[11]}) in task 'draft': HTTP 413: FAIL-413 asked the mock for this 413",
        "      → one request is more than the provider takes; shorten the input",
        f"  1 × input: line 14 ({ids[13]}): column 1: not JSON: Expecting value",
        "      → never sent; mend these lines, or give what they lack: -i NAME=VALUE",
        "  to see them all: crewrun show in.results.jsonl --failed",
        "  to run one kind of them again: crewrun retry in.results.jsonl --only bad_request",
        "results: in.results.jsonl",
        "10 ok, 4 failed; to run what failed again: crewrun batch in.jsonl -j 1 --summary s.json",
    ]
    assert [(group["type"], group["task"], group["count"]) for group in place.summary()["failures"]] == [
        ("BadRequest", "draft", 2),
        ("ContextTooLong", "draft", 1),
        ("InputInvalid", None, 1),
    ]


# Outages


def free_port() -> int:
    """A port on which nobody listens."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def test_a_provider_that_is_not_there_is_waited_for(tmp_path: Path) -> None:
    """Refused connections, then it is back: no failed row; meanwhile the progress says what is waited for."""
    write_crew(tmp_path, "gpt-4.1-mini")
    write_rows(tmp_path / "in.jsonl", topics(20))
    port = free_port()
    env = {"OPENAI_BASE_URL": f"http://127.0.0.1:{port}/v1", "OPENAI_API_KEY": "sk-x"}
    with start("batch", "in.jsonl", "-j", "4", "--progress", "json", cwd=tmp_path, env=env) as process:
        assert process.stderr is not None
        try:
            # The first lines may come before the first connection was refused.
            told = (json.loads(line)["limiting"] for line in process.stderr)
            assert re.fullmatch(
                r"an outage: openai/gpt-4\.1-mini has not answered for \d+ s, \d+ s left: .*Connection refused",
                next(words for words in told if words),
            )
            with MockProcess("--port", str(port)) as mock:
                process.communicate(timeout=30)
                assert mock.ledger(last=0)["totals"]["requests"] == 20 + 1  # and the probe that found it back
        finally:
            process.kill()
    assert process.returncode == 0
    assert [row["status"] for row in read_rows(tmp_path / "in.results.jsonl")] == ["ok"] * 20


def test_a_second_of_503s_fails_no_row(place: Place) -> None:
    """What was in flight is sent again, and rows behind it wait until one of them is answered."""
    place.rows(*topics(60))
    down_since: list[float] = []

    def down_for_a_second(asked: Asked) -> Reply:
        if asked.answered >= 20:
            down_since.append(monotonic())
        is_down = down_since and monotonic() - down_since[0] < 1
        return Reply(503, "overloaded") if is_down else Reply()

    with Fickle(down_for_a_second) as provider:
        place.batch("-j", "8", OPENAI_BASE_URL=provider.base_url)
    assert len(place.done()) == 60


@pytest.mark.parametrize(("flags", "said"), [(["0"], "0"), (["1s"], "1")], ids=["no patience", "a second"])
def test_patience_ends(place: Place, flags: list[str], said: str) -> None:
    """Nobody listens for --outage-patience: exit 4, every row pending, and the reason on stderr."""
    place.rows(*topics(20))
    url = f"http://127.0.0.1:{free_port()}/v1"
    place.batch(*["-j", "4", "--summary", "s.json", "--outage-patience", *flags], code=4, OPENAI_BASE_URL=url)
    assert read_rows(place.results) == []
    assert re.fullmatch(
        rf"openai/gpt-4\.1-mini has not answered for {said} s \(--outage-patience\), last error: "
        r"127\.0\.0\.1:\d+: cannot connect: Connection refused; the same command goes on when it is back",
        place.stopped(),
    )
    assert (place.summary()["rows"]["ok"], place.summary()["rows"]["failed"]) == (0, 0)
    assert len(place.batch("-j", "4", "--summary", "s.json", code=0)) == 20


# Time


def test_a_deadline_stops_and_the_same_command_goes_on(place: Place) -> None:
    """No row starts after it: exit 6; what finished stays."""
    place.rows(*topics(8))
    with MockProcess("--latency", "0.4") as slow:
        place.batch("-j", "2", "--deadline", "0.6s", code=6, OPENAI_BASE_URL=slow.base_url)
        assert place.stopped() == "the deadline has come (--deadline 0.6s)"
        assert place.stderr.splitlines()[-1].endswith(" left; to go on: crewrun batch in.jsonl -j 2 --deadline 0.6s")
        assert slow.ledger(last=0)["totals"]["statuses"] == {"200": len(place.done())}
        assert 0 < len(place.done()) < 8
        place.batch("-j", "8", OPENAI_BASE_URL=slow.base_url)
        assert slow.ledger(last=0)["totals"]["statuses"] == {"200": 8}
    assert len(place.done()) == 8


@pytest.mark.parametrize(
    "when",
    [
        pytest.param(lambda now: f"{now + timedelta(hours=1):%H:%M}", id="time of day"),
        pytest.param(lambda now: (now + timedelta(hours=1)).isoformat(), id="date"),
        pytest.param(lambda now: "1h30m", id="duration"),
    ],
)
def test_a_deadline_that_does_not_come_changes_nothing(place: Place, when: Callable[[datetime], str]) -> None:
    """In whatever form it is written."""
    place.rows(*topics(3))
    assert len(place.batch("--deadline", when(datetime.now().astimezone()), "-m", "offline")) == 0
    assert len(place.done()) == 3


@pytest.mark.parametrize(
    ("flags", "fields", "kind"),
    [(["--row-timeout", "0.3"], "", "RowTimedOut"), ([], "    max_execution_time: 0.3\n", "TaskTimedOut")],
    ids=["--row-timeout", "max_execution_time"],
)
def test_a_row_that_takes_too_long_frees_its_slot(place: Place, flags: list[str], fields: str, kind: str) -> None:
    """Its request is hung up, the rows behind it run, and it fails alone."""
    path = place.folder / "crew.yaml"
    path.write_text(path.read_text().replace("    role: Writer\n", f"    role: Writer\n{fields}"))
    place.rows({"topic": "FAIL-HANG 1"}, {"topic": "FAIL-HANG 2"}, *topics(20))
    place.batch("-j", "2", "--summary", "s.json", *flags, code=3)
    rows = read_rows(place.results)
    assert [row["status"] for row in rows] == ["failed"] * 2 + ["ok"] * 20
    assert [(row["error"]["category"], row["error"]["type"]) for row in rows[:2]] == [("timeout", kind)] * 2
    assert place.mock.wait_in_flight(0)["totals"]["statuses"] == {"200": 20, "hung up": 2}


# What cannot be meant


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["--rpm", "0"], "--rpm '0': must be a whole number from 1 up, or MODEL=N"),
        (["--rpm", "-5"], "--rpm '-5': must be a whole number from 1 up, or MODEL=N"),
        (["--rpm", "x"], "--rpm 'x': must be a whole number from 1 up, or MODEL=N"),
        (["--rpm", "gpt="], "--rpm 'gpt=': must be a whole number from 1 up, or MODEL=N"),
        (["--tpm", "=5"], "--tpm '=5': must be a whole number from 1 up, or MODEL=N"),
        (["--rpm", "1.5"], "--rpm '1.5': must be a whole number from 1 up, or MODEL=N"),
        (["--rpm", "inf"], "--rpm 'inf': must be a whole number from 1 up, or MODEL=N"),
        (["--tpm", "nan"], "--tpm 'nan': must be a whole number from 1 up, or MODEL=N"),
        (["--tpm", "gpt-4.1-mini=0"], "--tpm 'gpt-4.1-mini=0': must be a whole number from 1 up, or MODEL=N"),
        (["--budget", "0"], "--budget '0': must be an amount of US dollars above 0, such as 2.50"),
        (["--budget", "-1"], "--budget '-1': must be an amount of US dollars above 0, such as 2.50"),
        (["--budget", "nan"], "--budget 'nan': must be an amount of US dollars above 0, such as 2.50"),
        (["--budget", "much"], "--budget 'much': must be an amount of US dollars above 0, such as 2.50"),
        (["--row-budget", "0"], "--row-budget '0': must be an amount of US dollars above 0, such as 2.50"),
        (
            ["--deadline", "yesterday"],
            "--deadline 'yesterday': is not a time; write it as 6h, 06:30 or 2026-01-31T06:30",
        ),
        (["--deadline", "25:00"], "--deadline '25:00': is not a time; write it as 6h, 06:30 or 2026-01-31T06:30"),
        (["--deadline", "0"], "--deadline '0': leaves no time"),
        (["--outage-patience", "soon"], "--outage-patience 'soon': write it as 90s, 5m, 1h30m or 2d"),
        (["--outage-patience", "-1"], "--outage-patience '-1': must be a time from 0 up"),
        (
            ["--max-forecast", "1"],
            "--max-forecast: the forecast comes from a canary; add --canary 100",
        ),
        (
            ["--canary", "3", "--ordered", "-o", "-"],
            "--canary --ordered: a stream cannot be sorted when rows run out of order; name a file by -o",
        ),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_a_nonsense_flag_is_refused_in_one_line(place: Place, flags: list[str], message: str) -> None:
    """Exit 2, nothing on stdout, nothing sent."""
    place.rows(*topics(3))
    assert place.batch(*flags, code=2) == []
    assert (place.stdout, place.stderr) == ("", f"crewrun: {message}\n")


@pytest.mark.parametrize(
    "price", ["gpt-4.1-mini", "1,2", "gpt-4.1-mini=1", "gpt-4.1-mini=1,-2", "x=1,2,3,4,5", "x=a,b"]
)
def test_a_price_that_does_not_parse_is_refused(place: Place, price: str) -> None:
    """With an example of one that does."""
    place.rows(*topics(3))
    assert place.batch("--price", price, code=2) == []
    assert place.stderr == (
        f"crewrun: --price {price!r}: write it as MODEL=IN,OUT, US dollars per million tokens, with the prices of "
        "cache reads and cache writes behind them if they have their own: gpt-4.1-mini=0.4,1.6,0.1,0.5\n"
    )


def test_a_deadline_in_the_past_is_refused(place: Place) -> None:
    """It says what time it is."""
    place.rows(*topics(3))
    assert place.batch("--deadline", "2020-01-31T06:30", code=2) == []
    assert re.fullmatch(r"crewrun: --deadline '2020-01-31T06:30': is in the past; it is \S+\n", place.stderr)


@pytest.mark.parametrize("flags", [["--canary", "-1"], ["-j", "0"], ["-j", "many"]], ids=" ".join)
def test_a_number_out_of_range_is_refused(place: Place, flags: list[str]) -> None:
    """As every other wrong flag is: exit 2, no traceback, nothing sent."""
    place.rows(*topics(3))
    assert place.batch(*flags, code=2) == []
    assert flags[0] in place.stderr
    assert "Traceback" not in place.stderr


@pytest.mark.parametrize(
    ("line", "message"),
    [
        (
            "rpm: 0",
            "crew.yaml:13: batch.rpm: needs to be a whole number from 1, or such a number for each model, not 0",
        ),
        ("tpm: {m: x}", "crew.yaml:13: batch.tpm.m: needs to be a whole number from 1, not 'x'"),
        ("budget: 0", "crew.yaml:13: batch.budget: needs to be an amount of US dollars above 0, such as 2.50, not 0"),
        (
            "row-budget: much",
            "crew.yaml: batch.row_budget 'much': must be an amount of US dollars above 0, such as 2.50",
        ),
        ("outage-patience: soon", "crew.yaml: batch.outage_patience 'soon': write it as 90s, 5m, 1h30m or 2d"),
        (
            "deadline: yesterday",
            "crew.yaml: batch.deadline 'yesterday': is not a time; write it as 6h, 06:30 or 2026-01-31T06:30",
        ),
        ("max_forecast: 1", "crew.yaml: batch.max_forecast: the forecast comes from a canary; add --canary 100"),
        ("canary: -1", "crew.yaml:13: batch.canary: needs to be a whole number from 0, not -1"),
    ],
    ids=["rpm", "tpm", "budget", "row-budget", "outage-patience", "deadline", "max-forecast", "canary"],
)
def test_the_crew_file_is_held_to_the_same(place: Place, line: str, message: str) -> None:
    """A key of `batch:` that makes no sense is refused in one line, by its place or in the words of its flag."""
    place.crew(more=f"batch:\n  {line}\n")
    place.rows(*topics(3))
    assert place.batch(code=2) == []
    assert place.stderr == f"crewrun: {message}\n"


def test_the_crew_file_stops_a_run_as_the_flags_do(place: Place) -> None:
    """Deadline and patience from `batch:`; what was asked for is counted per row."""
    place.crew(more="batch:\n  deadline: 1h\n  outage-patience: 0s\n  max-concurrent: 2\n")
    place.rows(*topics(3))
    place.batch(code=4, OPENAI_BASE_URL=f"http://127.0.0.1:{free_port()}/v1")
    assert re.match(r"openai/gpt-4.1-mini has not answered for \d+ s \(--outage-patience\)", place.stopped())
    assert Counter(place.batch()) == Counter(f"Write about topic {i}" for i in range(3))


# Code of the user's that goes on all the same


FLOWS = """
from concurrent.futures import ThreadPoolExecutor

from crewrun import Agent
from crewrun.flow import Flow, start

clerk = Agent(role="Clerk", goal="g", backstory="b", llm="gpt-4.1-mini")


class Sorry(Flow):
    @start()
    async def ask(self):
        try:
            return (await clerk.akickoff(self.state["topic"])).raw
        except Exception as failed:
            return f"sorry: {failed}"


class InThreads(Flow):
    @start()
    def ask(self):
        with ThreadPoolExecutor(2) as threads:
            return [answer.raw for answer in threads.map(clerk.kickoff, [self.state["topic"]] * 2)]


class Again(Flow):
    @start()
    async def ask(self):
        return await self.akickoff()


class Nothing(Flow):
    def ask(self):
        return 1
"""


def test_a_method_that_swallows_the_end_of_a_run_makes_no_row_ok(place: Place) -> None:
    """The row is pending, and runs when the key is good again."""
    (place.folder / "flows.py").write_text(FLOWS)
    place.rows(*topics(6))
    with Fickle(lambda _: Reply(401, "no such key")) as provider:
        place.batch("--crew", "flows.py:Sorry", code=4, OPENAI_BASE_URL=provider.base_url)
    assert not place.results.exists() or read_rows(place.results) == []
    with Fickle(lambda _: Reply(text="fine")) as provider:
        place.batch("--crew", "flows.py:Sorry", OPENAI_BASE_URL=provider.base_url)
    assert [row["output"] for row in read_rows(place.results)] == ["fine"] * 6


def test_threads_that_a_method_starts_belong_to_the_run(place: Place) -> None:
    """Its model is theirs: an offline run sends nothing."""
    (place.folder / "flows.py").write_text(FLOWS)
    place.rows(*topics(2))
    with Fickle(lambda _: Reply(text="paid")) as provider:
        place.batch("--crew", "flows.py:InThreads", "-m", "offline", OPENAI_BASE_URL=provider.base_url)
        assert provider.models() == []
    assert [len(row["output"]) for row in read_rows(place.results)] == [2, 2]


def test_a_flow_that_begins_itself_for_ever_is_ended(place: Place) -> None:
    """Fifty deep, as a failure of its row."""
    (place.folder / "flows.py").write_text(FLOWS)
    place.rows(*topics(1))
    place.batch("--crew", "flows.py:Again", "-m", "offline", code=3)
    (row,) = read_rows(place.results)
    assert row["error"]["message"] == ("flows.py:29: RecursionError: Again is kicked off inside itself, 50 flows deep")


def test_a_flow_that_nothing_begins_is_refused(place: Place) -> None:
    """Once, before any row."""
    (place.folder / "flows.py").write_text(FLOWS)
    place.batch("--crew", "flows.py:Nothing", "-m", "offline", code=2)
    assert "Nothing has no method under @start(), so there is nothing to begin with" in place.stderr
