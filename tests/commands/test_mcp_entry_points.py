"""MCP servers wherever crews run: kickoffs, run_batch(), flows, other workers; what commands show of them."""

import subprocess
import sys

import pytest
from support.command import clean_env, crewrun, read_rows, topics
from support.local_workers import NEAR
from support.mcp_process import BARE, tool_results
from support.workspace import RESULTS, Place

CREW = f"""\
from crewrun import Agent, Crew, Task
from crewrun.mcp import MCPServerStdio
from crewrun.tools import MCPServerAdapter

SERVER = {{"command": {sys.executable!r}, "args": [{str(BARE)!r}]}}
agent = Agent(role="Writer", goal="g", backstory="b", mcps=[MCPServerStdio(name="small", **SERVER)])
task = Task(description="About {{topic}} CALL-small_process", expected_output="x", agent=agent)
crew = Crew(agents=[agent], tasks=[task])
"""
PROGRAMS = {
    "kickoffs": """
import asyncio

async def main():
    await asyncio.gather(*(crew.akickoff({"topic": topic}) for topic in "ab"))

crew.kickoff({"topic": "a"})
asyncio.run(main())
crew.kickoff_for_each([{"topic": "a"}, {"topic": "b"}])
agent.kickoff("About a CALL-small_process")
""",
    "an adapter": """
with MCPServerAdapter(SERVER) as tools:
    assert (tools[0].name, len(tools)) == ("echo", 11)
    with MCPServerAdapter(SERVER, "process") as others:
        process = others[0].run()
    assert tools["process"].run() == process  # the end of one adapter leaves another one's server alone
    agent.mcps, agent.tools = [], [tools["process"]]
    task.description = "About {topic} CALL-process"
    crew.kickoff_for_each([{"topic": topic} for topic in "abcdef"])
""",
    "run_batch": """
from crewrun import run_batch

run = run_batch([{"topic": topic} for topic in "abcdef"], crew, progress="none")
assert [row["status"] for row in run] == ["ok"] * 6
""",
    "a flow": """
from crewrun.flow import Flow, listen, start

class Both(Flow):
    @start()
    def one(self):
        return crew.kickoff_for_each([{"topic": topic} for topic in "abc"])

    @listen(one)
    async def two(self):
        return await crew.akickoff_for_each([{"topic": topic} for topic in "abc"])

Both().kickoff()
""",
}


@pytest.mark.parametrize("form", PROGRAMS)
def test_a_program_opens_one_session(place: Place, form: str) -> None:
    """For all of its kickoffs, from whichever loop, and it ends."""
    (place.folder / "program.py").write_text(f"{CREW}\n{PROGRAMS[form]}\n")
    command = [sys.executable, "program.py"]
    environment = clean_env(**place.env)
    done = subprocess.run(
        command, cwd=place.folder, env=environment, capture_output=True, text=True, timeout=120, check=False
    )
    assert done.returncode == 0, done.stderr
    results = tool_results(place)
    assert (len(results), len(set(results)), results[0].isdigit()) == (6, 1, True)


def test_rows_of_a_flow_share_a_session(place: Place) -> None:
    """Each of its rows makes a kickoff."""
    flow = """
from crewrun.flow import Flow, start


class Wrap(Flow):
    @start()
    async def one(self):
        return (await crew.akickoff({"topic": self.state["topic"]})).raw
"""
    (place.folder / "flow.py").write_text(CREW + flow)
    place.rows(*topics(3))
    place.batch("--crew", "flow.py:Wrap")
    results = tool_results(place)
    assert (len(results), len(set(results))) == (3, 1)


def test_each_worker_has_a_session(place: Place) -> None:
    """Two workers, two processes of the server at most."""
    (place.folder / "crew.py").write_text(CREW)
    place.rows(*topics(6))
    place.batch("--crew", "crew.py:crew", "--executor", NEAR)
    assert [row["status"] for row in read_rows(place.folder / RESULTS)] == ["ok"] * 6
    results = tool_results(place)
    assert (len(results), len(set(results)) <= 2) == (6, True)


def test_show_and_export_name_the_tools(place: Place) -> None:
    """By the names that models see."""
    (place.folder / "crew.py").write_text(CREW)
    place.rows(*topics(1))
    place.batch("--crew", "crew.py:crew")
    place.crewrun("show", RESULTS, "1")
    assert "tool small_process · task" in place.stdout
    assert "the crew has tools of an MCP server, with which no prompt is rebuilt" in place.stdout
    place.crewrun("plot", "crew.py:crew", "-o", "crew.svg")
    assert "Writer" in (place.folder / "crew.svg").read_text()


def test_a_plan_starts_no_server(place: Place) -> None:
    """It says so: the tools of servers are not in its estimate."""
    (place.folder / "crew.py").write_text(CREW.replace(sys.executable, "no-such-program"))
    place.rows(*topics(1))
    for command in (["plan", "in.jsonl"], ["batch", "in.jsonl", "--dry-run"]):
        place.crewrun(*command, "--crew", "crew.py:crew")
        assert "no MCP server was started: what models are told of its tools is not in the estimate" in place.stdout
        assert "the ranges say 1 to 8 for each task" in place.stdout


def test_crewai_tools_own_adapter_is_not_used(place: Place) -> None:
    """Even where that package is installed: its adapter connects while a file is loaded."""
    package = place.folder / "site/crewai_tools"
    package.mkdir(parents=True)
    (package / "__init__.py").write_text(
        "class Other:\n    name, description = 'other', 'Does something.'\n"
        "    def _run(self) -> str:\n        return 'other'\n"
        "class MCPServerAdapter:\n    def __init__(self, *args):\n        raise RuntimeError('connected')\n"
    )
    body = CREW.replace(
        "from crewrun.tools import MCPServerAdapter", "from crewai_tools import MCPServerAdapter, Other"
    )
    more = "agent.mcps, agent.tools = [], [*MCPServerAdapter(SERVER, 'process').tools, Other()]\n"
    (place.folder / "crew.py").write_text(body.replace("small_process", "process") + more)
    place.rows(*topics(2))
    environment = {**place.env, "PYTHONPATH": str(place.folder / "site")}  # which only a new process obeys
    done = crewrun("batch", "in.jsonl", "--crew", "crew.py:crew", cwd=place.folder, env=environment)
    assert done.returncode == 0, done.stderr
    results = tool_results(place)
    assert (len(results), len(set(results))) == (2, 1)
