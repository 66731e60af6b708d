"""What is concluded of refusals: whose they are, which parameter they name, and for how long answers speak against."""

import warnings
from dataclasses import replace

import anyio
import pytest
import trio
import trio.testing

from crewrun import LLM, Gateway
from crewrun.errors import (
    BadRequest,
    CallError,
    CrewrunWarning,
    ModelNotFound,
    SchemaRefused,
    ServerError,
    ToolsRefused,
)
from crewrun.llm.capabilities import TOOLS, Capabilities, classified, refused_feature, refused_parameter, strict_form
from crewrun.llm.placement import is_own_address
from crewrun.messages import ChatRequest, Completion, Endpoint, Message, ReplySchema, ToolSpec, Usage, relaxed
from crewrun.testing import scripted

ENDPOINT = Endpoint("direct", "openai", "m", base_url="http://x", params={"top_k": 3, "seed": 1})
DECLARED = ReplySchema("Answer", {"type": "object"})
STRICT = ReplySchema("Answer", {"type": "object", "additionalProperties": False}, strict=True, original=DECLARED)
PLAIN = ChatRequest(ENDPOINT, (Message("user", "hi"),))
WITH_TOOLS = replace(PLAIN, tools=(ToolSpec("search", "", {}),))
WITH_SCHEMA = replace(PLAIN, schema=STRICT)
NAMED = refused_feature(SchemaRefused("no"), WITH_SCHEMA)


def own_after(request: ChatRequest, asked: ChatRequest, seconds: float) -> list[bool]:
    """Whether refusals of tools, of the schema and of its strict form are their requests' own, so long after."""

    async def main() -> list[bool]:
        capabilities = Capabilities()
        capabilities.answered(request, asked)
        await anyio.sleep(seconds)
        return [capabilities.is_own(ENDPOINT, what) for what in (TOOLS, NAMED, strict_form(STRICT))]

    return trio.run(main, clock=trio.testing.MockClock(autojump_threshold=0))


@pytest.mark.parametrize(
    ("request_", "asked", "seconds", "own"),
    [
        pytest.param(PLAIN, PLAIN, 0, [False, False, False], id="neither"),
        pytest.param(WITH_TOOLS, WITH_TOOLS, 86_400, [True, False, False], id="tools, for ever"),
        pytest.param(WITH_SCHEMA, WITH_SCHEMA, 59.9, [False, True, True], id="a schema, for a minute"),
        pytest.param(WITH_SCHEMA, WITH_SCHEMA, 60, [False, False, False], id="a schema, a minute ago"),
        pytest.param(
            replace(PLAIN, schema=relaxed(STRICT)), WITH_SCHEMA, 1, [False, True, False], id="a relaxed schema"
        ),
        pytest.param(PLAIN, WITH_SCHEMA, 1, [False, False, False], id="a schema in words"),
    ],
)
def test_what_was_answered_says_whose_a_refusal_is(
    request_: ChatRequest, asked: ChatRequest, seconds: float, own: list[bool]
) -> None:
    """Tools that were taken once are taken; a schema may be a new one to the server, so a minute is all it says."""
    assert own_after(request_, asked, seconds) == own


def error(kind: type[CallError], text: str, status: int | None, param: str | None = None) -> CallError:
    made = kind(text, http_status=status)
    made.param = param
    return made


ABOUT_TOOLS, ABOUT_SCHEMA = "tool calls are not possible", "response_format is not possible"
BOTH = replace(WITH_TOOLS, schema=STRICT)


@pytest.mark.parametrize(
    ("met", "request_", "kind"),
    [
        pytest.param(error(BadRequest, ABOUT_TOOLS, 400), PLAIN, BadRequest, id="no tools were sent"),
        pytest.param(error(BadRequest, ABOUT_SCHEMA, 400), WITH_TOOLS, BadRequest, id="no schema was sent"),
        pytest.param(error(BadRequest, ABOUT_TOOLS, 400), WITH_TOOLS, ToolsRefused, id="tools"),
        pytest.param(error(BadRequest, ABOUT_SCHEMA, 422), WITH_SCHEMA, SchemaRefused, id="a schema"),
        pytest.param(error(BadRequest, "no", 400, "tools"), WITH_TOOLS, ToolsRefused, id="by the parameter"),
        pytest.param(error(BadRequest, f"{ABOUT_SCHEMA} {ABOUT_TOOLS}", 400), BOTH, SchemaRefused, id="both"),
        pytest.param(error(BadRequest, ABOUT_TOOLS, None), WITH_TOOLS, ToolsRefused, id="as the library knows"),
        pytest.param(error(ModelNotFound, ABOUT_TOOLS, 404), WITH_TOOLS, ToolsRefused, id="no model that takes them"),
        pytest.param(error(ModelNotFound, ABOUT_TOOLS, None), WITH_TOOLS, ModelNotFound, id="without a status"),
        pytest.param(error(ServerError, ABOUT_TOOLS, 501), WITH_TOOLS, ToolsRefused, id="not implemented"),
        pytest.param(error(ServerError, ABOUT_TOOLS, 500), WITH_TOOLS, ServerError, id="broken"),
        pytest.param(error(ServerError, ABOUT_TOOLS, 422), WITH_TOOLS, ServerError, id="of another kind"),
        pytest.param(error(BadRequest, ABOUT_TOOLS, 413), WITH_TOOLS, BadRequest, id="too large"),
        pytest.param(error(BadRequest, "no", 400), WITH_TOOLS, BadRequest, id="of something else"),
    ],
)
def test_a_refusal_is_about_what_was_sent(met: CallError, request_: ChatRequest, kind: type[CallError]) -> None:
    """By its status, its class and its words."""
    assert type(classified(met, request_)) is kind


def test_a_parameter_of_tools_that_is_not_taken_says_nothing_of_tools() -> None:
    """They are sent again without it."""
    met = error(BadRequest, "unsupported parameter: 'parallel_tool_calls' of tool calls", 400)
    met.is_unsupported = True
    endpoint = replace(ENDPOINT, params={"parallel_tool_calls": True})
    assert type(classified(met, replace(WITH_TOOLS, endpoint=endpoint))) is BadRequest
    assert type(classified(met, WITH_TOOLS)) is ToolsRefused


@pytest.mark.parametrize(
    ("kind", "is_unsupported", "text", "param", "named"),
    [
        (BadRequest, True, "unsupported parameter: 'top_k'", None, "top_k"),
        (BadRequest, True, "no", "body.top_k", "top_k"),
        (BadRequest, True, "no topK here", None, "top_k"),
        (BadRequest, True, "the seed is not taken", None, "seed"),
        (BadRequest, True, "neither seed nor top_p", None, "seed"),
        (BadRequest, True, "no", None, None),
        (BadRequest, False, "unsupported parameter: 'top_k'", None, None),
        (ServerError, True, "unsupported parameter: 'top_k'", None, None),
    ],
)
def test_which_parameter_a_refusal_names(
    kind: type[CallError], is_unsupported: bool, text: str, param: str | None, named: str | None
) -> None:
    """One that was sent, of a request that was refused for that."""
    met = error(kind, text, 400, param)
    met.is_unsupported = is_unsupported
    assert refused_parameter(met, PLAIN) == named


@pytest.mark.parametrize(
    ("provider", "base_url", "is_own"),
    [
        ("openai", "https://api.openai.com/v1", True),
        ("openai", "https://eu.api.openai.com/v1", True),
        ("openai", "http://api.openai.com/v1", False),
        ("openai", "https://api.openai.com/v2", False),
        ("openai", "https://api.openai.com.example.org/v1", False),
        ("openai", "https://notapi.openai.com/v1", False),
        ("openai", None, False),
        ("of_litellm", None, True),
        ("of_litellm", "https://x", False),
    ],
)
def test_the_address_of_a_provider_is_its_own_by_host_scheme_and_path(
    provider: str, base_url: str | None, is_own: bool
) -> None:
    """A proxy that serves the same names may be priced and limited otherwise."""
    assert is_own_address(provider, base_url) == is_own


@pytest.mark.anyio
async def test_a_model_that_is_changed_between_calls_goes_where_it_says_now() -> None:
    """Its fields, and those that only the provider knows; unchanged it is the same endpoint."""
    llm = LLM(model="gpt-4o-mini", api_key="x", base_url="http://x", top_k=1)
    async with Gateway() as gateway:
        first = gateway.endpoint(llm)
        assert gateway.endpoint(llm) is first
        llm.top_k = 2  # type: ignore[attr-defined]  # one of the fields that only the provider knows
        assert gateway.endpoint(llm).params == {"top_k": 2}
        llm.temperature = 0.5
        assert gateway.endpoint(llm).params == {"top_k": 2, "temperature": 0.5}


@pytest.mark.anyio
async def test_an_unknown_finish_reason_is_warned_of_once() -> None:
    """Outside a run, which has it in its rows: once for each word."""
    reasons = ("odd", "odd", "strange", "odd")
    async with scripted(*(Completion("hi", Usage(), finish_reason=reason) for reason in reasons)):
        with warnings.catch_warnings(record=True) as warned:
            warnings.simplefilter("always")
            for _ in reasons:
                await LLM(model="gpt-4o-mini", api_key="x").acall("hi")
    words = [
        str(one.message).split("finish_reason ")[1].split(",")[0] for one in warned if one.category is CrewrunWarning
    ]
    assert words == ["'odd'", "'strange'"]
