"""How much of a provider's limit is used, and how many requests it refuses. See README.md beside this file."""

import argparse
import asyncio
import contextlib
import json
import random
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path
from typing import Any

import aiohttp

RPM, TPM = 600, 100_000
IN_FLIGHT = 64
CREW = """\
agents:
  writer:
    role: Writer
    goal: Explain things
    backstory: You write for people who are in a hurry.
llm: openai/fake
tasks:
  draft:
    agent: writer
    description: Write about {topic}
    expected_output: One paragraph
"""
Send = Callable[[str], Awaitable[tuple[int, float]]]


def main() -> None:
    """Run each way of calling for so many minutes, against a mock of its own, and print a line for each."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--minutes", type=float, default=3)
    parser.add_argument("--halve", action="store_true", help="halve the limit in the middle")
    parser.add_argument("--only", choices=sorted(WAYS), action="append")
    parser.add_argument("--quiet-limits", action="store_true", help="a provider that does not tell its limits")
    options = parser.parse_args()
    told = ["--no-limit-headers"] if options.quiet_limits else []
    for name in options.only or WAYS:
        with tempfile.TemporaryDirectory() as folder, mock(*told) as base:
            changes = [(options.minutes * 30, {"rpm": RPM // 2, "tpm": TPM // 2})] if options.halve else []
            ledger = watch(WAYS[name](folder, base), base, options.minutes * 60, changes)
        say(name, ledger, options.minutes * 60, halved=options.halve)


def crewrun(folder: str, base: str) -> subprocess.Popen[bytes]:
    """`crewrun batch -j auto`, which is told no limit."""
    Path(folder, "crew.yaml").write_text(CREW, encoding="utf-8")
    with Path(folder, "in.jsonl").open("w", encoding="utf-8") as rows:
        rows.writelines(json.dumps({"topic": topic}) + "\n" for topic in topics())
    command = [sys.executable, "-m", "crewrun", "batch", "in.jsonl", "-j", "auto", "--base-url", base, "-q"]
    return subprocess.Popen([*command, "--grace", "0"], cwd=folder)


def loop(way: str) -> Callable[[str, str], subprocess.Popen[bytes]]:
    """A loop of this file, as a process of its own."""
    return lambda folder, base: subprocess.Popen([sys.executable, __file__, "--loop", way, base], cwd=folder)


WAYS: dict[str, Callable[[str, str], subprocess.Popen[bytes]]] = {
    "crewrun": crewrun,
    "fixed": loop("fixed"),
    "sleep": loop("sleep"),
}


def topics() -> Iterator[str]:
    """Texts of 20 to 600 words, always the same ones: 150 tokens a request on the average."""
    dice = random.Random(1)
    for i in range(20_000):
        yield f"{i} " + "word " * min(600, max(20, int(dice.lognormvariate(3.8, 0.6))))


async def fixed(send: Send) -> None:
    """So many at once; what is refused is sent again after a pause that doubles, or as long as it was told to."""
    rows = topics()

    async def work() -> None:
        for topic in rows:
            for attempt in range(8):
                status, asked_s = await send(topic)
                if status != 429:
                    break
                await asyncio.sleep(asked_s or random.uniform(0, min(30, 0.5 * 2**attempt)))

    await asyncio.gather(*(work() for _ in range(IN_FLIGHT)))


async def sleep(send: Send) -> None:
    """One after another with a pause of 60 / RPM seconds, as it is often written."""
    for topic in topics():
        await send(topic)
        await asyncio.sleep(60 / RPM)


async def run_loop(way: Callable[[Send], Awaitable[None]], base: str) -> None:
    """One of the loops above until it is killed."""
    connector = aiohttp.TCPConnector(limit=0)
    async with aiohttp.ClientSession(connector=connector) as session:

        async def send(topic: str) -> tuple[int, float]:
            body = {"model": "fake", "messages": [{"role": "user", "content": f"Write about {topic}"}]}
            async with session.post(f"{base}/chat/completions", json=body) as response:
                await response.read()
                return response.status, float(response.headers.get("retry-after-ms", 0)) / 1000

        await way(send)


@contextlib.contextmanager
def mock(*flags: str) -> Iterator[str]:
    """A provider with true token buckets that takes a second or two for an answer."""
    limits = ["--rpm", str(RPM), "--tpm", str(TPM), "--latency", "1", "--jitter", "1"]
    command = [sys.executable, "-m", "crewrun", "mock", "--port", "0", *limits, *flags]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True) as process:
        assert process.stdout is not None
        yield process.stdout.readline().rsplit(" ", 1)[1].strip()
        process.terminate()


def watch(
    process: subprocess.Popen[bytes], base: str, seconds: float, changes: list[tuple[float, dict[str, int]]]
) -> dict[str, Any]:
    """Let the process call for so long, counted from its first request; the ledger of that time."""
    while not fetch(base, "/ledger?last=0")["totals"]["requests"]:
        time.sleep(0.02)
    began = time.monotonic()
    for at_s, limits in changes:
        time.sleep(max(0.0, began + at_s - time.monotonic()))
        fetch(base, "/limits", limits)
    time.sleep(max(0.0, began + seconds - time.monotonic()))
    ledger: dict[str, Any] = fetch(base, "/ledger?last=0")
    process.kill()
    process.wait()
    return ledger


def fetch(base: str, path: str, put: dict[str, int] | None = None) -> Any:
    """What the mock answers to a GET, or to a PUT of some limits."""
    body = None if put is None else json.dumps(put).encode()
    request = urllib.request.Request(base.removesuffix("/v1") + path, body, method="GET" if put is None else "PUT")
    with urllib.request.build_opener(urllib.request.ProxyHandler({})).open(request, timeout=10) as reply:
        return json.load(reply)


def say(name: str, ledger: dict[str, Any], seconds: float, *, halved: bool) -> None:
    """The share of the limit that was used, of the one that was used more, and the share of refused requests."""
    totals = ledger["totals"]
    through = totals["requests"] - totals["rate_limited"]
    tokens = totals["prompt_tokens"] + totals["completion_tokens"]
    minutes = seconds / 60 * (0.75 if halved else 1)
    used = max(through / RPM, tokens / TPM) / minutes
    refused = totals["rate_limited"] / totals["requests"]
    print(
        f"{name}: {used:.1%} of the limit used, {refused:.2%} of {totals['requests']:,} requests answered 429",
        f"({through / minutes:,.0f} requests and {tokens / minutes:,.0f} tokens a minute)",
        flush=True,
    )


if __name__ == "__main__":
    if sys.argv[1:2] == ["--loop"]:
        with contextlib.suppress(KeyboardInterrupt):
            asyncio.run(run_loop({"fixed": fixed, "sleep": sleep}[sys.argv[2]], sys.argv[3]))
    else:
        main()
