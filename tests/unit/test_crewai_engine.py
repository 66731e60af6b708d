"""Whose classes `crewai` means: crewrun's in every file of the user's, what is installed with --engine crewai."""

import sys
from pathlib import Path
from textwrap import dedent
from typing import Any

import pytest
from support.command import crewrun, problems, read_rows, topics, write_rows
from support.user_files import in_an_empty_folder, write

from crewrun import Crew, DefinitionError
from crewrun.definitions import load
from crewrun.errors import UsageError
from crewrun.target import CrewTarget, ForeignTarget, PerRowTarget

pytestmark = [pytest.mark.anyio, pytest.mark.usefixtures(in_an_empty_folder.__name__)]

# A CrewAI that is installed. A crew keeps what it was filled with, so a second kickoff of one object gives the first's.
CREWAI = {
    "site-packages/crewai/__init__.py": "from crewai.crew import *\n__version__ = 'installed'\n",
    "site-packages/crewai/tools.py": "class BaseTool:\n    name, description = 'own', 'Their tool.'\n",
    "site-packages/crewai/crew.py": """
        class InternalServerError(Exception):
            __module__ = "openai"
            status_code = 500

        class Output:
            def __init__(self, raw): self.raw = raw

        class Meta(type): ...

        class Flow(metaclass=Meta):
            async def akickoff(self, inputs=None): return Output(f"flow of {inputs['topic']}")

        def CrewBase(cls):
            return Meta(cls.__name__, (cls,), {"is_crew_class": True, "__module__": cls.__module__})

        class Agent: ...
        class Task: ...

        class Crew:
            def __init__(self, text="about {topic}"): self.text, self.tasks = text, [text]

            def copy(self): return Crew(self.text)

            def kickoff(self, inputs=None):
                self.text = self.text.replace("{topic}", inputs["topic"])
                if "down" in self.text:
                    try:
                        raise InternalServerError("no answer")
                    except InternalServerError as failed:
                        raise ValueError("the agent failed") from failed
                if "slow" in self.text:
                    raise TimeoutError("took 5 s")
                return Output(self.text)
        """,
    "site-packages/crewai_tools.py": "from crewai.tools import BaseTool\nclass TheirTool(BaseTool):\n"
    "    def _run(self, text: str) -> str: return 'theirs'\n",
    "site-packages/adapter.py": "import crewai\nfrom crewai import Crew\nfrom crewai.tools import BaseTool\n",
}
MAKE = """
def make(text="about {topic}", tools=()):
    agent = Agent(role="Writer", goal="write", backstory="You write.", tools=list(tools))
    return Crew(agents=[agent], tasks=[Task(description=text, expected_output="text", agent=agent)])
crew = make()
"""
SPELLINGS = [
    "from crewai import Agent, Crew, Task",
    "from crewai import *",
    "import crewai as c\nAgent, Crew, Task = c.Agent, c.Crew, c.Task",
    "import crewai.tools\nAgent, Crew, Task = crewai.Agent, crewai.Crew, crewai.Task",
    "import importlib\nc = importlib.import_module('crewai')\nAgent, Crew, Task = c.Agent, c.Crew, c.Task",
    "c = __import__('crewai')\nAgent, Crew, Task = c.Agent, c.Crew, c.Task",
    "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    from crewai import Knowledge\n"
    "try:\n    from crewai import Agent, Crew, Task\nexcept ImportError:\n    raise SystemExit",
    "from importlib.metadata import version\nimport crewai\nassert version('crewai') == crewai.__version__\n"
    "from crewai import Agent, Crew, Task",
    "def later():\n    from crewai import Agent, Crew, Task\n    return Agent, Crew, Task\nAgent, Crew, Task = later()",
]


@pytest.fixture(autouse=True)
def _forget_crewai(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in sys.modules if name.partition(".")[0] in ("crewai", "crewai_tools", "adapter")]:
        monkeypatch.delitem(sys.modules, name)


def install(monkeypatch: pytest.MonkeyPatch) -> None:
    """Have CrewAI, its tools and a library for it be installed."""
    write(CREWAI)
    monkeypatch.syspath_prepend(str(Path("site-packages").absolute()))


@pytest.mark.parametrize("is_installed", [True, False], ids=["installed", "not installed"])
@pytest.mark.parametrize("spelling", SPELLINGS)
def test_crewai_is_crewrun_however_it_is_imported(
    spelling: str, is_installed: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whether or not CrewAI is installed."""
    if is_installed:
        install(monkeypatch)
    write({"demo.py": f"{spelling}\n{dedent(MAKE)}"})
    assert isinstance(load("demo.py:crew").target, CrewTarget)


@pytest.mark.parametrize(
    ("ref", "files"),
    [
        pytest.param("demo:crew", {"demo.py": "from crewai import Agent, Crew, Task"}, id="a module"),
        pytest.param("a/demo.py:crew", {"a/demo.py": "from above import *", "above.py": ""}, id="a file above"),
        pytest.param("demo.py:crew", {"demo.py": "from far import *", "path/far.py": ""}, id="on PYTHONPATH"),
        pytest.param(
            "demo.py:later",
            {"demo.py": "def later():\n    from far import make\n    return make()", "path/far.py": ""},
            id="in a function",
        ),
    ],
)
def test_crewai_is_crewrun_wherever_the_file_is(
    ref: str, files: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Beside the crew, above it or elsewhere, for whatever form of reference."""
    install(monkeypatch)
    monkeypatch.syspath_prepend(str(Path("path").absolute()))
    text = f"from crewai import Agent, Crew, Task\n{dedent(MAKE)}"
    write({name: body if "far" in body or "above" in body else text for name, body in files.items()})
    if ref.startswith("a/"):
        monkeypatch.syspath_prepend(str(Path().absolute()))
    assert isinstance(load(ref).target, CrewTarget)


def test_what_is_installed_has_the_installed_crewai(monkeypatch: pytest.MonkeyPatch) -> None:
    """Its tools fit as tools; and so it has in the program that loads a crew."""
    install(monkeypatch)
    body = "from crewai import Agent, Crew, Task\nimport adapter\nfrom crewai_tools import TheirTool\n"
    write({"demo.py": f"{body}{dedent(MAKE)}crew = make(tools=[TheirTool()])\n"})
    crew = load("demo.py:crew").crew
    assert [tool.run(text="x") for tool in crew.agents[0].tools] == ["theirs"]
    assert sys.modules["adapter"].Crew.__module__ == "crewai.crew"
    import crewai  # type: ignore[import-not-found]  # the one that is installed

    assert crewai.__version__ == "installed"


def test_what_is_installed_has_crewrun_where_crewai_is_not(monkeypatch: pytest.MonkeyPatch) -> None:
    """Under CrewAI's name; a program that loads no crew has none."""
    install(monkeypatch)
    for file in Path("site-packages/crewai").iterdir():
        file.unlink()
    Path("site-packages/crewai").rmdir()
    with pytest.raises(ModuleNotFoundError):
        import crewai  # noqa: F401
    write({"demo.py": f"from crewai import Agent, Crew, Task\nimport adapter\n{dedent(MAKE)}"})
    assert isinstance(load("demo.py:crew").target, CrewTarget)
    adapter: Any = sys.modules["adapter"]
    assert (adapter.Crew, adapter.BaseTool.__module__) == (Crew, "crewrun.tools.base")


def test_an_installed_crew_is_not_run_past_crewrun(monkeypatch: pytest.MonkeyPatch) -> None:
    """It would call models by itself, whatever -m says."""
    install(monkeypatch)
    write({"site-packages/shop.py": "from crewai import Crew\ncrew = Crew()\ndef make(topic): return Crew()\n"})
    with pytest.raises(
        DefinitionError, match=r"shop:crew gives a crewai\.crew\.Crew, which installed code has made: it"
    ):
        load("shop:crew")


DEMO = """
from crewai import Crew
from crewai.crew import CrewBase, Flow
crew = Crew()
def one(): return crew
def same(topic): return crew
def new(topic): return Crew(f"on {topic}")
class Steps(Flow): pass
@CrewBase
class Project:
    def crew(self): return Crew()
def run(topic): return Crew().kickoff(inputs={"topic": topic})
"""


@pytest.mark.parametrize(
    ("name", "kind", "said"),
    [
        pytest.param("crew", ForeignTarget, ["about a", "about b", "about c"], id="an object"),
        pytest.param("one", ForeignTarget, ["about a", "about b", "about c"], id="one that a function gives"),
        pytest.param("new", PerRowTarget, ["on a", "on b", "on c"], id="a new one"),
        pytest.param("Steps", ForeignTarget, ["flow of a", "flow of b", "flow of c"], id="a flow's class"),
        pytest.param("Project", ForeignTarget, ["about a", "about b", "about c"], id="a crew class"),
        pytest.param("run", PerRowTarget, ["about a", "about b", "about c"], id="one that a function runs"),
    ],
)
async def test_rows_of_the_installed_crewai_are_not_mixed(
    name: str, kind: type, said: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """One and the same object is copied for each row."""
    install(monkeypatch)
    write({"demo.py": DEMO})
    target: Any = load(f"demo.py:{name}", engine="crewai").target
    assert [type(target)] == [kind]
    answers = [await target.akickoff({"topic": topic}) for topic in "abc"]
    assert [answer.raw for answer in answers] == said


async def test_an_object_that_a_row_has_run_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    """It would give the second row the first one's answer."""
    install(monkeypatch)
    write({"demo.py": DEMO})
    target = load("demo.py:same", engine="crewai").target
    assert (await target.akickoff({"topic": "a"})).raw == "about a"
    with pytest.raises(DefinitionError) as caught:
        await target.akickoff({"topic": "b"})
    assert str(caught.value) == (
        "demo.py:same gives an object that another row had, a crewai.crew.Crew, which keeps the state of its run, so "
        "one row would get another's; name its class, or a function that makes a new one each time"
    )


def test_the_command_runs_the_installed_library(tmp_path: Path) -> None:
    """Failures have the category of their cause; flags that it would not keep are refused, and so is another engine."""
    write({**CREWAI, "demo.py": DEMO, "other.py": "from crewai import Crew\ndef run(topic): return Crew()\n"})
    rows = write_rows(tmp_path / "rows.jsonl", [*topics(2), {"topic": "down"}, {"topic": "slow"}])
    env = {"PYTHONPATH": str(tmp_path / "site-packages")}
    command = ("batch", rows, "--crew", "demo.py:crew", "-o", "out.jsonl")
    flags = ("-m", "offline", "--budget", "1", "--rpm", "5", "-j", "auto")
    done = crewrun(*command, "--engine", "crewai", *flags, cwd=tmp_path, env=env)
    refused = "--model, --rpm, --budget, --max-concurrent auto: cannot hold for this target; demo.py:crew is a crewai."
    assert (done.returncode, refused in done.stderr) == (2, True), done.stderr
    done = crewrun(*command, "--engine", "crewai", cwd=tmp_path, env=env)
    assert done.returncode == 3, done.stderr
    assert "a bug" not in done.stderr
    results = sorted(read_rows(tmp_path / "out.jsonl"), key=lambda row: row["index"])
    assert [row["output"] for row in results] == ["about topic 0", "about topic 1", None, None]
    errors = [(row["error"]["category"], row["error"]["http_status"]) for row in results[2:]]
    assert errors == [("server", 500), ("timeout", None)]
    assert problems(results)[2].startswith("crewai/crew.py:31: ValueError: the agent failed (HTTP 500: no answer)")
    done = crewrun("retry", "out.jsonl", cwd=tmp_path, env=env)
    assert (done.returncode, "2 failed" in done.stderr) == (3, True), done.stderr
    done = crewrun("batch", rows, "--crew", "other.py:run", "-o", "out.jsonl", cwd=tmp_path, env=env)
    assert (done.returncode, "by crewai, and by crewrun every row would run again" in done.stderr) == (2, True)


@pytest.mark.parametrize(
    ("ref", "files", "told"),
    [
        pytest.param(
            "demo.py:crew", {"demo.py": ""}, "--engine crewai: CrewAI is not installed here; pip install", id="no"
        ),
        pytest.param(
            "crew.yaml", {"crew.yaml": ""}, "--engine crewai: crew.yaml is a .yaml file, which only", id="yaml"
        ),
        pytest.param(
            ".", {"config/agents.yaml": "", "config/tasks.yaml": ""}, "--engine crewai: . is a project", id="x"
        ),
    ],
)
def test_what_the_installed_library_cannot_run_is_refused(
    ref: str, files: dict[str, str], told: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With what is missing, and the way out."""
    if ref != "demo.py:crew":
        install(monkeypatch)
    write(files)
    with pytest.raises((DefinitionError, UsageError)) as caught:
        load(ref, engine="crewai")
    assert str(caught.value).startswith(told)
