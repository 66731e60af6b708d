"""A key that a tool lacks is found before the first call, as a model's is."""

import json
from typing import Any

import pytest
from support.command import read_rows, topics
from support.local_workers import NEAR
from support.workspace import Place

CREW = """\
agents:
  writer: {role: Writer, goal: Write, backstory: Old, tools: [%s]}
tasks:
  draft: {agent: writer, description: "Write about {topic}", expected_output: One line}
llm: gpt-4.1-mini
"""
TOOLS = """\
from crewrun.tools import BaseTool, EnvVar

class Deals(BaseTool):
    name: str = "deals"
    description: str = "Finds deals."
    api_key: str | None = None
    env_vars: list[EnvVar] = [
        EnvVar(name="DEALS_API_KEY", description="the key"),
        EnvVar(name="DEALS_REGION", description="where", required=False),
        EnvVar(name="DEALS_NAME", description="who", default="me"),
    ]

    def _run(self, what: str) -> str:
        return what

class Foreign:
    name, description = "foreign", "Another library's."
    env_vars = [{"name": "FOREIGN_TOKEN", "required": True}]

    def __init__(self, token=None):
        self.token = token

    def _run(self, what: str) -> str:
        return what

deals, keyed, foreign, told = Deals(), Deals(api_key="k"), Foreign(), Foreign("t")
"""
SERPER = "SERPER_API_KEY is not set: agent 'writer' has the tool 'Search the internet with Serper'"
WAY_OUT = "Export it or put it into .env; to go on without: --missing-tool-keys warn"


@pytest.fixture
def tools(place: Place) -> Place:
    """A crew whose agent searches with Serper, and three rows."""
    (place.folder / "crew.yaml").write_text(CREW % "SerperDevTool")
    (place.folder / "tools.py").write_text(TOOLS)
    place.rows(*topics(3))
    return place


def test_a_run_is_refused_and_nothing_is_sent(tools: Place) -> None:
    """Exit 2, with the variable, the agent, the tool and the way out, for `batch` and `run`; with the key it goes."""
    for command in (("batch", "in.jsonl"), ("run", "-i", "topic=x")):
        assert tools.crewrun(*command, code=2) == []
        assert tools.stderr.splitlines()[-2:] == [f"crewrun: {SERPER}", WAY_OUT]
        assert not tools.results.exists()
    tools.batch(SERPER_API_KEY="key")
    assert len(read_rows(tools.results)) == 3


@pytest.mark.parametrize("how", ["flag", "variable", "file"])
def test_a_run_goes_on_without_where_that_is_asked_for(tools: Place, how: str) -> None:
    """By the flag, its variable, or the crew file, in `batch` and in `run`; the warning is given all the same."""
    flags = ("--missing-tool-keys", "warn") if how == "flag" else ()
    env: dict[str, Any] = {"CREWRUN_MISSING_TOOL_KEYS": "warn"} if how == "variable" else {}
    if how == "file":
        with open(tools.folder / "crew.yaml", "a") as file:
            file.write("batch: {missing_tool_keys: warn}\n")
    for command in (("batch", "in.jsonl"), ("run", "-i", "topic=x")):
        tools.crewrun(*command, *flags, **env)
        assert f"warning: {SERPER}" in tools.stderr


def test_where_nothing_is_called_it_is_a_warning(tools: Place) -> None:
    """With -m offline, in `check`, in `plan`, and with --replay."""
    tools.batch("-m", "offline", "-o", "offline.jsonl")
    tools.crewrun("run", "-i", "topic=x", "-m", "offline")
    tools.crewrun("check", "in.jsonl", "--json")
    assert [w for w in json.loads(tools.stdout)["warnings"] if "SERPER_API_KEY" in w]
    tools.crewrun("plan", "in.jsonl", "--json")
    assert f"warning: {SERPER}" in json.loads(tools.stdout)["notes"]
    tools.batch("--replay", code=3)
    assert {row["error"]["type"] for row in read_rows(tools.results)} == {"NotRecorded"}


@pytest.mark.parametrize(
    ("tool", "env", "said"),
    [
        ("deals", {}, "DEALS_API_KEY is not set: agent 'writer' has the tool 'deals'"),
        ("foreign", {}, "FOREIGN_TOKEN is not set: agent 'writer' has the tool 'foreign'"),
        ("deals", {"DEALS_API_KEY": "x"}, None),
        ("foreign", {"FOREIGN_TOKEN": "x"}, None),
        ("keyed", {}, None),
        ("told", {}, None),
    ],
)
def test_tools_that_say_what_they_read(tools: Place, tool: str, env: dict[str, str], said: str | None) -> None:
    """`env_vars` as CrewAI's tools have them: required ones without a default, and not given to the tool itself."""
    (tools.folder / "crew.yaml").write_text(CREW % f'"tools:{tool}"')
    tools.batch(code=2 if said else 0, **env)
    assert said is None or f"crewrun: {said}\n{WAY_OUT}" in tools.stderr


@pytest.mark.parametrize(
    ("more", "code"),
    [
        pytest.param("", 0, id="nobody has it"),
        pytest.param("process: hierarchical\nmanager_llm: gpt-4.1-mini\n", 2, id="a coworker has it"),
    ],
)
def test_the_tools_of_agents_who_are_not_at_work_are_not_asked_for(tools: Place, more: str, code: Any) -> None:
    """An agent without a task counts where work may be handed to it."""
    crew = (CREW % "").replace(
        "tasks:", "  other: {role: Other, goal: Help, backstory: Old, tools: [SerperDevTool]}\ntasks:"
    )
    (tools.folder / "crew.yaml").write_text(crew + more)
    tools.batch(code=code)


def test_workers_elsewhere_need_it_themselves(tools: Place) -> None:
    """What is set here is not there: the refusal names --env."""
    near = ("--executor", NEAR, "--env", "OPENAI_API_KEY")
    tools.batch(*near, code=2)
    assert SERPER in tools.stderr
    assert "--env NAME gives workers a variable of the environment" in tools.stderr
    tools.batch(*near, "--missing-tool-keys", "warn")
