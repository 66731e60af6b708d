"""`crewrun mock`, driven as a real process over loopback."""

import json
import re
import signal
import socket
from collections.abc import Iterator
from contextlib import ExitStack, closing
from dataclasses import dataclass
from http.client import HTTPConnection, HTTPException
from pathlib import Path
from subprocess import CompletedProcess
from typing import Any

import aiohttp
import anyio
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import BaseModel
from support import command
from support.forks import crewrun
from support.mock_process import MockProcess
from support.paths import ROOT

from crewrun import LLM, Agent
from crewrun.crew.output import AgentOutput
from crewrun.errors import OutputInvalid
from crewrun.llm.offline_model import directives
from crewrun.llm.offline_model.directives import PromptDirectives, find_directives
from crewrun.mock.faults import Fault, disarm, find_fault
from crewrun.mock.rate_limits import MockLimits, TokenBucket
from crewrun.tools import tool

MODEL = "gpt-4.1-mini"


@pytest.fixture(scope="module")
def process() -> Iterator[MockProcess]:
    with MockProcess() as mock:
        yield mock


@pytest.fixture
def mock(process: MockProcess) -> MockProcess:
    """A mock without flags, its ledger empty."""
    process.clear()
    return process


@dataclass(frozen=True, slots=True)
class Reply:
    status: int
    body: Any
    headers: dict[str, str]


def body_of(prompt: str, **fields: Any) -> dict[str, Any]:
    return {"model": MODEL, "messages": [{"role": "user", "content": prompt}], **fields}


def send(mock: MockProcess, method: str, path: str, body: bytes | None = None) -> Reply:
    with closing(HTTPConnection(*mock.address, timeout=10)) as connection:
        connection.request(method, path, body, {"Authorization": "Bearer sk-secret"})
        reply = connection.getresponse()
        raw = reply.read()
        headers = {name.lower(): value for name, value in reply.getheaders()}
    try:
        return Reply(reply.status, json.loads(raw), headers)
    except ValueError:
        return Reply(reply.status, raw, headers)


def ask(mock: MockProcess, prompt: str, **fields: Any) -> Reply:
    return send(mock, "POST", "/v1/chat/completions", json.dumps(body_of(prompt, **fields)).encode())


def open_request(mock: MockProcess, prompt: str, *, whole: bool = True) -> socket.socket:
    """A connection on which a request, or all but its last byte, was sent and nothing read."""
    body = json.dumps(body_of(prompt)).encode()
    head = f"POST /v1/chat/completions HTTP/1.1\r\nHost: mock\r\nContent-Length: {len(body)}\r\n\r\n"
    connection = socket.create_connection(mock.address, timeout=10)
    connection.sendall(head.encode() + (body if whole else body[:-1]))
    return connection


def test_a_completion_has_openais_shape(mock: MockProcess) -> None:
    """A reply is a whole chat completion, with tokens of four characters."""
    reply = ask(mock, "Write  about\nowls", temperature=0.3)
    text = reply.body["choices"][0]["message"]["content"]
    assert text.startswith("Mock reply ")
    assert text.endswith(" to: Write about owls")
    tokens = -(-len(text) // 4)
    assert reply.body == {
        "id": "chatcmpl-mock-1",
        "object": "chat.completion",
        "created": reply.body["created"],
        "model": MODEL,
        "choices": [
            {
                "index": 0,
                "message": {"role": "assistant", "content": text, "refusal": None},
                "logprobs": None,
                "finish_reason": "stop",
            }
        ],
        "usage": {"prompt_tokens": 5, "completion_tokens": tokens, "total_tokens": 5 + tokens},
    }


def test_the_text_depends_on_the_body_alone(mock: MockProcess) -> None:
    """The same body gets the same text, another temperature another one."""

    def text(**fields: Any) -> str:
        return str(ask(mock, "owls", **fields).body["choices"][0]["message"]["content"])

    assert text() == text()
    assert text() != text(temperature=1)


@pytest.mark.parametrize(
    "path", ["/chat/completions", "/v1/chat/completions", "/openai/deployments/x/chat/completions"]
)
def test_any_path_that_ends_in_chat_completions_answers(mock: MockProcess, path: str) -> None:
    """Users may spell their base URL as their provider does."""
    assert send(mock, "POST", path, json.dumps(body_of("hi")).encode()).status == 200


def test_models_are_listed_and_other_paths_are_explained(mock: MockProcess) -> None:
    """GET /v1/models names one model; an unknown path says what there is."""
    assert [model["id"] for model in send(mock, "GET", "/v1/models").body["data"]] == ["mock"]
    lost = send(mock, "POST", "/v1/images", b"{}")
    assert (lost.status, lost.body["error"]["code"]) == (404, "unknown_url")
    assert "/v1/chat/completions" in lost.body["error"]["message"]


def test_embeddings_of_texts_with_words_in_common_are_near_to_each_other(mock: MockProcess) -> None:
    """As a real model's are; a request without texts is refused."""
    texts = ["red foxes run", "foxes run red", "blue whales"]
    reply = send(mock, "POST", "/v1/embeddings", json.dumps({"model": "m", "input": texts}).encode())
    one, two, other = (entry["embedding"] for entry in reply.body["data"])
    assert (one == two, one == other, reply.body["usage"]["prompt_tokens"]) == (True, False, 8)
    for body in (b"{", b"[]", b'{"input": "x"}', b'{"model": "m", "input": []}', b'{"model": "m", "input": [7]}'):
        assert send(mock, "POST", "/v1/embeddings", body).status == 400


@pytest.mark.parametrize(
    ("body", "message"),
    [
        pytest.param(b"{", "the body is not JSON", id="cut JSON"),
        pytest.param(b"\xff", "the body is not JSON", id="not UTF-8"),
        pytest.param(b"[" * 200_000, "the body is not JSON", id="too deep"),
        pytest.param(b"[]", "the body is not a JSON object", id="a list"),
        pytest.param(b'{"model": "m"}', "messages must be a list", id="no messages"),
        pytest.param(b'{"model": "m", "messages": ["hi"]}', "messages must be a list", id="no objects"),
        pytest.param(b'{"messages": [{}]}', "you must provide a model", id="no model"),
        pytest.param(json.dumps(body_of("hi", tools=[])).encode(), "tools must be a list", id="no tools"),
        pytest.param(json.dumps(body_of("hi", tools=[{}])).encode(), "tools[0] must be of type", id="no function"),
        pytest.param(
            json.dumps(body_of("hi", tools=[{"type": "function", "function": {"name": "look up"}}])).encode(),
            "tools[0].function.name must match",
            id="a blank in a name",
        ),
        pytest.param(
            json.dumps(body_of("hi", tool_choice="auto")).encode(), "tool_choice is only", id="no tools to choose"
        ),
        pytest.param(
            json.dumps(body_of("hi", response_format={"type": "json_schema"})).encode(),
            "response_format must be",
            id="no schema",
        ),
        pytest.param(
            json.dumps({"model": "m", "messages": [{"role": "tool", "tool_call_id": "a", "content": "x"}]}).encode(),
            "must be a response to",
            id="a result of nothing",
        ),
        pytest.param(
            json.dumps({"model": "m", "messages": [{"role": "assistant", "tool_calls": [{"id": "a"}]}]}).encode(),
            "without one: a",
            id="a call without result",
        ),
    ],
)
def test_a_bad_request_is_refused_as_openai_does(mock: MockProcess, body: bytes, message: str) -> None:
    """What the mock cannot answer gets a 400 that says why, is counted, and costs nothing."""
    reply = send(mock, "POST", "/v1/chat/completions", body)
    said = reply.body["error"].pop("message")
    assert message in said
    assert (reply.status, reply.body) == (
        400,
        {"error": {"type": "invalid_request_error", "param": None, "code": None}},
    )
    assert mock.ledger()["totals"]["statuses"] == {"400": 1}
    assert mock.ledger()["totals"]["billed"] == 0


def test_a_body_of_64_mb_is_answered(mock: MockProcess) -> None:
    """Long prompts are no reason to fail."""
    assert ask(mock, "x" * 64_000_000).body["usage"]["prompt_tokens"] == 16_000_000


@pytest.mark.parametrize(
    ("word", "status", "kind", "code"),
    [
        ("FAIL-400", 400, "invalid_request_error", None),
        ("FAIL-401", 401, "authentication_error", "invalid_api_key"),
        ("FAIL-404", 404, "invalid_request_error", "model_not_found"),
        ("FAIL-429", 429, "requests", "rate_limit_exceeded"),
        ("FAIL-500", 500, "server_error", None),
        ("FAIL-529", 529, "server_error", None),
        ("FAIL-QUOTA", 429, "insufficient_quota", "insufficient_quota"),
    ],
)
def test_a_word_asks_for_a_status(mock: MockProcess, word: str, status: int, kind: str, code: str | None) -> None:
    """A refusal has OpenAI's error shape, stands in the ledger by its word, and is not billed."""
    reply = ask(mock, f"Please {word}, now.")
    error = reply.body["error"]
    assert (reply.status, error["type"], error["param"], error["code"]) == (status, kind, None, code)
    assert "retry-after" not in reply.headers
    [row] = mock.ledger()["requests"]
    assert (row["status"], row["fault"], row["billed"], row["reply"]) == (status, word, False, None)


@pytest.mark.parametrize(("word", "status"), [("FAIL-ONCE", 429), ("FAIL-ONCE-503", 503)])
def test_fail_once_fails_each_body_once(mock: MockProcess, word: str, status: int) -> None:
    """The second try of the same body succeeds; another body has a first try of its own."""
    first = ask(mock, word)
    assert (first.status, first.headers["retry-after"]) == (status, "0")
    assert [ask(mock, word).status, ask(mock, word).status, ask(mock, f"{word} too").status] == [200, 200, status]
    assert [row["fault"] for row in mock.ledger()["requests"]] == [word, None, None, word]


def test_fail_empty_length_and_garbage_spoil_the_answer(mock: MockProcess) -> None:
    """An empty text, half of one, and a body that is not JSON: each is a 200 and billed."""
    empty, half, garbage = (ask(mock, f"FAIL-{kind}") for kind in ("EMPTY", "LENGTH", "GARBAGE"))
    assert empty.body["choices"][0]["message"]["content"] == ""
    assert empty.body["usage"]["completion_tokens"] == 0
    assert half.body["choices"][0]["finish_reason"] == "length"
    assert half.body["choices"][0]["message"]["content"].startswith("Mock reply")
    assert isinstance(garbage.body, bytes)
    assert [reply.status for reply in (empty, half, garbage)] == [200, 200, 200]
    assert mock.ledger()["totals"]["billed"] == 3


def test_fail_cut_breaks_the_connection_and_bills(mock: MockProcess) -> None:
    """The client gets nothing, yet the provider would have charged for it."""
    with pytest.raises((HTTPException, OSError)):
        ask(mock, "FAIL-CUT")
    [row] = mock.ledger()["requests"]
    assert (row["status"], row["fault"], row["billed"]) == ("cut", "FAIL-CUT", True)
    assert row["cost_usd"] > 0


def test_fail_hang_never_answers(mock: MockProcess) -> None:
    """A hanging request is in flight, without a status, until its client goes."""
    with open_request(mock, "FAIL-HANG"):
        [row] = mock.wait_in_flight(1)["requests"]
        assert (row["status"], row["fault"], row["duration_s"]) == (None, "FAIL-HANG", None)
    [row] = mock.wait_in_flight(0)["requests"]
    assert (row["status"], row["billed"]) == ("hung up", False)


def test_a_client_that_goes_during_the_latency_is_not_billed() -> None:
    """Who does not wait for the answer is noted as hung up."""
    with MockProcess("--latency", "60", "--jitter", "1") as mock:
        with open_request(mock, "hi"):
            mock.wait_in_flight(1)
        [row] = mock.wait_in_flight(0)["requests"]
    assert (row["status"], row["fault"], row["billed"]) == ("hung up", None, False)


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        ("FAIL-500", Fault("FAIL-500", "status", 500)),
        ("say (FAIL-HANG).", Fault("FAIL-HANG", "hang")),
        ("FAIL-ONCE", Fault("FAIL-ONCE", "once", 429)),
        ("FAIL-ONCE-502", Fault("FAIL-ONCE-502", "once", 502)),
        ("first FAIL-CUT then FAIL-EMPTY", Fault("FAIL-CUT", "cut")),
        ("FAIL-200", None),
        ("FAIL-5000", None),
        ("FAIL-ONCE-200", None),
        ("FAIL-OVER", None),
        ("FAIL-CUTTING", None),
        ("NO-FAIL-500", None),
        ("fail-500, to fail, FAIL", None),
        ("DIE-FAIL-HANGAR", None),
    ],
)
def test_only_a_whole_fault_word_counts(text: str, fault: Fault | None) -> None:
    """Ordinary text does not fail by accident, and a quoted word is disarmed."""
    assert find_fault(["no words", text]) == fault
    assert find_fault([disarm(text)]) is None


@pytest.mark.parametrize(
    ("messages", "status"),
    [
        pytest.param([{"role": "system", "content": "FAIL-500"}], 200, id="system"),
        pytest.param([{"role": "developer", "content": "FAIL-500"}], 200, id="developer"),
        pytest.param([{"role": "assistant", "content": "FAIL-500"}], 500, id="assistant"),
        pytest.param([{"role": "user", "content": [{"type": "text", "text": "FAIL-500"}]}], 500, id="parts"),
    ],
)
def test_words_count_outside_of_system_messages(mock: MockProcess, messages: list[Any], status: int) -> None:
    """A system prompt may explain the words without failing every request."""
    messages.append({"role": "user", "content": None})
    assert ask(mock, "", messages=messages).status == status


def test_a_reply_does_not_pass_a_fault_on(mock: MockProcess) -> None:
    """The mock quotes the prompt, but a later task that gets the quote as its context is not failed by it."""
    ask(mock, "FAIL-ONCE")
    assert "to: fail-once" in ask(mock, "FAIL-ONCE").body["choices"][0]["message"]["content"]


def test_the_ledger_tells_what_happened(mock: MockProcess) -> None:
    """Each request has its row, the totals count them all, and no key is kept."""
    text = ask(mock, "owls").body["choices"][0]["message"]["content"]
    ask(mock, "owls")
    ask(mock, "FAIL-500")
    ledger = mock.ledger()
    tokens = -(-len(text) // 4)
    # gpt-4.1-mini: 0.40 and 1.60 dollars for a million tokens, https://platform.openai.com/docs/pricing
    cost = pytest.approx(0.4e-6 * 1 + 1.6e-6 * tokens)
    row = ledger["requests"][0]
    assert row.pop("at").endswith("Z")
    assert row.pop("duration_s") >= 0
    assert row == {
        "number": 1,
        "model": MODEL,
        "tier": None,
        "input": None,
        "custom_id": None,
        "job": None,
        "messages": [{"role": "user", "content": "owls"}],
        "status": 200,
        "fault": None,
        "reply": text,
        "tools": [],
        "tool_calls": [],
        "billed": True,
        "prompt_tokens": 1,
        "cached_prompt_tokens": 0,
        "cache_write_prompt_tokens": 0,
        "completion_tokens": tokens,
        "cost_usd": cost,
    }
    assert ledger["totals"] == {
        "requests": 3,
        "in_flight": 0,
        "peak_in_flight": 1,
        "connections": 3,
        "statuses": {"200": 2, "500": 1},
        "rate_limited": 0,
        "billed": 2,
        "tool_calls": 0,
        "prompt_tokens": 2,
        "cached_prompt_tokens": 0,
        "cache_write_prompt_tokens": 0,
        "completion_tokens": 2 * tokens,
        "cost_usd": pytest.approx(2 * (0.4e-6 + 1.6e-6 * tokens)),
        "distinct_bodies": 2,
        "repeated_bodies": 1,
        "billed_twice": 1,
        "lines": 0,
        "lines_billed_twice": 0,
        "tiers": {
            "standard": {
                "billed": 2,
                "prompt_tokens": 2,
                "cached_prompt_tokens": 0,
                "cache_write_prompt_tokens": 0,
                "completion_tokens": 2 * tokens,
                "cost_usd": pytest.approx(2 * (0.4e-6 + 1.6e-6 * tokens)),
            }
        },
    }
    assert "secret" not in json.dumps(ledger)


def test_the_ledger_shows_the_last_requests_only_if_asked(mock: MockProcess) -> None:
    """?last=N shortens the list, not the totals."""
    for n in range(3):
        ask(mock, str(n))
    assert [row["number"] for row in mock.ledger(last=2)["requests"]] == [2, 3]
    assert mock.ledger(last=0)["requests"] == []
    assert mock.ledger(last=0)["totals"]["requests"] == 3
    assert send(mock, "GET", "/ledger?last=-1").status == 400


def test_a_model_without_a_price_makes_the_cost_unknown(mock: MockProcess) -> None:
    """A cost that is not known is null, never 0."""
    ask(mock, "owls")
    ask(mock, "owls", model="nobody/made-this")
    ledger = mock.ledger()
    assert ledger["requests"][1]["cost_usd"] is None
    assert ledger["totals"]["cost_usd"] is None


def test_the_peak_is_how_many_were_in_flight_together(mock: MockProcess) -> None:
    """Requests that wait together count together, and the peak stays when they have gone."""
    with ExitStack() as stack:
        for n in range(5):
            stack.enter_context(open_request(mock, f"FAIL-HANG {n}"))
        mock.wait_in_flight(5)
    totals = mock.wait_in_flight(0)["totals"]
    assert (totals["peak_in_flight"], totals["connections"], totals["statuses"]) == (5, 5, {"hung up": 5})


def test_a_pool_of_connections_is_served_row_by_row(mock: MockProcess) -> None:
    """Connections are kept alive: 40 requests of a pool of 8 need no ninth, and each is answered once."""

    async def batch(url: str) -> None:
        connector = aiohttp.TCPConnector(limit=8)
        async with aiohttp.ClientSession(connector=connector) as session, anyio.create_task_group() as group:

            async def one(n: int) -> None:
                async with session.post(url, json=body_of(f"row {n}")) as reply:
                    assert reply.status == 200
                    await reply.read()

            for n in range(40):
                group.start_soon(one, n)

    anyio.run(batch, f"{mock.base_url}/chat/completions")
    totals = mock.ledger()["totals"]
    assert totals["connections"] <= 8
    assert (totals["distinct_bodies"], totals["billed"], totals["statuses"]) == (40, 40, {"200": 40})


def test_fail_hits_a_fraction_and_a_seed_repeats_it() -> None:
    """Two mocks with one seed fail the same requests."""

    def statuses() -> list[int]:
        with MockProcess("--fail", "0.5:503", "--seed", "7") as mock:
            return [ask(mock, str(n)).status for n in range(40)]

    once = statuses()
    assert once == statuses()
    assert set(once) == {200, 503}


def test_reply_replaces_every_text() -> None:
    """--reply serves tests that need a certain answer."""
    with MockProcess("--reply", '{"ok": true}') as mock:
        assert ask(mock, "a").body["choices"][0]["message"]["content"] == '{"ok": true}'


def test_flex_may_be_full(mock: MockProcess) -> None:
    """Refused with the code of OpenAI or Groq, as long as the tier is flex; what is served says its tier."""
    refused = [ask(mock, word, service_tier="flex") for word in ("FAIL-FLEX", "FAIL-FLEX-498")]
    assert [(reply.status, reply.body["error"]["code"]) for reply in refused] == [
        (429, "resource_unavailable"),
        (498, "capacity_exceeded"),
    ]
    assert [ask(mock, "FAIL-FLEX", **tier).status for tier in ({}, {"service_tier": "auto"})] == [200, 200]
    assert ask(mock, "owls", service_tier="flex", model="gpt-5-mini").body["service_tier"] == "flex"
    tiers = mock.ledger()["totals"]["tiers"]
    assert {name: tier["billed"] for name, tier in tiers.items()} == {"flex": 1, "standard": 2}


def test_flex_full_refuses_a_share_of_the_calls_at_flex() -> None:
    """And none at another tier."""
    with MockProcess("--flex-full", "0.5", "--seed", "7") as mock:
        flex = [ask(mock, str(n), service_tier="flex").status for n in range(40)]
        standard = {ask(mock, str(n)).status for n in range(10)}
        row = next(row for row in mock.ledger()["requests"] if row["status"] == 429)
    assert (set(flex), 10 < flex.count(429) < 30, standard, row["fault"]) == ({200, 429}, True, {200}, "--flex-full")


def test_the_clock_can_be_moved_and_the_limits_go_by_it() -> None:
    """What a minute's wait would allow is allowed a minute later."""
    with MockProcess("--rpm", "1") as mock:
        before = [ask(mock, "a").status for _ in range(2)]
        moved = send(mock, "POST", "/clock", b'{"advance_s": 60}')
        assert (before, ask(mock, "a").status, moved.body["ahead_s"]) == ([200, 429], 200, 60)
        assert send(mock, "GET", "/clock").body["ahead_s"] == 60
        assert send(mock, "POST", "/clock", b'{"advance_s": "soon"}').status == 400


def test_over_the_rate_is_refused_with_an_honest_wait() -> None:
    """With 2 a minute the third is told to wait, for no longer than a bucket of 2 takes to free one: 30 s."""
    with MockProcess("--rpm", "2") as mock:
        first, second, third, fourth = (ask(mock, "hi") for _ in range(4))
        rows = mock.ledger()["requests"]
    assert [reply.status for reply in (first, second, third, fourth)] == [200, 200, 429, 429]
    assert third.body["error"]["code"] == "rate_limit_exceeded"
    assert [reply.headers["x-ratelimit-remaining-requests"] for reply in (first, second, third)] == ["1", "0", "0"]
    assert first.headers["x-ratelimit-limit-requests"] == "2"
    assert first.headers["x-ratelimit-reset-requests"] == "30s"
    wait_ms = int(third.headers["retry-after-ms"])
    assert 20_000 < wait_ms <= 30_000
    assert int(third.headers["retry-after"]) == -(-wait_ms // 1000)
    assert int(fourth.headers["retry-after-ms"]) <= wait_ms
    assert [(row["status"], row["fault"]) for row in rows[2:]] == [(429, "--rpm"), (429, "--rpm")]


def limit_headers(reply: Reply) -> dict[str, str]:
    return {name: value for name, value in reply.headers.items() if name.startswith("x-ratelimit-")}


def change_limits(mock: MockProcess, **limits: object) -> Reply:
    return send(mock, "PUT", "/limits", json.dumps(limits).encode())


def test_tokens_are_limited_as_the_mock_counts_them() -> None:
    """Of 50 tokens a minute, 21 + 3 fit twice; the third is told to wait, and is no failure that was asked for."""
    with MockProcess("--tpm", "50", "--reply", "x" * 12, "--fail", "0:500") as mock:
        replies = [ask(mock, "x" * 84) for _ in range(3)]
        report = mock.ledger()
    assert [reply.status for reply in replies] == [200, 200, 429]
    assert limit_headers(replies[0]) == {
        "x-ratelimit-limit-tokens": "50",
        "x-ratelimit-remaining-tokens": "26",
        "x-ratelimit-reset-tokens": "28.8s",
    }
    error = replies[2].body["error"]
    assert (error["code"], error["message"].split(":")[0]) == (
        "rate_limit_exceeded",
        "Rate limit of 50 tokens per min reached",
    )
    assert 25_000 < int(replies[2].headers["retry-after-ms"]) <= 26_400
    assert [row["fault"] for row in report["requests"]] == [None, None, "--tpm"]
    assert (report["totals"]["statuses"], report["totals"]["rate_limited"]) == ({"200": 2, "429": 1}, 1)


def test_limits_can_be_kept_quiet_and_changed_while_it_runs() -> None:
    """PUT /limits sets those that it names, null lifts one, and what was left stays."""
    with MockProcess("--rpm", "4", "--no-limit-headers") as mock:
        first = ask(mock, "a")
        changed = change_limits(mock, rpm=2)
        statuses = [ask(mock, "a").status for _ in range(3)]
        lifted = change_limits(mock, rpm=None, tpm=1)
        # More than the whole limit goes alone.
        statuses += [ask(mock, "a").status for _ in range(2)]
        shown = send(mock, "GET", "/limits")
        asked_for = ask(mock, "FAIL-429")
        report = mock.ledger()
    assert (first.status, limit_headers(first)) == (200, {})
    assert (changed.body, lifted.body, shown.body) == (
        {"rpm": 2, "tpm": None},
        {"rpm": None, "tpm": 1},
        {"rpm": None, "tpm": 1},
    )
    assert statuses == [200, 200, 429, 200, 429]
    assert limit_headers(asked_for) == {}
    assert [row["fault"] for row in report["requests"]] == [None, None, None, "--rpm", None, "--tpm", "--tpm"]


def test_a_429_that_was_asked_for_is_counted_apart(mock: MockProcess) -> None:
    """`rate_limited` counts what a limit refused."""
    ask(mock, "FAIL-429")
    totals = mock.ledger()["totals"]
    assert (totals["statuses"], totals["rate_limited"]) == ({"429": 1}, 0)


@pytest.mark.parametrize(
    ("body", "message"),
    [
        pytest.param(b"{", "the body is not JSON", id="cut JSON"),
        pytest.param(b"[]", "the limits are an object", id="a list"),
        pytest.param(b'{"rpd": 3}', "no limit is called 'rpd'", id="unknown"),
        pytest.param(b'{"rpm": 0}', "rpm: 0 is no limit", id="zero"),
        pytest.param(b'{"tpm": true}', "tpm: True is no limit", id="a bool"),
        pytest.param(b'{"tpm": 1.5}', "tpm: 1.5 is no limit", id="a fraction"),
    ],
)
def test_a_limit_that_makes_no_sense_is_refused(mock: MockProcess, body: bytes, message: str) -> None:
    """A 400 that names it, and nothing is changed."""
    reply = send(mock, "PUT", "/limits", body)
    assert (reply.status, message in reply.body["error"]["message"]) == (400, True)
    assert send(mock, "GET", "/limits").body == {"rpm": None, "tpm": None}


@given(st.integers(1, 10_000), st.lists(st.tuples(st.floats(0, 100), st.integers(1, 20_000)), max_size=100))
def test_the_bucket_keeps_its_rate_and_its_word(per_min: int, asked: list[tuple[float, int]]) -> None:
    """Never more than the limit and its refill are let through, and who waits as told is let through."""
    bucket, now_s, taken = TokenBucket(per_min, 0.0), 0.0, 0
    for pause_s, amount in asked:
        now_s += pause_s
        wait_s = bucket.wait_s(amount, now_s)
        assert 0 <= wait_s <= 60 * (1 + 20_000 / per_min)
        now_s += wait_s
        assert bucket.wait_s(amount, now_s) == 0
        bucket.take(amount)
        taken += amount
        excess = max(0, amount - per_min)  # it went alone, and those behind it wait for that
        assert taken - excess <= per_min + now_s * per_min / 60 + 1e-3


def test_a_request_takes_from_all_limits_or_from_none() -> None:
    """One that is refused for its tokens has not used up a request."""
    limits = MockLimits(2, 100, 0.0)
    refusers = [limits.admit(tokens, 0.0).refused_by for tokens in (60, 60, 40, 1)]
    assert refusers == [None, "--tpm", None, "--rpm"]


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
@pytest.mark.parametrize("whole", [True, False], ids=["hanging", "half sent"])
def test_a_signal_ends_it_although_a_request_hangs(number: signal.Signals, whole: bool) -> None:
    """The mock waits for nobody: exit 0, with no traceback."""
    with MockProcess() as mock, open_request(mock, "FAIL-HANG", whole=whole):
        mock.wait_in_flight(1 if whole else 0)
        assert mock.stop(number) == 0
        assert "Traceback" not in mock.stderr


def test_it_tells_where_it_listens_and_how_to_use_it() -> None:
    """One line on stdout for programs, a hint on stderr for people."""
    with MockProcess() as mock:
        host, port = mock.address
        assert mock.base_url == f"http://127.0.0.1:{port}/v1"
        assert mock.stop() == 0
        assert mock.stdout == ""
        assert mock.stderr.startswith(f"OPENAI_BASE_URL=http://{host}:{port}/v1 OPENAI_API_KEY=mock crewrun batch")
        assert f"\nANTHROPIC_BASE_URL=http://{host}:{port} ANTHROPIC_API_KEY=mock crewrun batch" in mock.stderr
        assert "FAIL-ONCE" in mock.stderr
        assert "CALL-<tool>" in mock.stderr


def test_it_starts_as_a_program_of_its_own(tmp_path: Path) -> None:
    """With nothing imported before it, as from a shell."""
    with command.start("mock", "--port", "0", cwd=tmp_path) as process:
        assert process.stdout is not None
        line = process.stdout.readline()
        process.terminate()
        process.communicate(timeout=20)
    assert re.fullmatch(r"crewrun mock: listening on http://127\.0\.0\.1:\d+/v1\n", line)
    assert process.returncode == 0


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        pytest.param(["--latency", "-1"], "--latency: needs to be a number of seconds from 0, not ", id="latency"),
        pytest.param(["--latency", "nan"], "--latency: needs to be a number of seconds from 0, not ", id="latency nan"),
        pytest.param(["--jitter", "-0.1"], "--jitter: needs", id="jitter"),
        pytest.param(["--fail", "x"], "'x' is not RATE:STATUS", id="fail"),
        pytest.param(["--fail", "2:500"], "fraction from 0 to 1", id="fail rate"),
        pytest.param(["--fail", "0.1:200"], "from 400 to 599", id="fail status"),
        pytest.param(["--flex-full", "x"], "--flex-full: 'x:429' is not RATE:STATUS, such as 0.1:500", id="flex"),
        pytest.param(["--batch-latency", "-1"], "--batch-latency: needs", id="batch latency"),
        pytest.param(["--batch-fault", "x"], "--batch-fault: 'x': no fault is called 'x'", id="batch fault"),
        pytest.param(["--rpm", "0"], "--rpm: needs to be a whole number from 1, not '0'", id="rpm"),
        pytest.param(["--tpm", "0"], "--tpm: needs", id="tpm"),
        pytest.param(["--port", "70000"], "--port: needs to be a whole number from 0 to 65535, not", id="port"),
        pytest.param(["--tools", "no"], "--tools: needs to be 'on' or 'off', not 'no'", id="tools"),
    ],
)
def test_a_bad_flag_is_refused(flags: list[str], message: str) -> None:
    """A value that makes no sense names its flag and ends with 2, before anything listens."""
    done = run(*flags)
    assert done.returncode == 2
    assert message in done.stderr
    assert done.stdout == ""


def test_a_taken_port_is_one_clear_line(mock: MockProcess) -> None:
    """Exit 2 and what to do, not a traceback."""
    port = mock.address[1]
    done = run("--port", str(port))
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == (
        f"crewrun mock: cannot listen on 127.0.0.1:{port}: Address already in use: "
        "pick another --port, or --port 0 for any free one\n"
    )


WEATHER = {
    "type": "function",
    "function": {
        "name": "weather",
        "description": "The weather.",
        "parameters": {
            "type": "object",
            "properties": {
                "city": {"type": "string"},
                "unit": {"$ref": "#/$defs/Unit"},
                "days": {"anyOf": [{"type": "integer", "minimum": 3}, {"type": "null"}]},
                "note": {"type": "string"},
            },
            "required": ["city", "unit", "days"],
            "$defs": {"Unit": {"enum": ["C", "F"]}},
        },
    },
}
CLOCK = {"type": "function", "function": {"name": "clock", "parameters": {"type": "object", "properties": {}}}}
TOOLS = [WEATHER, CLOCK]
FITTING = {"city": "Weather?", "unit": "C", "days": 3}


def choice_of(reply: Reply) -> Any:
    return reply.body["choices"][0]


def asked_for(reply: Reply) -> list[tuple[str, Any]]:
    """The tools that a reply asks for, with their arguments."""
    calls = choice_of(reply)["message"].get("tool_calls", [])
    return [(call["function"]["name"], json.loads(call["function"]["arguments"])) for call in calls]


def after_tools(prompt: str, *results: str) -> list[dict[str, Any]]:
    """The turns of a conversation in which each of `results` came of a call in one turn."""
    calls = [
        {"id": f"c{i}", "type": "function", "function": {"name": "clock", "arguments": "{}"}}
        for i in range(len(results))
    ]
    return [
        {"role": "user", "content": prompt},
        {"role": "assistant", "content": None, "tool_calls": calls},
        *({"role": "tool", "tool_call_id": f"c{i}", "content": result} for i, result in enumerate(results)),
    ]


def test_offered_tools_it_asks_for_the_first_one(mock: MockProcess) -> None:
    """Arguments are made up from the schema, the required ones only; the ledger has the names."""
    reply = ask(mock, "Weather?", tools=TOOLS)
    arguments = json.dumps(FITTING)
    function = {"name": "weather", "arguments": arguments}
    assert choice_of(reply) == {
        "index": 0,
        "message": {
            "role": "assistant",
            "content": None,
            "refusal": None,
            "tool_calls": [{"id": "call_mock_1_0", "type": "function", "function": function}],
        },
        "logprobs": None,
        "finish_reason": "tool_calls",
    }
    assert reply.body["usage"]["completion_tokens"] == -(-len("weather" + arguments) // 4)
    assert reply.body["usage"]["prompt_tokens"] == -(-len("Weather?" + json.dumps(TOOLS)) // 4)
    ledger = mock.ledger()
    [row] = ledger["requests"]
    assert (row["tools"], row["tool_calls"], row["reply"], row["billed"]) == (
        ["weather", "clock"],
        ["weather"],
        "",
        True,
    )
    assert ledger["totals"]["tool_calls"] == 1


def test_with_the_results_there_it_answers_in_text(mock: MockProcess) -> None:
    """And says what the tools said; after the user's next turn it asks again."""
    turns = after_tools("Weather?", "sunny", "noon")
    answer = choice_of(ask(mock, "", messages=turns, tools=TOOLS))
    assert answer["finish_reason"] == "stop"
    assert answer["message"]["content"].endswith(" to: Weather? / tools said: sunny / noon")
    turns += [answer["message"], {"role": "user", "content": "And now?"}]
    again = ask(mock, "", messages=turns, tools=TOOLS)
    assert choice_of(again)["message"]["tool_calls"][0]["id"] == "call_mock_3_0"


@pytest.mark.parametrize(
    ("words", "calls"),
    [
        pytest.param("CALL-clock", [("clock", {})], id="one by name"),
        pytest.param("CALL-clock CALL-weather", [("clock", {}), ("weather", ...)], id="two by name"),
        pytest.param("CALL-no_such-tool.", [("no_such-tool", {})], id="one that is not there"),
        pytest.param("CALL-ALL", [("weather", ...), ("clock", {})], id="all"),
        pytest.param("CALL-NONE", [], id="none"),
        pytest.param("call-clock", [("weather", ...)], id="no word"),
        pytest.param(
            "CALL-BAD-ARGS",
            [
                (
                    "weather",
                    {
                        "no_such_argument": "made not to validate",
                        "city": {"made not to validate": True},
                        "unit": "made not to validate",
                        "days": "made not to validate",
                        "note": {"made not to validate": True},
                    },
                )
            ],
            id="arguments that do not fit",
        ),
    ],
)
def test_words_choose_the_tools(mock: MockProcess, words: str, calls: list[tuple[str, Any]]) -> None:
    """In the prompt's text; in arguments that quote the prompt they are disarmed."""
    fitting = {**FITTING, "city": words.lower()}
    asked = asked_for(ask(mock, words, tools=TOOLS))
    assert asked == [(name, fitting if arguments is ... else arguments) for name, arguments in calls]


def test_arguments_can_be_no_json_or_cut_off(mock: MockProcess) -> None:
    """As models write them at times, the second one because its tokens ran out."""
    broken, cut = ask(mock, "CALL-NOT-JSON", tools=TOOLS), ask(mock, "FAIL-LENGTH", tools=TOOLS)
    for reply, finish in ((broken, "tool_calls"), (cut, "length")):
        assert choice_of(reply)["finish_reason"] == finish
        with pytest.raises(ValueError, match="line 1"):
            json.loads(choice_of(reply)["message"]["tool_calls"][0]["function"]["arguments"])


def test_call_forever_never_answers(mock: MockProcess) -> None:
    """Whatever the tools say, unless there are none to ask for."""
    turns = after_tools("CALL-FOREVER", "sunny")
    assert [name for name, _ in asked_for(ask(mock, "", messages=turns, tools=TOOLS))] == ["weather"]
    assert choice_of(ask(mock, "", messages=turns))["finish_reason"] == "stop"


@pytest.mark.parametrize(
    ("choice", "names"),
    [
        ("auto", []),
        ("none", []),
        ("required", ["weather"]),
        ({"type": "function", "function": {"name": "clock"}}, ["clock"]),
    ],
    ids=["auto", "none", "required", "named"],
)
def test_a_tool_choice_is_obeyed(mock: MockProcess, choice: Any, names: list[str]) -> None:
    """Here against the prompt, which wants no tool."""
    assert [name for name, _ in asked_for(ask(mock, "CALL-NONE", tools=TOOLS, tool_choice=choice))] == names


REPORT = {
    "type": "object",
    "properties": {"title": {"type": "string"}, "score": {"type": "integer", "minimum": 7}},
    "required": ["title", "score"],
}
AS_SCHEMA = {"type": "json_schema", "json_schema": {"name": "report", "schema": REPORT}}


def said(mock: MockProcess, prompt: str, **fields: Any) -> str:
    return str(choice_of(ask(mock, prompt, **fields))["message"]["content"])


def test_given_a_schema_the_answer_is_json_that_fits(mock: MockProcess) -> None:
    """As response_format, in the prompt's words, or any object where JSON without a schema is wanted."""
    in_words = f"Reply with one JSON value only, which validates against this JSON Schema: {json.dumps(REPORT)}"
    native, told = (json.loads(text) for text in (said(mock, "owls", response_format=AS_SCHEMA), said(mock, in_words)))
    assert (native["score"], told["score"]) == (7, 7)
    assert native["title"].endswith(" to: owls")
    assert told["title"].startswith("Mock reply ")
    free = json.loads(said(mock, "owls", response_format={"type": "json_object"}))
    assert free["answer"].endswith(" to: owls")
    assert said(mock, "owls", response_format={"type": "text"}).endswith(" to: owls")


def test_json_words_spoil_the_json(mock: MockProcess) -> None:
    """In prose around it, of a wrong kind, or of a wrong kind until it is asked to be mended."""
    prose = said(mock, "JSON-PROSE", response_format=AS_SCHEMA)
    assert prose.startswith('Here is the answer:\n\n```json\n{"title"')
    assert isinstance(json.loads(said(mock, "JSON-INVALID", response_format=AS_SCHEMA)), list)
    bad = said(mock, "JSON-INVALID-ONCE", response_format=AS_SCHEMA)
    talk = [("user", "JSON-INVALID-ONCE"), ("assistant", bad), ("user", "Mend it.")]
    mended = said(mock, "", messages=[{"role": r, "content": c} for r, c in talk], response_format=AS_SCHEMA)
    assert (type(json.loads(bad)), json.loads(mended)["score"]) == (list, 7)


@pytest.mark.parametrize(
    ("text", "wished"),
    [
        ("CALL-a, CALL-b and CALL-a", PromptDirectives(tools=("a", "b"))),
        ("CALL-ALL CALL-FOREVER", PromptDirectives(all_tools=True, forever=True)),
        ("CALL-NONE", PromptDirectives(no_tools=True)),
        ("CALL-a CALL-BAD-ARGS", PromptDirectives(tools=("a",), arguments="bad")),
        ("CALL-NOT-JSON", PromptDirectives(arguments="not JSON")),
        ("JSON-INVALID", PromptDirectives(json="invalid")),
        ("JSON-INVALID-ONCE", PromptDirectives(json="invalid-once")),
        ("say JSON-PROSE.", PromptDirectives(json="prose")),
        ("JSON-INVALIDATED, NO-CALL-x, to CALL -x, JSON-LD", PromptDirectives()),
    ],
)
def test_only_whole_words_steer(text: str, wished: PromptDirectives) -> None:
    """And a quoted one does not."""
    assert find_directives(["no words", text]) == wished
    assert find_directives([directives.disarm(text)]) == PromptDirectives()


@tool
def look_up(word: str) -> str:
    """Look a word up."""
    return f"meaning of {len(word)} letters"


@tool
def count_words(text: str) -> int:
    """Count words."""
    return len(text.split())


class Fact(BaseModel):
    text: str


def explain(mock: MockProcess, prompt: str, *, in_words: bool = False, **fields: Any) -> AgentOutput:
    """An agent's answer, of a model that takes tools and schemas, or of one that must be told of them in words."""
    llm = LLM(
        model="openai/gpt-4.1-mini",
        base_url=mock.base_url,
        api_key="x",
        function_calling=not in_words,
        structured_output=not in_words,
    )
    agent = Agent(role="R", goal="g", backstory="b", tools=[look_up, count_words], llm=llm, max_iter=3)
    return agent.kickoff(prompt, **fields)


@pytest.mark.parametrize(
    ("word", "actions"),
    [
        ("please", ["look_up"]),
        ("CALL-ALL", ["look_up", "count_words"]),
        ("CALL-NONE", []),
        ("CALL-no_such_tool", ["no_such_tool"]),
    ],
)
def test_tools_in_words_are_asked_for_in_words(mock: MockProcess, word: str, actions: list[str]) -> None:
    """In the form that the prompt explains, one at a time."""
    output = explain(mock, f"Explain {word}", in_words=True)
    replies = [row["reply"] for row in mock.ledger()["requests"]]
    argument = json.dumps(f"Explain {word.lower()}")
    arguments = {"look_up": f'{{"word": {argument}}}', "count_words": f'{{"text": {argument}}}', "no_such_tool": "{}"}
    assert replies[:-1] == [
        f"Thought: {name} may tell more\nAction: {name}\nAction Input: {arguments[name]}" for name in actions
    ]
    assert replies[-1] == f"Thought: I know the answer\nFinal Answer: {output.raw}"
    assert " / tools said: " in output.raw or not actions
    assert mock.ledger()["totals"]["tool_calls"] == 0


def test_an_agent_whose_model_calls_forever_comes_to_an_end(mock: MockProcess) -> None:
    """Three turns; then, without tools, an answer. In words there is nothing to take away, and it is an error."""
    assert explain(mock, "CALL-FOREVER").raw.startswith("Mock reply ")
    assert [len(row["tool_calls"]) for row in mock.ledger()["requests"]] == [1, 1, 1, 0]
    with pytest.raises(OutputInvalid, match="still asks for tools after 3 turns"):
        explain(mock, "CALL-FOREVER", in_words=True)


@pytest.mark.parametrize("in_words", [False, True], ids=["as a schema", "in words"])
def test_an_agent_gets_json_mended(mock: MockProcess, in_words: bool) -> None:
    """The first answer does not validate, the second does; one that never does is an error."""
    output = explain(mock, "CALL-NONE JSON-INVALID-ONCE", in_words=in_words, response_format=Fact)
    assert isinstance(output.pydantic, Fact)
    assert mock.ledger()["totals"]["requests"] == 2
    with pytest.raises(OutputInvalid, match="nor did its repair"):
        explain(mock, "CALL-NONE JSON-INVALID", in_words=in_words, response_format=Fact)


def test_tools_and_schemas_can_be_refused() -> None:
    """As by a server that knows neither; a request without them is answered."""
    with MockProcess("--tools", "off", "--schemas", "off") as mock:
        tools, schema, plain = ask(mock, "a", tools=TOOLS), ask(mock, "b", response_format=AS_SCHEMA), ask(mock, "c")
        faults = [row["fault"] for row in mock.ledger()["requests"]]
    assert (tools.status, tools.body["error"]["message"]) == (400, f"{MODEL} does not support tools")
    assert (schema.status, schema.body["error"]["message"]) == (400, f"{MODEL} does not support this response_format")
    assert (plain.status, faults) == (200, ["--tools off", "--schemas off", None])


def run(*flags: str) -> CompletedProcess[str]:
    """The mock with flags that do not let it start."""
    return crewrun("mock", *flags, cwd=ROOT)
