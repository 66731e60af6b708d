"""How close `crewrun batch` comes to what the machine and the model allow. See README.md beside this file."""

import argparse
import contextlib
import json
import math
import os
import resource
import shutil
import sqlite3
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

HERE = Path(__file__).parent
RUN = "out.jsonl.crewrun"
CREW = """\
agents:
  researcher:
    role: "{topic} Researcher"
    goal: Research the topic
    backstory: Expert at researching any topic.
tasks:
  summary:
    description: Write a 50-word summary of {topic}
    expected_output: A concise summary
    agent: researcher
"""
TOOL_CREW = """\
agents:
  researcher:
    role: "{topic} Researcher"
    goal: Research the topic
    backstory: Expert at researching any topic.
    tools: [TOOLS]
  writer:
    role: Writer
    goal: Write it down
    backstory: Expert at writing.
tasks:
  research:
    description: Look {topic} up
    expected_output: What is known
    agent: researcher
  summary:
    description: Write a 50-word summary of {topic}
    expected_output: A concise summary
    agent: writer
"""
TOOL = """
@tool
%(kind)sdef %(name)s(topic: str) -> str:
    \"\"\"Look a topic up.\"\"\"
    return f"{topic} is well known"
"""
# A model that is known to take tools; the server takes any name.
TOOL_MODEL = "openai/gpt-4o-mini"


def main() -> None:
    """Run the measurements that were asked for and print a line for each."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--only", choices=sorted(MEASUREMENTS), action="append")
    parser.add_argument("--rounds", type=int, default=3)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        os.chdir(folder)
        Path("crew.yaml").write_text(CREW, encoding="utf-8")
        for name in options.only or MEASUREMENTS:
            MEASUREMENTS[name](options.rounds)


def rows(rounds: int) -> None:
    """20,000 rows, 64 at once, no latency: rows per second against the bare loop, both as whole processes; once with
    the journal, which is the default, and once into a stream, which has none.
    """
    write_inputs(20_000)
    bare_loop = [sys.executable, str(HERE / "bare_loop.py"), "in.jsonl", "o"]
    with server() as base:
        walls = [
            (
                wall([*bare_loop, "--base", base]),
                wall(batch(base, 64, "openai/fake")),
                wall(batch(base, 64, "openai/fake", output="-")),
            )
            for _ in range(rounds)
        ]
    bare, *ours = (20_000 / statistics.median(column) for column in zip(*walls, strict=True))
    for name, rows_per_s, column in zip(("journal", "stream"), ours, (1, 2), strict=True):
        ratios = [row[0] / row[column] for row in walls]
        print(
            f"rows ({name}): {rows_per_s:,.0f} rows/s, bare loop {bare:,.0f} rows/s, "
            f"ratio {statistics.median(ratios):.2f} ({min(ratios):.2f}-{max(ratios):.2f} in {rounds} rounds)"
        )


def resume(rounds: int) -> None:
    """1,000,000 rows that are done: how fast they are recognised, and in how much memory; and the journal's size."""
    write_inputs(1_000_000)
    wall(batch("http://127.0.0.1:9/v1", 64, "offline"))
    replies = journal_bytes = 0
    with sqlite3.connect(f"{RUN}/journal.sqlite") as journal:
        (replies,) = journal.execute("select sum(length(reply)) from calls").fetchone()
    journal_bytes = Path(RUN, "journal.sqlite").stat().st_size
    print(f"resume: journal {journal_bytes / 1e6:.0f} bytes a row, of them {replies / 1e6:.0f} are the reply")
    again = [sys.executable, "-m", "crewrun", "batch", "in.jsonl", "-m", "offline", "-j", "64", "-o", "out.jsonl", "-q"]
    walls = [wall(again) for _ in range(rounds)]
    print(f"resume: {1e6 / statistics.median(walls):,.0f} rows/s from start to exit, {peak_mib(again):.0f} MiB")


def tools(rounds: int) -> None:
    """8,000 rows, 64 at once, three calls each, one of them for a tool: rows per second against the same bare calls."""
    write_inputs(8_000)
    bare_loop = [sys.executable, str(HERE / "bare_loop.py"), "in.jsonl", "o", "--tools"]
    for kind in ("async ", ""):
        write_tool_crew(["lookup"], kind)
        with server() as base:
            pairs = [
                (wall([*bare_loop, "--base", base]), wall(batch(base, 64, TOOL_MODEL, "tools.yaml")))
                for _ in range(rounds)
            ]
        ratios = [bare_s / ours_s for bare_s, ours_s in pairs]
        bare, ours = (8_000 / statistics.median(column) for column in zip(*pairs, strict=True))
        print(
            f"tools ({kind.strip() or 'sync'} function): {ours:,.0f} rows/s, bare loop {bare:,.0f} rows/s, "
            f"ratio {statistics.median(ratios):.2f} ({min(ratios):.2f}-{max(ratios):.2f} in {rounds} rounds)"
        )


def schemas(rounds: int) -> None:
    """CPU per row of an agent with 1 tool and with 20: the schemas are built once, then only sent."""
    counts = (1, 20)
    cpu_ms = {}
    with server() as base:
        for count in counts:
            write_tool_crew([f"lookup_{i}" for i in range(count)], "async ")
            write_inputs(1)
            start_s = statistics.median(cpu(batch(base, 64, TOOL_MODEL, "tools.yaml")) for _ in range(rounds))
            write_inputs(4_000)
            whole_s = statistics.median(cpu(batch(base, 64, TOOL_MODEL, "tools.yaml")) for _ in range(rounds))
            cpu_ms[count] = (whole_s - start_s) / 4_000 * 1000
    print(f"schemas: {cpu_ms[1]:.2f} ms CPU per row with 1 tool, {cpu_ms[20]:.2f} ms with 20, each sent twice")
    print(f"schemas: to build them once more for each of these calls would be {2 * _building_ms(20):.2f} ms per row")


def _building_ms(count: int) -> float:
    """Milliseconds to make the schemas of so many tools from their signatures."""
    # Imported in a process of its own: what is measured elsewhere is whole processes.
    program = (
        "import sys, time\nsys.path.insert(0, '.')\nimport lookup\nfrom crewrun.tools import tool\n"
        "from crewrun.tools.toolbox import Toolbox\nbegan = time.perf_counter()\n"
        f"Toolbox([tool(getattr(lookup, f'lookup_{{i}}').func) for i in range({count})])\n"
        "print((time.perf_counter() - began) * 1000)"
    )
    return float(subprocess.run([sys.executable, "-c", program], check=True, capture_output=True, text=True).stdout)


def latency(rounds: int) -> None:
    """5,000 rows, 500 at once, 0.5 s each: wall time against the ideal."""
    write_inputs(5_000)
    ideal_s = math.ceil(5_000 / 500) * 0.5
    with server("--latency", "0.5") as base:
        walls = [wall(batch(base, 500, "openai/fake")) for _ in range(rounds)]
    print(
        f"latency: {statistics.median(walls):.2f} s, ideal {ideal_s:.1f} s, {statistics.median(walls) / ideal_s:.2f} x"
    )


def memory(rounds: int) -> None:
    """Peak memory at 20,000 and 1,000,000 rows, offline model."""
    peaks = []
    for count in (20_000, 1_000_000):
        write_inputs(count)
        peaks.append(peak_mib(batch("http://127.0.0.1:9/v1", 64, "offline")))
    print(f"memory: {peaks[0]:.0f} MiB at 20,000 rows, {peaks[1]:.0f} MiB at 1,000,000")


def startup(rounds: int) -> None:
    """`crewrun --help` against `import typer`, and the time to the first request on the wire."""
    helps = [wall([sys.executable, "-m", "crewrun", "--help"]) for _ in range(rounds * 5)]
    typers = [wall([sys.executable, "-c", "import typer"]) for _ in range(rounds * 5)]
    write_inputs(1)
    with server() as base:
        firsts = [wall(batch(base, 8, "openai/fake")) for _ in range(rounds * 2)]
    ratio = statistics.median(helps) / statistics.median(typers)
    print(f"startup: --help {statistics.median(helps):.3f} s, {ratio:.2f} x import typer")
    print(f"startup: a batch of one row {statistics.median(firsts):.2f} s from start to exit")


MEASUREMENTS = {
    "rows": rows,
    "tools": tools,
    "schemas": schemas,
    "latency": latency,
    "memory": memory,
    "resume": resume,
    "startup": startup,
}


def batch(base: str, max_concurrent: int, model: str, crew: str = "crew.yaml", output: str = "out.jsonl") -> list[str]:
    """The command under measurement, with nothing left of a run before."""
    Path("out.jsonl").unlink(missing_ok=True)
    shutil.rmtree(RUN, ignore_errors=True)
    os.environ.update(OPENAI_BASE_URL=base, OPENAI_API_KEY="x")
    flags = ["-m", model, "-j", str(max_concurrent), "-o", output, "-q"]
    return [sys.executable, "-m", "crewrun", "batch", "in.jsonl", "--crew", crew, *flags]


def write_inputs(count: int) -> None:
    """`in.jsonl` with so many rows."""
    with open("in.jsonl", "w", encoding="utf-8") as inputs:
        inputs.writelines(json.dumps({"topic": f"Topic {i}"}) + "\n" for i in range(count))


def write_tool_crew(names: list[str], kind: str) -> None:
    """`tools.yaml`, whose first agent has these tools, and `lookup.py` with them; `kind` is "async " or nothing."""
    functions = "\n".join(TOOL % {"kind": kind, "name": name} for name in names)
    Path("lookup.py").write_text(f"from crewrun.tools import tool\n\n{functions}", encoding="utf-8")
    references = ", ".join(f'"lookup:{name}"' for name in names)
    Path("tools.yaml").write_text(TOOL_CREW.replace("TOOLS", references), encoding="utf-8")


def wall(command: list[str]) -> float:
    """Seconds from start to exit of a process that must succeed."""
    began = time.perf_counter()
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    return time.perf_counter() - began


def cpu(command: list[str]) -> float:
    """Seconds of processor time of a process that must succeed."""
    usage = _usage(command)
    return usage.ru_utime + usage.ru_stime


def peak_mib(command: list[str]) -> float:
    """The largest resident set of a process that must succeed."""
    return _usage(command).ru_maxrss / 1024


def _usage(command: list[str]) -> resource.struct_rusage:
    pid = os.spawnv(os.P_NOWAIT, command[0], command)
    _, status, usage = os.wait4(pid, 0)
    if status:
        raise SystemExit(f"{command} ended with {status}")
    return usage


@contextlib.contextmanager
def server(*flags: str) -> Iterator[str]:
    """A server process; its base_url."""
    resource.setrlimit(resource.RLIMIT_NOFILE, (4096, max(4096, resource.getrlimit(resource.RLIMIT_NOFILE)[1])))
    command = [sys.executable, str(HERE / "server.py"), *flags]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        port = process.stdout.readline().strip()
        try:
            yield f"http://127.0.0.1:{port}/v1"
        finally:
            process.terminate()


if __name__ == "__main__":
    main()
