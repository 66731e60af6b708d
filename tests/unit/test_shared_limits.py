"""Limits that several processes share through a file, and that the next run begins with.

A process is a rate limiter here, since all that they have in common is the file; real ones are in
tests/commands/test_runs_of_one_account.py. Everything runs on a virtual clock.
"""

import fcntl
import json
import os
import random
import subprocess
import tempfile
import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any
from zlib import crc32

import anyio
import pytest
import trio
import trio.testing
from hypothesis import given
from hypothesis import strategies as st

from crewrun.errors import CallError, RateLimited
from crewrun.limits import rate_headers, shared_limits
from crewrun.limits.account import Account, account_of, key_digest
from crewrun.limits.local_limiter import LocalLimiter
from crewrun.limits.permit import CallResult
from crewrun.limits.rate_limiter import RateLimiter
from crewrun.limits.shared_file import SCHEMA, boot_id, read_state
from crewrun.limits.shared_limits import SharedLimits
from crewrun.limits.shared_state import SharedState
from crewrun.llm.options import GatewayOptions, own_limiters
from crewrun.messages import Endpoint, RateLimits
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
    assert provider.used(60, 240) > (0.93 if tells else 0.8)
    assert provider.refused(60) < 0.01
    assert min(shares) > 0.5 / count


def test_what_a_killed_process_had_is_not_missed(tmp_path: Path) -> None:
    """The other one has the whole limit from then on."""
    processes = [Process("a", 0.0, end=60.0, is_killed=True), Process("b", 3.0, end=180.0)]
    provider = share(tmp_path, processes)
    print(f"{provider.used(60, 180):.1%} used, {provider.refused():.2%} refused")
    assert provider.used(60, 180) > 0.95
    assert provider.refused() == 0


def test_a_users_limit_holds_for_each_process(tmp_path: Path) -> None:
    """One may send 120 a minute, and leaves the rest to the other."""
    provider = share(tmp_path, [Process("a", own_rpm=120), Process("b", 3.0)])
    assert 0.17 < provider.used(60, 240, "a") <= 0.2
    assert provider.used(60, 240) > 0.93


@pytest.mark.parametrize("tells", [True, False], ids=["told", "not told"])
def test_a_run_begins_with_what_the_one_before_it_learned(tmp_path: Path, tells: bool) -> None:
    """It is at its speed in the first minute, and hardly refused."""
    provider = share(tmp_path, [Process("a", end=240.0), Process("b", 400.0, end=460.0)], tells=tells)
    assert provider.used(400, 460) > 0.85
    assert provider.refused(400) < 0.01


def test_a_rate_that_is_remembered_is_no_slower_than_none(tmp_path: Path) -> None:
    """What has gathered in the provider's bucket while nobody called is used: half a minute's worth at once."""
    provider = share(tmp_path, [Process("a", end=240.0), Process("b", 400.0, end=460.0)], tells=False, tpm=None)
    assert provider.used(400, 420) > 1.5
    assert provider.refused(400) < 0.01


def test_how_many_were_in_flight_is_where_the_next_run_begins(tmp_path: Path) -> None:
    """Not with eight, as the first one."""
    provider = share(tmp_path, [Process("a", end=60.0), Process("b", 200.0, end=230.0)])
    at = {name: [at for who, at, _, _ in provider.seen if who == name] for name in "ab"}
    at_once = {name: sum(one < times[0] + 0.1 for one in times) for name, times in at.items()}
    assert (at_once["a"], at_once["b"] > 50) == (8, True)


def told(folder: Path, rpm: int | None = RPM, tpm: int | None = TPM) -> SharedLimits:
    """A process that has learned the limits, on a clock that stands at 100 s."""
    shared = SharedLimits(ACCOUNT, no_warning, folder)
    shared.begin(100.0)
    shared.tell(rpm, tpm, 100.0, 100.0)
    return shared


def test_what_one_process_is_asked_to_wait_all_wait(tmp_path: Path) -> None:
    """The others know with their next request, also one that has its place already."""
    one, other = told(tmp_path), SharedLimits(ACCOUNT, no_warning, tmp_path)
    other.begin(100.0)
    assert other.earliest(10, 1, 100.0) == (100.0, None)
    one.block(130.0, 100.0)
    assert other.earliest(10, 1, 100.3)[0] == 130.0
    assert other.state.blocked_until == 130.0


def test_the_place_of_a_process_that_is_gone_is_free_again(tmp_path: Path) -> None:
    """As far as its time has not come: until then it has sent nothing."""
    state = SharedState()
    state.requests.per_min = 2
    for name in "abc":
        state.meet(name, f"process of {name}", 1, 100.0, 0.0)
    assert state.lease("a", 10, 1, 100.0).at == 100.0
    b, c = state.lease("b", 10, 1, 100.0).at, state.lease("c", 10, 1, 100.0).at
    assert 130.0 < b < c
    state.reclaim(lambda process: process == "process of c", 101.0)
    assert "c" not in state.processes
    state.meet("d", "process of d", 1, 101.0, 0.0)
    assert state.lease("d", 10, 1, 101.0).at <= c


def test_a_process_of_another_namespace_is_not_taken_for_dead(tmp_path: Path) -> None:
    """Its number means nothing here."""
    assert not shared_limits._is_gone("pid:[1]:999999999")
    ended = subprocess.Popen(["true"])
    ended.wait()
    here = f"{shared_limits._namespace()}:"
    assert (shared_limits._is_gone(f"{here}{ended.pid}"), shared_limits._is_gone(f"{here}{os.getpid()}")) == (
        True,
        False,
    )


def test_a_process_that_is_stopped_with_the_file_in_its_hands_holds_up_nobody(tmp_path: Path) -> None:
    """The others wait for a quarter of a second, and then go by their share of what they know."""
    shared = told(tmp_path, rpm=60)
    other = told(tmp_path, rpm=60)
    assert other.state.present(100.0) == 2
    with (tmp_path / "4711.json").open("r+b") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        at, hold = other.earliest(10, 1, 101.0)
        assert (101.0 < at < 101.01, hold) == (True, "rate")
        assert other.earliest(10, 1, 101.3) == (101.3, None)
        assert other.state.requests.per_min == 30
    assert other.earliest(1000, 1, 101.4) == (101.4, None)
    assert other.state.requests.per_min == 60
    shared.close(102.0)


@pytest.mark.parametrize(
    "content",
    [b"", b"\0" * 100, b"crewrun.limits/1 12\n{}\n", b"crewrun.limits/1 2745614147\n{}\n", b"\xff\n"],
    ids=["empty", "zeros", "torn", "foreign", "no text"],
)
def test_a_damaged_file_is_begun_afresh(tmp_path: Path, content: bytes) -> None:
    """Nothing but what was learned is lost."""
    (tmp_path / "4711.json").write_bytes(content)
    assert told(tmp_path).state.requests.per_min == RPM
    assert on_disk(tmp_path).requests.per_min == RPM


def on_disk(folder: Path) -> SharedState:
    path = folder / "4711.json"
    values = read_state(path.read_bytes(), path)
    assert values is not None
    return values[1]


def damaged_folder(folder: Path) -> None:
    folder.write_text("a file")


def newer_version(folder: Path) -> None:
    folder.mkdir()
    (folder / "4711.json").write_bytes(b"crewrun.limits/99 1\n{}\n")


def link(folder: Path) -> None:
    folder.mkdir()
    (folder / "4711.json").symlink_to(folder / "elsewhere")


def another_machine(folder: Path) -> None:
    told(folder)
    path = folder / "4711.json"
    head, body, _ = path.read_bytes().split(b"\n")
    body = body.replace(boot_id().encode(), b"another")
    path.write_bytes(b"%b %d\n%b\n" % (head.split()[0], crc32(body), body))


@pytest.mark.parametrize(
    "spoil", [damaged_folder, newer_version, link, another_machine], ids=lambda spoil: spoil.__name__
)
def test_limits_that_cannot_be_shared_hold_for_the_process_alone(tmp_path: Path, spoil: Callable[[Path], None]) -> None:
    """It says why, once."""
    folder, warnings = tmp_path / "limits", list[str]()
    spoil(folder)
    shared = SharedLimits(ACCOUNT, warnings.append, folder)
    shared.begin(100.0)
    shared.tell(6, None, 100.0, 100.0)
    places = []
    for _ in range(5):
        at, _ = shared.earliest(10, 1, 100.0)
        shared.take(10, 100.0)
        places.append(at)
    shared.close(101.0)
    assert places[:3] == [100.0, 100.0, 100.0]
    assert places[3] > 105
    (warning,) = warnings
    assert warning.startswith("limits of openai/fake are not shared with other processes: ")


def test_a_file_that_is_deleted_is_made_again(tmp_path: Path) -> None:
    """As by `crewrun limits --forget` while a run is going."""
    shared = told(tmp_path)
    (tmp_path / "4711.json").unlink()
    shared.tell(300, None, 101.0, 101.0)
    state = on_disk(tmp_path)
    assert (state.model, state.requests.per_min, state.estimator.began) == ("openai/fake", 300, 101.0)


def test_a_rate_that_another_machine_has_found_out_is_on_its_clock(tmp_path: Path) -> None:
    """As in a home directory that both have, an hour after it: its clock may be years ahead."""
    shared = told(tmp_path, None, None)
    state = SharedState(used_on=time.time() - 3600)
    for number in range(1, 6):
        state.estimator.refused(1e9 + number, 1e9 + number, number, 1e9 + number, in_vain=False)
    assert state.is_limiting
    body = json.dumps({"boot": "another", **state.to_json()}).encode()
    (tmp_path / "4711.json").write_bytes(b"%b %d\n%b\n" % (SCHEMA.encode(), crc32(body), body))
    at, hold = shared.earliest(10, 1, 101.0)
    assert (101.0 < at < 110.0, hold) == (True, "rate")


def test_a_week_later_nothing_is_remembered(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Limits of long ago are not this account's any more."""
    told(tmp_path).close(100.0)
    now = time.time()
    monkeypatch.setattr(time, "time", lambda: now + 8 * 86_400)
    shared = SharedLimits(ACCOUNT, no_warning, tmp_path)
    assert (shared.begin(101.0), shared.remembered, shared.state.is_limiting) == (0, None, False)


def test_remembered_limits_that_no_reply_states_are_given_up() -> None:
    """A provider, or a proxy in front of it, that has stopped stating them."""

    async def main(folder: Path) -> None:
        told(folder).close(100.0)
        limiter = RateLimiter(1000, shared=SharedLimits(ACCOUNT, no_warning, folder))
        for _ in range(20):
            limiter.settle(await limiter.admit(10), 10)
        assert limiter.admit_nowait(10) is not None
        shared = SharedLimits(ACCOUNT, no_warning, folder)
        shared.begin(anyio.current_time())
        assert not shared.state.is_limiting

    with tempfile.TemporaryDirectory() as folder:
        on_a_virtual_clock(partial(main, Path(folder)))


def test_an_older_reply_changes_nothing(tmp_path: Path) -> None:
    """Another process has learned of the new limit meanwhile."""
    shared = told(tmp_path)
    told_at = shared.state.told_at
    shared.tell(300, None, 105.0, 106.0)
    shared.tell(600, None, 105.5, 106.5)
    assert (told_at, shared.state.requests.per_min) == (100.0, 300)


@given(st.lists(st.tuples(st.floats(0, 5), st.integers(1, 400)), max_size=80), st.integers(1, 30), st.integers(1, 2000))
def test_no_minute_has_more_than_the_limit(asked: list[tuple[float, int]], rpm: int, tpm: int) -> None:
    """Whenever processes ask, and for whatever."""
    state, now = SharedState(), 1000.0
    state.requests.per_min, state.tokens.per_min = rpm, tpm
    state.meet("a", "", 1, now, 0.0)
    leases = []
    for pause_s, tokens in asked:
        now += pause_s
        leases.append(state.lease("a", tokens, 5, now))
        state.prune(now)
    for one in leases:
        minute = [lease for lease in leases if one.at <= lease.at < one.at + 60]
        assert sum(lease.requests for lease in minute) <= max(rpm, one.requests)
        most = max((lease.tokens for lease in minute), default=0)
        assert sum(lease.tokens for lease in minute) <= max(tpm, most)


def test_gateways_of_an_applications_processes_share_limits_too(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where that is wanted."""
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))

    def limiter(*, shares: bool) -> LocalLimiter:
        return own_limiters(GatewayOptions(share_limits=shares)).of(endpoint())

    async def main() -> None:
        one = limiter(shares=True)
        permit = one.enter_nowait(10)
        assert permit is not None
        one.answered(permit, CallResult(tokens=10, limits=RateLimits(6)))
        other = limiter(shares=True)
        assert [other.enter_nowait(10) is not None for _ in range(3)] == [True, True, False]
        alone = limiter(shares=False)
        assert [alone.enter_nowait(10) is not None for _ in range(9)] == [True] * 9

    on_a_virtual_clock(main)


def endpoint(base_url: str | None = "https://api.example.com/v1", key: str | None = "sk-1", **more: Any) -> Endpoint:
    return Endpoint("direct", "openai", "gpt-4.1", base_url, key, **more)


@pytest.mark.parametrize(
    "other",
    [endpoint(key="sk-2"), endpoint("https://example.org/v1"), endpoint(headers={"OpenAI-Organization": "o"})],
    ids=["key", "address", "headers"],
)
def test_accounts_differ(other: Endpoint) -> None:
    """By what their requests go to and authenticate with."""
    one, two = account_of(endpoint()), account_of(other)
    assert one is not None
    assert two is not None
    assert one.name != two.name
    assert account_of(endpoint()) == one


def test_the_run_of_a_worker_knows_the_account_without_its_key() -> None:
    """It gets a hash in place of the key."""
    here = endpoint(headers={"OpenAI-Organization": "o"})
    at_the_run = endpoint(key=key_digest(here))
    assert account_of(at_the_run) == account_of(here)


@pytest.mark.parametrize(
    "url",
    [
        "http://localhost:1/v1",
        "http://127.1.2.3/v1",
        "http://[::1]:1/v1",
        "http://[::ffff:127.0.0.1]/v1",
        "http://a.localhost/v1",
    ],
)
def test_an_address_of_this_machine_is_no_account(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Unless that is wanted, as for a proxy."""
    assert account_of(endpoint(url)) is None
    monkeypatch.setenv("CREWRUN_SHARE_LOOPBACK_LIMITS", "1")
    assert account_of(endpoint(url)) is not None
