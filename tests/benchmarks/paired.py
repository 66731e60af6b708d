"""What a change costs each row: the CPU time of a batch by two checkouts, in turn. See README.md beside this file."""

import argparse
import os
import resource
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from contextlib import nullcontext
from pathlib import Path

from throughput import server

ROWS = 5_000
CREW = """\
agents:
  writer: {role: Writer, goal: Write, backstory: A writer.}
tasks:
  - {description: "Write about {topic}", expected_output: A line, agent: writer}
"""


def main() -> None:
    """Print the CPU time per row of both, and the median ratio of the pairs with its quartiles."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("new", type=Path, help="a checkout, such as a worktree of the commit to measure")
    parser.add_argument("old", type=Path, help="another, such as a worktree of the commit before")
    parser.add_argument("--pairs", type=int, default=9)
    parser.add_argument("--wire", action="store_true", help="calls over the loopback instead of the offline model")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        os.chdir(folder)
        Path("crew.yaml").write_text(CREW, encoding="utf-8")
        Path("in.jsonl").write_text("".join(f'{{"topic": "topic {i}"}}\n' for i in range(ROWS)), encoding="utf-8")
        checkouts = {"new": options.new.resolve(), "old": options.old.resolve()}
        with server() if options.wire else nullcontext() as base:
            for checkout in checkouts.values():
                cpu_s(checkout, base)  # compiles
            pairs = [{name: cpu_s(checkouts[name], base) for name in order(i)} for i in range(options.pairs)]
    for name in checkouts:
        print(f"{name}: {statistics.median(pair[name] for pair in pairs) / ROWS * 1e6:.0f} µs of CPU per row")
    report([pair["new"] / pair["old"] for pair in pairs])


def order(pair: int) -> tuple[str, str]:
    """Which checkout of a pair goes first."""
    return ("new", "old") if pair % 2 else ("old", "new")


def cpu_s(checkout: Path, base: str | None) -> float:
    """The CPU time of one batch as a whole process: of offline rows, or of rows that call the server at `base`."""
    environment: Mapping[str, str] = {**os.environ, "PYTHONPATH": str(checkout), "OPENAI_API_KEY": "x"}
    model = ["-m", "openai/fake", "--base-url", base] if base else ["-m", "offline"]
    flags = ["--fresh", "-q", "-o", "o.jsonl", "-j", "64", *model]
    command = [sys.executable, "-m", "crewrun", "batch", "in.jsonl", *flags]
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    subprocess.run(command, env=environment, check=True)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    for old in Path().glob("o.*"):
        subprocess.run(["rm", "-rf", str(old)], check=True)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def report(ratios: list[float]) -> None:
    """Print the ratios' median and quartiles."""
    low, median, high = statistics.quantiles(ratios, n=4)
    print(f"new / old: {median:.3f} ({low:.3f} to {high:.3f}), {len(ratios)} pairs of {ROWS:,} rows")


if __name__ == "__main__":
    main()
