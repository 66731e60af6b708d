"""crewrun inside other programs: the manual's web service under a real uvicorn, and loops that run already."""

import json
import re
import socket
import subprocess
import sys
import time
import urllib.error
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
LATENCY_S = 0.6


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


@contextmanager
def service(folder: Path, mock: MockProcess, app: str | None = None) -> Iterator[str]:
    """The manual's web service, or `app`, with the mock for its models; its address."""
    env = {"OPENAI_BASE_URL": mock.base_url, "OPENAI_API_KEY": "x"}
    with uvicorn(app or manual_block("FastAPI("), folder, env) as address:
        yield address


def get(url: str) -> Any:
    with _OPENER.open(url, timeout=10) as reply:
        return json.load(reply)


def post(url: str, body: object) -> tuple[int, Any]:
    """The status and the answer."""
    headers = {"Content-Type": "application/json"}
    request = urllib.request.Request(url, json.dumps(body).encode(), headers)
    try:
        with _OPENER.open(request, timeout=30) as reply:
            return reply.status, json.load(reply)
    except urllib.error.HTTPError as refused:
        return refused.code, json.load(refused)


def test_the_manual_s_web_service_serves_ten_requests_at_once_and_stays_responsive(tmp_path: Path) -> None:
    """All twenty calls of ten requests are in flight together, and the health route answers meanwhile."""
    with (
        MockProcess("--latency", str(LATENCY_S)) as mock,
        service(tmp_path, mock) as address,
        ThreadPoolExecutor(10) as clients,
    ):
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
    assert [status for status, _ in answers] == [200] * 10
    assert [[one["topic"] for one in findings] for _, findings in answers] == [body["topics"] for body in bodies]
    assert all("Mock reply" in one["answer"] for _, findings in answers for one in findings)
    assert ten_s < 2 * one_s


def test_the_manual_s_web_service_keeps_its_limit_with_fifty_requests_at_once(tmp_path: Path) -> None:
    """Twenty calls in flight, of all requests together, those of a sync route in threads too."""
    app = (
        manual_block("FastAPI(")
        + """

@app.post("/sync")
def research_in_a_thread(body: Research) -> list[str]:
    return [output.raw for output in crew.kickoff_for_each([{"topic": topic} for topic in body.topics])]
"""
    )
    with MockProcess("--latency", "0.1") as mock, service(tmp_path, mock, app) as address:
        with ThreadPoolExecutor(50) as clients:
            routes = [f"{address}/{'sync' if i % 5 == 0 else 'research'}" for i in range(50)]
            replies = [clients.submit(post, url, {"topics": [f"a {i}", f"b {i}"]}) for i, url in enumerate(routes)]
            statuses = [reply.result()[0] for reply in replies]
        totals = mock.ledger(last=0)["totals"]
    assert statuses == [200] * 50
    assert (totals["requests"], totals["peak_in_flight"]) == (100, 20)


def test_a_failed_topic_leaves_the_others_their_answers(tmp_path: Path) -> None:
    """207 with an error for it; if all failed, the status of the first failure. A wrong body is FastAPI's 422."""
    hasty = "retry=RetryPolicy(retries=0), call_timeout_s=0.5"
    app = f"from crewrun import RetryPolicy\n{manual_block('FastAPI(')}".replace("call_timeout_s=60", hasty)
    with MockProcess() as mock, service(tmp_path, mock, app) as address:
        some_status, some = post(f"{address}/research", {"topics": ["tides", "FAIL-400 dunes"]})
        statuses = [
            post(f"{address}/research", {"topics": topics})[0]
            for topics in (["FAIL-400", "FAIL-QUOTA"], ["FAIL-QUOTA", "FAIL-400"], ["FAIL-429"], ["FAIL-HANG"], [])
        ]
    assert (some_status, statuses) == (207, [502, 503, 429, 504, 422])
    assert [(one["topic"], one["error"] is None) for one in some] == [("tides", True), ("FAIL-400 dunes", False)]
    assert some[1]["error"].startswith("bad_request: ")


def test_a_client_that_hangs_up_cancels_its_calls(tmp_path: Path) -> None:
    """The service goes on: its next request has its limits to itself."""
    with MockProcess("--latency", "60") as mock, service(tmp_path, mock) as address:
        host, _, port = address.removeprefix("http://").partition(":")
        body = json.dumps({"topics": ["tides", "dunes"]})
        head = f"POST /research HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: {len(body)}"
        with socket.create_connection((host, int(port))) as client:
            client.sendall(f"{head}\r\n\r\n{body}".encode())
            mock.wait_in_flight(2)
        mock.wait_in_flight(0)
        assert get(f"{address}/health") == {"status": "ok"}


def test_a_service_whose_budget_is_spent_says_so(tmp_path: Path) -> None:
    """Nothing is sent, and the status is 503."""
    app = manual_block("FastAPI(").replace("budget_usd=50", "budget_usd=0.0000001")
    with MockProcess() as mock, service(tmp_path, mock, app) as address:
        status, answer = post(f"{address}/research", {"topics": ["tides"]})
        assert (status, mock.ledger(last=0)["totals"]["requests"]) == (503, 0)
    assert re.fullmatch(r"budget: .*; a larger budget_usd allows it", answer[0]["error"])


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
