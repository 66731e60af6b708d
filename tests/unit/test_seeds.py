"""What a user coming from a tutorial on async crews or on flows writes first, each as they would, all together.

Details of each are held elsewhere: here the whole shapes run, and run as concurrently as they promise.
"""

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any

import anyio
import anyio.to_thread
import httpx
import pytest
import trio
import trio.testing
from fastapi import FastAPI
from pydantic import BaseModel

from crewrun import Agent, Crew, CrewOutput, CrewrunWarning, ForEachError, InputInvalid, Process, Task
from crewrun.errors import AuthRefused
from crewrun.flow.flow import Flow, and_, listen, start
from crewrun.messages import ChatRequest
from crewrun.testing import calls, scripted
from crewrun.tools import tool

pytestmark = pytest.mark.anyio
CITIES = ["Oslo", "Lima", "Hanoi", "Accra"]
Timed = Callable[[], Coroutine[Any, Any, Any]]


@tool
def almanac(city: str) -> str:
    """Look a city up."""
    return f"{city} is by the sea"


def guide(about: str, tools: list[Any] | None = None) -> Crew:
    """A crew of one that writes about a city, or about `{city}`."""
    agent = Agent(role="Guide", goal=f"Know all of {about}", backstory="Has been there.", tools=tools or [], llm="m")
    task = Task(description=f"Praise {about}.", expected_output="One sentence.", agent=agent)
    return Crew(agents=[agent], tasks=[task], process=Process.sequential, verbose=False)


class Echo:
    """A model that takes `latency_s`, answers with the city it was asked about, and knows how many asked at once."""

    def __init__(self, latency_s: float = 0.0, waits_for: int = 1) -> None:
        self.peak = self._open = 0
        self._latency_s = latency_s
        self._waits_for = waits_for

    async def __call__(self, request: ChatRequest) -> str:
        """Answer, when at least `waits_for` requests have been open at once."""
        self._open += 1
        self.peak = max(self.peak, self._open)
        await anyio.sleep(self._latency_s)
        with anyio.fail_after(5):
            while self.peak < self._waits_for:
                await anyio.lowlevel.checkpoint()
        self._open -= 1
        return request.messages[-1].content.split("Praise ")[1].split(".")[0] + "!"


def seconds(main: Timed) -> float:
    """How long `main` takes on a clock that jumps over every wait."""

    async def timed() -> float:
        began = trio.current_time()
        await main()
        return trio.current_time() - began

    return trio.run(timed, clock=trio.testing.MockClock(autojump_threshold=0))


async def together(*coroutines: Timed) -> None:
    """Await them all at once, under trio too."""
    async with anyio.create_task_group() as group:
        for one in coroutines:
            group.start_soon(one)


async def test_one_crew_with_a_tool_is_awaited() -> None:
    """`kickoff_async` gives the output, from within a loop that runs already."""
    async with scripted(calls("almanac", city="Oslo"), "Oslo lies by the sea.") as model:
        output = await guide("Oslo", [almanac]).kickoff_async()
    assert (type(output), output.raw, str(output)) == (CrewOutput, "Oslo lies by the sea.", "Oslo lies by the sea.")
    assert model.requests[1].messages[-1].content == "Oslo is by the sea"


async def test_several_crews_are_gathered() -> None:
    """All ask at once, and the results are in the order of the crews."""
    crews = [guide(city) for city in CITIES]
    async with scripted(Echo(waits_for=4), forever=True):
        outputs = await asyncio.gather(*(crew.kickoff_async() for crew in crews))
    assert [output.raw for output in outputs] == ["Oslo!", "Lima!", "Hanoi!", "Accra!"]


async def test_one_crew_runs_for_each_input_at_once() -> None:
    """By both names, in the order of the inputs."""
    inputs = [{"city": city} for city in CITIES]
    async with scripted(Echo(waits_for=4), forever=True):
        first = await guide("{city}").kickoff_for_each_async(inputs=inputs)
    async with scripted(Echo(waits_for=4), forever=True):
        second = await guide("{city}").akickoff_for_each(inputs=inputs)
    assert [output.raw for output in first] == [output.raw for output in second] == [f"{city}!" for city in CITIES]


async def test_an_input_that_fails_loses_no_other() -> None:
    """The error has all results in order; `return_exceptions` gives them at once."""
    inputs = [{"city": city} for city in CITIES[:3]]

    async def answer(request: ChatRequest) -> str:
        if "Lima" in request.messages[-1].content:
            raise AuthRefused("no visa")
        return "welcome"

    async with scripted(answer, forever=True):
        with pytest.raises(ForEachError) as caught:
            await guide("{city}").kickoff_for_each_async(inputs=inputs)
        given = await guide("{city}").akickoff_for_each(inputs, return_exceptions=True)
    for results in (caught.value.results, given):
        assert [str(result) for result in results] == ["welcome", "no visa", "welcome"]


async def test_a_web_service_awaits_crews_in_its_routes() -> None:
    """Two requests of two cities each have four calls open together."""
    app = FastAPI()

    class Wanted(BaseModel):
        cities: list[str]

    class Praised(BaseModel):
        praise: dict[str, str]

    async def route(wanted: Wanted) -> Praised:
        outputs = await asyncio.gather(*(guide(city).kickoff_async() for city in wanted.cities))
        return Praised(praise={city: output.raw for city, output in zip(wanted.cities, outputs, strict=True)})

    app.post("/praise", response_model=Praised)(route)
    async with (
        scripted(Echo(waits_for=4), forever=True),
        httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://service") as client,
    ):
        replies = await asyncio.gather(
            *(client.post("/praise", json={"cities": cities}) for cities in (CITIES[:2], CITIES[2:]))
        )
    assert [reply.json() for reply in replies] == [
        {"praise": {"Oslo": "Oslo!", "Lima": "Lima!"}},
        {"praise": {"Hanoi": "Hanoi!", "Accra": "Accra!"}},
    ]


def test_four_crews_at_once_take_as_long_as_one() -> None:
    """The benchmark: one after another they take four times that."""

    async def parallel() -> None:
        async with scripted(Echo(2.0), forever=True):
            await together(*(guide(city).kickoff_async for city in CITIES))

    async def sequential() -> None:
        async with scripted(Echo(2.0), forever=True):
            for city in CITIES:
                await guide(city).kickoff_async()

    assert seconds(parallel) == pytest.approx(2.0)
    assert seconds(sequential) / seconds(parallel) == pytest.approx(4.0)


async def test_an_agent_that_crews_share_mixes_nothing_up() -> None:
    """Each crew has its own texts, also when both ask at the same time."""
    agent = Agent(role="Guide to {city}", goal="g", backstory="b", llm="m")
    crews = [
        Crew(agents=[agent], tasks=[Task(description=f"Praise {{city}}. {word}", expected_output="e", agent=agent)])
        for word in ("Loudly", "Softly")
    ]
    async with scripted(Echo(waits_for=2), forever=True) as model:
        outputs = await asyncio.gather(crews[0].akickoff({"city": "Oslo"}), crews[1].akickoff({"city": "Lima"}))
    assert [output.raw for output in outputs] == ["Oslo!", "Lima!"]
    asked = sorted((request.messages[0].content, request.messages[-1].content) for request in model.requests)
    assert ["Guide to Lima" in asked[0][0], "Lima. Softly" in asked[0][1]] == [True, True]
    assert ["Guide to Oslo" in asked[1][0], "Oslo. Loudly" in asked[1][1]] == [True, True]


async def test_the_sync_doors_say_what_to_await_in_a_loop() -> None:
    """Of crews, agents and flows, each as a warning."""

    class Small(Flow):
        @start()
        async def only(self) -> None: ...

    crew = guide("Oslo")
    wrong: dict[str, list[Callable[[], Any]]] = {
        "kickoff": [crew.kickoff, lambda: crew.agents[0].kickoff("x"), Small().kickoff],
        "kickoff_for_each": [lambda: crew.kickoff_for_each([{}]), lambda: Small().kickoff_for_each([{}])],
    }
    async with scripted("answer", forever=True):
        for name, doors in wrong.items():
            for door in doors:
                with pytest.warns(CrewrunWarning) as caught:
                    door()
                assert str(caught[0].message).partition(": ")[2] == (
                    f"{name}() blocks the running event loop until it has its answer; inside async code write "
                    f"`await ….a{name}(…)`"
                )


async def test_the_sync_for_each_goes_one_by_one() -> None:
    """The async one has all inputs open at once; results are the same."""
    inputs, echo = [{"city": city} for city in CITIES], Echo()
    async with scripted(echo, forever=True):
        outputs = await anyio.to_thread.run_sync(guide("{city}").kickoff_for_each, inputs)
    assert ([output.raw for output in outputs], echo.peak) == ([f"{city}!" for city in CITIES], 1)


def test_a_flow_of_async_methods_hands_results_on() -> None:
    """From a script without a loop; the state is a dict."""

    class Relay(Flow):
        @start()
        async def fetch(self) -> str:
            await anyio.sleep(0)
            self.state["found"] = "a letter"
            return str(self.state["found"])

        @listen(fetch)
        async def read(self, found: str) -> str:
            await anyio.sleep(0)
            return f"read {found}"

    flow = Relay()
    assert flow.kickoff() == "read a letter"
    assert flow.state["found"] == "a letter"


async def test_an_input_that_no_text_asks_for_is_no_mistake() -> None:
    """A single run with `akickoff`."""
    async with scripted(Echo(), forever=True):
        assert (await guide("Oslo").akickoff(inputs={"season": "winter"})).raw == "Oslo!"


class Trip(BaseModel):
    """What the flow below has found out."""

    food: str = ""
    sights: str = ""
    plan: str = ""


class Planner(Flow[Trip]):
    """Two crews beside each other, and one with what both found."""

    @start()
    async def taste(self) -> None:
        self.state.food = (await self._crew("food").akickoff(inputs={"city": "Lima"})).raw

    @start()
    async def look(self) -> None:
        self.state.sights = (await self._crew("sights").akickoff(inputs={"city": "Lima"})).raw

    @listen(and_(taste, look))
    async def plan(self) -> None:
        found = {"city": f"{self.state.food} and {self.state.sights}"}
        self.state.plan = (await self._crew("plan").akickoff(inputs=found)).raw

    def _crew(self, what: str) -> Crew:
        return guide(f"{what}: {{city}}")


async def test_a_typed_flow_runs_crews_side_by_side_and_joins_them() -> None:
    """The join sees the state that both have written; the flow counts what all three used."""
    flow = Planner()
    async with scripted(*[Echo(waits_for=2)] * 2, Echo()):
        await flow.akickoff()
    expected = Trip(food="food: Lima!", sights="sights: Lima!", plan="plan: food: Lima! and sights: Lima!!")
    assert Trip(**flow.state.model_dump(exclude={"id"})) == expected
    assert flow.usage_metrics.successful_requests == 3


async def test_a_crew_in_a_flow_that_lacks_an_input_runs_and_says_which() -> None:
    """Its placeholder goes to the model as it stands, with a warning; outside a flow the kickoff is refused."""
    city = guide("{city}")

    class Lacking(Flow):
        @start()
        async def only(self) -> None:
            await city.akickoff(inputs={"town": "Lima"})

    async with scripted("Splendid.") as model:
        with pytest.warns(CrewrunWarning, match="a crew in a flow has no input 'city': the model is sent {city} as it"):
            await Lacking().akickoff()
        assert "{city}" in model.requests[0].messages[0].content
        with pytest.raises(InputInvalid, match="missing input 'city', needed by "):
            await city.akickoff(inputs={"town": "Lima"})


async def test_an_agent_is_asked_directly_in_a_flow() -> None:
    """Without a crew; `query=` is taken too, and the result reads as its text."""

    class Sorter(Flow):
        @start()
        async def sort(self) -> Any:
            agent = Agent(role="Sorter", goal="Sort", backstory="b", llm="m")
            return await agent.kickoff_async(query="Good or bad: 'Lovely beach'")

    async with scripted("good") as model:
        found = await Sorter().akickoff()
    assert (str(found), found.agent_role) == ("good", "Sorter")
    assert model.requests[0].messages[-1].content == "Good or bad: 'Lovely beach'"


async def test_a_semaphore_bounds_a_batch() -> None:
    """Of ten inputs three are open at a time, with the user's own semaphore and with `max_concurrent`."""
    crew, semaphore = guide("{city}"), asyncio.Semaphore(3)

    async def one(number: int) -> str:
        async with semaphore:
            return (await crew.akickoff(inputs={"city": f"city {number}"})).raw

    echo, ours = Echo(waits_for=3), Echo(waits_for=3)
    async with scripted(echo, forever=True):
        raws = await asyncio.gather(*map(one, range(10)))
    async with scripted(ours, forever=True):
        outputs = await crew.akickoff_for_each([{"city": f"city {i}"} for i in range(10)], max_concurrent=3)
    assert raws == [output.raw for output in outputs] == [f"city {i}!" for i in range(10)]
    assert (echo.peak, ours.peak) == (3, 3)


def test_two_crews_in_a_flow_take_as_long_as_the_slower_one() -> None:
    """The exercise: 1.4 s instead of 2.6, and a sync method that counts the words of both."""

    async def answer(request: ChatRequest) -> str:
        is_first = "Oslo" in request.messages[-1].content
        await anyio.sleep(1.2 if is_first else 1.4)
        return "cold but clear" if is_first else "grey and mild today"

    class Both(BaseModel):
        one: str = ""
        two: str = ""

    class Weather(Flow[Both]):
        @start()
        async def first(self) -> None:
            self.state.one = (await guide("Oslo").akickoff()).raw

        @start()
        async def second(self) -> None:
            self.state.two = (await guide("Lima").akickoff()).raw

        @listen(and_(first, second))
        def count(self) -> int:
            return len(self.state.one.split()) + len(self.state.two.split())

    async def parallel() -> None:
        async with scripted(answer, forever=True):
            assert await Weather().akickoff() == 7

    async def sequential() -> None:
        async with scripted(answer, forever=True):
            await guide("Oslo").akickoff()
            await guide("Lima").akickoff()

    assert seconds(parallel) == pytest.approx(1.4)
    assert seconds(sequential) / seconds(parallel) == pytest.approx(2.6 / 1.4)
