"""A server that is killed every second: nothing is doubled where the tool is not idempotent, and no row is lost."""

import json
import os
import signal
import subprocess
import sys
import time
from collections import Counter
from contextlib import suppress
from pathlib import Path

import pytest
from support.paths import ROOT
from support.workspace import Place

pytestmark = pytest.mark.soak

BARE = ROOT / "tests/support/bare_mcp_server.py"
ROWS = 3_000
KILLED_FOR_S = 20.0
CREW = """\
import sys
from crewrun import Agent, Crew, Task
from crewrun.mcp.server import McpServer

server = McpServer(transport="stdio", name="bare", command=sys.executable, args={args})
agent = Agent(role="Writer", goal="Write", backstory="Writes.", mcps=[server])
task = Task(description="{{topic}} CALL-bare_{tool}", expected_output="A text", agent=agent)
crew = Crew(agents=[agent], tasks=[task])
"""


def lines(path: Path) -> list[str]:
    return path.read_text().splitlines() if path.exists() else []


@pytest.mark.parametrize("tool", ["count", "put"])
def test_a_server_that_is_killed_every_second(place: Place, tool: str) -> None:
    """`count` is not idempotent: no execution may be repeated. `put` is: each row has its result."""
    args = (str(BARE), "--starts", str(place.folder / "starts"), "--log", str(place.folder / "log"), "--takes", "0.2")
    (place.folder / "crew.py").write_text(CREW.format(args=args, tool=tool))
    place.rows(*({"topic": f"topic-{number}."} for number in range(ROWS)))
    command = [sys.executable, "-m", "crewrun", "batch", "in.jsonl", "--crew", "crew.py:crew", "-j", "64"]
    with subprocess.Popen(command, cwd=place.folder, env={**os.environ, **place.env}, stderr=subprocess.DEVNULL) as run:
        kills = kill_servers(place.folder / "starts", run)
        run.wait(600)
    rows = [json.loads(line) for line in lines(place.results)]
    assert kills > 5
    assert len(rows) == ROWS
    assert {row["status"] for row in rows} == {"ok"}
    executions = Counter(lines(place.folder / "log"))
    told = sum(bool(row.get("tool_failures")) for row in rows)
    if tool == "count":
        assert set(executions.values()) == {1}
        assert ROWS - told <= len(executions) <= ROWS
        assert told > 0
    else:
        assert len(executions) == ROWS
        assert told == 0


def kill_servers(starts: Path, run: "subprocess.Popen[bytes]") -> int:
    """Kill each server a second after it started, for twenty seconds; returns how many that were."""
    killed: set[str] = set()
    until = time.monotonic() + KILLED_FOR_S
    while time.monotonic() < until and run.poll() is None:
        time.sleep(1.0)  # the pace of the kills
        for pid in set(lines(starts)) - killed:
            with suppress(ProcessLookupError):
                os.kill(int(pid), signal.SIGKILL)
            killed.add(pid)
    return len(killed)
