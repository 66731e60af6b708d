"""CrewAI's files and classes as CrewAI takes them: what it lets pass runs, and is said where something is lost."""

import json
import pickle
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support.command import read_rows, write_rows
from support.forks import crewrun

from crewrun import LLM, Agent, Crew, DefinitionError, Task
from crewrun.definitions import jsonc_source, load, yaml_source
from crewrun.errors import CrewrunWarning, TaskTimedOut
from crewrun.testing import scripted

AGENTS = """\
writer:
  role: Writer
  goal: Write
  backstory: You write.
"""
TASKS = """\
draft:
  description: Write about {topic}
  expected_output: One line
  agent: writer
"""
JSONC: dict[str, Any] = {
    "name": "press",
    "agents": ["writer"],
    "tasks": [{"name": "draft", "description": "Write", "expected_output": "A line", "agent": "writer"}],
}
WRITER = {"role": "Writer", "goal": "Write", "backstory": "You write."}


def put(files: dict[str, str]) -> None:
    """Write files by their paths."""
    for name, text in files.items():
        Path(name).parent.mkdir(parents=True, exist_ok=True)
        Path(name).write_text(text)


def warned(ref: str) -> tuple[Any, list[str]]:
    """The crew of `ref`, and what is said of it."""
    with pytest.warns(CrewrunWarning) as caught:
        target = load(ref).crew
    return target, [str(one.message) for one in caught]


@pytest.fixture(autouse=True)
def _in_a_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def test_a_wrong_crew_is_a_value_error_and_a_slow_task_a_timeout_as_in_crewai() -> None:
    """Both keep their own class, in a constructor, in an assignment and through pickle."""
    agent, nonsense = Agent(role="a", goal="b", backstory="c"), [3]
    for make in (
        lambda: Crew(tasks=[Task(description="a", expected_output="b")]),
        lambda: Agent(role="a", goal="b", backstory="c", tools=[3]),
        lambda: Task(description="a", expected_output="b", output_file="../x"),
        lambda: setattr(agent, "tools", nonsense),
    ):
        with pytest.raises(DefinitionError):
            make()
    assert issubclass(DefinitionError, ValueError)
    for error in (DefinitionError("a"), TaskTimedOut("a")):
        other = pickle.loads(pickle.dumps(error))
        assert (type(other), str(other), other.category) == (type(error), "a", error.category)
        assert isinstance(other, ValueError | TimeoutError)


def test_a_key_that_is_twice_in_a_project_counts_the_last_time() -> None:
    """With a warning that names all lines; two merges of mappings are both taken."""
    put(
        {
            "press/config/agents.yaml": AGENTS + "  goal: Edit\n  goal: Print\n",
            "press/config/tasks.yaml": TASKS + TASKS.replace("One line", "Two lines"),
        }
    )
    crew, said = warned("press")
    assert (crew.agents[0].goal, len(crew.tasks), crew.tasks[0].expected_output) == ("Print", 1, "Two lines")
    assert said == [
        "press/config/agents.yaml:6: writer.goal: this key is on lines 3 and 5 already; the last one counts",
        "press/config/tasks.yaml:5: draft: this key is on line 1 already; the last one counts",
    ]


def test_a_key_that_is_twice_for_a_crew_class_counts_the_last_time() -> None:
    """The class's YAML is read as a folder's."""
    put({"config/agents.yaml": AGENTS + "  goal: Edit\n", "config/tasks.yaml": TASKS, "crew.py": CREW_CLASS})
    crew, said = warned("crew.py:Press")
    assert crew.agents[0].goal == "Edit"
    assert said == ["config/agents.yaml:5: writer.goal: this key is on line 3 already; the last one counts"]


def test_a_key_that_is_twice_in_jsonc_counts_the_last_time() -> None:
    """Also where its values are mappings: of the first one nothing is left."""
    crew = json.dumps(JSONC)[:-1] + ',\n"inputs": {"a": 1, "b": 1},\n"inputs": {"a": 2}}'
    put({"crew.jsonc": crew, "agents/writer.json": json.dumps(WRITER)})
    made, said = warned("crew.jsonc")
    assert made.default_inputs == {"a": 2}
    assert said == ["crew.jsonc:3: inputs: this key is on line 2 already; the last one counts"]


# Objects as lists of pairs, in which a key may be there several times.
Tree = st.recursive(
    st.integers(0, 9), lambda inner: st.lists(st.tuples(st.sampled_from("abc"), inner), max_size=4), max_leaves=12
)


def as_json(tree: Any) -> str:
    """The text of a tree, a pair a line."""
    if isinstance(tree, int):
        return str(tree)
    return "{" + ",\n".join(f'"{key}": {as_json(value)}' for key, value in tree) + "}"


def repeats(tree: Any) -> int:
    """How many keys are there more than once, where that can be seen: not inside of values that do not count."""
    if isinstance(tree, int):
        return 0
    last = dict(tree)
    return sum(map(repeats, last.values())) + sum([key for key, _ in tree].count(key) > 1 for key in last)


@settings(max_examples=40, deadline=None)
@given(st.lists(st.tuples(st.sampled_from("abc"), Tree), min_size=1, max_size=4))
def test_whatever_is_twice_is_read_as_pythons_own_readers_do(tree: Any) -> None:
    """YAML and JSON alike; each key is said once."""
    text = as_json(tree)
    Path("tree.jsonc").write_text(text)
    for source in (yaml_source.parse(text.encode(), "x.yaml"), jsonc_source.read("tree.jsonc")):
        assert source.data == json.loads(text)
        assert len(source.repeated) >= repeats(tree)
        assert len({(problem.path, problem.line) for problem in source.repeated}) == len(source.repeated)


def test_a_key_that_is_twice_in_crew_yaml_is_an_error() -> None:
    """In crewrun's own format nothing is without effect."""
    put({"crew.yaml": f"agents:\n  {AGENTS.strip()}\ntasks: {{}}\nname: a\nname: b\n".replace("\n  ", "\n    ")})
    with pytest.raises(DefinitionError, match=r"crew.yaml:8: name: this key is on line 7 already$"):
        load("crew.yaml")


def test_an_absolute_output_file_is_each_rows_own_in_a_batch(tmp_path: Path) -> None:
    """One warning says so, before the first row; `run` writes where the crew says."""
    put({"config/agents.yaml": AGENTS, "config/tasks.yaml": f"{TASKS}  output_file: {tmp_path}/out/{{topic}}.md\n"})
    write_rows(tmp_path / "in.jsonl", [{"topic": "a/b"}, {"topic": "c"}])
    done = crewrun("batch", "in.jsonl", "-m", "offline", "-q", cwd=tmp_path)
    assert (done.returncode, done.stderr) == (0, "")
    rows = read_rows(tmp_path / "in.results.jsonl")
    folder = "in.results.jsonl.files"
    assert [row["files"] for row in rows] == [
        [f"{folder}/{row['id']}{tmp_path}/out/{row['input']['topic']}.md"] for row in rows
    ]
    assert all((tmp_path / file).is_file() for row in rows for file in row["files"])
    warning = f"warning: output_file '{tmp_path}/out/{{topic}}.md' is absolute, and would be one file for all rows; "
    assert warning in crewrun("plan", "in.jsonl", "-m", "offline", "--fresh", cwd=tmp_path).stdout
    assert crewrun("run", "-i", "topic=a/b", "-m", "offline", cwd=tmp_path).returncode == 0
    assert (tmp_path / "out/a/b.md").is_file()


APP = """\
from crewai import LLM, Agent, Task

class Steady(Agent):
    tone: str = "calm"

class Checked(Task):
    level: int = 1

class Models:
    small = LLM(model="openai/small", temperature=0.5)

class Hooks:
    @staticmethod
    def log(step): pass

boss = Agent(role="Boss", goal="g", backstory="b", llm=Models.small)
nothing = 3
def make(): pass
"""


def put_refs(agent: dict[str, Any], **crew: Any) -> None:
    """A project whose files refer to `lib/app.py`."""
    put(
        {
            "lib/__init__.py": "",
            "lib/app.py": APP,
            "crew.jsonc": json.dumps({**JSONC, **crew}),
            "agents/writer.jsonc": json.dumps({**WRITER, **agent}),
        }
    )


def ref(dotted: str) -> dict[str, str]:
    return {"python": dotted}


def test_json_may_name_python_objects_for_models_managers_and_classes() -> None:
    """By their dotted paths, attributes of classes too."""
    task = {**JSONC["tasks"][0], "type": ref("lib.app.Checked"), "callback": ref("lib.app.Hooks.log")}
    agent = {
        "type": ref("lib.app.Steady"),
        "step_callback": ref("lib.app.Hooks.log"),
        "settings": {"llm": ref("lib.app.Models.small")},
    }
    put_refs(agent, tasks=[task], process="hierarchical", manager_agent=ref("lib.app.boss"))
    crew: Any = load("crew.jsonc").crew
    writer, draft = crew.agents[0], crew.tasks[0]
    assert (type(writer).__name__, writer.tone, writer.step_callback.__name__) == ("Steady", "calm", "log")
    assert (type(draft).__name__, draft.level, draft.agent, draft.callback.__name__) == ("Checked", 1, writer, "log")
    assert (writer.model.model, writer.model.temperature, crew.manager_agent.role) == ("openai/small", 0.5, "Boss")
    put_refs({"llm": {"provider": "azure", "deployment_name": "mine"}}, manager_llm=ref("lib.app.Models.small"))
    crew = load("crew.jsonc").crew
    assert (crew.manager_llm.model, crew.agents[0].model.model) == ("openai/small", "azure/mine")


@pytest.mark.parametrize(
    ("agent", "crew", "message"),
    [
        ({"llm": ref("lib.app.none")}, {}, "writer.jsonc:1: llm: lib.app:none: module 'lib.app' has no 'none'"),
        ({"llm": ref("lib.app.make")}, {}, "writer.jsonc:1: llm: "),
        ({"type": ref("lib.app.Models")}, {}, "'lib.app:Models' is not crewai's Agent or a subclass, as is needed"),
        ({}, {"manager_agent": ref("lib.app.nothing")}, "'lib.app:nothing' is of type int; an agent is needed here"),
        ({}, {"manager_llm": ref("lob.app.x")}, "crew.jsonc:1: manager_llm: no module 'lob.app'"),
    ],
)
def test_a_python_object_that_does_not_fit_has_its_place(agent: Any, crew: Any, message: str) -> None:
    """And what is needed there."""
    put_refs(agent, process="hierarchical", **{"manager_llm": "m", **crew})
    with pytest.raises(DefinitionError) as caught:
        load("crew.jsonc")
    assert message in str(caught.value)


CONFIG: dict[str, Any] = {
    "agents": [{"role": "Writer ", "goal": "Write", "backstory": "You write."}],
    "tasks": [{"description": "Write about {topic}", "expected_output": "A line", "agent": "Writer", "name": "draft"}],
    "process": "sequential",
}


@pytest.mark.parametrize("config", [CONFIG, json.dumps(CONFIG)], ids=["dict", "JSON"])
def test_a_crew_is_made_of_a_config(config: Any) -> None:
    """Its tasks name their agents by the role. Nothing in it is changed, so that it can be used again."""
    for crew in (Crew(config=config), Crew(config=config, agents=[], tasks=[])):
        assert [(task.name, task.agent) for task in crew.tasks] == [("draft", crew.agents[0])]
    assert CONFIG["tasks"][0]["agent"] == "Writer"
    assert Crew(config=None).tasks == Crew(config={}).tasks == []


@pytest.mark.parametrize(
    ("config", "message"),
    [
        ("{", "config is a dict, or the text of a JSON object: Expecting property name"),
        ([1], "config is a mapping of names to values, not a list"),
        ({"agents": CONFIG["agents"]}, "config.tasks: a crew's config has a list of agents and one of tasks"),
        ({**CONFIG, "agents": ["x"]}, r"config.agents\[0\] is a mapping of names to values, not a str"),
        (
            {**CONFIG, "tasks": [{**CONFIG["tasks"][0], "agent": "Witer"}]},
            r"config.tasks\[0\].agent: no agent has the role 'Witer' \(did you mean 'Writer'\?\); roles are 'Writer'",
        ),
    ],
)
def test_a_config_that_makes_no_crew_says_why(config: Any, message: str) -> None:
    """With the place in it."""
    with pytest.raises(DefinitionError, match=message):
        Crew(config=config)


@pytest.mark.anyio
@pytest.mark.parametrize(
    ("named", "file"), [(True, "logs.txt"), ("run", "run.txt"), ("out/run.json", "out/run.json")], ids=str
)
async def test_a_log_of_tasks_grows_from_kickoff_to_kickoff(named: Any, file: str) -> None:
    """Text or JSON, as CrewAI names and fills it."""
    crew = Crew(config=CONFIG, output_log_file=named)
    async with scripted("One.", "Two."):
        for topic in ("ants", "bees"):
            await crew.akickoff({"topic": topic})
    text = Path(file).read_text()
    if file.endswith(".json"):
        entries = json.loads(text)
        assert [set(entry) - {"timestamp"} for entry in entries[:2]] == [
            {"task_name", "task", "agent", "status"},
            {"task_name", "task", "agent", "status", "output"},
        ]
        assert [(e["task"], e["agent"], e["status"], e.get("output")) for e in entries[2:]] == [
            ("Write about bees", "Writer", "started", None),
            ("Write about bees", "Writer", "completed", "Two."),
        ]
    else:
        said = [line.partition(": ")[2] for line in text.splitlines()]
        assert said[3] == (
            'task_name="draft", task="Write about bees", agent="Writer", status="completed", output="Two."'
        )
        assert len(said) == 4


def test_each_row_of_a_batch_has_a_log_of_its_own(tmp_path: Path) -> None:
    """Beside its output files, listed in `files`, wherever the name would lead, and begun anew with the row."""
    text = f"agents:\n  {AGENTS}tasks:\n  {TASKS}llm: offline\noutput_log_file: ../run.json\n"
    indented = text.replace("\n  ", "\n    ").replace("    writer:", "  writer:").replace("    draft:", "  draft:")
    put({"crew.yaml": indented})
    write_rows(tmp_path / "in.jsonl", [{"topic": "a"}, {"topic": "b"}])
    for _ in range(2):
        done = crewrun("batch", "in.jsonl", "-q", "--fresh", cwd=tmp_path)
        assert (done.returncode, done.stderr) == (0, "")
    rows = read_rows(tmp_path / "in.results.jsonl")
    assert [row["files"] for row in rows] == [[f"in.results.jsonl.files/{row['id']}/run.json"] for row in rows]
    assert [len(json.loads((tmp_path / row["files"][0]).read_text())) for row in rows] == [2, 2]


@pytest.mark.anyio
async def test_a_task_knows_how_often_its_guardrail_sent_it_back() -> None:
    """Inside of guardrails and callbacks the count is that of their own row, afterwards that of the last kickoff."""
    seen: list[tuple[str, int]] = []

    def long_enough(output: Any) -> tuple[bool, str]:
        seen.append((output.raw, draft.retry_count))
        return len(output.raw) > 3, output.raw if len(output.raw) > 3 else "too short"

    draft: Task = Task(
        description="d",
        expected_output="e",
        agent=Agent(role="r", goal="g", backstory="b", llm="openai/m"),
        guardrail=long_enough,
        callback=lambda output: seen.append(("done", draft.retry_count)),
    )
    crew = Crew(agents=[draft.agent], tasks=[draft])
    assert draft.retry_count == 0
    async with scripted("a", "ab", "abcd"):
        await crew.akickoff()
    assert (seen, draft.retry_count) == ([("a", 0), ("ab", 1), ("abcd", 2), ("done", 2)], 2)
    async with scripted("long"):
        await crew.akickoff()
    assert (seen[4:], draft.retry_count) == ([("long", 0), ("done", 0)], 0)
    draft.retry_count = 5
    assert draft.retry_count == 5


def test_an_older_projects_spelling_is_understood() -> None:
    """The model's keys on the agent, an agent named by its role, `verbose: 2`, and a key around all entries."""
    agents = "agents:\n" + "".join(f"  {line}\n" for line in AGENTS.splitlines())
    more = "    model: ollama/llama3\n    base_url: http://h:1\n    temperature: 0.2\n    verbose: 2\n    tools: []\n"
    tasks = TASKS.replace("draft:", "- name: draft").replace("agent: writer", "agent: WRITER")
    wrapped = "tasks:\n" + tasks + "  output_file: ''\n"
    put({"press/config/agents.yaml": agents + more, "press/config/tasks.yaml": wrapped})
    crew, said = warned("press")
    (writer,), (draft,) = crew.agents, crew.tasks
    assert (writer.model.model, writer.model.base_url, writer.model.temperature, writer.verbose) == (
        "ollama/llama3",
        "http://h:1",
        0.2,
        True,
    )
    assert (draft.name, draft.agent, draft.output_file) == ("draft", writer, None)
    assert said == [
        "press/config/agents.yaml:6: writer.model: 'model' and 'base_url' and 'temperature' are used for the llm; "
        "CrewAI ignores them"
    ]


def test_a_models_keys_on_an_agent_go_to_the_llm_that_has_none_of_them() -> None:
    """A name or a mapping gets them; an object of its own stays as it is, and they have no effect."""
    with pytest.warns(CrewrunWarning, match="agent: 'temperature' is used for the llm; CrewAI ignores it"):
        agent = Agent(**WRITER, config={"llm": "openai/m", "temperature": 0.1})
    assert agent.model is not None
    assert (agent.model.model, agent.model.temperature) == ("openai/m", 0.1)
    with pytest.warns(CrewrunWarning):
        agent = Agent(**WRITER, llm={"model": "openai/m", "temperature": 0.5}, temperature=0.1, model="x")
    assert agent.model is not None
    assert (agent.model.model, agent.model.temperature) == ("openai/m", 0.5)
    with pytest.warns(CrewrunWarning, match="agent: no field 'model'; it has no effect"):
        agent = Agent(**WRITER, llm=LLM(model="openai/m"), model="x")
    assert agent.model == agent.llm
    with pytest.warns(CrewrunWarning, match="agent: no field 'temperature'"):
        assert Agent(**WRITER, temperature=0.1).model is None


CREW_CLASS = """\
from crewai import Agent, Crew, Task
from crewai.project import CrewBase, agent, crew, task

@CrewBase
class Press:
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
