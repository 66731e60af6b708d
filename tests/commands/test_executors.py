"""Every executor keeps the same promises: rows here, with workers elsewhere over the same post, and on a Ray cluster.

`near` are workers in the same process: all of the fleet but Ray. Where Ray is not installed its tests are skipped.
"""

import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import IO, Any

import pytest
from support import local_workers
from support.command import PROGRAM, clean_env, crewrun, read_rows, topics, write_crew, write_rows
from support.forks import Forks
from support.local_workers import NEAR
from support.mock_process import MockProcess
from support.planted_secrets import environment, every_quotation, leaks, plant, quoting, traces
from support.scripted_provider import Asked, Fickle, Reply
from support.wire_server import WireServer

from crewrun.definitions import load
from crewrun.executors.remote.connection import Connection
from crewrun.executors.remote.packaging import package_crew
from crewrun.executors.remote.pool import Provisioner, open_pool
from crewrun.executors.run_spec import RunSpec
from crewrun.extras import install_command

KEY = "sk-proj-0123456789abcdef"
HAS_RAY = find_spec("ray") is not None
needs_ray = pytest.mark.skipif(not HAS_RAY, reason="ray is not installed")
# One cluster for all: the tests that need it run in one process.
EXECUTORS = ["inline", "near", pytest.param("ray", marks=[needs_ray, pytest.mark.xdist_group("ray")])]
# A row that says DIE kills its worker every time, one that says DIE-ONCE the first time, after a call that is paid.
DEADLY = """
import os, signal, sys
from pathlib import Path

async def die(inputs):
    if "DIE" not in inputs["topic"]:
        return
    if "ONCE" in inputs["topic"]:
        mark = Path(os.environ["MARKS"], inputs["topic"])
        if mark.exists():
            return
        mark.touch()
    near = sys.modules.get("WORKERS")
    if near is None:
        os.kill(os.getpid(), signal.SIGKILL)
    await near.die()
""".replace("WORKERS", local_workers.__name__)


class House:
    """A folder to run batches in by one executor, with a mock that its calls go to."""

    def __init__(self, folder: Path, executor: str, env: dict[str, str], forks: Forks) -> None:
        self.folder = folder
        self.forks = forks
        self.crewrun = crewrun if executor == "ray" else forks.crewrun  # a fork must not have Ray's threads
        self.flags = ("--executor", NEAR if executor == "near" else executor)
        self.env = env
        self.stderr = ""

    def batch(self, *flags: str, code: int = 0, inputs: str = "in.jsonl") -> dict[str, Any]:
        """Run the command, which ends with `code`; its summary."""
        done = self.crewrun("batch", inputs, "--summary", "s.json", *self.flags, *flags, cwd=self.folder, env=self.env)
        self.stderr = done.stderr
        assert (done.returncode, done.stdout, "Traceback" in done.stderr) == (code, "", False), done.stderr
        summary = self.folder / "s.json"
        found: dict[str, Any] = json.loads(summary.read_text()) if summary.exists() else {}
        summary.unlink(missing_ok=True)
        return found

    def rows(self) -> list[dict[str, Any]]:
        """The results in input order, without times."""
        rows = read_rows(self.folder / "in.results.jsonl")
        return [
            {name: value for name, value in row.items() if name not in ("started_at", "duration_s")} for row in rows
        ]

    def inline(self) -> "House":
        """The same folder, where rows run in the process itself."""
        env = {name: value for name, value in self.env.items() if name != "CREWRUN_ENV"}
        return House(self.folder, "inline", env, self.forks)


@contextmanager
def started(*flags: str) -> Iterator[str]:
    """A Ray cluster of one node with two CPUs; its address."""
    ray = Path(sys.executable).with_name("ray")
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    temp = Path("/tmp", f"crewrun-{port}")  # a socket's path may not be long
    command = [str(ray), "start", "--head", "--block", "--port=0", "--num-cpus=2", "--include-dashboard=false", *flags]
    command += [f"--temp-dir={temp}", f"--ray-client-server-port={port}"]
    env = clean_env(RAY_USAGE_STATS_ENABLED="0", RAY_AUTH_MODE="disabled")
    with subprocess.Popen(
        command, env=env, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, start_new_session=True
    ) as node:
        assert node.stdout is not None
        said = ""
        for line in node.stdout:
            said += line
            if "--address='" in line:
                break
        else:
            raise RuntimeError(said)
        try:
            yield line.partition("--address='")[2].partition("'")[0]
        finally:
            os.killpg(node.pid, signal.SIGKILL)  # ended in order it takes half a minute
    shutil.rmtree(temp, ignore_errors=True)


@pytest.fixture(scope="session")
def cluster() -> Iterator[str]:
    """The cluster that tests share."""
    with started() as address:
        yield address


def on_cluster(address: str) -> dict[str, str]:
    """The environment for a command that is to find the cluster."""
    return {"RAY_ADDRESS": address, "RAY_AUTH_MODE": "disabled"}


@pytest.fixture
def mock(served: tuple[MockProcess, Forks]) -> MockProcess:
    """A provider that has not been asked yet."""
    served[0].clear()
    return served[0]


@pytest.fixture
def house(request: pytest.FixtureRequest, executor: str, tmp_path: Path, served: tuple[MockProcess, Forks]) -> House:
    """A folder with a crew of one task, and ten rows."""
    mock, forks = served
    mock.clear()
    env = {"OPENAI_BASE_URL": mock.base_url, "OPENAI_API_KEY": KEY, "MARKS": str(tmp_path)}
    if executor == "ray":
        env |= on_cluster(request.getfixturevalue("cluster"))
    if executor != "inline":
        env |= {"CREWRUN_ENV": "OPENAI_API_KEY MARKS"}
    write_crew(tmp_path, "gpt-4.1-mini")
    write_rows(tmp_path / "in.jsonl", topics(10))
    return House(tmp_path, executor, env, forks)


everywhere = pytest.mark.parametrize("executor", EXECUTORS)
elsewhere = pytest.mark.parametrize("executor", EXECUTORS[1:])
near = pytest.mark.parametrize("executor", ["near"])
on_ray = pytest.mark.parametrize("executor", EXECUTORS[2:])


def asked(mock: MockProcess) -> Counter[str]:
    """How often each task was asked for: the first line of each prompt."""
    prompts = (
        next(m["content"] for m in request["messages"] if m["role"] == "user") for request in mock.ledger()["requests"]
    )
    return Counter(prompt.removeprefix("Your task: ").partition("\n")[0] for prompt in prompts)


FAILING = """
from crewrun import Agent, Crew, Task
from crewrun.tools import tool

@tool("search")
def search(query: str) -> str:
    '''Searches.'''
    raise LookupError("the index is down")

agent = Agent(role="Writer", goal="Write", backstory="Old", tools=[search], llm="gpt-4.1-mini")
task = Task(name="draft", description="Write about {topic} CALL-search", expected_output="One line", agent=agent)
crew = Crew(agents=[agent], tasks=[task])
"""


@near
def test_failed_tools_are_recorded_of_rows_elsewhere(house: House) -> None:
    """The rows say what they say of rows here, and the journal has the failures."""
    (house.folder / "failing.py").write_text(FAILING)
    expected = house.inline().batch("--crew", "failing.py:crew", "--ordered")["tool_failures"]
    rows = house.rows()
    assert {row["tool_failures"][0]["error"] for row in rows} == {"LookupError: the index is down"}
    found = house.batch("--crew", "failing.py:crew", "--ordered", "--fresh")["tool_failures"]
    assert [(one["tool"], one["count"], one["rows"]) for one in (*expected, *found)] == [("search", 10, 10)] * 2
    assert house.rows() == rows
    status = house.forks.crewrun("status", "in.results.jsonl", "--json", cwd=house.folder).stdout
    assert [(one["tool"], one["count"]) for one in json.loads(status)["tool_failures"]] == [("search", 10)]


@elsewhere
def test_results_are_those_of_inline_to_the_byte(house: House) -> None:
    """Rows, tasks, files, usage and cost; failed rows among them; in input order, and nothing on standard output."""
    write_crew(house.folder, "gpt-4.1-mini", ["Sum {topic} up"], "")
    crew = (house.folder / "crew.yaml").read_text()
    (house.folder / "crew.yaml").write_text(
        crew.replace('    description: "Sum', '    output_file: out/{topic}.md\n    description: "Sum')
    )
    write_rows(house.folder / "in.jsonl", [*topics(6), {"other": 1}, "no JSON", {"topic": "FAIL-400"}, *topics(2)])
    house.inline().batch(code=3)
    expected = house.rows()
    files = {row["files"][0]: Path(house.folder, row["files"][0]).read_text() for row in expected if row["files"]}
    assert len(files) == 8
    for file in files:
        Path(house.folder, file).unlink()
    house.batch("--fresh", "--ordered", code=3)
    assert house.rows() == expected
    lines = (house.folder / "in.results.jsonl").read_text().splitlines()
    assert [json.loads(line)["index"] for line in lines] == list(range(11))
    assert {file: Path(house.folder, file).read_text() for file in files} == files


@near
def test_a_run_goes_on_with_another_executor(house: House, mock: MockProcess) -> None:
    """Begun inline, continued elsewhere, and back: rows that are done stay, and calls of others are not paid again."""
    house.inline().batch("--limit", "4")
    summary = house.batch()
    assert (summary["rows"]["kept"], summary["rows"]["ok"]) == (4, 6)
    write_crew(house.folder, "gpt-4.1-mini", ["Sum {topic} up"])
    summary = house.batch("--limit", "7")
    assert (summary["rows"]["ok"], summary["replayed_calls"], summary["usage"]["calls"]) == (7, 7, 7)
    summary = house.inline().batch()
    assert (summary["rows"]["kept"], summary["replayed_calls"]) == (7, 3)
    assert set(asked(mock).values()) == {1}
    assert {row["replayed"]["usage"]["calls"] for row in house.rows()} == {1}
    house.batch("--replay", "--run-dir", "in.results.jsonl.crewrun")


@pytest.mark.parametrize("executor", ["inline", "near"])
def test_fail_fast_stops_the_run(house: House) -> None:
    """Exit 4 at the first failed row, and the same command without it goes on."""
    write_rows(house.folder / "in.jsonl", [{"topic": "FAIL-400"}, *topics(40)])
    summary = house.batch("--fail-fast", "-j", "1", code=4)
    assert summary["rows"]["failed"] == 1
    assert summary["rows"]["ok"] < 40


@near
def test_a_revoked_key_stops_the_run(house: House) -> None:
    """What a probe is refused holds for all workers: exit 4, and no row has failed."""
    with Fickle(lambda asked: Reply(401, "no such key")) as provider:
        house.env = {**house.env, "OPENAI_BASE_URL": provider.base_url}
        summary = house.batch("-j", "8", code=4)
    assert (summary["rows"]["failed"], summary["rows"]["ok"]) == (0, 0)
    assert "refuses every call" in summary["stopped"]
    assert len(provider.asked) <= 8 + 1


@near
def test_one_refused_row_fails_alone_on_any_worker(house: House) -> None:
    """The probe is answered, the row is tried once more, and every other row is answered."""

    def refuses_topic_3(asked: Asked) -> Reply:
        return Reply(403, "blocked") if "topic 3" in asked.prompt else Reply()

    with Fickle(refuses_topic_3) as provider:
        house.env = {**house.env, "OPENAI_BASE_URL": provider.base_url}
        summary = house.batch("-j", "4", code=3)
    assert (summary["rows"]["failed"], summary["rows"]["ok"]) == (1, 9)
    assert len(provider.asked) == 9 + 2 + 1


@near
def test_a_refused_parameter_is_known_to_all_workers(house: House) -> None:
    """Rows in turn on two workers: the first one meets the refusal, and the run's journal and summary have it."""

    def refuses_temperature(asked: Asked) -> Reply:
        return Reply(400, "'temperature' is not supported") if "temperature" in asked.body else Reply()

    crew = house.folder / "crew.yaml"
    llm = "llm: {model: gpt-4.1-mini, temperature: 0.5, drop_params: true}"
    crew.write_text(crew.read_text().replace("llm: gpt-4.1-mini", llm))
    with Fickle(refuses_temperature) as provider:
        house.env = {**house.env, "OPENAI_BASE_URL": provider.base_url}
        summary = house.batch("-j", "1")
    assert (summary["rows"]["ok"], len(provider.asked)) == (10, 11)
    assert [(one["what"], one["name"]) for one in summary["not_taken"]] == [("parameter", "temperature")]


@near
def test_an_outage_fails_no_row_on_any_worker(house: House) -> None:
    """However few attempts a call has: a probe says that nobody is answered."""
    down_since: list[float] = []

    def down_for_a_second(asked: Asked) -> Reply:
        if asked.answered >= 4:
            down_since.append(time.monotonic())
        is_down = down_since and time.monotonic() - down_since[0] < 1
        return Reply(503, "overloaded") if is_down else Reply()

    with Fickle(down_for_a_second) as provider:
        house.env = {**house.env, "OPENAI_BASE_URL": provider.base_url}
        summary = house.batch("-j", "2", "--retries", "0")
    assert summary["rows"]["ok"] == 10


@near
def test_the_budget_holds_over_all_workers(house: House) -> None:
    """Exit 5 with rows pending, and not a cent more than --budget is spent."""
    write_rows(house.folder / "in.jsonl", topics(60))
    crew = (house.folder / "crew.yaml").read_text()
    (house.folder / "crew.yaml").write_text(
        crew.replace("llm: gpt-4.1-mini", "llm: {model: gpt-4.1-mini, max_tokens: 50}")
    )
    summary = house.batch("-j", "8", "--budget", "0.002", "--price", "gpt-4.1-mini=1,10", code=5)
    assert summary["rows"]["ok"] > 0
    assert 0 < summary["cost_usd"] <= 0.002


@pytest.mark.parametrize("executor", ["inline", "near"])
def test_a_limit_that_the_first_answers_tell_holds_for_what_is_out_by_then(house: House) -> None:
    """60,000 tokens a minute, and rows of 500 each, a hundred at once: none is refused, wherever they run."""
    write_rows(house.folder / "in.jsonl", [{"topic": f"{i} " + "word " * 400} for i in range(200)])
    with MockProcess("--latency", "0.5", "--jitter", "0.3", "--tpm", "60000") as mock:
        house.env["OPENAI_BASE_URL"] = mock.base_url
        house.batch("-j", "100", "--deadline", "2s", "--grace", "0.1", code=6)
        # What is in flight at the deadline is hung up on a slow machine.
        assert set(mock.ledger(last=0)["totals"]["statuses"]) - {"hung up"} == {"200"}


LATE = """
import os
from pathlib import Path
import anyio
from crewrun import Agent
from crewrun.flow import Flow, start

agent = Agent(role="R", goal="G", backstory="B", llm="gpt-4.1-mini")

class Late(Flow):
    @start()
    async def go(self):
        if self.state["topic"].startswith("wait"):
            while not Path(os.environ["MARKS"], "last").exists():
                await anyio.sleep(0.01)
        await agent.kickoff_async("Write about " + self.state["topic"])
        if self.state["topic"] == "last":
            Path(os.environ["MARKS"], "last").touch()
"""


@near
def test_rows_that_do_not_begin_with_a_call_hold_no_others_up(house: House, mock: MockProcess) -> None:
    """Eight calls at once are all there are to begin with: rows that wait for another one keep none of them."""
    (house.folder / "late.py").write_text(LATE)
    command = [*PROGRAM, "batch", "-", "--crew", "late.py:Late", "-j", "auto", "--workers", "2", *house.flags]
    with subprocess.Popen(
        command, cwd=house.folder, env=clean_env(**house.env), stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as run:
        assert run.stdin is not None
        assert run.stdout is not None
        feed(run.stdin, "first")
        run.stdout.readline()  # now it is known where calls go
        feed(run.stdin, *(f"wait {i}" for i in range(21)), "last")
        run.stdin.close()
        rest = run.stdout.read()
    assert (run.returncode, rest.count('"status":"ok"')) == (0, 22)
    assert mock.ledger(last=0)["totals"]["requests"] == 23


def feed(stdin: IO[str], *topics: str) -> None:
    """Write rows."""
    stdin.writelines(json.dumps({"topic": topic}) + "\n" for topic in topics)
    stdin.flush()


ODD = """
from crewrun import Agent, Crew, Task
from crewrun.errors import RunStopped
from crewrun.tools import tool

class Two(str):
    def __new__(cls, one, two):
        return super().__new__(cls, one + two)

@tool
def look(topic: str) -> str:
    \"\"\"Look.\"\"\"
    class Here(str): ...
    return Here("here") if topic == "here" else Two("a", "b")

def stop(output):
    class Mine(RunStopped):
        def __init__(self, one, two):
            super().__init__(one + two)
            self.extra = look
    if "STOP" in output.description:
        raise Mine("mine ", "stops")

agent = Agent(role="R", goal="G", backstory="B", llm="gpt-4.1-mini", tools=[look])
task = Task(description="Look {topic}", expected_output="E", agent=agent, callback=stop)
crew = Crew(agents=[agent], tasks=[task])
"""


@pytest.mark.parametrize("executor", ["inline", "near"])
def test_what_a_user_s_own_class_says_travels_as_text(house: House, mock: MockProcess) -> None:
    """A tool's result of a class of its own, and an exception: none of these classes has to be known to the run."""
    (house.folder / "odd.py").write_text(ODD)
    write_rows(house.folder / "in.jsonl", [{"topic": t} for t in ("CALL-TOOL here", "CALL-TOOL there")])
    house.batch("--crew", "odd.py:crew", "--log-prompts")
    assert [row["status"] for row in house.rows()] == ["ok", "ok"]
    write_rows(house.folder / "in.jsonl", [{"topic": "STOP"}])
    house.batch("--crew", "odd.py:crew", "--fresh", code=4)
    assert "stopped: mine stops" in house.stderr


@near
def test_retries_and_prompts_are_in_the_log(house: House, mock: MockProcess) -> None:
    """What workers say while rows run is in log.jsonl as if the rows ran here."""
    write_rows(house.folder / "in.jsonl", [{"topic": "FAIL-ONCE-503 here"}])

    def events() -> list[tuple[str, ...]]:
        lines = (house.folder / "in.results.jsonl.crewrun/log.jsonl").read_text().splitlines()
        return [(event["event"], *sorted(event)) for event in map(json.loads, lines)]

    house.inline().batch("--log-prompts", "--retries", "1")
    expected = events()
    mock.clear()
    house.batch("--log-prompts", "--fresh", "--retries", "1")
    assert events() == expected
    assert [event[0] for event in expected] == ["run", "retry", "call", "prompt", "row", "stop"]


@near
def test_the_cache_answers_for_all_workers(house: House, mock: MockProcess) -> None:
    """A second run of the same rows sends nothing."""
    pytest.importorskip("diskcache")
    house.batch("--cache", "kept")
    house.batch("--cache", "kept", "--fresh")
    assert (mock.ledger()["totals"]["requests"], "10 calls were answered by the cache kept" in house.stderr) == (
        10,
        True,
    )


def deadly(house: House, *rows: str) -> None:
    """Make the crew one that dies after its first call, in rows that say so."""
    (house.folder / "deadly.py").write_text(DEADLY)
    (house.folder / "gone.py").write_text(
        "from deadly import die\n\n\nasync def gone(output):\n    await die({'topic': output.description})\n"
    )
    write_crew(house.folder, "gpt-4.1-mini", ["Sum {topic} up"])
    crew = (house.folder / "crew.yaml").read_text()
    crew = crew.replace("    description: Write", "    callback: gone.py:gone\n    description: Write")
    (house.folder / "crew.yaml").write_text(crew)
    write_rows(house.folder / "in.jsonl", [{"topic": row} for row in rows])


@elsewhere
def test_rows_of_a_dead_worker_run_elsewhere(house: House, mock: MockProcess) -> None:
    """They end as if nothing had been, and what was paid before is not paid again. A row that is there when a third
    worker dies fails alone, as internal, and what it did counts once.
    """
    deadly(house, "DIE-ONCE 1", *(f"topic {i}" for i in range(3)), "DIE always", *(f"more {i}" for i in range(3)))
    summary = house.batch("-j", "1", "--workers", "2", code=3)
    assert (summary["rows"]["ok"], summary["usage"]["calls"], summary["replayed_calls"]) == (7, 15, 0)
    assert asked(mock)["Write about DIE-ONCE 1"] == asked(mock)["Write about DIE always"] == 1
    rows = house.rows()
    assert [row["status"] for row in rows] == ["ok"] * 4 + ["failed"] + ["ok"] * 3
    assert rows[4]["error"]["category"] == "internal"
    assert rows[4]["error"]["message"].startswith("line 5: killed its worker 3 times; the last time: ")
    assert (rows[4]["usage"]["calls"], rows[4]["attempts"]) == (1, 1)


@near
def test_only_the_row_that_kills_its_workers_fails(house: House) -> None:
    """A worker dies three times by one row: it fails alone, whoever else has calls out or waits to send."""
    deadly(house, "DIE always", *(f"topic {i}" for i in range(60)))
    house.batch("-j", "auto", "--workers", "1", code=3)
    failed = [row for row in house.rows() if row["status"] == "failed"]
    assert [(row["index"], row["error"]["type"]) for row in failed] == [(0, "WorkerKilled")]


LEFT = """
from contextvars import ContextVar

here = ContextVar("here", default="nobody")

async def leave(output):
    if here.get() != "nobody":
        raise RuntimeError(f"{output.description} sees {here.get()}")
    here.set(output.description)
"""


@pytest.mark.parametrize("executor", ["inline", "near"])
def test_context_variables_end_with_their_row(house: House) -> None:
    """What one row's code sets, such as a tenant or a trace, no later row sees, though one task runs them all."""
    (house.folder / "left.py").write_text(LEFT)
    crew = (house.folder / "crew.yaml").read_text()
    (house.folder / "crew.yaml").write_text(
        crew.replace("    description: Write", "    callback: left.py:leave\n    description: Write")
    )
    assert house.batch("-j", "1", "--workers", "1")["rows"]["ok"] == 10


SELF = """
import asyncio

async def cancel(output):
    if "topic 3" in output.description:
        asyncio.current_task().cancel()

async def cancel_later(output):
    if "topic 3" in output.description:
        asyncio.get_running_loop().call_soon(asyncio.current_task().cancel)

async def leave(output):
    if "topic 3" in output.description:
        raise GeneratorExit
"""


@pytest.mark.parametrize(
    ("executor", "callback", "failed"),
    [
        ("inline", "cancel", []),
        ("near", "cancel", []),
        ("near", "cancel_later", []),
        ("inline", "leave", ["it raised GeneratorExit()"]),
        ("near", "leave", ["it raised GeneratorExit()"]),
    ],
)
def test_a_row_that_cancels_its_own_task_harms_no_other(house: House, callback: str, failed: list[str]) -> None:
    """Not the row that the task runs next, nor the worker that it is one of."""
    (house.folder / "own.py").write_text(SELF)
    crew = (house.folder / "crew.yaml").read_text()
    (house.folder / "crew.yaml").write_text(
        crew.replace("    description: Write", f"    callback: own.py:{callback}\n    description: Write")
    )
    house.batch("-j", "1", "--workers", "1", code=3 if failed else 0)
    rows = house.rows()
    assert [row["error"]["message"] for row in rows if row["error"]] == failed
    assert len(rows) == 10


@everywhere
def test_sigterm_ends_the_run_and_its_calls(house: House, mock: MockProcess) -> None:
    """Exit 143 after the grace, no call goes on elsewhere, and the same command does what is left."""
    write_rows(house.folder / "in.jsonl", [*topics(3), *({"topic": f"FAIL-HANG {i}"} for i in range(3))])
    command = [*PROGRAM, "batch", "in.jsonl", *house.flags, "--grace", "0.2"]
    with subprocess.Popen(
        command, cwd=house.folder, env=clean_env(**house.env), stdout=subprocess.PIPE, stderr=subprocess.PIPE
    ) as run:
        while mock.ledger(last=0)["totals"]["requests"] < 6 and run.poll() is None:
            time.sleep(0.05)
        run.send_signal(signal.SIGTERM)
        stdout, stderr = run.communicate(timeout=30)
    assert (run.returncode, stdout) == (143, b""), stderr
    mock.wait_in_flight(0)
    write_rows(house.folder / "in.jsonl", topics(3))
    assert house.batch()["rows"]["kept"] == 3


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        pytest.param(
            ["--executor", "rey"],
            "crewrun: --executor 'rey': no such executor (did you mean 'ray'?); "
            "there are inline, ray, ray://HOST:PORT and module:attr\n",
            id="no such executor",
        ),
        pytest.param(
            ["--executor", NEAR, "--env", "NOT_THERE"],
            "crewrun: --env NOT_THERE: is not set here, so workers cannot get it\n",
            id="no such variable",
        ),
        pytest.param(
            ["--executor", "ray://127.0.0.1:1"],
            "crewrun: --executor: no Ray cluster at ray://127.0.0.1:1: All connection attempts failed\n",
            id="no cluster there",
            marks=needs_ray,
        ),
        pytest.param(
            ["--executor", "ray://somewhere"],
            "crewrun: --executor: 'ray://somewhere' is not the address of a cluster; ray://HOST:PORT, the port usually "
            "10001\n",
            id="no port",
            marks=needs_ray,
        ),
    ],
)
def test_a_wrong_executor_is_a_usage_error(tmp_path: Path, flags: list[str], message: str) -> None:
    """Exit 2, one line that says what is wrong, and nothing was sent."""
    write_crew(tmp_path)
    write_rows(tmp_path / "in.jsonl", topics(1))
    done = crewrun("batch", "in.jsonl", *flags, cwd=tmp_path)
    assert (done.returncode, done.stdout, done.stderr) == (2, "", message)


@needs_ray
def test_a_cluster_that_was_started_here_and_is_gone_is_not_waited_for(tmp_path: Path) -> None:
    """Ray keeps its address in a file, and would wait for it for minutes."""
    write_crew(tmp_path)
    write_rows(tmp_path / "in.jsonl", topics(1))
    (tmp_path / "ray").mkdir()
    (tmp_path / "ray/ray_current_cluster").write_text("127.0.0.1:1")
    env = {"RAY_TMPDIR": str(tmp_path), "RAY_ADDRESS": "auto"}
    done = crewrun("batch", "in.jsonl", "--executor", "ray", cwd=tmp_path, env=env)
    assert (done.returncode, done.stdout, done.stderr) == (
        2,
        "",
        "crewrun: --executor: RAY_ADDRESS=auto means the Ray cluster at 127.0.0.1:1, which is gone\n",
    )


def test_pipes_beside_a_crew_do_not_travel(tmp_path: Path) -> None:
    """Who packs its folder would wait for what they say."""
    folder = tmp_path / "crew"
    (folder / "inner").mkdir(parents=True)
    write_crew(folder)
    os.mkfifo(folder / "inner/a pipe")
    package = package_crew(str(folder), load(folder / "crew.yaml"), [tmp_path / "elsewhere", folder / "in.jsonl"])
    assert (package.folder, package.excluded[-2:]) == (str(folder), ("/in.jsonl", "/inner/a pipe"))


def test_without_ray_the_command_says_how_to_install_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Exit 2 and the command; a module that fails to import stands for one that is not there."""
    write_crew(tmp_path)
    write_rows(tmp_path / "in.jsonl", topics(1))
    (tmp_path / "ray.py").write_text("raise ImportError('not here')\n")
    monkeypatch.chdir(tmp_path)
    done = crewrun("batch", "in.jsonl", "--executor", "ray", cwd=tmp_path)
    assert (done.returncode, done.stderr) == (2, f"crewrun: --executor ray needs Ray: {install_command('ray')}\n")


@near
def test_a_worker_that_lacks_the_key_says_so_once(house: House) -> None:
    """Exit 2 before the first call, with the flag that helps."""
    del house.env["OPENAI_API_KEY"], house.env["OPENAI_BASE_URL"]
    house.env["CREWRUN_ENV"] = "MARKS"
    house.batch(code=2)
    assert house.stderr == (
        "crewrun: OPENAI_API_KEY is not set: agent 'writer' uses openai/gpt-4.1-mini. Export it or put it into .env; "
        "to try it without a model: -m offline; --env NAME gives workers a variable of the environment\n"
    )


@on_ray
def test_a_worker_that_cannot_load_the_crew_says_so_once(house: House) -> None:
    """Exit 2 before the first call: the crew's module raises on workers only."""
    (house.folder / "mine.py").write_text(
        "import sys\nfrom crewrun import Agent, Crew, Task\n"
        "if any('default_worker' in word for word in sys.orig_argv):\n    raise RuntimeError('not in a worker')\n"
        "agent = Agent(role='R', goal='G', backstory='B', llm='gpt-4.1-mini')\n"
        "crew = Crew(agents=[agent], tasks=[Task(description='Do {topic}', expected_output='E', agent=agent)])\n"
    )
    command = ["batch", "in.jsonl", "--crew", "mine.py:crew", "--executor", "ray"]
    done = crewrun(*command, cwd=house.folder, env=house.env)
    said = [line for line in done.stderr.splitlines() if not line.startswith("waiting for workers: ")]
    assert (done.returncode, re.sub(r'(on |File ")\S+', r"\1…", "\n".join(said))) == (
        2,
        "crewrun: the worker on … loading mine.py failed:\nTraceback (most recent call last):\n"
        "  File \"… line 4, in <module>\n    raise RuntimeError('not in a worker')\nRuntimeError: not in a worker",
    )


@on_ray
def test_fewer_workers_than_asked_for_run_and_it_is_said(house: House) -> None:
    """Two CPUs hold two workers: the run begins with them and says what the third waits for."""
    house.batch("--workers", "3", "-m", "offline")
    said = [line for line in house.stderr.splitlines() if not line.startswith("waiting for workers: ")]
    assert said[0] == (
        "2 of 3 workers are there, the run begins with these: 3 workers need 1 CPU each, the cluster has 2, "
        "of which 0 are free now; --workers and --worker-cpus ask for less"
    )


@needs_ray
@pytest.mark.soak
@pytest.mark.xdist_group("ray")
def test_rows_that_fill_the_object_store_wait_for_room(tmp_path: Path, served: tuple[MockProcess, Forks]) -> None:
    """Six of 30 MB at once, over a store of 80 MB: every one is done, and its input is in its result."""
    mock, forks = served
    mock.clear()
    write_crew(tmp_path, "gpt-4.1-mini")
    rows = [{"topic": f"topic {i}", "ballast": str(i) * 30_000_000} for i in range(6)]
    write_rows(tmp_path / "in.jsonl", rows)
    with started("--object-store-memory=80000000") as address:
        env = {"OPENAI_BASE_URL": mock.base_url, "OPENAI_API_KEY": KEY, "CREWRUN_ENV": "OPENAI_API_KEY"}
        house = House(tmp_path, "ray", env | on_cluster(address), forks)
        assert house.batch("-j", "6")["rows"]["ok"] == 6
    assert [row["input"] for row in house.rows()] == rows


@needs_ray
@pytest.mark.xdist_group("ray")
def test_no_secret_is_in_a_log_of_rays(tmp_path: Path, cluster: str) -> None:
    """Nor in what the run says or keeps: workers know their own secrets, and say nothing else over there."""
    with WireServer({}, quoting) as server:
        plant(tmp_path, every_quotation()[::7])
        env = environment(server)
        flags = [flag for name in env for flag in ("--env", name)]
        flags += ["--executor", "ray", "--workers", "1", "--retries", "0", "--outage-patience", "0"]
        flags += ["--base-url", env["OPENAI_BASE_URL"], "--summary", "s.json"]
        done = crewrun("batch", "in.jsonl", *flags, cwd=tmp_path, env=env | on_cluster(cluster), timeout=120)
    assert (done.returncode, traces(done.stdout + done.stderr), leaks(tmp_path)) == (3, [], {})
    (address,) = (path for path in Path("/tmp").glob("crewrun-*/ray_current_cluster") if path.read_text() == cluster)
    logs = address.parent / "session_latest" / "logs"
    assert (any(logs.glob("worker-*.err")), leaks(logs)) == (True, {})


@pytest.mark.parametrize(
    ("old", "name", "new"),
    [
        ("crewrun.executors.job", "Job", RunSpec),
        ("crewrun.executors.fleet", "Site", Provisioner),
        ("crewrun.executors.fleet", "Line", Connection),
        ("crewrun.executors.fleet", "open_fleet", open_pool),
    ],
)
def test_what_executors_of_users_import_is_still_at_its_old_place(old: str, name: str, new: object) -> None:
    """For one release, with a warning that says where it is now."""
    sys.modules.pop(old, None)
    with pytest.warns(DeprecationWarning, match=rf"^{old} is now crewrun\.executors\."):
        assert getattr(import_module(old), name) is new


RAYLET = """
import asyncio
import os
import signal

async def run(topic: str) -> str:
    if topic == "DIE":
        os.kill(os.getppid(), signal.SIGKILL)  # the raylet, which started this worker
        await asyncio.sleep(60)
    return topic
"""


@needs_ray
@pytest.mark.soak
@pytest.mark.xdist_group("ray")
def test_a_raylet_that_dies_ends_the_run(tmp_path: Path) -> None:
    """Within a minute, exit 4 with the command that goes on; the rest of the cluster is there as before."""
    (tmp_path / "raylet.py").write_text(RAYLET)
    write_rows(tmp_path / "in.jsonl", [*topics(3), {"topic": "DIE"}, *topics(3)])
    with started() as address:
        began = time.monotonic()
        command = ("batch", "in.jsonl", "--crew", "raylet.py:run", "--executor", "ray", "--workers", "1", "-j", "1")
        done = crewrun(*command, cwd=tmp_path, env=on_cluster(address), timeout=120)
    assert (done.returncode, time.monotonic() - began < 90) == (4, True)  # half a minute of it are Ray's start
    assert "stopped: the Ray node that the run is connected to (its raylet) is gone: nothing listens at" in done.stderr
    assert f"to go on: crewrun {' '.join(command)}" in done.stderr
    assert [row["status"] for row in read_rows(tmp_path / "in.results.jsonl")] == ["ok"] * 3
