"""What counts as spent: in the summary of a session, and against a budget. Each fails on one way to count less."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from support.command import topics, write_crew, write_rows
from support.forks import Forks
from support.scripted_provider import Asked, Fickle, Reply

KEY = "sk-proj-0123456789abcdef"
USAGE = {
    "prompt_tokens": 100,
    "completion_tokens": 10,
    "total_tokens": 110,
    "prompt_tokens_details": {"cached_tokens": 40},
    "completion_tokens_details": {"reasoning_tokens": 6},
}
# US dollars per million: input, output, cached input. A call as above costs this.
PRICE = ("--price", "mine=10,100,1")
CALL_USD = (60 * 10 + 40 * 1 + 10 * 100) / 1e6


class Shop:
    """A folder with a crew, and a provider that bills what its mood says."""

    def __init__(self, folder: Path, forks: Forks) -> None:
        self.folder, self._forks = folder, forks

    def batch(self, provider: Fickle, *flags: str, code: int) -> dict[str, Any]:
        """Run the batch; its summary."""
        env = {"OPENAI_BASE_URL": provider.base_url, "OPENAI_API_KEY": KEY}
        words = ("batch", "in.jsonl", "--summary", "s.json", *PRICE, *flags)
        done = self._forks.crewrun(*words, cwd=self.folder, env=env)
        assert done.returncode == code, done.stderr
        summary: dict[str, Any] = json.loads((self.folder / "s.json").read_text())
        return summary


@pytest.fixture
def shop(tmp_path: Path, forks: Forks) -> Shop:
    return Shop(tmp_path, forks)


def spent(summary: dict[str, Any]) -> dict[str, Any]:
    """What a summary says that was used, of the session or `in_all`."""
    usage = summary["usage"]
    names = ("prompt_tokens", "cached_prompt_tokens", "completion_tokens", "reasoning_tokens", "total_tokens", "calls")
    return {name: usage[name] for name in names} | {"cost_usd": summary["cost_usd"]}


def of_calls(count: int) -> dict[str, Any]:
    """What so many calls used."""
    tokens = {"prompt": 100, "cached_prompt": 40, "completion": 10, "reasoning": 6, "total": 110}
    used = {f"{name}_tokens": count * each for name, each in tokens.items()}
    return used | {"calls": count, "cost_usd": pytest.approx(count * CALL_USD, abs=1e-6)}


def test_what_earlier_sessions_paid_is_not_spent_again(shop: Shop) -> None:
    """Tokens and cost of answers from the journal are the run's, and not this session's."""
    write_crew(shop.folder, "mine", tasks=["Sum {topic} up", "Judge {topic}"])
    write_rows(shop.folder / "in.jsonl", topics(4))

    def mood(asked: Asked) -> Reply:
        is_bad = "Judge" in asked.prompt and not is_mended
        return Reply(400, "no", code="bad") if is_bad else Reply(usage=USAGE)

    with Fickle(mood) as provider:
        is_mended = False
        first = shop.batch(provider, code=3)
        is_mended = True
        second = shop.batch(provider, code=0)
        third = shop.batch(provider, code=0)
    assert [spent(first), spent(second), spent(third)] == [of_calls(8), of_calls(4), of_calls(0)]
    assert (second["replayed_calls"], second["in_all"]["cost_usd"]) == (8, pytest.approx(12 * CALL_USD, abs=1e-6))


@pytest.mark.parametrize(
    ("reply", "flags", "code"),
    [
        pytest.param(Reply(401, "no such key", code="invalid_api_key"), (), 4, id="its key is refused"),
        pytest.param(Reply(usage=USAGE), ("--budget", "0.1"), 5, id="the budget has no room for its next call"),
    ],
)
def test_what_a_row_spent_before_it_stopped_the_run_is_in_the_summary(
    shop: Shop, reply: Reply, flags: tuple[str, ...], code: int
) -> None:
    """It has no result, and its first call is paid all the same."""
    long = "Sum {topic} up" + 20_000 * "!"  # at a token a byte dearer than the whole budget
    write_crew(shop.folder, "{model: mine, max_tokens: 10}", tasks=[long])
    write_rows(shop.folder / "in.jsonl", topics(40))
    with Fickle(lambda asked: Reply(usage=USAGE) if "Write" in asked.prompt else reply) as provider:
        summary = shop.batch(provider, "-j", "1", *flags, code=code)
    assert (summary["rows"]["ok"], summary["rows"]["failed"], summary["rows"]["pending"]) == (0, 0, 40)
    assert spent(summary) == of_calls(1)


def test_a_prompt_may_have_a_token_for_each_byte(shop: Shop) -> None:
    """With 64 calls at once, a provider that counts so bills no more than the budget, and nearly all of it."""
    write_crew(shop.folder, "{model: mine, max_tokens: 1}")
    write_rows(shop.folder / "in.jsonl", [{"topic": f"{i:03}" + "é😀x" * 500} for i in range(200)])
    billed = []

    def mood(asked: Asked) -> Reply:
        size_bytes = sum(len(message["content"].encode()) for message in asked.body["messages"])
        billed.append((size_bytes * 10 + 100) / 1e6)
        return Reply(usage={"prompt_tokens": size_bytes, "completion_tokens": 1, "total_tokens": size_bytes + 1})

    with Fickle(mood) as provider:
        summary = shop.batch(provider, "-j", "64", "--budget", "1", code=5)
    assert 1 - 2 * max(billed) <= sum(billed) <= 1
    assert summary["cost_usd"] == pytest.approx(sum(billed), abs=1e-6)


def every_third(asked: Asked) -> bool:
    return asked.number % 3 == 0


def in_turn(asked: Asked) -> bool:
    return asked.number % 2 == 0


@pytest.mark.parametrize(("is_late", "at_once"), [(every_third, "4"), (in_turn, "1")])
def test_a_call_that_timed_out_may_be_billed(shop: Shop, is_late: Callable[[Asked], bool], at_once: str) -> None:
    """Nobody hears what a late call costs, and the provider bills it: with all of these the budget is not passed."""
    write_crew(shop.folder, "{model: mine, max_tokens: 1000}")
    write_rows(shop.folder / "in.jsonl", topics(40))
    usage = {"prompt_tokens": 1, "completion_tokens": 1000, "total_tokens": 1001}
    with Fickle(lambda asked: Reply(usage=usage, hangs=is_late(asked))) as provider:
        flags = ("-j", at_once, "--budget", "1.25", "--call-timeout", "0.5", "--retries", "0")
        shop.batch(provider, *flags, code=5)
        most_usd = sum((10 + 100 * asked.body.get("max_tokens", 0)) / 1e6 for asked in provider.asked)
    assert 1 <= most_usd <= 1.25
