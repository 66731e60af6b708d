"""A folder: which flow, project or script in it is meant, without a word in its pyproject.toml or with one."""

from pathlib import Path
from typing import Any

import pytest
from support.user_files import in_an_empty_folder, write

from crewrun import CrewrunWarning, DefinitionError
from crewrun.definitions import find_beside, load

pytestmark = pytest.mark.usefixtures(in_an_empty_folder.__name__)

FLOW = """
from crewai.flow.flow import Flow, start

class {name}(Flow):
    @start()
    def begin(self):
        return "begun"

def kickoff():
    {name}().kickoff()
"""
AGENTS = "writer:\n  role: {role}\n  goal: g\n  backstory: b\n  llm: offline\n"
TASKS = "draft:\n  description: Write about {topic}\n  expected_output: text\n  agent: writer\n"
CREW_PY = """
from crewai import Agent, Crew, Task
from crewai.project import CrewBase, agent, crew, task

@CrewBase
class {name}:
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
SCRIPT = """
from crewai import Agent, Crew, Task

def build():
    agent = Agent(role="{role}", goal="g", backstory="b", llm="offline")
    return Crew(agents=[agent], tasks=[Task(description="On {{topic}}", expected_output="e", agent=agent)])
"""


def crew_in(base: str, name: str) -> dict[str, str]:
    """A @CrewBase project in `base`, whose agent's role is `name`."""
    return {
        f"{base}/config/agents.yaml": AGENTS.replace("{role}", name),
        f"{base}/config/tasks.yaml": TASKS,
        f"{base}/{name.lower()}.py": CREW_PY.replace("{name}", name),
    }


def found_in(folder: str) -> str:
    """The flow that `folder` is, or the role of the agent in its crew."""
    target: Any = load(folder).target
    return str(target.graph.flow if target.crew is None else target.crew.agents[0].role)


PYPROJECT = '[project]\nname = "my-press"\n[project.scripts]\nkickoff = "my_press.main:kickoff"\n'
SRC = "src/my_press"


@pytest.mark.parametrize(
    "files",
    [
        pytest.param({"main.py": FLOW}, id="main.py"),
        pytest.param({"src/main.py": FLOW}, id="src"),
        pytest.param({f"{SRC}/main.py": FLOW}, id="a package in src"),
        pytest.param({"my_press/main.py": FLOW, "pyproject.toml": "[project]\n"}, id="a package"),
        pytest.param({f"{SRC}/start.py": FLOW, "pyproject.toml": PYPROJECT.replace("main:", "start:")}, id="a script"),
        pytest.param({"main.py": FLOW, "pyproject.toml": "[tool\n"}, id="a pyproject.toml that is no TOML"),
        pytest.param(
            {f"{SRC}/main.py": "", f"{SRC}/flow.py": FLOW, "pyproject.toml": '[tool.crewai]\ntype = "flow"\n'},
            id="the only one elsewhere",
        ),
        pytest.param(
            {
                f"{SRC}/main.py": "def run():\n    from my_press.flow import PressFlow\n    PressFlow().kickoff()\n",
                f"{SRC}/flow.py": FLOW.replace("{name}", "PressFlow"),
            },
            id="imported by main.py",
        ),
        pytest.param(
            {
                f"{SRC}/main.py": FLOW + "class Other(Flow):\n    @start()\n    def x(self): ...\n",
                "pyproject.toml": PYPROJECT,
            },
            id="the one that the script runs",
        ),
        pytest.param({"inner/pyproject.toml": PYPROJECT, "inner/src/my_press/main.py": FLOW}, id="a project inside"),
    ],
)
@pytest.mark.parametrize("crews", [0, 1, 2])  # fmt: skip
def test_a_flow_is_never_replaced_by_a_crew_inside_it(files: dict[str, str], crews: int) -> None:
    """Found by its class in what starts the project, whether its pyproject.toml says so or not."""
    top = "inner/" if "inner/pyproject.toml" in files else ""
    inner = {k: v for i in range(crews) for k, v in crew_in(f"{top}src/my_press/crews/c{i}", f"Crew{i}").items()}
    write({**inner, **{name: text.replace("{name}", "Press") for name, text in files.items()}})
    assert found_in(".") in ("Press", "PressFlow")
    if not top:
        assert find_beside(None) == Path()


@pytest.mark.parametrize(
    "files",
    [
        pytest.param({f"{SRC}/main.py": "from crewai.flow.flow import Flow\n"}, id="mentioned in main.py"),
        pytest.param(
            {f"{SRC}/main.py": FLOW.replace("{name}", "Side"), "pyproject.toml": '[tool.crewai]\ntype = "crew"\n'},
            id="a crew by its pyproject.toml",
        ),
        pytest.param({"examples/main.py": FLOW.replace("{name}", "Example")}, id="a flow in another folder"),
    ],
)
def test_a_crew_project_with_a_flow_somewhere_stays_one(files: dict[str, str]) -> None:
    """What its owner runs is the crew."""
    write({**crew_in(SRC, "Press"), **files})
    assert found_in(".") == "Press"


@pytest.mark.parametrize(
    ("files", "found"),
    [
        pytest.param(
            {f"{SRC}/main.py": "from my_press.crews.b.b import B\n", "pyproject.toml": PYPROJECT}, "B", id="imported"
        ),
        pytest.param({"main.py": "from src.my_press.crews.a.a import A\n"}, "A", id="imported by main.py"),
        pytest.param({**crew_in(SRC, "Own"), "pyproject.toml": PYPROJECT}, "Own", id="named like the project"),
    ],
)
def test_of_several_crews_it_is_the_one_that_the_project_runs(files: dict[str, str], found: str) -> None:
    """By what its script imports, or by its name."""
    write({**crew_in(f"{SRC}/crews/a", "A"), **crew_in(f"{SRC}/crews/b", "B"), **files})
    assert found_in(".") == found


def test_of_several_crew_classes_it_is_the_one_that_main_imports() -> None:
    """Where they share a folder and its config."""
    files = crew_in("src", "One")
    write({**files, "src/other.py": CREW_PY.replace("{name}", "Other"), "src/main.py": "from one import One\n"})
    assert found_in(".") == "One"


def test_several_crews_that_are_alike_are_listed() -> None:
    """With the folders to name."""
    write({**crew_in("a", "A"), **crew_in("b", "B")})
    with pytest.raises(DefinitionError) as caught:
        load(".")
    assert str(caught.value) == ".: has 2 CrewAI projects in it: 'a', 'b'; name one of them"


@pytest.mark.parametrize(
    "files",
    [
        pytest.param({"anything.py": SCRIPT}, id="the only file"),
        pytest.param({"main.py": SCRIPT, "crew.py": SCRIPT.replace("{role}", "Other")}, id="main.py"),
        pytest.param({"src/app.py": SCRIPT}, id="in src"),
        pytest.param({f"{SRC}/go.py": SCRIPT, "tests/test_x.py": "x = 1\n"}, id="in a package in src"),
        pytest.param({f"{SRC}/b.py": SCRIPT, f"{SRC}/main.py": SCRIPT.replace("{role}", "Other"),
                      "pyproject.toml": PYPROJECT.replace("main:", "b:")}, id="a script of the project"),
        pytest.param(
            {"config/agents.yaml": AGENTS, "config/tasks.yaml": "draft:\n  description: d\n  expected_output: e\n",
             "run.py": SCRIPT},
            id="what makes a crew of YAML that is none alone",
        ),
        pytest.param(
            {"config/agents.yaml": AGENTS, "config/tasks.yaml": TASKS, "crew.py": SCRIPT}, id="a bare crew.py"
        ),
        pytest.param(
            {"config/agents.yaml": AGENTS, "config/tasks.yaml": TASKS, "crew.py": "x = 1\n", "main.py": SCRIPT},
            id="a main.py beside a crew.py with nothing",
        ),
    ],
)  # fmt: skip
def test_a_folder_without_a_project_is_its_script(files: dict[str, str]) -> None:
    """The one file that makes or runs a crew, or the one with the name of what is run."""
    write({name: text.replace("{role}", "Mine").replace("{{", "{").replace("}}", "}") for name, text in files.items()})
    assert found_in(".") == "Mine"
    assert find_beside(None) == Path()


@pytest.mark.parametrize(
    ("files", "found"),
    [
        pytest.param({"data/config/agents.yaml": "", "data/config/tasks.yaml": ""}, "data", id="project"),
        pytest.param({"data/src/press/crew.py": "@CrewBase\nclass Press: pass\n"}, "data", id="project in src"),
        pytest.param({"data/main.py": FLOW.replace("{name}", "Press")}, "data", id="flow"),
        pytest.param({"data/any.py": SCRIPT}, "data", id="script"),
        pytest.param({"data/other/any.py": SCRIPT}, "crew.yaml", id="script in a folder below"),
        pytest.param({}, "crew.yaml", id="nothing"),
    ],
)
def test_any_crew_next_to_the_inputs_comes_before_the_working_directory(files: dict[str, str], found: str) -> None:
    """Also before a crew file there. A script deeper down is not next to them."""
    write({**files, "crew.yaml": ""})
    assert str(find_beside(Path("data/rows.jsonl"))) == found


def test_several_scripts_are_listed() -> None:
    """As what --crew takes."""
    write({"a.py": SCRIPT, "b.py": SCRIPT})
    with pytest.raises(DefinitionError) as caught:
        load(".")
    assert str(caught.value) == (
        ".: several files in it make or run a crew; say which is meant: --crew a.py, --crew b.py"
    )


def test_a_script_in_a_folder_stops_like_any_other() -> None:
    """With the warning that says where."""
    write({"main.py": SCRIPT.replace("{role}", "Mine").replace("{{topic}}", "{topic}") + "build().kickoff()\n"})
    with pytest.warns(CrewrunWarning, match=r"main\.py:7: loading stopped at kickoff\(\)"):
        assert found_in(".") == "Mine"
