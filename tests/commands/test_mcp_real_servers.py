"""Crews with MCP servers that others wrote: mcp-server-time and mcp-server-fetch, and in soak tests those on npm."""

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Any

import pytest
from support.command import read_rows, topics
from support.mcp_process import free_port
from support.scripted_provider import Asked, Fickle, Reply
from support.workspace import RESULTS, Place

Calls = Sequence[tuple[str, Mapping[str, Any]]]
CREW = """\
agents:
  writer: {role: Writer, goal: g, backstory: b, mcps: [MCP]}
tasks:
  draft: {agent: writer, description: "About {topic}", expected_output: x}
"""
TIME = {"name": "time", "command": sys.executable, "args": ["-m", "mcp_server_time", "--local-timezone", "UTC"]}
FETCH = {
    "name": "fetch",
    "command": sys.executable,
    "args": ["-m", "mcp_server_fetch", "--ignore-robots-txt", "--allow-private-ips"],
}
PACKAGES = [f"@modelcontextprotocol/server-{name}" for name in ("everything", "filesystem", "memory")]


def results_of(place: Place, entry: Mapping[str, Any], calls: Calls, rows: int = 2) -> list[str]:
    """What `rows` rows get from the server when their model makes these `calls` in its first turn."""

    def ask(asked: Asked) -> Reply:
        has_results = any(message["role"] == "tool" for message in asked.body["messages"])
        return Reply(text="done") if has_results else Reply(text="", calls=calls)

    (place.folder / "crew.yaml").write_text(CREW.replace("MCP", json.dumps(entry)))
    place.rows(*topics(rows))
    with Fickle(ask) as provider:
        place.env["OPENAI_BASE_URL"] = provider.base_url
        done = place.forks.crewrun("batch", "in.jsonl", cwd=place.folder, env=place.env)
    assert done.returncode == 0, done.stderr
    assert [row["output"] for row in read_rows(place.folder / RESULTS)] == ["done"] * rows
    turns = (message for asked in provider.asked for message in asked.body["messages"] if message["role"] == "tool")
    return [json.dumps(turn["content"]) for turn in turns]


@contextmanager
def pages(folder: Path) -> Iterator[int]:
    """The port of a web server with the files of `folder`."""
    with ThreadingHTTPServer(("127.0.0.1", 0), partial(SimpleHTTPRequestHandler, directory=str(folder))) as server:
        Thread(target=server.serve_forever, daemon=True).start()
        yield server.server_address[1]
        server.shutdown()


@contextmanager
def everything(program: str, transport: str) -> Iterator[str]:
    """The URL of server-everything over HTTP."""
    port = free_port()
    process = subprocess.Popen(
        [program, transport], env={**os.environ, "PORT": str(port)}, stdout=subprocess.PIPE, stderr=subprocess.STDOUT
    )
    try:
        assert process.stdout is not None
        assert any(str(port).encode() in line for line in process.stdout), "it says at which port it listens"
        yield f"http://127.0.0.1:{port}/{'sse' if transport == 'sse' else 'mcp'}"
    finally:
        process.kill()
        process.communicate()


def test_the_time_server(place: Place) -> None:
    """A result, and an error that the model is told of."""
    calls = [("time_get_current_time", {"timezone": "Europe/Berlin"}), ("time_get_current_time", {"timezone": "Mars"})]
    results = results_of(place, TIME, calls)
    assert len(results) == 4
    assert all("Europe/Berlin" in result for result in results[::2])
    assert all("Mars" in result and "nvalid" in result for result in results[1::2])


def test_the_fetch_server(place: Place, tmp_path: Path) -> None:
    """It reads a page of this machine."""
    site = tmp_path / "site"
    site.mkdir()
    (site / "page.html").write_text("<html><body><h1>Rates</h1><p>One to one.</p></body></html>")
    with pages(site) as port:
        calls = [("fetch_fetch", {"url": f"http://127.0.0.1:{port}/page.html", "raw": True})]
        results = results_of(place, FETCH, calls)
    assert len(results) == 2
    assert all("One to one." in result for result in results), results


def test_check_lists_their_tools(place: Place) -> None:
    """Both at once."""
    both = f"{json.dumps(TIME)}, {json.dumps(FETCH)}"
    (place.folder / "crew.yaml").write_text(CREW.replace("MCP", both))
    place.crewrun("check", "--json")
    listed = {server["name"]: server["tools"] for server in json.loads(place.stdout)["mcp_servers"]}
    assert listed == {"time": ["time_get_current_time", "time_convert_time"], "fetch": ["fetch_fetch"]}


@pytest.fixture(scope="module")
def npm(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of the programs of `PACKAGES`."""
    if (npm := shutil.which("npm")) is None or shutil.which("node") is None:
        pytest.skip("npm is not installed: the MCP servers on npm were NOT tried")
    folder = tmp_path_factory.mktemp("npm")
    install = [npm, "install", "--no-audit", "--no-fund", "--prefix", str(folder), *PACKAGES]
    done = subprocess.run(install, capture_output=True, text=True, timeout=300, check=False)
    if done.returncode:
        pytest.skip(f"npm could not install them: the MCP servers on npm were NOT tried: {done.stderr[-300:]}")
    return folder / "node_modules/.bin"


ECHO: Calls = [("everything_echo", {"message": "hello"}), ("everything_get-sum", {"a": 2, "b": 3})]


@pytest.mark.soak
@pytest.mark.parametrize("transport", ["stdio", "streamableHttp", "sse"])
def test_server_everything(place: Place, npm: Path, transport: str) -> None:
    """Over all three transports."""
    program = str(npm / "mcp-server-everything")
    if transport == "stdio":
        results = results_of(place, {"name": "everything", "command": program, "args": ["stdio"]}, ECHO)
    else:
        with everything(program, transport) as url:
            entry = {"name": "everything", "url": url, "allow_private": True}
            entry["transport"] = "sse" if transport == "sse" else "streamable-http"
            results = results_of(place, entry, ECHO)
    assert len(results) == 4
    assert all("hello" in result for result in results[::2])
    assert all("5" in result for result in results[1::2])


@pytest.mark.soak
def test_server_filesystem(place: Place, npm: Path) -> None:
    """It writes and reads in the crew's folder, where it starts."""
    (place.folder / "docs").mkdir()
    (place.folder / "docs/a.txt").write_text("the first file")
    entry = {"name": "files", "command": str(npm / "mcp-server-filesystem"), "args": ["docs"]}
    path = str(place.folder / "docs/a.txt")
    results = results_of(place, entry, [("files_read_text_file", {"path": path})])
    assert len(results) == 2
    assert all("the first file" in result for result in results)


@pytest.mark.soak
def test_server_memory(place: Place, npm: Path) -> None:
    """What one call stores the session keeps for all rows."""
    file = str(place.folder / "memory.json")
    entry = {"name": "memory", "command": str(npm / "mcp-server-memory"), "env": {"MEMORY_FILE_PATH": file}}
    entity = {"name": "crewrun", "entityType": "program", "observations": ["runs crews"]}
    calls: Calls = [("memory_create_entities", {"entities": [entity]})]
    assert len(results_of(place, entry, calls)) == 2
    assert "runs crews" in Path(file).read_text()
