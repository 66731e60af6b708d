"""OpenAI's official SDK as a client of `crewrun mock`: chat completions, responses, streams, embeddings, models."""

from collections.abc import Iterator
from typing import Any

import pytest
from openai import APIConnectionError, APIError, AzureOpenAI, BadRequestError, OpenAI, RateLimitError
from pydantic import BaseModel
from support.mock_process import MockProcess

MODEL = "gpt-4.1-mini"
USER: Any = [{"role": "user", "content": "Write about owls"}]
PARAMETERS = {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]}
CHAT_TOOL: Any = {"type": "function", "function": {"name": "weather", "parameters": PARAMETERS}}
TOOL: Any = {"type": "function", "name": "weather", "parameters": PARAMETERS, "strict": False}


class Bird(BaseModel):
    name: str
    wings: int


@pytest.fixture(scope="module")
def process() -> Iterator[MockProcess]:
    with MockProcess() as mock:
        yield mock


@pytest.fixture
def mock(process: MockProcess) -> MockProcess:
    """A mock with an empty ledger."""
    process.clear()
    return process


@pytest.fixture(scope="module")
def client(process: MockProcess) -> Iterator[OpenAI]:
    with OpenAI(base_url=process.base_url, api_key="sk-test", max_retries=0) as client:
        yield client


def test_a_stream_of_a_chat_has_the_text_that_a_call_gets(mock: MockProcess, client: OpenAI) -> None:
    """In several pieces, with the usage last if it is asked for, and billed once."""
    chunks = list(
        client.chat.completions.create(
            model=MODEL, messages=USER, stream=True, stream_options={"include_usage": True}, service_tier="flex"
        )
    )
    pieces = [chunk.choices[0].delta.content or "" for chunk in chunks if chunk.choices]
    whole = client.chat.completions.create(model=MODEL, messages=USER)
    assert (len([piece for piece in pieces if piece]) > 1, "".join(pieces)) == (True, whole.choices[0].message.content)
    assert [chunk.choices[0].finish_reason for chunk in chunks if chunk.choices][-1] == "stop"
    assert (chunks[-1].usage, chunks[-1].service_tier) == (whole.usage, "flex")
    totals = mock.ledger()["totals"]
    assert (totals["billed"], totals["billed_twice"], totals["distinct_bodies"]) == (2, 1, 1)


def test_a_stream_carries_tool_calls(client: OpenAI) -> None:
    """Their arguments come in pieces, which the SDK puts together."""
    with client.chat.completions.stream(model=MODEL, messages=USER, tools=[CHAT_TOOL]) as stream:
        choice = stream.get_final_completion().choices[0]
    [call] = choice.message.tool_calls or []
    assert (choice.finish_reason, call.function.name, call.function.arguments) == (
        "tool_calls",
        "weather",
        '{"city": "Write about owls"}',
    )


def test_a_stream_breaks_off_or_is_refused(mock: MockProcess, client: OpenAI) -> None:
    """Cut in the middle, after some pieces; a refusal is a plain error; garbage is no event."""

    def texts(word: str) -> Iterator[str]:
        for chunk in client.chat.completions.create(
            model=MODEL, messages=[{"role": "user", "content": word}], stream=True
        ):
            yield chunk.choices[0].delta.content or ""

    stream = texts("FAIL-CUT")
    next(stream)
    with pytest.raises((APIConnectionError, APIError, OSError)):
        list(stream)
    with pytest.raises(RateLimitError):
        list(texts("FAIL-429"))
    assert list(texts("FAIL-GARBAGE")) == []
    rows = mock.ledger()["requests"]
    assert [(row["status"], row["billed"]) for row in rows] == [("cut", True), (429, False), (200, True)]


def test_a_response_has_a_text_and_its_usage(mock: MockProcess, client: OpenAI) -> None:
    """As the endpoint that OpenAI recommends gives it."""
    response = client.responses.create(model=MODEL, instructions="You write.", input="Write about owls")
    assert (response.status, response.output_text.endswith("to: Write about owls")) == ("completed", True)
    assert response.usage
    assert (response.usage.input_tokens, response.service_tier) == (7, "default")
    [row] = mock.ledger()["requests"]
    assert (row["input"], row["reply"], row["cost_usd"] > 0) == ("Write about owls", response.output_text, True)


def test_a_response_calls_a_tool_and_quotes_its_result(client: OpenAI) -> None:
    """A function_call, whose output is to follow."""
    first = client.responses.create(model=MODEL, input="Weather?", tools=[TOOL])
    [call] = first.output
    assert call.type == "function_call"
    turns: Any = [
        {"role": "user", "content": [{"type": "input_text", "text": "Weather?"}]},
        call.model_dump(exclude_none=True),
        {"type": "function_call_output", "call_id": call.call_id, "output": "rain"},
    ]
    assert client.responses.create(model=MODEL, input=turns, tools=[TOOL]).output_text.endswith("tools said: rain")
    with pytest.raises(BadRequestError, match="No tool output found"):
        client.responses.create(model=MODEL, input=turns[:2], tools=[TOOL])


def test_a_schema_is_followed_on_both_endpoints(client: OpenAI) -> None:
    """The SDK parses both."""
    chat = client.chat.completions.parse(model=MODEL, messages=USER, response_format=Bird)
    response = client.responses.parse(model=MODEL, input="owls", text_format=Bird)
    assert chat.choices[0].message.parsed
    assert response.output_parsed
    assert (chat.choices[0].message.parsed.wings, response.output_parsed.wings) == (1, 1)


@pytest.mark.parametrize("tools", [[], [TOOL]], ids=["text", "tool"])
def test_a_stream_of_a_response_has_what_a_call_gets(client: OpenAI, tools: list[Any]) -> None:
    """All events, whose sum the SDK compares with the last one."""
    fields: Any = {"tools": tools} if tools else {}
    with client.responses.stream(model=MODEL, input="owls", **fields) as stream:
        kinds = [event.type for event in stream]
        final = stream.get_final_response()
    whole = client.responses.create(model=MODEL, input="owls", **fields)
    assert (kinds[0], kinds[-1]) == ("response.created", "response.completed")
    assert final.output_text == whole.output_text
    assert [item.type for item in final.output] == [item.type for item in whole.output]


def test_a_response_that_is_cut_off_is_incomplete(client: OpenAI) -> None:
    """With the reason, plain and as a stream."""
    response = client.responses.create(model=MODEL, input="FAIL-LENGTH")
    assert response.incomplete_details
    assert (response.status, response.incomplete_details.reason) == ("incomplete", "max_output_tokens")
    kinds = [event.type for event in client.responses.create(model=MODEL, input="FAIL-LENGTH", stream=True)]
    assert kinds[-1] == "response.incomplete"


@pytest.mark.parametrize(
    "fields",
    [
        pytest.param({"input": []}, id="no input"),
        pytest.param({"input": "a", "previous_response_id": "resp_1"}, id="state"),
        pytest.param({"input": "a", "tools": [{"type": "web_search"}]}, id="a tool of the provider"),
        pytest.param({"input": "a", "tool_choice": "required"}, id="no tools to choose"),
        pytest.param({"input": "a", "text": {"format": {"type": "grammar"}}}, id="an unknown format"),
    ],
)
def test_what_the_mock_cannot_do_is_refused(client: OpenAI, fields: Any) -> None:
    """With a 400 that says why, not with an answer to something else."""
    with pytest.raises(BadRequestError):
        client.responses.create(model=MODEL, **fields)


def test_embeddings_are_the_same_in_base64_and_in_numbers(client: OpenAI) -> None:
    """The SDK asks for base64 unless told otherwise."""
    packed = client.embeddings.create(model="m", input=["owls fly"], dimensions=8).data[0].embedding
    plain = client.embeddings.create(model="m", input="owls fly", dimensions=8, encoding_format="float")
    assert packed == pytest.approx(plain.data[0].embedding)
    assert len(packed) == 8


def test_models_are_listed_and_any_name_is_one(client: OpenAI) -> None:
    """As clients check that their model exists."""
    assert [model.id for model in client.models.list()] == ["mock"]
    assert client.models.retrieve("org/any-model").id == "org/any-model"


def test_azures_client_finds_its_paths(process: MockProcess) -> None:
    """Deployments in the path of calls, files and jobs next to them; a job needs a file that is processed."""
    endpoint = process.base_url.removesuffix("/v1")
    with AzureOpenAI(azure_endpoint=endpoint, api_key="k", api_version="2024-10-21", max_retries=0) as azure:
        assert azure.chat.completions.create(model="deployed", messages=USER).choices[0].message.content
        line = b'{"custom_id": "a", "method": "POST", "url": "/chat/completions", "body": {"model": "m"}}'
        file = azure.files.create(file=("rows.jsonl", line), purpose="batch")
        endpoint_of_job: Any = "/chat/completions"
        with pytest.raises(BadRequestError, match="is not processed yet"):
            azure.batches.create(input_file_id=file.id, endpoint=endpoint_of_job, completion_window="24h")
        assert (file.status, azure.files.retrieve(file.id).status) == ("pending", "processed")
        batch = azure.batches.create(input_file_id=file.id, endpoint=endpoint_of_job, completion_window="24h")
        assert azure.batches.retrieve(batch.id).id == batch.id
