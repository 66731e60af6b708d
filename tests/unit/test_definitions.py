"""Loading crew.yaml: what a good file comes to, and what each kind of bad file is answered with."""

import json
import os
import sys
import time
from dataclasses import fields
from pathlib import Path
from textwrap import dedent
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from support.paths import SAMPLES

from crewrun.batch.settings import BatchSettings
from crewrun.crew.agent import Agent
from crewrun.crew.crew import Crew
from crewrun.crew.fields import SILENT
from crewrun.crew.process import Process
from crewrun.crew.task import ConditionalTask, Task
from crewrun.definitions import Definition, find_beside, load
from crewrun.definitions.base_spec import Spec
from crewrun.definitions.spec import AgentSpec, BatchSpec, CrewSpec, LLMSpec, NamedTaskSpec, TaskSpec
from crewrun.errors import DefinitionError, InputInvalid, UsageError
from crewrun.fingerprint import fingerprint
from crewrun.llm.model import LLM
from crewrun.llm.parameters import TYPES
from crewrun.testing import scripted
from crewrun.tools import BaseTool

# All of them are too many for a message.
BATCH_KEYS = f"{', '.join(map(repr, list(BatchSpec.model_fields)[:12]))} and {len(BatchSpec.model_fields) - 12} more"

AGENTS = """\
agents:
  writer:
    role: Writer
    goal: Explain {topic}
    backstory: You write.
"""
TASKS = """\
tasks:
  draft:
    description: Write about {topic}
    expected_output: A text
    agent: writer
"""
GOOD = AGENTS + TASKS  # ten lines, so that what a case appends starts on line 11
SHOP = '''\
from pydantic import BaseModel

from crewrun.tools import BaseTool, tool


class Record(BaseModel):
    sku: str


class Search(BaseTool):
    name: str = "search"
    description: str = "Searches."
    url: str = "http://shop"

    def _run(self, words: str) -> str:
        return words


class Foreign:
    name = "foreign"
    description = "Another library's."

    def __init__(self, depth=1):
        self.depth = depth

    def _run(self, words: str) -> str:
        return words


class Needy(BaseTool):
    name: str = "needy"
    description: str = "Needs a token."
    token: str


class Fails:
    def __init__(self):
        raise OSError("no connection")


@tool
def price(sku: str) -> str:
    """Tell a price."""
    return sku


def weigh(sku: str) -> str:
    """Tell a weight."""
    return sku


def mute(sku):
    return sku


def see(value):
    return None


SEARCH = Search()
NUMBER = 5
'''


@pytest.fixture(autouse=True)
def _in_an_empty_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    monkeypatch.delitem(sys.modules, "shop", raising=False)  # that of an earlier test


def load_text(text: str | bytes) -> Definition:
    """Load `text` as the crew.yaml of the working directory."""
    Path("crew.yaml").write_bytes(text.encode() if isinstance(text, str) else text)
    return load("crew.yaml")


def message_for(text: str | bytes) -> str:
    with pytest.raises(DefinitionError) as caught:
        load_text(text)
    return str(caught.value)


def described(crew: Crew) -> dict[str, Any]:
    """`crew` as plain values, with agents and tasks by name."""
    return {
        "name": crew.name,
        "verbose": crew.verbose,
        "default_inputs": crew.default_inputs,
        "agents": [
            (a.name, a.role, a.goal, a.backstory, a.model.model if a.model else None, a.verbose) for a in crew.agents
        ],
        "tasks": [
            (
                t.name,
                t.description,
                t.expected_output,
                t.agent.name if t.agent else None,
                t.context if t.context is None else [c.name for c in t.context],
                t.async_execution,
            )
            for t in crew.tasks
        ],
    }


def test_a_file_with_every_key_becomes_a_crew_its_inputs_and_its_batch_settings() -> None:
    """All keys of the crew, its agents and tasks arrive; `batch` is spelled with underscores."""
    loaded = load_text("""\
name: press
verbose: true
process: sequential
llm: gpt-4.1-mini
inputs: {tone: dry, year: 2024, since: 2024-01-01}
agents:
  researcher:
    role: >
      Researcher
    goal: Find facts
    backstory: >
      Long years.
    llm: {model: groq/llama-3.3-70b, temperature: 0, api_key: "${GROQ_API_KEY}"}
  writer: {role: Writer, goal: Write, backstory: Short years., verbose: yes}
tasks:
  research: {description: "Find {topic}", expected_output: Facts, agent: researcher, async_execution: true}
  draft: {description: Write, expected_output: Text, agent: writer, context: [research]}
  title: {description: Name it, expected_output: A title, agent: writer, context: []}
batch: {max-concurrent: 4, call_timeout: 30, max-failures: 2.5%, progress: none, ordered: on}
""")
    assert described(loaded.crew) == {
        "name": "press",
        "verbose": True,
        "default_inputs": {"tone": "dry", "year": 2024, "since": "2024-01-01"},
        "agents": [
            ("researcher", "Researcher", "Find facts", "Long years.\n", "groq/llama-3.3-70b", False),
            ("writer", "Writer", "Write", "Short years.", "gpt-4.1-mini", True),
        ],
        "tasks": [
            ("research", "Find {topic}", "Facts", "researcher", None, True),
            ("draft", "Write", "Text", "writer", ["research"], False),
            ("title", "Name it", "A title", "writer", [], False),
        ],
    }
    assert loaded.crew.default_inputs == {"tone": "dry", "year": 2024, "since": "2024-01-01"}
    assert loaded.batch == {
        "max_concurrent": 4,
        "call_timeout": 30.0,
        "max_failures": "2.5%",
        "progress": "none",
        "ordered": True,
    }
    assert loaded.path == Path("crew.yaml")


def set_fields(thing: Any) -> dict[str, Any]:
    """The fields of `thing` that it was made with, functions and classes by their names, tools by theirs."""

    def plain(value: Any) -> Any:
        if isinstance(value, list):
            return [plain(inner) for inner in value]
        return value.name if isinstance(value, BaseTool | Task | Agent) else getattr(value, "__name__", value)

    return {name: plain(getattr(thing, name)) for name in thing.model_fields_set}


def test_every_key_of_agents_tasks_and_crew_arrives_with_its_names_looked_up() -> None:
    """Tools, functions and classes are those of a file beside the crew file."""
    Path("shop.py").write_text(SHOP)
    Path("schema.yaml").write_text("type: object\n")
    crew = load_text("""\
agents:
  writer:
    role: Writer
    goal: g
    backstory: b
    llm: offline
    tools: [SerperDevTool, shop.py:price]
    max_iter: 3
    max_rpm: 10
    max_execution_time: 2.5
    max_retry_limit: 1
    allow_delegation: true
    step_callback: shop.py:see
    system_template: "{{ .System }}"
    prompt_template: "{{ .Prompt }}"
    response_template: "{{ .Response }}"
    use_system_prompt: false
    inject_date: true
    date_format: "%d"
    respect_context_window: false
    guardrail: "Answer in one word: yes or no"
    guardrail_max_retries: 0
    cache: true
tasks:
  draft:
    description: d
    expected_output: e
    agent: writer
    tools: [shop.py:weigh]
    output_pydantic: shop.py:Record
    output_file: out/{topic}.md
    create_directory: false
    markdown: true
    human_input: false
    guardrails: [shop.py:see, Be brief.]
    guardrail_max_retries: 1
    callback: shop.py:see
    callbacks: [shop.py:see]
    allow_crewai_trigger_context: false
  check:
    {description: d, expected_output: e, agent: writer, condition: shop.py:see, output_json: shop.py:Record}
  end:
    {description: d, expected_output: e, agent: writer, output_schema: schema.yaml, guardrails: Be brief.}
max_rpm: 60
before_kickoff: shop.py:see
after_kickoff: [shop.py:see, shop.py:see]
before_kickoff_callbacks: [shop.py:see]
task_callback: shop.py:see
step_callback: shop.py:see
share_crew: false
""").crew
    agent = set_fields(crew.agents[0])
    assert agent.pop("llm").model == "offline"
    assert agent == {
        "name": "writer",
        "role": "Writer",
        "goal": "g",
        "backstory": "b",
        "tools": ["Search the internet with Serper", "price"],
        "max_iter": 3,
        "max_rpm": 10,
        "max_execution_time": 2.5,
        "max_retry_limit": 1,
        "allow_delegation": True,
        "step_callback": "see",
        "system_template": "{{ .System }}",
        "prompt_template": "{{ .Prompt }}",
        "response_template": "{{ .Response }}",
        "use_system_prompt": False,
        "inject_date": True,
        "date_format": "%d",
        "respect_context_window": False,
        "guardrail": "Answer in one word: yes or no",
        "guardrail_max_retries": 0,
    }
    texts = {"description": "d", "expected_output": "e", "agent": "writer"}
    assert [set_fields(task) for task in crew.tasks] == [
        {
            **texts,
            "name": "draft",
            "tools": ["weigh"],
            "output_pydantic": "Record",
            "output_file": "out/{topic}.md",
            "create_directory": False,
            "markdown": True,
            "human_input": False,
            "guardrails": ["see", "Be brief."],
            "guardrail_max_retries": 1,
            "callback": "see",
            "callbacks": ["see"],
            "allow_crewai_trigger_context": False,
        },
        {**texts, "name": "check", "condition": "see", "output_json": "Record"},
        {**texts, "name": "end", "output_schema": {"type": "object"}, "guardrails": "Be brief."},
    ]
    assert [type(task) for task in crew.tasks] == [Task, ConditionalTask, Task]
    assert {name: value for name, value in set_fields(crew).items() if name not in ("agents", "tasks")} == {
        "process": Process.sequential,
        "max_rpm": 60,
        "before_kickoff_callbacks": ["see", "see"],
        "after_kickoff_callbacks": ["see", "see"],
        "task_callback": "see",
        "step_callback": "see",
        "manager_llm": None,
        "default_inputs": {},
    }


def test_the_specs_have_the_fields_of_the_classes() -> None:
    """A field that is added to Agent, Task or Crew is added to the file format too."""
    assert set(AgentSpec.model_fields) == set(Agent.model_fields) - {"name"}
    assert set(NamedTaskSpec.model_fields) == set(ConditionalTask.model_fields)
    assert set(CrewSpec.model_fields) - {
        "inputs",
        "llm",
        "batch",
        "expect",
        "identity",
        "mcp_servers",
        "before_kickoff",
        "after_kickoff",
    } == set(Crew.model_fields) - {"default_inputs"}
    specs: list[tuple[type[Spec], str]] = [(AgentSpec, "agent"), (TaskSpec, "task"), (CrewSpec, "crew")]
    for spec, kind in specs:
        assert spec.ignored <= SILENT[kind]
        assert not (spec.ignored | spec.not_yet) & set(spec.model_fields)


@pytest.mark.parametrize(
    ("entry", "tool"),
    [
        ("FileReadTool", ("Read a file's content", {"max_chars": 50_000})),
        ("FileReadTool: {max_chars: 9}", ("Read a file's content", {"max_chars": 9})),
        ("FileReadTool:", ("Read a file's content", {"max_chars": 50_000})),
        ("crewai_tools:FileReadTool", ("Read a file's content", {})),
        ("shop.py:Search", ("search", {"url": "http://shop"})),
        ("shop.py:Search: {url: http://x, max_usage_count: 2}", ("search", {"url": "http://x", "max_usage_count": 2})),
        ("shop.py:SEARCH", ("search", {})),
        ("shop.py:Foreign: {depth: 3}", ("foreign", {"description": "Another library's."})),
        ("shop.py:price", ("price", {})),
        ("shop.py:weigh", ("weigh", {"description": "Tell a weight."})),
        ("tools_of_a_package.inner:weigh", ("weigh", {})),
    ],
)
def test_a_tool_is_built_in_or_a_class_an_object_or_a_function_of_the_user(
    entry: str, tool: tuple[str, dict[str, Any]]
) -> None:
    """Arguments stand in a mapping behind the name; modules are looked for beside the crew file."""
    Path("shop.py").write_text(SHOP)
    Path("tools_of_a_package").mkdir()
    Path("tools_of_a_package/inner.py").write_text(SHOP)
    (made,) = load_text(AGENTS + f"    tools:\n    - {entry}\n" + TASKS).crew.agents[0].tools
    assert (made.name, {name: getattr(made, name) for name in tool[1]}) == tool


def test_names_are_looked_up_beside_the_crew_file_wherever_the_process_runs() -> None:
    """A path in the file is relative to the file."""
    Path("deep/er").mkdir(parents=True)
    Path("deep/er/crew.yaml").write_text(
        AGENTS + "    tools: [lib/shop.py:price]\n" + TASKS + "    output_schema: lib/answer.json\n"
    )
    Path("deep/er/lib").mkdir()
    Path("deep/er/lib/shop.py").write_text(SHOP)
    Path("deep/er/lib/answer.json").write_text('{"type": "array"} // nothing else')
    crew = load("deep/er/crew.yaml").crew
    assert ([tool.name for tool in crew.agents[0].tools], crew.tasks[0].output_schema) == (["price"], {"type": "array"})


HIERARCHICAL = """\
  boss: {role: Boss, goal: Lead, backstory: Led.}
tasks:
  draft: {description: a, expected_output: b}
  title: {description: a, expected_output: b, agent: writer}
process: hierarchical
"""


@pytest.mark.parametrize(
    ("manager", "made", "agents"),
    [
        ("manager_agent: boss", ("boss", "Boss", None), ["writer"]),
        ("manager_agent: {role: Chief, goal: g, backstory: b}", ("manager", "Chief", None), ["writer", "boss"]),
        ("manager_llm: {model: m}", (None, None, "m"), ["writer", "boss"]),
    ],
    ids=["one of agents", "written there", "a model"],
)
def test_a_hierarchical_crew_has_a_manager_who_is_none_of_its_agents(
    manager: str, made: tuple[str | None, str | None, str | None], agents: list[str]
) -> None:
    """Its tasks need no agent."""
    crew: Any = load_text(AGENTS + HIERARCHICAL + manager).crew
    boss, llm = crew.manager_agent, crew.manager_llm
    assert (boss and boss.name, boss and boss.role, llm and llm.model) == made
    assert [agent.name for agent in crew.agents] == agents
    assert [task.agent and task.agent.name for task in crew.tasks] == [None, "writer"]


def test_two_agents_may_have_one_role_where_nobody_picks_by_it() -> None:
    """CrewAI's users tell such agents apart by their names."""
    crew = load_text(AGENTS + "  other: {role: Writer, goal: g, backstory: b}\n" + TASKS).crew
    assert [agent.role for agent in crew.agents] == ["Writer", "Writer"]


def test_tasks_in_a_list_without_a_name_are_named_by_their_place() -> None:
    """The second of three tasks without a name is task_2, and contexts can say so."""
    loaded = load_text(
        AGENTS
        + """\
tasks:
- {description: a, expected_output: a, agent: writer, name: first}
- {description: b, expected_output: b, agent: writer}
- {description: c, expected_output: c, agent: writer, context: [task_2]}
"""
    )
    assert [task[0] for task in described(loaded.crew)["tasks"]] == ["first", "task_2", "task_3"]
    assert described(loaded.crew)["tasks"][2][4] == ["task_2"]


def test_an_llm_mapping_becomes_an_llm_with_its_additional_params_as_fields() -> None:
    """`api_base` is base_url, and what is in additional_params goes to the provider."""
    loaded = load_text(
        GOOD
        + "llm: {model: m, api_base: 'http://localhost:1', stop: END, additional_params: {top_k: 5, top: {a: 1}}}\n"
    )
    llm = loaded.crew.agents[0].model
    assert llm is not None
    assert dict(llm) == dict(LLM(model="m", base_url="http://localhost:1", stop="END", top_k=5, top={"a": 1}))


def test_llm_spec_has_the_fields_of_llm() -> None:
    """A parameter that is added to LLM is added to the file format too."""
    assert set(LLMSpec.model_fields) - {"api_base", "additional_params"} == set(LLM.model_fields) | set(TYPES)


def test_batch_spec_has_the_fields_of_batch_settings() -> None:
    """Every flag can have its default in the file."""
    assert set(BatchSpec.model_fields) == {field.name for field in fields(BatchSettings)}


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("2024-01-01", "2024-01-01"),
        ("12:30", "12:30"),
        ("01234", "01234"),
        ("1_000", "1_000"),
        (".inf", ".inf"),
        ("1e3", 1000.0),
        (".5", 0.5),
        ("-7", -7),
        ("0x1F", 31),
        ("0o17", 15),
        ("off", False),
        ("~", None),
        ("", None),
        ("'42'", "42"),
        ("!!str 42", "42"),
        ("[1, a, {b: c}]", [1, "a", {"b": "c"}]),
    ],
)
def test_a_plain_value_is_what_it_looks_like(text: str, value: object) -> None:
    """No timestamps, base-60 numbers or octal zip codes."""
    assert load_text(f"{GOOD}inputs:\n  x: {text}\n").crew.default_inputs == {"x": value}


@pytest.mark.parametrize(
    "text",
    [
        b"\xef\xbb\xbf" + GOOD.encode(),
        GOOD.replace("\n", "\r\n"),
        "---\n" + GOOD + "...\n",
        GOOD + "inputs:\nbatch:\nllm:\nname:\n",
    ],
    ids=["byte order mark", "CRLF", "document marks", "optional keys left empty"],
)
def test_a_file_may_look_like_this_too(text: str | bytes) -> None:
    """What editors add, and sections that are commented out, change nothing."""
    loaded = load_text(text)
    assert described(loaded.crew) == described(load_text(GOOD).crew)
    assert (loaded.crew.default_inputs, loaded.batch) == ({}, {})


def test_aliases_and_merge_keys_are_written_out() -> None:
    """A mapping's own keys win over merged ones, an earlier merge over a later one."""
    inputs = load_text(
        GOOD
        + dedent("""\
        inputs:
          a: &a {x: 1, y: 1}
          b: &b {y: 2, z: 2}
          c: {<<: [*a, *b], x: 3}
          d: *a
          e: {"<<": text}
        """)
    ).crew.default_inputs
    assert inputs["c"] == {"x": 3, "y": 1, "z": 2}
    assert inputs["d"] == {"x": 1, "y": 1}
    assert inputs["e"] == {"<<": "text"}


def test_top_level_keys_that_begin_with_x_are_the_users_own() -> None:
    """For anchors; below the top they are unknown keys as all others."""
    shared = "x-agent: &agent {goal: Explain, backstory: You write.}\n"
    crew = load_text(shared + "agents: {writer: {<<: *agent, role: Writer}}\n" + TASKS).crew
    assert crew.agents[0].goal == "Explain"
    assert "unknown key 'x-other'" in message_for(GOOD.replace("backstory:", "x-other: 1\n    backstory:"))


def test_doubled_braces_are_part_of_the_fingerprint_where_they_mean_something_else_than_before() -> None:
    """A crew without `{{name}}` keeps the fingerprint that it has as Python code, so that its runs go on."""

    def fingerprints(description: str) -> tuple[str, str]:
        crew = load_text(GOOD.replace("Write about {topic}", json.dumps(description))).crew
        agent = Agent(name="writer", role="Writer", goal="Explain {topic}", backstory="You write.")
        own = Task(name="draft", description=description, expected_output="A text", agent=agent)
        return fingerprint(crew), fingerprint(Crew(agents=[agent], tasks=[own]))

    for description in ('{topic} {"a": 1}', "Jinja has {{ user.name }}", "{{Ticket ID}}"):
        from_file, from_code = fingerprints(description)
        assert from_file == from_code
    from_file, from_code = fingerprints("{{topic}}")
    assert from_file != from_code


@pytest.mark.anyio
async def test_a_crew_yaml_has_literal_braces_and_needs_its_inputs_also_in_python() -> None:
    """In its agents and tasks, also after a field has been assigned, and without any input."""
    text = GOOD.replace("Explain {topic}", "'Explain {{topic}}'").replace("about {topic}", "about {{topic}} {x}")
    crew = load_text(text + "inputs: {x: 1}\n").crew
    crew.agents[0].max_iter = 3
    async with scripted("ok", "ok") as model:
        await crew.akickoff()
        await crew.akickoff({"topic": "ants"})
    for request in model.requests:
        assert "Explain {topic}" in request.messages[0].content
        assert "Write about {topic} 1\n" in request.messages[1].content
    async with scripted():
        with pytest.raises(InputInvalid, match="missing input 'topic'"):
            await load_text(GOOD).crew.akickoff()


def test_the_samples_load_and_their_rows_fill_them() -> None:
    """The crews in sample_inputs need nothing that their rows lack."""
    import json

    for crew, rows, count in [
        ("crew.yaml", "topics.jsonl", 20),
        ("support/crew.yaml", "support/tickets.jsonl", 12),
        ("reviews/crew.yaml", "reviews/reviews.jsonl", 8),
    ]:
        target = load(SAMPLES / crew).crew
        inputs = [json.loads(line) for line in (SAMPLES / rows).read_text().splitlines()]
        assert len(inputs) == count
        assert [set(target.placeholders) - set(row) for row in inputs] == [set()] * count
        assert target.tasks[1].context == [target.tasks[0]]


SYNTAX: dict[str, tuple[str | bytes, str]] = {
    "empty": ("", "crew.yaml: is empty; a crew file has `agents:` and `tasks:`"),
    "only comments": ("# nothing\n", "crew.yaml: is empty; a crew file has `agents:` and `tasks:`"),
    "only a document mark": ("---\n", "crew.yaml: is empty; a crew file has `agents:` and `tasks:`"),
    "a list": ("- a\n", "crew.yaml: is a list; a crew file is a mapping with `agents:` and `tasks:`"),
    "one text": ("hello\n", "crew.yaml: is one single value; a crew file is a mapping with `agents:` and `tasks:`"),
    "two documents": (
        GOOD + "---\na: 1\n",
        "crew.yaml:11: a second document starts here (`---`); a crew file is one document",
    ),
    "tab": ("agents:\n\twriter: x\n", "crew.yaml:2: a tab in the indentation; YAML wants spaces"),
    "tab after spaces": (
        "agents:\n  writer: x\n  \teditor: y\n",
        "crew.yaml:3: a tab in the indentation; YAML wants spaces",
    ),
    "not UTF-8": (b"name: ok\nrole: caf\xe9\n", "crew.yaml:2: is not UTF-8 (byte 0xe9); save it as UTF-8"),
    "UTF-16": ("name: x".encode("utf-16"), "crew.yaml:1: is not UTF-8 (byte 0xff); save it as UTF-8"),
    "control character": ("a: b\nc: \x07\n", "crew.yaml:2: the character U+0007 is not allowed in YAML"),
    "brace": (
        "a:\n  b: {topic} in brief\n",
        "crew.yaml:2: column 14: not valid YAML: expected a key here; keys of one mapping need the same indentation, "
        "and a text that starts with a brace or a quote needs quotes around all of it",
    ),
    "colon": (
        "role: Writer: senior\n",
        "crew.yaml:1: column 13: not valid YAML: a ':' that is out of place; a text that contains ': ' needs quotes, "
        "and keys of one mapping need the same indentation",
    ),
    "at sign": (
        "role: @x\n",
        "crew.yaml:1: column 7: not valid YAML: a text cannot start with this character unless it is in quotes",
    ),
    "open quote": (
        "a: 1\nrole: 'x\nb: 2\n",
        "crew.yaml:4: column 1: not valid YAML: a quote is not closed (in what starts on line 2)",
    ),
    "no anchor": (
        "a: *b\n",
        "crew.yaml:1: column 4: not valid YAML: an alias (*name) without its anchor (&name) above it",
    ),
    "key without its colon": (
        "a: 1\nb\nc: 2\n",
        "crew.yaml:3: column 1: not valid YAML: expected a ':' after the key (in what starts on line 2)",
    ),
    "quoted key without its colon": (
        "a: 1\n'b'\n",
        "crew.yaml:3: column 1: not valid YAML: expected a ':' after the key (in what starts on line 2)",
    ),
    "open list": (
        "a: [b, c\nd: e\n",
        "crew.yaml:2: column 2: not valid YAML: a list that starts with '[' is not closed (in what starts on line 1)",
    ),
    "open brace": (
        "a: {b: c, d: '}'\ne: f\n",
        "crew.yaml:2: column 1: not valid YAML: a '{' is not closed; a text that starts with a brace needs quotes "
        "(in what starts on line 1)",
    ),
    "key in a list": (
        "a:\n  - b\n  c: d\n",
        "crew.yaml:3: column 3: not valid YAML: expected '- ' here; the entries of a list need the same indentation "
        "(in what starts on line 2)",
    ),
    "comma": (
        "a: , b\n",
        "crew.yaml:1: column 4: not valid YAML: expected a value here; "
        "a text that starts with this character needs quotes",
    ),
    "alias to itself": ("a: &a\n  b: [*a]\n", "crew.yaml:1: contains an alias (*name) to itself"),
    "merge of itself": ("a: &a\n  <<: *a\n", "crew.yaml:1: contains an alias (*name) to itself"),
    "too deep": ("a: " + "[" * 200_000, "crew.yaml:1: is nested more than 100 levels deep"),
    "too deep by aliases": (
        "k0: &k0 [x]\n" + "".join(f"k{i}: &k{i} [*k{i - 1}]\n" for i in range(1, 200)),
        "crew.yaml:1: is nested more than 100 levels deep",
    ),
    "too deep and not closed": ("a: 1\nb: " + "[ " * 2000, "crew.yaml:2: is nested more than 100 levels deep"),
    "too deep in blocks": (
        "".join(f"{' ' * i}a:\n" for i in range(1200)),
        "crew.yaml:101: is nested more than 100 levels deep",
    ),
    "too long": (
        "a:\n" + "- x\n" * 150_000,
        "crew.yaml: has more than 100,000 values, aliases written out; too many for a crew file",
    ),
    "too large": ("#" * 1024 * 1024 + "\n", "crew.yaml: is larger than 1 MiB, too large for a crew file"),
}


@pytest.mark.parametrize(("text", "message"), SYNTAX.values(), ids=SYNTAX.keys())
def test_a_file_that_is_not_a_yaml_mapping_is_refused_with_the_place(text: str | bytes, message: str) -> None:
    """The first such fault is the whole message: nothing behind it can be read."""
    assert message_for(text) == message


CONTENT: dict[str, tuple[str, list[str]]] = {
    # YAML that is read, but holds what plain data does not
    "tag": (
        GOOD + "name: !!python/object/apply:os.system ['true']\n",
        [
            ":11: name: the tag '!!python/object/apply:os.system' is not supported; crew files hold plain YAML only",
            ":11: name: needs text, not a list",
        ],
    ),
    "unknown tag": (
        GOOD + "name: !env X\n",
        [":11: name: the tag '!env' is not supported; crew files hold plain YAML only"],
    ),
    "tagged number": (
        GOOD + "inputs: {a: !!int x, b: !!float inf, c: 1e999, d: !!bool maybe}\n",
        [
            ":11: inputs.a: 'x' is not a usable int; put it in quotes if it is text",
            ":11: inputs.b: 'inf' is not a usable float; put it in quotes if it is text",
            ":11: inputs.c: '1e999' is not a usable float; put it in quotes if it is text",
            ":11: inputs.d: 'maybe' is not a usable bool; put it in quotes if it is text",
        ],
    ),
    "duplicate keys": (
        GOOD + "inputs:\n  a: {x: 1, y: 2, x: 3}\nname: a\nname: b\n",
        [":12: inputs.a.x: this key is on line 12 already", ":14: name: this key is on line 13 already"],
    ),
    "duplicate agent": (
        AGENTS.replace("agents:\n", "agents:\n  writer: {role: a, goal: b, backstory: c}\n") + TASKS,
        [":3: agents.writer: this key is on line 2 already"],
    ),
    "number as key": (
        AGENTS + "  7: {role: a, goal: b, backstory: c}\n" + TASKS,
        [':6: agents: the key 7 is not text; put it in quotes: "7"'],
    ),
    "boolean as key": (
        GOOD + "inputs: {on: 1}\n",
        [':11: inputs: the key on is not text; put it in quotes: "on"'],
    ),
    "mapping as key": (
        GOOD + "inputs:\n  {topic}: 1\n",
        [":12: inputs: a list or mapping cannot be a key; a text that starts with a brace needs quotes"],
    ),
    "merge of a text": (
        GOOD + "inputs:\n  <<: x\n",
        [":12: inputs.'<<': needs an alias (*name) of a mapping, or a list of them"],
    ),
    # keys
    "unknown keys": (
        GOOD.replace("    role:", "    rolle: x\n    role:") + "agent: x\nbatch: {max-concurent: 3, zzz: 1}\n",
        [
            ":3: agents.writer.rolle: unknown key 'rolle' (did you mean 'role'?)",
            ":12: agent: unknown key 'agent' (did you mean 'agents'?)",
            ":13: batch.max-concurent: unknown key 'max-concurent' (did you mean 'max_concurrent'?)",
            f":13: batch.zzz: unknown key 'zzz'; the keys of batch are {BATCH_KEYS}",
        ],
    ),
    "keys of CrewAI": (
        GOOD.replace("    agent:", "    input_files: []\n    agent:").replace(
            "    role:", "    reasoning: 3\n    role:"
        )
        + "memory: true\nid: x\n",
        [
            ":3: agents.writer.reasoning: 'reasoning' is not supported by this version of crewrun",
            ":11: tasks.draft.input_files: needs a mapping of names to values, not a list",
            ":13: memory: 'memory' is not supported by this version of crewrun",
            ":14: id: 'id' is not supported by this version of crewrun",
        ],
    ),
    "names beside names": (
        GOOD.replace("    role:", "    name: x\n    role:").replace("    agent:", "    name: x\n    agent:"),
        [
            ":3: agents.writer.name: is not a key here; the name of an agent is its key under 'agents'",
            ":11: tasks.draft.name: is not a key here; the name of a task is its key under 'tasks'",
        ],
    ),
    "missing": (
        "agents:\n  writer:\n    role: a\n    goal: b\ntasks:\n  draft:\n    description: a\n    agent: writer\n"
        "llm: {}\n",
        [
            ":2: agents.writer.backstory: is missing; an agent needs role, goal and backstory",
            ":6: tasks.draft.expected_output: is missing; a task needs description, expected_output and agent",
            ":9: llm.model: is missing; an llm needs model",
        ],
    ),
    "no agents": (TASKS, [":1: agents: is missing; a crew needs agents and tasks"]),
    "no tasks": (AGENTS, [":1: tasks: is missing; a crew needs agents and tasks"]),
    "empty sections": (
        "agents: {}\ntasks: []\n",
        [":1: agents: is empty; at least one is needed", ":2: tasks: is empty; at least one is needed"],
    ),
    "sections without content": (
        "agents:\ntasks:\n",
        [
            ":1: agents: needs a mapping of names to values, not an empty value",
            ":2: tasks: needs a mapping of names to tasks, or a list of tasks, not an empty value",
        ],
    ),
    # types
    "not text": (
        "agents:\n  writer: {role: 42, goal: yes, backstory: [a]}\n  editor: {role: 1.50, goal: {topic}, backstory: }\n"
        + TASKS,
        [
            ':2: agents.writer.role: needs text, not 42; put it in quotes: "42"',
            ':2: agents.writer.goal: needs text, not yes; put it in quotes: "yes"',
            ":2: agents.writer.backstory: needs text, not a list",
            ':3: agents.editor.role: needs text, not 1.50; put it in quotes: "1.50"',
            ":3: agents.editor.goal: needs text, not a mapping; a text that starts with a brace needs quotes: "
            '"{topic}"',
            ":3: agents.editor.backstory: needs text, not an empty value",
        ],
    ),
    "blank text": (
        AGENTS.replace("Writer", '""').replace("You write.", '" "') + TASKS,
        [
            ":3: agents.writer.role: must not be empty",
            ":5: agents.writer.backstory: must not be empty",
        ],
    ),
    "not a mapping": (
        AGENTS + "  editor: x\ntasks:\n- write\nbatch: [a]\ninputs: x\n",
        [
            ":6: agents.editor: needs a mapping of names to values, not 'x'",
            ":8: tasks[0]: needs a mapping of names to values, not 'write'",
            ":9: batch: needs a mapping of names to values, not a list",
            ":10: inputs: needs a mapping of names to values, not 'x'",
        ],
    ),
    "tasks that are a text": (
        AGENTS + "tasks: write\n",
        [":6: tasks: needs a mapping of names to tasks, or a list of tasks, not 'write'"],
    ),
    "agents in a list": (
        "agents: [writer]\n" + TASKS,
        [":1: agents: needs a mapping of names to values, not a list"],
    ),
    "task fields": (
        GOOD + "    context: draft\n    async_execution: 'yes'\n",
        [
            ":11: tasks.draft.context: needs a list, not 'draft'",
            ":12: tasks.draft.async_execution: needs true or false, not 'yes'",
        ],
    ),
    "process": (
        GOOD + "process: paralel\n",
        [":11: process: needs to be 'sequential' or 'hierarchical', not 'paralel'"],
    ),
    "llm": (
        GOOD
        + dedent("""\
        llm:
          model: m
          temperature: hot
          max_tokens: 0
          stop: 5
          timeout: 0
          temprature: 1
          additional_params: {seed: 1}
        """)
        + "verbose: 2\n",
        [
            ":13: llm.temperature: needs a number, not 'hot'",
            ":14: llm.max_tokens: needs to be at least 1, not 0",
            ":15: llm.stop: needs text or a list of texts, not 5",
            ":16: llm.timeout: needs to be more than 0, not 0",
            ":17: llm.temprature: unknown key 'temprature' (did you mean 'temperature'?)",
            ":18: llm.additional_params: 'seed' is a key of the llm itself; write it beside additional_params",
            ":19: verbose: needs true or false, not 2",
        ],
    ),
    "llm that is a list": (
        GOOD + "llm: [m, {modle: x}, 3]\n",
        [
            ":11: llm[1].model: is missing; an llm needs model",
            ":11: llm[1].modle: unknown key 'modle' (did you mean 'model'?)",
            ":11: llm[2]: needs the name of a model, or a mapping with `model`, not 3",
        ],
    ),
    "agent's llm": (
        AGENTS + "    llm: {modle: x}\n" + TASKS,
        [
            ":6: agents.writer.llm.model: is missing; an llm needs model",
            ":6: agents.writer.llm.modle: unknown key 'modle' (did you mean 'model'?)",
        ],
    ),
    "keys stay secret": (
        GOOD + "llm: {model: m, api_key: 123456789, extra_headers: {X: 987654321}}\nname: {sk-abcdefghij: 1}\n",
        [
            ":11: llm.api_key: needs text, not this value",
            ":11: llm.extra_headers.X: needs text, not this value",
            ":12: name: needs text, not a mapping",
        ],
    ),
    "key reference": (
        GOOD + "llm: {model: m, api_key: '$' }\n",
        [":11: llm.api_key: is not a reference to an environment variable; write ${NAME}"],
    ),
    "batch": (
        GOOD
        + dedent("""\
        batch:
          max-concurrent: 0
          retries: 1.5
          call_timeout: soon
          row-timeout: 0
          grace: -1
          limit: "3"
          max_failures: 0%
          progress: rihc
          quiet: 1
          output: 7
        """),
        [
            ":12: batch.max_concurrent: needs to be a whole number from 1, or 'auto', not 0",
            ":13: batch.retries: needs to be a whole number from 0, not 1.5",
            ":14: batch.call_timeout: needs to be a number above 0, not 'soon'",
            ":15: batch.row_timeout: needs to be a number above 0, not 0",
            ":16: batch.grace: needs to be a number from 0, not -1",
            ":17: batch.limit: needs to be a whole number from 0, not '3'",
            ":18: batch.max_failures: needs to be a whole number of rows from 1, or a share above 0% and up to 100%, "
            "such as '5%', not '0%'",
            ":19: batch.progress: needs to be 'auto', 'rich', 'plain', 'json' or 'none', not 'rihc' "
            "(did you mean 'rich'?)",
            ":20: batch.quiet: needs true or false, not 1",
            ':21: batch.output: needs text, not 7; put it in quotes: "7"',
        ],
    ),
    "a setting in both spellings": (
        GOOD + "batch:\n  max-concurrent: 1\n  max_concurrent: 2\n",
        [":12: batch.max-concurrent: is the same setting as 'max_concurrent' on line 13; keep one of them"],
    ),
    # references
    "unknown agent": (
        GOOD.replace("agent: writer", "agent: wrtier"),
        [":10: tasks.draft.agent: no agent 'wrtier' (did you mean 'writer'?); agents are 'writer'"],
    ),
    "contexts": (
        AGENTS
        + dedent("""\
        tasks:
          plan:
            {description: a, expected_output: b, agent: writer, context: [rewiev]}
          draft:
            {description: a, expected_output: b, agent: writer, context: [plan, plan, draft, review, plam]}
          review:
            {description: a, expected_output: b, agent: writer}
        """),
        [
            ":8: tasks.plan.context[0]: no task 'rewiev' (did you mean 'review'?); no task comes before this one",
            ":10: tasks.draft.context[1]: task 'plan' is in this context twice",
            ":10: tasks.draft.context[2]: a task cannot be its own context",
            ":10: tasks.draft.context[3]: task 'review' comes later; a context is made of earlier tasks",
            ":10: tasks.draft.context[4]: no task 'plam' (did you mean 'plan'?); earlier tasks are 'plan'",
        ],
    ),
    "names taken": (
        AGENTS
        + """\
  "writer ": {role: a, goal: b, backstory: c}
  "": {role: a, goal: b, backstory: c}
tasks:
- {name: a, description: a, expected_output: b, agent: writer}
- {name: b, description: a, expected_output: b, agent: writer}
- {name: a, description: a, expected_output: b, agent: writer}
- {description: a, expected_output: b, agent: writer}
- {name: task_4, description: a, expected_output: b, agent: writer}
- {name: "", description: a, expected_output: b, agent: writer}
""",
        [
            ":6: agents.'writer ': the name 'writer' is taken by the agent on line 2",
            ":7: agents.'': a name must not be empty",
            ":11: tasks[2].name: the name 'a' is taken by the task on line 9",
            ":13: tasks[4].name: the name 'task_4' is taken by the task on line 12",
            ":14: tasks[5].name: must not be empty",
        ],
    ),
    "a place in a merged mapping": (
        "agents:\n  writer: &writer\n    role: 1\n    goal: a\n    backstory: b\n"
        "  editor:\n    <<: *writer\n    goal: 2\n" + TASKS,
        [
            ':3: agents.writer.role: needs text, not 1; put it in quotes: "1"',
            ':3: agents.editor.role: needs text, not 1; put it in quotes: "1"',
            ':8: agents.editor.goal: needs text, not 2; put it in quotes: "2"',
        ],
    ),
    "a long value": (
        GOOD + f"process: {'x' * 100}\n",
        [f":11: process: needs to be 'sequential' or 'hierarchical', not '{'x' * 59}…'"],
    ),
}


@pytest.mark.parametrize(("text", "lines"), CONTENT.values(), ids=CONTENT.keys())
def test_every_fault_is_one_line_with_its_place_and_what_to_do(text: str, lines: list[str]) -> None:
    """All faults of a file come at once, in the order of the file, in plain words."""
    assert message_for(text).splitlines() == ["crew.yaml" + line for line in lines]


BUILT_IN = "'DirectoryReadTool', 'FileReadTool', 'FileWriterTool', 'ScrapeWebsiteTool', 'SerperDevTool'"
NO_TOOL = "is no tool; a tool is a BaseTool, a function with a docstring, or an object with name, description and _run"
IN_WORDS = "write a tool with arguments as one name and a mapping: {FileReadTool: {…: …}}"
TOOLS = {
    "unknown": (
        "SerperTool",
        f"no tool 'SerperTool' (did you mean 'SerperDevTool'?); built in are {BUILT_IN}; "
        "a tool of your own is named as module:attr or file.py:attr",
    ),
    "unknown argument": (
        "FileReadTool: {rot: docs}",
        "FileReadTool has no argument 'rot' (did you mean 'root'?)",
    ),
    "unlike any argument": (
        "shop.py:Search: {zzz: 1}",
        "shop.py:Search has no argument 'zzz'; its arguments are 'name', 'description', 'result_as_answer', "
        "'max_usage_count', 'timeout_s', 'max_result_chars', 'replay', 'share', 'tool_failure_policy', 'url'",
    ),
    "argument of a wrong type": (
        "FileReadTool: {max_chars: many}",
        "FileReadTool: max_chars: Input should be a valid integer, unable to parse string as an integer",
    ),
    "arguments beside the name": ("{name: FileReadTool, root: docs}", IN_WORDS),
    "arguments that are no mapping": ("FileReadTool: docs", IN_WORDS),
    "missing argument": ("shop.py:Needy", "shop.py:Needy: token: Field required"),
    "arguments of a function": ("shop.py:price: {a: 1}", "'shop.py:price' takes no arguments: it is not a class"),
    "not a tool": ("shop.py:NUMBER", f"'shop.py:NUMBER' {NO_TOOL}"),
    "a class of something else": ("shop.py:Record: {sku: a}", f"'shop.py:Record' {NO_TOOL}"),
    "without a docstring": (
        "shop.py:mute",
        "HERE/shop.py:52: tool 'mute' has no docstring; the model is told what the tool does by its first lines",
    ),
    "not in the file": ("shop.py:Serch", "shop.py:Serch: module 'shop' has no 'Serch' (did you mean 'SEARCH'?)"),
    "no file": ("shp.py:price", "shp.py: no such file (did you mean 'shop.py'?)"),
    "no module": ("no_such_module:price", "no module 'no_such_module'; looked in HERE and where Python looks"),
    "neither name nor mapping": (
        "5",
        "needs the name of a tool, or a mapping of one name to the tool's arguments, not 5",
    ),
    "blank": ("''", "must not be empty"),
}


@pytest.mark.parametrize(("entry", "message"), TOOLS.values(), ids=TOOLS.keys())
def test_a_wrong_tool_is_one_fault_with_its_place(entry: str, message: str, tmp_path: Path) -> None:
    """What is wrong with the name, and where it was looked for."""
    Path("shop.py").write_text(SHOP)
    place = "crew.yaml:7: agents.writer.tools[0]: "
    assert message_for(AGENTS + f"    tools:\n    - {entry}\n" + TASKS) == place + message.replace(
        "HERE", str(tmp_path)
    )


def test_the_users_own_error_is_shown_with_their_traceback_alone(tmp_path: Path) -> None:
    """What a module or a constructor raises is theirs to mend."""
    Path("shop.py").write_text(SHOP)
    Path("fails_to_load.py").write_text("import there_is_no_such_module\n")
    assert message_for(AGENTS + "    tools: [fails_to_load.py:x, shop.py:Fails]\n" + TASKS) == dedent(f"""\
        crew.yaml:6: agents.writer.tools[0]: loading fails_to_load.py failed:
        Traceback (most recent call last):
          File "{tmp_path}/fails_to_load.py", line 1, in <module>
            import there_is_no_such_module
        ModuleNotFoundError: No module named 'there_is_no_such_module'
        crew.yaml:6: agents.writer.tools[1]: making the tool shop.py:Fails failed:
        Traceback (most recent call last):
          File "{tmp_path}/shop.py", line 38, in __init__
            raise OSError("no connection")
        OSError: no connection""")


NAMES: dict[str, tuple[str, list[str]]] = {
    "functions": (
        AGENTS + "    step_callback: shop.py:NUMBER\n" + TASKS + "    callback: see\n    callbacks: shop.py:see\n"
        "before_kickoff: 5\nafter_kickoff: [shop.py:sea]\ntask_callback: [a]\n",
        [
            ":6: agents.writer.step_callback: 'shop.py:NUMBER' is of type int; a function is needed here",
            ":12: tasks.draft.callback: needs a function as module:attr or file.py:attr, not 'see'",
            ":13: tasks.draft.callbacks: needs a list, not 'shop.py:see'",
            ":14: before_kickoff: needs a reference module:attr, or a list of them, not 5",
            ":15: after_kickoff[0]: shop.py:sea: module 'shop' has no 'sea' (did you mean 'see'?)",
            ":16: task_callback: needs text, not a list",
        ],
    ),
    "guardrails": (
        AGENTS + "    guardrail: shop.py:NUMBER\n" + TASKS + "    guardrails: [shop.py:se, '', 5]\n",
        [
            ":6: agents.writer.guardrail: 'shop.py:NUMBER' is of type int; a function is needed here",
            ":12: tasks.draft.guardrails[0]: shop.py:se: module 'shop' has no 'se' (did you mean 'see'?)",
            ":12: tasks.draft.guardrails[1]: must not be empty",
            ':12: tasks.draft.guardrails[2]: needs text, not 5; put it in quotes: "5"',
        ],
    ),
    "classes": (
        GOOD + "    output_json: Record\n  two: {description: a, expected_output: b, agent: writer, "
        "output_json: shop.py:Foreign, output_pydantic: shop.py:NUMBER}\n"
        "  three: {description: a, expected_output: b, agent: writer, output_json: {type: object}}\n",
        [
            ":11: tasks.draft.output_json: needs a pydantic class as module:attr or file.py:attr, not 'Record'",
            ":12: tasks.two.output_json: 'shop.py:Foreign' is another class; a pydantic class (BaseModel) is needed "
            "here",
            ":12: tasks.two.output_pydantic: 'shop.py:NUMBER' is of type int; a pydantic class (BaseModel) is needed "
            "here",
            ":13: tasks.three.output_json: needs a pydantic class, module:attr, and this is a mapping; a JSON Schema "
            "goes into output_schema",
        ],
    ),
    "two kinds of output": (
        GOOD + "    output_json: shop.py:Record\n    output_schema: {type: object}\n",
        [":7: tasks.draft: task 'draft' has both output_json and output_schema; keep one of them"],
    ),
    "schemas": (
        AGENTS
        + "tasks:\n"
        + "".join(
            f"  t{i}: {{description: a, expected_output: b, agent: writer, output_schema: {schema}}}\n"
            for i, schema in enumerate(
                ("{type: objct}", "{properties: {a: {minimum: x}}}", "{$ref: '#/$defs/x'}", "none.json", "note.txt")
            )
        )
        + "  t5: {description: a, expected_output: b, agent: writer, output_schema: [a]}\n"
        "  t6: {description: a, expected_output: b, agent: writer, output_schema: bad.json}\n"
        "  t7: {description: a, expected_output: b, agent: writer, output_schema: list.yaml}\n",
        [
            ":7: tasks.t0.output_schema: type: 'objct' is not valid under any of the given schemas",
            ":8: tasks.t1.output_schema: properties.a.minimum: 'x' is not of type 'number'",
            ":9: tasks.t2.output_schema: $ref '#/$defs/x' leads nowhere; only parts of this schema can be referred to",
            ":10: tasks.t3.output_schema: none.json: no such file",
            ":11: tasks.t4.output_schema: 'note.txt' is neither a JSON Schema nor a .json or .yaml file that holds one",
            ":12: tasks.t5.output_schema: needs a JSON Schema, or the path of a file that holds one, not a list",
            ":13: tasks.t6.output_schema: bad.json:1: column 10: not valid JSON: 'objct' is not a JSON value; "
            "texts need double quotes",
            ":14: tasks.t7.output_schema: list.yaml: is a list; a JSON Schema is a mapping with `type` and "
            "`properties`",
        ],
    ),
    "output files": (
        GOOD + "    output_file: ../x\n  two: {description: a, expected_output: b, agent: writer, output_file: out/}\n",
        [
            ":11: tasks.draft.output_file: output_file '../x' leaves its folder; write a path below it",
            ":12: tasks.two.output_file: output_file 'out/' names no file",
        ],
    ),
    "nobody to ask": (
        GOOD + "    human_input: true\n",
        [":11: tasks.draft.human_input: needs a person to answer, and crewrun runs unattended; remove it"],
    ),
    "conditions": (
        GOOD + "    condition: shop.py:see\n  two: {description: a, expected_output: b, agent: writer, "
        "condition: shop.py:see, async_execution: true}\n",
        [
            ":11: tasks.draft.condition: the first task cannot have a condition: the output of the task before it "
            "decides",
            ":12: tasks.two.condition: a task with a condition cannot be async",
        ],
    ),
    "no manager": (
        AGENTS + HIERARCHICAL,
        [":10: process: a hierarchical crew needs manager_llm or manager_agent"],
    ),
    "unknown manager": (
        AGENTS + HIERARCHICAL + "manager_agent: bos\n",
        [":11: manager_agent: no agent 'bos' (did you mean 'boss'?); agents are 'writer', 'boss'"],
    ),
    "a manager who works": (
        AGENTS
        + HIERARCHICAL.replace("Led.}", "Led., tools: [SerperDevTool]}").replace(": writer}", ": boss}")
        + "manager_agent: boss\n",
        [
            ":6: agents.boss.tools: a manager delegates and has no tools; give them to another agent",
            ":9: tasks.title.agent: 'boss' is the manager, who only manages; name another agent or none",
        ],
    ),
    "a manager without all texts": (
        AGENTS + HIERARCHICAL + "manager_agent: {role: Chief, tools: [shop.py:price], max_itr: 3}\n",
        [
            ":11: manager_agent.max_itr: unknown key 'max_itr' (did you mean 'max_iter'?)",
            ":11: manager_agent.tools: a manager delegates and has no tools; give them to another agent",
            ":11: manager_agent.goal: is missing; an agent needs role, goal and backstory",
            ":11: manager_agent.backstory: is missing; an agent needs role, goal and backstory",
        ],
    ),
    "tasks without an agent": (
        AGENTS + "tasks:\n  draft: {description: a, expected_output: b}\n  title: {agent: }\n",
        [
            ":7: tasks.draft.agent: is missing; a task needs description, expected_output and agent",
            ":8: tasks.title.agent: is missing; a task needs description, expected_output and agent",
            ":8: tasks.title.description: is missing; a task needs description, expected_output and agent",
            ":8: tasks.title.expected_output: is missing; a task needs description, expected_output and agent",
        ],
    ),
    "one role for two to whom work is delegated": (
        AGENTS + "    allow_delegation: true\n  other: {role: ' writer ', goal: g, backstory: b}\n" + TASKS,
        [
            ":7: agents.other.role: is the role of agent 'writer' too, and coworkers are picked by their role",
        ],
    ),
}


@pytest.mark.parametrize(("text", "lines"), NAMES.values(), ids=NAMES.keys())
def test_a_name_that_is_wrong_is_one_more_fault_of_the_file(text: str, lines: list[str]) -> None:
    """Found with all others, before anything runs."""
    Path("shop.py").write_text(SHOP)
    Path("bad.json").write_text('{"type": objct}')
    Path("list.yaml").write_text("- a\n")
    assert message_for(text).splitlines() == ["crew.yaml" + line for line in lines]


def test_a_message_lists_at_most_twenty_faults() -> None:
    """A file that is wrong throughout does not fill the screen."""
    lines = message_for(GOOD + "".join(f"zz{i}: 1\n" for i in range(25))).splitlines()
    assert [line.split(":")[1] for line in lines[:20]] == [str(n) for n in range(11, 31)]
    assert lines[20:] == ["crew.yaml: and 5 more problems"]


@pytest.mark.parametrize(
    ("ref", "message"),
    [
        ("nope.yaml", "nope.yaml: no such file"),
        ("crew.yaml/x.yaml", "crew.yaml/x.yaml: cannot be read: Not a directory"),
        ("a\0.yaml", "a\0.yaml: cannot be read: embedded null byte"),
    ],
    ids=["missing", "below a file", "null byte"],
)
def test_what_is_not_a_readable_yaml_file_is_refused(ref: str, message: str) -> None:
    """The message names the reference as the user gave it."""
    Path("crew.yaml").write_text(GOOD)
    with pytest.raises(DefinitionError) as caught:
        load(ref)
    assert str(caught.value) == message


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_a_file_without_permission_is_refused() -> None:
    """The system's reason is given."""
    Path("crew.yaml").write_text(GOOD)
    Path("crew.yaml").chmod(0)
    with pytest.raises(DefinitionError, match=r"^crew\.yaml: cannot be read: Permission denied$"):
        load("crew.yaml")


def test_a_crew_is_found_beside_the_inputs_then_in_the_working_directory() -> None:
    """crew.yaml comes before crew.yml, and a folder of that name is not a crew."""
    inputs = Path("data/topics.jsonl")
    Path("data/crew.yaml").mkdir(parents=True)
    with pytest.raises(UsageError) as caught:
        find_beside(inputs)
    assert (
        str(caught.value)
        == "no crew.yaml in 'data' or the working directory; crewrun init DIR makes one, --crew names another crew"
    )
    with pytest.raises(UsageError) as caught:
        find_beside(None)
    assert (
        str(caught.value)
        == "no crew.yaml in the working directory; crewrun init DIR makes one, --crew names another crew"
    )
    found = []
    for name in ("crew.yml", "crew.yaml", "data/crew.yml"):
        Path(name).write_text(GOOD)
        found.append((find_beside(inputs), find_beside(None)))
    assert found == [
        (Path("crew.yml"), Path("crew.yml")),
        (Path("crew.yaml"), Path("crew.yaml")),
        (Path("data/crew.yml"), Path("crew.yaml")),
    ]


@pytest.mark.parametrize("inner", ["[{}]", "{{<<: [{}]}}"], ids=["lists", "merges"])
def test_an_alias_bomb_is_refused_before_it_goes_off(inner: str) -> None:
    """Nine to the power of twelve values are not written out."""
    bomb = "k0: &k0 {x: 1}\n"
    for i in range(1, 13):
        bomb += f"k{i}: &k{i} {inner.format(', '.join([f'*k{i - 1}'] * 9))}\n"
    started = time.process_time()
    message = message_for(bomb)
    assert message == "crew.yaml: has more than 100,000 values, aliases written out; too many for a crew file"
    assert time.process_time() - started < 10  # written out, it would take days


_yaml_values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text(max_size=8)
    | st.sampled_from(
        ["draft", "writer", "FileReadTool", "json:loads", "json:nope", "nope.py:x", "x.json", "hierarchical"]
    ),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=8,
)
KEYS = (
    "agents tasks writer draft role goal backstory llm model batch context agent inputs additional_params "
    "max-failures stop name tools description expected_output api_key process self FileReadTool guardrails callbacks "
    "condition output_schema output_json output_file manager_agent manager_llm before_kickoff step_callback cache"
)
_keys = st.sampled_from(KEYS.split())


def _spliced(parts: tuple[int, int, str]) -> bytes:
    start, length, text = parts
    return (GOOD[:start] + text + GOOD[start + length :]).encode(errors="surrogatepass")


def _assigned(parts: tuple[list[str], Any]) -> bytes:
    """The good file as JSON, which is YAML, with a value put somewhere into it."""
    import json

    path, value = parts
    fields = {"description": "a", "expected_output": "b", "agent": "writer"}
    data: dict[str, Any] = {
        "agents": {"writer": {"role": "a", "goal": "b", "backstory": "c"}},
        "tasks": {"draft": fields},
    }
    inner = data
    for key in path[:-1]:
        if not isinstance(inner.get(key), dict):
            inner[key] = {}
        inner = inner[key]
    inner[path[-1]] = value
    return json.dumps(data).encode()


@given(
    st.binary(max_size=200)
    | st.text().map(lambda text: text.encode(errors="replace"))
    | st.tuples(st.integers(0, len(GOOD)), st.integers(0, 40), st.text(max_size=20)).map(_spliced)
    | st.tuples(st.lists(_keys, min_size=1, max_size=4), _yaml_values).map(_assigned)
)
@example(b'name: "\\ud800"')
@example(b"a: !<tag:yaml.org,2002:map> x")
@example(b'!!int "1\n2": {? "a\nb"}\nname: !!int "1\\n"')
@example(b'name: {"a\\nb"}')
@example(b"%YAML 9.9\n---\na: 1")
@example(GOOD.encode() + b"llm: {model: x, additional_params: {self: 1}}")
@example(GOOD.encode() + b"batch: {call_timeout: 1" + b"0" * 400 + b"}")
def test_whatever_is_in_the_file_it_is_a_definition_or_a_definition_error(content: bytes) -> None:
    """No other exception leaves `load`, and a message always starts with the file."""
    assert all(line.startswith("crew.yaml") for line in _paths_or_problems(content))


def _paths_or_problems(content: bytes) -> list[str]:
    try:
        return [str(load_text(content).path)]
    except DefinitionError as refused:
        return str(refused).splitlines()


def test_knowledge_is_named_by_a_reference(tmp_path: Path) -> None:
    """A `Knowledge` in Python code, for an agent and for the crew; anything else is a fault on its line."""
    (tmp_path / "shop.py").write_text(
        "from crewrun.knowledge import Knowledge\n"
        "from crewrun.knowledge.source.string_knowledge_source import StringKnowledgeSource\n"
        "\n"
        "house = Knowledge(collection_name='house', sources=[StringKnowledgeSource(content='Ants sleep.')])\n"
        "number = 5\n"
    )
    file = tmp_path / "crew.yaml"
    file.write_text(f"{AGENTS}    knowledge: shop.py:house\n{TASKS}knowledge: shop.py:house\n")
    crew = load(file).crew
    assert [owner.knowledge and owner.knowledge.collection_name for owner in (crew.agents[0], crew)] == ["house"] * 2

    file.write_text(f"{AGENTS}    knowledge: shop.py:number\n{TASKS}")
    with pytest.raises(DefinitionError, match=r"'shop\.py:number' is of type int; a Knowledge is"):
        load(file)
