"""Models that stand in for another: when they are asked, what the row says of it, and what is recorded."""

from collections import Counter
from collections.abc import Callable
from typing import Any

import pytest
from pydantic import BaseModel
from support.command import read_rows, topics
from support.scripted_provider import Asked, Fickle, Reply
from support.workspace import Place

from crewrun import LLM, Agent, Crew, Task
from crewrun.errors import AuthRefused, BadRequest, CallError, ModelNotFound, QuotaExhausted, ServerError
from crewrun.limits.retry import RetryPolicy
from crewrun.llm.options import GatewayOptions
from crewrun.messages import ChatRequest
from crewrun.testing import Step, calls, scripted
from crewrun.tools import tool

LIST = "[first, second]"
MAPPING = "{model: first, fallbacks: [second]}"


@pytest.fixture
def place(place: Place) -> Place:
    """A folder with a crew of one task on `first`, for which `second` stands in, and six rows."""
    place.crew(llm=LIST)
    place.rows(*topics(6))
    return place


def only_second(refusal: Reply) -> Callable[[Asked], Reply]:
    """`first` says `refusal` to everything."""
    return lambda asked: refusal if asked.model == "first" else Reply(text=f"{asked.model} answers")


@pytest.mark.parametrize(
    ("llm", "refusal"),
    [
        (LIST, Reply(401, "no such key")),
        (MAPPING, Reply(404, "no such model")),
        ("{model: first, fallbacks: second}", Reply(429, "empty", code="insufficient_quota")),
    ],
    ids=["key", "model", "quota"],
)
def test_a_model_that_refuses_everything_is_asked_no_more(place: Place, llm: str, refusal: Reply) -> None:
    """The other one answers every row, the rows say so, and nothing has failed or stopped."""
    place.crew(llm=llm)
    with Fickle(only_second(refusal)) as provider:
        place.batch("-j", "2", OPENAI_BASE_URL=provider.base_url)
    rows = read_rows(place.results)
    assert [(row["status"], row["output"], row["models"]) for row in rows] == [
        ("ok", "second answers", ["openai/second"])
    ] * 6
    assert Counter(provider.models()) == {"first": 2 + 1, "second": 6}  # and the probe that decided


def test_attempts_that_are_used_up_lead_to_the_fallback(place: Place) -> None:
    """Each call on its own: a row that the first model fails on is answered by the second, the others by the first."""
    place.rows(*topics(4), {"topic": "poison"})

    def fails_on_poison(asked: Asked) -> Reply:
        return Reply(500, "broken") if asked.model == "first" and "poison" in asked.prompt else Reply()

    with Fickle(fails_on_poison) as provider:
        place.batch("-j", "2", "--retries", "1", OPENAI_BASE_URL=provider.base_url)
    rows = read_rows(place.results)
    assert [(row["models"], row["attempts"]) for row in rows] == [(["openai/first"], 1)] * 4 + [(["openai/second"], 3)]


def test_in_an_outage_the_fallback_is_asked_at_once(place: Place) -> None:
    """Nobody waits for --outage-patience, which is five minutes here; the first model is probed meanwhile."""
    place.rows(*topics(40))
    with Fickle(only_second(Reply(503, "down"))) as provider:
        place.batch("-j", "8", "--retries", "1", OPENAI_BASE_URL=provider.base_url)
    assert {(row["status"], *row["models"]) for row in read_rows(place.results)} == {("ok", "openai/second")}
    asked = Counter(provider.models())
    assert (asked["second"], asked["first"] <= 40) == (40, True)


def test_a_request_that_is_wrong_is_wrong_for_all(place: Place) -> None:
    """A 400 fails the row; the other model is not asked."""
    place.rows(*topics(3))
    with Fickle(only_second(Reply(400, "bad parameter"))) as provider:
        place.batch("-j", "1", code=3, OPENAI_BASE_URL=provider.base_url)
    assert [row["error"]["category"] for row in read_rows(place.results)] == ["bad_request"] * 3
    assert provider.models() == ["first"] * 3


def test_when_all_refuse_the_last_ones_reason_stops_the_run(place: Place) -> None:
    """Exit 4 with the rows pending, as without fallbacks."""
    with Fickle(lambda asked: Reply(401, f"{asked.model}: no")) as provider:
        place.batch("-j", "1", "--summary", "s.json", code=4, OPENAI_BASE_URL=provider.base_url)
    assert Counter(provider.models()) == {"first": 2, "second": 2}  # a row's call and a probe each
    assert place.summary()["stopped"] == ("openai/second refuses every call: HTTP 401: second: no")
    assert read_rows(place.results) == []


def test_a_replay_of_answers_from_a_fallback_sends_nothing(place: Place) -> None:
    """They are recorded as answers to what was asked, so that the same command finds them again."""
    with Fickle(only_second(Reply(401, "no"))) as provider:
        place.batch("-j", "1", OPENAI_BASE_URL=provider.base_url)
        sent, first = len(provider.asked), read_rows(place.results)
        place.results.unlink()
        place.batch("--replay", OPENAI_BASE_URL=provider.base_url)
        assert len(provider.asked) == sent
    again = read_rows(place.results)
    assert [(row["output"], row["models"]) for row in again] == [(row["output"], row["models"]) for row in first]


def test_a_model_by_flag_has_no_fallbacks(place: Place) -> None:
    """-m names the model of every agent, and that one alone."""
    with Fickle(only_second(Reply(401, "no"))) as provider:
        place.batch("-j", "1", "-m", "first", code=4, OPENAI_BASE_URL=provider.base_url)
    assert provider.models() == ["first", "first"]  # the row's call and the probe


@pytest.mark.parametrize(
    ("llm", "message"),
    [
        ("[]", "crew.yaml:11: llm: is empty; at least one is needed"),
        ("[first, 5]", "crew.yaml:11: llm[1]: needs the name of a model, or a mapping with `model`, not 5"),
        ("{model: first, fallbacks: [{modl: x}]}", "crew.yaml:11: llm.fallbacks[0]."),
        ("{model: first, fallback: x}", "unknown key 'fallback' (did you mean 'fallbacks'?)"),
    ],
    ids=["empty", "number", "key below", "key"],
)
def test_what_is_no_fallback_is_refused(place: Place, llm: str, message: str) -> None:
    """By its place in the file, before anything is sent."""
    place.crew(llm=llm)
    place.batch(code=2)
    assert message in place.stderr


# The Python API


def crew_of(llm: Any, **fields: Any) -> Crew:
    """A crew of one agent and one task."""
    agent = Agent(role="Writer", goal="Write", backstory="Long ago.", llm=llm, max_retry_limit=0)
    return Crew(agents=[agent], tasks=[Task(description="Write", expected_output="A line", agent=agent, **fields)])


def names(requests: list[ChatRequest]) -> list[str]:
    """Which model each request was for."""
    return [request.endpoint.model for request in requests]


@pytest.mark.anyio
@pytest.mark.parametrize(
    "error", [AuthRefused("no"), ModelNotFound("gone"), QuotaExhausted("empty"), ServerError("down")], ids=repr
)
@pytest.mark.parametrize(
    "llm",
    [
        pytest.param(lambda: LLM("first", fallbacks=["second", LLM("third")]), id="LLM"),
        pytest.param(lambda: ["first", "second", {"model": "third"}], id="list"),
        pytest.param(lambda: {"model": "first", "fallbacks": ["second", "third"]}, id="mapping"),
    ],
)
async def test_fallbacks_are_asked_in_their_order(llm: Callable[[], Any], error: CallError) -> None:
    """Until one answers; what its attempts cost is counted, and those after it are not asked."""
    async with scripted(error, error, "answer", options=GatewayOptions(RetryPolicy(retries=0))) as model:
        output = await crew_of(llm()).akickoff()
    assert (output.raw, names(model.requests)) == ("answer", ["first", "second", "third"])


@pytest.mark.anyio
async def test_the_last_error_is_the_calls_error() -> None:
    """When nobody answers; a 400 of one that stands in ends the call at once."""
    async with scripted(AuthRefused("no"), BadRequest("bad")) as model:
        with pytest.raises(BadRequest, match="bad"):
            await crew_of(LLM("first", fallbacks=["second", "third"])).akickoff()
    assert names(model.requests) == ["first", "second"]
    async with scripted(AuthRefused("no"), ModelNotFound("gone")) as model:
        with pytest.raises(ModelNotFound, match="gone"):
            await crew_of(LLM("first", fallbacks=["second"])).akickoff()


@tool
def weather(city: str) -> str:
    """Say the weather."""
    return f"rain in {city}"


@pytest.mark.anyio
async def test_a_fallback_that_takes_no_tools_is_asked_in_words() -> None:
    """The crew goes on with it in the text protocol."""
    plain = LLM("plain", function_calling=False)
    in_words = 'Thought: look\nAction: weather\nAction Input: {"city": "Bern"}'
    gone = ServerError("down")
    steps: list[Step] = [gone, gone, in_words, gone, "Thought: done\nFinal Answer: rain"]
    async with scripted(*steps, options=GatewayOptions(RetryPolicy(retries=0))) as model:
        output = await crew_of(LLM("gpt-4.1-mini", fallbacks=[plain]), tools=[weather]).akickoff()
    assert output.raw == "rain"
    assert names(model.requests) == ["gpt-4.1-mini", "gpt-4.1-mini", "plain", "gpt-4.1-mini", "plain"]
    assert [bool(request.tools) for request in model.requests] == [True, False, False, False, False]


@pytest.mark.anyio
async def test_a_fallback_goes_on_where_the_first_model_called_a_tool() -> None:
    """It sees the call and its result, and the tool is not run again."""
    both = LLM("gpt-4.1-mini", fallbacks=["gpt-4.1"])
    steps: list[Step] = [calls("weather", city="Bern"), AuthRefused("revoked"), "rain"]
    async with scripted(*steps) as model:
        output = await crew_of(both, tools=[weather]).akickoff()
    assert (output.raw, names(model.requests)) == ("rain", ["gpt-4.1-mini", "gpt-4.1-mini", "gpt-4.1"])
    assert [message.role for message in model.requests[2].messages][-2:] == ["assistant", "tool"]


class City(BaseModel):
    """A reply."""

    name: str


@pytest.mark.anyio
async def test_a_fallback_that_takes_no_schema_gets_none() -> None:
    """It is told of it in words alone, and its reply is held to it all the same."""
    llm = LLM("gpt-4.1-mini", fallbacks=[LLM("plain", structured_output=False)])
    steps: list[Step] = [AuthRefused("no"), '{"nome": "Bern"}', AuthRefused("no"), '{"name": "Bern"}']
    async with scripted(*steps) as model:
        output = await crew_of(llm, output_pydantic=City).akickoff()
    assert output.pydantic == City(name="Bern")
    assert [request.schema is not None for request in model.requests] == [True, False, True, False]
