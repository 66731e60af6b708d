"""`crewrun mock` on Anthropic's wire, with the official SDK as the client: messages, streams, batch jobs."""

import json
from collections.abc import Iterator
from typing import Any

import pytest
from support.mock_process import MockProcess

anthropic = pytest.importorskip("anthropic", reason="the SDK of Anthropic is in the extra `dev`")

MODEL = "claude-sonnet-4-6"
DAY_S = 24 * 3600
WEATHER = {
    "name": "weather",
    "description": "The weather.",
    "input_schema": {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]},
}


@pytest.fixture(scope="module")
def process() -> Iterator[MockProcess]:
    """Its jobs take a thousand seconds, which pass only when a test says so."""
    with MockProcess("--batch-latency", "1000") as mock:
        yield mock


@pytest.fixture
def mock(process: MockProcess) -> Iterator[MockProcess]:
    """A mock with an empty ledger, which loses its faults afterwards."""
    process.clear()
    yield process
    process.set_batch_faults(dict.fromkeys(process.batch_faults()))


@pytest.fixture(scope="module")
def client(process: MockProcess) -> Iterator[Any]:
    with anthropic.Anthropic(
        base_url=process.base_url.removesuffix("/v1"), api_key="sk-ant-test", max_retries=0
    ) as client:
        yield client


def params(prompt: str, **fields: Any) -> dict[str, Any]:
    return {"model": MODEL, "max_tokens": 100, "messages": [{"role": "user", "content": prompt}], **fields}


def create(client: Any, prompts: list[str], **fields: Any) -> Any:
    requests = [{"custom_id": f"row-{n}", "params": params(prompt, **fields)} for n, prompt in enumerate(prompts, 1)]
    return client.messages.batches.create(requests=requests)


def end(mock: MockProcess, client: Any, batch: Any, seconds: float = 1000) -> Any:
    mock.advance(seconds)
    return client.messages.batches.retrieve(batch.id)


def results(client: Any, batch: Any) -> dict[str, Any]:
    return {line.custom_id: line.result for line in client.messages.batches.results(batch.id)}


def counts(batch: Any) -> dict[str, int]:
    return {name: n for name, n in batch.request_counts.model_dump().items() if n}


def test_a_message_has_anthropics_shape_and_price(mock: MockProcess, client: Any) -> None:
    """A text, its tokens, and what Anthropic would bill."""
    message = client.messages.create(**params("Write about owls", system="You write."))
    [block] = message.content
    assert (block.type, block.text.endswith("to: Write about owls")) == ("text", True)
    tokens = -(-len(block.text) // 4)
    assert (message.stop_reason, message.usage.input_tokens, message.usage.output_tokens) == ("end_turn", 7, tokens)
    [row] = mock.ledger()["requests"]
    # $3 and $15 for a million tokens: https://docs.anthropic.com/en/docs/about-claude/pricing
    assert row["cost_usd"] == pytest.approx(3e-6 * 7 + 15e-6 * tokens)
    assert (
        client.messages.count_tokens(model=MODEL, messages=[{"role": "user", "content": "x" * 40}]).input_tokens == 10
    )


def test_a_tool_is_called_and_its_result_quoted(client: Any) -> None:
    """A tool_use block, whose result is to follow at once."""
    call = client.messages.create(**params("Weather?", tools=[WEATHER]))
    [block] = call.content
    assert (call.stop_reason, block.name, block.input) == ("tool_use", "weather", {"city": "Weather?"})
    turns = [
        {"role": "user", "content": "Weather?"},
        {"role": "assistant", "content": call.content},
        {"role": "user", "content": [{"type": "tool_result", "tool_use_id": block.id, "content": "rain"}]},
    ]
    answer = client.messages.create(model=MODEL, max_tokens=9, messages=turns, tools=[WEATHER])
    assert answer.content[0].text.endswith("tools said: rain")
    with pytest.raises(anthropic.BadRequestError, match="without `tool_result`"):
        client.messages.create(model=MODEL, max_tokens=9, messages=[*turns[:2], turns[0]], tools=[WEATHER])


def test_a_schema_is_followed(client: Any) -> None:
    """The answer is JSON that fits."""
    schema = {
        "type": "object",
        "properties": {"n": {"type": "integer"}},
        "required": ["n"],
        "additionalProperties": False,
    }
    format_of = {"format": {"type": "json_schema", "schema": schema}}
    assert json.loads(client.messages.create(**params("a", output_config=format_of)).content[0].text) == {"n": 1}


def test_a_stream_has_the_message_that_a_call_gets(mock: MockProcess, client: Any) -> None:
    """In pieces, of texts and of arguments, and billed once."""
    with client.messages.stream(**params("owls")) as stream:
        pieces = list(stream.text_stream)
        whole = stream.get_final_message()
    plain = client.messages.create(**params("owls"))
    assert (len(pieces) > 1, whole.content[0].text, whole.usage.output_tokens) == (
        True,
        plain.content[0].text,
        plain.usage.output_tokens,
    )
    with client.messages.stream(**params("Weather?", tools=[WEATHER])) as stream:
        assert stream.get_final_message().content[0].input == {"city": "Weather?"}
    assert mock.ledger()["totals"]["billed"] == 3


@pytest.mark.parametrize(
    ("word", "status", "kind"),
    [
        ("FAIL-401", 401, "authentication_error"),
        ("FAIL-429", 429, "rate_limit_error"),
        ("FAIL-500", 500, "api_error"),
        ("FAIL-529", 529, "overloaded_error"),
        ("FAIL-QUOTA", 400, "invalid_request_error"),
    ],
)
def test_refusals_have_anthropics_shape(client: Any, word: str, status: int, kind: str) -> None:
    """An account without credit is a 400 there."""
    with pytest.raises(anthropic.APIStatusError) as caught:
        client.messages.create(**params(word))
    assert (caught.value.status_code, caught.value.body["error"]["type"]) == (status, kind)


def test_models_are_listed(client: Any) -> None:
    """In Anthropic's form, for its clients."""
    assert [model.id for model in client.models.list()] == ["mock"]
    assert client.models.retrieve("any").display_name == "any"


def test_a_job_goes_from_requests_to_results(mock: MockProcess, client: Any) -> None:
    """With the answers of live calls at half of their price; the counts tell nothing before it ends."""
    batch = create(client, ["owls", "bats"])
    halfway = end(mock, client, batch, 500)
    assert (halfway.processing_status, counts(halfway), halfway.results_url) == ("in_progress", {"processing": 2}, None)
    done = end(mock, client, batch, 500)
    live = [client.messages.create(**params(prompt)) for prompt in ("owls", "bats")]
    assert (done.processing_status, counts(done)) == ("ended", {"succeeded": 2})
    answers = results(client, done)
    assert [answers[name].message.content for name in ("row-1", "row-2")] == [message.content for message in live]
    assert answers["row-1"].message.usage.service_tier == "batch"
    totals = mock.ledger()["totals"]
    assert totals["tiers"]["batch"]["cost_usd"] == pytest.approx(totals["tiers"]["standard"]["cost_usd"] / 2)
    assert (totals["lines"], totals["lines_billed_twice"]) == (2, 0)


def test_words_and_faults_decide_how_a_request_ends(mock: MockProcess, client: Any) -> None:
    """Succeeded, errored, expired, or no line at all; with faults on lines and their order."""
    mock.set_batch_faults({"invalid": 2, "shuffle": True})
    words = ["owls", "bats", "FAIL-500", "FAIL-EXPIRED", "FAIL-LOST", "FAIL-GARBAGE"]
    done = end(mock, client, create(client, words))
    answers = results(client, done)
    assert {name: result.type for name, result in sorted(answers.items())} == {
        "row-1": "succeeded",
        "row-2": "errored",
        "row-3": "errored",
        "row-4": "expired",
        "row-6": "errored",
    }
    assert list(answers) != sorted(answers)
    assert answers["row-2"].error.error.type == "invalid_request_error"
    assert counts(done) == {"succeeded": 1, "errored": 4, "expired": 1} | {"succeeded": 2, "errored": 3}


def test_a_request_that_hangs_expires_with_the_job(mock: MockProcess, client: Any) -> None:
    """A day after the job was made."""
    batch = create(client, ["owls", "FAIL-HANG"])
    assert end(mock, client, batch).processing_status == "in_progress"
    done = end(mock, client, batch, DAY_S)
    assert (counts(done), done.ended_at == done.expires_at) == ({"succeeded": 1, "expired": 1}, True)


def test_a_cancelled_job_has_what_was_done_by_then(mock: MockProcess, client: Any) -> None:
    """The rest is canceled and not billed; then it can be deleted."""
    batch = create(client, [f"row {n}" for n in range(10)])
    mock.advance(500)
    assert client.messages.batches.cancel(batch.id).processing_status == "canceling"
    with pytest.raises(anthropic.BadRequestError):
        client.messages.batches.delete(batch.id)
    done = end(mock, client, batch)
    billed = mock.ledger()["totals"]["billed"]
    assert (counts(done), 4 <= billed <= 6) == ({"succeeded": billed, "canceled": 10 - billed}, True)
    assert client.messages.batches.delete(batch.id).type == "message_batch_deleted"
    with pytest.raises(anthropic.NotFoundError):
        client.messages.batches.retrieve(batch.id)


def test_creates_are_refused_or_lost(mock: MockProcess, client: Any) -> None:
    """Overloaded, over the enqueued limit, or made although the reply is lost: then the list has it."""
    mock.set_batch_faults({"refused-create": 1})
    with pytest.raises(anthropic.InternalServerError):
        create(client, ["a"])
    mock.set_batch_faults({"enqueued": 10})
    with pytest.raises(anthropic.RateLimitError):
        create(client, ["x" * 80])
    mock.set_batch_faults({"enqueued": None, "lost-create": 1})
    with pytest.raises(anthropic.APIConnectionError):
        create(client, ["a", "b", "c"])
    [orphan] = client.messages.batches.list(limit=1).data
    assert counts(orphan) == {"processing": 3}
    assert counts(end(mock, client, orphan)) == {"succeeded": 3}


@pytest.mark.parametrize(
    "requests",
    [
        pytest.param([], id="none"),
        pytest.param([{"custom_id": "a", "params": {}}] * 2, id="duplicate"),
        pytest.param([{"custom_id": "a b", "params": {}}], id="a blank"),
        pytest.param([{"custom_id": "a"}], id="no params"),
    ],
)
def test_requests_that_make_no_job_are_refused_at_once(mock: MockProcess, client: Any, requests: list[Any]) -> None:
    """Unlike on OpenAI's wire."""
    with pytest.raises(anthropic.BadRequestError):
        client.messages.batches.create(requests=requests)


def test_results_are_not_there_break_off_or_are_gone(mock: MockProcess, client: Any) -> None:
    """Before the job ends, and by faults."""
    batch = create(client, ["a", "b", "c"])
    with pytest.raises(anthropic.AnthropicError, match="results_url"):
        results(client, batch)
    done = end(mock, client, batch)
    mock.set_batch_faults({"gone": 1})
    with pytest.raises(anthropic.NotFoundError):
        results(client, done)
    mock.set_batch_faults({"slow-content": 0.01})
    assert len(results(client, done)) == 3


def test_the_list_of_jobs_goes_page_by_page_in_both_directions(mock: MockProcess, client: Any) -> None:
    """The newest first; `before_id` leads back."""
    created = [create(client, ["a"]).id for _ in range(5)][::-1]
    assert [batch.id for batch in client.messages.batches.list(limit=2)][:5] == created
    before = client.messages.batches.list(limit=2, before_id=created[3])
    assert ([batch.id for batch in before.data], before.has_more) == (created[1:3], True)
