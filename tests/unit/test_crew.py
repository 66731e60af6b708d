"""Crews through the Python API: what reaches the model, what comes back, and that runs share nothing."""

import asyncio
import random
from itertools import pairwise
from typing import Any

import anyio
import anyio.to_thread
import pytest
import trio
import trio.testing
from hypothesis import given, settings
from hypothesis import strategies as st

from crewrun import (
    LLM,
    Agent,
    Crew,
    CrewOutput,
    DefinitionError,
    ForEachError,
    Gateway,
    GatewayOptions,
    InputInvalid,
    Process,
    Task,
)
from crewrun.errors import BadRequest, CallError, CrewrunWarning, OutputInvalid, ServerError
from crewrun.messages import ChatRequest, Completion, Usage
from crewrun.testing import scripted

pytestmark = pytest.mark.anyio


def writer(**fields: Any) -> Agent:
    return Agent(**{"role": "Writer", "goal": "write", "backstory": "You write.", "llm": "openai/m", **fields})


def task(description: str, agent: Agent, **fields: Any) -> Task:
    return Task(description=description, expected_output="text", agent=agent, **fields)


def prompts(requests: list[ChatRequest]) -> list[str]:
    return [request.messages[-1].content for request in requests]


async def test_a_crew_sends_role_task_and_inputs_and_returns_the_answer() -> None:
    """One agent, one task: two messages out, CrewAI's output fields back."""
    agent = Agent(role="{topic} expert", goal="know {topic}", backstory="Years of {topic}.", llm="openai/m")
    crew = Crew(agents=[agent], tasks=[task("Explain {topic}", agent, name="explain")], process=Process.sequential)
    async with scripted("Because.") as model:
        output = await crew.akickoff(inputs={"topic": "tides"})
    assert [(m.role, m.content) for m in model.requests[0].messages] == [
        ("system", "You are tides expert. Years of tides.\nYour personal goal: know tides"),
        (
            "user",
            "Your task: Explain tides\n\nYour final answer must satisfy: text\n"
            "Reply with the complete answer itself and nothing around it.",
        ),
    ]
    assert isinstance(output, CrewOutput)
    assert (output.raw, str(output), output.pydantic, output.json_dict, output.to_dict()) == (
        "Because.",
        "Because.",
        None,
        None,
        {},
    )
    assert output.token_usage.model_dump() == {
        "total_tokens": 15,
        "prompt_tokens": 10,
        "cached_prompt_tokens": 0,
        "completion_tokens": 5,
        "reasoning_tokens": 0,
        "successful_requests": 1,
        "cost_usd": None,
    }
    answer = output.tasks_output[0]
    assert (answer.name, answer.description, answer.agent, answer.raw) == (
        "explain",
        "Explain tides",
        "tides expert",
        "Because.",
    )
    assert answer.messages[-1] == {"role": "assistant", "content": "Because."}
    with pytest.raises(ValueError, match="no output_json"):
        _ = output.json


@pytest.mark.parametrize(
    ("context", "seen"),
    [
        pytest.param(None, ["one", "two"], id="default: every earlier output"),
        pytest.param([], [], id="empty: none"),
        pytest.param([0], ["one"], id="explicit: those only"),
    ],
)
async def test_a_task_sees_the_context_it_declares(context: list[int] | None, seen: list[str]) -> None:
    """CrewAI's three forms of `context`."""
    agent = writer()
    first, second = task("First", agent), task("Second", agent)
    third = task("Third", agent, context=None if context is None else [(first, second)[i] for i in context])
    async with scripted("one", "two", "three") as model:
        await Crew(agents=[agent], tasks=[first, second, third]).akickoff()
    found = prompts(model.requests)[2].partition("Use what was found earlier:\n")[2]
    assert found == "\n\n----------\n\n".join(seen)


async def test_context_assigned_after_construction_counts() -> None:
    """Definitions may be changed between runs, as CrewAI users do."""
    agent = writer()
    first, second = task("First", agent), task("Second", agent)
    crew = Crew(agents=[agent], tasks=[first, second])
    second.context = []
    async with scripted("one", "two") as model:
        await crew.akickoff()
    assert "earlier" not in prompts(model.requests)[1]


async def test_a_model_assigned_after_construction_counts() -> None:
    """`agent.llm = name` is as good as the constructor's."""
    agent = writer()
    agent.llm = "openai/other"
    async with scripted("one") as model:
        await Crew(agents=[agent], tasks=[task("First", agent)]).akickoff()
    assert model.requests[0].endpoint.name == "openai/other"


def test_async_tasks_run_together_and_are_awaited_before_the_next() -> None:
    """Three one-second tasks, two of them async, take two seconds; the last one sees both, they not each other."""

    async def a_second(request: ChatRequest) -> str:
        await anyio.sleep(1)
        return request.messages[-1].content.split()[2]

    async def main() -> tuple[float, list[str]]:
        agent = writer()
        a, b = task("A", agent, async_execution=True), task("B", agent, async_execution=True)
        async with scripted(a_second, forever=True) as model:
            await Crew(agents=[agent], tasks=[a, b, task("C", agent)]).akickoff()
        return trio.current_time(), prompts(model.requests)

    took_s, asked = trio.run(main, clock=trio.testing.MockClock(autojump_threshold=0))
    assert took_s == pytest.approx(2)
    assert [prompt.partition("earlier:\n")[2] for prompt in sorted(asked)] == ["", "", "A\n\n----------\n\nB"]


async def test_a_failing_async_task_cancels_its_siblings_and_surfaces_as_itself() -> None:
    """Not an exception group, and not after the sibling's end."""
    cancelled: list[bool] = []

    async def hang(request: ChatRequest) -> str:
        try:
            await anyio.sleep_forever()
        finally:
            cancelled.append(True)
        return ""

    async def refuse(request: ChatRequest) -> str:
        raise BadRequest("no")

    agent = writer()
    tasks = [task("A", agent, async_execution=True), task("B", agent, async_execution=True)]
    async with scripted(hang, refuse):
        with pytest.raises(BadRequest, match="no"):
            await Crew(agents=[agent], tasks=tasks).akickoff()
    assert cancelled == [True]


async def test_an_async_task_that_reads_another_waits_for_it() -> None:
    """An explicit context among async neighbours is obeyed."""
    agent = writer()
    a = task("A", agent, async_execution=True)
    b = task("B", agent, async_execution=True, context=[a])
    async with scripted("from a", "from b") as model:
        await Crew(agents=[agent], tasks=[a, b]).akickoff()
    assert prompts(model.requests)[1].endswith("earlier:\nfrom a")


async def test_a_value_is_never_a_template() -> None:
    """A row that contains `{other}` cannot pull in another input (CrewAI substitutes again)."""
    agent = writer()
    async with scripted("ok") as model:
        await Crew(agents=[agent], tasks=[task("Say {a}", agent)]).akickoff({"a": "{b}", "b": "secret"})
    assert "Your task: Say {b}\n" in prompts(model.requests)[0]


def described(crew: Crew, payload: Any) -> list[str]:
    """What each task's prompt has before the line about its answer, for one `crewai_trigger_payload`."""
    previews = crew.preview({"topic": "tides", "crewai_trigger_payload": payload})
    asked = [preview.messages[-1]["content"] for preview in previews]
    return [text.partition("\n\nYour final answer")[0].removeprefix("Your task: ") for text in asked]


@pytest.mark.parametrize(
    ("allowed", "payload", "told"),
    [
        pytest.param([None, None], {"from": "{topic}"}, [True, False], id="the first by itself"),
        pytest.param([None, True], "mail", [True, True], id="another that asks for it"),
        pytest.param([False, False], "mail", [False, False], id="none when the first does not want it"),
        pytest.param([None, True], {}, [False, True], id="an empty one only who asks for it"),
        pytest.param([True, True], None, [False, False], id="nobody of nothing"),
    ],
)
async def test_tasks_are_told_the_payload_of_a_trigger(
    allowed: list[bool | None], payload: Any, told: list[bool]
) -> None:
    """As CrewAI words it, after the description; it is no template, and no part of the output's description."""
    agent = writer()
    crew = Crew(
        agents=[agent],
        tasks=[task(f"{n} of {{topic}}\n", agent, allow_crewai_trigger_context=it) for n, it in enumerate(allowed)],
    )
    words = {False: "", True: f"\n\nTrigger Payload: {payload}"}
    expected = [f"{n} of tides{words[it]}" for n, it in enumerate(told)]
    assert described(crew, payload) == expected
    async with scripted("a", "b") as model:
        output = await crew.akickoff({"topic": "tides", "crewai_trigger_payload": payload})
    assert [one.description.strip() for one in output.tasks_output] == ["0 of tides", "1 of tides"]
    asked = prompts(model.requests)
    assert [prompt.partition("\n\nYour final")[0] for prompt in asked] == [f"Your task: {text}" for text in expected]


def test_a_manager_is_told_the_payload_of_a_trigger_only_for_tasks_that_ask_for_it() -> None:
    """In a hierarchical crew no task is the first."""
    agent = writer()
    tasks = [task("a", agent), task("b", agent, allow_crewai_trigger_context=True)]
    crew = Crew(agents=[agent], tasks=tasks, process=Process.hierarchical, manager_llm="openai/m")
    assert described(crew, 7) == ["a", "b\n\nTrigger Payload: 7"]


async def test_without_inputs_templates_stay_as_they_are_which_is_said_once() -> None:
    """CrewAI sends them without a word."""
    agent = writer()
    crew = Crew(agents=[agent], tasks=[task("Say {a}", agent, name="say")])
    async with scripted("ok", "ok") as model:
        with pytest.warns(CrewrunWarning) as caught:
            await crew.akickoff()
        await crew.akickoff()
    assert [sent.count("Your task: Say {a}\n") for sent in prompts(model.requests)] == [1, 1]
    assert [str(warning.message) for warning in caught] == [
        "kickoff() without inputs: the model is sent {a} of task 'say' as it is; kickoff(inputs={'a': …}) fills it in"
    ]


async def test_inputs_that_lack_a_name_are_refused_even_if_there_are_none() -> None:
    """An empty mapping is one too, as a row of a for-each, and what a callback returns."""
    agent = writer()
    crew = Crew(agents=[agent], tasks=[task("Say {a}", agent)])
    async with scripted():
        with pytest.raises(InputInvalid, match="missing input 'a'"):
            await crew.akickoff({})
        with pytest.raises(ForEachError) as several:
            await crew.akickoff_for_each([{}])
    assert "missing input 'a'" in str(several.value.results[0])


async def test_a_name_may_be_spelled_as_the_inputs_spell_it() -> None:
    """In the texts of agents and tasks, in the name of a file, and in a coworker's role."""
    agent = writer(role="Clerk for {customer_name}", goal="{Customer-Name}!", backstory="Not {Customer Names}.")
    crew = Crew(agents=[agent], tasks=[task("Answer {ticketid} as {Ticket ID}", agent)])
    async with scripted("ok") as model:
        await crew.akickoff({"Ticket ID": 7, "Customer Name": "Ada"})
    system, user = (message.content for message in model.requests[0].messages)
    assert system.startswith("You are Clerk for Ada. Not {Customer Names}.")
    assert "Ada!" in system
    assert "Your task: Answer 7 as 7\n" in user


async def test_a_missing_input_is_a_value_error_that_names_it_and_its_place() -> None:
    """And the near miss among those given."""
    agent = writer(name="scribe")
    crew = Crew(agents=[agent], tasks=[task("Say {topic}", agent, name="draft")])
    async with scripted():
        with pytest.raises(ValueError, match="missing input") as raised:
            await crew.akickoff({"Topics": 1})
    assert isinstance(raised.value, InputInvalid)
    assert str(raised.value) == "missing input 'topic', needed by tasks.draft.description; the inputs have 'Topics'"


async def test_an_input_of_another_type_is_refused_wherever_it_stands() -> None:
    """CrewAI allows JSON's types only."""
    agent = writer()
    async with scripted():
        with pytest.raises(ValueError, match=r"input 'a\[0\]\.b' is a set"):
            await Crew(agents=[agent], tasks=[task("Say {a}", agent)]).akickoff({"a": [{"b": {1}}]})


async def test_an_empty_reply_is_an_error() -> None:
    """As in CrewAI; here it has a category."""
    agent = writer()
    async with scripted(OutputInvalid("empty")):
        with pytest.raises(CallError):
            await Crew(agents=[agent], tasks=[task("Say", agent)]).akickoff()


@pytest.mark.parametrize(
    ("tasks", "message"),
    [
        pytest.param(
            lambda a: [Task(description="Say", expected_output="x")],
            "task 'Say' has no agent; a sequential crew needs one for every task",
            id="no agent",
        ),
        pytest.param(
            lambda a: [task("First", a, context=[later := task("Other", a)]), later],
            "task 'First' has 'Other' as context, which is not an earlier task",
            id="context that comes later",
        ),
        pytest.param(lambda a: [t := task("Say", a), t], "task 'Say' is in the crew twice", id="twice"),
    ],
)
async def test_a_wrong_crew_is_refused_when_it_is_made(tasks: Any, message: str) -> None:
    """Before any kickoff, as a ValueError that says which task."""
    agent = writer()
    with pytest.raises(DefinitionError) as raised:
        Crew(agents=[agent], tasks=tasks(agent))
    assert str(raised.value) == message


async def test_context_made_wrong_after_construction_fails_the_kickoff() -> None:
    """Definitions can be changed, so the run checks what it reads."""
    agent = writer()
    first, second = task("First", agent), task("Second", agent)
    crew = Crew(agents=[agent], tasks=[first, second])
    first.context = [second]
    async with scripted():
        with pytest.raises(DefinitionError, match="not an earlier task"):
            await crew.akickoff()


async def test_for_each_runs_every_input_to_its_end_whatever_becomes_of_the_others() -> None:
    """One failure loses no result; the error holds both, in input order."""

    async def answer(request: ChatRequest) -> str:
        if "Say 1" in request.messages[-1].content:
            raise BadRequest("not one")
        return request.messages[-1].content.split()[3]

    agent = writer()
    crew = Crew(agents=[agent], tasks=[task("Say {n}", agent)])
    inputs = [{"n": n} for n in range(3)]
    async with scripted(answer, forever=True):
        with pytest.raises(ForEachError, match="1 of 3 inputs failed") as raised:
            await crew.akickoff_for_each(inputs)
        told: list[int] = []
        results = await crew.akickoff_for_each(
            inputs, return_exceptions=True, on_outcome=lambda index, result: told.append(index)
        )
    assert [str(result) for result in raised.value.results] == ["0", "not one", "2"]
    assert [str(result) for result in results] == ["0", "not one", "2"]
    assert sorted(told) == [0, 1, 2]
    assert crew.usage_metrics.successful_requests == 2


def test_for_each_keeps_its_bound_and_sync_for_each_goes_one_by_one() -> None:
    """Six one-second inputs: two at once take three seconds, all at once one."""

    async def a_second(request: ChatRequest) -> str:
        await anyio.sleep(1)
        return "x"

    async def main() -> list[float]:
        agent = writer()
        crew = Crew(agents=[agent], tasks=[task("Say {n}", agent)])
        times = [trio.current_time()]
        async with scripted(a_second, forever=True):
            for bound in (2, None, 1):
                await crew.kickoff_for_each_async(inputs=[{"n": n} for n in range(6)], max_concurrent=bound)
                times.append(trio.current_time())
        return [later - sooner for sooner, later in pairwise(times)]

    took_s = trio.run(main, clock=trio.testing.MockClock(autojump_threshold=0))
    assert took_s == pytest.approx([3, 1, 6])


def test_kickoff_in_a_loop_of_trio_names_the_method_to_await() -> None:
    """It would block every other task; in asyncio it is a warning."""
    agent = writer()
    crew = Crew(agents=[agent], tasks=[task("Say", agent)])

    async def main() -> None:
        with pytest.raises(RuntimeError, match=r"await ….akickoff\("):
            crew.kickoff()
        with pytest.raises(RuntimeError, match=r"await ….akickoff_for_each\("):
            crew.kickoff_for_each([{}])

    trio.run(main)


@pytest.mark.parametrize("inputs", ["topic", ["topic"], 5], ids=str)
async def test_inputs_that_are_no_mapping_are_refused_in_plain_words(inputs: Any) -> None:
    """Not an AttributeError from inside."""
    agent = writer()
    async with scripted():
        with pytest.raises(InputInvalid, match="inputs are a mapping of names to values, not a"):
            await Crew(agents=[agent], tasks=[task("Say", agent)]).akickoff(inputs)


async def test_an_error_in_on_outcome_costs_no_result() -> None:
    """Every input still runs to its end; the error comes with all results. Any iterable of inputs will do."""

    def wrong(index: int, result: Any) -> None:
        raise KeyError("mine")

    agent = writer()
    crew = Crew(agents=[agent], tasks=[task("Say {n}", agent)])
    async with scripted("a", "b", "c"):
        with pytest.raises(ForEachError, match="on_outcome failed") as raised:
            await crew.akickoff_for_each(({"n": n} for n in range(3)), max_concurrent=1, on_outcome=wrong)
    assert [str(result) for result in raised.value.results] == ["a", "b", "c"]


async def test_a_parameter_changed_between_kickoffs_counts() -> None:
    """Inside one gateway, too."""
    llm = LLM(model="openai/m", temperature=0.1)
    agent = writer(llm=llm)
    crew = Crew(agents=[agent], tasks=[task("Say", agent)])
    async with scripted("a", "b") as model:
        await crew.akickoff()
        llm.temperature = 0.9
        await crew.akickoff()
    assert [request.endpoint.params for request in model.requests] == [{"temperature": 0.1}, {"temperature": 0.9}]


async def test_a_kickoff_in_a_thread_of_a_run_is_part_of_that_run() -> None:
    """A sync tool's crew keeps to the run's model, limits and account, and runs in its loop."""
    agent = writer(llm="offline")
    crew = Crew(agents=[agent], tasks=[task("Say {n}", agent)])
    async with scripted("from the script", "again") as model:
        in_thread = await anyio.to_thread.run_sync(crew.kickoff, {"n": 1})
        here = await crew.akickoff({"n": 2})
    assert (in_thread.raw, here.raw, len(model.requests)) == ("from the script", "again", 2)


async def test_a_loop_of_its_own_in_a_run_calls_models_as_the_run_says() -> None:
    """`asyncio.run` in a tool cannot share connections, but it cannot go to a billed model in an offline run either."""
    agent = writer(llm="gpt-4o-mini")
    crew = Crew(agents=[agent], tasks=[task("Say", agent)])
    async with Gateway(GatewayOptions(model="offline")):
        output = await anyio.to_thread.run_sync(lambda: asyncio.run(crew.akickoff()))
    assert output.raw.startswith("[offline")


def test_a_task_may_be_done_alone() -> None:
    """As tools of CrewAI's examples do it, with an agent and a context of their choice."""
    alone = Task(description="Sum up", expected_output="text")
    output = alone.execute_sync(agent=writer(llm="offline"), context="the page")
    assert (output.agent, output.raw.startswith("[offline"), alone.agent) == ("Writer", True, None)


async def test_the_inputs_that_a_crew_needs_can_be_asked_for() -> None:
    """By CrewAI's name."""
    agent = writer(role="{tone} Writer")
    assert Crew(agents=[agent], tasks=[task("On {topic}", agent)]).fetch_inputs() == {"tone", "topic"}


async def test_a_crew_without_tasks_is_refused_when_it_is_kicked_off() -> None:
    """Until then it may still get some, as CrewAI's may."""
    crew = Crew(agents=[], tasks=[])
    async with scripted("done"):
        with pytest.raises(DefinitionError, match="the crew has no tasks"):
            await crew.akickoff()
        crew.tasks.append(task("Say", writer()))
        assert (await crew.akickoff()).raw == "done"


async def test_a_task_of_another_crew_is_context_by_its_latest_output() -> None:
    """Scripts in several phases do so; a task that never ran gives nothing."""
    agent = writer()
    first, never = task("First", agent), task("Never", agent)
    assert first.output is None
    async with scripted("one", "two") as model:
        await Crew(agents=[agent], tasks=[first]).akickoff()
        await Crew(agents=[agent], tasks=[task("Second", agent, context=[first, never])]).akickoff()
    assert first.output is not None
    assert (first.output.raw, prompts(model.requests)[1].partition("earlier:\n")[2]) == ("one", "one")


async def test_a_key_that_a_provider_quotes_is_blacked_out() -> None:
    """Whatever its shape and whichever transport."""
    agent = writer(llm=LLM(model="openai/m", api_key="weird.key/0123456789abcdef"))
    async with scripted(BadRequest("bad key weird.key/0123456789abcdef, sorry")):
        with pytest.raises(BadRequest) as raised:
            await Crew(agents=[agent], tasks=[task("Say", agent)]).akickoff()
    assert str(raised.value) == "bad key [redacted], sorry"


def test_a_wrong_llm_does_not_show_its_key() -> None:
    """Pydantic would print the whole input."""
    with pytest.raises(ValueError, match="model") as raised:
        writer(llm={"modell": "x", "api_key": "plainsecret123"})
    assert "plainsecret123" not in str(raised.value)


def test_kickoff_without_a_loop_runs_the_crew() -> None:
    """The sync doors, with the offline model."""
    agent = writer(llm="offline")
    crew = Crew(agents=[agent], tasks=[task("Say {n}", agent)])
    assert "Say 7" in crew.kickoff({"n": 7}).raw
    assert ["Say 1" in r.raw for r in crew.kickoff_for_each([{"n": 1}, {"n": 2}])] == [True, False]


async def test_concurrent_kickoffs_outside_a_run_share_one_gateway_and_leave_nothing_open() -> None:
    """gather over crews, as in the tutorial: no session is left behind (warnings are errors here)."""
    agent = writer(llm="offline")
    crew = Crew(agents=[agent], tasks=[task("Say {n}", agent)])
    outputs: dict[int, str] = {}

    async def one(n: int) -> None:
        outputs[n] = (await crew.kickoff_async({"n": n})).raw

    async with anyio.create_task_group() as group:
        for n in range(20):
            group.start_soon(one, n)
    assert all(f"Say {n}." in raw or f"Say {n} " in raw for n, raw in outputs.items())


def snapshot(crew: Crew) -> dict[str, Any]:
    return crew.model_dump()


@given(seed=st.integers(0, 2**32), rows=st.integers(1, 30))
@settings(max_examples=25, deadline=None)
def test_concurrent_rows_share_nothing_and_write_nothing_to_the_definition(seed: int, rows: int) -> None:
    """Random latencies and failures: each row's output, context and usage are its own; the crew stays as it was."""
    dice = random.Random(seed)

    async def answer(request: ChatRequest) -> Completion:
        await anyio.sleep(dice.random())
        prompt = request.messages[-1].content
        number = prompt.split("row=")[1].split()[0]
        if int(number) % 7 == 3:
            raise ServerError("down")
        step = prompt.split("step=")[1].split()[0]
        return Completion(f"{step}:{number}", Usage(prompt_tokens=int(number), completion_tokens=1))

    async def main() -> None:
        agent = writer(role="Writer of {row}", llm=LLM(model="openai/m", temperature=0.5))
        tasks = [
            task("step=a row={row} x", agent, async_execution=True),
            task("step=b row={row} x", agent, async_execution=True),
            task("step=c row={row} x", agent),
        ]
        crew = Crew(agents=[agent], tasks=tasks)
        before = snapshot(crew)
        from crewrun import GatewayOptions, RetryPolicy

        async with scripted(answer, forever=True, options=GatewayOptions(RetryPolicy(retries=0))):
            results = await crew.akickoff_for_each([{"row": n} for n in range(rows)], return_exceptions=True)
        assert snapshot(crew) == before
        for n, result in enumerate(results):
            if n % 7 == 3:
                assert isinstance(result, ServerError)
                continue
            assert isinstance(result, CrewOutput)
            assert [t.raw for t in result.tasks_output] == [f"a:{n}", f"b:{n}", f"c:{n}"]
            assert {t.agent for t in result.tasks_output} == {f"Writer of {n}"}
            last = result.tasks_output[2].messages[1]["content"]
            assert last.endswith(f"earlier:\na:{n}\n\n----------\n\nb:{n}")
            assert (result.token_usage.prompt_tokens, result.token_usage.successful_requests) == (3 * n, 3)

    trio.run(main, clock=trio.testing.MockClock(autojump_threshold=0))
