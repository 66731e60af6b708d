"""The built-in tools as a run uses them: real sockets on loopback, real files, and what each of them refuses."""

import gzip
import json
import os
import socket
import stat
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import anyio
import pytest
from aiohttp import web
from hypothesis import given
from hypothesis import strategies as st
from pydantic import BaseModel

from crewrun.confinement.place import inside
from crewrun.row_context import RowContext
from crewrun.tools import EnvVar
from crewrun.tools.base import BaseTool
from crewrun.tools.directory_read import DirectoryReadTool
from crewrun.tools.file_read import FileReadTool
from crewrun.tools.file_writer import FileWriterTool
from crewrun.tools.scrape_website import ScrapeWebsiteTool
from crewrun.tools.serper import SerperDevTool
from crewrun.tools.tool_call import ToolResult
from crewrun.tools.tool_failure import ToolFailure
from crewrun.tools.toolbox import Toolbox

pytestmark = pytest.mark.anyio

# A public address: what is sent there in a test goes to a proxy on loopback.
PUBLIC = "http://93.184.215.14"


async def use(tool: BaseTool, **arguments: Any) -> ToolResult:
    """Call `tool` as a model does."""
    return await Toolbox([tool]).use(tool.name, json.dumps(arguments), {}, RowContext())


def failed(text: str) -> ToolResult:
    return ToolResult(f"The tool failed: {text}", failure=ToolFailure(text, "exception", text.partition(":")[0]))


@dataclass(frozen=True, slots=True)
class Asked:
    """One request as the site got it."""

    method: str
    target: str
    headers: dict[str, str]
    body: bytes


@dataclass(frozen=True, slots=True)
class Site:
    """A web server on loopback, and what it was asked so far."""

    url: str
    asked: list[Asked]

    @property
    def targets(self) -> list[str]:
        return [request.target for request in self.asked]


Answer = Callable[[Asked], web.Response | None]


@asynccontextmanager
async def site(answer: Answer) -> AsyncIterator[Site]:
    """A server, or proxy, that gives `answer` to everything, and none at all where that is None."""
    asked: list[Asked] = []

    async def reply(request: web.BaseRequest) -> web.StreamResponse:
        headers = {name.lower(): value for name, value in request.headers.items()}
        asked.append(Asked(request.method, request.raw_path, headers, await request.read()))
        response = answer(asked[-1])
        if response is None:
            await anyio.sleep_forever()
        assert response is not None
        return response

    runner = web.ServerRunner(web.Server(reply, handler_cancellation=True), shutdown_timeout=0)
    await runner.setup()
    try:
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        yield Site(f"http://127.0.0.1:{runner.addresses[0][1]}", asked)
    finally:
        await runner.cleanup()


def html(body: str, **fields: Any) -> web.Response:
    return web.Response(text=body, content_type="text/html", **fields)


def scraper(**fields: Any) -> ScrapeWebsiteTool:
    return ScrapeWebsiteTool(allow_private=True, **fields)


# Reading web pages


PAGE = """<!doctype html><html><head><title>Owls &amp; tides</title><style>p {color: red}</style>
<script>if (a < b) document.write("<p>no</p>")</script></head>
<body><nav><ul><li>Home<li>Login</ul></nav><![if !IE]><!-- no --><header><h1>
  <a href="/">Owls</a></h1></header>
<div class="[&>p]:mt-4"><p>They   hunt by <b>ni</b>ght.<br/>Often.</p><p>5 &lt; 6</p></div>
<ul><li><p>barn owl</p></li><li>tawny owl</li><li></li></ul>
<table><tr><th>kind</th><th>cm</th></tr><tr><td>barn</td><td>35</td></tr></table>
<pre>  a
    b</pre><svg><text>no</text></svg><footer>Imprint</footer><p>AT&T"""


async def test_a_page_becomes_its_text() -> None:
    """Headings, list items, cells and the words of links stay; scripts, styles and navigation go."""
    async with site(lambda _: html(PAGE)) as web_site:
        result = await use(scraper(), website_url=web_site.url)
    assert result == ToolResult(
        "Owls & tides\n\n# Owls\n\nThey hunt by night.\nOften.\n\n5 < 6\n\n- barn owl\n\n- tawny owl\n\n"
        "kind | cm\nbarn | 35\n\n  a\n    b\n\nAT&T"
    )


@pytest.mark.parametrize(
    ("body", "content_type", "text"),
    [
        pytest.param("Müller", "text/html; charset=latin-1", "MÃ¼ller", id="the header's"),
        pytest.param("Müller", "text/html", "Müller", id="utf-8"),
        pytest.param(b"<meta charset='windows-1251'>\xcc\xe8\xf0", "text/html", "Мир", id="the page's own"),
        pytest.param("Мир".encode("utf-16"), "text/html; charset=ascii", "Мир", id="a byte order mark"),
        pytest.param(b"a\xffb", "text/html; charset=utf-8", "a\ufffdb", id="broken"),
        pytest.param("Müller", "text/html; charset=nonsense", "Müller", id="unknown"),
        pytest.param("Müller", "text/html; charset=zlib", "Müller", id="no charset"),
        pytest.param("Müller", "text/html; charset=punycode", "Müller", id="no charset of pages"),
        pytest.param(' {"a": "<b>"} ', "application/ld+json", '{"a": "<b>"}', id="JSON stays as it is"),
        pytest.param("<p>&#" + "9" * 5000 + ";", "text/html", "\ufffd", id="a number that int() refuses"),
        pytest.param("<p>a<![foo[b]]>c<!-- d", "text/html", "ac", id="declarations that are none"),
    ],
)
async def test_a_page_is_read_in_its_charset(body: str | bytes, content_type: str, text: str) -> None:
    """Whatever the page claims, there is a text, with replacement characters at worst."""
    raw = body.encode() if isinstance(body, str) else body
    async with site(lambda _: web.Response(body=raw, headers={"Content-Type": content_type})) as web_site:
        assert await use(scraper(), website_url=web_site.url) == ToolResult(text)


@pytest.mark.parametrize(
    ("answer", "message"),
    [
        pytest.param(
            web.Response(status=404, reason="Gone Fishing"), "OSError: URL answered 404 Gone Fishing", id="404"
        ),
        pytest.param(
            web.Response(body=b"%PDF", content_type="application/pdf"),
            "ValueError: URL is application/pdf, not a text that can be read",
            id="no text",
        ),
        pytest.param(
            html("<script>draw()</script>"),
            "ValueError: URL has no text; its content may be drawn by scripts",
            id="nothing but scripts",
        ),
        pytest.param(
            html("x", headers={"Content-Encoding": "br"}),
            "ValueError: the page is compressed with 'br', which was not asked for",
            id="an unknown compression",
        ),
        pytest.param(
            html("not gzip", headers={"Content-Encoding": "gzip"}),
            "ValueError: the page says it is compressed with gzip, but it is not: "
            "Error -3 while decompressing data: incorrect header check",
            id="a broken compression",
        ),
        pytest.param(None, "TimeoutError: URL was not read within 0.05 seconds", id="no answer"),
    ],
)
async def test_a_page_that_cannot_be_read_says_why(answer: web.Response | None, message: str) -> None:
    """The model is told in one line, and may try another page."""
    async with site(lambda _: answer) as web_site:
        url = f"{web_site.url}/page"
        limit_s = 20 if answer else 0.05
        assert await use(scraper(fetch_timeout_s=limit_s), website_url=url) == failed(message.replace("URL", url))


async def test_a_page_that_nobody_serves_says_so() -> None:
    """The address is in the message, the traceback is not."""
    result = await use(scraper(), website_url="http://127.0.0.1:9/")
    assert result.failed
    assert result.text.startswith("The tool failed: ConnectionError: http://127.0.0.1:9/ cannot be read: ")


@pytest.mark.parametrize("compressed", [False, True], ids=["as it is", "a bomb"])
async def test_a_page_is_read_up_to_a_bound(compressed: bool) -> None:
    """What counts is the size after decompression: 10 MB of a's are 10 kB on the wire."""
    body = b"a" * (10_000_000 if compressed else 2_000)
    answer = web.Response(
        body=gzip.compress(body) if compressed else body,
        headers={"Content-Type": "text/plain", **({"Content-Encoding": "gzip"} if compressed else {})},
    )
    async with site(lambda _: answer) as web_site:
        result = await use(scraper(max_bytes=1_000), website_url=web_site.url)
    assert result == ToolResult("a" * 1_000 + "\n[… the page goes on; cut after 1,000 bytes]")


async def test_a_compressed_page_is_unpacked() -> None:
    """gzip is the compression that is asked for."""
    packed = gzip.compress(b"<p>owls</p>")
    headers = {"Content-Encoding": "gzip", "Content-Type": "text/html"}
    async with site(lambda _: web.Response(body=packed, headers=headers)) as web_site:
        assert await use(scraper(), website_url=web_site.url) == ToolResult("owls")
    assert web_site.asked[0].headers["accept-encoding"] == "gzip"


async def test_a_tool_for_one_page_takes_no_address() -> None:
    """The model is told which page it is, and cannot choose another."""
    async with site(lambda _: html("owls")) as web_site:
        tool = scraper(website_url=web_site.url)
        assert await use(tool) == ToolResult("owls")
        other = await use(tool, website_url="http://example.com")
    assert other.text.startswith("The arguments do not fit: website_url: Extra inputs are not permitted")
    assert Toolbox([tool]).specs[0].parameters == {"additionalProperties": False, "properties": {}, "type": "object"}
    assert tool.description == f"Fetches a page from the web and returns its text. The page is {web_site.url}."


# What is not a public address


@pytest.mark.parametrize(
    "host",
    [
        "127.0.0.1",
        "127.1",
        "2130706433",
        "0x7f000001",
        "0x7f.1",
        "0177.0.0.1",
        "１２７.0.0.1",
        "localhost",
        "LOCALHOST",
        "0.0.0.0",
        "0",
        "10.1.2.3",
        "172.16.0.1",
        "192.168.1.1",
        "100.64.0.1",
        "169.254.169.254",
        "168.63.129.16",
        "198.18.0.1",
        "192.0.2.1",
        "224.0.0.1",
        "239.255.255.250",
        "240.0.0.1",
        "255.255.255.255",
        "[::1]",
        "[::]",
        "[fe80::1]",
        "[fc00::1]",
        "[fd00:ec2::254]",
        "[fec0::1]",
        "[ff02::1]",
        "[2001:db8::1]",
        "[2001::7f00:1]",
        "[::127.0.0.1]",
        "[::ffff:127.0.0.1]",
        "[::ffff:a9fe:a9fe]",
        "[2002:7f00:1::]",
        "[2002:a9fe:a9fe::1]",
        "[64:ff9b::127.0.0.1]",
        "[64:ff9b::a00:1]",
        "[64:ff9b:1::1]",
    ],
)
async def test_an_address_that_is_not_public_is_refused(host: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """However it is spelled, and nothing is sent: not even to the proxy, which here would answer."""
    async with site(lambda _: html("secret")) as proxy:
        monkeypatch.setenv("http_proxy", proxy.url)
        result = await use(ScrapeWebsiteTool(), website_url=f"http://{host}/")
    assert result.text.startswith("The tool failed: PermissionError: http://")
    assert result.text.endswith(", which is not a public address")
    assert proxy.asked == []


@pytest.mark.parametrize(
    ("answers", "refused"),
    [
        pytest.param(["10.0.0.1"], "10.0.0.1", id="private"),
        pytest.param(["93.184.215.14", "fd00::1"], "fd00::1", id="public and private"),
    ],
)
async def test_a_name_with_an_address_that_is_not_public_is_refused(
    answers: list[str], refused: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One such address is enough: which of them a connection goes to is not ours to say."""
    monkeypatch.setattr(socket, "getaddrinfo", NameServer(answers))
    result = await use(ScrapeWebsiteTool(), website_url="http://rebind.example/")
    assert result == failed(
        "PermissionError: http://rebind.example/ is refused: "
        f"rebind.example is at {refused}, which is not a public address"
    )


async def test_a_connection_goes_to_the_address_that_was_checked(monkeypatch: pytest.MonkeyPatch) -> None:
    """A name whose second answer is another one is not asked a second time."""
    names = NameServer(["127.0.0.1"], ["10.0.0.1"])
    monkeypatch.setattr(socket, "getaddrinfo", names)
    async with site(lambda _: html("owls")) as web_site:
        port = web_site.url.rpartition(":")[2]
        assert await use(scraper(), website_url=f"http://rebind.example:{port}/") == ToolResult("owls")
    assert names.asked == ["rebind.example"]
    assert web_site.asked[0].headers["host"] == f"rebind.example:{port}"


class NameServer:
    """Stands for the network's: gives one list of addresses after the other, and notes the names."""

    def __init__(self, *answers: list[str]) -> None:
        self._answers = list(answers)
        self._system = socket.getaddrinfo
        self.asked: list[str] = []

    def __call__(self, host: Any, port: Any, *args: Any, **kwargs: Any) -> list[Any]:
        name = host.decode() if isinstance(host, bytes) else host
        if not name.endswith(".example"):
            return self._system(host, port, *args, **kwargs)
        self.asked.append(name)
        return [a for address in self._answers.pop(0) for a in self._system(address, port, *args, **kwargs)]


@pytest.mark.parametrize(
    ("location", "message"),
    [
        pytest.param(
            "http://127.0.0.1:1/secret",
            "PermissionError: http://127.0.0.1:1/secret is refused: "
            "127.0.0.1 is at 127.0.0.1, which is not a public address",
            id="loopback",
        ),
        pytest.param(
            "//[::ffff:10.0.0.1]/",
            "PermissionError: http://[::ffff:a00:1]/ is refused: "
            "::ffff:a00:1 is at ::ffff:10.0.0.1, which is not a public address",
            id="mapped",
        ),
        pytest.param(
            "file:///etc/passwd",
            "ValueError: 'file:///etc/passwd' is not an http:// or https:// URL with a host",
            id="a file",
        ),
        pytest.param(
            "http://me:pass@93.184.215.14/",
            f"ValueError: {PUBLIC}/ was given with a name or password in it; leave them out",
            id="a password",
        ),
        pytest.param("/again", f"ValueError: more than 5 redirects, the last one to {PUBLIC}/again", id="a ring"),
    ],
)
async def test_a_redirect_is_checked_as_the_first_address_is(
    location: str, message: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The public page is reached through a proxy on loopback; where it sends us to is refused."""
    async with site(lambda _: web.Response(status=302, headers={"Location": location})) as proxy:
        monkeypatch.setenv("http_proxy", proxy.url)
        assert await use(ScrapeWebsiteTool(), website_url=f"{PUBLIC}/page") == failed(message)
    again = [f"{PUBLIC}/again"] * 5 if location == "/again" else []
    assert proxy.targets == [f"{PUBLIC}/page", *again]


async def test_a_redirect_is_followed() -> None:
    """From wherever the page was to where it is, by a relative address too."""

    def answer(asked: Asked) -> web.Response:
        if asked.target == "/old/page":
            return web.Response(status=301, headers={"Location": "../new?x=1#part"})
        return html("owls")

    async with site(answer) as web_site:
        assert await use(scraper(), website_url=f"{web_site.url}/old/page") == ToolResult("owls")
    assert web_site.targets == ["/old/page", "/new?x=1"]


@pytest.mark.parametrize(
    ("url", "message"),
    [
        pytest.param("ftp://example.com/x", "'ftp://example.com/x' is not an http:// or https:// URL", id="ftp"),
        pytest.param("example.com", "'example.com' is not an http:// or https:// URL with a host", id="no scheme"),
        pytest.param("http:///x", "'http:///x' is not", id="no host"),
        pytest.param("http://[::1/", "'http://[::1/' is not a URL: ", id="a broken host"),
        pytest.param("http://example.com:99999/", "'http://example.com:99999/' is not a URL: ", id="a broken port"),
        pytest.param(
            "http://u:p@example.com/", "http://example.com/ was given with a name or password", id="a password"
        ),
    ],
)
async def test_an_address_that_is_none_is_refused(url: str, message: str) -> None:
    """Before a name is looked up."""
    result = await use(ScrapeWebsiteTool(), website_url=url)
    assert result.failed
    assert result.text.startswith(f"The tool failed: ValueError: {message}")


@pytest.mark.parametrize("tool", [scraper(), SerperDevTool()], ids=["scrape", "serper"])
async def test_a_sync_call_inside_a_loop_says_what_to_write(tool: BaseTool) -> None:
    """Rather than blocking every other row."""
    with pytest.raises(RuntimeError, match=r"^run\(\) would block the running asyncio loop; await arun\(\)$"):
        tool.run("x")


async def test_a_sync_call_reads_a_page_in_a_loop_of_its_own() -> None:
    """As users of CrewAI's tools call them."""
    async with site(lambda _: html("owls")) as web_site:
        tool = scraper(website_url=web_site.url)
        assert await anyio.to_thread.run_sync(tool.run) == "owls"


# Searching


REPLY = {
    "searchParameters": {"q": "owls"},
    "knowledgeGraph": {"title": "Owl", "imageUrl": "https://x/y.png", "description": "A bird."},
    "organic": [
        {"title": "Owls", "link": "https://a/", "snippet": "…", "position": 1, "sitelinks": []},
        {"title": "More", "link": "https://b/", "snippet": "…", "position": 2},
    ],
    "peopleAlsoAsk": [{"question": "Do owls sleep?", "snippet": "Yes.", "title": "T", "link": "https://c/"}],
    "relatedSearches": [{"query": "barn owl"}],
    "images": "nonsense",
    "credits": 1,
}


@pytest.fixture
def _key(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SERPER_API_KEY", "sk-secret\n")


@pytest.mark.usefixtures("_key")
async def test_a_search_is_sent_as_serper_takes_it_and_comes_back_compact(monkeypatch: pytest.MonkeyPatch) -> None:
    """CrewAI's constructor arguments are Google's; of the reply, what a model can use is kept."""
    async with site(lambda _: web.json_response(REPLY)) as serper:
        monkeypatch.setenv("SERPER_BASE_URL", f"{serper.url}/")
        tool = SerperDevTool(n_results=1, country="de", locale="", location="Berlin", save_file=True)  # type: ignore[call-arg]  # CrewAI's
        result = await use(tool, search_query="owls")
    (asked,) = serper.asked
    assert (asked.method, asked.target, asked.headers["x-api-key"]) == ("POST", "/search", "sk-secret")
    assert json.loads(asked.body) == {"q": "owls", "num": 1, "gl": "de", "location": "Berlin"}
    assert json.loads(result.text) == {
        "knowledgeGraph": {"title": "Owl", "description": "A bird."},
        "organic": [{"position": 1, "title": "Owls", "link": "https://a/", "snippet": "…"}],
        "peopleAlsoAsk": [{"question": "Do owls sleep?", "snippet": "Yes.", "title": "T", "link": "https://c/"}],
        "relatedSearches": [{"query": "barn owl"}],
    }


@pytest.mark.usefixtures("_key")
async def test_a_search_for_news_asks_for_them() -> None:
    """At their own address, and without results there is an empty list."""
    async with site(lambda _: web.json_response({"news": {"not": "a list"}})) as serper:
        assert await use(SerperDevTool(search_type="news", base_url=serper.url), search_query="owls") == ToolResult(
            '{"news": []}'
        )
    assert serper.targets == ["/news"]


@pytest.mark.usefixtures("_key")
@pytest.mark.parametrize(
    ("answer", "message"),
    [
        pytest.param(
            web.json_response({"message": "Unauthorized: sk-secret"}, status=403),
            "OSError: Serper answered 403 Forbidden: Unauthorized: [redacted]",
            id="a refused key",
        ),
        pytest.param(
            web.Response(status=500, text="<p>"), "OSError: Serper answered 500 Internal Server Error", id="500"
        ),
        pytest.param(
            web.Response(status=307, headers={"Location": "http://127.0.0.1:1/"}),
            "OSError: Serper answered 307 Temporary Redirect",
            id="a redirect",
        ),
        pytest.param(web.json_response([]), "ValueError: what URL/search answered is no JSON object", id="a list"),
        pytest.param(None, "TimeoutError: Serper gave no reply within 0.05 seconds", id="no answer"),
    ],
)
async def test_a_search_that_fails_says_why_without_the_key(answer: web.Response | None, message: str) -> None:
    """Status and reason, also when Serper's own words have the key in them."""
    async with site(lambda _: answer) as serper:
        tool = SerperDevTool(base_url=serper.url, request_timeout_s=30 if answer else 0.05)
        assert await use(tool, search_query="owls") == failed(message.replace("URL", serper.url))
    assert len(serper.asked) == 1


async def test_a_search_without_a_key_is_a_problem_before_the_run(monkeypatch: pytest.MonkeyPatch) -> None:
    """It is known without a call, and a call says the same."""
    monkeypatch.delenv("SERPER_API_KEY", raising=False)
    assert (SerperDevTool().missing_variables, SerperDevTool().problem) == (
        ["SERPER_API_KEY"],
        "SERPER_API_KEY is not set",
    )
    assert await use(SerperDevTool(), search_query="x") == failed("RuntimeError: SERPER_API_KEY is not set")


# Files


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A root with a file in it, a secret beside it, and symlinks to both."""
    return fill(tmp_path)


def fill(place: Path) -> Path:
    root = place / "root"
    (root / "sub").mkdir(parents=True)
    (root / "sub" / "a.txt").write_text("one\ntwo\nthree\n")
    (place / "secret").mkdir()
    (place / "secret" / "s.txt").write_text("secret")
    (root / "near").symlink_to("sub")
    (root / "near.txt").symlink_to("sub/a.txt")
    (root / "out").symlink_to(place / "secret")
    (root / "out.txt").symlink_to("../secret/s.txt")
    (root / "up").symlink_to("..")
    (root / "ring").symlink_to("ring")
    return root


OUTSIDE = [
    "../secret/s.txt",
    "sub/../../secret/s.txt",
    "/etc/passwd",
    "out/s.txt",
    "out.txt",
    "out",
    "up",
    "up/root/../secret",
    "..",
    "/",
    "near/../../secret/s.txt",
    "a\0b",
    "ring",
    "\ud800",
]


@pytest.mark.parametrize("path", OUTSIDE, ids=ascii)
async def test_nothing_outside_the_root_is_read_listed_or_written(path: str, root: Path) -> None:
    """Not by `..`, not by an absolute path, not through a symlink."""
    before = sorted(root.parent.rglob("*"))
    results = [
        await use(FileReadTool(root=root), file_path=path),
        await use(DirectoryReadTool(root=root), directory=path),
        await use(FileWriterTool(root=root), filename=path, content="x", overwrite=True),
        await use(FileWriterTool(root=root), filename="new.txt", directory=path, content="x", overwrite=True),
    ]
    assert [result.text.startswith("The tool failed: PermissionError: ") for result in results] == [True] * 4
    assert all(result.failed and "secret\n" not in result.text for result in results)
    assert sorted(root.parent.rglob("*")) == before
    assert (root.parent / "secret" / "s.txt").read_text() == "secret"


def test_a_refusal_names_the_path_and_the_root(root: Path) -> None:
    """The user sees at once which of the two is not what was meant."""
    with pytest.raises(PermissionError) as refused:
        inside(root, "../x")
    assert str(refused.value) == f"'../x' leads out of {str(root.resolve())!r}; only files inside may be used"


@pytest.fixture(scope="module")
def full_root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return fill(tmp_path_factory.mktemp("files"))


PARTS = ["..", ".", "", "sub", "near", "near.txt", "out", "out.txt", "up", "ring", "root", "secret", "~", "/", "a\0"]


@given(path=st.text() | st.lists(st.sampled_from(PARTS) | st.text(max_size=3), max_size=8).map("/".join))
def test_any_path_is_refused_or_inside(full_root: Path, path: str) -> None:
    """What is let through is the real path, with no symlink left that could lead elsewhere."""
    home = os.path.realpath(full_root)
    try:
        found = str(inside(full_root, path))
    except PermissionError:
        return
    assert found == os.path.realpath(found)
    assert os.path.commonpath([home, found]) == home


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        pytest.param({}, "one\ntwo\nthree\n", id="whole"),
        pytest.param({"start_line": 2}, "two\nthree\n", id="from a line"),
        pytest.param({"start_line": 2, "line_count": 1}, "two\n", id="one line"),
        pytest.param({"line_count": 2}, "one\ntwo\n", id="the first lines"),
        pytest.param({"start_line": 3, "line_count": 9}, "three\n", id="more than there are"),
    ],
)
@pytest.mark.parametrize("path", ["sub/a.txt", "near.txt", "near/../sub/a.txt"])
async def test_a_file_is_read_by_lines(path: str, arguments: dict[str, int], text: str, root: Path) -> None:
    """Through a symlink that stays inside as well."""
    assert await use(FileReadTool(root=root), file_path=path, **arguments) == ToolResult(text)


@pytest.mark.parametrize(
    ("content", "arguments", "result"),
    [
        pytest.param(b"\xef\xbb\xbfa\xffb\r\n", {}, ToolResult("a\ufffdb\n"), id="not quite utf-8"),
        pytest.param(b"", {}, ToolResult("[the file is empty]"), id="empty"),
        pytest.param(
            b"12345\n12345\n",
            {},
            ToolResult("12345\n1234\n[… cut after 10 characters, in line 2]"),
            id="too long",
        ),
        pytest.param(b"\x89PNG\0", {}, failed("ValueError: 'f' is a binary file, not text"), id="binary"),
        pytest.param(
            b"1\n",
            {"start_line": 3},
            failed("ValueError: there is no line 3: the file ends before it"),
            id="past the end",
        ),
    ],
)
async def test_a_file_that_is_no_short_text(
    content: bytes, arguments: dict[str, int], result: ToolResult, root: Path
) -> None:
    """Cut where it is too long, and refused where it is no text."""
    (root / "f").write_bytes(content)
    assert await use(FileReadTool(root=root, max_chars=10), file_path="f", **arguments) == result


async def test_what_is_no_file_is_not_read(root: Path) -> None:
    """A pipe above all, whose reader would wait for ever."""
    os.mkfifo(root / "pipe")
    tool = FileReadTool(root=root)
    assert await use(tool, file_path="pipe") == failed("OSError: 'pipe' is a pipe, a socket or a device, not a file")
    assert await use(tool, file_path="sub") == failed("IsADirectoryError: 'sub' is a directory, not a file")
    assert (await use(tool, file_path="none")).text.startswith("The tool failed: FileNotFoundError: ")


async def test_a_default_file_is_read_when_none_is_named(root: Path) -> None:
    """The model is told of it, and may name another."""
    tool = FileReadTool(file_path="sub/a.txt", root=root)
    assert await use(tool, line_count=1) == ToolResult("one\n")
    assert await use(tool, file_path="near.txt", line_count=1) == ToolResult("one\n")
    assert tool.description.endswith(" Without file_path it reads 'sub/a.txt'.")
    missing = await use(FileReadTool(root=root))
    assert missing.text.startswith("The arguments do not fit: file_path: Field required")


async def test_the_root_is_the_working_directory_of_the_call(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Not that of the place where the tool was made."""
    reader, lister, writer = FileReadTool(), DirectoryReadTool(), FileWriterTool()
    monkeypatch.chdir(root / "sub")
    assert await use(reader, file_path="a.txt", line_count=1) == ToolResult("one\n")
    assert await use(writer, filename="b.txt", content="b") == ToolResult("Wrote 1 bytes to 'b.txt'.")
    assert await use(lister, directory=".") == ToolResult("a.txt\nb.txt")


async def test_a_file_is_written_whole_with_its_directories(root: Path) -> None:
    """Nothing else is left behind, and its mode is what the umask says."""
    umask = os.umask(0o027)
    try:
        result = await use(FileWriterTool(root=root), filename="n.txt", directory="new/deep", content="ä\ud800\n")
    finally:
        os.umask(umask)
    assert result == ToolResult("Wrote 4 bytes to 'new/deep/n.txt'.")
    assert [(p.name, p.read_bytes()) for p in (root / "new" / "deep").iterdir()] == [("n.txt", "ä?\n".encode())]
    assert stat.S_IMODE((root / "new" / "deep" / "n.txt").stat().st_mode) == 0o640


@pytest.mark.parametrize("overwrite", [True, "true", "Yes", "y", "1", "on"], ids=repr)
async def test_a_file_is_replaced_when_that_is_said(overwrite: str | bool, root: Path) -> None:
    """In every way that models say it; what a symlink leads to is replaced, not the symlink."""
    result = await use(FileWriterTool(root=root), filename="near.txt", content="new", overwrite=overwrite)
    assert result == ToolResult("Wrote 3 bytes to 'near.txt'.")
    assert (root / "sub" / "a.txt").read_text() == "new"
    assert (root / "near.txt").is_symlink()


@pytest.mark.parametrize("overwrite", [False, "false", "no", "0", "perhaps"], ids=repr)
async def test_a_file_is_kept_when_it_is_not(overwrite: str | bool, root: Path) -> None:
    """And the temporary file is gone."""
    before = sorted(root.rglob("*"))
    result = await use(FileWriterTool(root=root), filename="sub/a.txt", content="new", overwrite=overwrite)
    assert result == failed("FileExistsError: 'sub/a.txt' exists; call with overwrite=true to replace it")
    assert (sorted(root.rglob("*")), (root / "sub" / "a.txt").read_text()) == (before, "one\ntwo\nthree\n")


@pytest.mark.parametrize("filename", ["sub", ".", ""])
async def test_a_directory_is_not_written_to(filename: str, root: Path) -> None:
    """The root itself neither: its temporary file would be outside."""
    result = await use(FileWriterTool(root=root), filename=filename, content="x", overwrite=True)
    assert result.text.startswith("The tool failed: IsADirectoryError: ")


async def test_of_many_that_write_one_file_one_succeeds(root: Path) -> None:
    """Rows run at the same time; a file of one is never replaced by another's unasked."""
    box, results = Toolbox([FileWriterTool(root=root)]), []

    async def write(n: int) -> None:
        arguments = json.dumps({"filename": "one.txt", "content": f"{n:02}"})
        results.append((n, await box.use("File Writer Tool", arguments, {}, RowContext())))

    async with anyio.create_task_group() as group:
        for n in range(20):
            group.start_soon(write, n)
    (winner,) = (n for n, result in results if not result.failed)
    assert (root / "one.txt").read_text() == f"{winner:02}"


async def test_files_are_listed_in_order_as_paths_that_can_be_read(root: Path) -> None:
    """Symlinked directories are not entered; `out` and `up` would lead out, and `near` would repeat `sub`."""
    (root / "sub" / "deep").mkdir()
    (root / "sub" / "deep" / "b.txt").touch()
    tool = DirectoryReadTool(root=root)
    assert await use(tool, directory=".") == ToolResult("near.txt\nout.txt\nring\nsub/a.txt\nsub/deep/b.txt")
    assert await use(tool, directory="near") == ToolResult("sub/a.txt\nsub/deep/b.txt")
    (root / "empty").mkdir()
    assert await use(tool, directory="empty") == ToolResult("There are no files in 'empty'.")
    assert await use(tool, directory="none") == failed("NotADirectoryError: there is no directory 'none'")


async def test_a_long_list_says_how_many_more_there_are(root: Path) -> None:
    """The first of them, in order."""
    tool = DirectoryReadTool(root=root, max_files=2, directory=".")
    assert await use(tool) == ToolResult("near.txt\nout.txt\n[… and 2 more]")
    assert tool.description.endswith(" The directory is '.'.")


class _Listed(BaseModel):
    directory: str


async def test_what_the_developer_names_may_be_outside_the_root_and_nothing_else(root: Path) -> None:
    """That very file, or what is in that directory; the model's own paths are not let out by it."""
    secret = root.parent.resolve() / "secret"
    (secret / "deep").mkdir()
    (secret / "deep" / "d.txt").touch()
    (secret / "home").symlink_to(root.parent)
    reader = FileReadTool(str(secret / "s.txt"), root=root)
    lister = DirectoryReadTool(str(secret), root=root, args_schema=_Listed)
    refused = [
        await use(reader, file_path="../secret/deep/d.txt"),
        await use(reader, file_path=str(secret)),
        await use(lister, directory=".."),
        await use(lister, directory=str(secret / "home")),
        await use(lister, directory=f"{secret}/../"),
    ]
    assert [result.text.startswith("The tool failed: PermissionError: ") for result in refused] == [True] * 5
    assert (await use(reader), await use(reader, file_path="../secret/s.txt")) == (ToolResult("secret"),) * 2
    assert await use(reader, file_path="sub/a.txt", line_count=1) == ToolResult("one\n")
    assert await use(DirectoryReadTool("out", root=root)) == ToolResult(f"{secret}/s.txt\n{secret}/deep/d.txt")
    assert await use(lister, directory="../secret/deep") == ToolResult(f"{secret}/deep/d.txt")
    assert Toolbox([reader]).problems + Toolbox([lister]).problems == []


def test_the_first_argument_of_a_tool_may_be_given_by_position() -> None:
    """As CrewAI's take it; by name it is the same, and in JSON."""
    assert (FileReadTool("x").file_path, DirectoryReadTool("x").directory) == ("x", "x")
    page = ScrapeWebsiteTool("http://x/", max_bytes=9)
    assert (page.website_url, page.max_bytes) == ("http://x/", 9)
    assert ScrapeWebsiteTool.model_validate({"website_url": "http://y/"}).website_url == "http://y/"
    assert FileReadTool(file_path="y").file_path == "y"


def test_a_tool_says_which_variables_it_reads() -> None:
    """With CrewAI's `EnvVar`."""
    told = EnvVar(name="KEY", description="A key.")
    assert told.model_dump() == {"name": "KEY", "description": "A key.", "required": True, "default": None}
