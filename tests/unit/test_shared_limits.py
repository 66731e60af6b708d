"""Limits that several processes share through a file, and that the next run begins with.

A process is a rate limiter here, since all that they have in common is the file; real ones are in
tests/commands/test_shared_limits.py. Everything runs on a virtual clock.
"""

import random
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import anyio
import pytest
import trio
import trio.testing

from crewrun.errors import CallError, RateLimited
from crewrun.limits import rate_headers
from crewrun.limits.account import Account
from crewrun.limits.rate_limiter import RateLimiter
from crewrun.limits.shared_limits import SharedLimits
from crewrun.mock import rate_limits as mock_limits

ACCOUNT = Account("4711", "openai/fake", "api.example.com")
RPM, TPM = 600, 100_000


def on_a_virtual_clock(main: Callable[[], Awaitable[Any]]) -> Any:
    return trio.run(main, clock=trio.testing.MockClock(autojump_threshold=0))


def no_warning(why: str) -> None:
    pytest.fail(why)


@dataclass
class Provider:
    """A provider with true token buckets. `seen`: who asked, when, how many tokens, whether that was let through."""

    tells: bool = True
    rpm: int | None = RPM
    tpm: int | None = TPM
    seen: list[tuple[str, float, int, bool]] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.limits = mock_limits.MockLimits(self.rpm, self.tpm, trio.current_time(), has_headers=self.tells)

    def admit(self, who: str, tokens: int) -> mock_limits.Admission:
        now = trio.current_time()
        answer = self.limits.admit(tokens, now)
        self.seen.append((who, now, tokens, not answer.refused_by))
        return answer

    def used(self, start: float, end: float, who: str = "") -> float:
        """The part of the limit that was used in that time, of the one that was used more."""
        through = [tokens for name, at, tokens, ok in self.seen if ok and start <= at < end and name.startswith(who)]
        minutes = (end - start) / 60
        return max(len(through) / (self.rpm or 1e9), sum(through) / (self.tpm or 1e9)) / minutes

    def refused(self, start: float = 0.0) -> float:
        asked = [ok for _, at, _, ok in self.seen if at >= start]
        return sum(not ok for ok in asked) / len(asked)


@dataclass
class Process:
    """As many rows as wanted ask one after another, from `start` to `end`."""

    name: str
    start: float = 0.0
    end: float = 240.0
    rows: int = 200
    mean_tokens: int = 100
    is_killed: bool = False
    own_rpm: int | None = None

    async def run(self, folder: Path, provider: Provider) -> None:
        await anyio.sleep_until(self.start)
        dice = random.Random(self.name)
        shared = SharedLimits(ACCOUNT, no_warning, folder)
        limiter = RateLimiter(1000, start=8, rpm=self.own_rpm, shared=shared)

        async def send(tokens: int) -> CallError | None:
            permit = await limiter.admit(max(1, int(tokens * dice.uniform(0.7, 1.3))))
            await anyio.sleep(dice.uniform(0.01, 0.05))
            answer = provider.admit(self.name, tokens)
            error = RateLimited("slow", retry_after_s=answer.wait_s) if answer.refused_by else None
            await anyio.sleep(dice.uniform(0.03, 0.15) if error else dice.uniform(0.5, 2.0))
            limiter.settle(permit, None if error else tokens, error, rate_headers.read(answer.headers))
            return error

        async def row() -> None:
            while True:
                tokens, failures = max(10, int(dice.lognormvariate(0, 0.5) * self.mean_tokens * 0.88)), 0
                while error := await send(tokens):
                    failures += 1
                    await anyio.sleep((error.retry_after_s or 0) + dice.uniform(0, min(30, 0.5 * 2**failures)))

        with anyio.move_on_after(self.end - anyio.current_time()):
            async with anyio.create_task_group() as group:
                for _ in range(self.rows):
                    group.start_soon(row)
        if not self.is_killed:
            limiter.close()


def share(folder: Path, processes: Sequence[Process], **of_provider: Any) -> Provider:
    async def main() -> Provider:
        provider = Provider(**of_provider)
        async with anyio.create_task_group() as group:
            for process in processes:
                group.start_soon(partial(process.run, folder, provider))
        return provider

    provider: Provider = on_a_virtual_clock(main)
    return provider


@pytest.mark.parametrize(
    ("count", "mean_tokens", "tells"),
    [(2, 100, True), (3, 100, True), (2, 600, True), (2, 100, False)],
    ids=["requests, told", "requests, told to three", "tokens, told", "requests, not told"],
)
def test_processes_of_one_account_are_within_its_limits_together(
    tmp_path: Path, count: int, mean_tokens: int, tells: bool
) -> None:
    """Nearly all of the limit is used, nearly nothing refused, and everyone gets a share."""
    names = "abc"[:count]
    processes = [Process(name, 3.0 * i, mean_tokens=mean_tokens) for i, name in enumerate(names)]
    provider = share(tmp_path, processes, tells=tells)
    shares = [provider.used(60, 240, name) for name in names]
    print(f"{provider.used(60, 240):.1%} used, {provider.refused(60):.2%} refused, shares {shares}")
    assert provider.used(60, 240) > 0.93
    assert provider.refused(60) < 0.01
    assert min(shares) > 0.5 / count
