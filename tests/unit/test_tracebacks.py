"""Errors in the user's own program show the user's lines, and one of crewrun's at most."""

import asyncio
import tempfile
import traceback
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from crewrun import (
    LLM,
    Agent,
    Crew,
    CrewOutput,
    ForEachError,
    Gateway,
    GatewayOptions,
    GuardrailFailed,
    InputInvalid,
    RetryPolicy,
    Run,
    Task,
    UsageError,
    run_batch,
)
from crewrun.errors import AuthRefused, NetworkError
from crewrun.flow import Flow, start
from crewrun.row_context import RowContext, use_row_context
from crewrun.tracebacks import FULL_TRACEBACK

KEYLESS = LLM("openai/x")
DEAD = LLM("openai/x", base_url="http://127.0.0.1:9", api_key="k")  # nothing listens there
agent = Agent(role="R", goal="g", backstory="b", llm="offline")
lost = Agent(role="R", goal="g", backstory="b", llm=KEYLESS)


def crew_of(agent: Agent = agent, **fields: Any) -> Crew:
    return Crew(agents=[agent], tasks=[Task(description="Say {n}", expected_output="e", agent=agent, **fields)])


def fail(output: CrewOutput) -> None:
    raise KeyError("nope")


async def fail_later(output: CrewOutput) -> None:
    fail(output)


def guard(output: CrewOutput) -> tuple[bool, str]:
    raise ValueError("broken")


class Failing(Flow):
    @start()
    def begin(self) -> None:
        raise KeyError("nope")


class Asking(Flow):
    @start()
    async def begin(self) -> str:
        return (await crew_of(lost).akickoff({"n": 1})).raw


def frames_of(error: BaseException | None) -> list[str]:
    """`file.py function` of each frame, outermost first, below those of the test."""
    assert error is not None
    frames = [f"{Path(one.filename).name} {one.name}" for one in traceback.extract_tb(error.__traceback__)]
    here = Path(__file__).name
    return [one for one in frames if not one.startswith(f"{here} test_") and one != f"{here} <lambda>"]


HERE = Path(__file__).name
NOWHERE = Path(tempfile.gettempdir()) / "crewrun-test-that-does-not-begin.jsonl"
CASES: dict[str, tuple[Callable[[], object], type[Exception], list[str]]] = {
    "an input that is missing": (lambda: crew_of().kickoff({}), InputInvalid, ["family.py kickoff"]),
    "a for-each": (lambda: crew_of().kickoff_for_each([{}]), ForEachError, ["family.py kickoff_for_each"]),
    "an agent": (lambda: lost.kickoff("x"), AuthRefused, ["agent.py kickoff"]),
    "a model": (lambda: KEYLESS.call("x"), AuthRefused, ["model.py call"]),
    "a callback": (
        lambda: crew_of(callback=fail).kickoff({"n": 1}),
        KeyError,
        ["family.py kickoff", f"{HERE} fail"],
    ),
    "an async callback": (
        lambda: crew_of(callback=fail_later).kickoff({"n": 1}),
        KeyError,
        ["family.py kickoff", f"{HERE} fail_later", f"{HERE} fail"],
    ),
    "a batch whose rows lack a field": (lambda: run_batch([{"m": 1}], crew_of(), str(NOWHERE)), UsageError, []),
    "a misspelt setting": (lambda: run_batch([], crew_of(), modle="x"), TypeError, ["batch.py run_batch"]),  # type: ignore[call-arg]
    "a status that rows do not have": (lambda: Run(None, None, {}).rows("fine"), UsageError, []),  # type: ignore[arg-type]
    "an agent without a goal": (lambda: Agent(role="r"), ValidationError, ["declared.py __init__"]),
    "a flow's method": (lambda: Failing().kickoff(), KeyError, ["flow.py kickoff", f"{HERE} begin"]),
    "a crew in a flow": (lambda: Asking().kickoff(), AuthRefused, ["flow.py kickoff", f"{HERE} begin"]),
}


@pytest.mark.parametrize(("start_it", "kind", "frames"), CASES.values(), ids=CASES)
def test_an_error_has_the_users_frames_and_one_of_ours(
    start_it: Callable[[], object], kind: type[Exception], frames: list[str]
) -> None:
    """Neither the event loop's nor ours in between."""
    with pytest.raises(kind) as raised:
        start_it()
    assert frames_of(raised.value) == frames


def test_what_is_awaited_shows_the_users_frames_alone() -> None:
    """For crews, for-each, agents and flows."""
    awaited: list[Callable[[], Awaitable[object]]] = [
        lambda: crew_of().akickoff({}),
        lambda: crew_of().akickoff_for_each([{}]),
        lambda: lost.akickoff("x"),
        lambda: KEYLESS.acall("x"),
    ]

    async def main() -> list[list[str]]:
        frames: list[list[str]] = []
        for one in awaited:
            try:
                await one()
            except Exception as error:
                frames.append(frames_of(error))
        return frames

    assert asyncio.run(main()) == [[f"{HERE} main"]] * len(awaited)


def test_what_an_error_came_from_stays_with_its_message_or_the_users_frames() -> None:
    """A library's error is its message; a guardrail's has the guardrail's line; what is no cause is not shown."""

    async def ask_once() -> None:
        async with Gateway(GatewayOptions(retry=RetryPolicy(retries=0))):
            await DEAD.acall("x")

    with pytest.raises(NetworkError) as unreachable:
        asyncio.run(ask_once())
    cause = unreachable.value.__cause__
    assert (type(cause).__name__, frames_of(cause)) == ("ConnectionRefusedError", [])
    assert frames_of(unreachable.value)[-1] == f"{HERE} ask_once"
    with pytest.raises(GuardrailFailed) as refused:
        crew_of(guardrail=guard).kickoff({"n": 1})
    assert frames_of(refused.value.__cause__) == [f"{HERE} guard"]
    with pytest.raises(InputInvalid) as invalid:
        crew_of().kickoff({})
    assert invalid.value.__suppress_context__


def test_each_failure_of_a_for_each_is_short_too() -> None:
    """One that came from the user's code has its line."""
    with pytest.raises(ForEachError) as failed:
        crew_of(callback=fail).kickoff_for_each([{"n": 1}, {}])
    assert [frames_of(one) for one in failed.value.exceptions] == [[f"{HERE} fail"], []]


def test_all_frames_are_there_for_a_bug_a_row_or_on_demand(monkeypatch: pytest.MonkeyPatch) -> None:
    """An error that is neither the user's nor one of crewrun's tree may be a bug in crewrun."""

    def render_frames() -> list[str]:
        with pytest.raises(InputInvalid) as invalid:
            crew_of().kickoff({})
        return frames_of(invalid.value)[1:]

    with pytest.raises(ValueError, match="max_concurrent") as unfit:
        asyncio.run(crew_of().akickoff_for_each([{}], max_concurrent=0))
    assert "for_each.py for_each" in frames_of(unfit.value)
    assert len(render_frames()) == 1
    with use_row_context(RowContext()):
        assert "templates.py render" in render_frames()
    monkeypatch.setenv(FULL_TRACEBACK, "1")
    assert "templates.py render" in render_frames()
    monkeypatch.setenv(FULL_TRACEBACK, "0")
    assert len(render_frames()) == 1
