"""What of a tool's calls is on record, and given again without calling it: results, and nothing else."""

from pathlib import Path

import pytest
from support.workspace import Place

# An agent of `writer`'s kind asks for its tool once and then answers; the second task is what is edited.
TOOLS = """\
from pathlib import Path

from crewrun import LLM
from crewrun.tools import tool


@tool
def look_up(topic: str) -> str:
    \"\"\"Look a topic up.\"\"\"
    with Path("calls.txt").open("a") as file:
        file.write("called\\n")
    {body}
"""
FINDS = 'return "found"'
FAILS = 'raise ValueError("not today")'
ASKS = 'return LLM("gpt-4.1-mini").call("Look around")'


def give_tool(place: Place, body: str, last_task: str) -> None:
    """A crew whose first task has the tool, and whose last one has none."""
    (place.folder / "my_tools.py").write_text(TOOLS.format(body=body))
    text = place.crew(last_task).replace("  draft:\n", "  draft:\n    tools: ['my_tools:look_up']\n")
    (place.folder / "crew.yaml").write_text(text)


def calls(folder: Path) -> int:
    """How often the tool was called."""
    return len((folder / "calls.txt").read_text().splitlines())


@pytest.mark.parametrize(
    ("body", "again"),
    [
        pytest.param(FINDS, 0, id="a result"),
        pytest.param(FAILS, 1, id="a failure"),
        pytest.param(ASKS, 1, id="a result that a model had a part in"),
    ],
)
def test_only_a_result_of_the_tools_own_is_given_again(place: Place, body: str, again: int) -> None:
    """One that failed may succeed now; where a model was asked, its answer is on record, and the tool runs again."""
    place.rows({"topic": "topic 0"})
    give_tool(place, body, "Conclude on {topic}")
    place.batch()
    assert calls(place.folder) == 1
    give_tool(place, body, "Sum {topic} up")
    assert place.batch() == ["Sum topic 0 up"]
    assert calls(place.folder) == 1 + again


def test_a_tool_whose_code_has_changed_is_called_again(place: Place) -> None:
    """Another version may give another result, although it was asked the same."""
    place.rows({"topic": "topic 0"})
    give_tool(place, FINDS, "Conclude on {topic}")
    place.batch()
    give_tool(place, 'return "found" + ""', "Conclude on {topic}")
    place.batch()
    assert calls(place.folder) == 2
    give_tool(place, 'return "found" + ""', "Sum {topic} up")
    place.batch()
    assert calls(place.folder) == 2


def test_a_tool_with_another_setting_is_called_again(place: Place) -> None:
    """What it was made with is part of its version."""
    place.rows({"topic": "topic 0"})
    give_tool(place, FINDS, "Conclude on {topic}")
    path = place.folder / "my_tools.py"
    one = path.read_text().replace("@tool\n", "@tool(max_result_chars=100)\n")
    path.write_text(one)
    place.batch()
    path.write_text(one.replace("=100", "=2"))
    place.batch()
    assert calls(place.folder) == 2
