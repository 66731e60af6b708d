"""Crews written as a class under @CrewBase: what its methods, its YAML files and its subclasses come to."""

import sys
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path
from textwrap import dedent
from typing import Any, ClassVar

import pytest
from pydantic import BaseModel

from crewrun import LLM, Agent, Crew, CrewOutput, CrewrunWarning, DefinitionError, Task, TaskOutput
from crewrun import Agent as BaseAgent
from crewrun.crew.output import AgentOutput, OutputFormat, UsageMetrics
from crewrun.crew.process import Process
from crewrun.crew.steps import AgentAction, AgentFinish
from crewrun.crew.task import ConditionalTask
from crewrun.project import (
    CrewBase,
    after_kickoff,
    agent,
    before_kickoff,
    cache_handler,
    callback,
    crew,
    llm,
    output_json,
    output_pydantic,
    task,
    tool,
)
from crewrun.references import load_file
from crewrun.testing import scripted
from crewrun.tools.base import BaseTool, FunctionTool
from crewrun.tools.file_read import FileReadTool

pytestmark = pytest.mark.anyio

WRITER = {"role": "Writer", "goal": "write", "backstory": "You write.", "llm": "openai/m"}
DRAFT = {"description": "Write about {topic}", "expected_output": "text", "agent": "writer"}


@pytest.fixture(autouse=True)
def _modules_of_this_test(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setattr(sys, "path", list(sys.path))
    before = set(sys.modules)
    yield
    for name in set(sys.modules) - before:
        if not name.startswith("crewrun"):
            del sys.modules[name]


def module(folder: Path, text: str, **configs: str) -> Any:
    """The module with `text` in `folder`, and `config/<name>.yaml` files beside it."""
    (folder / "config").mkdir(parents=True, exist_ok=True)
    for name, content in configs.items():
        (folder / "config" / f"{name}.yaml").write_text(dedent(content))
    path = folder / "project_under_test.py"
    path.write_text(HEAD + dedent(text))
    return load_file(str(path))


HEAD = """\
from crewrun import *
from crewrun.project import *
"""
CLASS = """
@CrewBase
class Research:
    @agent
    def writer(self):
        return Agent(config=self.agents_config["writer"])

    @task
    def draft(self):
        return Task(config=self.tasks_config["draft"])

    @crew
    def crew(self):
        return Crew(agents=self.agents, tasks=self.tasks)
"""
AGENTS = """\
writer:
  role: "{topic} writer"
  goal: write
  backstory: You write.
"""
TASKS = """\
draft:
  description: Write about {topic}
  expected_output: text
  agent: writer
"""


class Words(BaseTool):
    name: str = "words"
    description: str = "Counts words."

    def _run(self, text: str) -> int:
        return len(text.split())


@CrewBase
class Whole:
    """Everything that a crew class may have, typed as CrewAI's template is."""

    agents: list[BaseAgent]
    tasks: list[Task]

    agents_config: ClassVar[Any] = {
        "writer": {**WRITER, "llm": "fast", "tools": ["words", "FileReadTool"], "step_callback": "log_step"},
        "critic": {**WRITER, "role": "Critic", "cache_handler": "cached"},
    }
    tasks_config: ClassVar[Any] = {
        "review": {**DRAFT, "agent": "critic", "context": ["draft"], "output_json": "Judgement", "callback": "log"},
        "draft": {**DRAFT, "tools": ["words"], "output_pydantic": "Text", "callbacks": ["log", "collect"]},
    }

    def __init__(self, model: str = "openai/m") -> None:
        self.model = model  # and no super().__init__()
        self.seen: list[str] = []

    @output_pydantic
    class Text(BaseModel):
        text: str

    @output_json
    class Judgement(BaseModel):
        good: bool

    @llm
    def fast(self) -> LLM:
        return LLM(model=self.model)

    @tool
    def words(self) -> Words:
        return Words()

    @cache_handler
    def cached(self) -> object:
        return object()

    @callback
    def log_step(self, step: Any) -> None:
        self.seen.append(type(step).__name__)

    @callback
    def log(self, output: TaskOutput) -> None:
        self.seen.append(f"log {output.name}")

    @callback
    def collect(self) -> Any:
        return lambda output: self.seen.append(f"collect {output.name}")

    @before_kickoff
    def add_topic(self, inputs: dict[str, Any]) -> dict[str, Any]:
        return {"topic": "tides", **inputs}

    @after_kickoff
    def note(self, output: CrewOutput) -> None:
        self.seen.append(f"after {output.raw}")

    @agent
    def writer(self) -> Agent:
        return Agent(config=self.agents_config["writer"], goal="write well")

    @agent
    def critic(self) -> Agent:
        return Agent(config=self.agents_config["critic"], tools=[Words()])

    @task
    def draft(self) -> Task:
        return Task(config=self.tasks_config["draft"])

    @task
    def review(self) -> Task:
        return Task(config=self.tasks_config["review"])

    @crew
    def crew(self) -> Crew:
        return Crew(agents=self.agents, tasks=self.tasks, process=Process.sequential)


def test_names_in_the_configs_become_what_the_decorated_methods_make() -> None:
    """Models, tools, callbacks, agents, contexts and output classes; what is given in Python wins."""
    whole = Whole("openai/mine")
    made = whole.crew()
    writer, critic = made.agents
    draft, review = made.tasks
    assert (made.name, writer.name, critic.name, draft.name, review.name) == (
        "Whole",
        "writer",
        "critic",
        "draft",
        "review",
    )
    assert (writer.model, writer.goal, writer.step_callback) == (whole.fast(), "write well", whole.log_step)
    assert [type(t) for t in writer.tools] == [Words, FileReadTool]
    assert writer.tools[0] is whole.words() is draft.tools[0]
    assert (draft.agent, draft.context, draft.output_pydantic, draft.output_json) == (writer, None, Whole.Text, None)
    assert (review.agent, review.context, review.output_json, review.callback) == (
        critic,
        [draft],
        Whole.Judgement,
        whole.log,
    )
    assert made.placeholders == {}  # the hook may bring them
    assert draft.placeholders == frozenset({"topic"})


async def test_hooks_and_callbacks_see_the_kickoff() -> None:
    """@before_kickoff fills the inputs, callbacks get each output, @after_kickoff may leave the answer as it is."""
    whole = Whole()
    async with scripted('{"text": "Ebb."}', '{"good": true}') as model:
        output = await whole.crew().akickoff()
    assert output.json_dict == {"good": True}
    assert "Write about tides" in model.requests[0].messages[-1].content
    assert whole.seen == ["AgentFinish", "log draft", "collect draft", "log review", 'after {"good": true}']


def test_a_method_makes_its_object_once_for_each_instance() -> None:
    """An agent that is used twice is one agent, and nothing is shared by instances."""
    one, other = Whole(), Whole()
    assert one.writer() is one.writer() is one.agents[0]
    assert one.crew() is one.crew()
    assert one.agents is one.agents
    assert one.writer() is not other.writer()
    assert one.agents_config is not other.agents_config


def test_configs_are_read_from_beside_the_class(tmp_path: Path) -> None:
    """config/agents.yaml and config/tasks.yaml by themselves; placeholders stay for the kickoff."""
    research = module(tmp_path, CLASS, agents=AGENTS, tasks=TASKS).Research()
    assert research.agents_config["writer"] == {"role": "{topic} writer", "goal": "write", "backstory": "You write."}
    made = research.crew()
    assert made.placeholders == {"topic": "task 'draft'"}
    assert (made.agents[0].role, made.tasks[0].agent) == ("{topic} writer", made.agents[0])


def test_an_entry_is_a_dict_that_the_class_may_change(tmp_path: Path) -> None:
    """As CrewAI's is; and get, items and values give the same entries."""
    research = module(tmp_path, CLASS, agents=AGENTS, tasks=TASKS).Research()
    research.agents_config["writer"]["goal"] = "changed"
    entry = research.agents_config["writer"]
    assert type(entry) is dict
    assert research.writer().goal == "changed"
    assert research.agents_config.get("writer") is entry
    assert research.agents_config.get("nobody") is None
    assert dict(research.agents_config.items()) == {"writer": entry}
    assert list(research.tasks_config.values()) == [{**DRAFT, "agent": research.writer()}]


def test_a_class_that_is_all_python_needs_no_files() -> None:
    """Agents and tasks without `config=`, in the order of definition."""

    @CrewBase
    class Plain:
        @task
        def second(self) -> Task:
            return Task(description="2", expected_output="text", agent=self.b(), name="named")

        @agent
        def b(self) -> Agent:
            return Agent(role="B", goal="g", backstory="b")

        @task
        def first(self) -> Task:
            return Task(description="1", expected_output="text", agent=self.a())

        @agent
        def a(self) -> Agent:
            return Agent(role="A", goal="g", backstory="b")

        @crew
        def crew(self) -> Crew:
            return Crew(agents=self.agents, tasks=self.tasks, name="mine")  # type: ignore[attr-defined]

    made = Plain().crew()
    assert [a.name for a in made.agents] == ["b", "a"]
    assert [t.name for t in made.tasks] == ["named", "first"]
    assert made.name == "mine"


def test_subclasses_and_mixins_bring_their_methods_and_configs() -> None:
    """Base classes first; a subclass is a crew class without the decorator, and may name other files."""

    class Mixin:
        @agent
        def critic(self) -> Agent:
            return Agent(role="Critic", goal="g", backstory="b")

    @CrewBase
    class Base:
        agents_config: ClassVar[Any] = {"writer": WRITER}
        made: str = ""

        def __init_subclass__(cls, made: str = "no", **kwargs: Any) -> None:
            super().__init_subclass__(**kwargs)
            cls.made = made

        @agent
        def writer(self) -> Agent:
            return Agent(config=self.agents_config["writer"])

    class Sub(Mixin, Base, made="yes"):
        agents_config: ClassVar[Any] = {"writer": {**WRITER, "role": "Poet"}}

        def __init__(self) -> None:
            self.mine = True

    @CrewBase
    class Last(Sub):
        @agent
        def writer(self) -> Agent:
            return Agent(config=self.agents_config["writer"], name="the last")

    assert [(a.name, a.role) for a in Base().agents] == [("writer", "Writer")]  # type: ignore[attr-defined]
    assert [(a.name, a.role) for a in Sub().agents] == [("writer", "Poet"), ("critic", "Critic")]  # type: ignore[attr-defined]
    assert [(a.name, a.role) for a in Last().agents] == [("the last", "Poet"), ("critic", "Critic")]  # type: ignore[attr-defined]
    assert (Base.made, Sub.made, Last.made) == ("", "yes", "no")


def test_a_subclass_elsewhere_finds_the_files_of_its_base(tmp_path: Path) -> None:
    """Beside its own file first, then beside those of its bases."""
    base = module(tmp_path / "base", CLASS, agents=AGENTS, tasks=TASKS).Research
    sub: Any = CrewBase(type("Sub", (base,), {}))
    assert sub().writer().role == "{topic} writer"


def test_an_instance_may_choose_its_files(tmp_path: Path) -> None:
    """In `__init__`, as a path or as a dict."""
    text = CLASS.replace(
        "    @agent", "    def __init__(self, given):\n        self.agents_config = given\n\n    @agent", 1
    )
    cls = module(tmp_path, text, agents=AGENTS, others=AGENTS.replace("{topic}", "Other"), tasks=TASKS).Research
    assert cls("config/others.yaml").writer().role == "Other writer"
    assert cls({"writer": WRITER}).writer().role == "Writer"


def test_async_methods_are_awaited() -> None:
    """CrewAI lets them be async, for tools that are fetched."""

    @CrewBase
    class Async:
        @agent
        async def writer(self) -> Agent:
            return Agent(role="W", goal="g", backstory="b")

    assert [a.name for a in Async().agents] == ["writer"]  # type: ignore[attr-defined]


async def test_async_methods_are_awaited_inside_a_running_loop() -> None:
    """In a loop of their own."""
    test_async_methods_are_awaited()


def test_an_unknown_key_in_a_file_warns(tmp_path: Path) -> None:
    """CrewAI drops it without a word."""
    research = module(tmp_path, CLASS, agents=AGENTS + "  rol: x\n", tasks=TASKS).Research()
    with pytest.warns(CrewrunWarning, match=r"^agent: no field 'rol' \(did you mean 'role'\?\); it has no effect$"):
        research.writer()


@pytest.mark.parametrize(
    ("configs", "use", "message"),
    [
        pytest.param(
            {"agents": AGENTS.replace("writer:", "writr:")},
            "writer",
            "config/agents.yaml has no 'writer' (did you mean 'writr'?)",
            id="an entry that is not there",
        ),
        pytest.param(
            {"agents": AGENTS.replace("writer:", "poet:")},
            "writer",
            "config/agents.yaml has no 'writer'; it has 'poet'",
            id="an entry that is not there, nor one like it",
        ),
        pytest.param({}, "writer", "config/agents.yaml has no 'writer': there is no such file", id="no file"),
        pytest.param(
            {"agents": AGENTS + "  tools: [FileReadTol]\n"},
            "writer",
            "config/agents.yaml:5: writer.tools[0]: no tool 'FileReadTol' (did you mean 'FileReadTool'?); ",
            id="a tool that is no method's and not built in",
        ),
        pytest.param(
            {"agents": AGENTS + "  tools: FileReadTool\n"},
            "writer",
            "config/agents.yaml:5: writer.tools: needs a list of names",
            id="tools that are no list",
        ),
        pytest.param(
            {"agents": AGENTS + "  step_callback: log\n"},
            "writer",
            "config/agents.yaml:5: writer.step_callback: no @callback 'log' in Research; it has none",
            id="a callback without a method",
        ),
        pytest.param(
            {"agents": "writer: A writer\n"},
            "writer",
            "config/agents.yaml:1: writer: needs a mapping of fields to values",
            id="an entry that is a text",
        ),
        pytest.param(
            {"agents": "writer:\n\trole: x\n"},
            "writer",
            "config/agents.yaml:2: a tab in the indentation; YAML wants spaces",
            id="no YAML",
        ),
        pytest.param(
            {"agents": AGENTS, "tasks": TASKS.replace("agent: writer", "agent: writr")},
            "draft",
            "config/tasks.yaml:4: draft.agent: no @agent 'writr' in Research (did you mean 'writer'?)",
            id="an agent without a method",
        ),
        pytest.param(
            {"agents": AGENTS, "tasks": TASKS + "  context: [nothing]\n"},
            "draft",
            "config/tasks.yaml:5: draft.context[0]: no @task 'nothing' in Research; it has 'draft'",
            id="a context without a method",
        ),
        pytest.param(
            {"agents": AGENTS, "tasks": TASKS + "  context: [draft]\n"},
            "draft",
            "project_under_test.py:10: @task draft needs itself to be made; break the circle",
            id="a task that is its own context",
        ),
        pytest.param(
            {"agents": AGENTS, "tasks": TASKS + "  output_pydantic: Report\n"},
            "draft",
            "config/tasks.yaml:5: draft.output_pydantic: no @output_pydantic 'Report' in Research; it has none",
            id="an output class that is not marked",
        ),
    ],
)
def test_what_is_wrong_in_a_file_is_told_with_its_place(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, configs: dict[str, str], use: str, message: str
) -> None:
    """File, line and name."""
    monkeypatch.chdir(tmp_path)
    research = module(tmp_path, CLASS, **configs).Research()
    with pytest.raises(DefinitionError) as caught:
        getattr(research, use)()
    assert str(caught.value).startswith(message)
    assert len(str(caught.value).splitlines()) == 1


@pytest.mark.parametrize(
    ("body", "message"),
    [
        pytest.param(
            "@agent\ndef a(self):\n    Agent(role='A', goal='g', backstory='b')",
            "project_under_test.py:6: @agent a returns nothing, not crewrun's Agent",
            id="no return",
        ),
        pytest.param(
            "@crew\ndef a(self):\n    return [1]",
            "project_under_test.py:6: @crew a returns a list, not crewrun's Crew",
            id="no crew",
        ),
        pytest.param(
            "@task\ndef a(self):\n    return self.b()\n@task\ndef b(self):\n    return self.a()",
            "project_under_test.py:6: @task a needs itself to be made; break the circle",
            id="methods that call each other",
        ),
        pytest.param(
            "agents_config = ['a.yaml']\n@agent\ndef a(self):\n    return Agent(config=self.agents_config['a'])",
            "Wrong.agents_config is a path or a dict, not a list",
            id="a config that is neither",
        ),
        pytest.param(
            "agents_config = {'a': {'tools': ['nix']}}\n@agent\ndef a(self):\n    return self.agents_config['a']",
            "Wrong.agents_config: a.tools[0]: no tool 'nix'; ",
            id="a name in a dict",
        ),
        pytest.param(
            "mcp_server_params = [{'host': 'x'}]\n@agent\ndef a(self):\n    return self.get_mcp_tools()",
            "an MCP server has neither command nor url",
            id="MCP",
        ),
    ],
)
def test_what_is_wrong_in_the_class_is_told_with_its_place(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, body: str, message: str
) -> None:
    """The line of the method."""
    monkeypatch.chdir(tmp_path)
    indented = "".join(f"    {line}\n" for line in body.splitlines())
    wrong = module(tmp_path, f"\n@CrewBase\nclass Wrong:\n{indented}").Wrong()
    with pytest.raises(DefinitionError) as caught:
        wrong.a()
    assert str(caught.value).startswith(message)


def test_a_class_without_mcp_servers_has_no_mcp_tools() -> None:
    """As in CrewAI, so that a class may ask whether or not it has any."""
    assert Whole().get_mcp_tools() == []  # type: ignore[attr-defined]  # what @CrewBase adds


def test_the_decorators_are_where_crewai_has_them() -> None:
    """By its modules inside `project` too."""
    annotations, crew_base = (import_module(f"crewrun.project.{name}") for name in ("annotations", "crew_base"))
    assert (crew_base.CrewBase, annotations.crew, annotations.before_kickoff) == (CrewBase, crew, before_kickoff)


def test_contexts_that_go_in_a_circle_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """By the entries themselves, when no method is being called."""
    monkeypatch.chdir(tmp_path)
    tasks = "".join(f"{a}:\n  description: d\n  expected_output: e\n  context: [{b}]\n" for a, b in ("ab", "ba"))
    methods = "".join(
        f"    @task\n    def {a}(self):\n        return Task(config=self.tasks_config[{a!r}])\n" for a in "ab"
    )
    circle = module(tmp_path, f"\n@CrewBase\nclass Circle:\n{methods}", tasks=tasks).Circle()
    with pytest.raises(DefinitionError) as caught:
        circle.tasks_config["a"]
    assert str(caught.value) == "config/tasks.yaml:4: a.context: goes round in a circle: a → b → a"


@pytest.mark.parametrize(
    ("module_name", "name", "value"),
    [
        ("agent", "Agent", Agent),
        ("agents.agent_builder.base_agent", "BaseAgent", Agent),
        ("agents.parser", "AgentAction", AgentAction),
        ("agents.parser", "AgentFinish", AgentFinish),
        ("crew", "Crew", Crew),
        ("crew", "CrewOutput", CrewOutput),
        ("crews", "CrewOutput", CrewOutput),
        ("crews.crew_output", "CrewOutput", CrewOutput),
        ("lite_agent_output", "LiteAgentOutput", AgentOutput),
        ("llm", "LLM", LLM),
        ("process", "Process", Process),
        ("task", "Task", Task),
        ("tasks", "TaskOutput", TaskOutput),
        ("tasks.conditional_task", "ConditionalTask", ConditionalTask),
        ("tasks.output_format", "OutputFormat", OutputFormat),
        ("tasks.task_output", "TaskOutput", TaskOutput),
        ("tools", "BaseTool", BaseTool),
        ("tools.base_tool", "BaseTool", BaseTool),
        ("tools.base_tool", "Tool", FunctionTool),
        ("types.usage_metrics", "UsageMetrics", UsageMetrics),
    ],
)
def test_what_crewai_has_is_found_at_the_same_path(module_name: str, name: str, value: object) -> None:
    """`from crewai.…` becomes `from crewrun.…` and nothing else changes."""
    assert getattr(import_module(f"crewrun.{module_name}"), name) is value


@pytest.mark.parametrize("package", ["crew", "llm"])
def test_a_package_that_also_offers_a_class_says_what_it_has_not(package: str) -> None:
    """As any module does."""
    with pytest.raises(AttributeError, match=f"module 'crewrun.{package}' has no attribute 'Nothing'"):
        import_module(f"crewrun.{package}").Nothing  # noqa: B018
