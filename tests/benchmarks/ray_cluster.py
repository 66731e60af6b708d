"""What a Ray cluster adds to `crewrun batch` and what it takes away. See README.md beside this file; needs the extra
`ray`. Starts a cluster of its own on this machine, and ends it.
"""

import argparse
import bisect
import contextlib
import json
import os
import shutil
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent
sys.path.append(str(HERE.parent))

from support.mock_process import MockProcess  # noqa: E402  (in the folder above)
from throughput import CREW, TOOL_CREW, TOOL_MODEL, server, write_inputs  # noqa: E402

TOOL = """
import time
from crewrun.tools import tool

@tool
def lookup(topic: str) -> str:
    \"\"\"Look a topic up.\"\"\"
    ends = time.thread_time() + 0.005
    while time.thread_time() < ends:
        pass
    return f"{topic} is well known"
"""


def main() -> None:
    """Run the measurements that were asked for and print a line for each."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--only", choices=sorted(MEASUREMENTS), action="append")
    options = parser.parse_args()
    os.environ.update(RAY_USAGE_STATS_ENABLED="0", RAY_AUTH_MODE="disabled", OPENAI_API_KEY="x")
    os.environ["CREWRUN_ENV"] = "OPENAI_API_KEY"
    with tempfile.TemporaryDirectory() as folder, tempfile.TemporaryDirectory(prefix="ray-", dir="/tmp") as temp:
        os.chdir(folder)
        Path("crew.yaml").write_text(CREW, encoding="utf-8")
        with head_node(temp) as head:
            os.environ.update(RAY_ADDRESS=head.address, HEAD=str(head.process.pid))
            for name in options.only or MEASUREMENTS:
                MEASUREMENTS[name]()


def one_worker() -> None:
    """20,000 rows, no latency, 256 at once: rows/s while rows run, one worker against inline.

    A call has some milliseconds more to travel, so it takes more rows at once to keep everybody busy.
    """
    write_inputs(20_000)
    with server() as base:
        compare("one worker", base, "openai/fake", [], elsewhere(1))


def own_core() -> None:
    """The same where whoever runs rows has a core of its own: the worker's node, and inline the command. What is left,
    the server and elsewhere the driver, is on another one.
    """
    write_inputs(20_000)
    with contextlib.ExitStack() as stack:
        temp = stack.enter_context(tempfile.TemporaryDirectory(prefix="ray-", dir="/tmp"))
        with on_core(0):
            address = stack.enter_context(head_node(temp)).address
        with on_core(1):
            base = stack.enter_context(server())
        rates = []
        for _ in range(5):
            with on_core(0):
                inline = run(base, "openai/fake", "-j", "256")["rows_per_s"]
            with on_core(1):
                ray = run(base, "openai/fake", "-j", "256", *elsewhere(1), address=address)["rows_per_s"]
            rates.append((inline, ray))
    report_rates("one worker with a core of its own", rates)


def two_workers() -> None:
    """2,000 rows with a tool that computes 5 ms, two workers against inline."""
    write_inputs(2_000)
    Path("lookup.py").write_text(TOOL, encoding="utf-8")
    Path("tools.yaml").write_text(TOOL_CREW.replace("TOOLS", '"lookup:lookup"'), encoding="utf-8")
    with server() as base:
        crew = ["--crew", "tools.yaml"]
        compare("two workers, rows that compute", base, TOOL_MODEL, crew, [*crew, *elsewhere(2)])


def in_flight() -> None:
    """40,000 rows, 2,000 at once, 1 s a call, inline and over four workers: time while rows run; ideal are 20 s.

    All begin at one instant, so that a shorter run would measure how fast 2,000 rows can be begun at once.
    """
    write_inputs(40_000)
    with server("--latency", "1") as base:
        times = in_turn("duration_s", 3, base, "openai/fake", ["-j", "2000"], ["-j", "2000", *elsewhere(4, "0.5")])
    inline_s, ray_s = (statistics.median(column) for column in zip(*times, strict=True))
    each = ", ".join(f"{ray_s / 20:.2f}" for _, ray_s in times)
    print(f"2,000 in flight: {ray_s:.1f} s, {ray_s / 20:.2f} x the ideal 20 s ({each}); inline {inline_s / 20:.2f} x")


def kills() -> None:
    """A worker is killed every 2 s for a minute: results as without, and what was paid twice."""
    write_inputs(6_000)
    with MockProcess("--latency", "0.3", "--reply", "The answer.") as mock:
        in_flight: list[int] = []
        done = threading.Event()

        def killing() -> None:
            ends = time.monotonic() + 60
            while not done.wait(2) and time.monotonic() < ends:
                has_begun = mock.ledger(last=0)["totals"]["requests"] > 0
                if has_begun and (workers := actors(int(os.environ["HEAD"]))):
                    in_flight.append(int(mock.ledger(last=0)["totals"]["in_flight"]))
                    os.kill(workers[len(in_flight) % len(workers)], signal.SIGKILL)

        killer = threading.Thread(target=killing)
        killer.start()
        summary = run(mock.base_url, "openai/fake", "-j", "32", *elsewhere(2))
        done.set()
        killer.join()
        report("kills of workers", summary, mock, len(in_flight), sum(in_flight))


def nodes() -> None:
    """The raylet of a second node is killed, then the driver; the same command goes on."""
    write_inputs(2_000)
    with (
        MockProcess("--latency", "0.5", "--reply", "The answer.") as mock,
        node(f"--address={os.environ['RAY_ADDRESS']}") as second,
    ):
        command = batch(mock.base_url, "openai/fake", "-j", "64", *elsewhere(4))
        driver = subprocess.Popen(command)
        paid = []
        for kill in (second.kill_raylet, driver.kill):
            before = mock.ledger(last=0)["totals"]["requests"]
            while mock.ledger(last=0)["totals"]["requests"] < before + 500:
                time.sleep(0.1)
            paid.append(int(mock.ledger(last=0)["totals"]["in_flight"]))
            kill()
        driver.wait()
        time.sleep(2)
        going_on = mock.ledger(last=0)["totals"]["requests"]
        time.sleep(3)
        assert mock.ledger(last=0)["totals"]["requests"] == going_on, "somebody still calls"
        subprocess.run(command, check=True)
        summary = json.loads(Path("s.json").read_text())
        report("node and driver killed", summary, mock, 2, sum(paid))


def rpm() -> None:
    """600 requests a minute over four workers, for two and a half minutes: the fullest minute at the server."""
    write_inputs(1_500)
    with MockProcess("--reply", "The answer.") as mock:
        took_s = run(mock.base_url, "openai/fake", "-j", "64", "--rpm", "600", *elsewhere(4, "0.5"))["duration_s"]
        times = sorted(datetime.fromisoformat(request["at"]).timestamp() for request in mock.ledger()["requests"])
    fullest = max(bisect.bisect_left(times, at + 60) - i for i, at in enumerate(times))
    used = len(times) / (600 * took_s / 60)
    print(f"600 rpm over four workers: at most {fullest} in any 60 s, {used:.0%} of the limit used over {took_s:.0f} s")


MEASUREMENTS = {
    "one_worker": one_worker,
    "own_core": own_core,
    "two_workers": two_workers,
    "in_flight": in_flight,
    "kills": kills,
    "nodes": nodes,
    "rpm": rpm,
}


def report(what: str, summary: dict[str, Any], mock: MockProcess, kills: int, in_flight: int) -> None:
    """Print what kills cost."""
    rows = [json.loads(line) for line in Path("out.jsonl").read_text().splitlines()]
    ends = Counter((row["status"], row["output"]) for row in rows)
    requests = mock.ledger(last=0)["totals"]["requests"]
    print(
        f"{what}: {kills} kills, {len({row['id'] for row in rows})} different rows of {len(rows)}, ends {dict(ends)}, "
        f"{requests - len(rows)} calls paid twice, {in_flight} were in flight then, {summary['duration_s']:.0f} s"
    )


def elsewhere(workers: int, cpus: str = "1") -> list[str]:
    """The flags for a Ray run."""
    return ["--executor", "ray", "--workers", str(workers), "--worker-cpus", cpus]


def compare(what: str, base: str, model: str, inline: list[str], ray: list[str]) -> None:
    """Rows per second of both with 256 rows at once, from a run's first row to its last."""
    report_rates(what, in_turn("rows_per_s", 5, base, model, ["-j", "256", *inline], ["-j", "256", *ray]))


def report_rates(what: str, rates: list[tuple[float, float]]) -> None:
    """Print the medians of (inline, Ray), and each pair's ratio."""
    here, there = (statistics.median(column) for column in zip(*rates, strict=True))
    each = ", ".join(f"{ray / inline:.2f}" for inline, ray in rates)
    print(f"{what}: {there:,.0f} rows/s, inline {here:,.0f} rows/s, ratio {there / here:.2f} ({each})")


def in_turn(
    figure: str, rounds: int, base: str, model: str, inline: list[str], ray: list[str]
) -> list[tuple[float, float]]:
    """A figure of the summaries of runs inline and elsewhere, in turn.

    On few cores a single run says little: the driver, its workers and the server take them from each other.
    """
    return [(run(base, model, *inline)[figure], run(base, model, *ray)[figure]) for _ in range(rounds)]


def run(base: str, model: str, *flags: str, address: str | None = None) -> dict[str, Any]:
    """The summary of a run that begins anew, on the cluster at `address` if that is not the usual one."""
    Path("out.jsonl").unlink(missing_ok=True)
    shutil.rmtree("out.jsonl.crewrun", ignore_errors=True)
    env = {**os.environ, "RAY_ADDRESS": address} if address else None
    subprocess.run(batch(base, model, *flags), check=True, env=env)
    found: dict[str, Any] = json.loads(Path("s.json").read_text())
    return found


def batch(base: str, model: str, *flags: str) -> list[str]:
    """The command."""
    os.environ["OPENAI_BASE_URL"] = base
    output = ["-o", "out.jsonl", "--summary", "s.json", "-q"]
    return [sys.executable, "-m", "crewrun", "batch", "in.jsonl", "-m", model, *output, *flags]


class Node:
    """A node that was started here."""

    def __init__(self, process: subprocess.Popen[str], address: str) -> None:
        self.process = process
        self.address = address

    def kill_raylet(self) -> None:
        """Kill the process that the node's workers depend on."""
        (raylet,) = [
            pid for pid, parent, words in processes() if parent == self.process.pid and "raylet/raylet" in words
        ]
        os.kill(raylet, signal.SIGKILL)


@contextlib.contextmanager
def on_core(core: int) -> Iterator[None]:
    """What is started in the block runs on this core alone."""
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {core})
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)


def head_node(temp: str) -> contextlib.AbstractContextManager[Node]:
    """A cluster of one node, with its files in the folder `temp`."""
    return node("--head", "--port=0", f"--temp-dir={temp}", f"--ray-client-server-port={free_port()}")


@contextlib.contextmanager
def node(*flags: str) -> Iterator[Node]:
    """A node with two CPUs, for the time of the block."""
    ray = Path(sys.executable).with_name("ray")
    command = [str(ray), "start", "--block", "--num-cpus=2", "--include-dashboard=false", *flags]
    if "--head" not in flags:
        command.remove("--include-dashboard=false")
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, start_new_session=True
    ) as process:
        assert process.stdout is not None
        said = []
        for line in process.stdout:
            said.append(line)
            if "--block" in line:
                break
        else:
            raise RuntimeError("".join(said))
        address = next(
            (line.partition("--address='")[2].partition("'")[0] for line in said if "--address='" in line), ""
        )
        try:
            yield Node(process, address)
        finally:
            os.killpg(process.pid, signal.SIGKILL)


def actors(head: int) -> list[int]:
    """The processes of the workers on the node that the process `head` began, by number."""
    found = list(processes())
    raylets = {pid for pid, parent, words in found if parent == head and "raylet/raylet" in words}
    return sorted(pid for pid, parent, words in found if parent in raylets and words.startswith("ray::_Actor"))


def processes() -> Iterator[tuple[int, int, str]]:
    """All processes: number, parent and command line."""
    for folder in Path("/proc").iterdir():
        if folder.name.isdecimal():
            with contextlib.suppress(OSError):
                words = (folder / "cmdline").read_bytes().replace(b"\0", b" ").decode("utf-8", "replace")
                parent = (folder / "stat").read_text().rpartition(")")[2].split()[1]
                yield int(folder.name), int(parent), words


def free_port() -> int:
    """A port that nobody has."""
    with socket.create_server(("127.0.0.1", 0)) as one:
        return int(one.getsockname()[1])


if __name__ == "__main__":
    main()
