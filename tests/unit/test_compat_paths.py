"""CrewAI's import paths: every entry of the table leads to something, at run time and without a file of its own."""

import subprocess
import sys
from importlib import import_module
from pathlib import Path
from textwrap import dedent

import pytest

from crewrun import Agent, Task
from crewrun.compat.paths import PACKAGES, PATHS, REFUSED, WITHOUT_EFFECT, is_stub, place_of
from crewrun.crew.llm_guardrail import LLMGuardrail
from crewrun.fingerprint import fingerprint

ROOT = Path(__file__).parents[2]
ENTRIES = [(module, name) for module, names in PATHS.items() for name in names]


def python(program: str) -> list[str]:
    """The words that a program prints in an interpreter of its own."""
    return subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True).stdout.split()


@pytest.mark.parametrize(("module", "name"), [entry for entry in ENTRIES if not is_stub(PATHS[entry[0]][entry[1]])])
def test_every_name_of_the_table_is_where_the_table_says(module: str, name: str) -> None:
    """A class that moves takes its entry with it."""
    place = PATHS[module][name]
    home, _, attribute = place.partition(":")
    if home.removeprefix("crewrun.") in REFUSED:
        return
    assert hasattr(import_module(home), attribute)


def test_every_module_of_the_table_is_imported_below_crewrun_too() -> None:
    """`from crewai.…` becomes `from crewrun.…` and nothing else changes; no crew needs to be loaded for it."""
    aliased = [module for module in PATHS if module not in ("", "flow", "llm")]
    program = (
        f"from importlib import import_module as load\nfor name in {aliased!r}: print(load('crewrun.' + name).__name__)"
    )
    told = python(program)
    assert told == [f"crewrun.{module}" for module in aliased]


def test_a_module_of_the_table_is_like_any_other() -> None:
    """It has a docstring and the names that `import *` takes, and says what it has not."""
    program = dedent("""
        from crewrun.tasks import *
        from crewrun.tasks import task_output
        import crewrun.agents.parser as parser
        from crewrun.crew.output import TaskOutput as ours
        assert TaskOutput is task_output.TaskOutput is ours and parser.AgentAction.__name__ == "AgentAction"
        assert dir(parser) == parser.__all__ == ["AgentAction", "AgentFinish"]
        assert "crewai.agents.parser" in parser.__doc__
        for wrong in ("from crewrun.tasks import No", "import crewrun.tasks.no", "import crewrun.task.no"):
            try:
                exec(wrong)
            except ImportError as absent:
                print(type(absent).__name__)
        """)
    assert python(program) == ["ImportError", "ModuleNotFoundError", "ModuleNotFoundError"]


def test_nothing_of_it_is_loaded_before_an_import_needs_it() -> None:
    """Of all finders that one comes last."""
    program = "import sys, crewrun\nprint('crewrun.compat' in sys.modules, sys.meta_path[-1].__name__)"
    assert python(program) == ["False", "_AliasFinder"]


@pytest.mark.parametrize(
    ("module", "name", "place"),
    [
        ("crewrun.tasks.task_output", "TaskOutput", ("crewrun.crew.output", "TaskOutput")),
        ("crewrun.agents.agent_builder.base_agent", "BaseAgent", ("crewrun.crew.agent", "Agent")),
        ("crewrun", "Knowledge", ("crewrun.knowledge", "Knowledge")),
        ("crewrun", "Agent", ("crewrun", "Agent")),
        ("crewrun.tools", "BaseTool", ("crewrun.tools", "BaseTool")),
        ("crewrun.flow", "human_feedback", ("crewrun.flow.human_feedback", "human_feedback")),
        ("crewrun.nothing", "Here", ("crewrun.nothing", "Here")),
    ],
)
def test_an_import_is_rewritten_to_the_place_of_its_name(module: str, name: str, place: tuple[str, str]) -> None:
    """What the table does not have stays where it is."""
    assert place_of(module, name) == place


def test_a_path_means_one_thing() -> None:
    """No module is both an alias and a stub, or refused and without effect."""
    stubs, refused = set(WITHOUT_EFFECT), set(REFUSED)
    assert (stubs & refused, stubs & set(PATHS), refused & set(PATHS)) == (set(), set(), set())
    assert all(ours.startswith("crewrun") for ours in PACKAGES.values())


def test_a_guardrail_with_a_model_is_known_by_its_path_in_crewai() -> None:
    """Runs that were begun before its class moved go on without paying again."""
    agent = Agent(role="r", goal="g", backstory="b")
    task = Task(description="d", expected_output="e", agent=agent, guardrail=LLMGuardrail("Be brief", "gpt-4o"))
    assert fingerprint(task) == "dcf3e97bb0ef9891c8edc2b800267608"


def test_a_type_checker_resolves_what_users_write(tmp_path: Path) -> None:
    """`crewrun.project`, `crewrun.tools` and `crewrun.flow`, in strict mode."""
    (tmp_path / "user_crew.py").write_text(
        dedent("""\
        from typing import Any

        from crewrun import Agent, BaseLLM, Crew, Task
        from crewrun.flow import Flow, listen, start
        from crewrun.project import CrewBase, agent, crew, task
        from crewrun.tools import BaseTool, EnvVar, tool


        @tool
        def count(text: str) -> int:
            \"\"\"Count characters.\"\"\"
            return len(text)


        class Scale(BaseTool):
            name: str = "scale"
            description: str = "Weighs."

            def _run(self, what: str) -> str:
                return what


        class Mine(BaseLLM):
            def call(self, messages: object, *args: Any, **options: Any) -> str:
                return "hello"


        @CrewBase
        class Research:
            @agent
            def writer(self) -> Agent:
                return Agent(role="r", goal="g", backstory="b", llm=Mine("m"), tools=[Scale()])

            @task
            def draft(self) -> Task:
                return Task(description="d", expected_output="e", agent=self.writer())

            @crew
            def crew(self) -> Crew:
                return Crew(agents=[self.writer()], tasks=[self.draft()])


        class Steps(Flow):
            @start()
            def begin(self) -> str:
                return Research().crew().kickoff({"topic": "x"}).raw

            @listen(begin)
            def end(self, text: str) -> int:
                return len(text)


        reveal_type(Research().crew())
        reveal_type(EnvVar(name="X", description="d").required)
        """)
    )
    command = [sys.executable, "-m", "mypy", "--strict", "--config-file", str(ROOT / "pyproject.toml")]
    done = subprocess.run(
        [*command, str(tmp_path / "user_crew.py")], cwd=ROOT, capture_output=True, text=True, check=False, timeout=300
    )
    told = [line.partition(": ")[2] for line in done.stdout.splitlines() if "user_crew" in line]
    assert told == [
        'note: Revealed type is "crewrun.crew.crew.Crew"',
        'note: Revealed type is "bool"',
    ], done.stdout
