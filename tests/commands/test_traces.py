"""OpenTelemetry: a trace of each row, sent to a collector on the loopback that decodes what comes."""

import json
import signal
import sys
import time
from collections.abc import Iterator, Mapping
from typing import Any

import pytest
from support.command import crewrun, topics
from support.otlp_receiver import Collector, Received, ReceivedSpan
from support.workspace import KEY, STATE, Place

ONLY_TRACES = {"OTEL_METRICS_EXPORTER": "none"}
SCHEMA_URL = "https://opentelemetry.io/schemas/gen-ai/0.1.0"
CREW = """\
agents:
  critic: {role: "Critic of {topic}", goal: g, backstory: b}
  writer:
    {role: Writer, goal: Write well, backstory: b, allow_delegation: true, tools: ["tools:search"]}
tasks:
  look: {agent: critic, description: "Look at {topic} CALL-NONE", expected_output: One line}
  draft:
    {agent: writer, description: "Write about {topic} CALL-delegate_work_to_coworker", expected_output: One line}
  check: {agent: writer, description: "Check {topic} CALL-search", expected_output: One line}
llm: gpt-4.1-mini
"""
TOOLS = """\
from crewrun.tools import tool

@tool("search")
def search(query: str) -> str:
    '''Searches.'''
    return "found sk-proj-0123456789abcdef"
"""


@pytest.fixture
def collector() -> Iterator[Collector]:
    with Collector() as collector:
        yield collector


def traced(place: Place, collector: Collector, *flags: str, env: Mapping[str, str] = {}, code: int = 0) -> Received:
    """What the collector has after one run."""
    collector.received = Received()
    run(place, *flags, code=code, env={"OTEL_EXPORTER_OTLP_ENDPOINT": collector.url, **env})
    return collector.received


def run(place: Place, *flags: str, env: Mapping[str, str], code: int = 0) -> None:
    """One run, with these variables."""
    done = place.forks.crewrun("batch", "in.jsonl", *flags, cwd=place.folder, env={**place.env, **env})
    place.stderr = done.stderr
    assert (done.returncode, "Traceback" in done.stderr) == (code, False), done.stderr


def tree(spans: list[ReceivedSpan], parent: str = "") -> list[Any]:
    """The names of a trace's spans, each with those below it, in the order in which they began."""
    below = sorted((span for span in spans if span.parent == parent), key=lambda span: span.start_ns)
    return [(span.name, tree(spans, span.id)) if tree(spans, span.id) else span.name for span in below]


def test_a_row_is_a_trace(place: Place, collector: Collector) -> None:
    """Workflow, task, agent and call, by the conventions; nothing of the row's texts is in them."""
    place.rows({"topic": "the quiet of snow"})
    received = traced(place, collector)
    (spans,) = received.traces().values()
    assert tree(spans) == [("invoke_workflow crew", [("task draft", [("invoke_agent Writer", ["chat gpt-4.1-mini"])])])]
    by_name = {span.name: span for span in spans}
    host, port = place.mock.address
    call = by_name["chat gpt-4.1-mini"]
    usage = {name: call.attributes[f"gen_ai.usage.{name}"] for name in ("input_tokens", "output_tokens")}
    assert call.attributes == {
        "gen_ai.operation.name": "chat",
        "gen_ai.provider.name": "openai",
        "gen_ai.request.model": "gpt-4.1-mini",
        "gen_ai.response.model": "gpt-4.1-mini",
        "gen_ai.response.finish_reasons": ["stop"],
        "gen_ai.usage.input_tokens": usage["input_tokens"],
        "gen_ai.usage.output_tokens": usage["output_tokens"],
        "server.address": host,
        "server.port": port,
        "crewrun.cost_usd": pytest.approx(usage["input_tokens"] * 0.4e-6 + usage["output_tokens"] * 1.6e-6),
    }
    assert by_name["invoke_agent Writer"].attributes == {
        "gen_ai.operation.name": "invoke_agent",
        "gen_ai.agent.name": "Writer",
    }
    (result,) = [json.loads(line) for line in place.results.read_text().splitlines()]
    assert by_name["invoke_workflow crew"].attributes == {
        "gen_ai.operation.name": "invoke_workflow",
        "gen_ai.agent.name": "crew",
        "crewrun.row.id": result["id"],
        "crewrun.row.line": 1,
        "crewrun.row.calls": 1,
        "crewrun.row.cost_usd": pytest.approx(result["cost_usd"]),
        "crewrun.run": STATE,
    }
    assert [(span.kind, span.error, span.schema_url) for span in spans] == [
        (3 if span is call else 1, None, SCHEMA_URL) for span in spans
    ]
    assert {span.resource["service.name"] for span in spans} == {"crewrun"}
    assert "quiet" not in str(spans)
    assert all(span.start_ns <= call.start_ns < call.end_ns <= span.end_ns for span in spans)
    assert "telemetry" not in place.stderr


def test_the_parents_are_right_with_64_rows_at_once(place: Place, collector: Collector) -> None:
    """With tools, delegation, retries and a failing row: every row is one tree, and no span is in another's."""
    (place.folder / "crew.yaml").write_text(CREW)
    (place.folder / "tools.py").write_text(TOOLS)
    words = {5: "FAIL-ONCE-503", 7: "FAIL-400"}
    place.rows(*({"topic": f"{words.get(i, 'topic')} {i}"} for i in range(100)))
    received = traced(place, collector, "-j", "64", code=3)
    traces = received.traces()
    assert len(traces) == 100
    of_agents = {"Writer": "invoke_agent Writer", "Critic": "invoke_agent Critic of {topic}"}
    chat = "chat gpt-4.1-mini"
    whole = [
        (
            "invoke_workflow crew",
            [
                ("task look", [(of_agents["Critic"], [chat])]),
                (
                    "task draft",
                    [
                        (
                            of_agents["Writer"],
                            [chat, ("execute_tool delegate_work_to_coworker", [(of_agents["Critic"], [chat])]), chat],
                        )
                    ],
                ),
                ("task check", [(of_agents["Writer"], [chat, "execute_tool search", chat])]),
            ],
        )
    ]
    failed = [("invoke_workflow crew", [("task look", [(of_agents["Critic"], [chat])])])]
    trees = [tree(spans) for spans in traces.values()]
    assert trees.count(failed) == 1
    assert trees.count(whole) == 99
    assert len({span.id for span in received.spans}) == len(received.spans)

    (row,) = [span for span in received.spans if span.error is not None and span.name == "invoke_workflow crew"]
    assert {
        name: row.attributes[name] for name in ("error.type", "crewrun.error", "crewrun.row.line", "crewrun.row.calls")
    } == {"error.type": "bad_request", "crewrun.error": "BadRequest", "crewrun.row.line": 8, "crewrun.row.calls": 0}
    (call,) = [span for span in traces[row.trace] if span.name == chat]
    assert (call.attributes["error.type"], call.attributes["http.response.status_code"]) == ("bad_request", 400)

    retried = [span for span in received.spans if span.events and span.events[0][0] == "crewrun.retry"]
    (of_line_6,) = {span.trace for span in retried}
    assert {span.attributes.get("crewrun.row.line") for span in traces[of_line_6]} == {None, 6}
    (_, retry), *_ = retried[0].events
    assert (retry["error.type"], retry["http.response.status_code"]) == ("server", 503)
    assert retried[0].attributes["crewrun.attempts"] == 2


def test_replayed_calls_are_marked_and_cost_nothing(place: Place, collector: Collector) -> None:
    """What an earlier session paid for is not counted again: neither tokens nor dollars."""
    (place.folder / "tools.py").write_text(TOOLS)
    (place.folder / "crew.yaml").write_text(CREW)
    place.rows(*topics(1))
    place.batch()
    (place.folder / "crew.yaml").write_text(CREW.replace("Check {topic} CALL-search", "Conclude {topic} CALL-NONE"))
    received = traced(place, collector)
    calls = received.named("chat gpt-4.1-mini")
    assert [span.attributes.get("crewrun.replayed", False) for span in calls] == [True, True, True, True, False]
    assert [any("usage" in key or "cost" in key for key in span.attributes) for span in calls] == [False] * 4 + [True]
    (row,) = received.named("invoke_workflow crew")
    assert (row.attributes["crewrun.row.calls"], row.attributes["crewrun.row.replayed_calls"]) == (1, 4)
    assert row.attributes["crewrun.row.cost_usd"] == pytest.approx(calls[-1].attributes["crewrun.cost_usd"])


def test_contents_are_sent_with_log_prompts_only_and_without_secrets(place: Place, collector: Collector) -> None:
    """Prompts, answers, arguments and results as the conventions have them; the key of a tool's result is not there."""
    (place.folder / "tools.py").write_text(TOOLS)
    (place.folder / "crew.yaml").write_text(CREW)
    place.rows({"topic": "snow \u202e\x1b[31m \ud83d\ude00"})
    without = traced(place, collector)
    assert "snow" not in str(without.spans)
    failing = TOOLS.replace('return "found', 'raise ValueError(query + "')
    (place.folder / "tools.py").write_text(failing.replace('abcdef"', 'abcdef")'))
    with_failure = traced(place, collector, "--fresh")
    (search,) = with_failure.named("execute_tool search")
    assert (search.error, "snow" in str(with_failure.spans)) == ("exception", False)
    (search,) = traced(place, collector, "--fresh", "--log-prompts").named("execute_tool search")
    assert search.error is not None
    assert "ValueError" in search.error
    (place.folder / "tools.py").write_text(TOOLS)
    received = traced(place, collector, "--log-prompts", "--fresh")
    assert KEY not in str(received.spans)
    assert "0123456789abcdef" not in str(received.spans)
    (search,) = received.named("execute_tool search")
    assert json.loads(search.attributes["gen_ai.tool.call.arguments"]).keys() == {"query"}
    assert search.attributes["gen_ai.tool.call.result"].startswith("found ")
    last = received.named("chat gpt-4.1-mini")[-1].attributes
    (instruction,) = json.loads(last["gen_ai.system_instructions"])
    assert instruction["type"] == "text"
    turns = json.loads(last["gen_ai.input.messages"])
    assert [(turn["role"], [part["type"] for part in turn["parts"]]) for turn in turns] == [
        ("user", ["text"]),
        ("assistant", ["tool_call"]),
        ("tool", ["tool_call_response"]),
    ]
    assert "snow \u202e\x1b[31m \U0001f600" in turns[0]["parts"][0]["content"]
    (answer,) = json.loads(last["gen_ai.output.messages"])
    assert (answer["role"], answer["finish_reason"]) == ("assistant", "stop")
    cut = traced(place, collector, "--log-prompts", "--fresh", env={"OTEL_ATTRIBUTE_VALUE_LENGTH_LIMIT": "20"})
    assert {len(span.attributes["gen_ai.input.messages"]) for span in cut.named("chat gpt-4.1-mini")} == {20}


def test_a_share_of_the_rows_is_traced_whole(place: Place, collector: Collector) -> None:
    """The sampler decides for a row as a whole, before anything of it is known."""
    place.rows(*topics(200))
    env = {"OTEL_TRACES_SAMPLER": "parentbased_traceidratio", "OTEL_TRACES_SAMPLER_ARG": "0.1"}
    traces = traced(place, collector, "-m", "offline", "-j", "64", env=env).traces()
    assert 3 <= len(traces) <= 50  # less than once in ten million runs it is not
    assert {len(spans) for spans in traces.values()} == {4}


FLOW = """\
from crewrun import Agent, Crew, Task
from crewrun.flow import Flow, listen, start

agent = Agent(role="Writer", goal="g", backstory="b")


def crew():
    return Crew(name="small", tasks=[Task(name="t", description="Write", expected_output="x", agent=agent)])


class Two(Flow):
    @start()
    def first(self):
        return 1

    @listen(first)
    async def second(self, number):
        await crew().akickoff()
        return str(await crew().akickoff())
"""


def test_a_flow_has_its_methods_and_their_crews(place: Place, collector: Collector) -> None:
    """The row's span stands for the flow; crews that a method starts have spans of their own."""
    (place.folder / "flow.py").write_text(FLOW)
    place.rows(*topics(1))
    (spans,) = traced(place, collector, "--crew", "flow.py:Two", "-m", "offline").traces().values()
    small = ("invoke_workflow small", [("task t", [("invoke_agent Writer", ["chat offline"])])])
    assert tree(spans) == [("invoke_workflow Two", ["method first", ("method second", [small, small])])]


def test_an_interrupted_run_sends_what_it_has(place: Place, collector: Collector) -> None:
    """Parts that were given up have failed, and say no more than that they were cancelled."""
    place.rows({"topic": "FAIL-HANG"})
    seen = place.sent()
    env = {**place.env, "OTEL_EXPORTER_OTLP_ENDPOINT": collector.url}
    with place.forks.start("batch", "in.jsonl", "--grace", "0", cwd=place.folder, env=env) as process:
        while place.sent() == seen:
            pass
        process.send_signal(signal.SIGINT)
        process.communicate()
    assert process.returncode == 130
    assert {(span.error, span.attributes["error.type"]) for span in collector.received.spans} == {
        ("cancelled", "cancelled")
    }
    assert len(collector.received.spans) == 4


TRACE, SPAN = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"


def test_the_callers_trace_is_continued(place: Place, collector: Collector) -> None:
    """With TRACEPARENT all rows are children of the caller's span; a trace that is not recorded has none."""
    place.rows(*topics(2))
    received = traced(
        place, collector, "-m", "offline", env={"TRACEPARENT": f"00-{TRACE}-{SPAN}-01", "TRACESTATE": "a=1"}
    )
    rows = received.named("invoke_workflow crew")
    assert [(span.trace, span.parent, span.is_remote) for span in rows] == [(TRACE, SPAN, True)] * 2
    assert {(span.trace, span.state) for span in received.spans} == {(TRACE, "a=1")}
    assert {span.is_remote for span in received.spans if span.parent != SPAN} == {False}
    unsampled = traced(place, collector, "-m", "offline", "--fresh", env={"TRACEPARENT": f"00-{TRACE}-{SPAN}-00"})
    assert unsampled.spans == []


def test_metrics_are_sent_too(place: Place, collector: Collector) -> None:
    """The counters that `--metrics` serves, their last values at the end of the run; by their own variables."""
    place.rows(*topics(3))
    received = traced(
        place, collector, env={"OTEL_SERVICE_NAME": "nightly", "OTEL_EXPORTER_OTLP_HEADERS": "api-key=abc%20d"}
    )
    assert received.metrics["crewrun.rows"] == {("ok",): 3, ("failed",): 0}
    assert received.metrics["crewrun.calls"] == {("openai/gpt-4.1-mini",): 3}
    assert received.metrics["crewrun.cost"] == {("openai/gpt-4.1-mini",): pytest.approx(place_cost(place))}
    assert {headers.get("api-key") for headers in received.headers} == {"abc d"}
    assert {span.resource["service.name"] for span in received.spans} == {"nightly"}
    place.rows(*topics(3), {"topic": "one more"})
    only_traces = traced(
        place, collector, env={"OTEL_METRICS_EXPORTER": "none", "OTEL_EXPORTER_OTLP_COMPRESSION": "gzip"}
    )
    assert (only_traces.metrics, len(only_traces.spans)) == ({}, 4)


def place_cost(place: Place) -> float:
    return float(sum(json.loads(line)["cost_usd"] for line in place.results.read_text().splitlines()))


@pytest.mark.parametrize(
    ("status", "reason"),
    [
        pytest.param(500, "HTTP 500 Internal Server Error", id="fails"),
        pytest.param(404, "HTTP 404 Not Found", id="knows no such path"),
        pytest.param(None, "Connection refused", id="away"),
    ],
)
def test_a_collector_that_takes_nothing_costs_no_row(place: Place, status: int | None, reason: str) -> None:
    """One warning, the number of spans that were lost, and the exit code of the rows."""
    place.rows(*topics(3))
    with Collector(status or 200) as broken:
        url = broken.url
        if status is not None:
            run(place, "-m", "offline", env={"OTEL_EXPORTER_OTLP_ENDPOINT": url, **ONLY_TRACES})
    if status is None:
        env = {"OTEL_EXPORTER_OTLP_ENDPOINT": url, "OTEL_BSP_EXPORT_TIMEOUT": "200", **ONLY_TRACES}
        run(place, "-m", "offline", env=env)
    told = [line for line in place.stderr.splitlines() if "telemetry" in line]
    assert [line for line in told if reason not in line] == ["telemetry: 12 spans did not reach the collector"], told
    if status is not None:
        assert told[0] == f"warning: telemetry: {url}/v1/traces: {reason}; the run goes on without"
    assert len(place.done()) == 3


def test_a_collector_that_hangs_delays_the_end_only_so_long(place: Place) -> None:
    """By the time for the last export, 300 ms here; rows do not wait for it at all."""
    place.rows(*topics(3))
    with Collector(hangs=True) as hanging:
        began = time.monotonic()
        env = {"OTEL_BSP_EXPORT_TIMEOUT": "300", **ONLY_TRACES}
        run(place, "-m", "offline", env={"OTEL_EXPORTER_OTLP_ENDPOINT": hanging.url, **env})
        assert time.monotonic() - began < 20
        assert hanging.posts == 1
    assert "telemetry: 12 spans did not reach the collector" in place.stderr
    assert len(place.done()) == 3


def test_what_cannot_be_sent_is_refused_where_it_is_asked_for(place: Place) -> None:
    """`--otel` with an environment that asks for gRPC ends with exit code 2; the environment alone is a warning, since
    it may have been set for other programs.
    """
    place.rows(*topics(1))
    env = {"OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:9", "OTEL_EXPORTER_OTLP_PROTOCOL": "grpc"}
    run(place, "-m", "offline", "--otel", code=2, env=env)
    assert "OTEL_EXPORTER_OTLP_PROTOCOL=grpc: crewrun speaks http/protobuf" in place.stderr
    run(place, "-m", "offline", env=env)
    assert "warning: no telemetry is sent: OTEL_EXPORTER_OTLP_PROTOCOL=grpc" in place.stderr
    env = {"OTEL_EXPORTER_OTLP_ENDPOINT": "https://127.0.0.1:9", "OTEL_EXPORTER_OTLP_CERTIFICATE": "no.pem"}
    run(place, "-m", "offline", "--fresh", env=env)
    assert "warning: no telemetry is sent: OTEL_EXPORTER_OTLP_CERTIFICATE and its like: " in place.stderr


MODULES = """\
import sys
from crewrun.tools import tool

@tool("search")
def search(query: str) -> str:
    '''Searches.'''
    return " ".join(name for name in sys.modules if name.startswith(("opentelemetry", "prometheus_client"))) or "none"
"""


@pytest.mark.parametrize(
    ("flags", "env"),
    [
        pytest.param([], {}, id="not asked for"),
        pytest.param(["--no-otel"], {"OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:9"}, id="turned off"),
        pytest.param(["--otel"], {"OTEL_SDK_DISABLED": "true"}, id="turned off for all programs"),
    ],
)
def test_when_it_is_off_nothing_is_imported(place: Place, flags: list[str], env: dict[str, str]) -> None:
    """A run that sends nothing loads none of it: seen from inside, by a tool, in a process of its own."""
    (place.folder / "tools.py").write_text(MODULES)
    (place.folder / "crew.yaml").write_text(CREW)
    place.rows(*topics(1))
    done = crewrun("batch", "in.jsonl", *flags, "--log-prompts", cwd=place.folder, env={**place.env, **env})
    assert done.returncode == 0, done.stderr
    log = (place.folder / STATE / "log.jsonl").read_text()
    assert "none" in log
    assert "opentelemetry" not in log
    assert "prometheus_client" not in log


def test_without_the_library_the_flag_says_how_to_install_it(monkeypatch: pytest.MonkeyPatch) -> None:
    """In this process, where it is as if the library were not there."""
    from crewrun.errors import UsageError
    from crewrun.extras import install_command
    from crewrun.monitoring.run_telemetry import RunTelemetry, TelemetryOptions

    monkeypatch.setitem(sys.modules, "opentelemetry.sdk.trace", None)
    with pytest.raises(UsageError) as refused:
        RunTelemetry(TelemetryOptions(otel=True), print)
    assert str(refused.value) == f"--otel needs OpenTelemetry's SDK: {install_command('otel')}"
    monkeypatch.setitem(sys.modules, "prometheus_client", None)
    with pytest.raises(UsageError) as refused:
        RunTelemetry(TelemetryOptions(metrics=("127.0.0.1", 0)), print)
    assert str(refused.value) == f"--metrics needs prometheus-client: {install_command('prometheus')}"
