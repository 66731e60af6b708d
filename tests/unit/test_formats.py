"""The other formats: CrewAI's project folder and crew.jsonc, what a reference may be, crew.yaml's JSON Schema."""

import json
import os
import sys
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import example, given
from hypothesis import strategies as st
from jsonschema import Draft202012Validator
from support.forks import crewrun
from support.paths import SAMPLES

from crewrun.crew.task import ConditionalTask, Task
from crewrun.definitions import Definition, find_beside, load
from crewrun.definitions.base_spec import Spec
from crewrun.definitions.mcp_spec import McpServerSpec
from crewrun.definitions.schema import crew_schema
from crewrun.definitions.spec import (
    AgentSpec,
    BatchSpec,
    CrewSpec,
    ExpectationSpec,
    IdentitySpec,
    KnowledgeConfigSpec,
    LLMSpec,
    NamedTaskSpec,
    TaskSpec,
)
from crewrun.errors import CrewrunWarning, DefinitionError, UsageError
from crewrun.testing import scripted

# All of them are too many for a message.

CREW = """\
agents: {writer: {role: Writer, goal: Write, backstory: You write.}}
tasks: {draft: {description: "Write about {topic}", expected_output: A text, agent: writer}}
"""
AGENTS = """\
researcher:
  role: >
    {topic} researcher
  goal: >
    Find facts
  backstory: >
    Long years.
writer:
  role: Writer
  goal: Write
  backstory: Short years.
"""
TASKS = """\
research:
  description: >
    Research {topic}
  expected_output: >
    Facts
  agent: researcher
draft:
  description: Write
  expected_output: Text
  agent: writer
"""
TOOLS = '''\
from crewai.tools import BaseTool, tool


class Scale(BaseTool):
    name: str = "Kitchen scale"
    description: str = "Weighs."

    def _run(self, what: str) -> str:
        return what


@tool("Market price")
def market(what: str) -> str:
    """Tell a price."""
    return what


def tell(what: str) -> str:
    """Tell something."""
    return what


def see(value):
    return None
'''


@pytest.fixture(autouse=True)
def _in_an_empty_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """One process loads one project; here each test is on its own, with no module of another one's."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    yield
    for name, module in list(sys.modules.items()):
        if (getattr(module, "__file__", None) or "").startswith(f"{tmp_path}/"):
            del sys.modules[name]


def put(files: dict[str, str]) -> None:
    """Write files by their paths."""
    for name, text in files.items():
        Path(name).parent.mkdir(parents=True, exist_ok=True)
        Path(name).write_text(text)


def project(folder: str, agents: str = AGENTS, tasks: str = TASKS) -> None:
    """A CrewAI project, its `config` in `folder`."""
    put({f"{folder}/config/agents.yaml": agents, f"{folder}/config/tasks.yaml": tasks})


def message_for(ref: str, strict: bool = False) -> str:
    with pytest.raises(DefinitionError) as caught:
        load(ref, strict)
    return str(caught.value)


def described(loaded: Definition) -> dict[str, Any]:
    """What was loaded, as plain values."""
    crew = loaded.crew
    return {
        "kind": loaded.kind,
        "path": str(loaded.path),
        "batch": loaded.batch,
        "agents": [(a.name, a.role, a.goal, a.backstory, a.model.model if a.model else None) for a in crew.agents],
        "tasks": [
            (
                t.name,
                t.description,
                t.agent.name if t.agent else None,
                t.context if t.context is None else [c.name for c in t.context],
            )
            for t in crew.tasks
        ],
        "process": str(crew.process),
        "inputs": crew.default_inputs,
    }


# CrewAI's project folder


PROJECT = {
    "kind": "CrewAI project",
    "batch": {},
    "agents": [
        ("researcher", "{topic} researcher", "Find facts\n", "Long years.\n", None),
        ("writer", "Writer", "Write", "Short years.", None),
    ],
    "tasks": [("research", "Research {topic}\n", "researcher", None), ("draft", "Write", "writer", None)],
    "process": "sequential",
    "inputs": {},
}


@pytest.mark.parametrize(
    ("folder", "ref"),
    [
        ("project/config", "project"),
        ("project/src/press/config", "project"),
        ("project/a/b/c/d/config", "project"),
        ("project", "project"),
        ("config", "."),
        ("project/config", "project/config"),
        ("project/config", "project/"),
    ],
    ids=["in it", "as CrewAI makes it", "five deep", "without config", "here", "config itself", "with a slash"],
)
@pytest.mark.parametrize("extension", ["yaml", "yml"])
def test_a_project_is_found_in_a_folder_or_below_it(folder: str, ref: str, extension: str) -> None:
    """Agents and tasks in the order of the files, roles without the newlines of folded text."""
    put({f"{folder}/agents.{extension}": AGENTS, f"{folder}/tasks.{extension}": TASKS})
    assert described(load(ref)) == {**PROJECT, "path": str(Path(ref))}


@pytest.mark.anyio
async def test_a_project_runs() -> None:
    """Nothing else is needed for a kickoff."""
    project("press")
    async with scripted("five facts", "an article") as model:
        output = await load("press").crew.akickoff({"topic": "Tides"})
    assert output.raw == "an article"
    assert ["Tides researcher" in model.requests[0].messages[0].content] == [True]


def test_a_crew_file_in_the_folder_comes_first() -> None:
    """crew.yaml, crew.yml, crew.jsonc, crew.json, then the project."""
    project("press")
    found = [load("press").kind]
    for name in ("crew.json", "crew.jsonc", "crew.yml", "crew.yaml"):
        put({f"press/{name}": CREW if name.endswith("ml") else json.dumps(yaml.safe_load(CREW))})
        loaded = load("press")
        found.append(f"{loaded.kind}: {loaded.path}")
    assert found == [
        "CrewAI project",
        "crew.json: press/crew.json",
        "crew.jsonc: press/crew.jsonc",
        "crew.yaml: press/crew.yml",
        "crew.yaml: press/crew.yaml",
    ]


def test_crew_py_beside_config_says_which_crew_it_is() -> None:
    """The class chooses among the agents and tasks of the files."""
    project("press")
    put(
        {
            "press/crew.py": """\
from crewai import Agent, Crew, Task
from crewai.project import CrewBase, agent, crew, task


@CrewBase
class Press:
    @agent
    def writer(self) -> Agent:
        return Agent(config=self.agents_config["writer"])

    @task
    def draft(self) -> Task:
        return Task(config=self.tasks_config["draft"])

    @crew
    def crew(self) -> Crew:
        return Crew(agents=self.agents, tasks=self.tasks)
"""
        }
    )
    loaded = load("press")
    assert (loaded.kind, [task.description for task in loaded.crew.tasks]) == ("CrewAI project", ["Write"])


@pytest.mark.parametrize(
    "folder", [".hidden", "node_modules/x", "__pycache__", "venv/lib", "own/lib", "a/b/c/d/e"], ids=str
)
def test_nothing_is_looked_for_where_no_project_is(folder: str) -> None:
    """Hidden folders, installed packages, and what is more than five folders deep."""
    project(f"top/{folder}")
    put({"top/own/pyvenv.cfg": ""})
    assert message_for("top") == (
        "top: has no crew in it; looked for crew.yaml, crew.yml, crew.jsonc and crew.json, and for a CrewAI project "
        "(config/agents.yaml and config/tasks.yaml), that one 5 folders deep, "
        "and a Python file that makes or runs a crew"
    )


def test_several_projects_below_a_folder_are_not_chosen_from() -> None:
    """Unless one is the folder's own."""
    project("top/crews/poems")
    project("top/crews/news")
    assert message_for("top") == (
        "top: has 2 CrewAI projects in it: 'top/crews/news', 'top/crews/poems'; name one of them"
    )
    project("top")
    assert described(load("top")) == {**PROJECT, "path": "top"}


@pytest.mark.parametrize(("there", "absent"), [("agents", "tasks"), ("tasks", "agents")])
def test_half_a_project_is_refused(there: str, absent: str) -> None:
    """The message says which file is not there."""
    put({f"top/config/{there}.yaml": AGENTS})
    assert message_for("top") == (f"top/config/{there}.yaml: has no {absent}.yaml beside it; a CrewAI project has both")


def test_what_crewai_has_and_crewrun_does_not_is_let_through() -> None:
    """Without a word where nothing is lost, with a warning where the crew might answer in another way."""
    project(
        "press",
        AGENTS + "  memory: false\n  reasoning: true\n  cache: true\n  max_iter: '5'\n  verbose: 'true'\n",
        TASKS + "  allow_crewai_trigger_context: true\n  outptu_file: x.md\n  config: {}\n",
    )
    with pytest.warns(CrewrunWarning) as caught:
        loaded = load("press")
    assert [str(warning.message) for warning in caught] == [
        "press/config/agents.yaml:13: writer.reasoning: 'reasoning' is not supported by this version of crewrun and "
        "has no effect",
        "press/config/tasks.yaml:12: draft.outptu_file: unknown key 'outptu_file' (did you mean 'output_file'?); "
        "it has no effect",
        "press/config/tasks.yaml:13: draft.config: 'config' is not supported by this version of crewrun; "
        "it has no effect",
    ]
    assert loaded.crew.agents[1].max_iter == 5


def test_strict_makes_an_unknown_key_an_error() -> None:
    """All of them at once, with what else is wrong."""
    project("press", AGENTS + "  rolle: x\n", TASKS + "  agnt: x\n  max_retries: 3\n  async_execution: soon\n")
    assert message_for("press", strict=True).splitlines() == [
        "press/config/agents.yaml:12: writer.rolle: unknown key 'rolle' (did you mean 'role'?)",
        "press/config/tasks.yaml:11: draft.agnt: unknown key 'agnt' (did you mean 'agent'?)",
        "press/config/tasks.yaml:13: draft.async_execution: needs true or false, not 'soon'",
    ]


BAD_PROJECTS: dict[str, tuple[str, str, list[str]]] = {
    "a task without an agent": (
        AGENTS,
        TASKS.replace("  agent: writer\n", ""),
        ["tasks.yaml:7: draft.agent: is missing; a task needs description, expected_output and agent"],
    ),
    "an agent that is not there": (
        AGENTS,
        TASKS.replace("agent: writer", "agent: wrtier"),
        ["tasks.yaml:10: draft.agent: no agent 'wrtier' (did you mean 'writer'?); agents are 'researcher', 'writer'"],
    ),
    "a context that names no task": (
        AGENTS,
        TASKS + "  context: [reserch]\n",
        ["tasks.yaml:11: draft.context[0]: no task 'reserch' (did you mean 'research'?); earlier tasks are 'research'"],
    ),
    "missing texts": (
        AGENTS.replace("  goal: Write\n", ""),
        TASKS.replace("  description: Write\n", ""),
        [
            "agents.yaml:8: writer.goal: is missing; an agent needs role, goal and backstory",
            "tasks.yaml:7: draft.description: is missing; a task needs description, expected_output and agent",
        ],
    ),
    "a name twice": (
        AGENTS + '"writer ": {role: a, goal: b, backstory: c}\n',
        TASKS,
        ["agents.yaml:12: 'writer ': the name 'writer' is taken by the agent on line 8 of press/config/agents.yaml"],
    ),
    "entries that are texts": (
        "writer: x\n",
        "draft: y\n",
        [
            "agents.yaml:1: writer: needs a mapping of names to values, not 'x'",
            "tasks.yaml:1: draft: needs a mapping of names to values, not 'y'",
        ],
    ),
    "an empty file": ("# later\n", TASKS, ["agents.yaml: is empty; agents.yaml has an entry for every agent"]),
    "a list": (
        AGENTS,
        "- a\n",
        ["tasks.yaml: is a list; tasks.yaml is a mapping with an entry for every task"],
    ),
    "a mapping without entries": ("{}\n", TASKS, ["agents.yaml:1: is empty; at least one is needed"]),
    "not YAML": (
        "writer: a: b\n",
        TASKS,
        [
            "agents.yaml:1: column 10: not valid YAML: a ':' that is out of place; a text that contains ': ' needs "
            "quotes, and keys of one mapping need the same indentation"
        ],
    ),
    "a class by its name alone": (
        AGENTS,
        TASKS + "  output_json: Report\n",
        ["tasks.yaml:11: draft.output_json: needs a pydantic class as module:attr or file.py:attr, not 'Report'"],
    ),
}


@pytest.mark.parametrize(("agents", "tasks", "lines"), BAD_PROJECTS.values(), ids=BAD_PROJECTS.keys())
def test_a_fault_of_a_project_has_its_file_and_line(agents: str, tasks: str, lines: list[str]) -> None:
    """The path in the message starts with the name of the agent or task."""
    project("press", agents, tasks)
    assert message_for("press").splitlines() == [f"press/config/{line}" for line in lines]


@pytest.mark.parametrize("folder", ["press/src/app/tools", "press/tools"], ids=["beside config", "at the root"])
def test_tools_are_found_by_name_in_the_projects_files(folder: str) -> None:
    """By the class, the function, or the tool's own name; `crewai` in these files means crewrun."""
    names = "[Scale, Kitchen scale, market, Market price, tell, custom:kitchen, FileReadTool]"
    project("press/src/app", AGENTS, TASKS)
    put(
        {
            f"{folder}/kitchen.py": TOOLS,
            f"{folder}/__init__.py": "# Scale\n",
            f"{folder}/other.py": "raise RuntimeError\n",
        }
    )
    found = []
    for name in names[1:-1].split(", "):
        Path("press/src/app/config/tasks.yaml").write_text(TASKS + f"  tools: ['{name}']\n")
        found += [tool.name for tool in load("press").crew.tasks[1].tools]
    assert found == [
        "Kitchen scale",
        "Kitchen scale",
        "Market price",
        "Market price",
        "tell",
        "Kitchen scale",
        "Read a file's content",
    ]


def test_a_tool_that_is_nowhere_is_refused_with_the_places() -> None:
    """The built-in ones are named, and the folders that were looked through."""
    project("press/src/app", AGENTS + "  tools: [Skale, custom:scale, tools/kitchen.py:Skale]\n", TASKS)
    put({"press/src/app/tools/kitchen.py": TOOLS})
    first, second, third = message_for("press").splitlines()
    place = "press/src/app/config/agents.yaml:12: writer.tools"
    assert first == (
        f"{place}[0]: no tool 'Skale'; built in are 'DirectoryReadTool', 'FileReadTool', 'FileWriterTool', "
        "'ScrapeWebsiteTool', 'SerperDevTool', and it is not in press/src/app/tools/*.py or press/tools "
        "(no such folder)"
    )
    assert second == (
        f"{place}[1]: no tool 'custom:scale'; looked for press/src/app/tools/scale.py and press/tools/scale.py"
    )
    assert third.startswith(f"{place}[2]: tools/kitchen.py:Skale: module ")
    assert third.endswith(" has no 'Skale' (did you mean 'Scale'?)")


def test_a_file_without_a_tool_is_no_custom_tool() -> None:
    """And a name that is no file's is not looked for."""
    project("press", AGENTS + "  tools: [custom:empty, 'custom:../x']\n", TASKS)
    put({"press/tools/empty.py": "x = 1\n"})
    assert message_for("press").splitlines() == [
        "press/config/agents.yaml:12: writer.tools[0]: press/tools/empty.py: has no tool in it, neither a class with "
        "`_run` nor a function under @tool",
        "press/config/agents.yaml:12: writer.tools[1]: no tool 'custom:../x'; looked for nothing, it is not a file "
        "name",
    ]


# crew.jsonc


JSONC = """\
{
  // Comments of both kinds, and commas behind the last entry
  "name": "press",
  "agents": ["researcher", "writer",],
  "tasks": [
    {"name": "research", "description": "Research {topic}", "expected_output": "Facts", "agent": "researcher"},
    /* without
       a name */
    {"description": "Write", "expected_output": "Text", "agent": "writer", "context": ["research"],},
  ],
  "process": "sequential",
  "inputs": {"topic": "Tides // \\ud83c\\udf0a", "year": 2024, "share": 1e-1, "tags": [true, null]},
  "batch": {"max-concurrent": 3}
}
"""
RESEARCHER = '{"role": "{topic} researcher", "goal": "Find facts", "backstory": "Long years.", "llm": "m"}\n'
WRITER = """\
{
  "role": "Writer", "goal": "Write",
  "backstory": "Short years.",
}
"""


def put_jsonc(text: str = JSONC, researcher: str = RESEARCHER, writer: str = WRITER) -> None:
    put({"crew.jsonc": text, "agents/researcher.json": researcher, "agents/writer.jsonc": writer})


def test_a_crew_jsonc_and_the_files_of_its_agents_become_a_crew() -> None:
    """Comments, trailing commas, and escapes that only JSON has."""
    put_jsonc()
    assert described(load("crew.jsonc")) == {
        "kind": "crew.jsonc",
        "path": "crew.jsonc",
        "batch": {"max_concurrent": 3},
        "agents": [
            ("researcher", "{topic} researcher", "Find facts", "Long years.", "m"),
            ("writer", "Writer", "Write", "Short years.", None),
        ],
        "tasks": [("research", "Research {topic}", "researcher", None), ("task_2", "Write", "writer", ["research"])],
        "process": "sequential",
        "inputs": {"topic": "Tides // 🌊", "year": 2024, "share": 0.1, "tags": [True, None]},
    }


@pytest.mark.parametrize(
    "change",
    [lambda text: "\ufeff" + text, lambda text: text.replace("\n", "\r\n"), lambda text: text.replace("  ", "\t")],
    ids=["byte order mark", "CRLF", "tabs"],
)
def test_editors_may_save_json_like_this(change: Any) -> None:
    """None of it changes what is said."""
    put_jsonc()
    plain = described(load("crew.jsonc"))
    put_jsonc(change(JSONC), change(RESEARCHER), change(WRITER))
    assert described(load("crew.jsonc")) == plain


def test_agents_may_stand_in_the_file_itself() -> None:
    """As in crew.yaml; tasks as a mapping too."""
    put({"crew.json": json.dumps(yaml.safe_load(CREW))})
    assert described(load("crew.json")) == {
        "kind": "crew.json",
        "path": "crew.json",
        "batch": {},
        "agents": [("writer", "Writer", "Write", "You write.", None)],
        "tasks": [("draft", "Write about {topic}", "writer", None)],
        "process": "sequential",
        "inputs": {},
    }


def test_crewais_spellings_are_understood() -> None:
    """Settings, references in an object, a provider beside the model, types, the files of tools, a manager's file."""
    put(
        {
            "deep/crew.jsonc": """{
  "agents": ["writer"], "manager_agent": "boss", "process": "hierarchical", "cache": true, "planning": false,
  "tasks": [
    {"type": "Task", "description": "a", "expected_output": "b", "agent": "writer", "guardrail": "Be brief: no more"},
    {"type": "ConditionalTask", "condition": {"python": "tools.kitchen.see"}, "description": "a",
     "expected_output": "b", "callbacks": [{"python": "tools.kitchen.see"}]}
  ],
  "before_kickoff_callbacks": [{"python": "tools.kitchen.see"}],
  "manager_llm": null
}""",
            "deep/agents/writer.jsonc": """{
  "role": "Writer", "goal": "Write", "backstory": "b",
  "llm": {"model": "llama3", "provider": "ollama", "temperature": 0},
  "tools": ["custom:kitchen", "Market price"],
  "settings": {"max_iter": 7, "cache": true}
}""",
            "deep/agents/boss.json": '{"type": "agent", "role": "Boss", "goal": "g", "backstory": "b"}',
            "deep/tools/kitchen.py": TOOLS,
        }
    )
    crew: Any = load("deep/crew.jsonc").crew
    (writer,) = crew.agents
    assert (crew.manager_agent.role, writer.max_iter, writer.model.model, writer.model.temperature) == (
        "Boss",
        7,
        "ollama/llama3",
        0,
    )
    assert [tool.name for tool in writer.tools] == ["Kitchen scale", "Market price"]
    assert [type(task) for task in crew.tasks] == [Task, ConditionalTask]
    assert crew.tasks[0].guardrail == "Be brief: no more"
    functions = [crew.tasks[1].condition, *crew.tasks[1].callbacks, *crew.before_kickoff_callbacks]
    assert [function.__name__ for function in functions] == ["see"] * 3


def test_what_a_crew_jsonc_says_in_vain_is_warned_about() -> None:
    """A new CrewAI project has memory switched on, and is no error for that."""
    put_jsonc(JSONC.replace('"process":', '"memory": true, "tracing": true, "process":'))
    with pytest.warns(CrewrunWarning) as caught:
        load("crew.jsonc")
    assert [str(warning.message) for warning in caught] == [
        "crew.jsonc:11: memory: 'memory' has no effect: crewrun has no memory, so that no row knows of another one"
    ]


JSON_SYNTAX = {
    "empty": ("// nothing\n", "crew.jsonc: is empty; a crew file has `agents:` and `tasks:`"),
    "null": ("null", "crew.jsonc: is empty; a crew file has `agents:` and `tasks:`"),
    "a list": ("[]", "crew.jsonc: is a list; a crew file is a mapping with `agents:` and `tasks:`"),
    "two values": ("{}\n{}", "2: column 1: not valid JSON: unexpected text after the end of the JSON value"),
    "key without quotes": ("{\n  a: 1}", "2: column 3: not valid JSON: expected a key in double quotes, or '}'"),
    "single quotes": ("{'a': 1}", "1: column 2: not valid JSON: expected a key in double quotes, or '}'"),
    "no colon": ('{"a" 1}', "1: column 6: not valid JSON: expected a ':' after the key"),
    "no comma": ('{"a": 1\n "b": 2}', "2: column 2: not valid JSON: expected ',' or '}'"),
    "no comma in a list": ('{"a": [1 2]}', "1: column 10: not valid JSON: expected ',' or ']'"),
    "only a comma": ("{,}", "1: column 2: not valid JSON: expected a key in double quotes, or '}'"),
    "not closed": ('{"a": [1', "1: column 9: not valid JSON: expected ',' or ']'"),
    "no value": ('{"a": }', "1: column 7: not valid JSON: expected a value"),
    "a word": ('{"a": tru}', "1: column 7: not valid JSON: 'tru' is not a JSON value; texts need double quotes"),
    "infinity": ('{"a": 1e999}', "1: column 7: not valid JSON: '1e999' is not a JSON value; texts need double quotes"),
    "very long number": (
        f'{{"a": {"1" * 5000}}}',
        f"1: column 7: not valid JSON: '{'1' * 40}' is not a JSON value; texts need double quotes",
    ),
    "open comment": ('{"a": 1 /* b }', "1: column 9: not valid JSON: a comment is not closed"),
    "open quote": ('{"a": "b}', "1: column 7: not valid JSON: a quote is not closed"),
    "line break in a text": (
        '{"a": "b\nc"}',
        "1: column 9: not valid JSON: a text cannot contain a line break or a tab; write \\n and \\t",
    ),
    "escape": ('{"a": "\\q"}', "1: column 8: not valid JSON: a backslash in a text must be written twice"),
    "half a character": (
        '{"a": "\\ud83c"}',
        "1: column 7: not valid JSON: a \\u escape is half a character; write the character itself",
    ),
    "too deep": ("[" * 200, "1: is nested more than 100 levels deep"),
    "not UTF-8": (b'{"a": "\xe9"}', "1: is not UTF-8 (byte 0xe9); save it as UTF-8"),
    "too large": (" " * (1024 * 1024 + 1), "crew.jsonc: is larger than 1 MiB, too large for a crew file"),
}


@pytest.mark.parametrize(("text", "message"), JSON_SYNTAX.values(), ids=JSON_SYNTAX.keys())
def test_a_file_that_is_no_json_object_is_refused_with_the_place(text: str | bytes, message: str) -> None:
    """The first such fault is the whole message."""
    Path("crew.jsonc").write_bytes(text if isinstance(text, bytes) else text.encode())
    assert message_for("crew.jsonc") == (message if message.startswith("crew.jsonc") else f"crew.jsonc:{message}")


JSON_CONTENT: dict[str, tuple[dict[str, str], list[str]]] = {
    "agents that are not there": (
        {"text": JSONC.replace('"researcher", "writer",', '"reseacher", "writer", "writer", 5, "../x", " "')},
        [
            "crew.jsonc:4: agents[0]: no agent 'reseacher' (did you mean 'researcher'?); "
            "there is no agents/reseacher.jsonc or agents/reseacher.json",
            "crew.jsonc:4: agents[2]: the agent 'writer' is in this list twice",
            "crew.jsonc:4: agents[3]: needs the name of an agent, whose file is agents/<name>.jsonc",
            "crew.jsonc:4: agents[4]: '../x' is not a file name without its extension",
            "crew.jsonc:4: agents[5]: needs the name of an agent, whose file is agents/<name>.jsonc",
            "crew.jsonc:6: tasks[0].agent: no agent 'researcher' (did you mean 'reseacher'?); "
            "agents are 'reseacher', 'writer', '../x'",
        ],
    ),
    "no agents": (
        {"text": JSONC.replace('"researcher", "writer",', "")},
        ["crew.jsonc:4: agents: is empty; at least one is needed"],
    ),
    "agents that are a text": (
        {"text": JSONC.replace('["researcher", "writer",]', '"writer"')},
        ["crew.jsonc:4: agents: needs a mapping of names to values, not 'writer'"],
    ),
    "keys": (
        {
            "text": JSONC.replace('"process"', '"proces"').replace('"context"', '"contxt"').replace("-concurrent", ""),
            "researcher": RESEARCHER.replace('"llm": "m"', '"llm": {"modle": "m"}, "rolle": 1'),
            "writer": WRITER.replace('"backstory"', '"settings": {"max_itr": 1, "max_iter": "x"}, "backstry"'),
        },
        [
            "crew.jsonc:9: tasks[1].contxt: unknown key 'contxt' (did you mean 'context'?)",
            "crew.jsonc:11: proces: unknown key 'proces' (did you mean 'process'?)",
            "crew.jsonc:13: batch.max: unknown key 'max' (did you mean 'map'?)",
            "agents/researcher.json:1: rolle: unknown key 'rolle' (did you mean 'role'?)",
            "agents/researcher.json:1: llm.model: is missing; an llm needs model",
            "agents/researcher.json:1: llm.modle: unknown key 'modle' (did you mean 'model'?)",
            "agents/writer.jsonc:1: backstory: is missing; an agent needs role, goal and backstory",
            "agents/writer.jsonc:3: backstry: unknown key 'backstry' (did you mean 'backstory'?)",
            "agents/writer.jsonc:3: max_itr: unknown key 'max_itr' (did you mean 'max_iter'?)",
            "agents/writer.jsonc:3: max_iter: needs a whole number, not 'x'",
        ],
    ),
    "types of one's own": (
        {
            "text": JSONC.replace('{"name"', '{"type": {"python": "nowhere.MyTask"}, "name"').replace(
                '{"description"', '{"type": "ConditionalTask", "description"'
            )
        },
        [
            "crew.jsonc:6: tasks[0].type: no module 'nowhere'; looked in {cwd} and where Python looks",
            "crew.jsonc:9: tasks[1].type: a task of this type needs condition",
        ],
    ),
    "a manager who is listed": (
        {
            "text": JSONC.replace("sequential", "hierarchical").replace(
                '"inputs"', '"manager_agent": "writer", "inputs"'
            )
        },
        [
            "crew.jsonc:4: agents[1]: 'writer' is the manager_agent, and only manages",
            "crew.jsonc:9: tasks[1].agent: 'writer' is the manager, who only manages; name another agent or none",
        ],
    ),
    "settings that are a list": (
        {"writer": WRITER.replace('"goal"', '"settings": [], "goal"')},
        [
            "agents/writer.jsonc:2: settings: unknown key 'settings'; the keys of an agent are 'role', 'goal', "
            "'backstory', 'llm', 'tools', 'max_iter', 'max_rpm', 'max_execution_time', 'max_retry_limit', "
            "'allow_delegation', 'step_callback', 'system_template' and 16 more",
        ],
    ),
    "an agent's file that is no JSON": (
        {"writer": "{role: 1}"},
        ["agents/writer.jsonc:1: column 2: not valid JSON: expected a key in double quotes, or '}'"],
    ),
    "an agent's file that is empty": (
        {"writer": ""},
        ["agents/writer.jsonc: is empty; an agent's file has `role`, `goal` and `backstory`"],
    ),
}


@pytest.mark.parametrize(("files", "lines"), JSON_CONTENT.values(), ids=JSON_CONTENT.keys())
def test_a_fault_of_a_crew_jsonc_has_its_file_and_line(files: dict[str, str], lines: list[str]) -> None:
    """All at once: those of the crew file first, then those of the agents' files."""
    put_jsonc(**files)
    assert message_for("crew.jsonc").splitlines() == [line.replace("{cwd}", os.getcwd()) for line in lines]


# What a reference may be


@pytest.mark.parametrize(
    ("ref", "message"),
    [
        ("nope.py", "nope.py: no such file"),
        (
            "nope",
            "nope: no such file or folder; a crew is a crew.yaml, a crew.jsonc, the folder of a CrewAI project, "
            "module:attr or file.py:attr",
        ),
        (
            "crew.toml",
            "crew.toml: is not a crew file; a crew is a crew.yaml, a crew.jsonc, the folder of a CrewAI project, "
            "module:attr or file.py:attr",
        ),
        (
            "empty",
            "empty: has no crew in it; looked for crew.yaml, crew.yml, crew.jsonc and crew.json, and for a CrewAI "
            "project (config/agents.yaml and config/tasks.yaml), that one 5 folders deep, "
            "and a Python file that makes or runs a crew",
        ),
        ("nope.jsonc", "nope.jsonc: no such file"),
        ("crew.json/x.json", "crew.json/x.json: cannot be read: Not a directory"),
    ],
)
def test_what_is_no_crew_is_refused_with_the_way_out(ref: str, message: str) -> None:
    """Nothing in a Python file is run to find out what is in it."""
    put({"crew.toml": "", "crew.json": "{}"})
    Path("empty").mkdir()
    assert message_for(ref) == message


def test_a_crew_is_found_by_itself_in_every_format() -> None:
    """Any kind beside the inputs comes before all that is here; in one folder crew files come before projects."""
    inputs = Path("data/topics.jsonl")
    Path("data").mkdir()
    found = []
    for files in (
        {"src/press/config/agents.yaml": AGENTS, "src/press/config/tasks.yaml": TASKS},
        {"data/config/agents.yml": AGENTS, "data/config/tasks.yml": TASKS},
        {"crew.json": "{}"},
        {"data/crew.jsonc": "{}"},
        {"data/crew.yaml": CREW},
    ):
        put(files)
        found.append((str(find_beside(inputs)), str(find_beside(None))))
    assert found == [
        (".", "."),
        ("data", "."),
        ("data", "crew.json"),
        ("data/crew.jsonc", "crew.json"),
        ("data/crew.yaml", "crew.json"),
    ]


def test_half_a_project_is_not_found_by_itself() -> None:
    """Then there is no crew."""
    put({"config/agents.yaml": AGENTS})
    with pytest.raises(UsageError):
        find_beside(None)


# On the command line


def test_the_reviews_sample_runs_with_its_tool_and_its_schema(tmp_path: Path) -> None:
    """Every row's output is an object that validates against the sample's schema."""
    reviews = SAMPLES / "reviews"
    ran = crewrun("batch", reviews / "reviews.jsonl", "-m", "offline", "-o", "-", "-q", cwd=tmp_path)
    assert (ran.returncode, ran.stderr) == (0, "")
    schema = yaml.safe_load((reviews / "crew.yaml").read_text())["tasks"]["record"]["output_schema"]
    rows = [json.loads(line) for line in ran.stdout.splitlines()]
    assert [list(Draft202012Validator(schema).iter_errors(row["output"])) for row in rows] == [[]] * 8


def test_a_project_is_run_by_its_folder(tmp_path: Path) -> None:
    """`--crew` takes the folder."""
    project("press")
    ran = crewrun("run", "--crew", "press", "-i", "topic=Tides", "-m", "offline", "-q", cwd=tmp_path)
    assert (ran.returncode, ran.stdout.startswith("[offline ")) == (0, True)


# The JSON Schema of crew.yaml


SCHEMA = crew_schema()
SPECS: dict[str, type[Spec]] = {
    spec.__name__: spec
    for spec in (
        AgentSpec,
        BatchSpec,
        ExpectationSpec,
        IdentitySpec,
        KnowledgeConfigSpec,
        LLMSpec,
        McpServerSpec,
        NamedTaskSpec,
        TaskSpec,
    )
}


def test_the_schema_is_one_and_the_samples_keep_to_it() -> None:
    """An editor that is given it marks nothing in a sample."""
    Draft202012Validator.check_schema(SCHEMA)
    validator = Draft202012Validator(SCHEMA)
    samples = sorted(SAMPLES.rglob("crew.yaml"))
    assert len(samples) == 3
    assert [list(validator.iter_errors(yaml.safe_load(sample.read_text()))) for sample in samples] == [[]] * 3


def test_the_schema_beside_the_samples_is_this_versions() -> None:
    """Every sample names it in its first line."""
    text = (SAMPLES / "crew.schema.json").read_text()
    assert text == json.dumps(SCHEMA, indent=2, ensure_ascii=False) + "\n"
    for sample in SAMPLES.rglob("crew.yaml"):
        first, _, ref = sample.read_text().splitlines()[0].partition("$schema=")
        assert (first, (sample.parent / ref).resolve()) == ("# yaml-language-server: ", SAMPLES / "crew.schema.json")


def test_the_schema_has_the_keys_of_the_specs() -> None:
    """Each with a description, and nothing else besides them."""
    parts = {name: SCHEMA["$defs"][name] for name in SPECS} | {"CrewSpec": SCHEMA}
    assert set(SCHEMA["$defs"]) == set(SPECS)
    for name, spec in (SPECS | {"CrewSpec": CrewSpec}).items():
        flags = {key.replace("_", "-") for key in spec.model_fields} if spec is BatchSpec else set()
        keys = {field.alias or key for key, field in spec.model_fields.items()}
        assert set(parts[name]["properties"]) == keys | spec.ignored | flags
        assert parts[name]["additionalProperties"] is False
        assert [key for key, part in parts[name]["properties"].items() if not part["description"]] == []


WRITER_SPEC = {"role": "a", "goal": "b", "backstory": "c"}
DRAFT_SPEC = {"description": "a", "expected_output": "b", "agent": "writer"}


def crew_with(agent: Any = None, task: Any = None, **crew: Any) -> dict[str, Any]:
    """A crew as plain values, with more fields in its agent, its task and itself."""
    agents = {"writer": {**WRITER_SPEC, **(agent or {})}}
    return {"agents": agents, "tasks": {"draft": {**DRAFT_SPEC, **(task or {})}}, **crew}


GOOD_DATA = {
    "tools": crew_with({"tools": ["SerperDevTool", {"FileReadTool": {"max_chars": 9}}, {"FileWriterTool": None}]}),
    "no values": crew_with({"tools": None, "max_iter": None}, {"context": None}, batch=None, process=None),
    "llm": crew_with({"llm": "m"}, llm={"model": "m", "stop": ["a"], "additional_params": {"x": 1}}),
    "guardrails": crew_with({"guardrail": "Be brief."}, {"guardrails": ["Be brief.", "Be exact."]}),
    "one guardrail": crew_with(task={"guardrails": "Be brief."}),
    "schema": crew_with(task={"output_schema": {"type": "object"}}),
    "hierarchical": {
        **crew_with(process="hierarchical", manager_agent=WRITER_SPEC),
        "tasks": [{"description": "a", "expected_output": "b"}],
    },
    "flags": crew_with(batch={"max-failures": "5%", "max_concurrent": 3, "call-timeout": 0.5}),
    "failures": crew_with(batch={"max_failures": 5}),
    "ignored": crew_with({"cache": True}, share_crew=False),
    "a log": crew_with(output_log_file="x"),
    "a log that is on": crew_with(output_log_file=True),
}
BAD_DATA = {
    "unknown key": crew_with(proces="sequential"),
    "unknown key of an agent": crew_with({"rolle": "x"}),
    "unknown key of a task": crew_with(task={"agnt": "x"}),
    "unknown key of an llm": crew_with(llm={"model": "m", "modle": "x"}),
    "unknown flag": crew_with(batch={"max-concurent": 1}),
    "not supported": crew_with(memory=True),
    "no agent": {**crew_with(), "tasks": {"draft": {"description": "a", "expected_output": "b"}}},
    "no agent in a list": {**crew_with(), "tasks": [{"description": "a", "expected_output": "b"}]},
    "no agents": {**crew_with(), "agents": {}},
    "no tasks": {**crew_with(), "tasks": []},
    "blank": crew_with({"role": " "}),
    "not text": crew_with({"role": 5}),
    "unknown tool": crew_with({"tools": ["SerperTool"]}),
    "two tools in one entry": crew_with({"tools": [{"FileReadTool": {}, "SerperDevTool": {}}]}),
    "no reference": crew_with(task={"callback": "see"}),
    "too few": crew_with({"max_iter": 0}),
    "no share": crew_with(batch={"max_failures": "many"}),
    "process": crew_with(process="paralel"),
    "human input": crew_with(task={"human_input": True}),
}


@pytest.mark.parametrize("data", GOOD_DATA.values(), ids=GOOD_DATA.keys())
def test_what_loads_keeps_to_the_schema(data: dict[str, Any]) -> None:
    """The schema refuses nothing that crewrun takes."""
    Path("crew.yaml").write_text(json.dumps(data))
    load("crew.yaml")
    assert list(Draft202012Validator(SCHEMA).iter_errors(data)) == []


@pytest.mark.parametrize("data", BAD_DATA.values(), ids=BAD_DATA.keys())
def test_what_the_schema_can_know_it_refuses_as_loading_does(data: dict[str, Any]) -> None:
    """An editor shows the fault while it is typed."""
    Path("crew.yaml").write_text(json.dumps(data))
    message_for("crew.yaml")
    assert not Draft202012Validator(SCHEMA).is_valid(data)


# Whatever is in the files


def _spliced(text: str) -> st.SearchStrategy[str]:
    cut = st.tuples(
        st.integers(0, len(text)), st.integers(0, 30), st.text(max_size=12) | st.sampled_from(['"', "}", "]"])
    )
    return cut.map(lambda parts: text[: parts[0]] + parts[2] + text[parts[0] + parts[1] :])


_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=6) | st.sampled_from(["writer", "boss", "json:loads"]),
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.text(max_size=4), inner, max_size=2),
    max_leaves=5,
)
KEYS = (
    "agents tasks process manager_agent settings type tools python llm provider condition context batch inputs name "
    "memory role guardrails output_schema"
)
_keys = st.sampled_from(KEYS.split())


def _outcome(ref: str) -> list[str]:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", CrewrunWarning)
        try:
            return [str(load(ref).path)]
        except DefinitionError as refused:
            return str(refused).splitlines()


@given(_spliced(JSONC), _spliced(WRITER))
@example("{" * 99, "{")
def test_json_that_is_cut_anywhere_is_a_definition_or_a_definition_error(text: str, writer: str) -> None:
    """No other exception leaves `load`, and a message always starts with a file."""
    for name, content in [
        ("crew.jsonc", text),
        ("agents/writer.jsonc", writer),
        ("agents/researcher.json", RESEARCHER),
    ]:
        Path(name).parent.mkdir(exist_ok=True)
        Path(name).write_bytes(content.encode(errors="surrogatepass"))
    assert all(line.startswith(("crew.jsonc", "agents/")) for line in _outcome("crew.jsonc"))


@given(st.dictionaries(_keys, _values, max_size=4), st.dictionaries(_keys, _values, max_size=4), _values)
def test_any_value_anywhere_in_json_is_a_definition_or_a_definition_error(
    crew: dict[str, Any], agent: dict[str, Any], agents: Any
) -> None:
    """Values of every shape under every key of CrewAI's JSON."""
    data = {**crew_with(agent, crew), **crew}
    for text in (data, {**data, "agents": ["writer"]}, {**data, "agents": agents}):
        put({"crew.json": json.dumps(text), "agents/writer.json": json.dumps({**WRITER_SPEC, **agent})})
        assert _outcome("crew.json") != []


@given(_spliced(AGENTS), _spliced(TASKS))
def test_a_project_that_is_cut_anywhere_is_a_definition_or_a_definition_error(agents: str, tasks: str) -> None:
    """As for crew.yaml, over two files."""
    for name, content in [("config/agents.yaml", agents), ("config/tasks.yaml", tasks)]:
        Path(name).parent.mkdir(exist_ok=True)
        Path(name).write_bytes(content.encode(errors="surrogatepass"))
    assert all(line.startswith((".", "config/")) for line in _outcome("."))
