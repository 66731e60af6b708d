"""Providers' prompt caches, against the mock's: what is read from them, what that costs, and the same results."""

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from support.command import read_rows, topics
from support.forks import Forks
from support.local_workers import NEAR
from support.mock_process import MockProcess
from support.scripted_provider import Asked, Fickle, Reply
from support.workspace import Place

ROWS = 12
PREFIX = "You know the rules of this house by heart. " * 280  # 12,040 characters, 3,010 tokens
TO_CLAUDE = ("-m", "anthropic/claude-sonnet-4-6")


@pytest.fixture(scope="module")
def slow_mock() -> Iterator[MockProcess]:
    """Its answers take long enough that rows are under way together."""
    with MockProcess("--latency", "0.3", "--batch-latency", "0.2") as process:
        yield process


@pytest.fixture
def place(tmp_path: Path, slow_mock: MockProcess, served: tuple[MockProcess, Forks]) -> Place:
    """A folder with a crew whose agent has a long backstory, and twelve rows."""
    slow_mock.clear()
    place = Place(tmp_path, slow_mock, served[1])
    place.env |= {
        "ANTHROPIC_API_BASE": slow_mock.base_url.removesuffix("/v1"),
        "ANTHROPIC_API_KEY": "sk-ant-mock",
        "LITELLM_LOCAL_MODEL_COST_MAP": "True",
    }
    write_long_crew(place)
    place.rows(*topics(ROWS))
    return place


def test_the_first_row_fills_the_cache_for_the_others(place: Place) -> None:
    """Each of them reads it, and our bill is the provider's."""
    totals = run(place, "-j", "12")
    read = 1024 + 128 * ((totals["prompt_tokens"] // ROWS - 1024) // 128)
    assert totals["cached_prompt_tokens"] == (ROWS - 1) * read
    never = run(place, "-j", "12", "--prompt-cache", "never", "--fresh")
    assert never["cached_prompt_tokens"] < totals["cached_prompt_tokens"]  # 0, unless the machine is very busy
    assert never["cost_usd"] > totals["cost_usd"]


def test_gpt_5_6_reads_what_it_would_write_again_for_each_row(place: Place) -> None:
    """Its caches need a breakpoint; a server that is not OpenAI's is only told of it where the user says so."""
    totals = run(place, "-j", "12", "-m", "openai/gpt-5.6", "--prompt-cache", "always")
    prefix = totals["cache_write_prompt_tokens"]
    assert 3000 < prefix < 3200
    assert totals["cached_prompt_tokens"] == (ROWS - 2) * prefix
    first = read_rows(place.results)
    untold = run(place, "-j", "12", "-m", "openai/gpt-5.6", "--fresh")
    assert (untold["cached_prompt_tokens"], untold["cache_write_prompt_tokens"] > ROWS * 3000) == (0, True)
    assert [row["output"] for row in read_rows(place.results)] == [row["output"] for row in first]


def test_claude_writes_a_prefix_once(place: Place) -> None:
    """All rows but the first two read it."""
    totals = run(place, "-j", "12", *TO_CLAUDE)
    prefix = totals["cache_write_prompt_tokens"]
    assert 3000 < prefix < 3200
    assert totals["cached_prompt_tokens"] == (ROWS - 2) * prefix


@pytest.mark.soak  # litellm takes seconds to import
def test_claude_answers_as_without_breakpoints(place: Place) -> None:
    """Only the bill is another one."""
    run(place, "-j", "12", *TO_CLAUDE)
    marked = read_rows(place.results)
    never = run(place, "-j", "12", *TO_CLAUDE, "--prompt-cache", "never", "--fresh")
    assert (never["cached_prompt_tokens"], never["cache_write_prompt_tokens"]) == (0, 0)
    assert [row["output"] for row in read_rows(place.results)] == [row["output"] for row in marked]


@pytest.mark.soak
def test_claude_reads_its_own_turns_before_a_tool(place: Place) -> None:
    """The long text of a row is written in the first turn and read in the second, once earlier rows had two turns."""
    (place.folder / "tools.py").write_text(
        "from crewrun.tools import tool\n\n\n@tool\ndef rates() -> str:\n    'The rates.'\n    return 'one to one'\n"
    )
    text = place.crew(llm="anthropic/claude-sonnet-4-6").replace(
        "writer:\n", 'writer:\n    tools: ["tools:rates"]\n', 1
    )
    (place.folder / "crew.yaml").write_text(text.replace("{topic}", "{topic} CALL-rates"))
    place.rows(*({"topic": f"Row {number}: {PREFIX}"} for number in range(20)))
    totals = run(place, "-j", "1")
    assert totals["tool_calls"] == 20
    assert totals["cached_prompt_tokens"] > 9 * 3000
    assert totals["cache_write_prompt_tokens"] < totals["cached_prompt_tokens"] + 3200  # one row learns in its middle
    never = run(place, "-j", "1", "--prompt-cache", "never", "--fresh")
    assert totals["cost_usd"] < never["cost_usd"] * 0.9


@pytest.mark.parametrize(
    "flags",
    [pytest.param((), id="openai"), pytest.param(TO_CLAUDE, id="anthropic", marks=pytest.mark.soak)],
)
def test_lines_of_batch_jobs_read_the_cache_too(place: Place, flags: tuple[str, ...]) -> None:
    """At half the price; in what order they run is the provider's to say."""
    totals = run(place, "--tier", "batch", "--poll", "0.1", *flags)
    assert totals["lines"] == ROWS
    assert totals["cached_prompt_tokens"] > (ROWS - 2) * 2800


def test_a_budget_has_room_for_what_is_written(place: Place) -> None:
    """What a call reserves is the price of writing all of its prompt: such a run never costs more."""
    write_long_crew(place, llm="{model: openai/gpt-5.6, max_tokens: 200}")
    totals = run(place, "-j", "12", "--budget", "0.35", code=5)
    assert totals["cache_write_prompt_tokens"] > 3000
    assert 0 < totals["cost_usd"] <= 0.35


@pytest.mark.parametrize(
    ("model", "use"),
    [("openai/gpt-4.1-mini", "auto"), ("openai/gpt-5.6", "always")],
)
def test_the_plan_says_what_the_run_will_find(place: Place, model: str, use: str) -> None:
    """Tokens and money, against what comes of it; in words too."""
    flags = ("-m", model, "--prompt-cache", use)
    expected = plan(place, *flags)["prompt_cache"]
    totals = run(place, "-j", "12", *flags)
    assert expected["cached_prompt_tokens"] == pytest.approx(totals["cached_prompt_tokens"], rel=0.01)
    assert expected["share"] == pytest.approx(totals["cached_prompt_tokens"] / totals["prompt_tokens"], abs=0.02)
    with MockProcess("--prompt-cache", "off") as without:
        place.batch("--fresh", "--summary", "s.json", *flags, OPENAI_BASE_URL=without.base_url)
    saved_usd = place.summary()["cost_usd"] - totals["cost_usd"]
    assert expected["saved_usd"] == pytest.approx(saved_usd, rel=0.03)
    place.crewrun("plan", "in.jsonl", "--fresh", *flags)
    line = r"^  with the prompt cache about \$([\d.]+) \((\d+)% of the tokens in\)$"
    found = re.search(line, place.stdout, re.MULTILINE)
    assert found is not None, place.stdout
    assert float(found[2]) == pytest.approx(expected["share"] * 100, abs=1)


def test_the_plan_expects_nothing_where_each_row_has_its_own_beginning(place: Place) -> None:
    """A persona with a row's values in it, a short one, and `never`."""
    assert "prompt_cache" not in plan(place, "--prompt-cache", "never")
    text = (place.folder / "crew.yaml").read_text()
    (place.folder / "crew.yaml").write_text(text.replace("You know the rules", "On {topic} you know the rules"))
    assert "prompt_cache" not in plan(place)
    place.crew()
    assert "prompt_cache" not in plan(place)


def test_a_run_that_said_nothing_is_replayed_by_one_that_does(place: Place) -> None:
    """What is said to a cache is no part of what was asked."""
    run(place, "--prompt-cache", "never", "-m", "openai/gpt-5.6")
    seen = place.sent()
    place.batch(
        "--replay", "-m", "openai/gpt-5.6", "--prompt-cache", "always", "-o", "again.jsonl", "--run-dir", "r", code=3
    )
    place.batch("-m", "openai/gpt-5.6", "--prompt-cache", "always")
    assert place.sent() == seen
    assert len(place.done()) == ROWS


def test_each_worker_has_its_own_first_call(place: Place) -> None:
    """Workers elsewhere do not wait for one another."""
    totals = run(place, "-j", "12", "--executor", NEAR)
    assert (ROWS - 2) * 2800 <= totals["cached_prompt_tokens"] < (ROWS - 1) * 3000


def test_a_first_call_that_fails_holds_up_nobody(place: Place) -> None:
    """The rows behind it go, the next one first."""
    place.rows({"topic": "FAIL-400"}, *topics(ROWS))
    place.batch("-j", "13", "--summary", "s.json", code=3)
    assert place.summary()["rows"]["ok"] == ROWS
    assert bill(place)["cached_prompt_tokens"] >= (ROWS - 2) * 2800


@pytest.mark.parametrize("name", ["prompt_cache_key", "prompt_cache_options", "prompt_cache_breakpoint"])
def test_a_server_that_knows_no_such_parameter_is_asked_without(place: Place, name: str) -> None:
    """No row fails, it is asked once or twice, and the run says so. A second session does not ask again."""

    def refuse(asked: Asked) -> Reply:
        return (
            Reply(400, f"Unrecognized request argument supplied: {name}") if name in json.dumps(asked.body) else Reply()
        )

    flags = ("-m", "openai/gpt-5.6", "--prompt-cache", "always", "-j", "4")
    with Fickle(refuse) as server:
        place.batch(*flags, OPENAI_BASE_URL=server.base_url)
        refused = len(server.asked) - ROWS
        assert 1 <= refused <= 4
        assert "takes no parameters for its prompt cache" in place.stderr
        assert len(place.done()) == ROWS
        place.rows(*topics(ROWS + 2))
        place.batch(*flags, OPENAI_BASE_URL=server.base_url)
        assert len(server.asked) == ROWS + refused + 2


def plan(place: Place, *flags: str) -> dict[str, Any]:
    place.crewrun("plan", "in.jsonl", "--json", *flags)
    return dict(json.loads(place.stdout))


def write_long_crew(place: Place, llm: str = "gpt-4.1-mini") -> None:
    text = place.crew(llm=llm)
    (place.folder / "crew.yaml").write_text(text.replace("You have written for years.", PREFIX))


def run(place: Place, *flags: str, code: int = 0) -> dict[str, Any]:
    """Run the batch, whose bill is the provider's; the mock's totals since the last run."""
    place.mock.clear()
    place.batch("--summary", "s.json", *flags, code=code)
    totals, summary = bill(place), place.summary()
    assert summary["cost_usd"] == pytest.approx(totals["cost_usd"], abs=1e-6)
    usage = summary["usage"]
    assert usage["cached_prompt_tokens"] == totals["cached_prompt_tokens"]
    assert usage.get("cache_write_prompt_tokens", 0) == totals["cache_write_prompt_tokens"]
    return totals


def bill(place: Place) -> dict[str, Any]:
    totals: dict[str, Any] = place.mock.ledger(last=0)["totals"]
    return totals
