"""MCP servers under runs: one for all rows, ended with the command, and what happens when one is gone."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from support.local_workers import NEAR
from support.paths import ROOT
from support.workspace import Place

BARE = ROOT / "tests/support/bare_mcp_server.py"
CREW = """\
import sys
from crewrun import Agent, Crew, Task
from crewrun.mcp.server import McpServer

server = McpServer(transport="stdio", name="bare", command=sys.executable, args={args}, {more})
agent = Agent(role="Writer", goal="Write", backstory="Writes.", mcps=[server])
crew = Crew(
    agents=[agent],
    tasks=[Task(description="Write about {{topic}} {words}", expected_output="A text", agent=agent)],
)
"""

# As a step callback: the row waits after its first step until it is killed.
WAITS = """
def wait(step):
    import pathlib, time
    pathlib.Path("waits").touch()
    time.sleep(600)

crew.step_callback = wait
"""


def give_crew(place: Place, words: str, *flags: str, more: str = "") -> None:
    """A crew whose agent has the tools of a bare server, which writes its process's number to `starts`."""
    args = (str(BARE), "--starts", str(place.folder / "starts"), "--log", "log", *flags)
    (place.folder / "crew.py").write_text(CREW.format(args=args, words=words, more=more))


def lines(path: Path) -> list[str]:
    return path.read_text().splitlines() if path.exists() else []


def rows_of(place: Place) -> list[dict[str, Any]]:
    return [json.loads(line) for line in lines(place.results)]


def alive(name: Path) -> list[str]:
    """The command lines with `name` in them, of any process."""
    found = []
    for file in Path("/proc").glob("[0-9]*/cmdline"):
        with suppress(OSError):  # it has ended
            words = file.read_bytes().decode("utf-8", "replace").split("\0")
            found += [" ".join(words)] if str(name) in words else []
    return found


def wait_until(condition: Callable[[], object], most_s: float = 30.0) -> None:
    """Wait until `condition` holds."""
    deadline = time.monotonic() + most_s
    while not condition():
        assert time.monotonic() < deadline, "it did not happen"
        time.sleep(0.02)


def test_all_rows_share_one_server(place: Place) -> None:
    """It is started once, gets each call once, and is gone with the command; its stderr is in the run folder."""
    place.rows(*({"topic": f"topic {number}"} for number in range(8)))
    give_crew(place, "CALL-bare_count")
    place.crewrun("batch", "in.jsonl", "--crew", "crew.py:crew", "-j", "8")
    assert len(lines(place.folder / "starts")) == 1
    assert len(lines(place.folder / "log")) == 8
    assert [row["status"] for row in rows_of(place)] == ["ok"] * 8
    assert alive(place.folder / "starts") == []
    assert lines(place.folder / "in.results.jsonl.crewrun" / "mcp-bare.stderr.log") == ["bare server is ready"]


def test_a_server_that_does_not_end_is_killed_with_what_it_started(place: Place) -> None:
    """It ignores the end of its input and SIGTERM, and so does its child."""
    place.rows({"topic": "frogs"})
    give_crew(place, "CALL-bare_count", "--ends-never")
    place.crewrun("batch", "in.jsonl", "--crew", "crew.py:crew")
    assert len(lines(place.folder / "log")) == 1
    assert alive(place.folder / "starts") == []


@pytest.mark.parametrize("flags", [(), ("--ends-never",)], ids=["that ends with its input", "that does not"])
def test_no_server_outlives_a_command_that_is_killed(place: Place, flags: tuple[str, ...]) -> None:
    """SIGKILL leaves crewrun no time to end anything: the keeper does."""
    place.rows({"topic": "frogs", "CALL": ""})
    give_crew(place, "CALL-bare_slow", *flags)
    command = [sys.executable, "-m", "crewrun", "batch", "in.jsonl", "--crew", "crew.py:crew"]
    text = (place.folder / "crew.py").read_text()
    (place.folder / "crew.py").write_text(text + WAITS)
    with subprocess.Popen(command, cwd=place.folder, env={**os.environ, **place.env}, stderr=subprocess.DEVNULL) as run:
        wait_until((place.folder / "waits").exists)
        assert alive(place.folder / "starts")
        run.send_signal(signal.SIGKILL)
    wait_until(lambda: not alive(place.folder / "starts"))


def test_a_call_that_a_dying_server_may_have_made_is_not_made_again(place: Place) -> None:
    """The model is told that it is unknown; the next row gets a new server."""
    place.rows({"topic": "frogs"}, {"topic": "toads"})
    give_crew(place, "CALL-bare_crash CALL-bare_count")
    place.crewrun("batch", "in.jsonl", "--crew", "crew.py:crew", "-j", "1")
    assert [row["status"] for row in rows_of(place)] == ["ok", "ok"]
    told = [json.dumps(row["tool_failures"]) for row in rows_of(place)]
    assert all("unknown whether the call was carried out" in text for text in told)
    assert "crashing as it should" in (place.folder / "in.results.jsonl.crewrun/mcp-bare.stderr.log").read_text()


def test_a_server_that_cannot_start_is_named_before_the_first_row(place: Place) -> None:
    """With the last lines of its standard error; nothing is called."""
    place.rows({"topic": "frogs"})
    give_crew(place, "CALL-bare_count", "--fails", "no license for frogs")
    assert place.crewrun("batch", "in.jsonl", "--crew", "crew.py:crew", code=2) == []
    assert "MCP server 'bare' cannot be used" in place.stderr
    assert "; its standard error ends:\n  no license for frogs\n" in place.stderr
    assert place.stderr.splitlines()[-1].startswith("  (")
    assert len(lines(place.folder / "starts")) == 3
    place.crewrun("check", "crew.py:crew", code=2)
    assert place.stdout.count("problem: ") == 1


def test_a_server_that_is_gone_for_good_stops_the_run(place: Place) -> None:
    """As every row would fail. The rest is left for the next session."""
    place.rows(*({"topic": f"topic {number}"} for number in range(100)))
    give_crew(place, "CALL-bare_crash", "--once")
    place.crewrun("batch", "in.jsonl", "--crew", "crew.py:crew", "-j", "2", code=4)
    assert "MCP server 'bare' cannot be used" in place.stopped()
    assert "it starts once only" in place.stopped()
    assert len(rows_of(place)) < 100


def test_what_a_server_returns_and_refuses(place: Place) -> None:
    """Errors are failed calls; structured content without text is JSON."""
    place.rows({"topic": "frogs"})
    give_crew(place, "CALL-bare_structured CALL-bare_fail")
    place.crewrun("batch", "in.jsonl", "--crew", "crew.py:crew")
    (row,) = rows_of(place)
    assert [failure["tool"] for failure in row["tool_failures"]] == ["bare_fail"]


def test_pictures_of_a_server_go_to_the_model(place: Place) -> None:
    """As data URLs; people are shown how many there are."""
    place.rows({"topic": "frogs"})
    give_crew(place, "CALL-bare_image")
    text = (place.folder / "crew.py").read_text()
    (place.folder / "crew.py").write_text(text.replace("mcps=[server]", "mcps=[server], max_iter=1"))
    place.crewrun("batch", "in.jsonl", "--crew", "crew.py:crew")
    requests = place.mock.ledger(last=2)["requests"]
    turns = max((request["messages"] for request in requests), key=len)
    assert turns[4]["content"][1]["image_url"]["url"].startswith("data:image/png;base64,iVBOR")
    place.crewrun("show", "in.results.jsonl", "1")
    assert "iVBOR" not in place.stdout
    assert "[with 1 picture]" in place.stdout


def test_a_server_gets_the_named_variables_only(place: Place) -> None:
    """Not the keys of models."""
    place.rows({"topic": "frogs"})
    give_crew(place, "CALL-bare_environment", more='env={"FROG": "green"}')
    place.crewrun("batch", "in.jsonl", "--crew", "crew.py:crew")
    place.crewrun("show", "in.results.jsonl", "1")
    assert "OPENAI_API_KEY" not in place.stdout
    assert "FROG" in place.stdout


def test_a_resumed_row_calls_no_tool_again(place: Place) -> None:
    """Results are in the journal like those of other tools; a done row starts no server."""
    place.rows({"topic": "frogs"})
    give_crew(place, "CALL-bare_count")
    place.crewrun("batch", "in.jsonl", "--crew", "crew.py:crew")
    place.crewrun("batch", "in.jsonl", "--crew", "crew.py:crew")
    assert len(lines(place.folder / "starts")) == 1
    assert len(lines(place.folder / "log")) == 1


def test_each_row_has_a_session_where_the_server_remembers(place: Place) -> None:
    """With sessions="row": opened by the row, closed at its end, so that no row sees what another one has said."""
    place.rows({"topic": "frogs"}, {"topic": "toads"}, {"topic": "newts"})
    give_crew(place, "CALL-bare_remember", more='sessions="row"')
    place.crewrun("batch", "in.jsonl", "--crew", "crew.py:crew", "-j", "3")
    assert [row["status"] for row in rows_of(place)] == ["ok"] * 3
    assert len(lines(place.folder / "starts")) == 3 + 1  # and the one whose tools were listed before the first row
    assert alive(place.folder / "starts") == []


def test_connections_share_the_calls(place: Place) -> None:
    """With connections=2: two processes, each opened when there is more than one call."""
    place.rows(*({"topic": f"topic {number}"} for number in range(6)))
    give_crew(place, "CALL-bare_count", more="connections=2")
    place.crewrun("batch", "in.jsonl", "--crew", "crew.py:crew", "-j", "6")
    assert len(lines(place.folder / "log")) == 6
    assert len(lines(place.folder / "starts")) == 2


def test_workers_have_servers_of_their_own(place: Place) -> None:
    """One for each process of a cluster; these workers share the process of the command."""
    place.rows(*({"topic": f"topic {number}"} for number in range(4)))
    give_crew(place, "CALL-bare_count")
    place.crewrun("batch", "in.jsonl", "--crew", "crew.py:crew", "--executor", NEAR)
    assert len(lines(place.folder / "log")) == 4
    assert len(lines(place.folder / "starts")) == 1
    wait_until(lambda: not alive(place.folder / "starts"))


def test_a_replay_opens_no_server(place: Place) -> None:
    """The run folder has the tools that the server listed, by which the calls are found: what is missing is new."""
    place.rows({"topic": "frogs"})
    give_crew(place, "CALL-bare_count")
    place.crewrun("batch", "in.jsonl", "--crew", "crew.py:crew")
    added = 'crew.tasks.append(Task(description="Sum up", expected_output="A text", agent=agent))\n'
    (place.folder / "crew.py").write_text((place.folder / "crew.py").read_text() + added)
    assert place.crewrun("batch", "in.jsonl", "--crew", "crew.py:crew", "--replay", code=3) == []
    (row,) = rows_of(place)
    assert (row["error"]["type"], row["error"]["task"]) == ("NotRecorded", "task_2")
    assert len(lines(place.folder / "starts")) == 1
