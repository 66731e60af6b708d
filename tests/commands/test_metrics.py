"""`--metrics PORT`: the counters of a run for Prometheus, while it goes on."""

import signal
import socket
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator

import pytest
from prometheus_client.parser import text_string_to_metric_families
from support.command import topics
from support.scripted_provider import Asked, Fickle, Reply
from support.workspace import Place

_OPENER = urllib.request.build_opener(urllib.request.ProxyHandler({}))
MODEL = "openai/gpt-4.1-mini"
Samples = dict[tuple[str, tuple[str, ...]], float]


def reply(asked: Asked, seen: set[str]) -> Reply:
    """An answer, or what a word of the prompt asks for; `busy` only the first time."""
    if "busy" in asked.prompt and "429" not in seen:
        seen.add("429")
        return Reply(status=429, text="slow down", headers={"retry-after": "0"})
    return Reply(status=400, text="no") if "bad" in asked.prompt else Reply(hangs="hang" in asked.prompt)


@pytest.fixture
def provider() -> Iterator[Fickle]:
    seen: set[str] = set()
    with Fickle(lambda asked: reply(asked, seen)) as provider:
        yield provider


def scrape(url: str) -> Samples:
    """Every sample of crewrun's, by its name and the values of its labels."""
    with _OPENER.open(url, timeout=10) as reply:
        text = reply.read().decode()
    return {
        (sample.name, tuple(sample.labels.values())): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
        if sample.name.startswith("crewrun_")
    }


def scraped_until(url: str, is_there: Callable[[Samples], bool]) -> Samples:
    """The first scrape that has what is waited for."""
    while not is_there(samples := scrape(url)):
        pass
    return samples


def is_settled(now: Samples) -> bool:
    """Whether all rows but the one that hangs have ended, and the input has been counted."""
    ended = sum(now.get(("crewrun_rows_total", (status,)), 0) for status in ("ok", "failed"))
    return ended == 4 and ("crewrun_rows_expected", ()) in now


def test_a_run_is_scraped_while_it_goes_on(place: Place, provider: Fickle) -> None:
    """Rows, calls, tokens and cost by model, and what is in flight; the port is closed when the run has ended."""
    place.rows(*topics(2), {"topic": "busy"}, {"topic": "bad"}, {"topic": "hang"})
    env = {**place.env, "OPENAI_BASE_URL": provider.base_url}
    with place.forks.start(
        "batch", "in.jsonl", "-j", "4", "--metrics", "0", "--grace", "0", "--budget", "2", cwd=place.folder, env=env
    ) as run:
        url = run.stderr.readline().removeprefix("metrics: ").strip()
        samples = scraped_until(url, is_settled)
        run.send_signal(signal.SIGTERM)
    cost = samples.pop(("crewrun_cost_usd_total", (MODEL,)))
    spent = samples.pop(("crewrun_budget_spent_usd", ()))
    assert cost == pytest.approx(3 * (100 * 0.4 + 10 * 1.6) / 1e6)
    assert spent >= cost
    assert samples == {
        ("crewrun_rows_total", ("ok",)): 3,
        ("crewrun_rows_total", ("failed",)): 1,
        ("crewrun_failed_rows_total", ("bad_request",)): 1,
        ("crewrun_rows_in_flight", ()): 1,
        ("crewrun_rows_done_before", ()): 0,
        ("crewrun_rows_expected", ()): 5,
        ("crewrun_calls_total", (MODEL,)): 3,
        ("crewrun_failed_attempts_total", (MODEL,)): 2,
        ("crewrun_rate_limited_total", (MODEL,)): 1,
        ("crewrun_tokens_total", (MODEL, "input")): 300,
        ("crewrun_tokens_total", (MODEL, "output")): 30,
        ("crewrun_calls_in_flight", (MODEL,)): 1,
        ("crewrun_replayed_calls_total", ()): 0,
        ("crewrun_budget_limit_usd", ()): 2,
    }
    with pytest.raises(urllib.error.URLError):
        scrape(url)


@pytest.mark.parametrize(
    ("value", "reason"),
    [
        pytest.param("nonsense", "write a port, such as 9464, or a host and a port", id="word"),
        pytest.param("99999", "write a port", id="no port"),
        pytest.param(":9464", "write a port", id="no host"),
        pytest.param("no.such.invalid:9464", "take another port, or 0", id="unknown host"),
    ],
)
def test_an_address_that_cannot_be_served_is_refused(place: Place, value: str, reason: str) -> None:
    """Before any row: exit code 2."""
    place.rows(*topics(1))
    assert place.batch("--metrics", value, code=2) == []
    assert f"--metrics {value}" in place.stderr.replace("'", "")
    assert reason in place.stderr


def test_a_port_that_is_taken_is_refused(place: Place) -> None:
    """Before any row, as two runs on one machine would meet it; a crew file may name the port too."""
    place.rows(*topics(1))
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        place.crew(more=f"batch: {{metrics: {port}}}\n")
        assert place.batch(code=2) == []
    assert f"--metrics 127.0.0.1:{port}: Address already in use; take another port" in place.stderr
