"""A flow that is interrupted more than once: whichever store has its state, no finished method runs again."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from crewrun.flow import Flow, listen, persist, start
from crewrun.flow.persistence import SQLiteFlowPersistence

pytestmark = pytest.mark.anyio


@pytest.fixture(autouse=True)
def _own_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


class Steps(Flow):
    """Four methods after each other; the one called `trips` raises."""

    def __init__(self, calls: list[str], trips: str = "", **fields: Any) -> None:
        super().__init__(**fields)
        self._calls, self._trips = calls, trips

    def note(self, name: str) -> str:
        self._calls.append(name)
        if name == self._trips:
            raise RuntimeError(f"{name} trips")
        self.state[name] = self.state.get(name, 0) + 1
        return name

    @start()
    def one(self) -> str:
        return self.note("one")

    @listen(one)
    async def two(self, before: str) -> str:
        return f"{before} {self.note('two')}"

    @listen(two)
    async def three(self, before: str) -> str:
        return f"{before} {self.note('three')}"

    @listen(three)
    def four(self, before: str) -> str:
        return f"{before} {self.note('four')}"


@persist("states.db")
class Decorated(Steps):
    """Kept where @persist says."""


def given(calls: list[str], trips: str = "") -> Steps:
    """Kept where `persistence` says."""
    return Decorated(calls, trips, persistence=SQLiteFlowPersistence("given.db"))


@pytest.mark.parametrize("make", [Decorated, given], ids=["@persist", "persistence="])
async def test_a_flow_that_was_interrupted_twice_repeats_no_method(make: Callable[..., Steps]) -> None:
    """Each kickoff goes on after the last method that ended in any of those before."""
    calls: list[str] = []
    for trips in ("two", "four"):
        with pytest.raises(RuntimeError, match=f"{trips} trips"):
            await make(calls, trips).akickoff({"id": "x"})
    assert calls == ["one", "two", "two", "three", "four"]
    calls.clear()
    flow = make(calls)
    assert await flow.akickoff({"id": "x"}) == "one two three four"
    assert calls == ["four"]
    assert flow.state == {"id": "x", "one": 1, "two": 1, "three": 1, "four": 1}
    assert flow.method_outputs == ["one", "one two", "one two three", "one two three four"]


@pytest.mark.parametrize("make", [Decorated, given], ids=["@persist", "persistence="])
async def test_a_flow_that_has_ended_begins_at_its_start(make: Callable[..., Steps]) -> None:
    """Also when it was interrupted before; what it did then is no part of the new run."""
    calls: list[str] = []
    with pytest.raises(RuntimeError, match="three trips"):
        await make(calls, "three").akickoff({"id": "x"})
    await make(calls).akickoff({"id": "x"})
    calls.clear()
    flow = make(calls)
    await flow.akickoff({"id": "x"})
    assert calls == ["one", "two", "three", "four"]
    assert flow.state == {"id": "x", "one": 2, "two": 2, "three": 2, "four": 2}


async def test_flows_with_other_ids_know_nothing_of_it() -> None:
    """One store has many; an interrupted one is its own only."""
    calls: list[str] = []
    with pytest.raises(RuntimeError, match="two trips"):
        await Decorated(calls, "two").akickoff({"id": "x"})
    calls.clear()
    flow = Decorated(calls)
    assert await flow.akickoff({"id": "y"}) == "one two three four"
    assert (calls, flow.state["one"]) == (["one", "two", "three", "four"], 1)
