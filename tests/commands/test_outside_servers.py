"""Servers that others wrote take what crewrun sends: live calls, and batch jobs where they have them.

`llmock` (https://pypi.org/project/llmock, 0.2) has batch jobs on the wires of OpenAI, Groq, Anthropic and Mistral; for
those of Together it takes no upload at `/files/upload`. It reads no metadata but gives it back. `aimock`
(https://www.npmjs.com/package/@copilotkit/aimock, 1.43) has batch jobs on OpenAI's wire alone.
"""

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

import pytest
from support.command import clean_env, read_rows, topics
from support.forks import shared
from support.job_wires import ANTHROPIC
from support.mock_process import MockProcess
from support.workspace import Place

# litellm and npm take seconds, and llmock's jobs three each.
pytestmark = [pytest.mark.soak, pytest.mark.xdist_group("outside servers")]

CANNED = "A line that somebody else has made."
LOOKS = 300


class Provider(NamedTuple):
    """A provider as llmock has it: below which path, and by which model and variables crewrun calls it."""

    model: str
    path: str
    address: str
    key: str


PROVIDERS = {
    "openai": Provider("gpt-4.1-mini", "/v1", "OPENAI_BASE_URL", "OPENAI_API_KEY"),
    "groq": Provider("groq/llama-3.3-70b-versatile", "/groq/openai/v1", "GROQ_API_BASE", "GROQ_API_KEY"),
    "anthropic": Provider(ANTHROPIC.llm, "/anthropic", "ANTHROPIC_API_BASE", "ANTHROPIC_API_KEY"),
    "mistral": Provider("mistral/mistral-large-latest", "/mistral/v1", "MISTRAL_API_BASE", "MISTRAL_API_KEY"),
}


@contextmanager
def server(*command: str | Path, env: dict[str, str]) -> Iterator[str]:
    """The address of a server that `command` starts at a port, which is its last argument."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    process = subprocess.Popen(
        [*map(str, command), str(port)],
        env=env,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    try:
        _wait_until_it_listens(port, process)
        yield f"http://127.0.0.1:{port}"
    finally:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def _wait_until_it_listens(port: int, process: "subprocess.Popen[bytes]") -> None:
    for _ in range(LOOKS):
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)) == 0:
                return
        with pytest.raises(subprocess.TimeoutExpired):  # it has not ended
            process.wait(0.1)
    raise AssertionError("the server does not listen")


@pytest.fixture(scope="module")
def llmock() -> Iterator[str]:
    pytest.importorskip("llmock", reason="llmock is in the extra `dev`")
    program = Path(sys.executable).with_name("llmock")
    with server(program, "serve", "--response-style", "echo", "--port", env=clean_env()) as address:
        yield address


@pytest.fixture(scope="module")
def aimock(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Installed by npm into a folder that is removed."""
    npm = shutil.which("npm")
    if npm is None:
        pytest.skip("npm is not here, which installs @copilotkit/aimock")
    folder = tmp_path_factory.mktemp("aimock")
    install = (npm, "install", "--no-audit", "--no-fund", "--ignore-scripts", "@copilotkit/aimock@1.43.0")
    done = subprocess.run(install, cwd=folder, capture_output=True, text=True, timeout=180, check=False)
    if done.returncode:
        pytest.skip(f"npm cannot install @copilotkit/aimock: {done.stderr.strip()[-300:]}")
    fixtures = folder / "fixtures.json"
    fixtures.write_text(json.dumps({"fixtures": [{"match": {}, "response": {"content": CANNED}}]}))
    with server(folder / "node_modules/.bin/llmock", "-f", fixtures, "-p", env=clean_env()) as address:
        yield address


@pytest.fixture
def place(tmp_path: Path, served: tuple[MockProcess, object]) -> Place:
    """A folder with three rows for a crew of two tasks."""
    place = Place(tmp_path, served[0], shared(*ANTHROPIC.modules))
    place.rows(*topics(3))
    return place


JOBS = ("--tier", "batch", "--poll", "0.2", "--summary", "s.json")


@pytest.mark.parametrize("name", PROVIDERS)
def test_llmock_answers_live_calls_and_batch_jobs_alike(place: Place, llmock: str, name: str) -> None:
    """Each row is done, in two jobs, and its outputs are those of the live calls, which llmock makes of the prompts."""
    provider = PROVIDERS[name]
    place.crew("Criticise {topic}", llm=provider.model)
    place.env = {provider.address: f"{llmock}{provider.path}", provider.key: "any", **CLEAN}
    place.batch("-o", "live.jsonl")
    place.batch(*JOBS, "-o", "jobs.jsonl")
    live, in_jobs = outputs(place, "live.jsonl"), outputs(place, "jobs.jsonl")
    assert in_jobs == live
    assert len(in_jobs) == 3
    assert {tier: part["calls"] for tier, part in place.summary()["tiers"].items()} == {"batch": 6}


def test_aimock_answers_live_calls_and_batch_jobs(place: Place, aimock: str) -> None:
    """It answers each line of a job with the same words."""
    place.crew("Criticise {topic}")
    place.env = {"OPENAI_BASE_URL": f"{aimock}/v1", "OPENAI_API_KEY": "any"}
    place.batch("-o", "live.jsonl")
    assert set(outputs(place, "live.jsonl").values()) == {CANNED}
    place.batch(*JOBS, "-o", "jobs.jsonl")
    assert set(outputs(place, "jobs.jsonl").values()) == {"Mock batch completion"}
    assert {tier: part["calls"] for tier, part in place.summary()["tiers"].items()} == {"batch": 6}


def test_aimock_cancels_a_job(place: Place, aimock: str) -> None:
    """Its calls go live then, and all rows are done."""
    place.crew()
    place.env = {"OPENAI_BASE_URL": f"{aimock}/v1", "OPENAI_API_KEY": "any"}
    place.batch(*JOBS, "--tier-patience", "0s")
    assert len(place.done()) == 3
    assert {tier: part["calls"] for tier, part in place.summary()["tiers"].items()} == {"standard": 3}


CLEAN = {"LITELLM_LOCAL_MODEL_COST_MAP": "True"}


def outputs(place: Place, name: str) -> dict[str, str]:
    """The output of each row by its topic; all have succeeded."""
    rows = read_rows(place.folder / name)
    assert {row["status"] for row in rows} == {"ok"}
    return {row["input"]["topic"]: row["output"] for row in rows}
