"""Python files without a crew or function to name: what kicks off by itself is executed as a whole for each row."""

from pathlib import Path

import pytest
from support.command import problems, read_rows, write_rows
from support.forks import crewrun
from support.user_files import in_an_empty_folder, write

from crewrun import CrewrunWarning, DefinitionError
from crewrun.definitions import load

pytestmark = pytest.mark.usefixtures(in_an_empty_folder.__name__)

IMPORTS = "from __future__ import annotations\nfrom crewai import Agent, Crew, Task\nfrom pydantic import BaseModel\n"
AGENT = "agent = Agent(role='r', goal='g', backstory='b')\n"
ASKING = "topic = input('Topic? ')\nif topic.lower() == 'odd':\n    raise ValueError('odd')\n"
KICKOFF = "Crew(agents=[agent], tasks=[Task(description=f'On {topic}', expected_output='x', agent=agent)]).kickoff()\n"


def in_main(text: str) -> str:
    """`text` under the guard of a main file."""
    lines = "".join(f"    {line}\n" for line in text.splitlines())
    return f'if __name__ == "__main__":\n{lines}'


@pytest.mark.parametrize(
    "text",
    [
        pytest.param(ASKING + AGENT + "print(agent.kickoff(f'On {topic}'))\n", id="an agent alone"),
        pytest.param(in_main(ASKING + AGENT + KICKOFF), id="under __main__"),
        pytest.param(
            AGENT + "async def go():\n    return await agent.kickoff_async(f'On {topic}')\n"
            "import asyncio\n" + in_main(ASKING + "asyncio.run(go())"),
            id="a function that has what is asked under __main__",
        ),
        pytest.param(
            "class Parts(BaseModel):\n    parts: list[Part]\nclass Part(BaseModel):\n    n: int = 1\n"
            + ASKING
            + "Parts(parts=[Part()])\n"
            + AGENT
            + KICKOFF,
            id="classes that look each other up",
        ),
        pytest.param(
            "import argparse\nparser = argparse.ArgumentParser()\nparser.add_argument('topic')\n"
            "topic = parser.parse_args().topic\n" + ASKING.partition("\n")[2] + AGENT + KICKOFF,
            id="argparse at the top",
        ),
    ],
)
def test_each_row_runs_the_file(text: str, tmp_path: Path) -> None:
    """The row answers what it asks, and the answer of its last kickoff is the row's output."""
    write({"demo.py": IMPORTS + text})
    write_rows(tmp_path / "in.jsonl", [{"topic": "sun"}, {"topic": "odd"}, {"topic": "moon"}])
    crewrun("batch", "in.jsonl", "--crew", "demo.py", "-m", "offline", "-o", "out.jsonl", cwd=tmp_path)
    first, odd, last = sorted(read_rows(tmp_path / "out.jsonl"), key=lambda row: row["index"])
    assert ["On sun" in first["output"], "On moon" in last["output"]] == [True, True]
    assert odd["error"]["message"].endswith("ValueError: odd")


def test_a_file_that_takes_nothing_from_rows_is_warned_of() -> None:
    """It is paid for with each of them."""
    write({"demo.py": IMPORTS + AGENT + "agent.kickoff('Go')\n"})
    with pytest.warns(CrewrunWarning) as warned:
        load("demo.py")
    assert [str(warning.message) for warning in warned] == [
        "demo.py: the file as a whole takes nothing from a row, so that every row runs the same; name a function with "
        "parameters, or a crew"
    ]


@pytest.mark.parametrize(
    ("text", "told"),
    [
        pytest.param(
            "import streamlit as st\nif st.button('Go'):\n    agent.kickoff('Go')\n",
            "demo.py: is a Streamlit app that makes its crew once somebody has filled in fields and pressed a button; "
            "move the code that makes it into a function with parameters",
            id="Streamlit",
        ),
        pytest.param(
            "import sys\ntopic = sys.argv[1]\nagent.kickoff(topic)\n",
            "demo.py: defines nothing that can be run: demo.py:6: loading stopped at its own arguments, of which it "
            "has none here, and what follows in the file was not run; give them defaults, or read them under "
            "`if __name__ == '__main__':`",
            id="sys.argv",
        ),
    ],
)
def test_a_file_that_no_row_can_run_is_refused(text: str, told: str) -> None:
    """With the way out."""
    write({"streamlit.py": "def button(label): return False\n", "demo.py": IMPORTS + AGENT + text})
    with pytest.raises(DefinitionError) as caught:
        load("demo.py")
    assert str(caught.value) == told


CHAT = """\
from crewai import Agent
def chat():
    agent = Agent(role="r", goal="g", backstory="b")
    while True:
        question = input("You: ")
        if question == "exit":
            break
        try:
            agent.kickoff(f"About {question}")
        except Exception:
            pass
def number():
    while True:
        try:
            number = int(input("How many? "))
            break
        except ValueError:
            pass
    return Agent(role="r", goal="g", backstory="b").kickoff(f"About {number}")
"""


def test_a_loop_that_asks_again_is_ended(tmp_path: Path) -> None:
    """Its first round's answer is the row's; where there is none, the row has given no answer that the code takes."""
    write({"demo.py": CHAT})
    write_rows(tmp_path / "in.jsonl", [{"question": "why", "number": "x"}, {"question": "how", "number": 3}])
    crewrun("batch", "in.jsonl", "--crew", "demo.py:chat", "-m", "offline", "-o", "chat.jsonl", cwd=tmp_path)
    rows = sorted(read_rows(tmp_path / "chat.jsonl"), key=lambda row: row["index"])
    assert ["About why" in rows[0]["output"], "About how" in rows[1]["output"]] == [True, True]
    assert [row["usage"]["calls"] for row in rows] == [1, 1]
    crewrun("batch", "in.jsonl", "--crew", "demo.py:number", "-m", "offline", "-o", "n.jsonl", cwd=tmp_path)
    rows = sorted(read_rows(tmp_path / "n.jsonl"), key=lambda row: row["index"])
    assert problems(rows) == {0: "demo.py:15: input('How many? ') asks the row again, which has given its answer"}
    assert "About 3" in rows[1]["output"]
