"""crewrun inside other programs: the manual's web service under a real uvicorn, and loops that run already."""

import json
import re
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from support.command import clean_env
from support.mock_process import MockProcess
from support.paths import MANUAL

_OPENER = urllib.request.build_opener(urllib.request.ProxyHandler({}))
LATENCY_S = 1.0


def manual_block(mark: str) -> str:
    """The Python block that has `mark` in it, of the manual's page on Python."""
    page = (MANUAL / "python.md").read_text(encoding="utf-8")
    blocks: list[str] = re.findall(r"```python\n(.*?)```", page, re.DOTALL)
    (block,) = [block for block in blocks if mark in block]
    return block


@contextmanager
def uvicorn(app: str, folder: Path, env: dict[str, str]) -> Iterator[str]:
    """A uvicorn process that serves `app`; its address."""
    (folder / "service.py").write_text(app, encoding="utf-8")
    command = [sys.executable, "-m", "uvicorn", "service:app", "--port", "0", "--no-access-log"]
    with subprocess.Popen(command, cwd=folder, env=clean_env(**env), stderr=subprocess.PIPE, text=True) as process:
        assert process.stderr is not None
        try:
            line = next(line for line in process.stderr if "running on" in line)
            yield line.split("running on ")[1].split()[0]
        finally:
            process.terminate()


def get(url: str) -> Any:
    with _OPENER.open(url, timeout=10) as reply:
        return json.load(reply)


def post(url: str, body: object) -> Any:
    headers = {"Content-Type": "application/json"}
    request = urllib.request.Request(url, json.dumps(body).encode(), headers)
    with _OPENER.open(request, timeout=30) as reply:
        return json.load(reply)


def test_the_manual_s_web_service_serves_ten_requests_at_once_and_stays_responsive(tmp_path: Path) -> None:
    """All twenty calls of ten requests are in flight together, and the health route answers meanwhile."""
    with MockProcess("--latency", str(LATENCY_S)) as mock:
        env = {"OPENAI_BASE_URL": mock.base_url, "OPENAI_API_KEY": "x"}
        with uvicorn(manual_block("FastAPI()"), tmp_path, env) as address, ThreadPoolExecutor(10) as clients:
            one_began = time.perf_counter()
            post(f"{address}/research", {"topics": ["warm-up"]})
            one_s = time.perf_counter() - one_began
            began = time.perf_counter()
            bodies = [{"topics": [f"topic {i}", f"other {i}"]} for i in range(10)]
            replies = [clients.submit(post, f"{address}/research", body) for body in bodies]
            mock.wait_in_flight(20)
            assert get(f"{address}/health") == {"status": "ok"}
            answers = [reply.result() for reply in replies]
            ten_s = time.perf_counter() - began
    assert [sorted(answer) for answer in answers] == [sorted(body["topics"]) for body in bodies]
    assert all("Mock reply" in text for answer in answers for text in answer.values())
    assert ten_s < 2 * one_s


def test_kickoff_in_a_loop_that_runs_already_works_and_says_what_to_await(tmp_path: Path) -> None:
    """As in a notebook, or a program around `asyncio.run(main())`: a warning for each."""
    program = """
import asyncio
from crewrun import LLM, Agent, Crew, Task
from crewrun.flow import Flow, start
class Asking(Flow):
    @start()
    async def ask(self):
        return agent.kickoff("x").raw
agent = Agent(role="R", goal="g", backstory="b", llm="offline")
crew = Crew(agents=[agent], tasks=[Task(description="d", expected_output="e", agent=agent)])
async def cell():
    outputs = [crew.kickoff(), *crew.kickoff_for_each([{}, {}]), agent.kickoff("x"), await crew.akickoff()]
    print(*(output.raw[:8] for output in outputs), LLM("offline").call("x")[:8], Asking().kickoff()[:8])
asyncio.run(cell())
"""
    done = subprocess.run(
        [sys.executable, "-c", program], cwd=tmp_path, env=clean_env(), capture_output=True, text=True, check=True
    )
    warning = "CrewrunWarning: {}() blocks the running event loop until it has its answer; inside async code write"
    told = [
        line.partition(" write ")[0].partition(": ")[2] + " write" for line in done.stderr.splitlines() if ": C" in line
    ]
    names = ["kickoff", "kickoff_for_each", "call"]
    assert (done.stdout.split(), told) == (["[offline"] * 7, [warning.format(name) for name in names])
