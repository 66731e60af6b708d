"""A flow's state: a dict with an id or a pydantic model, where inputs go, and whose it is when kickoffs overlap."""

from typing import Any

import anyio
import pytest
from pydantic import BaseModel, ConfigDict, Field

from crewrun import Flow, InputInvalid
from crewrun.flow import FlowState, start

pytestmark = pytest.mark.anyio


class Part(BaseModel):
    words: list[str] = []


class Report(BaseModel):
    topic: str = ""
    n: int = 0
    part: Part = Part()


class Typed(Flow[Report]):
    """Counts, and keeps a word."""

    @start()
    async def work(self) -> int:
        self.state.n += 1
        self.state.part.words.append(self.state.topic)
        return self.state.n


class Untyped(Flow):
    """The same over a dict."""

    @start()
    async def work(self) -> Any:
        self.state["n"] = self.state.get("n", 0) + 1
        self.state.setdefault("words", []).append(self.state.get("topic"))
        return self.state["n"]


async def test_inputs_go_into_a_dict_that_has_an_id() -> None:
    """The id is a new one, or the one among the inputs; the caller's own lists stay as they were."""
    flow, words = Untyped(), ["given"]
    assert await flow.akickoff({"topic": "AI", "words": words}) == 1
    assert flow.state == {"id": flow.flow_id, "topic": "AI", "words": ["given", "AI"], "n": 1}
    assert (len(flow.flow_id), words) == (36, ["given"])
    named = Untyped()
    await named.akickoff({"id": "mine"})
    assert (named.flow_id, named.state["id"]) == ("mine", "mine")


async def test_inputs_go_into_a_model_that_gets_an_id() -> None:
    """It is still an instance of the user's class, under its name; what the model does not know is left out."""
    flow = Typed()
    assert await flow.akickoff({"topic": "AI", "n": "5", "unknown": 1}) == 6
    assert isinstance(flow.state, Report)
    assert type(flow.state).__name__ == "Report"
    assert flow.state.model_dump() == {"id": flow.flow_id, "topic": "AI", "n": 6, "part": {"words": ["AI"]}}
    assert Report().part.words == []


@pytest.mark.parametrize(
    ("inputs", "message"),
    [
        pytest.param(
            {"n": "many"},
            "input 'n': Input should be a valid integer, unable to parse string as an integer "
            "(the flow's state is of class Report)",
            id="a wrong value",
        ),
        pytest.param(
            {"n": [], "part": {"words": [1]}},
            "input 'n': Input should be a valid integer; input 'part.words.0': Input should be a valid string "
            "(the flow's state is of class Report)",
            id="several, one of them further in",
        ),
        pytest.param("topic", "the inputs of a flow are names and values, not 'topic'", id="no mapping"),
    ],
)
async def test_inputs_that_do_not_validate_name_their_fields(inputs: Any, message: str) -> None:
    """It is InputInvalid, a ValueError as CrewAI's, and the state stays as it was."""
    flow = Typed(topic="old")
    with pytest.raises(InputInvalid) as caught:
        await flow.akickoff(inputs)
    assert str(caught.value) == message
    assert flow.state.model_dump(exclude={"id"}) == {"topic": "old", "n": 0, "part": {"words": []}}


async def test_a_field_without_a_default_comes_with_the_inputs() -> None:
    """Before that there is no state to look at."""

    class Needs(FlowState):
        topic: str

    class Needing(Flow[Needs]):
        @start()
        async def work(self) -> str:
            return self.state.topic

    flow = Needing()
    with pytest.raises(InputInvalid, match="input 'topic': Field required"):
        _ = flow.state
    with pytest.raises(InputInvalid, match="input 'topic': Field required"):
        await flow.akickoff()
    assert await flow.akickoff({"topic": "AI", "id": 7}) == "AI"
    assert flow.state == Needs(id="7", topic="AI")


async def test_a_second_kickoff_of_one_object_goes_on_with_its_state() -> None:
    """And with what was put there before and in between, as in CrewAI."""
    flow: Any
    for flow in (Typed(topic="a"), Untyped(topic="a")):
        first = flow.flow_id
        assert await flow.akickoff() == 1
        assert await flow.akickoff({"topic": "b"}) == 2
        assert flow.flow_id == first
    assert flow.state["words"] == ["a", "b"]
    flow.state["n"] = 10
    assert await flow.akickoff() == 11


@pytest.mark.parametrize("kind", [Typed, Untyped])
async def test_kickoffs_that_overlap_share_nothing(kind: Any) -> None:
    """One object, started many times before the first ends: states, nested lists in them and ids are apart, and begin
    as the state was when nothing ran.
    """
    inside, everybody, states = 0, anyio.Event(), []

    class Waiting(kind):  # type: ignore[misc]  # a parameter
        async def work(self) -> Any:
            nonlocal inside
            inside += 1
            if inside == 20:
                everybody.set()
            result = await super().work()
            await everybody.wait()
            states.append(self.state)
            return result

    flow = Waiting(n=5)
    _ = flow.state
    with anyio.fail_after(10):
        async with anyio.create_task_group() as group:
            for i in range(20):
                group.start_soon(flow.akickoff, {"topic": f"t{i}"})
    seen = [one if isinstance(one, dict) else {**dict(one), "words": one.part.words} for one in states]
    assert sorted((one["topic"], one["n"], tuple(one["words"])) for one in seen) == sorted(
        (f"t{i}", 6, (f"t{i}",)) for i in range(20)
    )
    assert len({one["id"] for one in seen}) == 20
    assert states[0] is flow.state


async def test_the_state_may_be_assigned_anew() -> None:
    """It keeps its id; what is of another kind is refused."""

    class Assigning(Flow[Report]):
        @start()
        async def work(self) -> None:
            before = self.state.model_dump()["id"]
            self.state = Report(topic="new")
            assert self.flow_id == before

    class AssigningDict(Flow):
        @start()
        async def work(self) -> None:
            before = self.flow_id
            self.state = {"topic": "new"}
            assert self.flow_id == before

    typed, untyped = Assigning(), AssigningDict()
    await typed.akickoff()
    await untyped.akickoff()
    assert (typed.state.topic, untyped.state) == ("new", {"topic": "new", "id": untyped.flow_id})
    with pytest.raises(TypeError, match=r"self.state is a Report here, not \{'topic': 'x'\}"):
        typed.state = {"topic": "x"}  # type: ignore[assignment]  # what the test is about
    with pytest.raises(TypeError, match=r"self.state is a dict here, not Report\(.*Flow\[Report\] has a model"):
        untyped.state = Report()  # type: ignore[assignment]  # what the test is about


async def test_the_model_is_found_through_base_classes_and_initial_state() -> None:
    """A subclass of a flow with a model has it too; `initial_state` is a model, an instance of one, or a dict."""

    class Child(Typed):
        pass

    class ByModel(Flow):
        initial_state = Report

    class ByInstance(Flow):
        initial_state = Report(topic="begins so")

    class ByDict(Flow):
        initial_state = {"words": ["first"]}  # noqa: RUF012  (as users write it)

    assert isinstance(Child().state, Report)
    assert isinstance(ByModel().state, Report)
    assert (ByInstance().state.topic, ByInstance(topic="given").state.topic) == ("begins so", "given")  # type: ignore[attr-defined]  # the model is not in the type
    one, two = ByDict(), ByDict()
    one.state["words"].append("more")
    assert two.state["words"] == ["first"]


async def test_a_model_may_have_an_id_aliases_and_rules_of_its_own() -> None:
    """They are the model's; ids that come from a default are new for each kickoff that overlaps."""

    class Own(BaseModel):
        model_config = ConfigDict(validate_assignment=True, extra="forbid", populate_by_name=True)
        id: int = 4
        long_name: str = Field("x", alias="longName")

    class Owning(Flow[Own]):
        @start()
        async def work(self) -> str:
            self.state.long_name += "y"
            return self.state.long_name

    flow = Owning()
    assert await flow.akickoff({"longName": "a"}) == "ay"
    assert await flow.akickoff({"long_name": "b"}) == "by"
    assert await flow.akickoff() == "byy"
    assert (flow.flow_id, flow.state.id) == ("4", 4)
    with pytest.raises(InputInvalid, match="input 'other': Extra inputs are not permitted"):
        await flow.akickoff({"other": 1})
