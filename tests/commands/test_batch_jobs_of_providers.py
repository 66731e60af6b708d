"""`--tier batch` at the providers whose wires differ from OpenAI's, against the mock, which has those wires too."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from support.command import read_rows, topics
from support.forks import Forks
from support.mock_process import MockProcess
from support.workspace import Place

JOBS = ("--tier", "batch", "--poll", "0.1", "--summary", "s.json")


class Provider(NamedTuple):
    """A model, the variables that lead to the mock, `{root}`, and what a job costs of the standard price."""

    llm: str
    env: dict[str, str]
    share: float = 0.5


PROVIDERS = {
    "azure": Provider(
        "{model: azure/gpt-4.1-mini, api_version: '2024-10-21'}",
        {"AZURE_API_BASE": "{root}", "AZURE_API_KEY": "k", "LITELLM_LOCAL_MODEL_COST_MAP": "True"},
    ),
    "azure v1": Provider(
        "azure/gpt-4.1-mini",
        {"AZURE_API_BASE": "{root}", "AZURE_API_KEY": "k", "LITELLM_LOCAL_MODEL_COST_MAP": "True"},
    ),
    "together": Provider(
        "together_ai/meta-llama/Llama-3.3-70B-Instruct-Turbo",
        {"TOGETHER_AI_API_BASE": "{root}/together/v1", "TOGETHER_API_KEY": "k"},
    ),
    "gemini": Provider(
        "gemini/gemini-2.5-flash",
        {"GEMINI_API_BASE": "{root}/v1beta", "GEMINI_API_KEY": "k", "LITELLM_LOCAL_MODEL_COST_MAP": "True"},
    ),
    "mistral": Provider("mistral/mistral-small-latest", {"MISTRAL_API_BASE": "{root}/v1", "MISTRAL_API_KEY": "k"}),
}


@pytest.fixture(scope="module")
def jobs_mock() -> Iterator[MockProcess]:
    with MockProcess("--batch-latency", "0.2") as process:
        yield process


@pytest.fixture(params=PROVIDERS)
def place(
    request: pytest.FixtureRequest, tmp_path: Path, jobs_mock: MockProcess, served: tuple[MockProcess, Forks]
) -> Place:
    """A folder with a crew of one task on a model of a provider, and a mock without faults that has no requests."""
    provider = PROVIDERS[request.param]
    jobs_mock.set_batch_faults(dict.fromkeys(jobs_mock.batch_faults()))
    jobs_mock.clear()
    place = Place(tmp_path, jobs_mock, served[1])
    root = jobs_mock.base_url.removesuffix("/v1")
    place.env = {name: value.format(root=root) for name, value in provider.env.items()}
    place.crew(llm=provider.llm)
    return place


def test_a_hundred_rows_cost_what_the_provider_bills(place: Place, request: pytest.FixtureRequest) -> None:
    """The results are those of live calls, from one job; the price is half of theirs where there is a discount."""
    provider = PROVIDERS[request.node.callspec.params["place"]]
    place.rows(*topics(100))
    place.batch(*JOBS)
    totals, summary = bill(place), place.summary()
    assert (totals["lines"], totals["billed"], totals["billed_twice"]) == (100, 100, 0)
    assert summary["cost_usd"] == pytest.approx(totals["cost_usd"], abs=1e-9)
    in_jobs = outputs(place.results)
    place.batch("-o", "live.jsonl", "--summary", "s.json")
    assert outputs(place.folder / "live.jsonl") == in_jobs
    assert place.summary()["cost_usd"] * provider.share == pytest.approx(summary["cost_usd"])


def bill(place: Place) -> dict[str, Any]:
    """The mock's totals."""
    totals: dict[str, Any] = place.mock.ledger(last=0)["totals"]
    return totals


def outputs(path: Path) -> dict[str, Any]:
    """What came of each row, by its topic."""
    return {row["input"]["topic"]: (row["status"], row["output"], row["usage"]) for row in read_rows(path)}
