"""A Python file that is named without `:name`: the one thing in it that a row can run."""

import os
from typing import Any

import pytest
from support.user_files import in_an_empty_folder, write

from crewrun import CrewrunWarning, DefinitionError
from crewrun.definitions import load
from crewrun.definitions.formats.entry_point import find_entry_point
from crewrun.loading.block import loading
from crewrun.references import load_file
from crewrun.target import CrewTarget

pytestmark = [pytest.mark.anyio, pytest.mark.usefixtures(in_an_empty_folder.__name__)]

HEAD = """
from crewai import Agent, Crew, Flow, Task
from crewai.flow.flow import listen, start
from crewai.project import CrewBase, crew as a_crew

agent = Agent(role="R", goal="G", backstory="B", llm="offline")
"""
FACTORY = "def build_crew():\n    return Crew(tasks=[])\n"
PROJECT = "@CrewBase\nclass Press:\n    @a_crew\n    def crew(self):\n        return Crew(tasks=[])\n"
FLOW = "class Steps(Flow):\n    @start()\n    def go(self):\n        return Crew(tasks=[]).kickoff()\n"
RUNNER = "def main():\n    print(Crew(tasks=[]).kickoff())\n"
CLASS = "class Trip:\n    def __init__(self, x):\n        pass\n    def run(self):\n        Crew(tasks=[]).kickoff()\n"


def entry(text: str, **files: str) -> str | None:
    """The name that is found in demo.py."""
    write({"demo.py": text, "base.py": HEAD.replace("crewai", "crewrun"), **{f"{k}.py": v for k, v in files.items()}})
    with loading():
        return find_entry_point(load_file(os.path.abspath("demo.py")), "demo.py")


@pytest.mark.parametrize(
    ("body", "name"),
    [
        pytest.param(
            FLOW + PROJECT + FACTORY + "crew = Crew(tasks=[])\nflow = Steps()\n", "Steps", id="a flow first of all"
        ),
        pytest.param(FLOW + "class Base(Steps):\n    pass\n", "Base", id="a flow and its base"),
        pytest.param("crew = Crew(tasks=[])\n" + PROJECT + FACTORY + RUNNER, "crew", id="then a crew"),
        pytest.param("crew = team = Crew(tasks=[])\n", "crew", id="a crew with two names"),
        pytest.param("if True:\n    crew = Crew(tasks=[])\ncrew.kickoff()\n", "crew", id="a crew that is kicked off"),
        pytest.param(PROJECT + FACTORY + RUNNER, "Press", id="then a crew class"),
        pytest.param(FACTORY + CLASS + RUNNER, "build_crew", id="then a factory"),
        pytest.param(CLASS + RUNNER, "Trip", id="then a class that runs its crew"),
        pytest.param(
            "class Trip:\n    def __init__(self, x):\n        self.team = Crew(tasks=[])\n"
            "    def kickoff(self):\n        return self.team\n",
            "Trip",
            id="a class that keeps its crew",
        ),
        pytest.param(RUNNER, "main", id="then a function that kicks off"),
        pytest.param(
            FACTORY + "def run(topic):\n    crew = build_crew()\n    return crew.kickoff({'topic': topic})\n",
            "run",
            id="not a factory that only the runner calls",
        ),
        pytest.param(
            FACTORY + "def run():\n    build_crew().kickoff({'topic': 'AI'})\n",
            "build_crew",
            id="but where the runner has inputs of its own",
        ),
        pytest.param(
            FACTORY + "def run():\n    topic = input('Topic? ')\n    build_crew().kickoff({'topic': topic})\n",
            "run",
            id="a runner that asks",
        ),
        pytest.param(
            "import asyncio\nasync def go(topic):\n    return await Crew(tasks=[]).akickoff()\n"
            "def main(topic):\n    return asyncio.run(go(topic))\n",
            "main",
            id="an async one under a sync one",
        ),
        pytest.param(
            "import asyncio\nasync def go(topic):\n    crew = Crew(tasks=[])\n"
            "    return await asyncio.to_thread(crew.kickoff, inputs={'topic': topic})\n",
            "go",
            id="a kickoff in a thread",
        ),
        pytest.param(
            "from press import Press\ndef run():\n    Press().crew().kickoff({'topic': 'AI'})\n"
            "def train():\n    Press().crew().train(n_iterations=1)\n"
            "def replay():\n    Press().crew().replay(task_id='1')\n",
            "Press",
            id="a main.py of CrewAI's template",
        ),
        pytest.param("from press import Press\n", "Press", id="what is imported when there is nothing else"),
        pytest.param(FLOW + "from press import Press\n", "Steps", id="a flow with an imported crew"),
        pytest.param(
            "def agent_of():\n    return agent\ndef build(topic):\n    crew = Crew(tasks=[])\n    return crew\n",
            "build",
            id="helpers",
        ),
        pytest.param(
            "from press import build\ndef main():\n    build().kickoff({'topic': 'AI'})\n",
            "build",
            id="an imported factory",
        ),
        pytest.param(
            "def a(x):\n    return Crew(tasks=[])\ndef b(x):\n    return Crew(tasks=[])\n"
            "if __name__ == '__main__':\n    b(1).kickoff()\n",
            "b",
            id="the one of several that the file itself runs",
        ),
        pytest.param("first = Crew(tasks=[])\ncrew = Crew(tasks=[])\ncrew.kickoff()\n", "crew", id="that of two crews"),
        pytest.param("def _hidden():\n    return Crew(tasks=[])\ncrew = _hidden()\n", "crew", id="hidden names"),
    ],
)
@pytest.mark.filterwarnings("ignore::crewrun.CrewrunWarning")
def test_a_script_is_run_by_the_surest_thing_in_it(body: str, name: str) -> None:
    """From the flow on down; what has inputs of its own comes after all that rows can reach."""
    found = entry(
        "from base import *\n" + body,
        press="from base import *\n" + PROJECT + "def build():\n    return Crew(tasks=[])\n",
    )
    assert found == name


@pytest.mark.filterwarnings("ignore::crewrun.CrewrunWarning")
@pytest.mark.parametrize(
    ("body", "told"),
    [
        pytest.param(
            "first = Crew(tasks=[])\nsecond = Crew(tasks=[])\n",
            "demo.py: several things in it could be run; say which is meant: "
            "--crew demo.py:first, --crew demo.py:second",
            id="two crews",
        ),
        pytest.param(
            "def a(x):\n    return Crew(tasks=[])\ndef b(x):\n    return Crew(tasks=[])\n",
            "demo.py: several things in it could be run; say which is meant: --crew demo.py:a, --crew demo.py:b",
            id="two factories",
        ),
        pytest.param(
            "if __name__ == '__main__':\n    crew = Crew(tasks=[])\n",
            "demo.py: all that could be run is under `if __name__ == '__main__':`, which is not executed; "
            "move the code that makes the crew into a function",
            id="all under main",
        ),
        pytest.param(
            "import sys\nsys.exit(3)\ncrew = Crew(tasks=[])\n",
            "demo.py: defines nothing that can be run: demo.py:3: loading stopped at sys.exit(3), "
            "and what follows in the file was not run; put that under `if __name__ == '__main__':`",
            id="left before",
        ),
        pytest.param("x = 1\n", "demo.py: nothing in it can be run; looked for a flow, a crew, a @CrewBase", id="none"),
    ],
)
def test_a_script_without_one_thing_to_run_is_told(body: str, told: str) -> None:
    """What there is, or was looked for, and the way out."""
    with pytest.raises(DefinitionError) as caught:
        entry("from base import Crew, agent\n" + body)
    assert str(caught.value).startswith(told)


@pytest.mark.parametrize("file", ["demo.py", "a/demo.py"])
def test_a_script_is_a_crew_wherever_it_lies(file: str) -> None:
    """`crewai` means crewrun in it, and what it kicks off is left out."""
    write({file: HEAD + "crew = Crew(tasks=[])\nprint(crew)\n"})
    loaded: Any = load(file)
    assert (type(loaded.target), loaded.kind, str(loaded.path)) == (CrewTarget, "Python", file)


def test_a_function_that_no_row_reaches_is_warned_of() -> None:
    """All rows would get the same answer."""
    with pytest.warns(CrewrunWarning) as caught:
        assert entry("from base import *\n" + RUNNER) == "main"
    assert [str(warning.message) for warning in caught] == [
        "demo.py: main() takes nothing from a row, so that every row runs the same; name one with parameters, or a crew"
    ]


async def test_code_that_runs_a_crew_jsonc_by_itself() -> None:
    """By CrewAI's function for it, which gives the crew and its default inputs."""
    crew = '{"agents": ["w"], "tasks": [{"name": "t", "description": "On {topic}, {year}", "expected_output": "e", '
    body = "from crewai.project import load_crew\ndef run(topic):\n    crew, inputs = load_crew('crew.jsonc')\n"
    write(
        {
            "crew.jsonc": crew + '"agent": "w"}], "inputs": {"year": "1999", "topic": "none"}}',
            "agents/w.jsonc": '{"role": "R", "goal": "G", "backstory": "B", "llm": "offline"}',
            "demo.py": body + "    return crew.kickoff({**inputs, 'topic': topic})\n",
        }
    )
    output = await load("demo.py").target.akickoff({"topic": "tides"})
    assert "On tides, 1999" in str(output)
