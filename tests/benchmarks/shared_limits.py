"""How well processes of one account keep its limits together, and what a run gains from what is remembered of them.

See README.md beside this file. The processes are real ones, and the provider is `crewrun mock` with true token buckets.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from limits import CREW, RPM, TPM, fetch, mock, topics

# Limits of this machine's own addresses are only kept when that is said.
SHARED = {"CREWRUN_SHARE_LOOPBACK_LIMITS": "1"}
APART_S = 3.0


def main() -> None:
    """Run each case against a mock of its own, and print a line for each."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--minutes", type=float, default=2)
    parser.add_argument("--quiet-limits", action="store_true", help="a provider that does not tell its limits")
    parser.add_argument("--only", choices=["two", "three", "killed", "alone", "again"], action="append")
    options = parser.parse_args()
    told = ["--no-limit-headers"] if options.quiet_limits else []
    for name in options.only or ["two", "three", "killed", "alone", "again"]:
        with tempfile.TemporaryDirectory() as folder, mock(*told) as base:
            if name == "again":
                run_again(Path(folder), base)
            else:
                run_together(name, Path(folder), base, options.minutes * 60)


def run_together(name: str, folder: Path, base: str, seconds: float) -> None:
    """Several processes, each some seconds after the one before; with `killed` the first one ends halfway."""
    count = {"two": 2, "three": 3, "killed": 2, "alone": 2}[name]
    flags = ["--no-shared-limits"] if name == "alone" else []
    with ExitStack() as running:
        processes = []
        for number in range(count):
            processes.append(running.enter_context(crewrun(folder / str(number), base, *flags)))
            time.sleep(APART_S)
        before, began = fetch(base, "/ledger?last=0")["totals"], time.monotonic()
        if name == "killed":
            time.sleep(seconds / 2)
            processes[0].kill()
        time.sleep(max(0.0, began + seconds - time.monotonic()))
        after, lasted_s = fetch(base, "/ledger?last=0")["totals"], time.monotonic() - began
        done = [lines(folder / str(number) / "in.results.jsonl") for number in range(count)]
    spent = {key: after[key] - before[key] for key in after if isinstance(after[key], int)}
    through = spent["requests"] - spent["rate_limited"]
    tokens = spent["prompt_tokens"] + spent["completion_tokens"]
    used = max(through / RPM, tokens / TPM) / (lasted_s / 60)
    print(
        f"{name}: {used:.1%} of the limit used together, {spent['rate_limited']} of {spent['requests']:,} requests",
        f"answered 429 ({after['rate_limited']} with the start); rows by process: {done}",
        flush=True,
    )


def run_again(folder: Path, base: str, rows: int = 1500) -> None:
    """The same rows twice: at first nothing is known. In between the provider's buckets fill up."""
    for name in ("cold", "remembered"):
        began = time.monotonic()
        with crewrun(folder / name, base, rows=rows) as process:
            process.wait()
        print(f"{name} start: {rows} rows in {time.monotonic() - began:.1f} s", flush=True)
        time.sleep(65)


@contextmanager
def crewrun(folder: Path, base: str, *flags: str, rows: int = 20_000) -> Iterator["subprocess.Popen[bytes]"]:
    """`crewrun batch -j auto` in a folder of its own, with the state of all in the folder above; killed at the end."""
    folder.mkdir()
    (folder / "crew.yaml").write_text(CREW, encoding="utf-8")
    with (folder / "in.jsonl").open("w", encoding="utf-8") as file:
        file.writelines(json.dumps({"topic": topic}) + "\n" for topic, _ in zip(topics(), range(rows), strict=False))
    command = [sys.executable, "-m", "crewrun", "batch", "in.jsonl", "-j", "auto", "--base-url", base, "-q", *flags]
    env = {**os.environ, **SHARED, "XDG_STATE_HOME": str(folder.parent / "state")}
    with subprocess.Popen([*command, "--grace", "0"], cwd=folder, env=env) as process:
        try:
            yield process
        finally:
            process.kill()


def lines(path: Path) -> int:
    """How many rows a process has done."""
    return sum(1 for _ in path.open("rb")) if path.exists() else 0


if __name__ == "__main__":
    main()
