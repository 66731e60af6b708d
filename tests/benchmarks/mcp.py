"""Rows with two calls of MCP tools against a bare loop over one session. See README.md beside this file."""

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

SERVER = Path(__file__).parent.parent / "support" / "mcp_server.py"
CREW = f"""\
import sys
from crewrun import Agent, Crew, Task
from crewrun.mcp.server import McpServer

server = McpServer(transport="stdio", name="small", command=sys.executable, args=({str(SERVER)!r},))
agent = Agent(role="Writer", goal="Write", backstory="Writes.", mcps=[server])
# The offline model calls the first tool once in each task.
tasks = [Task(description="{{topic}}, " + part, expected_output="A text", agent=agent) for part in ("first", "second")]
crew = Crew(agents=[agent], tasks=tasks)
"""
BARE = f"""\
import asyncio
import sys

from mcp import Client
from mcp.client.stdio import StdioServerParameters


async def main(rows):
    limit = asyncio.Semaphore(64)
    async with Client(StdioServerParameters(command=sys.executable, args=[{str(SERVER)!r}])) as client:
        async def row(topic):
            async with limit:
                await client.call_tool("echo", {{"text": topic}})
                await client.call_tool("echo", {{"text": topic}})

        await asyncio.gather(*[row(f"topic {{number}}") for number in range(rows)])


asyncio.run(main(int(sys.argv[1])))
"""


def main() -> None:
    """Print the rates of both, and the median of their ratios."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=2_000)
    parser.add_argument("--pairs", type=int, default=5)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        os.chdir(folder)
        Path("crew.py").write_text(CREW, encoding="utf-8")
        Path("bare.py").write_text(BARE, encoding="utf-8")
        rows = "".join(f'{{"topic": "topic {number}"}}\n' for number in range(options.rows))
        Path("in.jsonl").write_text(rows, encoding="utf-8")
        batch = ["-m", "crewrun", "batch", "in.jsonl", "--crew", "crew.py:crew", "-m", "offline", "-j", "64", "-q"]
        ratios = []
        for pair in range(options.pairs):
            bare = rate(options.rows, "bare.py", str(options.rows))
            crewrun = rate(options.rows, *batch, "--fresh", "-o", f"out{pair}.jsonl")
            ratios.append(crewrun / bare)
            print(f"bare loop {bare:.0f} rows/s, crewrun {crewrun:.0f} rows/s: {ratios[-1]:.2f}", flush=True)
    print(f"median {statistics.median(ratios):.2f} of the bare loop, {options.rows:,} rows with two calls each")


def rate(rows: int, *arguments: str) -> float:
    """Rows per second of one whole process, the start of the server included."""
    began = time.monotonic()
    subprocess.run([sys.executable, *arguments], check=True, stderr=subprocess.DEVNULL)
    return rows / (time.monotonic() - began)


if __name__ == "__main__":
    main()
