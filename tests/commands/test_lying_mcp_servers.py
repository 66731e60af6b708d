"""MCP servers that break the protocol: a run says which one and why, and nothing waits for ever."""

import json
import sys

import pytest
from support.paths import ROOT
from support.workspace import Place

LYING = ROOT / "tests/support/lying_mcp_server.py"
CREW = """\
import sys
from crewrun import Agent, Crew, Task
from crewrun.mcp.server import McpServer

server = McpServer(transport="stdio", name="liar", command={python!r}, args={args}, connect_timeout_s={seconds})
agent = Agent(role="Writer", goal="Write", backstory="Writes.", mcps=[server])
task = Task(description="Write about {{topic}} CALL-liar_{tool}", expected_output="A text", agent=agent)
crew = Crew(agents=[agent], tasks=[task])
"""


def give_crew(place: Place, fault: str, tool: str = "echo", seconds: float = 30.0) -> None:
    """A crew whose agent has the tools of a server with `fault`, and a row."""
    args = (str(LYING), fault, "--log", str(place.folder / "log"), "--starts", str(place.folder / "starts"))
    text = CREW.format(python=sys.executable, args=args, tool=tool, seconds=seconds)
    (place.folder / "crew.py").write_text(text)
    place.rows({"topic": "frogs"})


@pytest.mark.parametrize(
    ("fault", "seconds", "why"),
    [
        ("list-fails", 30.0, "cannot list its tools: no frogs"),
        ("list-never", 2.0, "has not listed its tools after 2 s (connect_timeout)"),
        ("list-endless", 2.0, "has not listed its tools after 2 s (connect_timeout)"),
        ("no-schema", 30.0, "cannot list its tools: tools.0.inputSchema: Field required"),
    ],
)
def test_a_server_without_a_list_is_named_before_the_first_row(
    place: Place, fault: str, seconds: float, why: str
) -> None:
    """It was opened once: to open it again would change nothing."""
    give_crew(place, fault, seconds=seconds)
    assert place.crewrun("batch", "in.jsonl", "--crew", "crew.py:crew", code=2) == []
    assert f"MCP server 'liar' {why}" in place.stderr
    assert len((place.folder / "starts").read_text().splitlines()) == 1


def test_what_a_server_prints_among_its_messages_is_in_its_log(place: Place) -> None:
    """And not on the terminal, where the SDK would write a traceback."""
    give_crew(place, "prints")
    place.crewrun("batch", "in.jsonl", "--crew", "crew.py:crew")
    assert "JSONRPC" not in place.stderr
    log = (place.folder / "in.results.jsonl.crewrun/mcp-liar.stderr.log").read_text()
    assert "a line of its output is no message: Invalid JSON" in log


@pytest.mark.parametrize(
    ("fault", "told"),
    [
        ("call-fails", "The server refused the call: no toads"),
        ("no-result", "The server's reply is not a result: content: Input should be a valid list"),
    ],
)
def test_a_reply_that_is_no_result_fails_its_call(place: Place, fault: str, told: str) -> None:
    """An error with the code that the SDK gives to a broken connection is none: the call is not made again."""
    give_crew(place, fault, tool="put")
    place.crewrun("batch", "in.jsonl", "--crew", "crew.py:crew")
    row = json.loads(place.results.read_text())
    assert [failure["error"] for failure in row["tool_failures"]] == [told]
    assert len((place.folder / "log").read_text().splitlines()) == 1
    assert len((place.folder / "starts").read_text().splitlines()) == 1


def test_bytes_that_are_no_utf_8_end_nothing(place: Place) -> None:
    """They are replaced."""
    give_crew(place, "latin-1")
    place.crewrun("batch", "in.jsonl", "--crew", "crew.py:crew")
    assert json.loads(place.results.read_text()).get("tool_failures", []) == []
    place.crewrun("show", "in.results.jsonl", "1")
    assert "gr�n" in place.stdout
