"""What is found out about a model before the first call: its key, its address, whether it speaks chat, and slips."""

from pathlib import Path
from typing import Any

import pytest
from support import forks
from support.command import write_crew, write_rows
from support.forks import crewrun

from crewrun import LLM, UsageError
from crewrun.errors import ModelNotFound
from crewrun.llm.endpoints import resolve
from crewrun.llm.known_models import slip
from crewrun.llm.transports.provider_settings import SERVED, keys_of, missing_settings
from crewrun.testing import scripted


@pytest.mark.parametrize(
    ("model", "fields", "env", "missing"),
    [
        ("anthropic/claude", {}, {}, ["ANTHROPIC_API_KEY"]),
        ("anthropic/claude", {}, {"ANTHROPIC_AUTH_TOKEN": "t"}, []),
        ("anthropic/claude", {"extra_headers": {"X-Api-Key": "k"}}, {}, []),
        ("anthropic/claude", {}, {"ANTHROPIC_API_KEY": " "}, ["ANTHROPIC_API_KEY"]),
        ("gemini/gemini-2.5-pro", {}, {}, ["GEMINI_API_KEY"]),
        ("gemini/gemini-2.5-pro", {}, {"GOOGLE_API_KEY": "k"}, []),
        ("azure/mine", {}, {}, ["AZURE_API_KEY", "AZURE_API_BASE (or base_url in the llm)"]),
        ("azure/mine", {"base_url": "https://x"}, {}, ["AZURE_API_KEY"]),
        ("azure/mine", {"base_url": "https://x"}, {"AZURE_CLIENT_ID": "i"}, []),
        ("azure/mine", {"base_url": "https://x", "azure_ad_token": "t"}, {}, []),
        ("azure_ai/x", {"base_url": "https://x"}, {}, ["AZURE_AI_API_KEY"]),
        ("zai/glm-4.6", {}, {}, ["ZAI_API_KEY"]),
        ("zai/glm-4.6", {}, {"OPENAI_API_KEY": "o"}, ["ZAI_API_KEY"]),
        ("zai/glm-4.6", {"base_url": "http://h"}, {"OPENAI_API_KEY": "o"}, []),
        ("sambanova/x", {}, {}, ["SAMBANOVA_API_KEY"]),
        ("github/gpt-4o", {}, {}, ["GITHUB_API_KEY"]),
        ("huggingface/org/model", {}, {}, ["HUGGINGFACE_API_KEY"]),
        ("huggingface/org/model", {}, {"HF_TOKEN": "t"}, []),
        ("litellm_proxy/x", {"base_url": "http://h"}, {}, ["LITELLM_PROXY_API_KEY"]),
        ("litellm_proxy/x", {}, {"LITELLM_PROXY_API_KEY": "k"}, ["LITELLM_PROXY_API_BASE (or base_url in the llm)"]),
        ("cohere/command-r", {}, {}, ["COHERE_API_KEY"]),
        ("cohere/command-r", {"base_url": "http://h"}, {}, []),
        ("watsonx/x", {}, {"WATSONX_APIKEY": "k", "WATSONX_URL": "u"}, []),
        ("bedrock/anthropic.claude", {}, {}, []),
        ("vertex_ai/gemini-2.5-pro", {}, {}, []),
        ("sagemaker/mine", {}, {}, []),
        ("github_copilot/gpt-4o", {}, {}, []),
        ("llamafile/x", {}, {}, []),
        ("ovhcloud/x", {}, {}, []),
    ],
)
def test_a_missing_key_and_address_are_named(
    model: str, fields: dict[str, Any], env: dict[str, str], missing: list[str]
) -> None:
    """Only where a key is the way in, and no other is there; a server of one's own may need none."""
    assert missing_settings(resolve(LLM(model=model, **fields), env), env) == missing


def test_every_provider_s_key_can_be_given() -> None:
    """Its variable is enough, for each provider that there is one for."""
    for provider in sorted(SERVED):
        for key in keys_of(provider):
            endpoint = resolve(LLM(model=f"{provider}/some/model"), {})
            assert key not in missing_settings(endpoint, {key: "set"})


def test_a_run_without_its_key_stops_before_the_first_call(tmp_path: Path) -> None:
    """It names the variables, the agent and the way out."""
    write_crew(tmp_path, "azure/mine")
    done = crewrun("run", "-i", "topic=x", cwd=tmp_path)
    assert (done.returncode, done.stderr) == (
        2,
        "crewrun: AZURE_API_KEY and AZURE_API_BASE (or base_url in the llm) are not set: agent 'writer' uses "
        "azure/mine. Export it or put it into .env; to try it without a model: -m offline\n",
    )


@pytest.mark.parametrize("model", ["o1-pro", "openai/gpt-5-pro", "gpt-5-codex", "xai/grok-4.20-multi-agent"])
def test_a_model_of_the_responses_api_alone_is_refused_by_name(model: str) -> None:
    """With the way out; not at an address of one's own, where any name may be, and not where litellm translates."""
    with pytest.raises(UsageError, match=r"serves it over the Responses API only.*take a model.*or set base_url"):
        resolve(LLM(model=model), {})
    assert resolve(LLM(model=model, base_url="http://h"), {}).transport_name == "direct"
    assert resolve(LLM(model=f"azure/{model.rpartition('/')[2]}"), {}).transport_name == "litellm"


@pytest.mark.parametrize(
    ("model", "fields", "near"),
    [
        ("gpt-4.1-mni", {}, "gpt-4.1-mini"),
        ("openai/gpt-41-mini", {}, "gpt-4.1-mini"),
        ("online", {}, "offline"),
        ("gemini/gemini-2.5-pr", {}, "gemini-2.5-pro"),
        ("gpt-4.1-mini", {}, None),
        ("gpt-9.7-mini", {}, None),  # a new version is no slip
        ("ft:gpt-4.1-mni:me", {}, None),
        ("gpt-4.1-mni", {"base_url": "http://h"}, None),
        ("azure/gpt-4.1-mni", {}, None),  # a deployment has the name that its owner gave it
        ("ollama/lama3.2", {}, None),
    ],
)
def test_a_slip_gets_the_nearest_name(model: str, fields: dict[str, Any], near: str | None) -> None:
    """Of the provider's models, at its own address."""
    assert slip(resolve(LLM(model=model, **fields), {})) == near


@pytest.mark.parametrize("command", ["batch", "plan", "check", "run"])
@pytest.mark.parametrize("target", ["crew.yaml", "flow.py:F"])
def test_a_slip_of_offline_is_refused(command: str, target: str, tmp_path: Path) -> None:
    """The offline model is meant, and a server at a base_url would be asked for a model of that name."""
    write_crew(tmp_path)
    flow = "from crewai.flow.flow import Flow, start\nclass F(Flow):\n    @start()\n    def go(self): return 'x'\n"
    (tmp_path / "flow.py").write_text(flow, encoding="utf-8")
    write_rows(tmp_path / "in.jsonl", [{"topic": "x"}])
    rows = ["topic=x"] if command == "run" else ["in.jsonl"]
    flags = ["--crew", target, "-m", "ofline", "--base-url", "http://127.0.0.1:9/v1"]
    done = forks.crewrun(command, *rows, *flags, cwd=tmp_path, env={"OPENAI_API_KEY": "sk-test"})
    assert (done.returncode, "model 'ofline': did you mean 'offline'?" in done.stderr) == (2, True)


@pytest.mark.parametrize("model", ["ofline", "Offline", "OFFLINE", "off-line", "offlien?latency=1"])
def test_every_near_spelling_of_offline_is_a_slip(model: str) -> None:
    """In a crew's own file too."""
    with pytest.raises(UsageError, match=r"did you mean 'offline'\?"):
        resolve(LLM(model=model), {"OPENAI_BASE_URL": "http://h"})


def test_a_server_s_own_model_may_be_called_nearly_offline() -> None:
    """With its provider before it, or beside it."""
    for llm in (LLM(model="openai/ofline"), LLM(model="ofline", provider="openai"), LLM(model="offline-llama-3")):
        assert resolve(llm, {"OPENAI_BASE_URL": "http://h"}).model.startswith("of")


@pytest.mark.anyio
async def test_a_provider_without_such_a_model_is_told_with_the_nearest_name() -> None:
    """A new version too, since the provider itself says that there is none."""
    gone = ModelNotFound("HTTP 404: The model `gpt-4.7-mini` does not exist", http_status=404)
    async with scripted(gone):
        with pytest.raises(ModelNotFound, match=r"does not exist \(did you mean 'gpt-4.1-mini'\?\)$"):
            await LLM(model="gpt-4.7-mini", api_key="k").acall("Hello?")


def test_a_slip_is_a_warning_and_no_refusal(tmp_path: Path) -> None:
    """New models appear before the table has them."""
    write_crew(tmp_path, "gpt-4.1-mni")
    done = crewrun("check", cwd=tmp_path, env={"OPENAI_API_KEY": "sk-test"})
    hint = "warning: openai/gpt-4.1-mni: litellm's table has no such model; did you mean 'gpt-4.1-mini'?\n"
    assert (done.returncode, hint in done.stdout) == (0, True)


def test_a_parameter_without_a_meaning_is_a_problem_of_the_crew(tmp_path: Path) -> None:
    """`check` says so, and a run does not begin."""
    write_crew(tmp_path, "{model: gpt-4.1, thinking: {type: enabled}}")
    why = (
        "agent 'writer': model 'gpt-4.1': its thinking cannot be sent: OpenAI's models take reasoning_effort in its "
        "place; take it out, or say drop_params: true to have it left out\n"
    )
    checked = crewrun("check", cwd=tmp_path, env={"OPENAI_API_KEY": "sk-test"})
    assert (checked.returncode, f"problem: {why}" in checked.stdout) == (2, True)
    ran = crewrun("run", "-i", "topic=x", cwd=tmp_path, env={"OPENAI_API_KEY": "sk-test"})
    assert (ran.returncode, ran.stderr) == (2, f"crewrun: {why}")
