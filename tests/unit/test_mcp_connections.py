"""Connections to MCP servers: shared, opened again after they broke, closed; over each transport."""

import json
import os
import signal
import ssl
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import anyio
import pytest
import trustme
from support.mcp_process import free_port, served
from support.paths import ROOT
from support.raw_server import CLOSE, raw_server

from crewrun import Agent
from crewrun.errors import DefinitionError, ToolFailed
from crewrun.fingerprint import fingerprint
from crewrun.mcp.server import McpServer
from crewrun.mcp.servers import close_idle_servers, close_servers, close_servers_sync
from crewrun.mcp.tools import McpTool, tools_of, tools_of_sync
from crewrun.testing import calls, scripted
from crewrun.tools.tool_failure import ToolFailure

pytestmark = pytest.mark.anyio

BARE = ROOT / "tests/support/bare_mcp_server.py"


@pytest.fixture
def anyio_backend() -> str:
    """Processes and sockets of asyncio's."""
    return "asyncio"


@pytest.fixture(autouse=True)
def closed() -> Iterator[None]:
    """No server outlives its test."""
    yield
    close_servers_sync()


def bare(folder: Path, *flags: str, **fields: Any) -> McpServer:
    """A bare server, which writes its starts and executions to `folder`."""
    args = (str(BARE), "--starts", str(folder / "starts"), "--log", str(folder / "log"), *flags)
    return McpServer(transport="stdio", name="bare", command=sys.executable, args=args, **fields)


async def tools(server: McpServer) -> dict[str, McpTool]:
    return {tool.listed.name: tool for tool in await tools_of(server)}


def lines(path: Path) -> list[str]:
    return path.read_text().splitlines() if path.exists() else []


async def test_one_session_carries_many_calls(tmp_path: Path) -> None:
    """At once, over one process; the tools are the same objects each time."""
    by_name = await tools(bare(tmp_path))
    results: list[Any] = []

    async def echo(number: int) -> None:
        results.append(await by_name["echo"].arun(text=str(number)))

    async with anyio.create_task_group() as group:
        for number in range(50):
            group.start_soon(echo, number)
    assert sorted(map(int, results)) == list(range(50))
    assert len(lines(tmp_path / "starts")) == 1
    assert (await tools(bare(tmp_path)))["echo"] is by_name["echo"]


async def test_a_call_after_the_server_died_gets_a_new_one(tmp_path: Path) -> None:
    """It was not sent to the dead one, so it is made whatever the tool is."""
    by_name = await tools(bare(tmp_path))
    os.kill(int(await by_name["process"].arun()), signal.SIGKILL)
    while (result := await by_name["count"].arun(name="frogs")) != "counted frogs":
        assert isinstance(result, ToolFailure)  # it was on its way when the process died
    assert len(lines(tmp_path / "starts")) == 2


@pytest.mark.parametrize(("tool", "is_repeated"), [("count", False), ("put", True)])
async def test_only_what_may_be_repeated_is(tmp_path: Path, tool: str, is_repeated: bool) -> None:
    """When the server dies during a call: `put` is idempotent, `count` is not."""
    by_name = await tools(bare(tmp_path))
    pid = int(await by_name["process"].arun())
    results: list[Any] = []

    async def call() -> None:
        results.append(await by_name[tool].arun(name="frogs", seconds=0.5))

    async with anyio.create_task_group() as group:
        group.start_soon(call)
        while not lines(tmp_path / "log"):
            await anyio.sleep(0.01)
        os.kill(pid, signal.SIGKILL)
    (result,) = results
    assert len(lines(tmp_path / "log")) == (2 if is_repeated else 1)
    if is_repeated:
        assert result == "counted frogs"
    else:
        assert "unknown whether the call was carried out" in str(result)


async def test_a_repeatable_call_that_kills_each_server_is_given_up(tmp_path: Path) -> None:
    """After three tries; the model is told."""
    server = bare(tmp_path)
    crash = (await tools(server))["crash"]
    result = await McpTool.of(server, crash.listed._replace(is_repeatable=True)).arun()
    assert "3 times" in str(result)
    assert len(lines(tmp_path / "starts")) == 3


async def test_a_tool_is_the_same_whoever_lists_it(tmp_path: Path) -> None:
    """Its recorded results are found again, whichever agent's choice came first."""
    (chosen,) = await tools_of(bare(tmp_path, tools=("echo",), written_at="crew.yaml:3"))
    assert fingerprint(chosen) == fingerprint(McpTool.of(bare(tmp_path), chosen.listed))


async def test_a_filter_that_raises_is_named(tmp_path: Path) -> None:
    """With the tool that it saw, and its line."""
    server = bare(tmp_path, tools=lambda agent, name, tool: tool["title"])
    with pytest.raises(ToolFailed, match=r"tool_filter failed at the tool 'echo': .*test_mcp_.*: KeyError: 'title'"):
        await tools_of(server)


async def test_a_session_in_use_stays_open(tmp_path: Path) -> None:
    """A run that ends leaves the calls of other kickoffs alone."""
    by_name = await tools(bare(tmp_path))
    results: list[Any] = []

    async def call() -> None:
        results.append(await by_name["count"].arun(name="frogs", seconds=0.3))

    async with anyio.create_task_group() as group:
        group.start_soon(call)
        while not lines(tmp_path / "log"):
            await anyio.sleep(0.01)
        await close_idle_servers()
    assert results == ["counted frogs"]
    await close_idle_servers()
    await by_name["echo"].arun(text="a")
    assert len(lines(tmp_path / "starts")) == 2


async def test_two_agents_list_a_server_that_has_a_session_for_each_row(tmp_path: Path) -> None:
    """At once, outside of rows; the first of them closes what both use."""
    server = bare(tmp_path, sessions="row")
    async with anyio.create_task_group() as group:
        for _ in range(2):
            group.start_soon(tools_of, server)
    assert "echo" in await tools(server)


async def test_a_server_that_is_not_ready_in_time(tmp_path: Path) -> None:
    """It is named with the time that it had; its process is gone."""
    server = McpServer(transport="stdio", name="sleepy", command="sleep", args=("60",), connect_timeout_s=0.2)
    with pytest.raises(ToolFailed, match=r"'sleepy' cannot be used: it was not ready after 0\.2 s"):
        await tools(server)


async def test_a_command_that_does_not_exist() -> None:
    """Is named at once, without a second try."""
    server = McpServer(transport="stdio", name="none", command="no-such-command")
    with pytest.raises(ToolFailed, match="there is no command 'no-such-command'"):
        await tools(server)


async def test_what_structured_results_and_refusals_are_for_the_model(tmp_path: Path) -> None:
    """Structured content without text as JSON, errors and refusals as failures."""
    server = bare(tmp_path)
    by_name = await tools(server)
    assert await by_name["structured"].arun() == '{"degrees": 21}'
    failure = await by_name["fail"].arun(message="no frogs")
    assert (type(failure), str(failure)) == (ToolFailure, "no frogs")
    unknown = await McpTool.of(server, by_name["echo"].listed._replace(name="gone")).arun()
    assert "unknown tool gone" in str(unknown)


async def test_a_server_gets_no_variables_but_those_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Besides HOME, PATH and the like."""
    monkeypatch.setenv("OPENAI_API_KEY", "sk-proj-0123456789")
    environment = json.loads(await (await tools(bare(tmp_path, env={"FROG": "green"})))["environment"].arun())
    assert environment["FROG"] == "green"
    assert "OPENAI_API_KEY" not in environment


def test_sync_code_reaches_the_same_session(tmp_path: Path) -> None:
    """Without an event loop of its own."""
    by_name = {tool.listed.name: tool for tool in tools_of_sync(bare(tmp_path))}
    assert by_name["echo"].run(text="frogs") == "frogs"
    assert len(lines(tmp_path / "starts")) == 1


@pytest.mark.parametrize("transport", ["http", "sse"])
async def test_a_server_at_a_url(transport: str) -> None:
    """Over streamable HTTP and SSE, with the SDK's own server."""
    with served("sse" if transport == "sse" else "streamable-http") as url:
        server = McpServer(transport=transport, name="small", url=url, allow_private=True)  # type: ignore[arg-type]
        agent = Agent(role="Reader", goal="Read", backstory="Reads.", llm="gpt-4o-mini", mcps=[server])
        async with scripted(calls("small_echo", text="frogs"), "done") as model:
            assert (await agent.akickoff("Echo it")).raw == "done"
        assert model.requests[1].messages[-1].content == "frogs"
        await close_servers()


async def test_a_private_address_needs_to_be_allowed() -> None:
    """The address of a URL in a crew may lead into the network of whoever runs it."""
    server = McpServer(transport="http", name="inner", url=f"http://127.0.0.1:{free_port()}/mcp")
    with pytest.raises(ToolFailed, match="not a public address; if it is meant to be one, write"):
        await tools(server)


async def test_verify_is_a_bundle_of_certificates(tmp_path: Path) -> None:
    """By which a server is known that no public authority has signed; one that is missing is named."""
    authority, context = trustme.CA(), ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("127.0.0.1").configure_cert(context)
    authority.cert_pem.write_to_path(tmp_path / "ca.pem")
    reply = b"HTTP/1.1 418 No\r\nconnection: close\r\ncontent-length: 0\r\n\r\n"
    async with raw_server([reply, CLOSE], tls=context) as listening:
        fields: dict[str, Any] = {"url": f"https://127.0.0.1:{listening.port}/mcp", "allow_private": True}
        for verify, problem in (
            (True, "certificate verify failed"),
            (str(tmp_path / "ca.pem"), "Server returned an error response"),
            (False, "Server returned an error response"),
            ("no.pem", "verify: 'no.pem': No such file or directory"),
        ):
            with pytest.raises(ToolFailed, match=problem):
                await tools(McpServer(transport="http", name="inner", verify=verify, **fields))


async def test_nobody_at_a_url() -> None:
    """Three tries, then the reason."""
    url = f"http://127.0.0.1:{free_port()}/mcp"
    server = McpServer(transport="http", name="gone", url=url, allow_private=True)
    with pytest.raises(ToolFailed, match="'gone' cannot be used: All connection attempts failed"):
        await tools(server)


@pytest.mark.parametrize(
    "fields",
    [
        {"transport": "stdio", "url": "https://example.com/mcp"},
        {"transport": "http", "command": "frogs"},
        {"transport": "http", "url": "https://example.com/mcp", "command": "frogs"},
        {"transport": "stdio", "command": "frogs", "connections": 0},
        {"transport": "stdio", "command": "frogs", "connect_timeout_s": 0},
    ],
    ids=str,
)
def test_fields_that_do_not_fit(fields: dict[str, Any]) -> None:
    """Are refused when the server is declared."""
    with pytest.raises(DefinitionError, match="MCP server 'frogs'"):
        McpServer(name="frogs", **fields)
