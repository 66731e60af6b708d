"""Pictures of flows and crews: what is drawn, that it can be read, and that what users wrote stays text."""

import re
import shutil
import subprocess
from collections.abc import Callable
from dataclasses import dataclass
from itertools import combinations, pairwise
from pathlib import Path
from typing import Any, Literal
from xml.etree import ElementTree

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support import command
from support.command import write_crew
from support.forks import crewrun

from crewrun import UsageError
from crewrun.diagram import Diagram, Edge, Node, Table, page
from crewrun.flow import Flow, and_, listen, or_, router, start

SVG = "{http://www.w3.org/2000/svg}"
BROWSERS = ("chromium-headless-shell", "chromium", "chromium-browser", "google-chrome", "chrome")


class Article(Flow):
    """Two kinds of research, a draft, and a review that may lead back to it."""

    @start()
    async def market(self) -> None:
        """Look at the market."""

    @start()
    async def rivals(self) -> None: ...

    @listen(or_(and_(market, rivals), "revise"))
    async def draft(self) -> None: ...

    @router(draft)
    async def review(self) -> Literal["publish", "revise", "give up"]:
        return "publish"

    @listen("publish")
    async def post(self) -> None: ...


@dataclass
class Picture:
    """A page's drawing, read back: boxes as (left, top, right, bottom) by node, paths by their ends."""

    width: float
    height: float
    boxes: dict[str, tuple[float, float, float, float]]
    kinds: dict[str, str]
    edges: dict[tuple[str, str], tuple[str, list[float]]]

    @classmethod
    def of(cls, html: str) -> "Picture":
        """Out of a page's text."""
        found = re.search(r"<figure>(.*)</figure>", html, re.DOTALL)
        assert found is not None
        svg = ElementTree.fromstring(found[1])
        _, _, width, height = map(float, svg.attrib["viewBox"].split())
        nodes = {node.attrib["data-node"]: node for node in svg.iter(f"{SVG}g")}
        edges = {
            (path.attrib["data-from"], path.attrib["data-to"]): (
                path.attrib["class"].removeprefix("edge "),
                [float(number) for number in re.findall(r"-?[\d.]+", path.attrib["d"])],
            )
            for path in svg.iter(f"{SVG}path")
            if "data-from" in path.attrib
        }
        kinds = {name: node.attrib["class"].removeprefix("node ") for name, node in nodes.items()}
        return cls(width, height, {name: _box(node) for name, node in nodes.items()}, kinds, edges)

    def check(self) -> None:
        """All nodes are in the picture and apart from each other; each edge begins and ends at the border of its."""
        for left, top, right, bottom in self.boxes.values():
            assert 0 <= left < right <= self.width
            assert 0 <= top < bottom <= self.height
        for one, two in combinations(self.boxes.values(), 2):
            assert one[2] < two[0] or two[2] < one[0] or one[3] < two[1] or two[3] < one[1], (one, two)
        for (source, target), (_, numbers) in self.edges.items():
            left, _, right, bottom = self.boxes[source]
            assert left <= numbers[0] <= right
            assert numbers[1] == pytest.approx(bottom, abs=0.2)
            assert numbers[-1] == pytest.approx(self.boxes[target][1], abs=0.2)


def _box(node: ElementTree.Element) -> tuple[float, float, float, float]:
    polygon = node.find(f"{SVG}polygon")
    if polygon is not None:
        points = [tuple(map(float, point.split(","))) for point in polygon.attrib["points"].split()]
        return (
            min(p[0] for p in points),
            min(p[1] for p in points),
            max(p[0] for p in points),
            max(p[1] for p in points),
        )
    rect = node.find(f"{SVG}rect")
    assert rect is not None
    x, y, width, height = (float(rect.attrib[name]) for name in ("x", "y", "width", "height"))
    return x, y, x + width, y + height


def test_a_flow_is_drawn_with_its_joins_labels_and_ways_back(tmp_path: Path) -> None:
    """Each method a box, each condition a join, each label a node, what closes a cycle an edge of its own kind."""
    path = Article.plot(tmp_path / "article")
    assert path == Article().plot(tmp_path / "article.html") == tmp_path / "article.html"
    picture = Picture.of(path.read_text(encoding="utf-8"))
    picture.check()
    assert picture.kinds == {
        "market": "start",
        "rivals": "start",
        "draft": "listener",
        "review": "router",
        "post": "listener",
        "review→give up": "open-label",
        "review→publish": "label",
        "review→revise": "label",
        "draft←or": "or",
        "draft←or←and0": "and",
    }
    assert {ends: kind for ends, (kind, _) in picture.edges.items()} == {
        ("market", "draft←or←and0"): "plain",
        ("rivals", "draft←or←and0"): "plain",
        ("draft←or←and0", "draft←or"): "plain",
        ("draft←or", "draft"): "plain",
        ("draft", "review"): "plain",
        ("review", "review→give up"): "plain",
        ("review", "review→publish"): "plain",
        ("review", "review→revise"): "plain",
        ("review→revise", "draft←or"): "back",
        ("review→publish", "post"): "plain",
    }


def test_the_page_says_the_same_in_words_and_explains_what_it_shows(tmp_path: Path) -> None:
    """A legend of what is there, a table of the methods, no scripts, and nothing from elsewhere."""
    text = Article.plot(tmp_path / "x.html").read_text(encoding="utf-8")
    assert "<p>5 methods, 2 starts, 1 router. Two kinds of research, a draft, and a review" in text
    assert re.findall(r"</svg>([^<]+)</li>", text) == [
        "the flow begins here",
        "runs when what leads to it has ended",
        "decides: what it returns is a label",
        "a label, and what listens to it",
        "a label that nothing listens to: this branch ends",
        "and: when all have ended",
        "or: when the first has ended",
        "leads back",
    ]
    cells = [re.findall(r"<td>(.*?)</td>", row) for row in re.findall(r"<tr>(.*?)</tr>", text)]
    assert cells == [
        [],
        ["market", "start", "the kickoff", ""],
        ["rivals", "start", "the kickoff", ""],
        ["draft", "listener", "or_(and_(market, rivals), revise)", ""],
        ["review", "router", "draft", "&#x27;give up&#x27;, &#x27;publish&#x27;, &#x27;revise&#x27;"],
        ["post", "listener", "publish", ""],
    ]
    assert ">Look at the market.</text>" in text
    assert re.findall(r"<script|\bsrc=|\bhref=|@import|url\((?!#)", text) == []


def test_labels_of_routers_that_do_not_name_them_come_from_all_of_these(tmp_path: Path) -> None:
    """And a class that others are to complete has labels that nobody returns yet."""

    class Open(Flow):
        @start()
        async def begin(self) -> None: ...

        @router(begin)
        async def one(self) -> Any: ...

        @router(begin)
        async def two(self) -> Any: ...

        @listen("found")
        async def keep(self) -> None: ...

    class Base(Flow):
        @listen("found")
        async def keep(self) -> None: ...

    assert set(Picture.of(Open.plot(tmp_path / "o").read_text(encoding="utf-8")).edges) == {
        ("begin", "one"),
        ("begin", "two"),
        ("one", "one→found"),
        ("two", "two→found"),
        ("one→found", "keep"),
        ("two→found", "keep"),
    }
    assert set(Picture.of(Base.plot(tmp_path / "b").read_text(encoding="utf-8")).edges) == {("→found", "keep")}
    assert "no methods" in Flow.plot(tmp_path / "none").read_text(encoding="utf-8")


def fan(count: int) -> Diagram:
    """One node, `count` after it, and one after these."""
    middle = [str(i) for i in range(count)]
    return made(["first", *middle, "last"], [(a, b) for i in middle for a, b in (("first", i), (i, "last"))])


def chain(count: int) -> Diagram:
    """One after the other, each with a way back to the one before and all to the first."""
    names = [str(i) for i in range(count)]
    pairs = list(pairwise(names))
    return made(names, [*pairs, *((b, a) for a, b in pairs), *((one, "0") for one in names)])


def made(names: list[str], edges: list[tuple[str, str]]) -> Diagram:
    """A diagram without further words."""
    nodes = tuple(Node(name, f"method_{name}" * (1 + i % 3), "plain") for i, name in enumerate(names))
    return Diagram("t", "", nodes, tuple(dict.fromkeys(Edge(a, b) for a, b in edges)), {}, Table((), ()))


@pytest.mark.parametrize("count", [1, 2, 8, 60], ids=str)
@pytest.mark.parametrize("shape", [fan, chain])
def test_shapes_of_every_size_can_be_read(shape: Callable[[int], Diagram], count: int) -> None:
    """Nothing overlaps, and a row that would be too wide is broken."""
    picture = Picture.of(page(shape(count)))
    picture.check()
    assert picture.width < 8000


@given(st.data())
@settings(deadline=None, max_examples=60)
def test_any_graph_can_be_read(data: st.DataObject) -> None:
    """Cycles, loops of one node, parts that do not hang together: all nodes apart, all edges at their ends."""
    names = [str(i) for i in range(data.draw(st.integers(1, 14)))]
    edges = data.draw(st.lists(st.tuples(st.sampled_from(names), st.sampled_from(names)), max_size=30))
    picture = Picture.of(page(made(names, edges)))
    picture.check()
    assert (set(picture.boxes), set(picture.edges)) == (set(names), set(edges))


def test_what_users_write_stays_text(tmp_path: Path) -> None:
    """Markup in labels and docstrings, signs that turn the reading direction, names of any length and alphabet."""

    class Odd(Flow):
        """<script>alert(1)</script> & "more\u202e"."""

        @start()
        async def 開始(self) -> None:  # noqa: N802, PLC2401  (what the test is about)
            """</title></svg><script>alert(2)</script>"""

        @router(開始)
        async def decide(self) -> Literal["<b>yes</b>", "no\u202e\x00"]:
            return "<b>yes</b>"

        async def long(self) -> None: ...

        long.__doc__ = "of \ud800"
        long.__name__ = "long_" * 40
        locals()["long_" * 40] = listen("<b>yes</b>")(long)

    text = Odd.plot(tmp_path / "odd").read_text(encoding="utf-8")
    Picture.of(text).check()
    assert re.findall(r"<script|<b>|\u202e|\x00", text) == []
    assert "&lt;script&gt;alert(1)&lt;/script&gt; &amp; &quot;more\\u202e&quot;." in text
    assert ">of \\ud800</text>" in text


CREW = """
from crewrun import Agent, Crew, Task

seeker = Agent(role="Seeker of {topic}", goal="g", backstory="b", llm="offline")
writer = Agent(role="Writer", goal="g", backstory="b", llm="offline")
facts = Task(name="facts", description="d", expected_output="e", agent=seeker)
prices = Task(name="prices", description="d", expected_output="e", agent=seeker, async_execution=True)
rivals = Task(name="rivals", description="d", expected_output="e", agent=seeker, async_execution=True, context=[])
draft = Task(name="draft", description="d", expected_output="e", agent=writer, context=[facts, prices])
last = Task(description="d", expected_output="e", agent=writer)
crew = Crew(agents=[seeker, writer], tasks=[facts, prices, rivals, draft, last])
"""


def test_the_command_draws_a_crew_s_tasks_contexts_and_agents(tmp_path: Path) -> None:
    """Async ones beside each other; an arrow says what is handed on."""
    (tmp_path / "team.py").write_text(CREW, encoding="utf-8")
    done = command.crewrun("plot", "team.py:crew", "-o", "-", cwd=tmp_path)
    assert (done.returncode, done.stderr) == (0, "")
    picture = Picture.of(done.stdout)
    picture.check()
    assert list(picture.kinds.values()) == ["task", "async", "async", "task", "task"]
    assert {ends: kind for ends, (kind, _) in picture.edges.items()} == {
        ("task 1", "task 2"): "all",
        ("task 1", "task 3"): "order",
        ("task 1", "task 4"): "context",
        ("task 2", "task 4"): "context",
        ("task 3", "task 4"): "order",
        ("task 4", "task 5"): "all",
    }
    assert done.stdout.count(">Seeker of {topic}</text>") == 3
    assert "<td>task_5</td><td>Writer</td><td>all outputs before it</td>" in done.stdout


def test_the_command_writes_a_page_named_after_what_it_shows(tmp_path: Path) -> None:
    """What cannot be drawn or written is one line and exit code 2."""
    write_crew(tmp_path, tasks=["Say more"])
    (tmp_path / "flow.py").write_text(
        "from crewrun.flow import Flow, start\nclass Tiny(Flow):\n    @start()\n    def go(self): ...\n"
        "class Foreign:\n    def kickoff(self, inputs=None): ...\n",
        encoding="utf-8",
    )
    found = crewrun("plot", cwd=tmp_path)
    assert (found.returncode, found.stdout, found.stderr) == (0, "", "wrote crew.html\n")
    assert list(Picture.of((tmp_path / "crew.html").read_text(encoding="utf-8")).boxes) == ["task 1", "task 2"]
    assert crewrun("plot", "flow.py:Tiny", cwd=tmp_path).stderr == "wrote Tiny.html\n"
    foreign = crewrun("plot", "flow.py:Foreign", cwd=tmp_path)
    assert (foreign.returncode, foreign.stderr) == (
        2,
        "crewrun: Foreign is neither a flow nor a crew of crewrun's own, so it cannot be drawn\n",
    )
    with pytest.raises(UsageError, match=r"no/x.html: the picture cannot be written: No such file or directory$"):
        Article.plot(tmp_path / "no" / "x")
    (tmp_path / "notes.html").write_text("not to be lost", encoding="utf-8")
    with pytest.raises(UsageError, match=r"notes.html exists and is not an HTML page, so it is not overwritten"):
        Article.plot(tmp_path / "notes.html")


@pytest.mark.skipif(not any(map(shutil.which, BROWSERS)), reason="there is no headless Chromium")
def test_a_browser_shows_it_as_it_is_meant(tmp_path: Path) -> None:
    """The words fit into their boxes there, and the page has no error and runs no script."""
    browser = next(filter(None, map(shutil.which, BROWSERS)))
    text = Article.plot(tmp_path / "article").read_text(encoding="utf-8")
    measure = """<script>
    const out = [...document.querySelectorAll('figure g.node')].filter(node => {
      const box = node.querySelector('rect, polygon').getBBox();
      return [...node.querySelectorAll('text')].some(words => {
        const inner = words.getBBox();
        return inner.x < box.x || inner.y < box.y || inner.x + inner.width > box.x + box.width
          || inner.y + inner.height > box.y + box.height;
      });
    }).map(node => node.dataset.node);
    document.title = JSON.stringify({nodes: document.querySelectorAll('figure g.node').length, out});
    </script>"""
    page_file = tmp_path / "measured.html"
    without_policy = re.sub(r'<meta http-equiv="Content-Security-Policy"[^>]*>', "", text)
    page_file.write_text(without_policy.replace("</body>", f"{measure}</body>"), encoding="utf-8")
    done = subprocess.run(
        [str(browser), "--headless", "--no-sandbox", "--disable-gpu", "--dump-dom", page_file.as_uri()],
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
        env={"HOME": str(tmp_path), "PATH": "/usr/bin:/bin"},
    )
    assert re.findall(r"<title>(\{.*?\})</title>", done.stdout) == ['{"nodes":10,"out":[]}']
