"""What objects show of themselves: short `repr`s, and cards in HTML and Markdown that cannot run or fetch anything."""

import re
from base64 import b64decode
from html.parser import HTMLParser
from typing import Any
from xml.etree import ElementTree

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import BaseModel

from crewrun import LLM, Agent, Crew, CrewOutput, Process, Task, TaskOutput, UsageMetrics
from crewrun.crew.output import AgentOutput
from crewrun.flow import Flow, listen, start
from crewrun.notebook.card import Card, Grid
from crewrun.notebook.html import as_html
from crewrun.notebook.markdown import as_markdown
from crewrun.redaction.redactor import learn

HOSTILE = "<script>alert(1)</script> ![x](http://evil/?q) \x1b[31m \u202e \udc80 ```\n| <img src=http://evil/>"
SECRET = "not-a-word-4f9d2c71b8e0"


class Answer(BaseModel):
    title: str
    stars: int


class Sorting(Flow):
    """Two methods."""

    @start()
    def read(self) -> str:
        return "x"

    @listen(read)
    def sort(self, text: str) -> str:
        return text


def crew(**fields: Any) -> Crew:
    researcher = Agent(role="Researcher", goal="Research {topic}", backstory="b", llm="openai/gpt-4.1-mini")
    writer = Agent(role="Writer", goal="Write", backstory="b")
    find = Task(name="find", description="Find {topic}", expected_output="e", agent=researcher)
    write = Task(description=f"Write {'at length ' * 20}", expected_output="e", agent=writer)
    return Crew(agents=[researcher, writer], tasks=[find, write], **fields)


def output(raw: str) -> CrewOutput:
    tasks = [TaskOutput(raw=raw, name=name, description="d", agent="Writer") for name in ("find", "write")]
    return CrewOutput(raw=raw, tasks_output=tasks, token_usage=UsageMetrics(total_tokens=1234, cost_usd=0.0123))


REPRS = {
    "Crew(2 agents, 2 tasks)": crew,
    "Crew('news', 2 agents, 2 tasks, hierarchical)": lambda: crew(
        name="news", process=Process.hierarchical, manager_llm="offline"
    ),
    "Agent('Researcher', llm='openai/gpt-4.1-mini')": lambda: crew().agents[0],
    "Agent('Writer')": lambda: crew().agents[1],
    "Task('find', 'Find {topic}', agent='Researcher')": lambda: crew().tasks[0],
    "Task('Write at length at length at length at length at length at l…', agent='Writer')": lambda: crew().tasks[1],
    "LLM('openai/x')": lambda: LLM("openai/x", api_key=SECRET, base_url=f"http://u:{SECRET}@h", aws_key=SECRET),
    "Sorting(2 methods)": Sorting,
    "CrewOutput('Tides', 2 tasks, 1,234 tokens, $0.0123)": lambda: output("Tides"),
    "TaskOutput('Tides', 'find', 'Writer')": lambda: output("Tides").tasks_output[0],
    "AgentOutput('Tides', 'Writer')": lambda: AgentOutput(raw="Tides", agent_role="Writer"),
    "CrewOutput(2 tasks, 1,234 tokens, $0.0123)": lambda: output(""),
}


@pytest.mark.parametrize(("text", "make"), REPRS.items(), ids=REPRS)
def test_a_repr_is_short_and_says_what_it_is(text: str, make: Any) -> None:
    """On a prompt, in a list, in a debugger; an output's `str` is its answer, as before."""
    made = make()
    assert repr(made) == text
    assert str(made) == ("Tides" if "'Tides'" in text else "" if text.startswith("CrewOutput") else text)


def test_megabytes_and_secrets_stay_out() -> None:
    """A secret at the cut does not show its beginning."""
    learn([SECRET])
    for raw in (f"{'x ' * 28}{SECRET}", f"{'x' * 9990}{SECRET}", f"{SECRET}{'y' * 10_000_000}"):
        shown = output(raw)
        texts = [repr(shown), shown._repr_html_(), shown._repr_markdown_()]
        assert not [text for text in texts if SECRET[:8] in text]
        assert (len(texts[0]) < 120, max(map(len, texts)) < 50_000) == (True, True)
    assert "90,023 more characters" in output("x" * 100_023)._repr_html_()


def test_the_card_of_a_crew_has_its_picture_agents_and_tasks() -> None:
    """The picture is an SVG image with its own colours; Markdown has the tables alone."""
    html = crew(name="news")._repr_html_()
    (address,) = re.findall(r'src="data:image/svg\+xml;base64,([^"]+)"', html)
    drawing = ElementTree.fromstring(b64decode(address))  # our own output
    assert drawing.tag.endswith("svg")
    assert "light-dark" in "".join(drawing.itertext())
    assert "<b>Crew news</b>" in html
    assert crew()._repr_markdown_().splitlines()[:5] == [
        r"**Crew** · sequential\: 2 tasks, 2 agents",
        "",
        "| agent | goal | model | tools |",
        "| --- | --- | --- | --- |",
        r"| Researcher | Research \{topic\} | openai/gpt\-4.1\-mini |  |",
    ]
    assert "data:image" in Sorting()._repr_html_()
    assert "data:image" not in Crew(agents=[], tasks=[])._repr_html_()


def test_the_card_of_an_answer_has_its_fields_or_its_text() -> None:
    """Tasks of a crew with several are folded below."""
    text = output("Tides\n  rise")
    assert "Tides\n  rise</pre>" in text._repr_html_()
    assert text._repr_html_().count("<details") == 2
    text.pydantic = Answer(title="Tides", stars=3)
    assert text._repr_markdown_().splitlines()[2:6] == [
        "| field | value |",
        "| --- | --- |",
        "| title | Tides |",
        "| stars | 3 |",
    ]


@given(st.text() | st.just(HOSTILE))
def test_no_text_becomes_markup(text: str) -> None:
    """Whatever an answer, a name or a field holds: the elements and addresses are those of the card itself."""
    card = Card(text, (text,), "data:x", text, (Grid((text,), ((text,),)),), (Card(text, text=text),))
    parser = _Elements()
    parser.feed(as_html(card))
    plain = _Elements()
    plain.feed(as_html(Card("x", ("x",), "data:x", "x", (Grid(("x",), (("x",),)),), (Card("x", text="x"),))))
    assert set(parser.elements) <= set(plain.elements)
    as_html(card).encode()
    markdown = as_markdown(card)
    markdown.encode()
    outside = re.sub(r"(?ms)^(`{3,})text\n.*?\n\1$", "", markdown)
    assert not re.search(r"(?<!\\)[<\[`]", outside)


class _Elements(HTMLParser):
    """The start tags of a page, as written."""

    def __init__(self) -> None:
        super().__init__()
        self.elements: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append(self.get_starttag_text() or "")
