"""The mock's prompt cache: what of a prompt counts as read and written, for each kind of provider."""

import json
from typing import Any, NamedTuple

import anyio
import pytest

from crewrun.mock.anthropic_messages import AnthropicMessages
from crewrun.mock.calls import Calls
from crewrun.mock.clock import MockClock
from crewrun.mock.openai_chat import OpenAIChat
from crewrun.mock.openai_responses import OpenAIResponses
from crewrun.mock.settings import Settings
from crewrun.mock.wire import Wire

LONG = "All of this is the same for every row. " * 400  # 15,600 characters, 3,900 tokens
MARK = {"cache_control": {"type": "ephemeral"}}
BREAKPOINT = {"prompt_cache_breakpoint": {"mode": "explicit"}}


class Cache(NamedTuple):
    """Tokens that a reply says were read from the cache and written to it."""

    read: int
    written: int


class Server:
    """A mock whose clock the test moves, and the three ways of asking it."""

    def __init__(self, *, prompt_cache: bool = True) -> None:
        self.clock = MockClock()
        self.calls = Calls(Settings(prompt_cache=prompt_cache), self.clock)

    def send(self, wire: Wire, body: dict[str, Any]) -> dict[str, Any]:
        reply = anyio.run(self.calls.chat, wire, json.dumps(body).encode(), ("", 0))
        assert reply.status == 200, reply.body
        return dict(json.loads(reply.body))

    def openai(self, system: Any, user: str, model: str = "gpt-4.1-mini", **fields: Any) -> Cache:
        messages = [{"role": "system", "content": system}, {"role": "user", "content": user}]
        usage = self.send(OpenAIChat(), {"model": model, "messages": messages, **fields})["usage"]
        details = usage.get("prompt_tokens_details", {})
        assert usage["total_tokens"] == usage["prompt_tokens"] + usage["completion_tokens"]
        return Cache(details.get("cached_tokens", 0), details.get("cache_write_tokens", 0))

    def anthropic(self, system: Any, user: Any, model: str = "claude-sonnet-4-6", **fields: Any) -> Cache:
        body = {"model": model, "max_tokens": 9, "system": system, "messages": [{"role": "user", "content": user}]}
        usage = self.send(AnthropicMessages(), {**body, **fields})["usage"]
        return Cache(usage["cache_read_input_tokens"], usage["cache_creation_input_tokens"])


def text(words: str, **fields: Any) -> list[dict[str, Any]]:
    return [{"type": "text", "text": words, **fields}]


def test_openai_caches_in_steps_for_five_minutes_from_the_last_use() -> None:
    """From 1,024 tokens in steps of 128; a different beginning, or a short prompt, finds nothing."""
    server = Server()
    assert server.openai(LONG, "a") == Cache(0, 0)
    assert server.openai(LONG, "b") == Cache(1024 + 22 * 128, 0)
    server.clock.advance(299)
    assert server.openai(LONG[:5000], "b") == Cache(1024 + 128, 0)
    server.clock.advance(299)
    assert server.openai(LONG, "c").read == 1024 + 128  # only that much was read within five minutes
    assert server.openai("x" + LONG, "a") == Cache(0, 0)
    assert server.openai(LONG[:4000], "a") == Cache(0, 0)


def test_openai_requests_with_other_keys_find_nothing() -> None:
    """As they go to other machines."""
    server = Server()
    reads = [server.openai(LONG, "a", prompt_cache_key=key).read > 0 for key in ("one", "two", "one")]
    assert reads == [False, False, True]


def test_gpt_5_6_writes_at_the_end_unless_it_is_told_where() -> None:
    """By itself it finds nothing where only the latest message differs; with a breakpoint it does."""
    server = Server()
    whole = [server.openai(LONG, user, "gpt-5.6") for user in ("a", "b")]
    assert whole == [Cache(0, 3900), Cache(0, 3900)]
    options = {"prompt_cache_options": {"mode": "explicit"}}
    marked = [server.openai(text(LONG, **BREAKPOINT), user, "gpt-5.6", **options) for user in ("a", "b")]
    assert marked == [Cache(0, 3900), Cache(3900, 0)]
    assert server.openai(LONG, "c", "gpt-5.6", **options) == Cache(0, 0)
    assert server.openai(text(LONG, **BREAKPOINT), "d " * 400, "gpt-5.6") == Cache(3900, 200)


def test_responses_say_what_was_cached_too() -> None:
    """OpenAI's other endpoint has the same caches."""
    server, body = Server(), {"model": "gpt-4.1-mini", "instructions": LONG, "input": "a"}
    details = [server.send(OpenAIResponses(), body)["usage"]["input_tokens_details"] for _ in range(2)]
    assert [one["cached_tokens"] for one in details] == [0, 1024 + 22 * 128]


def test_anthropic_caches_what_ends_at_a_breakpoint() -> None:
    """It is written once, read then, and gone five minutes after its last use; the counts leave it out of the input."""
    server = Server()
    assert server.anthropic(LONG, "a") == Cache(0, 0)
    assert server.anthropic(text(LONG, **MARK), "a") == Cache(0, 3900)
    server.clock.advance(299)
    assert server.anthropic(text(LONG, **MARK), "b") == Cache(3900, 0)
    server.clock.advance(299)
    assert server.anthropic(text(LONG, **MARK), "c") == Cache(3900, 0)
    server.clock.advance(301)
    assert server.anthropic(text(LONG, **MARK), "d") == Cache(0, 3900)
    usage = server.calls.ledger.report(last=1)["totals"]
    assert (usage["cached_prompt_tokens"], usage["cache_write_prompt_tokens"]) == (7800, 7800)


def test_anthropic_reads_an_earlier_breakpoint_and_writes_the_rest() -> None:
    """A conversation that grows reads what its last turn had written. Tools come before everything."""
    server = Server()
    tools = [{"name": "t", "description": LONG, "input_schema": {"type": "object"}, **MARK}]
    tokens = len(json.dumps([{k: v for k, v in tools[0].items() if k != "cache_control"}][0])) // 4
    assert server.anthropic(LONG, "a", tools=tools) == Cache(0, tokens)
    both = server.anthropic(text(LONG, **MARK), "b", tools=tools)
    assert both.read == tokens
    assert both.written == pytest.approx(3900, abs=2)


def test_anthropic_has_a_minimum_for_each_model_and_four_breakpoints_at_most() -> None:
    """Below the minimum nothing is cached, and nothing is refused."""
    server, middling = Server(), text(LONG[:8000], **MARK)  # 2,000 tokens
    assert server.anthropic(middling, "a", "claude-sonnet-4-6").written == 2000
    assert server.anthropic(middling, "a", "claude-haiku-4-5") == Cache(0, 0)
    body = {"model": "m", "max_tokens": 9, "system": text("a", **MARK) * 5, "messages": [{"role": "user"}]}
    reply = anyio.run(server.calls.chat, AnthropicMessages(), json.dumps(body).encode(), ("", 0))
    assert reply.status == 400
    assert b"A maximum of 4 blocks with cache_control" in reply.body


def test_an_hour_costs_twice_the_price() -> None:
    """`ttl: 1h` outlives five minutes, and the ledger bills it at its own price."""
    server, hour = Server(), {"cache_control": {"type": "ephemeral", "ttl": "1h"}}
    server.anthropic(text(LONG, **hour), "a")
    cost_usd = server.calls.ledger.report()["totals"]["cost_usd"]
    server.clock.advance(3000)
    assert server.anthropic(text(LONG, **hour), "a") == Cache(3900, 0)
    plain = Server()
    plain.anthropic(text(LONG, **MARK), "a")
    five_minutes_usd = plain.calls.ledger.report()["totals"]["cost_usd"]
    assert cost_usd - five_minutes_usd == pytest.approx(3900 * 0.75 * 3e-6)  # 2.00 and 1.25 times the price of $3


def test_what_is_to_be_cached_is_no_part_of_what_is_asked() -> None:
    """The answer is the same, and so is the request for the ledger."""
    server = Server()
    messages = [{"role": "system", "content": LONG}, {"role": "user", "content": "a"}]
    marked = [{"role": "system", "content": text(LONG, **BREAKPOINT)}, messages[1]]
    plain = server.send(OpenAIChat(), {"model": "gpt-5.6", "messages": messages})
    other = server.send(OpenAIChat(), {"model": "gpt-5.6", "messages": marked, "prompt_cache_key": "k"})
    assert plain["choices"] == other["choices"]
    assert server.calls.ledger.report()["totals"]["billed_twice"] == 1


def test_without_a_cache_nothing_is_read() -> None:
    """`--prompt-cache off`."""
    server = Server(prompt_cache=False)
    assert [server.openai(LONG, "a"), server.openai(LONG, "b")] == [Cache(0, 0), Cache(0, 0)]
