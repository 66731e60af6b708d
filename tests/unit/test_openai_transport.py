"""The direct transport against real sockets: the contract of transports, addresses, keys and proxies."""

import json
import resource
import zlib
from collections.abc import AsyncIterator, Iterator
from dataclasses import replace
from typing import Any

import pytest
from pydantic import BaseModel
from support.mock_process import MockProcess
from support.provider import Provider, serving
from support.transport_contract import (
    GARBAGE,
    RESPONSE_FORMAT,
    SCHEMA,
    TOOL_REPLIES,
    TOOL_TALK,
    TOOLS,
    mock_cases,
    reply_with,
    request,
    tool_talk,
)

from crewrun import LLM, Agent, Gateway
from crewrun.errors import BadRequest, CallError, NetworkError, SchemaRefused, ServerError, ToolsRefused, UsageError
from crewrun.llm.endpoints import missing_key, normalise_base_url, override, proxy_for, resolve
from crewrun.llm.prices.price import find_price
from crewrun.llm.transports.chat_json import read_completion
from crewrun.llm.transports.http_errors import failure
from crewrun.llm.transports.offline import OfflineTransport
from crewrun.llm.transports.openai import OpenAITransport
from crewrun.messages import ChatRequest, Completion, Message, ToolCall, Usage
from crewrun.row_context import RowContext
from crewrun.testing import ScriptedTransport, TransportCase, check_transport
from crewrun.tools import tool

pytestmark = pytest.mark.anyio


@pytest.fixture(scope="module")
def mock() -> Iterator[MockProcess]:
    with MockProcess() as server:
        yield server


@pytest.fixture
async def provider() -> AsyncIterator[Provider]:
    async with serving() as served:
        yield served


@pytest.fixture
async def transport() -> AsyncIterator[OpenAITransport]:
    sender = OpenAITransport()
    yield sender
    await sender.aclose()


@pytest.mark.parametrize("through_proxy", [False, True], ids=["straight", "through a proxy"])
async def test_it_keeps_the_contract_of_transports(
    mock: MockProcess, monkeypatch: pytest.MonkeyPatch, *, through_proxy: bool
) -> None:
    """Every way a provider answers or fails, one request each. The mock takes requests as a proxy gets them, too."""
    base_url = mock.base_url
    if through_proxy:
        monkeypatch.setenv("HTTP_PROXY", mock.base_url.removesuffix("/v1"))
        base_url = "http://model.test/v1"
    endpoint = resolve(LLM(model="openai/m", base_url=base_url, api_key="sk-test"))
    garbage = TransportCase("FAIL-GARBAGE", request(endpoint, "FAIL-GARBAGE"), ServerError, 200)
    transport = OpenAITransport()
    try:
        await check_transport(
            transport, [*mock_cases(endpoint), garbage], lambda: int(mock.ledger()["totals"]["requests"])
        )
    finally:
        await transport.aclose()


async def test_the_offline_model_keeps_it_too() -> None:
    """Counting its requests is counting sends."""
    sent = 0

    class Counted(OfflineTransport):
        async def send(self, request: ChatRequest):  # type: ignore[no-untyped-def]  # the base's annotation holds
            nonlocal sent
            sent += 1
            return await super().send(request)

    endpoint, failing = resolve(LLM(model="offline")), resolve(LLM(model="offline?fail=1"))
    cases = [
        TransportCase("an answer", request(endpoint, "hello")),
        TransportCase("a failure", request(failing, "hello"), BadRequest),
    ]
    await check_transport(Counted(), cases, lambda: sent)


async def test_a_refused_connection_and_an_unknown_host_say_so() -> None:
    """With the address, without a traceback of sockets."""
    transport = OpenAITransport()
    try:
        endpoint = resolve(LLM(model="openai/m", base_url="http://127.0.0.1:9"))
        with pytest.raises(NetworkError, match=r"^127\.0\.0\.1:9: cannot connect: "):
            await transport.send(request(endpoint, "x"))
    finally:
        await transport.aclose()


@pytest.mark.parametrize(
    ("status", "body", "kind"),
    [
        pytest.param(
            400, b'{"error":{"code":"context_length_exceeded","message":"m"}}', "ContextTooLong", id="context"
        ),
        pytest.param(400, b'{"error":{"code":"content_filter","message":"m"}}', "ContentFiltered", id="filter"),
        pytest.param(429, b'{"error":{"code":"insufficient_quota","message":"m"}}', "QuotaExhausted", id="quota"),
        pytest.param(429, b'{"error":{"message":"too many tokens per minute"}}', "RateLimited", id="tokens per minute"),
        pytest.param(402, b"pay", "QuotaExhausted", id="402"),
        pytest.param(403, b"", "AuthRefused", id="403"),
        pytest.param(413, b"", "ContextTooLong", id="413"),
        pytest.param(408, b"", "CallTimedOut", id="408"),
        pytest.param(422, b'{"detail":"no"}', "BadRequest", id="422"),
        pytest.param(529, b"<html>", "ServerError", id="529"),
        pytest.param(400, b"[" * 100_000, "BadRequest", id="hostile nesting"),
    ],
)
def test_each_status_has_one_category(status: int, body: bytes, kind: str) -> None:
    """The table that both transports use."""
    error = failure(status, body, {})
    assert (type(error).__name__, error.http_status) == (kind, status)


@pytest.mark.parametrize(
    ("body", "outcome"),
    [
        pytest.param(
            b'{"choices":[{"message":{"content":"hi"},"finish_reason":"stop"}]}', ("hi", 0, False), id="no usage"
        ),
        pytest.param(
            b'{"choices":[{"message":{"content":"hi"},"finish_reason":"length"}],"usage":{"prompt_tokens":3,'
            b'"completion_tokens":4,"prompt_tokens_details":{"cached_tokens":2}}}',
            ("hi", 7, True),
            id="cut off",
        ),
        pytest.param(
            b'{"choices":[{"message":{"content":"hi"}}],"usage":{"prompt_tokens":-3,"completion_tokens":"9"}}',
            ("hi", 9, False),
            id="absurd usage",
        ),
        pytest.param(
            b'{"choices":[{"message":{"content":[{"type":"text","text":"h"},{"text":"i"}]}}]}',
            ("hi", 0, False),
            id="content parts",
        ),
    ],
)
def test_a_completion_is_read_as_servers_write_it(body: bytes, outcome: tuple[str, int, bool]) -> None:
    """Text, tokens, truncation."""
    completion = read_completion(body)
    assert (completion.text, completion.usage.total_tokens, completion.truncated) == outcome


@pytest.mark.parametrize(
    ("body", "category"),
    [
        pytest.param(b"", "server", id="nothing"),
        pytest.param(b"null", "server", id="null"),
        pytest.param(b"[]", "server", id="an array"),
        pytest.param(b'{"choices":[]}', "server", id="no choices"),
        pytest.param(b'{"choices":[{"message":null}]}', "server", id="no message"),
        pytest.param(b'{"error":{"code":429,"message":"slow"}}', "rate_limit", id="an error inside a 200"),
        pytest.param(b'{"error":{"code":"rate_limit_exceeded"}}', "rate_limit", id="a word inside a 200"),
        pytest.param(
            b'{"choices":[{"message":{"content":null},"finish_reason":"length"}]}', "output_invalid", id="len"
        ),
        pytest.param(b'{"choices":[{"message":{"content":"  "}}]}', "output_invalid", id="blank"),
        pytest.param(b'{"choices":[{"message":{"refusal":"I cannot"}}]}', "content_filter", id="refusal"),
        pytest.param(b'{"choices":[{"message":{"content":"I","refusal":"no"}}]}', "content_filter", id="both"),
        pytest.param(b'{"error":{"code":"401","message":"m"}}', "auth", id="a number as text"),
        pytest.param(b'{"error":{"code":402.0,"message":"m"}}', "quota", id="a number with a point"),
        pytest.param(b'{"error":{"code":"insufficient_quota","message":"m"}}', "quota", id="an empty account"),
        pytest.param(b'{"error":{"type":"authentication_error","message":"m"}}', "auth", id="a type"),
        pytest.param(b'{"error":{"status":"RESOURCE_EXHAUSTED"}}', "rate_limit", id="Google's word"),
        pytest.param(b'{"error":{"code":"modelNotFound"}}', "model_not_found", id="camel case"),
        pytest.param(b'{"error":"HTTP 429 from upstream"}', "rate_limit", id="a text with a status"),
        pytest.param(b'{"error":"upstream","status_code":429}', "rate_limit", id="a status beside a text"),
        pytest.param(b'{"error":"there are 500 owls"}', "server", id="a text with a number"),
        pytest.param(b'{"errors":[{"code":429,"message":"m"}]}', "rate_limit", id="several errors"),
        pytest.param(b'{"message":"slow","code":429}', "rate_limit", id="no error around it"),
        pytest.param(b'[{"error":{"code":429}}]', "rate_limit", id="an error in an array"),
        pytest.param(b'{"choices":[{"message":{"content":"h"},"error":{"code":402}}]}', "quota", id="in a choice"),
    ],
)
def test_what_is_no_answer_has_a_category(body: bytes, category: str) -> None:
    """Never a KeyError."""
    with pytest.raises(CallError) as raised:
        read_completion(body)
    assert raised.value.category == category


@pytest.mark.parametrize(
    ("given", "used"),
    [
        ("http://h:8000", "http://h:8000/v1"),
        ("http://h:8000/", "http://h:8000/v1"),
        ("http://h:8000/v1", "http://h:8000/v1"),
        ("http://h:8000/v1/", "http://h:8000/v1"),
        ("http://h/v1/chat/completions", "http://h/v1"),
        ("https://h/openai/v1/", "https://h/openai/v1"),
        ("localhost:11434", "http://localhost:11434/v1"),
        ("https://h/v1?api-version=1", "https://h/v1?api-version=1"),
    ],
)
def test_a_base_url_may_be_written_in_every_usual_way(given: str, used: str) -> None:
    """With and without slash, /v1 and scheme."""
    assert normalise_base_url(given) == used


@pytest.mark.parametrize("wrong", ["", "ftp://h", "http://", "http://h:port", "http://[::1"])
def test_a_base_url_that_is_none_is_refused(wrong: str) -> None:
    """Before the first call."""
    with pytest.raises(UsageError, match="base_url"):
        normalise_base_url(wrong)


@pytest.mark.parametrize(
    ("llm", "env", "endpoint"),
    [
        pytest.param(None, {}, ("direct", "openai/gpt-4.1-mini", "https://api.openai.com/v1", None), id="default"),
        pytest.param(
            None,
            {"OPENAI_MODEL_NAME": "gpt-4o"},
            ("direct", "openai/gpt-4o", "https://api.openai.com/v1", None),
            id="env",
        ),
        pytest.param(
            LLM(model="groq/llama-3"),
            {"GROQ_API_KEY": "g"},
            ("direct", "groq/llama-3", "https://api.groq.com/openai/v1", "g"),
            id="well-known",
        ),
        pytest.param(
            LLM(model="ollama/llama3.2"),
            {"OLLAMA_HOST": "box:1234"},
            ("direct", "ollama/llama3.2", "http://box:1234/v1", None),
            id="ollama",
        ),
        pytest.param(
            LLM(model="Qwen/Qwen2.5-7B"),
            {"OPENAI_BASE_URL": "http://gpu:8000/v1/"},
            ("direct", "openai/Qwen/Qwen2.5-7B", "http://gpu:8000/v1", None),
            id="a model of one's own",
        ),
        pytest.param(
            LLM(model="anthropic/claude-3-5-haiku-20241022"),
            {},
            ("litellm", "anthropic/claude-3-5-haiku-20241022", None, None),
            id="another protocol",
        ),
        pytest.param(
            LLM(model="claude-3-5-haiku-20241022"),
            {},
            ("litellm", "anthropic/claude-3-5-haiku-20241022", None, None),
            id="its provider left out",
        ),
        pytest.param(
            LLM(model="gpt-4o", api_key="${TEAM_KEY}"),
            {"TEAM_KEY": "t", "OPENAI_API_KEY": "o"},
            ("direct", "openai/gpt-4o", "https://api.openai.com/v1", "t"),
            id="a key by reference",
        ),
    ],
)
def test_a_model_name_leads_to_its_endpoint(
    llm: LLM | None, env: dict[str, str], endpoint: tuple[str, str, str | None, str | None]
) -> None:
    """Lane, name, address and key."""
    found = resolve(llm, env)
    assert (found.transport_name, found.name, found.base_url, found.api_key) == endpoint


def test_a_missing_key_is_named_for_known_addresses_only() -> None:
    """A server of one's own may have none."""
    assert missing_key(resolve(LLM(model="gpt-4o"), {})) == "OPENAI_API_KEY"
    assert missing_key(resolve(LLM(model="gpt-4o", base_url="http://localhost:8000"), {})) is None
    assert missing_key(resolve(LLM(model="ollama/x"), {})) is None


@pytest.mark.parametrize(
    ("llm", "message"),
    [
        pytest.param(LLM(model="opnai/gpt-4o"), "no provider 'opnai' (did you mean 'openai'?)", id="provider"),
        pytest.param(LLM(model="gpt-4o", api_key="${NOPE}"), "refers to $NOPE, which is not set", id="reference"),
        pytest.param(LLM(model="gpt-4o", base_url="nope://x"), "base_url 'nope://x'", id="address"),
    ],
)
def test_a_model_that_cannot_be_reached_is_refused_with_the_way_out(llm: LLM, message: str) -> None:
    """Before the first call."""
    with pytest.raises(UsageError) as raised:
        resolve(llm, {})
    assert message in str(raised.value)


def test_the_runs_model_keeps_parameters_and_changes_the_provider_cleanly() -> None:
    """`-m` to another provider must not take the old one's address or key along."""
    own = LLM(model="openai/a", temperature=0.2, base_url="http://h", api_key="k")
    same, other = override(own, "openai/b", None), override(own, "offline", None)
    assert same is not None
    assert other is not None
    assert (same.model, same.temperature, same.base_url, same.api_key) == ("openai/b", 0.2, "http://h", "k")
    assert (other.model, other.temperature, other.base_url, other.api_key) == ("offline", 0.2, None, None)


@pytest.mark.parametrize(
    ("env", "proxy"),
    [
        pytest.param({}, None, id="none"),
        pytest.param({"HTTP_PROXY": "http://p:1"}, "http://p:1", id="http"),
        pytest.param({"http_proxy": "p:1"}, "http://p:1", id="lower case, no scheme"),
        pytest.param({"ALL_PROXY": "http://p:1"}, "http://p:1", id="all"),
        pytest.param({"HTTPS_PROXY": "http://p:1"}, None, id="of another scheme"),
        pytest.param({"HTTP_PROXY": "http://p:1", "NO_PROXY": "model.test"}, None, id="excepted"),
    ],
)
def test_proxies_come_from_the_environment(
    env: dict[str, str], proxy: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As curl and every HTTP client read it."""
    for name, value in env.items():
        monkeypatch.setenv(name, value)
    assert proxy_for("http://model.test:8000/v1/chat/completions") == proxy


@pytest.mark.parametrize(
    ("model", "known"),
    [
        ("gpt-4o-mini", True),
        ("openai/gpt-4o-mini", True),
        ("ollama/gpt-4o-mini", False),
        ("together_ai/gpt-4o-mini", False),
        ("openai/no-such-model", False),
        ("offline", True),
    ],
)
def test_a_price_is_known_or_it_is_not(model: str, known: bool) -> None:
    """A namesake at another provider has another price, so nothing is guessed from it."""
    assert (find_price(resolve(LLM(model=model), {})) is not None) == known


@pytest.mark.parametrize(
    ("body", "outcome"),
    [
        pytest.param(b'{"choices":[{"message":{"content":[{"text":5}]}}]}', "5", id="a number as a part"),
        pytest.param(
            b'{"choices":[{"message":{"content":"hi"}}],"usage":{"prompt_tokens_details":[1]}}', "hi", id="odd details"
        ),
        pytest.param(b'{"choices":[{"message":{"content":"hi"}}],"usage":"none"}', "hi", id="odd usage"),
    ],
)
def test_an_odd_reply_with_an_answer_is_an_answer(body: bytes, outcome: str) -> None:
    """It was billed: sending it again would pay twice."""
    assert read_completion(body).text == outcome


def test_a_socks_proxy_is_refused_with_the_way_out(monkeypatch: pytest.MonkeyPatch) -> None:
    """aiohttp speaks none."""
    monkeypatch.setenv("ALL_PROXY", "socks5://p:1")
    with pytest.raises(UsageError, match="not an http proxy"):
        proxy_for("http://model.test/")


def _packed(body: bytes, encoding: str) -> bytes:
    bits = {"gzip": 31, "deflate": 15, "raw": -15}[encoding]
    packer = zlib.compressobj(1, wbits=bits)
    return packer.compress(body) + packer.flush()


@pytest.mark.parametrize("encoding", ["gzip", "deflate", "raw"])
async def test_a_compressed_reply_is_read(provider: Provider, transport: OpenAITransport, encoding: str) -> None:
    """Of several gzip members, too, and deflate without zlib's header."""
    body = json.dumps(reply_with({"content": "Hi " * 1000}, "stop")).encode()
    parts = [body[:100], body[100:]] if encoding == "gzip" else [body]
    sent = b"".join(_packed(part, encoding) for part in parts)
    provider.reply(sent, content_encoding="gzip" if encoding == "gzip" else "deflate")
    answer = await transport.send(request(resolve(LLM(model="openai/m", base_url=provider.url)), "x"))
    [(_, headers, _)] = provider.asked
    assert (answer.text, headers["accept-encoding"]) == ("Hi " * 1000, "gzip, deflate")


async def test_a_reply_is_read_up_to_64_mib(provider: Provider, transport: OpenAITransport) -> None:
    """After decompression, without holding what it would have come to; an error up to 64 KiB. The next call works."""
    asked = request(resolve(LLM(model="openai/m", base_url=provider.url)), "x")
    packer = zlib.compressobj(1, wbits=31)
    bomb = b"".join(packer.compress(bytes(1 << 20)) for _ in range(1 << 8)) + packer.flush()  # 256 MiB
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    for body, status, encoding in ((bomb, 200, "gzip"), (bytes(1 << 17), 503, "identity"), (b"x", 200, "br")):
        provider.reply(body, status, content_encoding=encoding)
        with pytest.raises(ServerError) as failed:
            await transport.send(asked)
        assert failed.value.http_status == status
    grown = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
    assert grown < 200 * 1024
    provider.reply(reply_with({"content": "x" * (2 << 20)}, "stop"))
    assert len((await transport.send(asked)).text) == 2 << 20


async def test_tools_and_their_turns_go_out_as_openai_has_them(provider: Provider, transport: OpenAITransport) -> None:
    """The whole body; and so does the last request of an agent that has used up its turns, with no tools any more."""
    provider.reply(reply_with({"content": "Hi"}, "stop"))
    talk = tool_talk(resolve(LLM(model="openai/m", base_url=provider.url)))
    await transport.send(talk)
    await transport.send(replace(talk, tools=()))
    assert [body for _, _, body in provider.asked] == [
        {"model": "m", **TOOL_TALK},
        {"model": "m", "messages": TOOL_TALK["messages"]},
    ]


async def test_a_schema_goes_out_as_a_response_format(provider: Provider, transport: OpenAITransport) -> None:
    """The whole body again."""
    provider.reply(reply_with({"content": '{"city": "Rome"}'}, "stop"))
    asked = request(resolve(LLM(model="openai/m", base_url=provider.url)), "Where?")
    await transport.send(replace(asked, schema=SCHEMA))
    [(path, _, body)] = provider.asked
    messages = [{"role": "system", "content": "You are a clerk."}, {"role": "user", "content": "Where?"}]
    assert (path, body) == (
        "/v1/chat/completions",
        {"model": "m", "messages": messages, "response_format": RESPONSE_FORMAT},
    )


THOUGHTS = [
    pytest.param({"reasoning_content": "hm"}, "hm", id="DeepSeek"),
    pytest.param({"reasoning": "hm"}, "hm", id="Groq"),
    pytest.param({"reasoning": "hm", "reasoning_details": [{"text": "hm", "signature": "s"}]}, "hm", id="OpenRouter"),
    pytest.param({"thinking_blocks": [{"type": "thinking", "thinking": "hm"}]}, "hm", id="a proxy of litellm"),
    pytest.param(
        {"content": [{"type": "thinking", "thinking": [{"text": "hm"}]}, {"type": "text", "text": "Hi"}]},
        "hm",
        id="Mistral",
    ),
    pytest.param({"reasoning_content": None, "reasoning": ""}, "", id="none"),
]


@pytest.mark.parametrize(("message", "reasoning"), THOUGHTS)
def test_reasoning_is_read_beside_the_answer(message: dict[str, Any], reasoning: str) -> None:
    """Nothing of it goes back where no tool is asked for."""
    answer = read_completion(json.dumps(reply_with({"content": "Hi", **message}, "stop")).encode())
    assert answer == Completion("Hi", Usage(9, 0, 3), reasoning=reasoning)


async def test_a_turn_that_asks_for_tools_goes_back_as_it_came(provider: Provider, transport: OpenAITransport) -> None:
    """Reasoning under every name, and whatever stands beside a call or its function."""
    call = {"id": "a", "index": 0, "type": "function", "function": {"name": "clock", "arguments": "{}", "strict": True}}
    kept = {"reasoning_content": "hm", "reasoning_details": [{"text": "hm"}], "extra_content": {"x": [1]}}
    signed = {"extra_content": {"google": {"thought_signature": "s"}}}
    beside: dict[str, Any] = {"refusal": None, "annotations": [], "provider_specific_fields": {"refusal": None}}
    reply = reply_with({"content": "", "tool_calls": [{**call, **signed}], **kept, **beside})
    answer = read_completion(json.dumps(reply).encode())
    provider.reply(reply_with({"content": "Hi"}, "stop"))
    talk = tool_talk(resolve(LLM(model="openai/m", base_url=provider.url)))
    turn = Message("assistant", answer.text, answer.tool_calls, carried=answer.carried)
    await transport.send(replace(talk, messages=(*talk.messages, turn)))
    [(_, _, body)] = provider.asked
    del call["index"]
    assert body["messages"][-1] == {"role": "assistant", "content": None, "tool_calls": [{**call, **signed}], **kept}


MISSING_ID = {"content": None, "tool_calls": [{"function": {"name": "clock", "arguments": "{}"}}]}


@pytest.mark.parametrize(
    ("message", "said"),
    [*TOOL_REPLIES, pytest.param(MISSING_ID, ("", (ToolCall("call00000", "clock", "{}"),)), id="no id")],
)
def test_tool_calls_are_read_as_servers_write_them(
    message: dict[str, Any], said: tuple[str, tuple[ToolCall, ...]]
) -> None:
    """Text and calls."""
    assert read_completion(json.dumps(reply_with(message)).encode()) == Completion(
        said[0], Usage(9, 0, 3), False, said[1]
    )


@pytest.mark.parametrize("calls", GARBAGE)
def test_tool_calls_that_are_none_are_the_servers_failure(calls: Any) -> None:
    """Worth another attempt, as every reply that is no completion."""
    body = json.dumps(reply_with({"content": None, "tool_calls": calls})).encode()
    with pytest.raises(ServerError, match=r"^the reply is not a chat completion: "):
        read_completion(body)


# As it goes out first, and as it was written.
STRICT = replace(SCHEMA, original=replace(SCHEMA, strict=False))


@pytest.mark.parametrize("values", [b"{},", b"[],", b"1,"], ids=repr)
def test_a_reply_of_millions_of_values_is_not_parsed(values: bytes) -> None:
    """64 KiB that unpack to 63 MiB of them would take 1.8 GiB. As many in the text of an answer are refused too."""
    body = json.dumps(reply_with({"content": "Hi"}, "stop")).encode()
    assert read_completion(body[:-1] + b',"x":[' + values * 400_000 + b"1]}").text == "Hi"
    with pytest.raises(ServerError, match="small JSON values") as refused:
        read_completion(body[:-1] + b',"x":[' + values * 5_100_000 + b"1]}")
    assert refused.value.http_status == 200


@pytest.mark.parametrize(
    ("text", "answer"),
    [
        ("Hi", "Hi"),
        ({"value": "Hi", "annotations": []}, "Hi"),
        ({"value": ["no"]}, ""),
        ({"other": "no"}, ""),
        (["no"], ""),
        (None, ""),
    ],
)
def test_a_part_of_a_content_has_its_text_in_one_of_two_forms(text: Any, answer: str) -> None:
    """OpenAI's Assistants have it as an object. What is neither says nothing."""
    content = [{"type": "text", "text": "So: "}, {"type": "text", "text": text}]
    assert read_completion(json.dumps(reply_with({"content": content}, "stop")).encode()).text == f"So: {answer}"


def test_comments_before_the_json_are_no_part_of_it() -> None:
    """As OpenRouter sends them while it waits for a model."""
    body = (
        b": OPENROUTER PROCESSING\n\n: OPENROUTER PROCESSING\n\n" + json.dumps(reply_with({"content": "yes"})).encode()
    )
    assert read_completion(body).text == "yes"


REFUSALS = [
    ("registry.ollama.ai/library/gemma:2b does not support tools", ToolsRefused),
    ('"auto" tool choice requires --enable-auto-tool-choice and --tool-call-parser to be set', ToolsRefused),
    ('No endpoints found that support tool use. Try disabling "look_up".', ToolsRefused),
    ("Function calling is not enabled for this model", ToolsRefused),
    ("This response_format type is unavailable now", SchemaRefused),
    ("Invalid parameter: 'response_format' of type 'json_schema' is not supported with this model.", SchemaRefused),
    ("model features structured outputs not support", SchemaRefused),
    ("temperature: range 0..1", BadRequest),
    ("messages must not be empty", BadRequest),
]


@pytest.mark.parametrize(("text", "kind"), REFUSALS, ids=[text[:30] for text, _ in REFUSALS])
async def test_a_refusal_of_tools_or_schemas_is_known_and_remembered(text: str, kind: type[BadRequest]) -> None:
    """In the words of Ollama, vLLM, OpenRouter, DeepSeek, OpenAI, after a probe; any other refusal stays what it is."""
    llm = LLM(model="openai/gpt-4o-mini")
    refusing = ScriptedTransport(BadRequest(f"HTTP 400: {text}", http_status=400), forever=True)
    async with Gateway(transport=refusing) as gateway:
        before = gateway.takes_tools(llm), gateway.takes_schema(llm, STRICT)
        with pytest.raises(BadRequest) as raised:
            await gateway.complete(llm, (Message("user", "x"),), RowContext(), tools=TOOLS, schema=STRICT)
        after = gateway.takes_tools(llm), gateway.takes_schema(llm, STRICT)
        another = gateway.takes_schema(llm, replace(STRICT, name="another"))
    assert (type(raised.value), str(raised.value), before) == (kind, f"HTTP 400: {text}", (True, True))
    assert (*after, another) == (kind is not ToolsRefused, kind is not SchemaRefused, True)
    # A schema's strict form, and the form in which it was written; then the probe.
    is_strict = {BadRequest: [True], ToolsRefused: [True, True], SchemaRefused: [True, False, False]}[kind]
    assert [sent.schema is not None and sent.schema.strict for sent in refusing.requests] == is_strict
    assert {sent.tools for sent in refusing.requests} == {TOOLS}


@pytest.mark.parametrize(("text", "kind"), REFUSALS[:7], ids=[text[:30] for text, _ in REFUSALS[:7]])
async def test_one_request_s_refusal_takes_nothing_away_from_others(text: str, kind: type[BadRequest]) -> None:
    """The probe is answered: the call fails alone, with what the provider said."""
    llm = LLM(model="openai/gpt-4o-mini")
    refused = [BadRequest(f"HTTP 400: {text}", http_status=400)] * (2 if kind is SchemaRefused else 1)
    transport = ScriptedTransport(*refused, "OK", "an answer")
    async with Gateway(transport=transport) as gateway:
        with pytest.raises(BadRequest, match="HTTP 400") as raised:
            await gateway.complete(llm, (Message("user", "x"),), RowContext(), tools=TOOLS, schema=STRICT)
        after = gateway.takes_tools(llm), gateway.takes_schema(llm, STRICT)
        answer = await gateway.complete(llm, (Message("user", "y"),), RowContext(), tools=TOOLS, schema=STRICT)
    assert (type(raised.value), after, answer.text) == (BadRequest, (True, True), "an answer")
    assert "x" not in transport.requests[len(refused)].messages[-1].content.split()


async def test_the_same_words_about_a_request_without_tools_are_no_refusal_of_them() -> None:
    """What was not sent was not refused."""
    llm = LLM(model="openai/gpt-4o-mini")
    async with Gateway(
        transport=ScriptedTransport(BadRequest("no tools and no json_schema", http_status=400))
    ) as gateway:
        with pytest.raises(BadRequest) as raised:
            await gateway.complete(llm, (Message("user", "x"),), RowContext())
        takes = gateway.takes_tools(llm), gateway.takes_schema(llm, SCHEMA)
        assert (type(raised.value), *takes) == (BadRequest, True, True)


@tool
def look_up(word: str) -> str:
    """Look a word up."""
    return f"what {word!r} means"


async def test_a_server_without_tools_is_probed_once_and_then_told_in_words() -> None:
    """The second agent on the model does not try again."""
    with MockProcess("--tools", "off") as server:
        llm = LLM(model="openai/gpt-4o-mini", base_url=server.base_url, api_key="x")
        agent = Agent(role="Explainer", goal="Explain", backstory="b", tools=[look_up], llm=llm)
        async with Gateway():
            first, second = await agent.akickoff("Explain owls"), await agent.akickoff("Explain bats")
        requests = server.ledger()["requests"]
    assert [(row["status"], row["tools"]) for row in requests] == [(400, ["look_up"])] * 2 + [(200, [])] * 4
    assert first.raw.endswith(" to: Explain owls / tools said: what 'Explain owls' means")
    assert second.raw.endswith(" to: Explain bats / tools said: what 'Explain bats' means")


class Fact(BaseModel):
    text: str


async def test_a_server_without_schemas_is_probed_once_and_then_told_in_words() -> None:
    """As a strict one, relaxed, and by a probe; it stands in the prompt as well, so nothing is lost."""
    with MockProcess("--schemas", "off") as server:
        llm = LLM(model="openai/gpt-4o-mini", base_url=server.base_url, api_key="x")
        agent = Agent(role="Explainer", goal="Explain", backstory="b", llm=llm)
        async with Gateway():
            facts = [await agent.akickoff(f"Explain {what}", response_format=Fact) for what in ("owls", "bats")]
        statuses = [row["status"] for row in server.ledger()["requests"]]
    assert statuses == [400, 400, 400, 200, 200]
    assert [fact.pydantic for fact in facts] == [Fact.model_validate_json(fact.raw) for fact in facts]
