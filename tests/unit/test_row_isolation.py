"""One crew object, hundreds of kickoffs at once: what belongs to a row stays with it."""

import json
from typing import Any

import anyio
import trio
import trio.testing
from hypothesis import given, settings
from hypothesis import strategies as st

from crewrun import Agent, Crew, CrewOutput, Task, TaskOutput
from crewrun.messages import ChatRequest, Completion, ToolCall, Usage
from crewrun.testing import scripted
from crewrun.tools import tool

ROWS = 300


@tool
async def note(row: str) -> str:
    """Note a row."""
    await anyio.sleep(int(row) % 7 / 10)
    return f"noted {row}"


class Model:
    """Answers with the row that it finds in the prompt, after a wait of its own for each call."""

    def __init__(self, waits: list[float]) -> None:
        self.waits = waits

    async def __call__(self, request: ChatRequest) -> Completion:
        text = request.messages[1].content
        row = text.partition("row<")[2].partition(">")[0]
        await anyio.sleep(self.waits[(int(row) * 31 + len(request.messages)) % len(self.waits)])
        if request.tools and len(request.messages) == 2:
            call = ToolCall(f"call_{row}", "note", json.dumps({"row": row}))
            return Completion("", Usage(int(row), 0, 1), tool_calls=(call,))
        said = request.messages[-1].content if request.tools else text.partition("earlier:\n")[2]
        return Completion(f"{row} saw [{said}]", Usage(int(row), 0, 1))


@settings(max_examples=5, deadline=None)
@given(waits=st.lists(st.floats(0, 5), min_size=1, max_size=20))
def test_hundreds_of_kickoffs_of_one_crew_keep_to_themselves(waits: list[float]) -> None:
    """Outputs, contexts, usage and callbacks of each of 300 rows are its own, however the calls interleave."""
    finished: list[tuple[str, str]] = []
    steps: list[Any] = []

    def crew() -> Crew:
        worker = Agent(role="R{n}", goal="g", backstory="b", llm="gpt-4o-mini", tools=[note], step_callback=keep(steps))
        writer = Agent(role="W{n}", goal="g", backstory="b", llm="gpt-4o-mini")
        first = Task(name="first", description="row<{n}>", expected_output="e", agent=worker)
        second = Task(name="second", description="row<{n}>", expected_output="e", agent=writer, callback=told)
        return Crew(agents=[worker, writer], tasks=[first, second])

    async def told(output: TaskOutput) -> None:
        finished.append((output.agent, output.raw))

    async def main() -> tuple[list[CrewOutput], int, str, str]:
        one = crew()
        before = one.model_dump_json(exclude={"agents", "tasks"}) + repr([t.description for t in one.tasks])
        async with scripted(Model(waits), forever=True):
            outputs = await one.akickoff_for_each([{"n": i} for i in range(ROWS)])
        after = one.model_dump_json(exclude={"agents", "tasks"}) + repr([t.description for t in one.tasks])
        return outputs, one.usage_metrics.prompt_tokens, before, after

    outputs, total, before, after = trio.run(main, clock=trio.testing.MockClock(autojump_threshold=0))
    expected = [f"{i} saw [{i} saw [noted {i}]]" for i in range(ROWS)]
    assert [output.raw for output in outputs] == expected
    assert [output.token_usage.prompt_tokens for output in outputs] == [3 * i for i in range(ROWS)]
    assert [output.tasks_output[0].agent for output in outputs] == [f"R{i}" for i in range(ROWS)]
    assert total == 3 * sum(range(ROWS))
    assert sorted(finished) == sorted((f"W{i}", text) for i, text in enumerate(expected))
    assert len(steps) == 2 * ROWS
    assert before == after


def keep(steps: list[Any]) -> Any:
    """An async callback, so that no row waits for a thread."""

    async def step(one: Any) -> None:
        steps.append(one)

    return step
