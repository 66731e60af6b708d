"""MCP servers in the forms in which users name them: each is one session for all rows, with the tools that it names."""

import json
import sys
from collections.abc import Iterator

import pytest
from support.bare_mcp_server import TOOLS
from support.command import read_rows, topics
from support.mcp_process import BARE, served, tool_results, tools_offered
from support.workspace import RESULTS, Place

ALL = list(TOOLS)  # of the bare server
ALL_OVER_HTTP = ["echo", "slow", "count", "put", "image", "fail", "crash", "environment", "process"]
PROCESS = {"command": sys.executable, "args": [str(BARE)]}
CREW_YAML = """\
agents:
  writer: {role: Writer, goal: Write well, backstory: You write., mcps: MCPS}
tasks:
  draft: {agent: writer, description: "Write about {topic} CALL-TOOL", expected_output: One line}
"""
CREW_PY = """\
from crewai import Agent, Crew, Task
from crewai.mcp import MCPServerHTTP, MCPServerSSE, MCPServerStdio
from crewai.mcp.filters import ToolFilterContext, create_dynamic_tool_filter, create_static_tool_filter
from crewai_tools import MCPServerAdapter

PROCESS = {process!r}


def crew_of(**fields):
    agent = Agent(role="Writer", goal="Write well", backstory="You write.", **fields)
    task = Task(description="Write about {{topic}} CALL-{tool}", expected_output="One line", agent=agent)
    return Crew(agents=[agent], tasks=[task])


{body}
"""


def yaml(place: Place, mcps: object, tool: str, more: str = "") -> tuple[str, ...]:
    """Write a crew.yaml with these `mcps`, whose rows call `tool`; the flags for it."""
    text = CREW_YAML.replace("MCPS", json.dumps(mcps)).replace("TOOL", tool)
    (place.folder / "crew.yaml").write_text(text + more)
    return ()


def python(place: Place, body: str, tool: str) -> tuple[str, ...]:
    """Write a crew.py with `body`, whose rows call `tool`; the flags for it."""
    (place.folder / "crew.yaml").unlink(missing_ok=True)
    (place.folder / "crew.py").write_text(CREW_PY.format(process=PROCESS, body=body, tool=tool))
    return ("--crew", "crew.py:crew")


@pytest.fixture(scope="module")
def over_http() -> Iterator[str]:
    """The small server over streamable HTTP."""
    with served("streamable-http") as url:
        yield url


@pytest.fixture(scope="module")
def over_sse() -> Iterator[str]:
    """The small server over server-sent events."""
    with served("sse") as url:
        yield url


def one_session(place: Place, flags: tuple[str, ...], offered: list[str]) -> None:
    """Three rows, each of which asks the server for its process, get the same answer."""
    place.rows(*topics(3))
    place.batch(*flags)
    assert [row["status"] for row in read_rows(place.folder / RESULTS)] == ["ok"] * 3
    results = tool_results(place)
    assert (len(results), len(set(results)), results[0].isdigit()) == (3, 1, True)
    assert tools_offered(place) == offered


IN_YAML = {
    "a process": ({**PROCESS, "name": "small"}, "small_process", [f"small_{tool}" for tool in ALL]),
    "some of its tools": ({**PROCESS, "name": "small", "tools": ["process"]}, "small_process", ["small_process"]),
    "by its name": ("small", "small_process", [f"small_{tool}" for tool in ALL]),
    "one tool by its name": ("small#process", "small_process", ["small_process"]),
}


@pytest.mark.parametrize(("entry", "tool", "offered"), IN_YAML.values(), ids=IN_YAML)
def test_a_crew_file_names_a_process(place: Place, entry: object, tool: str, offered: list[str]) -> None:
    """As a mapping, or as an entry of mcp_servers."""
    flags = yaml(place, [entry], tool, f"mcp_servers: {{small: {json.dumps(PROCESS)}}}\n")
    one_session(place, flags, offered)


def test_a_crew_jsonc_names_a_process(place: Place) -> None:
    """CrewAI's JSON has the same keys."""
    (place.folder / "crew.yaml").unlink()
    (place.folder / "agents").mkdir()
    agent = {"role": "Writer", "goal": "g", "backstory": "b", "mcps": [{**PROCESS, "name": "small"}]}
    (place.folder / "agents/writer.jsonc").write_text(json.dumps(agent))
    task = {"name": "draft", "description": "About {topic} CALL-small_process", "expected_output": "x"}
    (place.folder / "crew.jsonc").write_text(json.dumps({"agents": ["writer"], "tasks": [{**task, "agent": "writer"}]}))
    one_session(place, (), [f"small_{tool}" for tool in ALL])


@pytest.mark.parametrize("transport", ["streamable-http", "sse"])
def test_a_crew_file_names_a_url(place: Place, over_http: str, over_sse: str, transport: str) -> None:
    """With the transport that the server speaks."""
    url = over_sse if transport == "sse" else over_http
    entry = {"url": url, "transport": transport, "allow_private": True, "name": "far", "tools": ["process"]}
    one_session(place, yaml(place, [entry], "far_process"), ["far_process"])


IN_PYTHON = {
    "MCPServerStdio": ("crew = crew_of(mcps=[MCPServerStdio(name='small', **PROCESS)])", "small_process", ALL),
    "a mapping": ("crew = crew_of(mcps=[{'name': 'small', **PROCESS}])", "small_process", ALL),
    "a static filter": (
        "only = create_static_tool_filter(allowed_tool_names=['process', 'echo'], blocked_tool_names=['echo'])\n"
        "crew = crew_of(mcps=[MCPServerStdio(name='small', tool_filter=only, **PROCESS)])",
        "small_process",
        ["process"],
    ),
    "a filter of blocked names": (
        "others = create_static_tool_filter(blocked_tool_names=['crash', 'fail'])\n"
        "crew = crew_of(mcps=[MCPServerStdio(name='small', tool_filter=others, **PROCESS)])",
        "small_process",
        [tool for tool in ALL if tool not in ("crash", "fail")],
    ),
    "a dynamic filter": (
        "def only(context: ToolFilterContext, tool):\n"
        "    return context.agent.role == 'Writer' and context.server_name == 'small' and tool['name'] == 'process'\n"
        "crew = crew_of(mcps=[MCPServerStdio(name='small', tool_filter=create_dynamic_tool_filter(only), **PROCESS)])",
        "small_process",
        ["process"],
    ),
    "a function of the tool": (
        "only = lambda tool: tool['name'] == 'process'\n"
        "crew = crew_of(mcps=[MCPServerStdio(name='small', tool_filter=only, **PROCESS)])",
        "small_process",
        ["process"],
    ),
}


@pytest.mark.parametrize(("body", "tool", "offered"), IN_PYTHON.values(), ids=IN_PYTHON)
def test_code_names_a_process(place: Place, body: str, tool: str, offered: list[str]) -> None:
    """By CrewAI's classes, and with its filters."""
    one_session(place, python(place, body, tool), [f"small_{name}" for name in offered])


@pytest.mark.parametrize("form", ["MCPServerHTTP", "MCPServerSSE", "not streamable"])
def test_code_names_a_url(place: Place, over_http: str, over_sse: str, form: str) -> None:
    """By CrewAI's classes."""
    server = {
        "MCPServerHTTP": f"MCPServerHTTP(url={over_http!r}, headers={{'X-A': 'b'}}, allow_private=True, name='far')",
        "MCPServerSSE": f"MCPServerSSE(url={over_sse!r}, allow_private=True, name='far')",
        "not streamable": f"MCPServerHTTP(url={over_sse!r}, streamable=False, allow_private=True, name='far')",
    }[form]
    flags = python(place, f"crew = crew_of(mcps=[{server}])", "far_process")
    one_session(place, flags, [f"far_{tool}" for tool in ALL_OVER_HTTP])


ADAPTERS = {
    "in a with block": "with MCPServerAdapter(PROCESS) as tools:\n    crew = crew_of(tools=tools)",
    "its tools": "adapter = MCPServerAdapter(PROCESS)\ncrew = crew_of(tools=adapter.tools)\nadapter.stop()",
    "spliced": "with MCPServerAdapter(PROCESS) as tools:\n    crew = crew_of(tools=[*tools])",
    "added": "with MCPServerAdapter(PROCESS) as tools:\n    crew = crew_of(tools=[] + tools)",
    "printed": "with MCPServerAdapter(PROCESS) as tools:\n"
    "    print(f'{len(tools)} tools: {[tool.name for tool in tools]}')\n    crew = crew_of(tools=tools)",
    "chosen by name": "with MCPServerAdapter(PROCESS, 'process') as tools:\n    crew = crew_of(tools=tools)",
    "indexed": "with MCPServerAdapter([PROCESS]) as tools:\n    crew = crew_of(tools=[tools['process']])",
    "of the SDK's parameters": "from mcp import StdioServerParameters\n"
    "crew = crew_of(tools=MCPServerAdapter(StdioServerParameters(**PROCESS), connect_timeout=60).tools)",
}


@pytest.mark.parametrize("form", ADAPTERS)
def test_an_adapter_is_loaded_without_its_server(place: Place, form: str) -> None:
    """At the top of a module, in all the ways in which its tools are handed over; rows share its session."""
    offered = ["process"] if form in ("chosen by name", "indexed") else ALL
    one_session(place, python(place, ADAPTERS[form], "process"), offered)


PROJECT = """\
from crewai import Agent, Crew, Task
from crewai.project import CrewBase, agent, crew, task


@CrewBase
class Shop:
    agents_config = {{"writer": {{"role": "Writer", "goal": "g", "backstory": "b"}}}}
    tasks_config = {{"draft": {{"description": "About {{topic}} CALL-process", "expected_output": "x"}}}}
    mcp_server_params = [{process!r}]
    mcp_connect_timeout = 60

    @agent
    def writer(self):
        return Agent(config=self.agents_config["writer"], tools=self.get_mcp_tools({names}))

    @task
    def draft(self):
        return Task(config=self.tasks_config["draft"], agent=self.writer())

    @crew
    def crew(self):
        return Crew(agents=self.agents, tasks=self.tasks)
"""


@pytest.mark.parametrize("names", ["", "'process', 'echo'"])
def test_a_crew_class_has_its_servers_tools(place: Place, names: str) -> None:
    """`mcp_server_params` and `get_mcp_tools`, with and without names, which give their order."""
    (place.folder / "crew.yaml").unlink()
    (place.folder / "crew.py").write_text(PROJECT.format(process=PROCESS, names=names))
    one_session(place, ("--crew", "crew.py:Shop"), ["process", "echo"] if names else ALL)


SCRIPT = """\
from crewai import Agent, Crew, Task
from crewai_tools import MCPServerAdapter


def run(topic):
    with MCPServerAdapter({process!r}) as tools:
        mine = [tool for tool in tools if tool.name == "process"]
        assert tools[-2].name == "process" and len(tools) == 11 and tools["echo"].name == "echo"
        agent = Agent(role="Writer", goal="g", backstory="b", tools=mine)
        task = Task(description=f"About {{topic}} CALL-process", expected_output="x", agent=agent)
        return Crew(agents=[agent], tasks=[task]).kickoff()
"""


def test_a_function_that_rows_run_sees_the_tools_themselves(place: Place) -> None:
    """It may look at their names; the end of its `with` block leaves the session to the other rows."""
    (place.folder / "crew.yaml").unlink()
    (place.folder / "main.py").write_text(SCRIPT.format(process=PROCESS))
    one_session(place, ("--crew", "main.py:run"), ["process"])


def test_a_loop_over_names_is_no_part_of_a_load(place: Place) -> None:
    """What depends on a server's answer stops the load there, and is not decided wrongly."""
    body = (
        "with MCPServerAdapter(PROCESS) as tools:\n"
        "    crew = crew_of(tools=[tool for tool in tools if tool.name == 'process'])"
    )
    flags = python(place, body, "process")
    place.crewrun("check", *flags, code=2)
    assert "loading stopped at the name of a tool of an MCP server, which is compared" in place.stdout
    assert "choose tools as MCPServerAdapter(params, 'search') or tools['search']" in place.stdout


def test_a_task_has_tools_of_servers_too(place: Place) -> None:
    """They replace those of its agent, as other tools of a task do."""
    body = "crew = crew_of()\ncrew.tasks[0].tools = [MCPServerAdapter(PROCESS).tools['process']]"
    one_session(place, python(place, body, "process"), ["process"])


def test_check_lists_the_tools(place: Place) -> None:
    """In words and as JSON."""
    yaml(place, [{**PROCESS, "name": "small", "tools": ["echo", "remember"]}], "small_echo")
    place.crewrun("check")
    where = f"{sys.executable} {BARE}"
    assert f"MCP server small of agent writer ({where}): 2 tools: small_echo, small_remember\n" in place.stdout
    place.crewrun("check", "--json")
    tools = ["small_echo", "small_remember"]
    listed = {"agent": "writer", "name": "small", "place": where, "tools": tools, "problem": None}
    assert json.loads(place.stdout)["mcp_servers"] == [listed]


HERE = "crew.yaml:2: agents.writer.mcps[0]"
WRONG = {
    "an unknown key": ({**PROCESS, "argz": []}, f"{HERE}.argz: unknown key 'argz' (did you mean 'args'?)"),
    "both": ({**PROCESS, "url": "https://h/mcp"}, f"{HERE}: an MCP server has both command and url; keep the one"),
    "neither": ({"env": {}}, f"{HERE}: an MCP server has neither command nor url; write the one"),
    "a transport": (
        {"command": "x", "transport": "ssh"},
        f"{HERE}.transport: needs to be 'stdio', 'streamable-http', 'http' or 'sse', not 'ssh'",
    ),
    "another transport": ({"command": "x", "transport": "sse"}, f"{HERE}: an MCP server with transport sse needs url"),
    "a secret that is no text": (
        {"command": "x", "env": {"PORT": 8080}},
        f"{HERE}.env.PORT: needs text, not this value",
    ),
    "a reference": (
        {"command": "x", "env": {"A": "${B:-c}"}},
        f"{HERE}: env: ${{B:-c}} is not a reference to an environment variable; write ${{NAME}}",
    ),
    "CrewAI's catalogue": (
        "crewai-amp:snow",
        f"{HERE}: 'crewai-amp:snow' is no URL; in CrewAI 'snow' would be a server of CrewAI's",
    ),
    "a bare command": (
        "mcp-server-time",
        f"{HERE}: 'mcp-server-time' is no URL, and no server in mcp_servers; a process is written "
        "{command: mcp-server-time}, and a server of CrewAI's catalogue (AMP)",
    ),
    "a private address": (
        "http://127.0.0.1:9/mcp#x",
        "is not a public address; if it is meant to be one, write {url: http://127.0.0.1:9/mcp, allow_private: true}",
    ),
    "no such command": (
        {"command": "no-such-server", "name": "s"},
        f"{HERE}: MCP server 's' cannot be used: there is no command 'no-such-server'\n  (no-such-server)\n",
    ),
    "a command of the same name": (
        {"command": "no-such-server"},
        f"{HERE}: MCP server 'no-such-server' cannot be used: there is no command 'no-such-server'\n",
    ),
    "arguments in the command": (
        {"command": "no-such-server --zone UTC"},
        "there is no command 'no-such-server --zone UTC' (its arguments belong in args: [--zone, UTC])\n",
    ),
    "a variable": (
        {**PROCESS, "name": "s", "env": {"A": "x${UNSET_HERE}"}},
        "its env.A refers to $UNSET_HERE, which is not set; export it or put it into .env",
    ),
    "a tool": (
        {**PROCESS, "name": "s", "tools": ["ecko"]},
        "it has no tool 'ecko' (did you mean 'echo'?); its tools are echo, slow, count",
    ),
}


@pytest.mark.parametrize(("entry", "message"), WRONG.values(), ids=WRONG)
def test_what_is_wrong_with_a_server_is_told_with_its_place(place: Place, entry: object, message: str) -> None:
    """By check and by batch, before a row runs."""
    yaml(place, [entry], "s_echo")
    place.rows(*topics(2))
    place.crewrun("check", code=2)
    assert f"problem: {HERE}" in place.stdout
    assert message in place.stdout
    assert place.stdout.count("problem: ") == 1
    assert place.batch(code=2) == []
    assert message in place.stderr


def test_names_in_mcp_servers_are_checked(place: Place) -> None:
    """An entry that no agent has too, and a name that is none of them."""
    yaml(place, ["smal"], "x", f"mcp_servers: {{small: {json.dumps(PROCESS)}, odd: {{}}}}\n")
    place.crewrun("check", code=2)
    assert f"{HERE}: 'smal' is no URL, and no server in mcp_servers (did you mean 'small'?)" in place.stdout
    assert "crew.yaml:5: mcp_servers.odd: an MCP server has neither command nor url" in place.stdout


def test_a_renewed_token_runs_no_row_again(place: Place) -> None:
    """But another command line does: the tool is called again, and the call after it."""
    entry = {**PROCESS, "name": "small", "env": {"API_TOKEN": "one-of-the-first", "B": "${SECRET_B}"}}
    flags = yaml(place, [entry], "small_environment")
    place.rows(*topics(2))
    assert len(place.batch(*flags, SECRET_B="two-of-them")) == 4
    assert all("two-of-them" in result for result in tool_results(place)[-2:])
    yaml(place, [{**entry, "env": {"API_TOKEN": "one-of-the-second", "B": "${SECRET_B}"}}], "small_environment")
    assert place.batch(SECRET_B="three-of-them") == []
    yaml(place, [{**entry, "args": [str(BARE), "--takes", "0"]}], "small_environment")
    assert len(place.batch(SECRET_B="three-of-them")) == 2


def test_a_repeat_without_work_opens_no_server(place: Place) -> None:
    """So that it succeeds where the server is gone."""
    server = place.folder / "server.py"
    server.write_text(BARE.read_text())
    flags = yaml(place, [{"command": sys.executable, "args": ["server.py"], "name": "small"}], "small_echo")
    place.rows(*topics(2))
    place.batch(*flags)
    server.unlink()
    assert place.batch(*flags) == []
    place.rows(*topics(3))
    place.batch(*flags, code=2)
    assert "MCP server 'small'" in place.stderr


def test_two_servers_with_the_same_tools_are_told_apart(place: Place) -> None:
    """By the prefix of their names; a name that is too long for models keeps the tool's own."""
    long = "a-server-of-the-department-for-long-names-that-do-not-fit-anywhere"
    entries = [{**PROCESS, "name": name, "tools": ["echo"]} for name in ("one", "two", f"{long}-1", f"{long}-2")]
    yaml(place, entries, "two_echo")
    place.rows(*topics(1))
    place.batch()
    names = tools_offered(place)
    assert names[:2] == ["one_echo", "two_echo"]
    assert len(set(names)) == 4
    assert all(len(name) <= 64 and name.endswith("_echo") for name in names)
