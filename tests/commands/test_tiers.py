"""Service tiers: flex where the provider has it, its refusals waited for, and what calls at each tier cost."""

import json
from collections.abc import Callable
from typing import Any

import pytest
from support.command import read_rows, topics
from support.local_workers import NEAR
from support.mock_process import MockProcess
from support.scripted_provider import Asked, Fickle, Reply
from support.workspace import RESULTS, Place

# Dollars for a call of gpt-5 with the provider's usual usage, 100 tokens in and 10 out: at the standard tier, at flex.
STANDARD_USD = 100 * 1.25e-6 + 10 * 10e-6
FLEX_USD = STANDARD_USD / 2
FULL = Reply(429, "There is no room at this tier now.", code="resource_unavailable")


class FlexProvider:
    """Serves each request at the tier that it asks for, or at `serves`. It has no capacity for the flex requests that
    `is_full` picks. `billed_usd` is what it bills, `served` the tiers that were asked for.
    """

    def __init__(
        self, is_full: Callable[[Asked], bool] = lambda asked: False, full: Reply = FULL, serves: str | None = None
    ) -> None:
        self._is_full = is_full
        self._full = full
        self._serves = serves
        self.billed_usd = 0.0
        self.served: list[Any] = []

    def __call__(self, asked: Asked) -> Reply:
        tier = asked.body.get("service_tier")
        if tier == "flex" and self._is_full(asked):
            return self._full
        self.served.append(tier)
        tier = self._serves or tier or "default"
        self.billed_usd += FLEX_USD if tier == "flex" else STANDARD_USD
        return Reply(beside={"service_tier": tier})


def every_second() -> Callable[[Asked], bool]:
    """Refuses every second prompt once."""
    prompts: set[str] = set()

    def is_full(asked: Asked) -> bool:
        is_new = asked.prompt not in prompts
        prompts.add(asked.prompt)
        return is_new and len(prompts) % 2 == 0

    return is_full


def always(asked: Asked) -> bool:
    """Refuses every request."""
    return True


def flex(calls: int, **more: Any) -> dict[str, Any]:
    """What a record says of `calls` at flex."""
    usd = pytest.approx(calls * FLEX_USD, abs=1e-9)
    return {"calls": calls, "cost_usd": usd, "saved_usd": usd, **more}


def standard(calls: int, **more: Any) -> dict[str, Any]:
    """What a record says of `calls` at the standard tier."""
    return {"calls": calls, "cost_usd": pytest.approx(calls * STANDARD_USD, abs=1e-9), **more}


@pytest.fixture
def place(place: Place) -> Place:
    """A folder with a crew of one task by a model that has flex."""
    place.crew(llm="gpt-5")
    return place


@pytest.mark.parametrize("executor", ["inline", NEAR], ids=["here", "on workers"])
@pytest.mark.parametrize(
    "full", [FULL, Reply(498, "Flex tier capacity exceeded", code="capacity_exceeded")], ids=["429", "498"]
)
def test_flex_that_refuses_half_of_its_calls_does_every_row_at_the_right_price(
    place: Place, full: Reply, executor: str
) -> None:
    """No row fails although nothing is retried, and the bill is the provider's."""
    place.rows(*topics(40))
    provider = FlexProvider(every_second(), full)
    with Fickle(provider) as server:
        flags = ("--tier", "flex", "--retries", "0", "-j", "20", "--executor", executor, "--summary", "s.json")
        place.crewrun("batch", "in.jsonl", *flags, OPENAI_BASE_URL=server.base_url)
        assert (len(server.asked), provider.served) == (60, ["flex"] * 40)
    summary = place.summary()
    assert (summary["rows"]["ok"], summary["attempts"], summary["may_be_owed_usd"]) == (40, 60, 0)
    assert summary["cost_usd"] == pytest.approx(provider.billed_usd, abs=1e-9)
    assert summary["tiers"] == summary["in_all"]["tiers"] == {"flex": flex(40)}
    assert [row["tiers"] for row in read_rows(place.results)] == [{"flex": flex(1)}] * 40
    assert "by tier: flex 40 calls $0.0045 (saved $0.0045)\n" in place.stderr


def test_the_bill_is_that_of_the_ledger_of_a_mock_that_refuses_half(place: Place) -> None:
    """Tokens differ from call to call there. Some calls run out of patience and go at the standard tier."""
    place.rows(*topics(60))
    with MockProcess("--flex-full", "0.5", "--seed", "7") as mock:
        flags = ("--tier", "flex", "--tier-patience", "0.3s", "--retries", "0", "-j", "30", "--summary", "s.json")
        place.crewrun("batch", "in.jsonl", *flags, OPENAI_BASE_URL=mock.base_url)
        totals = mock.ledger(last=0)["totals"]
    summary = place.summary()
    assert summary["rows"]["ok"] == 60
    assert summary["cost_usd"] == pytest.approx(totals["cost_usd"], abs=1e-6)
    tiers = summary["tiers"]
    assert tiers["flex"]["calls"] > 30
    assert tiers["standard"]["calls"] == tiers["standard"]["moved"] == 60 - tiers["flex"]["calls"] > 0
    for tier, use in tiers.items():
        assert use["cost_usd"] == pytest.approx(totals["tiers"][tier]["cost_usd"], abs=1e-6)


@pytest.mark.parametrize(
    "flags", [("--tier-patience", "0"), ("--deadline", "90s")], ids=["patience", "the run's end is near"]
)
def test_a_call_without_room_goes_at_the_standard_tier_and_says_so(place: Place, flags: tuple[str, str]) -> None:
    """At once where it may not wait. It names the tier, so that no project's default makes it dearer."""
    place.rows(*topics(3))
    provider = FlexProvider(lambda asked: "topic 1" in asked.prompt)
    with Fickle(provider) as server:
        place.crewrun("batch", "in.jsonl", "--tier", "flex", *flags, "--ordered", OPENAI_BASE_URL=server.base_url)
    assert sorted(provider.served) == ["default", "flex", "flex"]
    rows = read_rows(place.results)
    assert [row["tiers"] for row in rows] == [{"flex": flex(1)}, {"standard": standard(1, moved=1)}, {"flex": flex(1)}]
    assert sum(row["cost_usd"] for row in rows) == pytest.approx(provider.billed_usd)
    place.crewrun("status", RESULTS, "--json")
    tiers = {"flex": flex(2), "standard": standard(1, moved=1)}
    assert json.loads(place.stdout)["spent"]["tiers"] == json.loads(place.stdout)["in_all"]["tiers"] == tiers
    place.crewrun("status", RESULTS)
    assert "\n  by tier: flex 2 calls $0.0002 (saved $0.0002), standard 1 call $0.0002 (1 in place of" in place.stdout
    place.crewrun("show", RESULTS, "line:2")
    assert "call openai/gpt-5 at standard · " in place.stdout
    log = [json.loads(line) for line in (place.folder / f"{RESULTS}.crewrun/log.jsonl").read_text().splitlines()]
    assert sorted(event["tier"] for event in log if event["event"] == "call") == ["flex", "flex", "standard"]


def test_a_flex_request_that_is_served_at_the_standard_tier_costs_that(place: Place) -> None:
    """The reply decides. Under a budget the standard price is held back, so the limit holds."""
    place.crew(llm="{model: gpt-5, max_tokens: 10}")
    place.rows(*topics(30))
    provider = FlexProvider(serves="default")
    limit_usd = 12 * STANDARD_USD
    with Fickle(provider) as server:
        flags = ("--tier", "flex", "--budget", f"{limit_usd:.6f}", "-j", "8", "--summary", "s.json")
        place.crewrun("batch", "in.jsonl", *flags, code=5, OPENAI_BASE_URL=server.base_url)
    summary = place.summary()
    calls = summary["usage"]["calls"]
    assert summary["tiers"] == {"standard": standard(calls, moved=calls)}
    assert summary["cost_usd"] == pytest.approx(provider.billed_usd, abs=1e-6)
    assert calls > 0
    assert provider.billed_usd <= limit_usd


def test_a_server_that_refuses_the_parameter_gets_calls_without_it(place: Place) -> None:
    """With drop_params. They cost the standard price, and the rows say that they had asked for less."""
    place.crew(llm="{model: gpt-5, drop_params: true}")
    place.rows(*topics(3))

    def decide(asked: Asked) -> Reply:
        is_known = "service_tier" in asked.body
        return (
            Reply(400, "Unsupported parameter: 'service_tier'", code="unsupported_parameter") if is_known else Reply()
        )

    with Fickle(decide) as server:
        flags = ("--tier", "flex", "-j", "1", "--summary", "s.json")
        place.crewrun("batch", "in.jsonl", *flags, OPENAI_BASE_URL=server.base_url)
        assert len(server.asked) == 4
    assert place.summary()["tiers"] == {"standard": standard(3, moved=3)}


def test_a_run_begun_at_the_standard_tier_goes_on_at_flex(place: Place) -> None:
    """Rows stay done, and a row that had one of its two answers pays for the other only."""
    place.crew("More about {topic}", llm="gpt-5")
    place.rows(*topics(2))
    provider, refused = FlexProvider(), ["topic 1"]

    def decide(asked: Asked) -> Reply:
        is_bad = "More" in asked.prompt and any(topic in asked.prompt for topic in refused)
        return Reply(400, "not this one") if is_bad else provider(asked)

    with Fickle(decide) as server:
        place.crewrun("batch", "in.jsonl", code=3, OPENAI_BASE_URL=server.base_url)
        assert provider.served == [None] * 3
        refused.clear()
        flags = ("--tier", "flex", "--ordered", "--summary", "s.json")
        place.crewrun("batch", "in.jsonl", *flags, OPENAI_BASE_URL=server.base_url)
        assert provider.served == [None] * 3 + ["flex"]
        written = place.results.read_text()
        place.results.unlink()
        place.crewrun("batch", "in.jsonl", "--ordered", OPENAI_BASE_URL=server.base_url)  # restores it from the journal
    assert place.results.read_text() == written
    assert place.summary()["tiers"] == {"flex": flex(1)}
    assert place.summary()["in_all"]["tiers"] == {"flex": flex(1), "standard": standard(3)}
    tiers = [row.get("tiers") for row in read_rows(place.results)]
    assert tiers == [None, {"flex": flex(1), "standard": standard(1)}]


@pytest.mark.parametrize(
    "tier",
    [{"batch": "{tier: flex}"}, {"llm": "{model: gpt-5, tier: flex}"}, {"agent": "tier: flex, "}],
    ids=["batch:", "llm", "agent"],
)
def test_a_tier_in_the_file_makes_no_other_crew(place: Place, tier: dict[str, str]) -> None:
    """Nor does another patience: rows that are done stay done."""
    place.rows(*topics(2))

    def write(llm: str = "gpt-5", agent: str = "", batch: str = "{}") -> None:
        a = f"agents: {{a: {{{agent}role: R, goal: g, backstory: b, llm: {llm}}}}}\n"
        task = "tasks: [{description: '{topic}', expected_output: x, agent: a}]\n"
        (place.folder / "crew.yaml").write_text(f"{a}{task}batch: {batch}\n")

    provider = FlexProvider()
    with Fickle(provider) as server:
        write()
        place.crewrun("batch", "in.jsonl", "--limit", "1", OPENAI_BASE_URL=server.base_url)
        write(**tier)
        place.crewrun("batch", "in.jsonl", "--tier-patience", "1m", OPENAI_BASE_URL=server.base_url)
    assert provider.served == [None, "flex"]
    assert "1 ok, 0 failed, 1 done before" in place.stderr


@pytest.mark.parametrize(
    ("llm", "of_agent", "batch", "tier"),
    [
        ("{model: gpt-5, tier: flex}", "", "", "flex"),
        ("gpt-5", "tier: flex", "", "flex"),
        ("gpt-5", "", "batch: {tier: flex}", "flex"),
        ("{model: gpt-5, tier: flex}", "tier: standard", "batch: {tier: flex}", None),
        ("{model: gpt-5, tier: standard}", "tier: flex", "", "flex"),
        ("{model: gpt-5, service_tier: priority}", "tier: flex", "batch: {tier: flex}", "priority"),
        ("{model: gpt-5, service_tier: flex}", "tier: standard", "", "flex"),
    ],
    ids=["llm", "agent", "batch:", "agent first", "agent before its llm", "service_tier first", "service_tier: flex"],
)
def test_the_nearest_word_decides_the_tier(place: Place, llm: str, of_agent: str, batch: str, tier: str | None) -> None:
    """The llm's own service_tier, the agent, its llm, the run."""
    agent = "agents:\n  a:\n    role: R\n    goal: g\n    backstory: b\n"
    agent += f"    llm: {llm}\n" + (f"    {of_agent}\n" if of_agent else "")
    task = "tasks:\n  - {description: '{topic}', expected_output: x, agent: a}\n"
    (place.folder / "crew.yaml").write_text(agent + task + f"{batch}\n")
    place.rows(*topics(1))
    provider = FlexProvider()
    with Fickle(provider) as server:
        place.crewrun("batch", "in.jsonl", OPENAI_BASE_URL=server.base_url)
    assert provider.served == [tier]


PYTHON = """
from crewrun import Agent, Crew, LLM, Task
agent = Agent(role="R", goal="g", backstory="b", llm={llm}, tier={tier!r})
crew = Crew(agents=[agent], tasks=[Task(description="{{topic}}", expected_output="x", agent=agent)])
"""


@pytest.mark.parametrize(
    ("llm", "tier"),
    [('LLM("gpt-5", tier="flex")', None), ('"gpt-5"', "flex"), ("None", "flex")],
    ids=["llm", "agent", "default model"],
)
def test_python_names_a_tier_too(place: Place, llm: str, tier: str | None) -> None:
    """`LLM(tier=…)` and `Agent(tier=…)`, and one kickoff has a flag for it as a batch has."""
    (place.folder / "c.py").write_text(PYTHON.format(llm=llm, tier=tier))
    provider = FlexProvider()
    with Fickle(provider) as server:
        place.crewrun("run", "c.py:crew", "topic=x", "--json", OPENAI_BASE_URL=server.base_url, MODEL="gpt-5")
    assert provider.served == ["flex"]
    assert json.loads(place.stdout)["tiers"] == {"flex": flex(1)}
    (place.folder / "c.py").write_text(PYTHON.format(llm="None", tier=None))
    with Fickle(provider) as server:
        place.crewrun("run", "c.py:crew", "topic=x", "--tier", "flex", OPENAI_BASE_URL=server.base_url, MODEL="gpt-5")
    assert provider.served == ["flex"] * 2
    assert " · flex 1 call $0.0001 (saved $0.0001)" in place.stderr


@pytest.mark.parametrize(
    ("llm", "why"),
    [
        ("anthropic/claude-sonnet-4-5", "anthropic has no flex tier; OpenAI, Azure, Groq and Gemini have one"),
        ("gpt-4.1-mini", "openai publishes no price for it at flex"),
        ("[gpt-5, mistral/mistral-large-latest]", "mistral has no flex tier; OpenAI, Azure, Groq and Gemini have one"),
        ("{model: gpt-5, additional_drop_params: [service_tier]}", "additional_drop_params leaves out service_tier"),
    ],
    ids=["provider", "model", "fallback", "left out"],
)
def test_what_has_no_flex_is_refused_before_the_first_call(place: Place, llm: str, why: str) -> None:
    """By the agent's and the model's name, with the way out."""
    place.crew(llm=llm)
    place.rows(*topics(1))
    keys = {"ANTHROPIC_API_KEY": "k", "MISTRAL_API_KEY": "k"}
    assert place.batch("--tier", "flex", code=2, **keys) == []
    assert place.stderr.startswith("crewrun: agent 'writer': model ")
    assert f": {why}; say `tier: standard` in its agent or its llm, or run all of it at --tier standard" in place.stderr


def test_a_model_of_the_users_own_has_no_tiers(place: Place) -> None:
    """Its code knows none: refused, unless its agent is at the standard tier."""
    custom = "from crewrun import BaseLLM\nclass M(BaseLLM):\n    def call(self, messages, **_): return 'hi'\n"
    (place.folder / "c.py").write_text(custom + PYTHON.format(llm='M(model="m")', tier=None))
    place.rows(*topics(1))
    place.batch("--tier", "flex", "--crew", "c.py:crew", code=2)
    assert "model 'm': your own code calls it, which knows no tiers; say `tier: standard`" in place.stderr
    (place.folder / "c.py").write_text(custom + PYTHON.format(llm='M(model="m")', tier="standard"))
    place.batch("--tier", "flex", "--crew", "c.py:crew")
    place.batch("--tier", "flex", "-m", "offline", "-o", "o.jsonl")  # which calls nothing


@pytest.mark.parametrize(
    ("flags", "why"),
    [(("--tier", "cheap"), "--tier"), (("--tier-patience", "soon"), "--tier-patience")],
)
def test_a_wrong_flag_is_told(place: Place, flags: tuple[str, str], why: str) -> None:
    """As every other."""
    place.rows(*topics(1))
    assert place.batch(*flags, code=2) == []
    assert why in place.stderr


def test_a_wrong_tier_in_a_file_is_told_with_its_line(place: Place) -> None:
    """And what it may be."""
    place.crew(llm="{model: gpt-5, tier: cheap}")
    place.rows(*topics(1))
    place.batch(code=2)
    assert "crew.yaml:" in place.stderr
    assert "tier" in place.stderr


def test_a_plan_has_both_prices(place: Place) -> None:
    """What the calls cost at flex, and what they would cost at the standard tier."""
    place.rows(*topics(10))
    place.crewrun("plan", "in.jsonl", "--tier", "flex", "--json")
    plan = json.loads(place.stdout)
    assert list(plan["tiers"]) == ["flex"]
    part = plan["tiers"]["flex"]
    assert (part["calls"], part["cost_usd"]) == (plan["calls"], plan["cost_usd"])
    assert part["standard_usd"]["mean"] == pytest.approx(2 * part["cost_usd"]["mean"], rel=1e-3)
    place.crewrun("plan", "in.jsonl", "--tier", "flex")
    assert "  at flex: 10 calls, about $" in place.stdout
    assert ", at standard about $" in place.stdout
    place.crewrun("plan", "in.jsonl", "--json")
    assert "tiers" not in json.loads(place.stdout)


def test_the_progress_says_that_calls_wait_for_capacity(place: Place) -> None:
    """As a wait of its own kind: it is neither a rate limit nor an outage."""
    place.rows(*topics(4))
    began: list[int] = []

    def is_full(asked: Asked) -> bool:
        began.append(asked.number)
        return len(began) <= 8

    with Fickle(FlexProvider(is_full, Reply(429, FULL.text, code=FULL.code, headers={"retry-after": "1"}))) as server:
        place.crewrun("batch", "in.jsonl", "--tier", "flex", "--progress", "json", OPENAI_BASE_URL=server.base_url)
    progress = [json.loads(line) for line in place.stderr.splitlines() if line.startswith('{"')]
    waits = [wait for one in progress for wait in one["waiting"]]
    assert {wait["kind"] for wait in waits} == {"capacity"}
    assert all(1 <= wait["calls"] <= 4 for wait in waits)
