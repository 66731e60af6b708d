"""The page of a report with a great many rows, with hostile ones, and for people who see or use it otherwise."""

import json
import re
from pathlib import Path

import pytest
from support.browser import Browser, Tab
from support.report_data import ReportData, encoded
from support.report_pages import in_one_process, matching, needs_browser, page_of, ready

from crewrun.diagram.look import look
from crewrun.report.page import write_page
from crewrun.report.page.assets import style

pytestmark = in_one_process

MILLION = 1_000_000
# Each would run or fetch something, or change the page, if it were ever taken for markup, an address or a style.
PAYLOADS = [
    "<script>hacked('script')</script>",
    "</script><script>hacked('end of data')</script>",
    "<!--<script>hacked('comment')</script>-->",
    "<img src=x onerror=hacked('img')>",
    "\"><svg onload=hacked('attribute')>",
    "' onfocus=hacked('quote') autofocus x='",
    "javascript:hacked('address')",
    "<iframe srcdoc='<script>parent.hacked(1)</script>'></iframe>",
    "<style>*{display:none}</style>",
    "<base href='https://example.invalid/'><form action='/x'><button id=head>",
    "{{constructor.constructor('hacked(2)')()}}${hacked(3)}",
    "<a href='data:text/html,<script>hacked(4)</script>'>link</a>",
    "__proto__",
    "constructor",
]


@needs_browser
def test_100_000_rows_open_and_answer_at_once(browser: Browser, large: Path) -> None:
    """The rows are there after less than two seconds of the page's work, each search takes less than 200 ms of it."""
    one = browser.open(large)
    one.wait("document.documentElement.dataset.ready")
    assert one.cpu_s < 2
    ready(one)
    assert one.run("document.querySelectorAll('.grid-body .grid-row').length") < 60
    took = {}
    for words in ("river copper", "needle99999", "w", '"garden winter"', "nowhere at all"):
        before = one.cpu_s
        one.run(f"search.value = {words!r}; search.dispatchEvent(new Event('change')); document.body.offsetHeight")
        took[words] = one.cpu_s - before
    assert {words: s for words, s in took.items() if s >= 0.2} == {}
    assert (matching(one), one.problems) == ("0 of 100,000 rows match", [])
    one.close()


@needs_browser
def test_scrolling_through_100_000_rows_holds_nothing_up(browser: Browser, large: Path) -> None:
    """Each step takes a small part of 200 ms, and the rows in view are those of the place."""
    one = ready(browser.open(large))
    before, steps = one.cpu_s, 60
    scroll = f"""(async () => {{
      const grid = document.getElementById('grid');
      for (let i = 0; i < {steps}; i += 1) {{
        grid.scrollTop = i % 3 ? grid.scrollTop + 700 : (grid.scrollHeight * i) / {steps};
        await new Promise(requestAnimationFrame);
      }}
      grid.scrollTop = grid.scrollHeight;
    }})()"""
    one.run(scroll)
    assert (one.cpu_s - before) / steps < 0.05
    one.wait("[...document.querySelectorAll('.grid-body .key-id')].some(e => e.textContent === 'row-099999')")
    one.close()


@needs_browser
def test_each_of_a_million_rows_can_be_reached(browser: Browser, tmp_path: Path) -> None:
    """They are higher together than any element can be: the bar is scaled, the keys go row by row."""
    path = tmp_path / "million.html"
    status = {"values": ["ok", "failed"], "codes": [0] * MILLION}
    columns = {
        "id": [f"r{n}" for n in range(MILLION)],
        "status": status,
        "time": [n * 7 % 1000 for n in range(MILLION)],
    }
    write_page(path, ReportData(2).head(), [encoded("rows", {"count": MILLION, "columns": columns})])
    one = browser.open(path)
    one.wait("document.documentElement.dataset.ready")
    current = "document.querySelector('.grid-body .current .key-id').innerText"
    one.run("document.getElementById('grid').focus()")
    for key, expected in [("End", "r999999"), ("ArrowUp", "r999998"), ("Home", "r0"), ("ArrowDown", "r1")]:
        one.press(key)
        assert (key, one.run(current)) == (key, expected)
    middle = """(async () => {
      const grid = document.getElementById('grid');
      grid.scrollTop = (grid.scrollHeight - grid.clientHeight) / 2;
      await new Promise(done => setTimeout(done, 50));
      const box = grid.getBoundingClientRect();
      return Number(document.elementFromPoint(box.x + 40, box.y + box.height / 2).closest('.grid-row').row);
    })()"""
    assert abs(one.run(middle) - MILLION // 2) < 50
    assert one.run("document.getElementById('grid').scrollHeight") < 17_000_000  # Firefox has no higher elements
    assert (matching(one), one.problems) == ("1,000,000 rows", [])
    one.close()


def hostile() -> ReportData:
    """Rows whose every text is a payload."""
    changes = {
        row: {"id": f"{row}{text}", "input": text, "output": text, **({"error": text} if row % 2 else {})}
        for row, text in enumerate(PAYLOADS)
    }
    data = ReportData(60, changes=changes)
    columns, head, detail = data.columns, data.head, data.detail

    def hostile_columns() -> dict[str, object]:
        fields = {f"output.{text}": {"values": PAYLOADS, "codes": [row % 12 for row in range(60)]} for text in PAYLOADS}
        tools = {"values": PAYLOADS, "sets": [[at] for at in range(12)], "codes": [row % 12 for row in range(60)]}
        return columns() | fields | {"tools": tools}

    def hostile_detail(row: int) -> dict[str, object]:
        replaced: dict[str, object] = json.loads(re.sub(r"Writer|search|gpt-4.1-mini", "@", json.dumps(detail(row))))
        return json.loads(json.dumps(replaced).replace('"@"', json.dumps(PAYLOADS[row % 12])))  # type: ignore[no-any-return]

    def hostile_head(**_: object) -> dict[str, object]:
        made = head()
        for at, group in enumerate(made["failures"]):
            group |= {"cause": PAYLOADS[at], "retry_command": PAYLOADS[at], "type": PAYLOADS[at], "task": PAYLOADS[at]}
        texts = {name: PAYLOADS[at] for at, name in enumerate(("title", "command", "next_command", "run", "results"))}
        names = [{"key": f"output.{text}", "title": text, "kind": "enum", "values": [[text, 3]]} for text in PAYLOADS]
        failed = [{"tool": text, "count": 1, "reason": text, "error": text, "task": text} for text in PAYLOADS]
        return made | texts | {"columns": names, "tool_failures": failed, "notes": PAYLOADS, "stopped": PAYLOADS[0]}

    vars(data).update(columns=hostile_columns, head=hostile_head, detail=hostile_detail)
    return data


@needs_browser
def test_no_text_of_a_run_becomes_more_than_text(browser: Browser, tmp_path: Path) -> None:
    """In every place that shows any: it is there to read, it runs nothing, it makes no element."""
    one = browser.open(page_of(hostile(), tmp_path))
    one.run("window.hits = []; window.hacked = what => hits.push(what)")
    ready(one)
    for row in range(len(PAYLOADS)):
        one.run("document.getElementById('grid').focus()")
        one.press("Home") if row == 0 else one.press("ArrowDown")
        one.press("Enter")
        one.wait("document.querySelector('.drawer-body .part')")
        assert one.text("#drawer-title") == f"{row}{PAYLOADS[row]}"
        assert PAYLOADS[row] in one.text(".drawer-body")
        one.press("Escape")
        one.wait("!document.querySelector('dialog').open")
    kinds = "img, iframe, base, object, embed, link, form:not(.filters), a:not(nav a, .skip)"
    foreign = f"document.querySelectorAll('{kinds}').length"
    scripts = "[...document.scripts].filter(e => !e.type).length"
    assert one.run(f"[hits, {foreign}, {scripts}, document.querySelectorAll('style').length]") == [[], 0, 1, 1]
    assert (one.problems, one.requests, one.text("h1")) == ([], [], PAYLOADS[0])
    one.close()


def test_the_file_has_no_text_of_a_run_as_markup(tmp_path: Path) -> None:
    """What is not compressed is escaped: not even an opening bracket is left of it."""
    text = page_of(hostile(), tmp_path).read_text()
    body = text.split("</style>")[1]
    assert (
        re.findall(
            r"<(?!/?(?:script|div|body|html|head|noscript|p)\b)[a-z!/]+",
            re.sub(r"<script>.*?</script>", "", body, flags=re.S),
        )
        == []
    )
    assert "hacked('script')</" not in text


@needs_browser
def test_hidden_characters_are_shown(browser: Browser, tmp_path: Path) -> None:
    """Controls, characters that reverse the direction of reading, and half characters, each by its number."""
    text = "abc\u202etxt.exe\x1b[31m\u200b\ud800 \u0645\u0631\u062d\u0628\u0627"
    one = ready(browser.open(page_of(ReportData(3, changes={0: {"id": text, "output": text}}), tmp_path)))
    shown = "abcU+202Etxt.exeU+001B[31mU+200BU+D800 \u0645\u0631\u062d\u0628\u0627"
    assert one.run("document.querySelector('.grid-body .key-id').textContent") == shown
    one.run("document.querySelector('.grid-body .key-id').click()")
    one.wait("document.querySelector('.drawer-body .part')")
    assert (one.run("document.querySelector('#drawer-title').textContent"), one.problems) == (shown, [])
    one.close()


@needs_browser
def test_everything_that_can_be_used_has_a_name(tab: Tab) -> None:
    """As a screen reader announces it; and nothing is named twice by the same id."""
    tab.run("document.querySelectorAll('details').forEach(e => e.open = true)")
    nodes = tab.send("Accessibility.getFullAXTree")["nodes"]
    roles = ("button", "link", "combobox", "searchbox", "spinbutton", "region", "grid", "image", "dialog", "navigation")
    nameless = [
        node["role"]["value"]
        for node in nodes
        if not node["ignored"] and node["role"]["value"] in roles and not node.get("name", {}).get("value")
    ]
    assert nameless == []
    ids = "[...document.querySelectorAll('[id]')].map(e => e.id).filter((id, i, all) => all.indexOf(id) !== i)"
    assert tab.run(ids) == []
    assert tab.run("[...document.querySelectorAll('main :is(h1, h2, h3, h4)')].every(e => e.textContent.trim())")


@needs_browser
def test_the_keyboard_reaches_everything(tab: Tab) -> None:
    """Tab goes to each part in the order of reading, and what has the focus is seen to have it."""
    tab.run("document.activeElement.blur()")
    reached, unseen = [], []
    for _ in range(400):
        tab.press("Tab")
        kind, seen = tab.run(
            "(e => [e.id || e.className || e.localName, e === document.body || e.matches('.grid')"
            " || getComputedStyle(e).outlineStyle !== 'none'])(document.activeElement)"
        )
        reached.append(kind)
        unseen += [] if seen else [kind]
        if kind == "body" or (kind == "skip" and len(reached) > 1):
            break
    assert unseen == []
    expected = ["skip", "theme", "search", "chip state-ok", "grid", "copy"]
    assert [kind for kind in expected if kind not in reached] == []
    assert sorted(expected[:5], key=reached.index) == expected[:5]


def luminance(colour: str) -> float:
    """Relative luminance, https://www.w3.org/TR/WCAG21/#dfn-relative-luminance."""
    parts = [int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)]
    red, green, blue = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in parts]
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue


@pytest.mark.parametrize("theme", [0, 1], ids=["light", "dark"])
def test_text_has_enough_contrast(theme: int) -> None:
    """WCAG AA, 4.5 to 1, for every colour of text on every ground that it stands on."""
    pairs = dict(re.findall(r"--([\w-]+): (light-dark\(#\w{6}, #\w{6}\))", look() + style()))
    colours = {name: re.findall(r"#\w{6}", pair)[theme] for name, pair in pairs.items()}
    grounds = {name: ["paper", "well", "hover"] for name in ("ink", "soft", "plain")}
    grounds |= {name: ["paper", "well", "hover", f"{name}-fill"] for name in ("start", "router", "async", "back")}
    grounds["plain"].append("plain-fill")
    grounds["ink"].append("plain-fill")
    low = {}
    for name, several in grounds.items():
        for ground in several:
            lights = sorted((luminance(colours[name]), luminance(colours[ground])))
            ratio = (lights[1] + 0.05) / (lights[0] + 0.05)
            if ratio < 4.5:
                low[name, ground] = round(ratio, 2)
    assert low == {}
