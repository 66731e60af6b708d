"""What an LLM takes of CrewAI's and litellm's arguments, and where a request goes with them."""

from typing import Any

import pytest
from pydantic import BaseModel, SecretStr

from crewrun import LLM, Agent, Gateway, GatewayOptions, RetryPolicy, UsageError
from crewrun.errors import BadRequest
from crewrun.llm.endpoints import resolve
from crewrun.testing import scripted


class Answer(BaseModel):
    text: str


class Own(BaseModel):
    """A model as CrewAI's users bring one."""

    model: str = "gpt-4o"

    def call(self, messages: Any) -> str:
        return "mine"


class OwnCall(LLM):
    def call(self, *given: Any, **named: Any) -> str:
        return "mine"


class OwnAcall(LLM):
    async def acall(self, *given: Any, **named: Any) -> str:
        return "mine"


class Named(LLM):
    """With nothing of its own but a name."""


@pytest.mark.parametrize(
    ("given", "params"),
    [
        ({"temperature": 0.5, "max_retries": 3, "organization": "o", "stream": True}, {"temperature": 0.5}),
        (
            {"additional_params": {"user": "u", "stream": True}, "extra_body": {"min_p": 0.1}},
            {"user": "u", "min_p": 0.1},
        ),
        ({"additional_params": {"seed": 1}, "seed": 2}, {"seed": 2}),
        ({"drop_params": True, "custom_llm_provider": "openai", "top_p": 1.0}, {"top_p": 1.0}),
        ({"default_headers": {"X-A": "b"}, "request_timeout": 5}, {}),
    ],
    ids=["kept to itself", "merged", "own wins", "litellm's", "renamed"],
)
def test_only_request_fields_go_on_the_wire(given: dict[str, Any], params: dict[str, Any]) -> None:
    """A provider that refuses what it does not know would fail every row."""
    assert dict(resolve(LLM(model="gpt-4o-mini", api_key="x", **given)).params) == params


def test_renamed_arguments_have_their_effect() -> None:
    """Headers and the time limit."""
    endpoint = resolve(LLM(model="gpt-4o-mini", default_headers={"X-A": "b"}, request_timeout=5))
    assert (dict(endpoint.headers), endpoint.timeout_s) == ({"X-A": "b"}, 5)


def test_litellm_s_own_arguments_reach_litellm() -> None:
    """Where it serves the model."""
    assert dict(resolve(LLM(model="anthropic/claude-sonnet-4-5", drop_params=True)).params) == {"drop_params": True}


def test_with_a_provider_the_model_s_name_is_whole() -> None:
    """`openai/gpt-oss-20b` is a model of Groq's."""
    llm = LLM(provider="openai", model="openai/gpt-oss-20b", base_url="https://api.groq.com/openai/v1")
    endpoint = resolve(llm)
    assert (endpoint.provider, endpoint.model) == ("openai", "openai/gpt-oss-20b")
    with pytest.raises(UsageError, match=r"no provider 'grok' \(did you mean 'groq'\?\)"):
        resolve(LLM(provider="grok", model="m"))


@pytest.mark.anyio
async def test_a_response_format_may_be_a_class() -> None:
    """It goes out as its JSON Schema, also to a model that litellm's table says takes none, until that refuses it."""
    refused = BadRequest("HTTP 400: response_format is not supported", http_status=400)
    llm = LLM(model="gpt-4", response_format=Answer)
    agent = Agent(role="r", goal="g", backstory="b", llm=llm)
    async with scripted(refused, refused, refused, "one", "two") as model:
        answers = [(await agent.akickoff("Which?")).raw for _ in range(2)]
    assert answers == ["one", "two"]
    forms = [request.schema and (request.schema.name, request.schema.strict) for request in model.requests]
    assert forms == [("Answer", True), ("Answer", False), ("Answer", False), None, None]


@pytest.mark.parametrize(
    "llm", [Own(), OwnCall(model="gpt-4o"), OwnAcall(model="gpt-4o")], ids=["class", "call", "acall"]
)
@pytest.mark.parametrize("place", ["alone", "fallback"])
@pytest.mark.anyio
async def test_a_model_that_calls_by_itself_is_called(llm: Any, place: str) -> None:
    """Its name alone would send the user's prompts to a provider that they did not choose."""
    broken = LLM("gpt-4o", base_url="http://127.0.0.1:9")
    agent = Agent(role="r", goal="g", backstory="b", llm=llm if place == "alone" else [broken, llm])
    async with Gateway(GatewayOptions(retry=RetryPolicy(retries=0))):
        assert (await agent.akickoff("Hi")).raw == "mine"


@pytest.mark.parametrize(
    ("kind", "attributes", "endpoint"),
    [
        ("ChatOllama", {"model": "llama3", "base_url": None}, ("ollama/llama3", "http://localhost:11434/v1", None)),
        (
            "ChatGroq",
            {"model_name": "openai/gpt-oss-20b", "groq_api_key": SecretStr("k-1234")},
            ("groq/openai/gpt-oss-20b", "https://api.groq.com/openai/v1", "k-1234"),
        ),
        ("ChatGoogleGenerativeAI", {"model": "models/gemini-2.0-flash"}, ("gemini/gemini-2.0-flash", None, None)),
        (
            "AzureChatOpenAI",
            {"deployment_name": "mine", "model_name": "gpt-4o", "azure_endpoint": "https://x.openai.azure.com"},
            ("azure/mine", "https://x.openai.azure.com", None),
        ),
        (
            "ChatOpenAI",
            {"model_name": "local", "openai_api_base": "http://h:1/v1", "openai_api_key": SecretStr("k-1234")},
            ("openai/local", "http://h:1/v1", "k-1234"),
        ),
    ],
    ids=["Ollama", "Groq", "Gemini", "Azure", "OpenAI"],
)
def test_langchain_s_objects_say_whose_model_they_are(
    kind: str, attributes: dict[str, Any], endpoint: tuple[str, str | None, str | None]
) -> None:
    """By their class: the name alone would send `llama3` to OpenAI."""
    agent = Agent(role="r", goal="g", backstory="b", llm=type(kind, (), attributes)())
    found = resolve(agent.model, {})
    assert (found.name, found.base_url, found.api_key) == endpoint


def test_other_libraries_model_objects_are_taken_by_their_names() -> None:
    """LangChain's `ChatOpenAI` has `model_name` and `invoke`; CrewAI's own LLM does nothing that crewrun does not."""
    langchain = type("ChatOpenAI", (), {"model_name": "gpt-4o", "invoke": lambda self: "", "temperature": 0.5})
    crewai = type(
        "LLM", (), {"__module__": "crewai.llm", "model": "gpt-4o", "call": lambda self: "", "temperature": 0.5}
    )
    agents = [
        Agent(role="r", goal="g", backstory="b", llm=llm)
        for llm in (langchain(), crewai(), Named(model="gpt-4o", temperature=0.5))
    ]
    taken = [(agent.model.model, agent.model.temperature) for agent in agents if agent.model]
    assert taken == [("gpt-4o", 0.5)] * 3
