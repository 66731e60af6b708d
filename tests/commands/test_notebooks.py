"""crewrun in a notebook: cells in a real IPython kernel."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from support.kernel import Kernel
from support.kernel import kernel as start_kernel

CREW = """
from crewrun import LLM, Agent, Crew, Gateway, Task
agent = Agent(role="Writer", goal="g", backstory="b", llm="offline")
task = Task(description="Say {n}", expected_output="e", agent=agent)
crew = Crew(agents=[agent], tasks=[task])
"""


@pytest.fixture(scope="module")
def kernel(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Kernel]:
    """One kernel for the tests of this file, with a crew in it."""
    with start_kernel(tmp_path_factory.mktemp("notebook")) as started:
        shown = started.run(CREW)
        assert not shown.traceback
        yield started


def test_a_kickoff_in_a_cell_works_and_warns_once(tmp_path: Path) -> None:
    """The warning names what to await, at the line of the cell. Later cells and other methods have none."""
    with start_kernel(tmp_path) as own:
        first = own.run(f"{CREW}\ncrew.kickoff({{'n': 1}}).raw[:8]")
        later = own.run(
            "[one.raw[:8] for one in (crew.kickoff({'n': 2}), agent.kickoff('x'), *crew.kickoff_for_each([{'n': 3}]))]"
        )
        direct = own.run("LLM('offline').call('x')[:8]")
    place, _, text = first.stderr.splitlines()[0].partition(" CrewrunWarning: ")
    assert place.endswith(".py:6:")
    assert text == (
        "kickoff() holds the notebook until it has its answer; `await ….akickoff(…)` leaves its event loop free "
        "(this is said once)"
    )
    assert first.stderr.splitlines()[1:] == ["  crew.kickoff({'n': 1}).raw[:8]"]
    assert [first.text, later.text, direct.text] == ["'[offline'", str(["[offline"] * 3), "'[offline'"]
    assert later.stderr + direct.stderr == ""


def test_interrupting_the_kernel_cancels_the_kickoff(kernel: Kernel) -> None:
    """Its cleanup has run when the cell ends, and no thread of it is left."""
    cell = """
import asyncio, threading
async def slow(inputs):
    print("began")
    try:
        await asyncio.sleep(60)
    finally:
        print("cancelled")
Crew(agents=[agent], tasks=[task], before_kickoff_callbacks=[slow]).kickoff({"n": 1})
"""
    shown = kernel.run(cell, lambda so_far: kernel.interrupt() if so_far == "began\n" else None)
    assert shown.stdout == "began\ncancelled\n"
    assert "KeyboardInterrupt" in shown.traceback
    left = kernel.run("[one.name for one in threading.enumerate() if one.name.startswith('crewrun')]")
    assert left.text == "[]"
    assert kernel.run("crew.kickoff({'n': 1}).raw[:8]").text == "'[offline'"


@pytest.mark.parametrize(
    "awaited",
    [
        "slow.akickoff({'n': 1})",
        "slow.akickoff_for_each([{'n': 1}])",
        "slow.agents[0].akickoff('x')",
        "lazy.acall('x')",
    ],
)
def test_the_stop_button_ends_what_is_awaited(kernel: Kernel, awaited: str) -> None:
    """While it waits for a model, where nothing wakes the kernel's loop; what is shown is the cell alone."""
    kernel.run("""
lazy = LLM("offline?latency=60")
waiting = Agent(role="Writer", goal="g", backstory="b", llm=lazy)
slow = Crew(agents=[waiting], tasks=[Task(description="Say {n}", expected_output="e", agent=waiting)])
""")
    shown = kernel.run(
        f"import asyncio\nawaiting = asyncio.ensure_future({awaited})\nasync def say():\n"
        "    await asyncio.sleep(0)\n    print('began')\nawait say()\nawait awaiting",
        lambda _: kernel.interrupt(),
    )
    assert "CancelledError" in shown.traceback
    assert "crewrun" not in shown.traceback


def test_a_kickoff_in_a_cell_has_the_cell_s_context_and_gateway(kernel: Kernel) -> None:
    """Context variables set in the cell are there; inside `async with Gateway(…)` it is that gateway's call."""
    kernel.run("""
from contextvars import ContextVar
from crewrun import CallError, GatewayOptions, RetryPolicy
seen = ContextVar("seen", default=0)
noting = Crew(agents=[agent], tasks=[task], before_kickoff_callbacks=[lambda inputs: print(seen.get())])
""")
    assert kernel.run("seen.set(7)\nnoting.kickoff({'n': 1})").stdout == "7\n"
    once = kernel.run("""
async with Gateway(GatewayOptions(retry=RetryPolicy(retries=0))):
    try:
        LLM("openai/x", base_url="http://127.0.0.1:9", api_key="k").call("x")
    except CallError as failed:
        print(failed.attempts)
""")
    assert (once.stdout, once.traceback) == ("1\n", "")


def test_objects_show_themselves_as_cards(kernel: Kernel) -> None:
    """As the value of a cell: HTML for Jupyter, Markdown for what has no HTML, and a short text."""
    shown = kernel.run("crew.kickoff({'n': 1})")
    assert sorted(shown.data) == ["text/html", "text/markdown", "text/plain"]
    assert shown.text.startswith("CrewOutput('[offline")
    assert (kernel.run("crew").text, kernel.run("agent.llm").text) == ("Crew(1 agent, 1 task)", "LLM('offline')")


def test_a_failed_kickoff_shows_the_cell_and_one_frame_of_ours(kernel: Kernel) -> None:
    """An awaited one shows the cell alone."""
    files = {
        cell: [
            line.split()[1].rpartition("/")[2] for line in kernel.run(cell).traceback.splitlines() if "File " in line
        ]
        for cell in ("crew.kickoff({})", "await crew.akickoff({})")
    }
    assert [[file.partition(":")[0] for file in each] for each in files.values()] == [["family.py"], []]
