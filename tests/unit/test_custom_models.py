"""Models that the user's own code calls: `class MyLLM(BaseLLM)`, as a crew of a batch uses one."""

import threading
from typing import Any

import pytest
from pydantic import BaseModel, Field
from support.workspace import Place

from crewrun import LLM, Agent, BaseLLM, Crew, Gateway, GatewayOptions, Process, RetryPolicy, Task
from crewrun.errors import CallTimedOut, CustomModelFailed, RateLimited, UsageError
from crewrun.row_context import RowContext, use_row_context
from crewrun.tools import tool

pytestmark = pytest.mark.anyio

ONCE = GatewayOptions(retry=RetryPolicy(retries=0))
CREW = """
from pathlib import Path
from crewai import Agent, BaseLLM, Crew, Task

LOG = Path(__file__).parent / "asked.txt"

class MyLLM(BaseLLM):
    def __init__(self, model, endpoint):
        super().__init__(model=model, temperature=0.5)
        self.endpoint = endpoint
        self.seen = 0

    def call(self, messages, tools=None, callbacks=None, available_functions=None):
        self.seen += 1
        said = messages[-1]["content"].removeprefix("Your task: ").partition("\\n")[0]
        with LOG.open("a") as log:
            log.write(said + "\\n")
        if (Path(__file__).parent / "broken").exists() and "second" in said:
            raise ValueError("no luck")
        return f"answer to {said}"

agent = Agent(role="Writer", goal="g", backstory="b", llm=MyLLM("mine", "http://localhost:1"))
first = Task(description="the first on {topic}", expected_output="text", agent=agent)
second = Task(description="the second on {topic}", expected_output="text", agent=agent, context=[])
crew = Crew(agents=[agent], tasks=[first, second])
"""


class Replying(BaseLLM):
    """Returns, or raises, what it is given, one after another."""

    replies: list[Any]
    asked: list[dict[str, Any]] = Field(default_factory=list)

    def call(self, messages: Any, **given: Any) -> Any:  # type: ignore[override]
        self.asked.append({"messages": messages, **given})
        reply = self.replies.pop(0)
        if isinstance(reply, BaseException):
            raise reply
        return reply


class Calling(Replying):
    """One that takes tools."""

    def supports_function_calling(self) -> bool:
        return True


@tool
def double(n: int) -> str:
    """Double a number."""
    return str(2 * n)


def agent_of(llm: Any, **fields: Any) -> Agent:
    return Agent(role="r", goal="g", backstory="b", llm=llm, **fields)


def crew_file(place: Place, text: str = CREW) -> None:
    (place.folder / "crew.py").write_text(text)
    place.rows({"topic": "a"}, {"topic": "b"})


def asked(place: Place) -> list[str]:
    """What the model was asked since the last time, sorted."""
    log = place.folder / "asked.txt"
    lines = sorted(log.read_text().splitlines()) if log.exists() else []
    log.unlink(missing_ok=True)
    return lines


def test_a_batch_calls_it_and_counts_the_calls(place: Place) -> None:
    """As those of any model; what nobody counted is estimated, and its price is not known."""
    crew_file(place)
    assert place.batch("--crew", "crew.py:crew", "--summary", "s.json") == []
    assert asked(place) == ["the first on a", "the first on b", "the second on a", "the second on b"]
    summary = place.summary()
    assert (summary["models"], summary["usage"]["calls"], summary["cost_usd"]) == (["MyLLM/mine"], 4, None)
    assert summary["usage"]["estimated_calls"] == 4


def test_a_row_that_is_continued_calls_it_only_for_what_is_not_on_record(place: Place) -> None:
    """The journal knows its calls by class, code, model and parameters."""
    crew_file(place)
    (place.folder / "broken").touch()
    place.batch("--crew", "crew.py:crew", code=3)
    assert "crew.py:19: ValueError: no luck" in place.stderr
    assert asked(place) == ["the first on a", "the first on b", "the second on a", "the second on b"]
    (place.folder / "broken").unlink()
    place.crewrun("retry", "in.results.jsonl")
    assert asked(place) == ["the second on a", "the second on b"]
    place.crewrun("retry", "in.results.jsonl")
    assert asked(place) == []


def test_another_parameter_is_another_model(place: Place) -> None:
    """What a plain attribute holds decides the answers too; a counter that grows does not."""
    crew_file(place)
    place.batch("--crew", "crew.py:crew", "--cache", "c")
    assert len(asked(place)) == 4
    place.batch("--crew", "crew.py:crew", "--cache", "c", "--fresh")
    assert asked(place) == []
    crew_file(place, CREW.replace("localhost:1", "localhost:2"))
    place.batch("--crew", "crew.py:crew", "--cache", "c", "--fresh")
    assert len(asked(place)) == 4


def test_a_run_s_model_stands_in_for_it(place: Place) -> None:
    """`-m` is for every model of a crew; an offline run calls none of the user's code."""
    crew_file(place)
    place.batch("--crew", "crew.py:crew", "-m", "offline")
    assert asked(place) == []
    assert place.batch("--crew", "crew.py:crew", "-m", "gpt-4.1-mini", "--fresh") == [
        *("the first on a", "the first on b", "the second on a", "the second on b"),
    ]
    assert asked(place) == []


def test_a_check_names_it_and_a_budget_wants_its_price(place: Place) -> None:
    """Nothing but the user's own code knows what its calls cost."""
    crew_file(place)
    place.crewrun("check", "in.jsonl", "--crew", "crew.py:crew")
    assert "agent Writer: MyLLM/mine" in place.stdout + place.stderr
    place.batch("--crew", "crew.py:crew", "--budget", "1", code=2)
    assert "the price of MyLLM/mine is not known" in place.stderr
    assert "--price mine=IN,OUT" in place.stderr
    place.crewrun("plan", "in.jsonl", "--crew", "crew.py:crew")
    assert "--price mine=IN,OUT" in place.stdout
    place.crewrun("plan", "in.jsonl", "--crew", "crew.py:crew", "--price", "mine=1,2")
    assert "cost: unknown" not in place.stdout
    place.batch("--crew", "crew.py:crew", "--budget", "1", "--price", "MyLLM/mine=1,2", "--summary", "s.json")
    assert place.summary()["cost_usd"] > 0


def test_names_that_crewrun_has_elsewhere_are_imported(place: Place) -> None:
    """The paths are CrewAI's."""
    lines = """
from crewai import BaseLLM
from crewai.agents import AgentAction, AgentFinish
from crewai.agents.agent_builder.base_agent import BaseAgent
from crewai.hooks.types import BeforeLLMCallHookType
from crewai.lite_agent import LiteAgent
from crewai.llm import BaseLLM as Same
from crewai.llms.base_llm import BaseLLM as Base, LLMCallBlockedError
from crewai.tasks.llm_guardrail import LLMGuardrailResult
from crewai.types.callback import SerializableCallable
from crewai.utilities.llm_utils import create_llm
from crewai.utilities.string_utils import interpolate_only, sanitize_tool_name
from crewai.utilities.types import LLMMessage
import crewai
assert BaseLLM is Same is Base is crewai.BaseLLM
assert (sanitize_tool_name("My Tool"), interpolate_only("a {b}", {"b": 1})) == ("my_tool", "a 1")
assert create_llm({"model": "m"}).model == "m"
"""
    crew_file(place, lines + CREW)
    place.crewrun("check", "--crew", "crew.py:crew")
    assert "warning" not in place.stderr


def test_limits_hold_for_it(place: Place) -> None:
    """Calls in threads, several at once, and no more than the run allows."""
    text = CREW.replace(
        "        self.seen += 1\n",
        "        with GATE:\n            NOW.append(1)\n            MOST.append(len(NOW))\n"
        "        TWO.wait(30)\n        with GATE:\n            NOW.pop()\n"
        "        LOG.with_name('most.txt').write_text(str(max(MOST)))\n",
    ).replace("LOG =", "import threading\nNOW, MOST, GATE, TWO = [], [], threading.Lock(), threading.Barrier(2)\nLOG =")
    crew_file(place, text)
    place.rows(*({"topic": str(i)} for i in range(64)))
    place.batch("--crew", "crew.py:crew", "-j", "64", "--max-concurrent", "8")
    assert int((place.folder / "most.txt").read_text()) in range(2, 9)


@pytest.mark.parametrize(
    ("reply", "text"),
    [
        ("words", "words"),
        ({"answer": 1}, "{'answer': 1}"),
        (type("Message", (), {"content": "said"})(), "said"),
        ({"role": "assistant", "content": "said"}, "said"),
        (7, "7"),
    ],
    ids=["text", "dict", "message", "message as a dict", "number"],
)
async def test_what_it_returns_is_the_answer(reply: Any, text: str) -> None:
    """A text, or what CrewAI would make one of."""
    assert (await agent_of(Replying("m", replies=[reply])).akickoff("Hi")).raw == text


@pytest.mark.parametrize(
    ("reply", "kind"),
    [(b"said", "bytes"), ((word for word in "said"), "generator"), (object(), "object")],
    ids=["bytes", "a stream", "an object"],
)
async def test_what_has_no_text_is_no_answer(reply: Any, kind: str) -> None:
    """Its representation would be stored as one, with status ok."""
    with pytest.raises(CustomModelFailed, match=f"it returned {kind}, which is no answer; a call returns the whole"):
        await agent_of(Replying("m", replies=[reply])).akickoff("Hi")


async def test_a_static_call_gets_the_messages() -> None:
    """There is no object that it is a call of."""

    class Static(BaseLLM):
        @staticmethod
        def call(messages: Any, **given: Any) -> str:  # type: ignore[override]
            return f"{len(messages)} messages"

    assert (await agent_of(Static("m")).akickoff("Hi")).raw == "2 messages"


def test_a_clock_in_an_attribute_is_told_before_it_costs_every_row_again(place: Place) -> None:
    """It is another one in each session, so that no row would be known again."""
    crew_file(place, CREW.replace("self.seen = 0", "self.seen = 0\n        self.made_at = __import__('time').time()"))
    told = "MyLLM/mine: 'made_at' is not what it was in this run's last session, so every row runs again"
    for flags, is_told in (((), False), ((), True), (("--fresh",), False)):
        place.batch("--crew", "crew.py:crew", *flags)
        assert (told in place.stderr) is is_told


@pytest.mark.parametrize(
    "call",
    [
        {"id": "1", "type": "function", "function": {"name": "double", "arguments": '{"n": 21}'}},
        {"name": "double", "input": {"n": 21}, "toolUseId": "1"},
        {"call_id": "1", "name": "double", "arguments": '{"n": 21}'},
        type("Block", (), {"id": "1", "name": "double", "input": {"n": 21}, "type": "tool_use"})(),
    ],
    ids=["OpenAI", "Bedrock", "Responses", "Anthropic"],
)
async def test_tools_that_it_asks_for_are_called(call: Any) -> None:
    """It is given tools and what they gave as OpenAI has them; functions to call by itself it is not given."""
    llm = Calling("m", replies=[[call], "42"])
    assert (await agent_of(llm, tools=[double]).akickoff("Hi")).raw == "42"
    first, second = llm.asked
    assert [one["function"]["name"] for one in first["tools"]] == ["double"]
    assert (first["available_functions"], first["from_agent"].role) == (None, "r")
    assert [one["role"] for one in second["messages"]] == ["system", "user", "assistant", "tool"]
    assert second["messages"][-1]["content"] == "42"


async def test_one_that_takes_no_tools_is_asked_in_words() -> None:
    """CrewAI's text protocol, as for every such model."""
    llm = Replying("m", replies=['Action: double\nAction Input: {"n": 21}', "Final Answer: 42"])
    assert (await agent_of(llm, tools=[double]).akickoff("Hi")).raw == "42"
    assert [one["tools"] for one in llm.asked] == [None, None]


async def test_only_the_arguments_that_it_takes_are_given() -> None:
    """Classes for older versions of CrewAI, and for newer ones."""
    seen = []

    class Old(BaseLLM):
        def call(self, messages: Any, tools: Any = None, callbacks: Any = None) -> str:  # type: ignore[override]
            seen.append((tools, callbacks))
            return "old"

    assert (await agent_of(Old("m")).akickoff("Hi")).raw == "old"
    assert seen == [(None, [])]


async def test_an_acall_that_waits_is_awaited_and_one_that_does_not_is_not_needed() -> None:
    """An `acall` that only calls `call` would hold up every other row."""
    threads = []

    class Waiting(Replying):
        async def acall(self, *args: Any, **given: Any) -> Any:
            async with Gateway():
                threads.append(threading.current_thread())
            return "awaited"

    class Stub(Replying):
        async def acall(self, *args: Any, **given: Any) -> Any:
            return self.call(*args, **given)

        def call(self, messages: Any, **given: Any) -> Any:  # type: ignore[override]
            threads.append(threading.current_thread())
            return "called"

    class Missing(Replying):
        async def acall(self, *args: Any, **given: Any) -> Any:
            async with Gateway():
                raise NotImplementedError

    answers = [(await agent_of(kind("m", replies=["kept"])).akickoff("Hi")).raw for kind in (Waiting, Stub, Missing)]
    assert answers == ["awaited", "called", "kept"]
    assert [thread is threading.main_thread() for thread in threads] == [True, False]


class _Refused(Exception):
    def __init__(self, status_code: int) -> None:
        super().__init__(f"Error code: {status_code}")
        self.status_code = status_code


@pytest.mark.parametrize(
    ("raised", "kind"),
    [
        (_Refused(429), RateLimited),
        (TimeoutError("slow"), CallTimedOut),
        (KeyError("choices"), CustomModelFailed),
    ],
    ids=["a status", "a timeout", "a mistake"],
)
async def test_what_it_raises_has_the_category_of_its_cause(raised: Exception, kind: type[Exception]) -> None:
    """Also behind an exception of the user's; what says nothing is told with its place."""
    wrapped = RuntimeError("request failed")
    wrapped.__cause__ = raised
    for error in (raised, wrapped):
        async with Gateway(ONCE):
            with pytest.raises(kind) as failed:
                await agent_of(Replying("m", replies=[error])).akickoff("Hi")
    if kind is CustomModelFailed:
        assert "test_custom_models.py:" in str(failed.value)


async def test_a_rate_limit_is_met_with_another_attempt() -> None:
    """Retries are the gateway's, and so are fallbacks."""
    retry = GatewayOptions(retry=RetryPolicy(retries=1, base_s=0))
    async with Gateway(retry):
        assert (await agent_of(Replying("m", replies=[_Refused(429), "second"])).akickoff("Hi")).raw == "second"
    async with Gateway(ONCE):
        other = [Replying("m", replies=[KeyError("x")]), Replying("n", replies=["other"])]
        assert (await agent_of(other).akickoff("Hi")).raw == "other"


async def test_usage_that_it_counts_is_its_row_s() -> None:
    """The object's counter is shared by all rows; what one call adds to it is that call's alone."""

    class Counting(BaseLLM):
        def call(self, messages: Any) -> str:  # type: ignore[override]
            self._track_token_usage_internal({"prompt_tokens": 7, "completion_tokens": 3})
            self._token_usage["cached_prompt_tokens"] += 2
            return "counted"

    llm = Counting("m")
    outputs = [await agent_of(llm).akickoff("Hi") for _ in range(2)]
    usages = [output.usage_metrics for output in outputs]
    assert [(u.prompt_tokens, u.completion_tokens, u.cached_prompt_tokens) for u in usages] == [(7, 3, 2)] * 2
    assert llm.get_token_usage_summary().total_tokens == 20


async def test_calls_that_it_makes_through_crewrun_are_counted_once() -> None:
    """A model that only picks another one costs what that one does."""

    class Router(BaseLLM):
        def call(self, messages: Any) -> Any:  # type: ignore[override]
            return LLM("offline").call(messages)

    output = await agent_of(Router("m")).akickoff("Hi")
    assert output.raw.startswith("[offline ")
    assert output.usage_metrics is not None
    alone = await agent_of("offline").akickoff("Hi")
    assert alone.usage_metrics is not None
    assert output.usage_metrics.total_tokens == alone.usage_metrics.total_tokens
    assert output.usage_metrics.cost_usd == 0.0


async def test_a_call_within_a_call_is_one_of_its_own() -> None:
    """Another agent on the same model is asked with that agent's messages; `BaseLLM` itself asks nobody."""

    class Asking(BaseLLM):
        def call(self, messages: Any) -> Any:  # type: ignore[override]
            if messages[-1]["content"] == "outer":
                return agent_of(self).kickoff("inner").raw
            if messages[-1]["content"] == "base":
                return super().call(messages)
            return f"answer to {messages[-1]['content']}"

    llm = Asking("m")
    async with Gateway(ONCE):
        with use_row_context(RowContext()):
            assert await llm.acall([{"role": "user", "content": "outer"}]) == "answer to inner"
            with pytest.raises(NotImplementedError, match="Asking: a BaseLLM has no call but its own"):
                await llm.acall([{"role": "user", "content": "base"}])


async def test_a_subclass_of_llm_may_ask_the_provider() -> None:
    """`super().call` goes where the model's name says."""

    class Shouting(LLM):
        def call(self, *args: Any, **given: Any) -> Any:
            return str(super().call(*args, **given)).upper()

    assert (await agent_of(Shouting(model="offline")).akickoff("Hi")).raw.startswith("[OFFLINE ")


async def test_an_answer_that_is_to_be_json_is_asked_for_in_words() -> None:
    """It is repaired once, as every model's is."""

    class Dog(BaseModel):
        name: str

    llm = Replying("m", replies=["a dog", '{"name": "Rex"}'])
    output = await agent_of(llm).akickoff("Which?", response_format=Dog)
    assert output.pydantic == Dog(name="Rex")
    assert '"name"' in llm.asked[0]["messages"][-1]["content"]


async def test_code_of_a_row_that_calls_it_is_called_through_the_run() -> None:
    """With the arguments as they are; what it returns and raises is what the code gets."""

    class Dog(BaseModel):
        name: str

    llm = Replying("m", replies=[Dog(name="Rex"), KeyError("x")])
    row_context = RowContext()
    async with Gateway(ONCE):
        with use_row_context(row_context):
            assert await llm.acall("Hi", response_model=Dog, tools=[{"a": 1}]) == Dog(name="Rex")
            with pytest.raises(KeyError):
                await llm.acall("Ho")
    assert (row_context.usage.calls, row_context.usage.attempts) == (1, 2)
    assert llm.asked[0] == {"messages": "Hi", "response_model": Dog, "tools": [{"a": 1}]}


async def test_tool_results_are_shortened_to_the_context_that_it_says() -> None:
    """CrewAI has the conversation summed up there, which costs a call."""

    class Small(Calling):
        def get_context_window_size(self) -> int:
            return 600

    @tool
    def read() -> str:
        """Read a long text."""
        return "word " * 2000

    call = {"id": "1", "function": {"name": "read", "arguments": "{}"}}
    llm = Small("m", replies=[[call], "done"])
    assert (await agent_of(llm, tools=[read]).akickoff("Hi")).raw == "done"
    assert len(llm.asked[1]["messages"][-1]["content"]) < 2400


def test_one_without_a_call_is_refused() -> None:
    """CrewAI's class is abstract."""
    with pytest.raises(UsageError, match=r"^Silent has no call of its own; a BaseLLM needs `def call"):
        agent_of(type("Silent", (BaseLLM,), {})("m")).kickoff("Hi")


def test_one_that_was_not_constructed_is_refused() -> None:
    """Where it is given to an agent, and not where it is first called."""

    class Bare(BaseLLM):
        def __init__(self) -> None:
            self.model = "m"

        def call(self, messages: Any) -> str:  # type: ignore[override]
            return "never"

    with pytest.raises(ValueError, match=r"Bare.__init__ does not call super\(\).__init__\(model=…\)"):
        agent_of(Bare())


def test_crewai_s_names_are_there() -> None:
    """What classes for CrewAI use of their base class."""

    class Early(BaseLLM):
        def __init__(self) -> None:
            self.api_key = "k-12345678"
            self.client = object()
            super().__init__("m", 0.3, stop="\nObservation:", deployment="d")
            self._private = 1

        def call(self, messages: Any) -> str:  # type: ignore[override]
            return self._apply_stop_words("yes\nObservation: no")

    llm = Early()
    assert (llm.api_key, llm.temperature, llm.stop, llm.additional_params) == (
        *("k-12345678", 0.3, ["\nObservation:"]),
        {"deployment": "d"},
    )
    assert (llm.call("Hi"), llm.stop_sequences, llm.supports_stop_words()) == ("yes", llm.stop, True)
    assert isinstance(LLM("gpt-4o"), BaseLLM)
    assert not isinstance(object(), BaseLLM)


async def test_managers_and_judges_may_be_such_models() -> None:
    """Wherever a crew names a model."""
    judge = Replying("m", replies=["draft", '{"valid": true, "feedback": null}'])
    worker = agent_of(judge)
    task = Task(description="d", expected_output="e", agent=worker, guardrail="must be short")
    assert (await Crew(agents=[worker], tasks=[task]).akickoff()).raw == "draft"
    manager = Replying("m", replies=["managed"])
    crew = Crew(
        agents=[agent_of("offline")],
        tasks=[Task(description="d", expected_output="e")],
        process=Process.hierarchical,
        manager_llm=manager,
    )
    assert (await crew.akickoff()).raw == "managed"
