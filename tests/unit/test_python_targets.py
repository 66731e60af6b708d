"""Targets in Python, by `module:attr`, by `file.py:attr` and as a CrewAI project: our crews, others', whatever runs."""

import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from textwrap import dedent
from typing import Any

import anyio
import pytest
from support.command import parse_rows, problems, read_rows, topics, write_rows
from support.forks import crewrun
from support.mock_process import MockProcess

from crewrun import CrewrunWarning, DefinitionError
from crewrun.definitions import find_beside, load
from crewrun.llm.gateway import Gateway
from crewrun.target import CrewTarget, ForeignTarget, Target, value_of
from crewrun.testing import scripted

pytestmark = pytest.mark.anyio

CREW = """\
from crewrun import Agent, Crew, Task

def make(role="Writer"):
    agent = Agent(role=role, goal="write", backstory="You write.", llm="offline")
    return Crew(agents=[agent], tasks=[Task(description="Write about {topic}", expected_output="text", agent=agent)])

crew = make()
"""
AGENTS = """\
writer:
  role: Writer
  goal: write
  backstory: You write.
  llm: fast
  tools: [counter]
"""
TASKS = """\
draft:
  description: Write about {topic} in {year}
  expected_output: text
  agent: writer
"""
TOOL = """\
import crewai.tools
from typing import Type
from pydantic import BaseModel

class CounterInput(BaseModel):
    text: str

class Counter(crewai.tools.BaseTool):
    name: str = "counter"
    description: str = "Counts words."
    args_schema: Type[BaseModel] = CounterInput

    def _run(self, text: str) -> str:
        from crewai import __version__
        return __version__
"""
CREW_PY = """\
from typing import List

from crewai import Agent, Crew, LLM, Process, Task
from crewai.agents.agent_builder.base_agent import BaseAgent
from crewai.project import CrewBase, agent, before_kickoff, crew, llm, task, tool
from crewai_tools import FileReadTool as Reader
from .tools.counter import Counter

print("crew.py is imported")

@CrewBase
class Research():
    agents: List[BaseAgent]
    tasks: List[Task]

    @llm
    def fast(self):
        return LLM(model="offline")

    @tool
    def counter(self):
        return Counter()

    @before_kickoff
    def add_year(self, inputs):
        inputs["year"] = 2026
        return inputs

    @agent
    def writer(self) -> Agent:
        return Agent(config=self.agents_config["writer"], verbose=True)

    @task
    def draft(self) -> Task:
        return Task(config=self.tasks_config["draft"], tools=[Reader(), self.counter()])

    @crew
    def crew(self) -> Crew:
        return Crew(agents=self.agents, tasks=self.tasks, process=Process.sequential, verbose=True)
"""


@pytest.fixture(autouse=True)
def _in_an_empty_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """And what tests import is forgotten: their modules have the same names."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    monkeypatch.setattr(sys, "meta_path", list(sys.meta_path))
    forget(tmp_path.parent)
    yield
    forget(tmp_path.parent)


def forget(folder: Path) -> None:
    def is_below(module: Any) -> bool:
        places = [getattr(module, "__file__", None) or "", *getattr(module, "__path__", ())]
        return any(place.startswith(f"{folder}/") for place in places)

    for name in [name for name, module in list(sys.modules.items()) if is_below(module)]:
        del sys.modules[name]
    for name in [name for name in sys.modules if name.partition(".")[0] == "crewai"]:
        del sys.modules[name]  # crewrun's under that name, for installed code that an earlier test has run


def write(files: dict[str, str]) -> None:
    for name, text in files.items():
        path = Path(name)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)


def target(text: str, attr: str = "target", engine: str = "crewrun") -> Target:
    """What `attr` is in a file with `text`."""
    write({"demo.py": dedent(text)})
    found: Target = load(f"demo.py:{attr}", engine=engine).target
    return found


def message_for(ref: str, engine: str = "crewrun", **files: str) -> str:
    write({name.replace("__", "/") + ".py": dedent(text) for name, text in files.items()})
    with pytest.raises(DefinitionError) as caught:
        load(ref, engine=engine)
    return str(caught.value)


def project(base: str = "src/research", crew_py: str = CREW_PY) -> dict[str, str]:
    return {
        f"{base}/crew.py": crew_py,
        f"{base}/__init__.py": "",
        f"{base}/tools/__init__.py": "",
        f"{base}/tools/counter.py": TOOL,
        f"{base}/config/agents.yaml": AGENTS,
        f"{base}/config/tasks.yaml": TASKS,
    }


# A CrewAI that is installed: its crews keep what they were filled with, so two kickoffs of one object mix.
CREWAI = {
    "site-packages/crewai/__init__.py": "from crewai.crew import Crew\n",
    "site-packages/crewai/crew.py": dedent("""\
        import asyncio

        class Output:
            def __init__(self, raw):
                self.raw = raw
                self.token_usage = {"total_tokens": 7}

        class Crew:
            made = 0

            def __init__(self, text, stream=False):
                self.text, self.stream, self.tasks = text, stream, [text]
                self.before_kickoff_callbacks = []
                Crew.made += 1

            def fetch_inputs(self):
                return {"topic", '"a": 1'}

            def copy(self):
                return Crew(self.text, self.stream)

            async def akickoff(self, inputs=None):
                if self.stream:
                    return iter(())
                self.text = self.text.replace("{topic}", inputs["topic"])
                await asyncio.sleep(0)
                return Output(self.text)

        class Flow:
            async def akickoff(self, inputs=None):
                return inputs["topic"]
        """),
}


async def gathered(found: Target, count: int) -> list[Any]:
    """The results of `count` kickoffs at once, in order."""
    results: dict[int, Any] = {}

    async def run(i: int) -> None:
        results[i] = await found.akickoff({"topic": f"topic {i}"})

    async with anyio.create_task_group() as group:
        for i in range(count):
            group.start_soon(run, i)
    return [results[i] for i in range(count)]


@pytest.mark.parametrize(
    "attr",
    [
        "crew",
        "make",
        "later",
        "Holder.crew",
        "Holder().make",
        "Project",
        "project",
        "make_project",
    ],
)
async def test_our_own_crew_is_found_in_whatever_holds_it(attr: str) -> None:
    """A crew, a function or async function that returns one, a @CrewBase class, its instance, a function of that."""
    found = target(
        CREW
        + dedent("""
        from crewrun.project import CrewBase, crew as a_crew

        async def later():
            return make()

        class Holder:
            crew = crew

            def make(self):
                return make()

        holder = Holder()

        @CrewBase
        class Project:
            @a_crew
            def crew(self):
                return make()

        project = Project()

        def make_project():
            return Project()
        """),
        attr.replace("Holder()", "holder"),
    )
    assert isinstance(found, CrewTarget)
    assert found.placeholders == {"topic": "task 1"}


@pytest.mark.parametrize(
    ("ref", "files"),
    [
        pytest.param("demo:crew", {"demo.py": CREW}, id="a module in the working directory"),
        pytest.param("pkg.demo:crew", {"pkg/demo.py": CREW}, id="a module in a package"),
        pytest.param("demo.py:crew", {"demo.py": CREW}, id="a file"),
        pytest.param("a/b/my-crew.py:crew", {"a/b/my-crew.py": CREW}, id="a file whose name is no module's"),
        pytest.param(
            "pkg/demo.py:crew",
            {"pkg/__init__.py": "", "pkg/demo.py": "from .made import crew", "pkg/made.py": CREW},
            id="a file in a package, with relative imports",
        ),
        pytest.param(
            "a/demo.py:crew", {"a/demo.py": "from made import crew", "a/made.py": CREW}, id="a file beside another"
        ),
        pytest.param("json.py:crew", {"json.py": CREW}, id="a file that is called as a loaded module is"),
        pytest.param("yaml/demo.py:crew", {"yaml/demo.py": CREW, "yaml/__init__.py": ""}, id="a folder likewise"),
    ],
)
async def test_a_reference_is_a_module_or_a_file(ref: str, files: dict[str, str]) -> None:
    """Looked for from the working directory on; a file wins over a module of its name."""
    write(files)
    found = load(ref)
    assert (type(found.target), found.batch, found.path, found.kind) == (
        CrewTarget,
        {},
        Path(ref.partition(":")[0]),
        "Python",
    )


def test_a_file_outside_the_working_directory_is_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """By a relative or an absolute path; what is beside it is imported from there, and it is loaded once."""
    write({"other/demo.py": "from made import crew", "other/made.py": CREW, "here/x": ""})
    monkeypatch.chdir("here")
    assert load("../other/demo.py:crew").crew is load(f"{tmp_path}/other/demo.py:crew").crew


async def test_a_foreign_target_runs_by_the_best_of_its_kickoffs() -> None:
    """akickoff, else kickoff_async, else kickoff; each gets inputs of its own, by keyword."""
    text = """
        class Base:
            def __getattr__(self, name):
                raise AttributeError(name)
        class A(Base):
            async def akickoff(self, inputs): return self.say("akickoff", inputs)
            async def kickoff_async(self, inputs): return self.say("kickoff_async", inputs)
            def kickoff(self, inputs): return self.say("kickoff", inputs)
            def say(self, name, inputs):
                inputs["seen"]["by"] = name
                return name
        class B(A):
            akickoff = None
        class C(B):
            kickoff_async = None
        class D:
            def akickoff(self, *, inputs=None):
                async def run(): return "awaited"
                return run()
        a, b, c, d = A(), B(), C(), D()
        """
    inputs: dict[str, Any] = {"seen": {}}
    outputs = [await target(text, name).akickoff(inputs) for name in "abcd"]
    assert outputs == ["akickoff", "kickoff_async", "kickoff", "awaited"]
    assert inputs == {"seen": {}}


async def test_sync_kickoffs_run_at_the_same_time() -> None:
    """Each in a thread: these wait for one another."""
    found = target("""
        import threading
        together = threading.Barrier(3, timeout=10)
        class Sync:
            def kickoff(self, inputs):
                together.wait()
                return threading.current_thread() is threading.main_thread()
        target = Sync()
        """)
    assert await gathered(found, 3) == [False, False, False]
    assert threading.current_thread() is threading.main_thread()


@pytest.mark.parametrize(
    ("expression", "value"),
    [
        pytest.param("'text'", "text", id="a text"),
        pytest.param("Output(raw='text')", "text", id="an output with raw"),
        pytest.param("Output(raw='{}', json_dict={'n': 1})", {"n": 1}, id="an output with json_dict"),
        pytest.param(
            "Output(raw='r', json_dict={}, pydantic=Report(day=date(2026, 1, 2)))",
            {"day": "2026-01-02"},
            id="an output with pydantic",
        ),
        pytest.param("Output(raw='r', json_dict=None, pydantic=None)", "r", id="an output with empty fields"),
        pytest.param("{'day': date(2026, 1, 2)}", {"day": "2026-01-02"}, id="data"),
        pytest.param("[Output(raw='a'), {'b': Output(raw='c')}]", ["a", {"b": "c"}], id="outputs in data"),
        pytest.param("Strange()", "strange", id="an object"),
    ],
)
async def test_what_a_kickoff_returns_becomes_a_json_value(expression: str, value: Any) -> None:
    """pydantic, json_dict, raw, else the object itself."""
    output = await target(f"""
        from datetime import date
        from types import SimpleNamespace as Output
        from pydantic import BaseModel
        class Report(BaseModel):
            day: date
        class Strange:
            __slots__ = ()
            def __str__(self): return "strange"
        class Any:
            async def akickoff(self, inputs): return {expression}
        target = Any()
        """).akickoff({})
    assert value_of(output) == value


async def test_a_foreign_crew_of_a_factory_is_made_for_each_row() -> None:
    """By a function, an async one, a class, or a function that makes a project; sync ones off the loop."""
    found = [
        target(
            """
            class Once:
                used = False
                def kickoff(self, inputs):
                    assert not self.used
                    self.used = True
                    return inputs["topic"]
            class Project:
                is_crew_class = True
                def crew(self): return Once()
            def make(): return Once()
            async def later(): return Once()
            def make_project(): return Project()
            """,
            attr,
        )
        for attr in ("make", "later", "Once", "make_project")
    ]
    outputs = [await gathered(each, 3) for each in found]
    assert outputs == [["topic 0", "topic 1", "topic 2"]] * 4


async def test_a_crew_of_crewai_is_copied_for_each_row(monkeypatch: pytest.MonkeyPatch) -> None:
    """One object of theirs must not run twice at once; with that engine `crewai` means what is installed."""
    write(CREWAI)
    monkeypatch.syspath_prepend("site-packages")
    text = """
        from crewai import Crew
        from crewai.crew import Flow
        target = Crew("about {topic}")
        streaming = Crew("about {topic}", stream=True)
        hooked = Crew("about {topic}")
        hooked.before_kickoff_callbacks = [print]
        flow = Flow()
        """
    found = target(text, engine="crewai")
    assert isinstance(found, ForeignTarget)
    assert (found.placeholders, found.models(Gateway()), found.uncounted_reason) == (
        {"topic": "the crew"},
        (),
        "demo.py:target is a crewai.crew.Crew: crewrun does not count the calls, tokens and cost of its own",
    )
    outputs = await gathered(found, 3)
    assert [output.value for output in outputs] == ["about topic 0", "about topic 1", "about topic 2"]
    assert outputs[0].token_usage is None  # theirs is the sum over all copies
    assert (await gathered(target(text, "streaming", "crewai"), 1))[0].value == "about topic 0"
    assert target(text, "hooked", "crewai").placeholders == {}
    assert [output.value for output in await gathered(target(text, "Flow", "crewai"), 2)] == ["topic 0", "topic 1"]
    assert message_for("demo.py:flow", "crewai") == (
        "demo.py:flow is a crewai.crew.Flow, which keeps the state of its run, so one row would get another's; "
        "name its class, or a function that makes a new one each time"
    )


@pytest.mark.parametrize(
    ("ref", "files"),
    [
        pytest.param(".", project(), id="src with a package"),
        pytest.param(".", {k: v for k, v in project().items() if "__init__" not in k}, id="src without __init__ files"),
        pytest.param(".", {**project(), "src/__init__.py": ""}, id="src as a package"),
        pytest.param(".", project("research"), id="a package in the root"),
        pytest.param("src/research", project(), id="the package's own folder"),
        pytest.param(
            ".",
            project(crew_py=CREW_PY.replace("from .tools.counter", "from research.tools.counter")),
            id="imports that start at the package",
        ),
        pytest.param(
            ".",
            project(crew_py=CREW_PY.replace("from .tools.counter", "from src.research.tools.counter")),
            id="imports that start at src",
        ),
        pytest.param(
            ".",
            project(crew_py=CREW_PY.replace("from .tools.counter", "from tools.counter")),
            id="imports that start at crew.py",
        ),
        pytest.param(
            "flat",
            {
                k.removeprefix("src/research/").join(["flat/", ""]): v
                for k, v in project(crew_py=CREW_PY.replace("from .tools", "from tools")).items()
                if k != "src/research/__init__.py"
            },
            id="no package at all",
        ),
    ],
)
async def test_a_crewai_project_runs_as_it_is(
    ref: str, files: dict[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """`crewai` in all its files means crewrun, `crewai_tools` crewrun's tools, wherever its imports start."""
    monkeypatch.setattr(sys, "dont_write_bytecode", False)
    write(files)
    loaded = load(ref)
    assert (loaded.kind, loaded.path) == ("CrewAI project", Path(ref))
    crew = loaded.crew
    async with scripted("Ebb.") as model:
        output = await crew.akickoff({"topic": "tides"})
    assert output.raw == "Ebb."
    assert "Write about tides in 2026" in model.requests[0].messages[-1].content
    assert [spec.name for spec in model.requests[0].tools] == ["read_a_file_s_content", "counter"]
    import crewrun as package

    assert crew.agents[0].tools[0].run(text="x") == package.__version__
    compiled = [file.parent.parent / f"{file.name.partition('.')[0]}.py" for file in tmp_path.rglob("*.pyc")]
    # Python itself would find crewrun's imports there.
    assert [file for file in compiled if "crewai" in file.read_text()] == []


async def test_a_project_means_crewrun_where_crewai_is_installed_too(monkeypatch: pytest.MonkeyPatch) -> None:
    """And a package that is installed inside the project's folder keeps its own crewai."""
    write(project() | CREWAI)
    write({"site-packages/crewai_tools.py": "from crewai import Crew as FileReadTool\nfrom demo_tool import it\n"})
    write({"site-packages/demo_tool.py": "import crewai\nit = crewai.Crew\n"})
    monkeypatch.syspath_prepend("site-packages")
    write({"src/research/crew.py": CREW_PY.replace("tools=[Reader(), self.counter()]", "name=Reader.__module__")})
    crew = load(".").crew
    assert crew.tasks[0].name == "crewai.crew"


def test_crewai_in_a_file_means_crewrun_where_it_is_not_installed() -> None:
    """In all ways to import it, also inside functions; other names stay."""
    write({"crewai_things.py": "here = True"})
    found = target(
        """
        import crewai
        import crewai as c
        import crewai.tools, os
        import crewai.tools.base_tool as base
        import crewai_tools
        from crewai_tools import FileReadTool
        import crewai_things

        def target():
            from crewai import Agent, Task
            assert c is crewai and crewai.tools.BaseTool is base.BaseTool and crewai_tools is crewai.tools
            assert crewai_things.here and os.path
            agent = Agent(role="r", goal="g", backstory="b", tools=[FileReadTool()])
            return crewai.Crew(agents=[agent], tasks=[Task(description="d", expected_output="e", agent=agent)])
        """
    )
    assert isinstance(found, CrewTarget)


IDLE = """
from pydantic import BaseModel
from crewai import Knowledge, Memory as Recall
import crewai.memory
from crewai.telemetry import Telemetry, telemetry
from crewai.knowledge.source.base_knowledge_source import BaseKnowledgeSource
from crewai.utilities import I18N, Logger
from crewai.utilities.exceptions.context_window_exceeding_exception import LLMContextLengthExceededException
from crewai.utilities.printer import Printer

class State(BaseModel):
    memory: Recall | None = None

class Quiet(Telemetry):
    def send(self, data):
        raise AssertionError

class Site(BaseKnowledgeSource):
    url: str

def see(source, event):
    return "seen"

for _ in range(2):
    heard = telemetry.on("search")(see)
    Quiet()
with telemetry.muted():
    recall = State(memory=Recall()).memory
recalled = list(recall.search("x", limit=3)), f"{recall.search('y')}", bool(recall)
site = Site(url="u")
storage = crewai.memory.storage.Storage
try:
    raise LLMContextLengthExceededException("long")
except LLMContextLengthExceededException as long:
    told = str(long)

from crewai import Agent, Crew, Task
agent = Agent(role="r", goal="g", backstory="b", memory=recall)
target = Crew(agents=[agent], tasks=[Task(description="d", expected_output="e", agent=agent)])
done = heard(1, 2), recalled, site.url, told
"""


def test_what_has_no_effect_is_imported_and_warned_of_where_it_is_used() -> None:
    """Once for each imported name, with the user's line. An import alone changes nothing, so it says nothing."""
    with pytest.warns(CrewrunWarning) as caught:
        found = target(IDLE)
    telemetry = "crewrun sends no telemetry"
    assert [str(warning.message) for warning in caught] == [
        f"demo.py:25: telemetry has no effect: {telemetry}",
        f"demo.py:26: Telemetry has no effect: {telemetry}",
        "demo.py:28: Memory has no effect: crewrun has no memory",
        "demo.py:31: storage has no effect: crewrun has no memory",
    ]
    assert isinstance(found, CrewTarget)
    assert sys.modules["demo"].done == ("seen", ([], "", False), "u", "long")


def test_what_has_no_effect_is_an_error_with_strict(tmp_path: Path) -> None:
    """As any other warning of a crew; without it the rows run."""
    write({"demo.py": "from crewai.memory import LongTermMemory\n" + CREW + "LongTermMemory(path='x')\n"})
    rows = write_rows(tmp_path / "rows.jsonl", topics(2))
    told = f"demo.py:{len(CREW.splitlines()) + 2}: LongTermMemory has no effect: crewrun has no memory\n"
    done = crewrun("batch", rows, "--crew", "demo.py:crew", "-o", "-", "-m", "offline", cwd=tmp_path)
    assert (done.returncode, done.stderr.partition("\n")[0] + "\n") == (0, f"warning: {told}")
    done = crewrun("batch", rows, "--crew", "demo.py:crew", "-o", "-", "-m", "offline", "--strict", cwd=tmp_path)
    assert (done.returncode, done.stdout, done.stderr) == (2, "", f"crewrun: {told}")


@pytest.mark.parametrize(
    ("body", "message"),
    [
        pytest.param(
            "from crewai import Knowledge, RuntimeState",
            "crewrun has no 'RuntimeState' in this version; take it out",
            id="a class",
        ),
        pytest.param(
            "from crewai import Agnt", "crewrun has no 'Agnt' (did you mean 'Agent'?) in this version", id="a slip"
        ),
        pytest.param(
            "from crewai.utilities.converter import X",
            "there is no module 'crewrun.utilities.converter' in this version of crewrun; remove its import",
            id="a module",
        ),
        pytest.param(
            "from crewai.llms.providers.openai.completion import OpenAICompletion",
            "crewrun has no crewai.llms.providers: it calls providers itself; "
            "write LLM(model='provider/model'), or a BaseLLM of your own",
            id="a class whose module is refused",
        ),
        pytest.param(
            "from crewai.flow import human_feedback",
            "crewrun has no crewai.flow.human_feedback: it runs unattended; take @human_feedback off the method",
            id="a decorator that asks somebody",
        ),
        pytest.param(
            "from crewai.mcp.client import MCPClient",
            "crewrun has no crewai.mcp.client: it opens the sessions with MCP servers itself; name the servers in mcps",
            id="a part of a module that is refused",
        ),
        pytest.param(
            "from crewai_tools import PDFSearchTool",
            "crewrun has no tool 'PDFSearchTool'; install crewai-tools for CrewAI's own, or take it out; crewrun has ",
            id="a tool",
        ),
        pytest.param(
            "from crewrun import Agent\nAgent(role='x')",
            "Agent: goal: Field required; backstory: Field required",
            id="fields that are missing",
        ),
        pytest.param(
            "from crewrun import Crew, Task\nCrew(tasks=[Task(description='d', expected_output='e')])",
            "task 'd' has no agent; a sequential crew needs one for every task",
            id="a crew that cannot run",
        ),
        pytest.param(
            "from crewrun.project import CrewBase\n"
            "x = CrewBase(type('X', (), {'agents_config': 'no'}))\n"
            "x().agents_config['w']",
            "{base}no has no 'w': there is no such file",
            id="an entry that is not there",
        ),
    ],
)
def test_what_crewrun_refuses_is_told_with_the_users_line(body: str, message: str) -> None:
    """One line, not a traceback; for a project, a file and a module alike."""
    lines = len(body.splitlines()) + 1
    at = [message.replace("{base}", base) for base in ("", "src/research/", "inner/")]
    assert message_for("demo.py:crew", demo=f"\n{body}\n").startswith(f"demo.py:{lines}: {at[0]}")
    write({**project(), "src/research/crew.py": f"\n{body}\n"})
    assert message_for(".").startswith(f"src/research/crew.py:{lines}: {at[1]}")
    assert message_for("inner.module:crew", inner__module=f"\n{body}\n").startswith(f"inner/module.py:{lines}: {at[2]}")


def renamed(*renames: tuple[str, str], **more: str) -> dict[str, str]:
    """The project with files called otherwise."""
    files = project()
    for old, new in renames:
        files[new] = files.pop(old)
    return {**files, **more}


CREW_FILE = "src/research/crew.py"
AGENTS_FILE, TASKS_FILE = (f"src/research/config/{name}.yaml" for name in ("agents", "tasks"))
OTHER_YAML = CREW_PY.replace(
    "    agents: List[BaseAgent]", "    agents_config = 'config/people.yaml'\n    tasks_config = 'config/work.yaml'"
)


@pytest.mark.parametrize(
    ("ref", "files"),
    [
        pytest.param(".", renamed((CREW_FILE, "src/research/research_crew.py")), id="beside config"),
        pytest.param("src/research", renamed((CREW_FILE, "src/research/research_crew.py")), id="named by its folder"),
        pytest.param(
            ".",
            {
                "config/agents.yaml": AGENTS,
                "config/tasks.yaml": TASKS,
                "tools/counter.py": TOOL,
                "src/main.py": CREW_PY.replace(".tools", "tools").replace(
                    "    agents: List[BaseAgent]",
                    "    agents_config = '../config/agents.yaml'\n    tasks_config = '../config/tasks.yaml'",
                ),
            },
            id="in src, with config in the root",
        ),
        pytest.param(
            ".",
            {
                "src/config/agents.yaml": AGENTS,
                "src/config/tasks.yaml": TASKS,
                "src/tools/counter.py": TOOL,
                "src/crew.py": CREW_PY.replace(".tools", "tools"),
            },
            id="in src with all that it needs",
        ),
        pytest.param(
            ".",
            {
                **renamed(
                    (AGENTS_FILE, "src/research/config/people.yaml"), (TASKS_FILE, "src/research/config/work.yaml")
                ),
                CREW_FILE: OTHER_YAML,
            },
            id="crew.py with YAML of other names",
        ),
    ],
)
async def test_a_project_is_its_crew_class_whatever_the_files_are_called(ref: str, files: dict[str, str]) -> None:
    """Other Python files, even broken ones, are neither run nor in the way."""
    beside = {"src/research/main.py": "raise SystemExit\n", "setup.py": "def\n"}
    write({**beside, **files})
    found = load(ref)
    async with scripted("text") as model:
        await found.target.akickoff({"topic": "tides"})  # and the year is from @before_kickoff
    assert "Write about tides in 2026" in model.requests[0].messages[-1].content
    assert (found.kind, found.path, find_beside(None)) == ("CrewAI project", Path(ref), Path())


def test_several_crew_classes_beside_config_are_not_chosen_from() -> None:
    """They are listed as what --crew takes; with a crew.py that one is meant."""
    files = renamed((CREW_FILE, "src/research/b.py"))
    write({**files, "src/research/a.py": CREW_PY})
    assert message_for(".") == (
        "src/research: has several @CrewBase classes, src/research/a.py:Research, src/research/b.py:Research; "
        "say which crew is meant: --crew src/research/a.py:Research"
    )
    write({CREW_FILE: CREW_PY})
    assert isinstance(load(".").target, CrewTarget)


def test_a_crew_class_that_does_not_parse_is_not_passed_over() -> None:
    """The YAML files alone would be another crew."""
    write(renamed((CREW_FILE, "src/research/a.py"), **{"src/research/a.py": CREW_PY + "def\n"}))
    assert message_for(".").startswith("loading src/research/a.py failed:\n")


def test_the_method_under_crew_may_have_any_name() -> None:
    """It wins over a method `crew` that is not marked; of several it is the one called `crew`."""
    text = CREW + dedent("""
        from crewrun.project import CrewBase, crew as marked

        @CrewBase
        class One:
            @marked
            def marketing(self):
                return make("Marketer")

            def crew(self):
                return make()

        class Two(One):
            @marked
            def crew(self):
                return make("Seller")

        class Unclear(One):
            @marked
            def sales(self):
                return make()

        def made():
            return One()
        """)
    roles = {}
    for attr in ("One", "Two", "made"):
        found = target(text, attr)
        assert found.crew is not None
        roles[attr] = found.crew.agents[0].role
    assert roles == {"One": "Marketer", "Two": "Seller", "made": "Marketer"}
    assert message_for("demo.py:Unclear") == (
        "demo.py:Unclear has several @crew methods, marketing, sales; name the one to run `crew`"
    )


def test_crew_py_has_one_crew_class() -> None:
    """Several are listed; one that is only imported does not count beside a crew."""
    more = "\n@CrewBase\nclass Other:\n    pass\n"
    write(project(crew_py=CREW_PY + more))
    assert message_for(".") == (
        "src/research/crew.py: has several @CrewBase classes, 'Research', 'Other'; "
        "say which crew is meant: --crew src/research/crew.py:Research"
    )
    write({**project("src/second"), "src/second/crew.py": "from research.crew import Research\n" + CREW})
    assert isinstance(load("src/second").target, CrewTarget)


@pytest.mark.parametrize(
    ("attr", "message"),
    [
        pytest.param("crw", "demo.py:crw: module 'demo' has no 'crw' (did you mean 'crew'?)", id="no such name"),
        pytest.param(
            "crew.agent", "demo.py:crew.agent: 'crew' has no 'agent' (did you mean 'agents'?)", id="nor there"
        ),
        pytest.param("number", "demo.py:number is an int, which cannot be run; a target is ", id="a number"),
        pytest.param("nothing", "demo.py:nothing is None, which cannot be run; a target is ", id="None"),
        pytest.param("agent", "demo.py:agent is a crewrun.crew.agent.Agent, which cannot be run; ", id="an agent"),
        pytest.param("gives", "demo.py:gives gives an int, which cannot be run; ", id="a function that gives another"),
        pytest.param(
            "Needs",
            "demo.py:Needs has none of the methods akickoff, kickoff_async, kickoff, run, crew, create_crew, execute; "
            "it has go, stop. Name the one to call, as in demo.py:Needs.go",
            id="a class without a method to call",
        ),
        pytest.param(
            "Bare",
            "demo.py:Bare is a @CrewBase class without a @crew method, which makes the crew",
            id="a crew class without a crew",
        ),
        pytest.param(
            "raises",
            "calling demo.py:raises failed:\n"
            "Traceback (most recent call last):\n"
            '  File "{folder}/demo.py", line 25, in raises\n'
            "    inner()\n"
            '  File "{folder}/demo.py", line 22, in inner\n'
            '    raise KeyError("SETTING")\n'
            "KeyError: 'SETTING'",
            id="a function that raises",
        ),
        pytest.param(
            "exits",
            "calling demo.py:exits failed:\n"
            "Traceback (most recent call last):\n"
            '  File "{folder}/demo.py", line 28, in exits\n'
            "    sys.exit(3)\n"
            "SystemExit: 3",
            id="a function that ends the process",
        ),
        pytest.param(
            "Fails",
            "making the crew of demo.py:Fails failed:\n"
            "Traceback (most recent call last):\n"
            '  File "{folder}/demo.py", line 34, in crew\n'
            "    return make(1 / 0)\n"
            "                ~~^~~\n"
            "ZeroDivisionError: division by zero",
            id="a crew method that raises",
        ),
    ],
)
def test_a_name_that_gives_no_target_is_refused(attr: str, message: str, tmp_path: Path) -> None:
    """What it is instead, and what would do; the user's traceback without our frames."""
    text = CREW + dedent("""
        import sys
        from crewrun.project import CrewBase, crew as a_crew

        number, nothing, agent = 1, None, crew.agents[0]
        def gives(): return 1
        class Needs:
            def __init__(self, role): pass
            def go(self): pass
            def stop(self): pass
        @CrewBase
        class Bare: pass

        def inner():
            raise KeyError("SETTING")

        def raises():
            inner()

        def exits():
            sys.exit(3)

        @CrewBase
        class Fails:
            @a_crew
            def crew(self):
                return make(1 / 0)
        """)
    told = message_for(f"demo.py:{attr}", demo=text)
    expected = message.replace("{folder}", str(tmp_path))
    assert told == expected if "\n" in expected else told.startswith(expected)


@pytest.mark.parametrize(
    ("files", "message"),
    [
        pytest.param(
            {"demo": "import other\n", "other": "\nx = undefined\n"},
            "loading demo.py failed:\n"
            "Traceback (most recent call last):\n"
            '  File "{folder}/demo.py", line 1, in <module>\n'
            "    import other\n"
            '  File "{folder}/other.py", line 2, in <module>\n'
            "    x = undefined\n"
            "        ^^^^^^^^^\n"
            "NameError: name 'undefined' is not defined",
            id="an error in a module that it imports",
        ),
        pytest.param(
            {"demo": "import not_installed_anywhere\n"},
            "loading demo.py failed:\n"
            "Traceback (most recent call last):\n"
            '  File "{folder}/demo.py", line 1, in <module>\n'
            "    import not_installed_anywhere\n"
            "ModuleNotFoundError: No module named 'not_installed_anywhere'",
            id="a library that is not installed",
        ),
        pytest.param(
            {"demo": "def f(:\n"},
            "loading demo.py failed:\n"
            '  File "{folder}/demo.py", line 1\n'
            "    def f(:\n"
            "          ^\n"
            "SyntaxError: invalid syntax",
            id="a syntax error",
        ),
        pytest.param(
            {"demo": "from other import x\n", "other": "import crewai\nprint('\n"},
            "loading demo.py failed:\n"
            "Traceback (most recent call last):\n"
            '  File "{folder}/demo.py", line 1, in <module>\n'
            "    from other import x\n"
            '  File "{folder}/other.py", line 2\n'
            "    print('\n"
            "          ^\n"
            "SyntaxError: unterminated string literal (detected at line 2)",
            id="a syntax error in a file that says crewai",
        ),
        pytest.param(
            {"demo": "import sys\nsys.exit('bye')\n"},
            "demo.py:crew: module 'demo' has no 'crew' so far: demo.py:2: loading stopped at sys.exit('bye'), "
            "and what follows in the file was not run; put that under `if __name__ == '__main__':`",
            id="sys.exit",
        ),
        pytest.param(
            {"demo": "from other import crew\n", "other": "from demo import crew\n"},
            "loading demo.py failed:\n"
            "Traceback (most recent call last):\n"
            '  File "{folder}/demo.py", line 1, in <module>\n'
            "    from other import crew\n"
            '  File "{folder}/other.py", line 1, in <module>\n'
            "    from demo import crew\n"
            "ImportError: cannot import name 'crew' from partially initialized module 'demo' "
            "(most likely due to a circular import) ({folder}/demo.py)",
            id="a circular import",
        ),
    ],
)
def test_a_file_that_does_not_import_is_told_with_the_users_traceback(
    files: dict[str, str], message: str, tmp_path: Path
) -> None:
    """Their frames and nothing of ours or of importlib; a module by name in the same way."""
    expected = message.replace("{folder}", str(tmp_path))
    assert message_for("demo.py:crew", **files) == expected
    by_name = expected.replace("loading demo.py", "importing 'demo'").replace("demo.py:crew", "demo:crew")
    assert message_for("demo:crew") == by_name


@pytest.mark.parametrize(
    ("ref", "message"),
    [
        pytest.param("dmo.py:crew", "dmo.py: no such file (did you mean 'demo.py'?)", id="a file"),
        pytest.param("nowhere/at/all.py:crew", "nowhere/at/all.py: no such file", id="a folder"),
        pytest.param(
            "dmo:crew",
            "no module 'dmo' (did you mean 'demo'?); looked in {folder} and where Python looks",
            id="a module",
        ),
        pytest.param(
            "demo.inner:crew",
            "no module 'demo.inner'; looked in {folder} and where Python looks",
            id="a module in what is no package",
        ),
    ],
)
def test_what_is_not_there_is_told_with_what_is_near(ref: str, message: str, tmp_path: Path) -> None:
    """Nothing is imported by mistake."""
    assert message_for(ref, demo=CREW) == message.replace("{folder}", str(tmp_path))


def test_a_project_is_run_by_the_command_and_its_prints_go_to_stderr(tmp_path: Path) -> None:
    """Standard output holds result rows and nothing else; a row's output is what @after_kickoff made of it."""
    hook = """
    from crewai.project import after_kickoff

    @after_kickoff
    def sign(self, output):
        return f"signed after {len(output.tasks_output)} task"
"""
    write(project(crew_py=CREW_PY + hook))
    rows = write_rows(tmp_path / "rows.jsonl", topics(3))
    done = crewrun("batch", rows, "--crew", ".", "-o", "-", "-m", "offline", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert [row["output"] for row in parse_rows(done.stdout)] == ["signed after 1 task"] * 3
    assert done.stderr.count("crew.py is imported") == 1


KEEPING = """
from crewai import Agent, Crew, Task
from crewai.project import CrewBase, after_kickoff, agent, before_kickoff, crew, task

print("loaded")

@CrewBase
class Keeping:
    def __init__(self):
        print("made")
        self.seen = []

    @before_kickoff
    def keep(self, inputs):
        self.topic = inputs["topic"]
        self.seen.append(self.topic)
        return inputs

    @agent
    def writer(self):
        return Agent(role="Writer", goal="write", backstory="b", max_rpm=6000)

    @task
    def draft(self):
        return Task(description="Write about {topic}", expected_output="e", agent=self.writer(), callback=self.check)

    def check(self, output):
        assert self.topic in output.description, f"{output.description} sees {self.topic}"

    @after_kickoff
    def tell(self, output):
        output.raw = f"{self.topic} of {self.seen}"
        return output

    @crew
    def crew(self):
        return Crew(agents=self.agents, tasks=self.tasks, max_rpm=6000)

def make():
    return Keeping().crew()
"""


@pytest.mark.parametrize(("ref", "made"), [("crew.py:Keeping", 1), ("crew.py:make", 5)])
def test_what_hooks_keep_on_their_object_is_the_row_s(ref: str, made: int, tmp_path: Path) -> None:
    """All at once, yet each row has an object of its own: a copy of the class's, or what the function makes again."""
    write({"crew.py": KEEPING})
    rows = write_rows(tmp_path / "rows.jsonl", topics(4))
    done = crewrun(
        "batch", rows, "--crew", ref, "-o", "-", "-m", "offline?latency=0.1", "-j", "4", "--ordered", cwd=tmp_path
    )
    assert done.returncode == 0, done.stderr
    assert [row["output"] for row in parse_rows(done.stdout)] == [f"topic {i} of ['topic {i}']" for i in range(4)]
    assert (done.stderr.count("loaded"), done.stderr.count("made")) == (1, made)


AT_ONCE = """
from crewrun import Agent, Crew, Task

agent = Agent(role="R", goal="G", backstory="B", llm="offline")
crew = Crew(agents=[agent], tasks=[Task(description="Do {topic}", expected_output="E", agent=agent)])

def run():
    crew.kickoff({"topic": "one"})
"""


@pytest.mark.parametrize(("command", "calls"), [("batch rows.jsonl", 2), ("plan rows.jsonl", 0), ("check", 0)])
def test_a_function_that_kicks_off_does_so_in_rows_alone(command: str, calls: int, tmp_path: Path) -> None:
    """When it is called to see what it gives, no model is."""
    write({"runs.py": AT_ONCE})
    write_rows(tmp_path / "rows.jsonl", topics(2))
    with MockProcess() as mock:
        done = crewrun(
            *command.split(), "--crew", "runs.py:run", "-m", "openai/m", "--base-url", mock.base_url, cwd=tmp_path
        )
        assert (done.returncode, len(mock.ledger()["requests"])) == (0, calls), done.stderr


@pytest.mark.parametrize("inputs", ["-", "/dev/stdin"])
def test_a_crew_that_reads_standard_input_leaves_the_rows(inputs: str, tmp_path: Path) -> None:
    """It finds nothing there, also where its code asks while rows run."""
    asking = AT_ONCE.split("def run", maxsplit=1)[0].replace("crew =", 'asked = open("/dev/stdin").read()\ncrew =')
    write({"asking.py": asking + "assert asked == ''\n"})
    stdin = write_rows(tmp_path / "rows.jsonl", topics(3)).read_bytes()
    done = crewrun("batch", inputs, "--crew", "asking.py:crew", cwd=tmp_path, stdin=stdin)
    assert done.returncode == 0, done.stderr
    assert [row["input"] for row in parse_rows(done.stdout)] == topics(3)


def test_a_foreign_target_is_run_by_the_command_with_each_rows_failure_its_own(tmp_path: Path) -> None:
    """Values and errors come out as those of our crews do."""
    write(
        {
            "demo.py": dedent("""
            class Thing:
                def kickoff(self, inputs):
                    if inputs["topic"] == "topic 1":
                        raise OSError("disk on fire")
                    return {"about": inputs["topic"]}
            thing = Thing()
            class NoInputs:
                async def akickoff(self):
                    return "never"
            """)
        }
    )
    rows = write_rows(tmp_path / "rows.jsonl", topics(3))
    done = crewrun("batch", rows, "--crew", "demo:thing", "-o", "out.jsonl", cwd=tmp_path)
    assert done.returncode == 3, done.stderr
    results = read_rows(tmp_path / "out.jsonl")
    assert [row["output"] for row in results] == [{"about": "topic 0"}, None, {"about": "topic 2"}]
    assert problems(results) == {1: "demo.py:5: OSError: disk on fire"}
    done = crewrun("batch", rows, "--crew", "demo.py:NoInputs", "-o", "no.jsonl", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert [row["output"] for row in read_rows(tmp_path / "no.jsonl")] == ["never"] * 3


def test_a_broken_module_ends_the_command_with_the_users_traceback_alone(tmp_path: Path) -> None:
    """Exit code 2, nothing on standard output, no frame of crewrun."""
    write({"demo.py": "print('hello')\nraise RuntimeError('no database')\n"})
    rows = write_rows(tmp_path / "rows.jsonl", topics(1))
    done = crewrun("batch", rows, "--crew", "demo.py:crew", "-o", "-", cwd=tmp_path)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.replace("hello\n", "") == (
        "crewrun: loading demo.py failed:\n"
        "Traceback (most recent call last):\n"
        f'  File "{tmp_path}/demo.py", line 2, in <module>\n'
        "    raise RuntimeError('no database')\n"
        "RuntimeError: no database\n"
    )
