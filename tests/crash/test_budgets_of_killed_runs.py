"""Budgets against a provider's ledger, over sessions that are killed: what was billed never exceeds what was allowed.

The provider bills each request when it comes, in full, and then answers it, or hangs, breaks off, answers garbage or a
5xx, or counts nothing. It keeps to max_tokens and counts at most one token for each byte of a prompt. The soak runs a
thousand campaigns, which takes half an hour:

    pytest -m soak tests/crash/test_budgets_of_killed_runs.py
"""

import json
import random
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from support.forks import Fork, Forks
from support.wire_server import Asked, Reply, WireServer, completion
from support.workspace import RESULTS

# How a request that was billed is answered.
Manner = Callable[["Provider", dict[str, Any]], Reply]


def whole(provider: "Provider", usage: dict[str, Any]) -> Reply:
    """An answer that says what it cost."""
    return Reply(body=completion("an answer") | {"usage": usage})


def in_floats(provider: "Provider", usage: dict[str, Any]) -> Reply:
    """The counts as floats."""
    return Reply(body=completion("an answer") | {"usage": {name: float(count) for name, count in usage.items()}})


def uncounted(provider: "Provider", usage: dict[str, Any]) -> Reply:
    """An answer of as many bytes as it has tokens, and no counts."""
    return Reply(body=completion("a" * usage["completion_tokens"]) | {"usage": None})


def late(provider: "Provider", usage: dict[str, Any]) -> Reply:
    """No answer within the call's time limit."""
    return Reply(after_s=3 * TIMEOUT_S)


def cut(provider: "Provider", usage: dict[str, Any]) -> Reply:
    """Half of an answer."""
    return Reply(body=completion("an answer") | {"usage": usage}, manner="cut")


def closed(provider: "Provider", usage: dict[str, Any]) -> Reply:
    """A connection that ends without a word."""
    return Reply(manner="closed")


def garbage(provider: "Provider", usage: dict[str, Any]) -> Reply:
    """A page in place of an answer."""
    return Reply(body=b"<html>It works!</html>")


def failed(provider: "Provider", usage: dict[str, Any]) -> Reply:
    """A gateway that lost the answer."""
    return Reply(provider.dice.choice([500, 502, 504]), {"error": {"message": "upstream failed"}})


def empty(provider: "Provider", usage: dict[str, Any]) -> Reply:
    """An answer without a text, and what it cost."""
    return Reply(body=completion("") | {"usage": usage})


def crowded(provider: "Provider", usage: dict[str, Any]) -> Reply:
    """A refusal, which is not billed."""
    return Reply(429, {"error": {"message": "rate limit", "code": "rate_limit_exceeded"}}, {"Retry-After": "0.05"})


FAULTS: tuple[Manner, ...] = (in_floats, uncounted, late, cut, closed, garbage, failed, empty, crowded)
TIMEOUT_S = 0.2


@dataclass
class Provider:
    """A ledger with a price, and moods."""

    dice: random.Random
    prompt_usd: float
    completion_usd: float
    max_tokens: int
    fault_rate: float = 0.0
    faults: tuple[Manner, ...] = FAULTS
    extra_tokens: int = 0
    reasoning_tokens: int = 0
    billed_usd: float = 0.0
    requests: int = 0
    kill_at: int = 0
    process: Fork | None = None
    lock: threading.Lock = field(default_factory=threading.Lock)

    def __call__(self, asked: Asked) -> Reply:
        with self.lock:
            size = sum(len(str(message["content"]).encode()) for message in asked.body["messages"])
            prompt = max(1, int(size * self.dice.uniform(0.2, 1.0))) + self.extra_tokens
            answer = self.dice.choice([1, self.max_tokens, self.dice.randint(1, self.max_tokens)])
            # As xAI has it: reasoning stands in the total alone.
            total = prompt + answer + self.reasoning_tokens
            usage = {"prompt_tokens": prompt, "completion_tokens": answer, "total_tokens": total}
            answer += self.reasoning_tokens
            manner = self.dice.choice(self.faults) if self.dice.random() < self.fault_rate else whole
            if manner is not crowded:
                self.billed_usd += prompt * self.prompt_usd + answer * self.completion_usd
            self.requests += 1
            if self.requests == self.kill_at and self.process is not None:
                self.process.kill()
            return manner(self, usage)


@dataclass
class Campaign:
    """A run of several sessions under one budget."""

    folder: Path
    forks: Forks
    server: WireServer
    provider: Provider
    flags: tuple[str, ...] = ()

    def write(self, rows: int, words: Callable[[], int]) -> None:
        """The crew and its input."""
        llm = f"{{model: m, max_tokens: {self.provider.max_tokens}, base_url: '{self.server.base_url}', api_key: k}}"
        (self.folder / "crew.yaml").write_text(
            "agents: {writer: {role: Writer, goal: Write, backstory: Old}}\n"
            "tasks: {draft: {agent: writer, description: 'Write about {topic}', expected_output: One line}}\n"
            f"llm: {llm}\n",
            encoding="utf-8",
        )
        lines = [json.dumps({"topic": f"topic {i} " + "word " * words()}) for i in range(rows)]
        (self.folder / "in.jsonl").write_text("\n".join(lines) + "\n", encoding="utf-8")

    def session(self, budget_usd: float, *, kill_after: int = 0) -> int:
        """Run the command, to its end or until `kill_after` more requests have come; its exit code."""
        provider = self.provider
        price = f"m={provider.prompt_usd * 1e6},{provider.completion_usd * 1e6}"
        command = ("batch", "in.jsonl", "--budget", f"{budget_usd:.12f}", "--price", price, *self.flags)
        provider.kill_at = provider.requests + kill_after if kill_after else 0
        self.server.begin(provider)
        with self.forks.start(*command, cwd=self.folder) as process:
            provider.process = process
            _, stderr = process.communicate()
        assert "Traceback" not in stderr, stderr
        return process.wait()

    def spent(self) -> dict[str, float]:
        """What `status` says of all sessions together, in US dollars."""
        with self.forks.start("status", RESULTS, "--json", cwd=self.folder) as process:
            stdout, stderr = process.communicate()
        assert process.wait() == 0, stderr
        in_all = json.loads(stdout)["in_all"]
        return {name: in_all[name] for name in ("cost_usd", "may_be_owed_usd")}


@pytest.fixture(scope="module")
def server() -> Iterator[WireServer]:
    with WireServer({}) as server:
        yield server


def begin(seed: int, folder: Path, forks: Forks, server: WireServer, fault_rate: float) -> Campaign:
    """A campaign of random prices, latencies and sizes."""
    dice = random.Random(seed)
    provider = Provider(
        dice,
        prompt_usd=dice.uniform(0.05, 15) * 1e-6,
        completion_usd=dice.uniform(0.2, 75) * 1e-6,
        max_tokens=dice.choice([20, 200, 2000]),
        fault_rate=fault_rate,
    )
    server.latency_s = dice.choice([0.001, 0.01, 0.05])
    campaign = Campaign(folder, forks, server, provider)
    campaign.flags = ("-j", str(dice.choice([1, 4, 16])), "--retries", str(dice.choice([0, 1])), "--grace", "1")
    campaign.flags += ("--outage-patience", "0", "-q")
    if fault_rate:  # else a busy machine would make some of its own
        campaign.flags += ("--call-timeout", str(TIMEOUT_S))
    campaign.write(dice.randint(20, 60), lambda: dice.choice([1, 5, 40]))
    return campaign


def dearest_usd(provider: Provider) -> float:
    """More than any call of a campaign can cost."""
    return 1200 * provider.prompt_usd + provider.max_tokens * provider.completion_usd


def check_campaign(seed: int, folder: Path, forks: Forks, server: WireServer) -> None:
    """Up to five sessions, each but the last killed at some request; the ledger is held against the budget after each.

    What `status` says of the run covers what was billed, too.
    """
    campaign = begin(seed, folder, forks, server, fault_rate=random.Random(seed).choice([0.0, 0.1, 0.5]))
    provider = campaign.provider
    budget_usd = dearest_usd(provider) * provider.dice.uniform(1, 6)
    for kills_left in range(provider.dice.randint(0, 4), -1, -1):
        code = campaign.session(budget_usd, kill_after=provider.dice.randint(1, 25) if kills_left else 0)
        assert provider.billed_usd <= budget_usd * (1 + 1e-9), f"seed {seed}"
        if code in (0, 3, 5):
            break
    if provider.requests:
        spent = campaign.spent()
        assert spent["cost_usd"] + spent["may_be_owed_usd"] >= provider.billed_usd - 2e-6, f"seed {seed}"


@pytest.mark.parametrize("seed", range(8))
def test_no_kill_and_no_fault_lets_more_out_than_the_budget(
    seed: int, tmp_path: Path, forks: Forks, server: WireServer
) -> None:
    """Random prices, latencies, kills, timeouts and lies."""
    check_campaign(seed, tmp_path, forks, server)


@pytest.mark.soak
@pytest.mark.parametrize("hundred", range(10))
def test_a_thousand_campaigns(
    hundred: int, tmp_path_factory: pytest.TempPathFactory, forks: Forks, server: WireServer
) -> None:
    """As above."""
    for seed in range(1000 + 100 * hundred, 1100 + 100 * hundred):
        check_campaign(seed, tmp_path_factory.mktemp("campaign"), forks, server)


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_without_faults_the_budget_is_used(seed: int, tmp_path: Path, forks: Forks, server: WireServer) -> None:
    """95 % of it at least, where that is more than one call's worth."""
    campaign = begin(seed, tmp_path, forks, server, fault_rate=0.0)
    provider = campaign.provider
    campaign.write(600, lambda: 5)
    budget_usd = 25 * dearest_usd(provider)
    assert campaign.session(budget_usd) == 5
    assert 0.95 * budget_usd <= provider.billed_usd <= budget_usd


def test_a_kill_in_the_first_second_counts_what_was_in_flight(tmp_path: Path, forks: Forks, server: WireServer) -> None:
    """Eight times the run is killed before a call is answered: all that it sent was paid once, and no more goes out."""
    campaign = begin(0, tmp_path, forks, server, fault_rate=0.0)
    provider = campaign.provider
    server.latency_s = 10.0
    budget_usd = 20 * dearest_usd(provider)
    codes = [campaign.session(budget_usd, kill_after=4) for _ in range(8)]
    assert provider.billed_usd <= budget_usd
    assert set(codes) <= {-9, 5}
    assert campaign.spent()["may_be_owed_usd"] >= provider.billed_usd


@pytest.mark.parametrize("hidden", ["extra_tokens", "reasoning_tokens"])
def test_a_provider_that_counts_more_than_was_sent_is_learned(
    hidden: str, tmp_path: Path, forks: Forks, server: WireServer
) -> None:
    """A hidden prompt, or reasoning beside max_tokens, of 3,000 tokens: only the calls that were out before the first
    answer can exceed the budget, and later sessions, killed before they hear of it, know of it from their start.
    """
    campaign = begin(0, tmp_path, forks, server, fault_rate=0.0)
    provider = campaign.provider
    provider.prompt_usd = provider.completion_usd = 3e-6
    provider.max_tokens = 20
    setattr(provider, hidden, 3000)
    campaign.flags = ("-j", "4", "-q")
    campaign.write(400, lambda: 5)
    hidden_usd = 3000 * provider.prompt_usd
    budget_usd = 30 * hidden_usd
    assert campaign.session(budget_usd, kill_after=10) == -9
    server.latency_s = 10.0
    codes = [campaign.session(budget_usd, kill_after=4) for _ in range(6)]
    assert (codes[0], codes[-1]) == (-9, 5)
    assert budget_usd / 2 <= provider.billed_usd <= budget_usd


def failing(usage: Callable[[dict[str, Any]], Any], finish_reason: str = "stop", text: str = "") -> Manner:
    """An answer that is none, with what is made of its usage."""
    return lambda _, billed: Reply(body=completion(text, finish_reason) | {"usage": usage(billed)})


# Shapes of a usage that tell a part of the bill, or nonsense.
PARTIAL: dict[str, Manner] = {
    "no answer counted": failing(lambda usage: {**usage, "completion_tokens": None, "total_tokens": None}),
    "no prompt counted": failing(lambda usage: {**usage, "prompt_tokens": None, "total_tokens": None}),
    "cut off": failing(lambda usage: {**usage, "completion_tokens": None, "total_tokens": None}, "length"),
    "filtered": failing(
        lambda usage: {**usage, "completion_tokens": None, "total_tokens": None}, "content_filter", "a"
    ),
    "absurd prompt": failing(lambda usage: {**usage, "prompt_tokens": 10**13, "total_tokens": None}),
    "absurd answer": failing(lambda usage: {**usage, "completion_tokens": 10**15, "total_tokens": None}),
    "hidden reasoning": lambda _, billed: Reply(body=completion("ok") | {"usage": None}),
}


@pytest.mark.parametrize("manner", PARTIAL.values(), ids=list(PARTIAL))
def test_the_part_of_a_bill_that_is_not_told_may_be_owed(
    manner: Manner, tmp_path: Path, forks: Forks, server: WireServer
) -> None:
    """A count that is null, absurd, or of what is not seen is no zero: the budget holds, and is not used up by it."""
    campaign = begin(0, tmp_path, forks, server, fault_rate=0.0)
    provider = campaign.provider
    provider.max_tokens, provider.faults, provider.fault_rate = 200, (manner,), 0.3
    campaign.flags = ("-j", "4", "--retries", "0", "-q")
    campaign.write(200, lambda: 5)
    budget_usd = 60 * dearest_usd(provider)
    assert campaign.session(budget_usd) in (3, 4, 5)
    spent = campaign.spent()
    assert provider.billed_usd <= spent["cost_usd"] + spent["may_be_owed_usd"] + 2e-6 <= budget_usd + 4e-6
    assert provider.requests > 30
