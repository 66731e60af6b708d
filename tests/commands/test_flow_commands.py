"""A flow as what a command runs: rows in, methods as tasks out, resumed by its calls, checked before it runs."""

import json
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from textwrap import dedent
from typing import Any

import pytest
from support import command as own_process
from support.command import problems, read_rows, write_rows
from support.forks import crewrun
from support.mock_process import MockProcess
from support.paths import MANUAL

from crewrun import DefinitionError, Flow, InputInvalid
from crewrun.definitions import find_beside, load
from crewrun.flow import start

pytestmark = pytest.mark.anyio

FLOW = '''\
import asyncio, threading, time
from pathlib import Path
from pydantic import BaseModel
from crewai import Agent, Crew, Task
from crewai.flow.flow import Flow, and_, listen, router, start

agent = Agent(role="Writer", goal="g", backstory="b", llm="{model}")

def crew(words):
    task = Task(name="draft", description=words + " {{topic}}", expected_output="e", agent=agent)
    return Crew(agents=[agent], tasks=[task])

class State(BaseModel):
    topic: str
    n: int = 0
    seen: list[str] = []

class Research(Flow[State]):
    """Two crews at once that ask the same, and an agent for the end."""

    @start()
    async def market(self):
        return (await crew("Look at").akickoff({{"topic": self.state.topic}})).raw

    @start()
    def rivals(self):
        return crew("Look at").kickoff({{"topic": self.state.topic}}).raw

    @listen(and_(market, rivals))
    async def report(self):
        self.state.seen.append(self.state.topic)
        if self.state.n and not Path("mended").exists():
            raise RuntimeError(f"{{self.state.topic}} broke")
        answer = await agent.kickoff_async(query=f"Report on {{self.state.topic}}")
        return {{"n": self.state.n, "seen": self.state.seen, "words": len(answer.raw.split())}}

class Hanging(Flow):
    @start()
    async def waits(self):
        if self.state["how"] == "async":
            await asyncio.Event().wait()

    @listen(waits)
    def sleeps(self):
        if self.state["how"] == "sync":
            threading.Event().wait(60)
        return "got through"

class Failing(Flow):
    @start()
    async def ask(self):
        return (await crew("Write FAIL-401 about").akickoff({{"topic": "x"}})).raw

class Unfit(Flow):
    @start()
    async def begin(self): ...

    @listen("begni")
    async def work(self): ...
'''


@pytest.fixture(scope="module")
def mock() -> Iterator[MockProcess]:
    with MockProcess() as process:
        yield process


def write_flow(folder: Path, model: str = "offline", text: str = FLOW) -> None:
    (folder / "flow.py").write_text(text.format(model=model), encoding="utf-8")


def sound(text: str = FLOW) -> str:
    return text.partition("class Unfit")[0]


def test_a_row_s_tasks_are_the_flow_s_methods(tmp_path: Path) -> None:
    """With their outputs, calls and usage; crews inside them count there. Inputs are the state, and stay as given."""
    write_flow(tmp_path, text=sound())
    rows = write_rows(
        tmp_path / "in.jsonl", [{"topic": "AI"}, {"topic": "ML", "n": "x"}, {"n": 1}, {"topic": "X", "seen": []}]
    )
    done = own_process.crewrun("batch", rows, "--crew", "flow.py:Research", "-o", "out.jsonl", "-q", cwd=tmp_path)
    assert (done.returncode, done.stdout) == (3, ""), done.stderr
    results = read_rows(tmp_path / "out.jsonl")
    assert problems(results) == {
        1: "line 2: input 'n': Input should be a valid integer, unable to parse string as an integer "
        "(the flow's state is of class State)",
        2: "line 3: input 'topic': Field required (the flow's state is of class State)",
    }
    assert [row["error"] and row["error"]["category"] for row in results] == [None, "input", "input", None]
    first, last = results[0], results[3]
    assert sorted(task["name"] for task in first["tasks"][:2]) == ["market", "rivals"]
    assert [(task["agent"], task["calls"], task["usage"]["calls"]) for task in first["tasks"]] == [("", 1, 1)] * 3
    assert first["tasks"][0]["output"].startswith("[offline ")
    assert (first["tasks"][2]["name"], json.loads(first["tasks"][2]["output"])) == ("report", first["output"])
    assert (first["usage"]["calls"], first["models"]) == (3, ["offline"])
    assert last["input"] == {"topic": "X", "seen": []}
    assert last["output"] == {"n": 0, "seen": ["X"], "words": last["output"]["words"]}


def test_a_flow_is_resumed_by_its_calls(tmp_path: Path, mock: MockProcess) -> None:
    """What methods that ran side by side asked is not asked again, each has its own; the rest is sent once."""
    mock.clear()
    write_flow(tmp_path, "openai/mock", text=sound())
    env = {"OPENAI_BASE_URL": mock.base_url, "OPENAI_API_KEY": "x"}
    rows = write_rows(tmp_path / "in.jsonl", [{"topic": f"t{i}", "n": i} for i in range(3)])
    command = ("batch", rows, "--crew", "flow.py:Research", "-o", "out.jsonl", "-q", "--retries", "0")
    done = crewrun(*command, cwd=tmp_path, env=env)
    assert done.returncode == 3, done.stderr
    before = read_rows(tmp_path / "out.jsonl")
    assert problems(before) == {n: f"flow.py:33: RuntimeError: t{n} broke" for n in (1, 2)}
    assert [row["error"] and row["error"]["task"] for row in before] == [None, "report", "report"]
    assert len(mock.ledger()["requests"]) == 3 + 2 + 2
    (tmp_path / "mended").touch()
    done = crewrun(*command, cwd=tmp_path, env=env)
    assert done.returncode == 0, done.stderr
    assert len(mock.ledger()["requests"]) == 3 + 3 + 3
    after = read_rows(tmp_path / "out.jsonl")
    assert [row["replayed"]["usage"]["calls"] for row in after[1:]] == [2, 2]
    answers = [{task["name"]: task["output"] for task in row["tasks"]} for row in after]
    assert all(answer["market"] and answer["rivals"] for answer in answers)
    for old, new in zip(before[1:], after[1:], strict=True):
        kept = {task["name"]: task["output"] for task in new["tasks"] if task["name"] != "report"}
        assert {task["name"]: task["output"] for task in old["tasks"]} == kept


def test_the_calls_of_a_row_are_kept_under_method_and_task(tmp_path: Path, mock: MockProcess) -> None:
    """As `show` lists them; a call that fails names both in the row's error."""
    write_flow(tmp_path, "openai/mock", text=sound())
    env = {"OPENAI_BASE_URL": mock.base_url, "OPENAI_API_KEY": "x"}
    rows = write_rows(tmp_path / "in.jsonl", [{"id": "one", "topic": "AI"}])
    flags = ("-o", "out.jsonl", "-q", "--retries", "0", "--id-field", "id")
    done = crewrun("batch", rows, "--crew", "flow.py:Research", *flags, cwd=tmp_path, env=env)
    assert done.returncode == 0, done.stderr
    done = crewrun("show", "out.jsonl", "one", "--json", cwd=tmp_path)
    shown = json.loads(done.stdout)
    assert sorted(call["task"] for call in shown["calls"]) == ["market/draft", "report", "rivals/draft"]
    done = crewrun("run", "flow.py:Failing", "--json", "-q", "--retries", "0", cwd=tmp_path, env=env)
    error = json.loads(done.stdout)["error"]
    assert (done.returncode, error["category"], error["task"]) == (3, "auth", "ask/draft")


DIRECT = """\
from pathlib import Path
from crewai import LLM
from crewai.flow.flow import Flow, listen, start

class Guide(Flow):
    @start()
    def outline(self):
        llm = LLM(model="openai/gpt-4o-mini")
        return [llm.call([{"role": "user", "content": "Outline " + self.state["topic"]}]) for _ in range(2)]

    @listen(outline)
    async def polish(self, outlines):
        if not Path("mended").exists():
            raise RuntimeError("broken")
        return await LLM(model="openai/gpt-4o-mini").acall("Polish " + outlines[0])
"""


def test_a_method_s_own_calls_of_a_model_are_the_row_s(tmp_path: Path, mock: MockProcess) -> None:
    """Sync or async, they go where -m says, are counted and kept under the method, and are not paid for twice."""
    mock.clear()
    (tmp_path / "flow.py").write_text(DIRECT, encoding="utf-8")
    env = {"OPENAI_BASE_URL": mock.base_url, "OPENAI_API_KEY": "x"}
    rows = write_rows(tmp_path / "in.jsonl", [{"id": "one", "topic": "tides"}])
    flags = ("-o", "out.jsonl", "-q", "--retries", "0", "--id-field", "id", "-m", "openai/mock")
    command = ("batch", rows, "--crew", "flow.py:Guide", *flags)
    done = crewrun(*command, cwd=tmp_path, env=env)
    (row,) = read_rows(tmp_path / "out.jsonl")
    assert (done.returncode, row["error"]["task"], row["usage"]["calls"]) == (3, "polish", 2), done.stderr
    (tmp_path / "mended").touch()
    done = crewrun(*command, cwd=tmp_path, env=env)
    assert done.returncode == 0, done.stderr
    assert [request["model"] for request in mock.ledger()["requests"]] == ["mock"] * 3
    (row,) = read_rows(tmp_path / "out.jsonl")
    assert (row["models"], row["usage"]["calls"], row["replayed"]["usage"]["calls"]) == (["openai/mock"], 3, 2)
    assert [(task["name"], task["calls"]) for task in row["tasks"]] == [("outline", 2), ("polish", 1)]
    shown = json.loads(crewrun("show", "out.jsonl", "one", "--json", cwd=tmp_path).stdout)
    assert [call["task"] for call in shown["calls"]] == ["outline", "outline", "polish"]
    money = ("--price", "mock=1,1", "--row-budget", "0.000001")
    done = crewrun(*command, "--fresh", *money, cwd=tmp_path, env=env)
    (row,) = read_rows(tmp_path / "out.jsonl")
    assert (done.returncode, row["error"]["category"], row["error"]["task"]) == (3, "budget", "outline")


def test_a_method_that_hangs_ends_with_its_row(tmp_path: Path) -> None:
    """Async or sync, it fails by --row-timeout with its name, the others get through, and the command ends."""
    write_flow(tmp_path, text=sound())
    rows = write_rows(tmp_path / "in.jsonl", [{"how": "async"}, {"how": "sync"}, {"how": "neither"}])
    flags = ("-o", "out.jsonl", "-q", "--row-timeout", "0.5")
    done = crewrun("batch", rows, "--crew", "flow.py:Hanging", *flags, cwd=tmp_path, timeout=30)
    assert done.returncode == 3, done.stderr
    results: list[dict[str, Any]] = read_rows(tmp_path / "out.jsonl")
    assert problems(results) == dict.fromkeys((0, 1), "the row took longer than 0.5 s (--row-timeout)")
    assert [row["error"] and row["error"]["task"] for row in results] == ["waits", "sleeps", None]
    assert results[2]["output"] == "got through"


def test_run_takes_a_flow_and_its_inputs_as_words(tmp_path: Path) -> None:
    """What to run comes first, then NAME=VALUE; what is neither is refused."""
    write_flow(tmp_path, text=sound())
    (tmp_path / "mended").touch()
    done = crewrun("run", "flow.py:Research", "topic=AI", "n=3", "--json", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["output"]["n"] == 3
    assert [line.partition(":")[0] for line in done.stderr.splitlines()[2:3]] == ["report"]
    done = crewrun("run", "flow.py:Research", "topic", cwd=tmp_path)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == (
        "crewrun: 'topic': an input is written NAME=VALUE, as in topic=AI; what to run comes first\n"
    )
    done = crewrun("run", "flow.py:Research", "n=many", "topic=AI", cwd=tmp_path)
    assert done.returncode == 2
    assert "input 'n': Input should be a valid integer" in done.stderr


async def test_every_row_has_a_flow_of_its_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Made by the class or the function that is named; of an object that is named, rows have copies with its state."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    monkeypatch.setattr(sys, "meta_path", list(sys.meta_path))
    (tmp_path / "row_flows.py").write_text(
        dedent("""
        from crewai.flow import Flow, start

        class Listing(Flow):
            def __init__(self):
                super().__init__(preset="p")
                self.seen = []

            @start()
            async def work(self):
                self.seen.append(self.state["n"])
                self.state["n"] += 1
                return self.seen, self.state

        class Needing(Listing):
            def __init__(self, topic):
                super().__init__()

        def made():
            return Listing()

        one = Listing()
        one.state["more"] = []
        """)
    )
    for attr in ("Listing", "made"):
        target = load(f"row_flows.py:{attr}").target
        results = [await target.akickoff({"n": n}) for n in range(3)]
        assert [seen for seen, _ in results] == [[0], [1], [2]]
        assert [{**state, "id": ""} for _, state in results] == [
            {"id": "", "preset": "p", "n": n + 1} for n in range(3)
        ]
    target = load("row_flows.py:one").target
    states = [(await target.akickoff({"n": n}))[1] for n in range(2)]
    assert [(state["n"], state["more"], state["preset"]) for state in states] == [(1, [], "p"), (2, [], "p")]
    assert states[0]["more"] is not states[1]["more"]
    target = load("row_flows.py:Needing").target
    assert target.placeholders == {"topic": "row_flows.py:Needing()"}
    assert [(await target.akickoff({"topic": "t", "n": n}))[0] for n in range(2)] == [[0], [1]]
    sys.modules.pop("row_flows", None)


def test_check_shows_a_flow_s_methods_and_the_rows_that_do_not_fit(tmp_path: Path) -> None:
    """Without a call."""
    write_flow(tmp_path, text=sound())
    rows = write_rows(tmp_path / "in.jsonl", [{"topic": "AI"}, {}])
    done = crewrun("check", rows, "--crew", "flow.py:Research", cwd=tmp_path)
    assert (done.returncode, done.stdout) == (
        2,
        "flow.py: flow\n"
        "start market: begins\n"
        "start rivals: begins\n"
        "listener report: waits for and_(market, rivals)\n"
        "rows: 2, of which 1 would fail\n"
        "  line 2: input 'topic': Field required (the flow's state is of class State)\n"
        "\n"
        "the crew would run, and these rows would fail\n",
    )


def test_check_says_that_a_start_with_a_condition_begins_too(tmp_path: Path) -> None:
    """Where no start has none."""
    code = (
        "from crewai.flow.flow import Flow, router, start\n"
        "class F(Flow):\n"
        "    @start('again')\n"
        "    def first(self): return 1\n"
        "    @router(first)\n"
        "    def second(self): return 'again'\n"
    )
    (tmp_path / "flow.py").write_text(code, encoding="utf-8")
    done = crewrun("check", "--crew", "flow.py:F", cwd=tmp_path)
    assert done.stdout.splitlines()[1:3] == [
        "start first: begins, and also waits for again",
        "router second: waits for first",
    ]


TRIGGERED = dedent("""\
    from crewai.flow.flow import Flow, listen, start

    class Triggered(Flow):
        @start()
        def maybe(self, crewai_trigger_payload: dict = None):
            return crewai_trigger_payload

        @start(maybe)
        def again(self, found, *, crewai_trigger_payload=0):
            return [found, crewai_trigger_payload]

        @listen(again)
        def end(self, crewai_trigger_payload):
            return {"of the method before": crewai_trigger_payload}

    class Needing(Flow):
        @start()
        async def begin(self, crewai_trigger_payload):
            return crewai_trigger_payload
    """)


def test_a_start_gets_the_payload_of_a_trigger(tmp_path: Path) -> None:
    """By the parameter's name, which in a listener is any other; without a payload it has its default."""
    (tmp_path / "flow.py").write_text(TRIGGERED, encoding="utf-8")
    given = [{"crewai_trigger_payload": {"topic": "AI"}}, {"crewai_trigger_payload": None}, {}]
    rows = write_rows(tmp_path / "in.jsonl", given)
    done = crewrun("batch", rows, "--crew", "flow.py:Triggered", "-o", "out.jsonl", "-q", cwd=tmp_path)
    assert (done.returncode, done.stderr) == (0, "")
    results = read_rows(tmp_path / "out.jsonl")
    assert [row["input"] for row in results] == given
    assert [row["output"] for row in results] == [
        {"of the method before": [{"topic": "AI"}, {"topic": "AI"}]},
        {"of the method before": [None, 0]},
        {"of the method before": [None, 0]},
    ]


def test_a_start_that_needs_a_payload_refuses_rows_without_it(tmp_path: Path) -> None:
    """By the method's place, before anything runs; `check` says that it needs one."""
    (tmp_path / "flow.py").write_text(TRIGGERED, encoding="utf-8")
    line = TRIGGERED.splitlines().index("    async def begin(self, crewai_trigger_payload):")
    rows = write_rows(tmp_path / "in.jsonl", [{"crewai_trigger_payload": "mail"}, {"payload": 1}])
    done = crewrun("check", rows, "--crew", "flow.py:Needing", cwd=tmp_path)
    assert (done.returncode, done.stdout) == (
        2,
        "flow.py: flow\n"
        "start begin: begins\n"
        f"needs {{crewai_trigger_payload}} for flow.py:{line}: Needing.begin\n"
        "rows: 2, of which 1 would fail\n"
        f"  line 2: missing 'crewai_trigger_payload' (needed by flow.py:{line}: Needing.begin)\n"
        "\n"
        "the crew would run, and these rows would fail\n",
    )
    done = crewrun("batch", rows, "--crew", "flow.py:Needing", "-o", "out.jsonl", "-q", cwd=tmp_path)
    assert [row["output"] for row in read_rows(tmp_path / "out.jsonl")] == ["mail", None]


async def test_a_kickoff_without_a_payload_that_a_start_needs_is_refused() -> None:
    """Before a start beside it has begun."""
    begun = []

    class Needing(Flow):
        @start()
        async def other(self) -> None:
            begun.append("other")

        @start()
        async def begin(self, crewai_trigger_payload: dict[str, Any]) -> Any:
            return crewai_trigger_payload["n"]

    with pytest.raises(InputInvalid, match=r"missing input 'crewai_trigger_payload', needed by .*: Needing.begin$"):
        await Needing().akickoff({"n": 1})
    assert begun == []
    assert (await Needing().akickoff({"crewai_trigger_payload": {"n": 1}}), begun) == (1, ["other"])


MAIN = """\
from crewai.flow import Flow, listen, start
from press.crews.poem.poem import made

class Base(Flow[dict]):
    @start()
    def begin(self, crewai_trigger_payload=None):
        self.state["topic"] = crewai_trigger_payload["topic"]

class PoemFlow(Base):
    @listen("begin")
    def write(self):
        return made().kickoff({"topic": self.state["topic"]}).tasks_output[0].description

def kickoff():
    PoemFlow().kickoff()
"""
POEM = """\
from crewai import Agent, Crew, Task
from crewai.project import CrewBase

def made():
    agent = Agent(role="Poet", goal="g", backstory="b", llm="offline")
    return Crew(agents=[agent], tasks=[Task(description="On {topic}", expected_output="e", agent=agent)])

@CrewBase
class Poem:
    ...
"""


def write_project(folder: Path, **files: str) -> None:
    """A CrewAI flow project; `files` are those of its package, whose names end in .py."""
    package = folder / "src" / "press"
    (package / "crews" / "poem").mkdir(parents=True)
    (folder / "pyproject.toml").write_text('[tool.crewai]\ntype = "flow"\n', encoding="utf-8")
    (package / "__init__.py").touch()
    (package / "crews" / "poem" / "poem.py").write_text(POEM, encoding="utf-8")
    for name, text in files.items():
        (package / f"{name}.py").write_text(text, encoding="utf-8")


@pytest.mark.parametrize("flags", [(), ("--crew", ".")], ids=["found", "named"])
def test_a_flow_project_runs_its_flow(tmp_path: Path, flags: tuple[str, ...]) -> None:
    """The one in its main.py and no crew inside; named by its folder, or found in the working directory."""
    write_project(tmp_path, main=MAIN, other="raise SystemExit\nclass OtherFlow(Flow): ...\n")
    rows = write_rows(tmp_path / "in.jsonl", [{"crewai_trigger_payload": {"topic": topic}} for topic in ("AI", "ML")])
    done = crewrun("batch", rows, *flags, "-o", "out.jsonl", "-q", cwd=tmp_path)
    assert (done.returncode, done.stderr) == (0, "")
    assert [row["output"] for row in read_rows(tmp_path / "out.jsonl")] == ["On AI", "On ML"]
    assert crewrun("check", *flags, cwd=tmp_path).stdout.splitlines()[0] == ".: CrewAI flow project"


@pytest.mark.parametrize(
    ("files", "message"),
    [
        pytest.param(
            {"main": "raise SystemExit\nclass A(Flow): ...\nclass B(flow.Flow[dict]): ...\n"},
            "has several flows in its main.py, src/press/main.py:A, src/press/main.py:B; "
            "say which flow is meant: --crew src/press/main.py:A",
            id="several",
        ),
        pytest.param(
            {"main": "", "flows": "raise SystemExit\nclass A(Flow): ...\nclass B(Flow): ...\n"},
            "is a CrewAI flow project without a flow in its main.py; elsewhere there is src/press/flows.py:A, "
            "src/press/flows.py:B; say which flow is meant: --crew src/press/flows.py:A",
            id="in another file",
        ),
        pytest.param(
            {},
            "is a CrewAI flow project without a flow in its main.py; say which flow is meant: --crew FILE.py:NAME",
            id="none",
        ),
    ],
)
def test_a_flow_project_whose_flow_is_unclear_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, files: dict[str, str], message: str
) -> None:
    """The message names those that could be meant; no file of the project is run for it."""
    write_project(tmp_path, **files)
    monkeypatch.chdir(tmp_path)
    with pytest.raises(DefinitionError) as refused:
        load(find_beside(None))
    assert str(refused.value) == f".: {message}"


def test_a_main_py_that_does_not_compile_is_told_with_its_place(tmp_path: Path) -> None:
    """Its flow is found nevertheless."""
    write_project(tmp_path, main=MAIN.partition("class Base")[0] + "class A(Flow[dict]):\n    def\n")
    done = crewrun("check", "--crew", ".", cwd=tmp_path)
    assert (done.returncode, "src/press/main.py" in done.stdout) == (2, True)


def test_a_label_that_nobody_returns_is_told_with_its_file_and_line(tmp_path: Path) -> None:
    """One line, no traceback; --strict refuses it."""
    write_flow(tmp_path)
    write_rows(tmp_path / "rows.jsonl", [{}])
    done = crewrun("run", "flow.py:Unfit", "-q", cwd=tmp_path)
    strict = crewrun("batch", "rows.jsonl", "--crew", "flow.py:Unfit", "--strict", cwd=tmp_path)
    line = FLOW.splitlines().index('    @listen("begni")') + 1
    warning = (
        f"flow.py:{line}: Unfit.work listens to 'begni' (did you mean 'begin'?), "
        "which is no method, and no router returns it"
    )
    assert (done.returncode, done.stderr.splitlines()[0]) == (0, f"warning: {warning}")
    assert (strict.returncode, warning in strict.stderr) == (2, True)


def test_the_manual_s_flow_runs_and_can_be_drawn(tmp_path: Path) -> None:
    """Its commands, word for word but for the path of the sample rows."""
    block = re.findall(r"```python\n(.*?)```", (MANUAL / "flows.md").read_text(encoding="utf-8"), re.DOTALL)
    (tmp_path / "article.py").write_text(next(one for one in block if "class Article" in one), encoding="utf-8")
    rows = write_rows(tmp_path / "topics.jsonl", [{"topic": "Tides"}, {"topic": "Zero"}])
    done = crewrun("batch", rows, "--crew", "article.py:Article", "-j", "50", "-m", "offline", cwd=tmp_path)
    assert (done.returncode, crewrun("plot", "article.py:Article", cwd=tmp_path).stderr) == (0, "wrote Article.html\n")
    results = read_rows(tmp_path / "topics.results.jsonl")
    names = [sorted(task["name"] for task in row["tasks"]) for row in results]
    assert names == [["collect", "doubt", "draft", "judge", "publish"]] * 2
    assert [row["usage"]["calls"] for row in results] == [3, 3]


def test_a_warning_is_one_line(tmp_path: Path) -> None:
    """It says where by itself; no line of our own code comes with it."""
    (tmp_path / "lost.py").write_text(
        dedent("""\
            from crewrun.flow import Flow, listen, router, start

            class Lost(Flow):
                @start()
                def begin(self): ...

                @router(begin)
                def decide(self):
                    return "left"

                @listen("right")
                def go(self): ...
            """),
        encoding="utf-8",
    )
    done = crewrun("run", "lost.py:Lost", "-q", cwd=tmp_path)
    assert (done.returncode, done.stdout, done.stderr) == (
        0,
        "left\n",
        "warning: lost.py:11: Lost.go listens to 'right', which is no method, and no router returns it\n"
        "warning: lost.py:7: Lost.decide returned 'left', which nothing listens to, so its branch ends there; the "
        "labels are 'right'. Return None to end without this warning\n",
    )


def test_a_store_that_cannot_be_written_stops_the_batch(tmp_path: Path) -> None:
    """No row is paid for that could not be kept, none has failed, and the message names the file and the way out."""
    (tmp_path / "kept.py").write_text(
        'from crewrun.flow import Flow, persist, start\n\n\n@persist("/proc/none/states.db")\nclass Kept(Flow):\n'
        "    @start()\n    async def go(self):\n        return 1\n"
    )
    write_rows(tmp_path / "in.jsonl", [{"n": 1}, {"n": 2}])
    done = crewrun("batch", "in.jsonl", "--crew", "kept:Kept", cwd=tmp_path)
    assert (done.returncode, read_rows(tmp_path / "in.results.jsonl")) == (1, [])
    assert "stopped: /proc/none/states.db: cannot be used for the states of flows: " in done.stderr
    assert "name another file, @persist(SQLiteFlowPersistence(…)) or CREWRUN_FLOW_STATES" in done.stderr


def test_an_offline_flow_runs_again_with_its_models(tmp_path: Path, mock: MockProcess) -> None:
    """Rows that no model has answered are not done."""
    mock.clear()
    write_flow(tmp_path, "openai/mock", text=sound())
    rows = write_rows(tmp_path / "in.jsonl", [{"topic": "AI"}])
    command = ("batch", rows, "--crew", "flow.py:Research", "-o", "out.jsonl", "-q")
    offline_run = own_process.crewrun(*command, "-m", "offline", cwd=tmp_path)
    assert (offline_run.returncode, offline_run.stderr) == (0, "")
    done = own_process.crewrun(*command, cwd=tmp_path, env={"OPENAI_BASE_URL": mock.base_url, "OPENAI_API_KEY": "x"})
    assert (done.returncode, read_rows(tmp_path / "out.jsonl")[0]["models"]) == (0, ["openai/mock"]), done.stderr
