"""Listeners to CrewAI's events in a crew's own files, as commands, programs and workers run them."""

import json
import signal
import sys
import time
from collections import Counter
from contextlib import suppress
from subprocess import PIPE, Popen, TimeoutExpired, run
from typing import Any

import pytest
from support.command import read_rows, topics
from support.local_workers import NEAR
from support.workspace import Place

CREW = """\
import json
import os
from pathlib import Path

from crewai import Agent, Crew, Task
from crewai.events import BaseEventListener, CrewKickoffStartedEvent, LLMCallCompletedEvent
from crewai.events.types.tool_usage_events import ToolUsageFinishedEvent
from crewai.tools import tool
from crewai.utilities.events import CrewKickoffCompletedEvent, TaskCompletedEvent, crewai_event_bus
from crewai.utilities.events.task_events import TaskFailedEvent


def note(event):
    line = {"row": event.row_id, "type": event.type, "replayed": getattr(event, "is_replayed", None)}
    with Path("events.jsonl").open("a") as lines:
        lines.write(json.dumps(line) + "\\n")


class Log(BaseEventListener):
    def setup_listeners(self, crewai_event_bus):
        @crewai_event_bus.on(CrewKickoffStartedEvent)
        @crewai_event_bus.on(CrewKickoffCompletedEvent)
        @crewai_event_bus.on(LLMCallCompletedEvent)
        @crewai_event_bus.on(TaskFailedEvent)
        def log(source, event):
            note(event)

        @crewai_event_bus.on(ToolUsageFinishedEvent)
        async def log_tool(source, event):
            note(event)


@tool
def rates() -> str:
    '''The rates of today.'''
    return "one to one"


log = Log()
writer = Agent(role="Writer", goal="g", backstory="b", llm="gpt-4.1-mini", tools=[rates])
draft = Task(description="Write about {topic} CALL-rates", expected_output="One line", agent=writer)
crew = Crew(agents=[writer], tasks=[draft])
"""
PARTS = ["crew_kickoff_started", "llm_call_completed", "tool_usage_finished", "llm_call_completed"]
ROWS = 20


@pytest.fixture
def press(place: Place) -> Place:
    """A crew with a listener, and rows."""
    (place.folder / "press.py").write_text(CREW)
    place.rows(*topics(ROWS))
    return place


def heard(place: Place) -> list[dict[str, Any]]:
    """What the listener has written so far."""
    return [json.loads(line) for line in (place.folder / "events.jsonl").read_text().splitlines()]


def by_row(events: list[dict[str, Any]]) -> dict[str, list[str]]:
    rows: dict[str, list[str]] = {}
    for event in events:
        rows.setdefault(event["row"], []).append(event["type"])
    return rows


@pytest.mark.parametrize("executor", ["inline", NEAR])
def test_a_batch_has_sent_all_events_when_it_ends(press: Place, executor: str) -> None:
    """Those of each row in their order, with the row's id; on workers too."""
    press.batch("--crew", "press.py:crew", "-j", "8", "--executor", executor)
    ids = {row["id"] for row in read_rows(press.results)}
    assert by_row(heard(press)) == {row_id: [*PARTS, "crew_kickoff_completed"] for row_id in ids}
    assert "warning" not in press.stderr


def test_a_resumed_row_sends_the_events_of_what_is_replayed(press: Place) -> None:
    """Its calls and tools were paid for before, and say so."""
    press.rows(*topics(4))
    (press.folder / "fail").touch()
    check = 'def check(output):\n    if Path("fail").exists():\n        raise ValueError("not yet")\n\n\n@tool\n'
    code = CREW.replace("@tool\n", check).replace("agent=writer)", "agent=writer, callback=check)")
    (press.folder / "press.py").write_text(code)
    press.batch("--crew", "press.py:crew", code=3)
    first = heard(press)
    assert by_row(first) == {row: [*PARTS, "task_failed"] for row in by_row(first)}
    (press.folder / "events.jsonl").unlink()
    (press.folder / "fail").unlink()
    press.batch("--crew", "press.py:crew")
    counted = Counter((event["type"], event["replayed"]) for event in heard(press))
    assert counted == {
        ("crew_kickoff_started", None): 4,
        ("llm_call_completed", True): 8,
        ("tool_usage_finished", True): 4,
        ("crew_kickoff_completed", None): 4,
    }


def test_a_handler_that_raises_fails_no_row(press: Place) -> None:
    """One warning, with the line."""
    code = CREW.replace("        def log(source, event):\n            note(event)", BROKEN)
    (press.folder / "press.py").write_text(code)
    press.batch("--crew", "press.py:crew")
    line = code.splitlines().index('            raise OSError("disk full")') + 1
    name = "Log.setup_listeners.<locals>.log failed at"
    assert sorted(one for one in press.stderr.splitlines() if one.startswith("warning")) == [
        f"warning: press.py:{line}: {name} {kind}: OSError: disk full"
        for kind in ("CrewKickoffCompletedEvent", "CrewKickoffStartedEvent", "LLMCallCompletedEvent")
    ]
    assert {row["status"] for row in read_rows(press.results)} == {"ok"}


BROKEN = """\
        def log(source, event):
            raise OSError("disk full")"""


def test_check_names_an_event_that_is_never_sent(press: Place) -> None:
    """A warning with the line; an error with --strict."""
    more = "\nfrom crewai.events import MemoryQueryStartedEvent\ncrewai_event_bus.on(MemoryQueryStartedEvent)(note)\n"
    (press.folder / "press.py").write_text(CREW + more)
    line = len(CREW.splitlines()) + 3
    why = f"press.py:{line}: MemoryQueryStartedEvent is never sent: crewrun has no memory"
    press.crewrun("check", "in.jsonl", "--crew", "press.py:crew")
    assert f"warning: {why}\n" in press.stdout + press.stderr
    press.crewrun("check", "in.jsonl", "--crew", "press.py:crew", "--strict", code=2)
    assert f"{why}\n" in press.stdout + press.stderr


def test_a_handler_for_no_event_is_an_error_with_its_line(press: Place) -> None:
    """Before anything is sent."""
    (press.folder / "press.py").write_text(CREW + 'crewai_event_bus.on("task_started")(note)\n')
    assert press.batch("--crew", "press.py:crew", code=2) == []
    needed = "the class of an event, such as CrewKickoffStartedEvent"
    line = len(CREW.splitlines()) + 1
    assert press.stderr == f"crewrun: press.py:{line}: on() takes {needed}, not 'task_started'\n"


def test_a_program_of_the_users_has_its_events_when_kickoff_returns(press: Place) -> None:
    """Without a batch there is no row."""
    program = CREW.replace("from crewai", "from crewrun").replace("gpt-4.1-mini", "offline")
    program += 'crew.kickoff({"topic": "AI"})\nprint(len(Path("events.jsonl").read_text().splitlines()))\n'
    (press.folder / "program.py").write_text(program)
    done = run([sys.executable, "program.py"], cwd=press.folder, capture_output=True, text=True, check=True)
    assert done.stdout == "5\n"
    assert {event["row"] for event in heard(press)} == {None}


def test_a_script_that_a_row_runs_sends_its_events(press: Place) -> None:
    """`crewrun batch` over a script with `run()`, whose rows kick the crew off themselves."""
    (press.folder / "script.py").write_text(
        CREW + "\n\ndef run(topic):\n    return crew.kickoff({'topic': topic}).raw\n"
    )
    press.batch("--crew", "script.py:run", "-j", "8")
    ids = {row["id"] for row in read_rows(press.results)}
    assert by_row(heard(press)) == {row_id: [*PARTS, "crew_kickoff_completed"] for row_id in ids}


def test_a_second_signal_ends_a_command_whose_handler_hangs(press: Place) -> None:
    """All rows have ended and are in the results; only the handler has not."""
    code = CREW.replace(
        "            note(event)", "            Path('hangs').touch()\n            __import__('time').sleep(600)", 1
    )
    (press.folder / "press.py").write_text(code)
    command = [sys.executable, "-m", "crewrun", "batch", "in.jsonl", "--crew", "press.py:crew", "-m", "offline"]
    with Popen(command, cwd=press.folder, stderr=PIPE, text=True) as batch:
        while not press.results.exists() or press.results.read_bytes().count(b"\n") < ROWS:
            assert batch.poll() is None
            time.sleep(0.02)
        assert (press.folder / "hangs").exists()
        signals = 0
        while batch.poll() is None:
            batch.send_signal(signal.SIGINT)
            signals += 1
            with suppress(TimeoutExpired):
                batch.wait(1)
        assert (batch.returncode, signals) == (130, 2)
