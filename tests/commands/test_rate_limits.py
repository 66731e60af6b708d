"""How fast a batch goes: limits that are given, told or only felt, and what providers ask to wait."""

import json
import re
import signal
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest
from support.command import read_rows, topics, write_crew, write_rows
from support.forks import crewrun, start
from support.mock_process import MockProcess
from support.scripted_provider import Asked, Fickle, Reply
from support.workspace import KEY, Place

# Limits that are given

BRIEFLY = ["--grace", "0", "--deadline", "0.6s"]
# Progress comes every second.
A_SECOND = ["--grace", "0", "--deadline", "1.5s", "--progress", "json"]


@pytest.mark.parametrize(
    ("flags", "more", "sent"),
    [
        (["--rpm", "6"], "", 6),
        (["--rpm", "9", "--rpm", "gpt-4.1-mini=4"], "", 4),
        (["--rpm", "another=1", "--rpm", "openai/gpt-4.1-mini=4"], "", 4),
        ([], "batch:\n  rpm: {gpt-4.1-mini: 4}\n", 4),
        (["--rpm", "4"], "batch:\n  rpm: 9\n", 4),
    ],
    ids=["all models", "one model", "one model by its whole name", "crew file", "flag over file"],
)
def test_no_more_requests_a_minute_than_were_given(place: Place, flags: list[str], more: str, sent: int) -> None:
    """The first half goes at once, and the rest is spread over the minute."""
    place.crew(more=more)
    place.rows(*topics(20))
    asked = place.batch("-j", "20", *flags, *BRIEFLY, code=6)
    assert len(asked) <= sent / 2 + 1


@pytest.mark.parametrize(
    ("flag", "limiting"), [("--rpm", "2 requests/min"), ("--tpm", "2 tokens/min")], ids=["requests", "tokens"]
)
def test_the_progress_says_what_is_waited_for(place: Place, flag: str, limiting: str) -> None:
    """Each line of --progress json has it, and null when nothing holds the run up."""
    place.rows(*topics(5))
    place.batch(flag, "2", *A_SECOND, code=6)
    lines = [json.loads(line) for line in place.stderr.splitlines() if line.startswith("{")]
    assert (lines[0]["ok"], lines[0]["limiting"]) == (1, limiting)


def test_no_more_tokens_a_minute_than_were_given(place: Place) -> None:
    """A request is estimated before it goes, and counts as what it was afterwards."""
    place.rows(*topics(40))
    place.batch("-j", "40", "--tpm", "2000", *BRIEFLY, code=6)
    totals = place.mock.ledger(last=0)["totals"]
    assert totals["prompt_tokens"] + totals["completion_tokens"] <= 2000


def test_max_rpm_of_a_crew_counts_over_all_rows(place: Place) -> None:
    """Not per row: `max_rpm: 3` in crew.yaml is three requests in a minute of the whole batch."""
    place.crew(more="max_rpm: 3\n")
    place.rows(*topics(10))
    assert len(place.batch("-j", "10", *BRIEFLY, code=6)) <= 3


def test_a_loop_of_a_tools_own_is_within_the_runs_limits(place: Place) -> None:
    """A sync tool that runs another crew by asyncio.run sends under the same --rpm."""
    write_nested_crew(place)
    place.rows(*topics(6))
    assert len(place.batch("--crew", "nested.py:crew", "-j", "6", "--rpm", "8", *BRIEFLY, code=6)) <= 5


def test_a_loop_of_a_tools_own_is_within_the_runs_budget(place: Place) -> None:
    """What it spends is the run's money: exit 5, and no row has failed."""
    write_nested_crew(place)
    place.rows(*topics(60))
    place.batch("--crew", "nested.py:crew", "-j", "8", "--budget", "0.006", "--summary", "s.json", code=5)
    assert 0.0045 < place.mock.ledger(last=0)["totals"]["cost_usd"] <= 0.006
    assert place.summary()["rows"]["failed"] == 0
    assert {row["status"] for row in read_rows(place.results)} == {"ok"}


def write_nested_crew(place: Place) -> None:
    """A crew whose tool runs a crew of its own in an event loop of its own."""
    (place.folder / "nested.py").write_text(
        "import asyncio\n"
        "from crewrun import LLM, Agent, Crew, Task\n"
        "from crewrun.tools import tool\n"
        "llm = LLM('gpt-4.1-mini', max_tokens=60)\n"
        "def crew_of(text, **fields):\n"
        "    agent = Agent(role='Writer', goal='Write', backstory='Long', llm=llm, **fields)\n"
        "    return Crew(agents=[agent], tasks=[Task(description=text, expected_output='A line', agent=agent)])\n"
        "inner = crew_of('Look {topic} up')\n"
        "@tool\n"
        "def look_up(topic: str) -> str:\n"
        "    '''Look it up.'''\n"
        "    return asyncio.run(inner.akickoff({'topic': topic})).raw\n"
        "crew = crew_of('Write about {topic}', tools=[look_up])\n"
    )


# Limits that are told, and limits that are felt


def test_a_told_limit_is_not_run_into(tmp_path: Path) -> None:
    """600 a minute: half goes out as it comes, the rest at ten a second, and none is refused."""
    write_crew(tmp_path, "gpt-4.1-mini")
    write_rows(tmp_path / "in.jsonl", topics(315))
    with MockProcess("--rpm", "600", "--tpm", "1000000") as mock:
        env = {"OPENAI_BASE_URL": mock.base_url, "OPENAI_API_KEY": KEY}
        flags = ["-j", "auto", "--progress", "json"]
        done = crewrun("batch", "in.jsonl", *flags, cwd=tmp_path, env=env)
        ledger = mock.ledger()
    assert done.returncode == 0, done.stderr
    assert ledger["totals"]["statuses"] == {"200": 315}
    at = [datetime.fromisoformat(request["at"]) for request in ledger["requests"]]
    assert 1.2 < (at[-1] - at[300]).total_seconds() < 10
    assert '"limiting": "600 requests/min"' in done.stderr


def test_auto_finds_more_than_it_starts_with(tmp_path: Path) -> None:
    """-j auto begins with 8 at once and has many more in flight soon, where nothing holds it up."""
    write_crew(tmp_path, "gpt-4.1-mini")
    write_rows(tmp_path / "in.jsonl", topics(300))
    with MockProcess("--latency", "0.1") as mock:
        env = {"OPENAI_BASE_URL": mock.base_url, "OPENAI_API_KEY": KEY}
        done = crewrun("batch", "in.jsonl", "-j", "auto", cwd=tmp_path, env=env)
        totals = mock.ledger(last=0)["totals"]
    assert done.returncode == 0, done.stderr
    assert totals["requests"] == 300
    assert 32 <= totals["peak_in_flight"] <= 200


# What providers say that cannot be meant


@pytest.mark.parametrize(
    "headers",
    [
        {"retry-after": "soon"},
        {"retry-after": "-5"},
        {"retry-after": "nan"},
        {"retry-after": "Wed, 21 Oct 2015 07:28:00 GMT"},
        {"retry-after-ms": "-1", "retry-after": ""},
        {"retry-after": "0"},
    ],
    ids=["a word", "negative", "no number", "in the past", "empty", "at once"],
)
def test_a_wait_that_cannot_be_meant_is_not_waited(place: Place, headers: dict[str, str]) -> None:
    """The call is sent again after the usual pause."""
    place.rows(*topics(3))

    def refuses_once(asked: Asked) -> Reply:
        return Reply(429, "slow down", headers=headers) if asked.number == 1 else Reply()

    with Fickle(refuses_once) as provider:
        place.batch("-j", "1", OPENAI_BASE_URL=provider.base_url)
    assert (len(provider.asked), len(place.done())) == (4, 3)


def test_a_provider_that_asks_to_wait_a_day_stops_the_run(place: Place) -> None:
    """Every row stays pending, and what it asks for is said: exit 4, after the row's call and a probe."""
    place.rows(*topics(5))
    with Fickle(lambda asked: Reply(429, "tomorrow", headers={"retry-after": "86400"})) as provider:
        place.batch("-j", "1", "--summary", "s.json", code=4, OPENAI_BASE_URL=provider.base_url)
    assert (len(provider.asked), read_rows(place.results)) == (2, [])
    assert place.stopped().startswith(
        "openai/gpt-4.1-mini asks to wait for 24 h (Retry-After): HTTP 429: tomorrow; the same command goes on after"
    )


def test_a_wait_of_a_day_within_the_deadline_is_waited_for(place: Place) -> None:
    """The row waits, and the progress says for how long."""
    place.rows(*topics(2))

    def until_the_signal(asked: Asked) -> Reply:
        return Reply(429, "tomorrow", headers={"retry-after": "86400"})

    with Fickle(until_the_signal) as provider:
        words = ["batch", "in.jsonl", "-j", "1", "--deadline", "2d", "--progress", "json", "--grace", "0"]
        env = {"OPENAI_BASE_URL": provider.base_url, "OPENAI_API_KEY": KEY}
        with start(*words, cwd=place.folder, env=env) as process:
            assert process.stderr is not None
            told = (json.loads(line)["limiting"] for line in process.stderr)
            assert re.fullmatch(r"Retry-After: 86\d{3} s left", next(words for words in told if words))
            process.send_signal(signal.SIGTERM)
            process.communicate(timeout=30)
    assert (process.returncode, len(provider.asked), read_rows(place.results)) == (143, 2, [])


def test_one_row_that_is_asked_to_wait_a_day_fails_alone(place: Place) -> None:
    """The others are answered meanwhile, and nobody waits."""
    place.rows(*topics(5))

    def one_waits(asked: Asked) -> Reply:
        return Reply(429, "tomorrow", headers={"retry-after": "86400"}) if "topic 2" in asked.prompt else Reply()

    with Fickle(one_waits) as provider:
        place.batch("-j", "1", code=3, OPENAI_BASE_URL=provider.base_url)
    assert len(provider.asked) == 5 + 1
    failed = [row["error"] for row in read_rows(place.results) if row["error"]]
    assert [(error["category"], error["attempts"]) for error in failed] == [("rate_limit", 1)]


@pytest.mark.parametrize(
    "headers",
    [
        {"x-ratelimit-limit-requests": "0", "x-ratelimit-remaining-requests": "0"},
        {"x-ratelimit-limit-requests": "-1", "x-ratelimit-limit-tokens": "many"},
        {"x-ratelimit-limit-requests": "10" * 40, "x-ratelimit-reset-requests": "yesterday"},
        {"x-ratelimit-limit-requests": "100", "x-ratelimit-remaining-requests": "1000000"},
        {"x-ratelimit-remaining-requests": "0", "x-ratelimit-reset-requests": "24h"},
        {"x-ratelimit-limit-requests": "10", "x-ratelimit-reset-requests": "24h0m0s"},
        {"ratelimit-limit": ";;w=0", "ratelimit-remaining": "x"},
        {"anthropic-ratelimit-requests-reset": "0000-00-00", "anthropic-ratelimit-requests-limit": "x"},
    ],
    ids=["nothing", "negative", "absurd", "more left", "a day's reset", "a day's limit", "draft", "another dialect"],
)
def test_headers_that_lie_hold_nobody_up(place: Place, headers: dict[str, str]) -> None:
    """30 rows are through at once."""
    place.rows(*topics(30))
    with Fickle(lambda asked: Reply(headers=headers)) as provider:
        place.batch("--deadline", "15s", OPENAI_BASE_URL=provider.base_url)
    assert len(place.done()) == 30


def test_a_reset_that_comes_true_is_waited_for(place: Place) -> None:
    """`remaining: 0` with a reset in a second: the rows behind it go a second later, and none is refused."""
    place.rows(*topics(12))
    told: dict[str, Any] = {"x-ratelimit-remaining-requests": "0", "x-ratelimit-reset-requests": "1s"}

    with Fickle(lambda asked: Reply(headers=told if asked.number == 4 else {})) as provider:
        place.batch("-j", "1", "--summary", "s.json", OPENAI_BASE_URL=provider.base_url)
    assert len(place.done()) == 12
    assert place.summary()["duration_s"] >= 1
