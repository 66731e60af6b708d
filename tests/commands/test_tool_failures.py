"""Failed calls of tools: what the row, the log, the summary, `status`, `show` and the Python API say of them."""

import json
import re
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
from typing import Any

import pytest
from support.command import read_rows, topics
from support.workspace import STATE, Place

from crewrun import Agent, Crew, Task
from crewrun.errors import Category
from crewrun.testing import calls, scripted
from crewrun.tools import (
    BaseTool,
    ToolExecutionFailedError,
    ToolFailed,
    ToolFailure,
    ToolFailurePolicy,
    ToolFailureReason,
    tool,
)

CREW = """\
agents:
  writer: {role: Writer, goal: Write well, backstory: You have written for years., tools: ["tools:search"]}
tasks:
  draft: {agent: writer, description: "Write about {topic} CALL-search", expected_output: One line}
llm: gpt-4.1-mini
"""
TOOLS = """\
import os
from pathlib import Path
from crewrun.tools import ToolFailure, tool

@tool("search")
def search(query: str) -> str:
    '''Searches.'''
    if Path("broken").exists():
        raise LookupError(f"the index is down: {query[:0]}sk-proj-0123456789abcdef")
    return "found"
"""


@pytest.fixture
def broken(place: Place) -> Place:
    """A crew whose model asks for a tool once a row, which fails while there is a file `broken`."""
    (place.folder / "crew.yaml").write_text(CREW)
    (place.folder / "tools.py").write_text(TOOLS)
    (place.folder / "broken").touch()
    place.rows(*topics(3))
    return place


FAILED = {
    "task": "draft",
    "tool": "search",
    "reason": "exception",
    "error": "LookupError: the index is down: …",
    "count": 1,
}


def without_secret(entry: dict[str, Any]) -> dict[str, Any]:
    """`entry` with what stands in place of the key as `…`; the key itself must not be there."""
    assert "0123456789" not in json.dumps(entry)
    return {**entry, "error": re.sub(r"down: .*", "down: …", entry["error"])}


def test_a_tool_that_fails_in_every_row_leaves_its_traces(broken: Place) -> None:
    """In the row and its task, the log, the summary in both forms, and `status`; the rows are ok, and so is the run."""
    broken.batch("--summary", "s.json")
    for row in read_rows(broken.results):
        assert (row["status"], [*map(without_secret, row["tool_failures"])]) == ("ok", [FAILED])
        assert [*map(without_secret, row["tasks"][0]["tool_failures"])] == [FAILED]
    events = [json.loads(line) for line in (broken.folder / STATE / "log.jsonl").read_text().splitlines()]
    noted = [event for event in events if event["event"] == "tool_failure"]
    assert [(event["task"], event["tool"], event["reason"]) for event in noted] == [
        ("draft", "search", "exception")
    ] * 3
    (group,) = broken.summary()["tool_failures"]
    assert (group["tool"], group["count"], group["rows"], group["example"]["task"]) == ("search", 3, 3, "draft")
    assert "  3 calls of tool 'search' failed, in 3 rows: line " in broken.stderr
    broken.crewrun("status", "in.results.jsonl", "--json")
    status = json.loads(broken.stdout)
    assert [(one["tool"], one["count"], one["reason"]) for one in status["tool_failures"]] == [
        ("search", 3, "exception")
    ]
    assert (status["spent"]["usage"]["calls"], status["in_all"]["attempts"]) == (6, 6)
    broken.crewrun("status", "in.results.jsonl")
    assert "  3 calls of tool 'search' failed (exception in task draft): LookupError" in broken.stdout


def test_show_names_the_failed_tool_and_its_turn(broken: Place) -> None:
    """The turn after the failure is proven too: what the model was told is in the journal."""
    broken.batch()
    row_id = read_rows(broken.results)[0]["id"]
    broken.crewrun("show", "in.results.jsonl", row_id, "--json")
    shown = json.loads(broken.stdout)
    assert [(call["kind"], call.get("turn"), call.get("prompt_source")) for call in shown["calls"]] == [
        ("answer", None, "rebuilt"),
        ("tool_failure", 1, None),
        ("answer", None, "rebuilt"),
    ]
    assert shown["calls"][2]["prompt"][-1]["content"] == shown["calls"][1]["error"]
    assert (shown["no_prompt"], shown["tool_failures"]) == (None, [{"tool": "search", "count": 1}])
    assert shown["totals"]["usage"]["calls"] == 2
    broken.crewrun("show", "in.results.jsonl", row_id)
    assert "tool search failed (exception) in turn 1 · task draft · " in broken.stdout
    assert "failed calls of tools: search 1 ×" in broken.stdout


def test_show_blames_a_tool_that_keeps_no_results(broken: Place) -> None:
    """What cannot be made again for want of a tool's result is not laid at the door of a changed crew."""
    broken.folder.joinpath("broken").unlink()
    broken.folder.joinpath("tools.py").write_text(TOOLS.replace('@tool("search")', '@tool("search", replay=False)'))
    broken.batch()
    broken.crewrun("show", "in.results.jsonl", read_rows(broken.results)[0]["id"], "--json")
    assert json.loads(broken.stdout)["no_prompt"] == "the result or failure of 'search' is not in the journal"


def test_a_failure_is_not_replayed_as_a_result(broken: Place) -> None:
    """A row that goes on calls the tool again, and what is told of both turns is proven by what was told then."""
    more = 'One line}\n  sum: {agent: writer, description: "FAIL-400 {topic}", expected_output: One}'
    crew = CREW.replace("One line}", more)
    (broken.folder / "crew.yaml").write_text(crew)
    broken.rows(topics(1)[0])
    broken.batch(code=3)
    (failed,) = read_rows(broken.results)
    assert [*map(without_secret, failed["tool_failures"])] == [FAILED]
    (broken.folder / "broken").unlink()
    broken.crewrun("retry", "in.results.jsonl", code=3)
    (failed,) = read_rows(broken.results)
    assert "tool_failures" not in failed
    broken.crewrun("show", "in.results.jsonl", failed["id"], "--json")
    shown = json.loads(broken.stdout)["calls"]
    assert [call["kind"] for call in shown[:5]] == ["answer", "tool_failure", "answer", "failure", "tool"]
    told = [call["prompt"][-1]["content"][:15] for call in shown if call["kind"] == "answer"]
    assert told[1:] == ["The tool failed", "found"]


def test_a_line_with_failures_is_restored_to_the_byte(broken: Place) -> None:
    """The journal keeps what of them is in the row, and `export` and `--verify` know the line."""
    broken.batch("--ordered")
    before = broken.results.read_bytes()
    assert b"tool_failures" in before
    broken.results.unlink()
    assert broken.batch("--ordered") == []
    assert broken.results.read_bytes() == before
    broken.crewrun("status", "in.results.jsonl", "--verify")
    assert "verified: no difference" in broken.stdout


def test_run_says_which_tools_failed(broken: Place) -> None:
    """On stderr, beside the answer; not with -q."""
    broken.crewrun("run", "-i", "topic=x")
    assert "tool 'search' failed 1 × (exception): LookupError: the index is down" in broken.stderr
    broken.crewrun("run", "-i", "topic=x", "-q")
    assert broken.stderr == ""


@pytest.mark.anyio
@pytest.mark.parametrize("policy", [*ToolFailurePolicy, "raise", None])
async def test_a_tool_may_have_its_failures_fail_the_row(policy: Any) -> None:
    """CrewAI's `tool_failure_policy`, of the tool itself."""

    class Lost(BaseTool):
        name: str = "lost"
        description: str = "Finds nothing."

        def _run(self) -> str:
            raise LookupError("not there")

    agent = Agent(role="r", goal="g", backstory="b", llm="openai/m", tools=[Lost(tool_failure_policy=policy)])
    if policy != "raise":
        async with scripted(calls("lost"), "went on"):
            assert (await agent.akickoff("Hi")).raw == "went on"
        return
    async with scripted(calls("lost")):
        with pytest.raises(ToolExecutionFailedError, match="tool 'lost' failed: LookupError: not there") as failed:
            await agent.akickoff("Hi")
    assert (failed.value.record.tool_name, failed.value.category) == ("lost", Category.TOOL)


class Odd(BaseTool):
    """Fails in the way that it is asked to."""

    name: str = "odd"
    description: str = "Fails."
    timeout_s: float | None = 0.05
    max_usage_count: int | None = 1

    async def _arun(self, how: str) -> Any:
        import anyio

        if how == "returns":
            return ToolFailure("no such channel", code="channel_not_found")
        if how == "raises":
            raise ToolFailure(message="no such channel", details={"channel": 7}, retryable=True)
        if how == "hangs":
            await anyio.sleep_forever()
        if how == "ends":
            raise ToolFailed("the account is closed")
        raise ValueError("odd")


def crew_with(*tools: Any) -> Crew:
    agent = Agent(role="Hand", goal="Help", backstory="Old", tools=list(tools))
    return Crew(agents=[agent], tasks=[Task(name="help", description="Help", expected_output="Help", agent=agent)])


@pytest.mark.parametrize(
    ("step", "reason", "told"),
    [
        pytest.param(
            calls("odd", how="returns"), "tool_reported", "no such channel (code: channel_not_found)", id="returned"
        ),
        pytest.param(calls("odd", how="raises"), "tool_reported", "no such channel", id="raised"),
        pytest.param(
            calls("odd", how="hangs"), "timeout", "The tool gave no result within 0.05 seconds.", id="timeout"
        ),
        pytest.param(calls("odd", how="?"), "exception", "The tool failed: ValueError: odd", id="exception"),
        pytest.param(
            calls("odd", what="?"), "invalid_input", "The arguments do not fit: how: Field required", id="arguments"
        ),
        pytest.param(calls("even"), "unknown_tool", "There is no tool 'even'", id="unknown"),
    ],
)
@pytest.mark.anyio
async def test_each_kind_of_failure_is_told_and_listed(step: Any, reason: str, told: str) -> None:
    """The model reads what went wrong; the outputs list the call, with the arguments as they were written."""
    async with scripted(step, "done") as model:
        output = await crew_with(Odd(result_as_answer=True)).akickoff()
    assert str(model.requests[1].messages[-1].content).startswith(told)
    (record,) = output.tasks_output[0].tool_failures
    assert (output.raw, record.failure.reason, record.tool_name) == ("done", reason, step.tool_calls[0].name)
    assert (record.tool_args, record.agent_role, record.task_name) == (step.tool_calls[0].arguments, "Hand", "help")
    assert (output.has_tool_failures, output.tool_failures) == (True, [record])
    assert json.loads(output.tasks_output[0].model_dump_json())["tool_failures"][0]["failure"]["reason"] == reason


@pytest.mark.anyio
async def test_a_call_beyond_the_usage_limit_is_a_failure_of_that_name() -> None:
    """The tool was not called: the reason tells it from what the tool itself does."""
    async with scripted(calls("odd", how="returns"), calls("odd", how="returns"), "done"):
        output = await crew_with(Odd()).akickoff()
    reasons = [record.failure.reason for record in output.tool_failures]
    assert reasons == [ToolFailureReason.TOOL_REPORTED, ToolFailureReason.USAGE_LIMIT]


@pytest.mark.anyio
async def test_a_direct_kickoff_lists_them_and_a_success_has_none() -> None:
    """`Agent.kickoff` has the same list; a call that works is not in it."""

    @tool("clock")
    def clock() -> str:
        """Tells the time."""
        return "noon"

    agent = Agent(role="Hand", goal="Help", backstory="Old", tools=[Odd(), clock])
    async with scripted(calls(("odd", {"how": "raises"}), ("clock", {})), "done"):
        output = await agent.akickoff("Help")
    assert [(record.tool_name, record.summary()) for record in output.tool_failures] == [
        ("odd", "tool 'odd' failed: no such channel")
    ]
    assert output.tool_failures[0].failure.details == {"channel": 7}


class Inventive(BaseHTTPRequestHandler):
    """Asks for 500 tools that do not exist, each with a long name, then answers."""

    def do_POST(self) -> None:
        asked = json.loads(self.rfile.read(int(self.headers["content-length"])))
        names = [f"made_up_{i}_{'x' * 999}" for i in range(500)] if len(asked["messages"]) < 3 else []
        tools = [{"id": n, "type": "function", "function": {"name": n, "arguments": "{}"}} for n in names]
        said = {"role": "assistant", "content": None if tools else "done", **({"tool_calls": tools} if tools else {})}
        reply = json.dumps({"choices": [{"message": said, "finish_reason": "stop"}], "usage": {}}).encode()
        self.send_response(200)
        self.send_header("content-length", str(len(reply)))
        self.end_headers()
        self.wfile.write(reply)

    def log_message(self, *said: Any) -> None:
        """Keep quiet."""


def test_a_row_does_not_grow_with_what_goes_wrong(broken: Place) -> None:
    """A model that makes up tools costs a row some entries, each with its first error shortened; all are counted."""
    broken.rows(topics(1)[0])
    with ThreadingHTTPServer(("127.0.0.1", 0), Inventive) as server:
        Thread(target=server.serve_forever, daemon=True).start()
        broken.batch("--base-url", f"http://127.0.0.1:{server.server_port}/v1")
        server.shutdown()
    (row,) = read_rows(broken.results)
    assert (row["output"], len(row["tool_failures"])) == ("done", 21)
    assert sum(one["count"] for one in row["tool_failures"]) == 500
    assert max(len(json.dumps(one)) for one in row["tool_failures"]) < 600
