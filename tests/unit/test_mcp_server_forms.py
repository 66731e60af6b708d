"""From what users write to an `McpServer`: URLs, mappings, CrewAI's classes, the SDK's parameters."""

from types import SimpleNamespace
from typing import Any

import pytest

from crewrun import Agent
from crewrun.errors import CrewrunWarning, DefinitionError
from crewrun.fingerprint import fingerprint
from crewrun.mcp import MCPServerHTTP, MCPServerSSE, MCPServerStdio, create_static_tool_filter
from crewrun.mcp.forms import as_server
from crewrun.mcp.server import McpServer
from crewrun.mcp.tool_names import tool_name
from crewrun.redaction.redactor import redact

SERVERS: dict[str, tuple[Any, dict[str, Any]]] = {
    "URL": ("https://api.example.com/mcp", {"transport": "http", "name": "api_example_com_mcp", "tools": None}),
    "URL#tool": ("https://api.example.com/mcp#search", {"url": "https://api.example.com/mcp", "tools": ("search",)}),
    "URL without a path": ("http://a.b:8000", {"url": "http://a.b:8000", "name": "a_b:8000"}),
    "mapping": ({"command": "uvx", "args": ["mcp-server-time"]}, {"transport": "stdio", "name": "uvx_mcp-server-time"}),
    "absolute paths": (
        {"command": "/usr/bin/python3", "args": ["/srv/tools/server.py"]},
        {"name": "python3_server.py", "command": "/usr/bin/python3"},
    ),
    "tools": ({"command": "x", "tools": ["a"]}, {"tools": ("a",)}),
    "SSE": (MCPServerSSE(url="https://h/sse"), {"transport": "sse", "cache_tools_list": True}),
    "HTTP": (
        MCPServerHTTP(url="https://h/mcp", headers={"A": "b"}, verify=False, timeout=5),
        {"transport": "http", "headers": {"A": "b"}, "verify": False, "tool_timeout_s": 5},
    ),
    "HTTP that is not streamable": (MCPServerHTTP(url="https://h/sse", streamable=False), {"transport": "sse"}),
    "ours in addition": (
        MCPServerStdio(command="x", sessions="row", connections=3, connect_timeout=7, name="mine"),
        {"sessions": "row", "connections": 3, "connect_timeout_s": 7, "name": "mine"},
    ),
    "allowed and blocked": (
        MCPServerStdio(command="x", tool_filter=create_static_tool_filter(["b", "a", "c"], ["c"])),
        {"tools": ("a", "b")},
    ),
    "an object with a command": (
        SimpleNamespace(command="x", args=["y"], env=None, cwd=None),
        {"command": "x", "args": ("y",)},
    ),
    "mcpadapt's spelling": ({"url": "https://h/mcp", "transport": "streamable_http"}, {"transport": "http"}),
    "other clients' spelling": ({"url": "https://h/mcp", "type": "streamableHttp"}, {"transport": "http"}),
}


@pytest.mark.parametrize(("written", "fields"), SERVERS.values(), ids=SERVERS)
def test_a_server_is_what_it_is_written_as(written: Any, fields: dict[str, Any]) -> None:
    """In an agent's `mcps` too."""
    server = as_server(written)
    assert {name: getattr(server, name) for name in fields} == fields
    (of_agent,) = Agent(role="r", goal="g", backstory="b", mcps=[written]).mcps
    assert of_agent.key == server.key


WRONG = {
    "CrewAI's catalogue": ("snowflake#query", "'snowflake' would be a server of CrewAI's catalogue (AMP)"),
    "a bare command": ("mcp-server-time", 'written {"command": "mcp-server-time"}'),
    "both": ({"command": "x", "url": "https://h"}, "an MCP server has both command and url; keep the one"),
    "neither": ({}, "an MCP server has neither command nor url; write the one by which it is reached"),
    "a key": ({"command": "x", "arg": []}, "an MCP server has no key 'arg' (did you mean 'args'?)"),
    "a key of another": ({"command": "x", "headers": {}}, "an MCP server has no key 'headers'; the keys of a server"),
    "a transport": ({"url": "https://h", "transport": "ssee"}, "transport 'ssee' of an MCP server (did you mean 'sse'"),
    "a type": ({"command": "x", "args": "y"}, "an MCP server with transport stdio: args: Input should be a valid list"),
    "a number": ({"command": "x", "connections": 0}, "connections: Input should be greater than or equal to 1"),
    "something else": (42, "42 names no MCP server; write its URL, a mapping with command or url"),
    "a filter": ({"command": "x", "tool_filter": 3}, "tool_filter needs a function or a list of tools' names, not 3"),
}


@pytest.mark.parametrize(("written", "message"), WRONG.values(), ids=WRONG)
def test_what_names_no_server_is_refused(written: Any, message: str) -> None:
    """As soon as an agent has it, with a way out."""
    with pytest.raises(DefinitionError) as caught:
        Agent(role="r", goal="g", backstory="b", mcps=[written])
    assert message in str(caught.value)


def test_an_unknown_field_of_a_class_is_a_warning() -> None:
    """CrewAI drops it silently."""
    with pytest.warns(CrewrunWarning, match=r"MCPServerStdio: no field 'commando' \(did you mean 'command'\?\)"):
        MCPServerStdio(command="x", commando="y")  # type: ignore[call-arg]  # a slip


async def _async(tool: Any) -> bool:
    return True


def test_an_async_filter_is_refused() -> None:
    """Its result would always be true."""
    with pytest.raises(DefinitionError, match="tool_filter is an async function; write it with def"):
        as_server(MCPServerStdio(command="x", tool_filter=_async))


def digest(**fields: Any) -> str:
    """The fingerprint of an agent with one server."""
    mcps = [as_server({"command": "x", **fields} if "url" not in fields else fields)]
    return fingerprint(Agent(role="r", goal="g", backstory="b", mcps=mcps))


@pytest.mark.parametrize(
    ("one", "other", "is_same"),
    [
        pytest.param({}, {"args": ["y"]}, False, id="arguments"),
        pytest.param({}, {"tools": ["y"]}, False, id="tools"),
        pytest.param({}, {"sessions": "row"}, False, id="sessions"),
        pytest.param({"env": {"ROOT": "/a"}}, {"env": {"ROOT": "/b"}}, False, id="a plain variable"),
        pytest.param({"env": {"A_TOKEN": "1"}}, {"env": {"A_TOKEN": "2"}}, True, id="a secret variable"),
        pytest.param({}, {"env": {"PATH": "ours"}}, True, id="an inherited variable"),
        pytest.param({"args": ["--api-key", "1"]}, {"args": ["--api-key", "2"]}, True, id="a secret argument"),
        pytest.param({"args": ["--token=1"]}, {"args": ["--token=2"]}, True, id="a secret in an argument"),
        pytest.param(
            {"args": ["-e", "A_TOKEN=1"]}, {"args": ["-e", "A_TOKEN=2"]}, True, id="a secret variable in an argument"
        ),
        pytest.param({"env": {"HUB_PAT": "1"}}, {"env": {"HUB_PAT": "2"}}, True, id="a personal access token"),
        pytest.param({"url": "https://h/a"}, {"url": "https://h/b"}, False, id="URLs"),
        pytest.param({"url": "https://h?api_key=1"}, {"url": "https://h?api_key=2"}, True, id="a secret in a URL"),
        pytest.param(
            {"url": "https://h", "headers": {"A": "1"}},
            {"url": "https://h", "headers": {"A": "2"}},
            True,
            id="a header",
        ),
        pytest.param({}, {"connections": 4, "timeout": 3, "connect_timeout": 9}, True, id="how it is called"),
    ],
)
def test_a_fingerprint_has_what_decides_results(
    monkeypatch: pytest.MonkeyPatch, one: dict[str, Any], other: dict[str, Any], is_same: bool
) -> None:
    """Renewing a secret must not run rows again; another server must."""
    monkeypatch.setenv("PATH", "ours")
    assert (digest(**one) == digest(**other)) is is_same


@pytest.mark.parametrize(
    ("args", "shown"),
    [
        (["run", "-e", "HUB_TOKEN=SECRET", "hub"], "run -e HUB_TOKEN=… hub"),
        (["--env=HUB_PAT=SECRET", "hub"], "--env=HUB_PAT=… hub"),
        (["https://h/mcp?key=SECRET"], "https://h/mcp?key=…"),
        (["--header", "Authorization: Bearer SECRET"], "--header Authorization: …"),
        (["--header=X-Api-Key:SECRET"], "--header=X-Api-Key:…"),
        (["--api-key", "SECRET==", "-v"], "--api-key … -v"),
        (["--token=SECRET"], "--token=…"),
        (["postgresql://ann:SECRET@db/shop"], "postgresql://…@db/shop"),
        (["--port=80", "C:/data", "a:b", "https://h/mcp"], "--port=80 C:/data a:b https://h/mcp"),
    ],
)
def test_a_secret_in_a_command_line_is_seen_by_nobody(args: list[str], shown: str) -> None:
    """Neither in messages nor by models, which see the server's name; and it is redacted wherever else it appears."""
    secret = "hush-0123456789"
    server = as_server({"command": "x", "args": [arg.replace("SECRET", secret) for arg in args]})
    assert server.place == f"x {shown}"
    assert secret not in server.name
    assert secret not in redact(" ".join(server.args))


def test_agents_without_servers_keep_their_fingerprint() -> None:
    """So that runs of older versions resume."""
    bare = Agent(role="r", goal="g", backstory="b")
    assert fingerprint(bare) == fingerprint(Agent(role="r", goal="g", backstory="b", mcps=[]))


def test_equal_servers_share_a_session() -> None:
    """Whatever of their tools agents have."""
    one, other = (as_server({"command": "x", "env": {"A": "b"}, "tools": tools}) for tools in (["a"], ["b"]))
    assert one.key == other.key
    assert one.key != as_server({"command": "x", "env": {"A": "c"}}).key


@pytest.mark.parametrize(
    ("prefix", "tool", "name"),
    [
        ("small", "echo", "small_echo"),
        ("", "Read-File", "Read-File"),
        ("127_0_0_1", "echo", "mcp_127_0_0_1_echo"),
        ("x" * 80, "echo", f"{'x' * 52}_HASHED_echo"),
        ("short", "t" * 70, "t" * 70),
    ],
)
def test_a_name_that_is_too_long_keeps_the_tools_own(prefix: str, tool: str, name: str) -> None:
    """64 characters are what OpenAI takes."""
    made = tool_name(prefix, tool)
    digits = made.split("_")[1] if "HASHED" in name else ""
    assert made == name.replace("HASHED", digits)


def test_two_long_prefixes_stay_two() -> None:
    """By a hash of the whole prefix."""
    assert tool_name("a" + "x" * 80, "echo") != tool_name("b" + "x" * 80, "echo")


def test_a_server_needs_what_its_transport_does() -> None:
    """Also where code makes an McpServer itself."""
    with pytest.raises(DefinitionError, match="transport sse needs a url and no command"):
        McpServer(transport="sse", name="x", command="y")
