"""Parameters of an llm: how files and Python say them, where each goes on the wire, and what is refused, and when."""

import json
import sqlite3
import subprocess
from collections.abc import AsyncIterator, Callable, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any, NamedTuple

import anyio
import pytest
from pydantic import ValidationError
from support.command import PROGRAM, clean_env, read_rows, topics, write_rows
from support.provider import Provider, serving
from support.transport_contract import reply_with

from crewrun import LLM, UsageError
from crewrun.llm.endpoints import override, resolve
from crewrun.llm.parameters import STRUCTURED

pytestmark = pytest.mark.anyio

CREW: dict[str, Any] = {
    "agents": {"writer": {"role": "Writer", "goal": "Write well", "backstory": "You have written for years."}},
    "tasks": {"draft": {"agent": "writer", "description": "Write about {topic}", "expected_output": "One line"}},
}
TOOL = ["tools.py:look_up"]
TOOL_CODE = """
from crewrun.tools import tool


@tool
def look_up(word: str) -> str:
    "Look a word up."
    return "no entry"
"""
# Every parameter that a file may have, in its plainest form, and where it is to be found in a request.
IN_BODY: dict[str, Any] = {
    "service_tier": "flex",
    "reasoning_effort": "low",
    "verbosity": "low",
    "prompt_cache_key": "crew",
    "safety_identifier": "me",
    "logprobs": True,
    "top_logprobs": 2,
    "top_k": 7,
    "thinking": {"type": "enabled", "budget_tokens": 1024},
}
ELSEWHERE: dict[str, Any] = {
    "extra_body": {"provider": {"order": ["a"], "strict": None}, "cache": True, "verbosity": "high", "stream": True},
    "extra_headers": {"X-Team": "red"},
    "extra_query": {"trace": True, "v": 2},
    "api_version": "2024-10-21",
    "organization": "org-1",
    "project": "proj-1",
}


class Sent(NamedTuple):
    """What came of a batch: the process, the rows, and the requests as (query, headers, body without messages)."""

    done: subprocess.CompletedProcess[bytes]
    rows: list[dict[str, Any]]
    summary: dict[str, Any]
    asked: list[tuple[str, Mapping[str, str], dict[str, Any]]]

    @property
    def errors(self) -> str:
        """What the process said."""
        return self.done.stderr.decode()


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


@pytest.fixture
async def provider() -> AsyncIterator[Provider]:
    async with serving() as served:
        served.reply(reply_with({"content": "Hi"}, "stop"))
        yield served


async def batch(
    folder: Path,
    provider: Provider,
    *flags: str,
    crew: str = "crew.yaml",
    rows: int = 1,
    env: Mapping[str, str] = MappingProxyType({}),
) -> Sent:
    """`crewrun batch` as a process against `provider`, which is the default address of every model."""
    write_rows(folder / "in.jsonl", topics(rows))
    provider.asked.clear()
    output, summary = folder / "in.results.jsonl", folder / "summary.json"
    done = await anyio.run_process(
        [*PROGRAM, "batch", "in.jsonl", "--crew", crew, "--summary", str(summary), "--retries", "0", *flags],
        cwd=folder,
        env=clean_env(**{"OPENAI_BASE_URL": f"{provider.url}/v1", "OPENAI_API_KEY": "sk-test"} | dict(env)),
        check=False,
    )
    asked = []
    for path, headers, body in provider.asked:
        asked.append((path, headers, {name: value for name, value in body.items() if name != "messages"}))
    found = read_rows(output) if output.exists() else []
    return Sent(done, found, json.loads(summary.read_text()) if summary.exists() else {}, asked)


def write(folder: Path, llm: Any, form: str = "yaml", **agent: Any) -> str:
    """The crew with `llm` in one of the formats; returns what --crew names."""
    crew = {**CREW, "agents": {"writer": {**CREW["agents"]["writer"], "llm": llm, **agent}}}
    (folder / "tools.py").write_text(TOOL_CODE)
    if form == "yaml":
        (folder / "crew.yaml").write_text(json.dumps(crew))
        return "crew.yaml"
    if form == "jsonc":
        (folder / "agents").mkdir(exist_ok=True)
        (folder / "agents/writer.jsonc").write_text(json.dumps(crew["agents"]["writer"]))
        tasks = [{"name": name, **task} for name, task in CREW["tasks"].items()]
        (folder / "crew.jsonc").write_text(json.dumps({"name": "c", "agents": ["writer"], "tasks": tasks}))
        return "crew.jsonc"
    (folder / "crew.py").write_text(
        "from crewrun import LLM, Agent, Crew, Task\n"
        f"llm = LLM(**{llm!r})\n"
        "writer = Agent(role='Writer', goal='Write well', backstory='You have written for years.', llm=llm)\n"
        "draft = Task(description='Write about {topic}', expected_output='One line', agent=writer)\n"
        "crew = Crew(agents=[writer], tasks=[draft])\n"
    )
    return "crew.py:crew"


@pytest.mark.parametrize("form", ["yaml", "jsonc", "python"])
async def test_every_parameter_is_where_it_belongs(tmp_path: Path, provider: Provider, form: str) -> None:
    """The body has what the model reads, extra_body over it; query and headers have the rest, and nothing is lost."""
    crew = write(tmp_path, {"model": "m", **IN_BODY, **ELSEWHERE}, form)
    sent = await batch(tmp_path, provider, crew=crew)
    assert (sent.done.returncode, len(sent.asked)) == (0, 1), sent.errors
    [(path, headers, body)] = sent.asked
    assert path == "/v1/chat/completions?trace=true&v=2&api-version=2024-10-21"
    names = ("X-Team", "OpenAI-Organization", "OpenAI-Project", "Authorization")
    assert [headers.get(name) for name in names] == ["red", "org-1", "proj-1", "Bearer sk-test"]
    added = {"provider": {"order": ["a"], "strict": None}, "cache": True, "verbosity": "high"}
    assert body == {"model": "m", **IN_BODY, **added}


async def test_a_variable_may_stand_in_any_value(tmp_path: Path, provider: Provider) -> None:
    """Alone or within a text, nested, of any type; the run's files have the reference only."""
    host = provider.url.removeprefix("http://")
    llm = {
        "model": "${NAME}",
        "base_url": "http://${USER_AND_PASSWORD}@${HOST}/v1",
        "api_key": "os.environ/KEY",
        "temperature": "${WARM}",
        "drop_params": "${YES}",
        "stop": ["${END}", "$$${END}", "$${END}"],
        "extra_headers": {"X-Auth": "Token ${TOKEN}"},
        "extra_body": {"deep": [{"token": "${TOKEN}", "n": 1}], "price": "$5"},
        "extra_query": {"k": "$TOKEN"},
    }
    crew = write(tmp_path, llm)
    env = {"NAME": "m", "WARM": "0.5", "YES": "true", "END": "END"}
    env |= {"HOST": host, "TOKEN": "tok-12345678", "KEY": " key-87654321 ", "USER_AND_PASSWORD": "me:pass-word-1"}
    sent = await batch(tmp_path, provider, crew=crew, env=env)
    assert sent.done.returncode == 0, sent.errors
    [(path, headers, body)] = sent.asked
    assert path == "/v1/chat/completions?k=tok-12345678"
    assert headers["X-Auth"] == "Token tok-12345678"
    assert body == {
        "model": "m",
        "temperature": 0.5,
        "stop": ["END", "$${END}", "${END}"],
        "deep": [{"token": "tok-12345678", "n": 1}],
        "price": "$5",
    }
    files = [file.read_bytes() for file in tmp_path.rglob("*") if file.is_file()]
    for secret in ("tok-12345678", "key-87654321", "pass-word-1"):
        assert not any(secret.encode() in content for content in files)


@pytest.mark.parametrize(
    ("field", "place"),
    [
        ({"api_key": "${NOPE}"}, "api_key refers to $NOPE, which is not set"),
        ({"base_url": "http://h/${NOPE}"}, "base_url refers to $NOPE, which is not set"),
        ({"extra_headers": {"X-A": "Bearer ${NOPE}"}}, "extra_headers.X-A refers to $NOPE, which is not set"),
        ({"extra_body": {"a": [{"b": "$NOPE"}]}}, "extra_body.a[0].b refers to $NOPE, which is not set"),
        ({"api_version": "os.environ/NOPE"}, "api_version refers to $NOPE, which is not set"),
        ({"max_tokens": "${NOPE}"}, "max_tokens refers to $NOPE, which is not set"),
        ({"base_url": "http://${NOPE:-h}"}, "base_url has ${NOPE:-h}, which is not a valid reference"),
        ({"max_tokens": "${HOST}"}, "what a variable holds does not fit; max_tokens: Input should be a valid integer"),
        ({"logprobs": "${HOST}"}, "what a variable holds does not fit; logprobs: Input should be a valid boolean"),
    ],
    ids=["key", "address", "header", "nested", "version", "number", "no reference", "no number", "no boolean"],
)
def test_a_variable_that_cannot_be_used_is_refused(field: dict[str, Any], place: str) -> None:
    """With the field's place, and without what the variable holds."""
    with pytest.raises(UsageError) as refused:
        resolve(LLM(model="m", **{"base_url": "http://h", **field}), {"HOST": "my-secret-host"})
    assert str(refused.value).startswith(f"model 'm': {'' if place[:4] == 'what' else 'its '}{place}")
    assert "my-secret-host" not in str(refused.value)


async def test_a_variable_that_is_not_set_stops_the_run(tmp_path: Path, provider: Provider) -> None:
    """Before the first call, of a fallback too."""
    llm = {"model": "m", "fallbacks": [{"model": "n", "api_key": "${NOPE}"}]}
    sent = await batch(tmp_path, provider, crew=write(tmp_path, llm))
    assert (sent.done.returncode, sent.asked) == (2, [])
    assert "model 'n': its api_key refers to $NOPE, which is not set; export it or put it into .env" in sent.errors


async def test_parameters_of_tools_go_with_tools_only(tmp_path: Path, provider: Provider) -> None:
    """OpenAI refuses them in a request without; a choice that forces a call ends with the first one."""
    llm = {"model": "m", "tool_choice": "required", "parallel_tool_calls": False}
    await batch(tmp_path, provider, crew=write(tmp_path, llm))
    without = [{k for k in body if k != "model"} for _, _, body in (await batch(tmp_path, provider, "--fresh")).asked]
    call = {"id": "c", "type": "function", "function": {"name": "look_up", "arguments": '{"word": "a"}'}}

    def decide(body: Any) -> tuple[int, Any]:
        is_forced = body.get("tool_choice") == "required"
        message = {"content": None, "tool_calls": [call]} if is_forced else {"content": "Hi"}
        return 200, reply_with(message, "tool_calls" if is_forced else "stop")

    provider.decides = decide
    sent = await batch(tmp_path, provider, "--fresh", crew=write(tmp_path, llm, tools=TOOL))
    with_tools = [(body.get("tool_choice"), body.get("parallel_tool_calls")) for _, _, body in sent.asked]
    assert (without, with_tools, sent.rows[0]["output"]) == ([set()], [("required", False), (None, False)], "Hi")


def refusing(*refusals: tuple[str, tuple[int, Any]]) -> Callable[[Any], tuple[int, Any]]:
    """A server that refuses each named field with its status and body, the first one that a request has."""

    def decide(body: Any) -> tuple[int, Any]:
        for name, refusal in refusals:
            if name in body:
                return refusal
        return 200, reply_with({"content": "Hi"}, "stop")

    return decide


def openai(message: str, code: str | None = None, param: str | None = None) -> dict[str, Any]:
    """A refusal as OpenAI writes it."""
    return {"error": {"message": message, "type": "invalid_request_error", "param": param, "code": code}}


UNSUPPORTED = openai(
    "Unsupported value: 'temperature' does not support 0.5 with this model. Only the default (1) value is supported.",
    "unsupported_value",
    "temperature",
)
# Each way to name a parameter that is not taken, with its status.
WORDINGS: dict[str, tuple[int, Any]] = {
    "min_p": (400, openai("Nope.", "unsupported_parameter", "min_p")),
    "top_k": (400, openai("Unrecognized request argument supplied: top_k")),
    "top_a": (422, {"detail": [{"type": "extra_forbidden", "loc": ["body", "top_a"], "msg": "Extra inputs"}]}),
    "seed": (400, [{"error": {"code": 400, "message": 'Unknown name "seed": Cannot find field.'}}]),
    "logprobs": (400, openai("property 'logprobs' is unsupported")),
    "presence_penalty": (400, {"error": "Model grok-x does not support parameter presencePenalty."}),
    "thinking": (400, openai("Unknown parameter: 'thinking.type'.", "unknown_parameter", "thinking.type")),
    "temperature": (400, UNSUPPORTED),
}


async def test_a_parameter_that_is_not_taken_is_left_out(tmp_path: Path, provider: Provider) -> None:
    """With drop_params, however the server names it; what else there is goes out."""
    provider.decides = refusing(*WORDINGS.items())
    llm = {"model": "m", **dict.fromkeys(WORDINGS, 1), "logprobs": True, "thinking": {"type": "on"}, "user": "me"}
    known = {name: value for name, value in llm.items() if name not in ("min_p", "top_a", "user")}
    more = {name: llm[name] for name in ("min_p", "top_a", "user")}
    crew = write(tmp_path, {**known, "additional_params": more, "drop_params": True})
    sent = await batch(tmp_path, provider, crew=crew)
    assert (sent.done.returncode, sent.rows[0]["output"]) == (0, "Hi"), sent.errors
    assert (len(sent.asked), sent.asked[-1][2]) == (len(WORDINGS) + 1, {"model": "m", "user": "me"})


async def test_without_drop_params_the_refusal_stays(tmp_path: Path, provider: Provider) -> None:
    """It says the way out."""
    provider.decides = refusing(("temperature", (400, UNSUPPORTED)))
    sent = await batch(tmp_path, provider, crew=write(tmp_path, {"model": "m", "temperature": 0.5}))
    assert sent.rows[0]["error"]["message"].endswith(
        "Only the default (1) value is supported.; take temperature out of the llm, or say drop_params: true there"
    )


async def test_what_is_left_out_is_said_once_and_known_to_the_next_session(tmp_path: Path, provider: Provider) -> None:
    """Two parameters, four rows in turn, then four more by the same command: only the first row meets a refusal."""
    provider.decides = refusing(
        ("temperature", (400, UNSUPPORTED)), ("logprobs", (400, openai("logprobs is not supported")))
    )
    llm = {"model": "m", "temperature": 0.5, "logprobs": True, "drop_params": True, "seed": 1}
    crew = write(tmp_path, llm)
    first = await batch(tmp_path, provider, "-j", "1", crew=crew, rows=4)
    assert [len(body) for _, _, body in first.asked] == [4, 3, 2, 2, 2, 2]
    assert [(one["what"], one["name"]) for one in first.summary["not_taken"]] == [
        ("parameter", "logprobs"),
        ("parameter", "temperature"),
    ]
    assert first.errors.count("does not take temperature: it was left out (drop_params)") == 1
    second = await batch(tmp_path, provider, "-j", "1", crew=crew, rows=8)
    assert ([len(body) for _, _, body in second.asked], len(second.rows)) == ([2] * 4, 8)
    assert second.summary["not_taken"] == first.summary["not_taken"]


async def test_a_limit_of_tokens_is_renamed_and_never_lost(tmp_path: Path, provider: Provider) -> None:
    """A server that wants the other name gets it; one that refuses both is an error: no answer may be unbounded."""
    one = openai("Unsupported parameter: 'max_tokens'. Use 'max_completion_tokens' instead.", "unsupported_parameter")
    crew = write(tmp_path, {"model": "m", "max_tokens": 9, "drop_params": True})
    provider.decides = refusing(("max_tokens", (400, one)))
    sent = await batch(tmp_path, provider, crew=crew)
    bodies = [body for _, _, body in sent.asked]
    assert bodies == [{"model": "m", "max_tokens": 9}, {"model": "m", "max_completion_tokens": 9}]
    other = openai("max_completion_tokens is not supported either")
    provider.decides = refusing(("max_tokens", (400, one)), ("max_completion_tokens", (400, other)))
    sent = await batch(tmp_path, provider, "--fresh", crew=crew)
    assert (sent.rows[0]["status"], len(sent.asked)) == ("failed", 2)


async def test_a_wrong_value_is_no_parameter_to_drop(tmp_path: Path, provider: Provider) -> None:
    """The server takes it, and the user's mistake must be seen."""
    wrong = openai("Invalid 'temperature': must be at most 2.", "decimal_above_max_value", "temperature")
    provider.decides = refusing(("temperature", (400, wrong)))
    sent = await batch(tmp_path, provider, crew=write(tmp_path, {"model": "m", "temperature": 3, "drop_params": True}))
    assert (sent.rows[0]["error"]["message"], len(sent.asked)) == (
        "HTTP 400: Invalid 'temperature': must be at most 2.",
        1,
    )


async def test_refused_parameters_of_tools_leave_the_tools(tmp_path: Path, provider: Provider) -> None:
    """A server without parallel_tool_calls may well have tools: they are not asked for in words."""
    provider.decides = refusing(("parallel_tool_calls", (400, openai("parallel_tool_calls is not supported"))))
    llm = {"model": "m", "parallel_tool_calls": True, "drop_params": True}
    sent = await batch(tmp_path, provider, crew=write(tmp_path, llm, tools=TOOL))
    assert [set(body) - {"model"} for _, _, body in sent.asked] == [{"tools", "parallel_tool_calls"}, {"tools"}]


async def test_additional_drop_params_are_never_sent(tmp_path: Path, provider: Provider) -> None:
    """Not even once, within a mapping too; and rows that were done before stay done."""
    llm = {"model": "m", "seed": 1, "stop": "x", "thinking": {"type": "enabled", "budget_tokens": 5}}
    drops = ["stop", "thinking.budget_tokens"]
    sent = await batch(tmp_path, provider, crew=write(tmp_path, {**llm, "additional_drop_params": drops}))
    assert [body for _, _, body in sent.asked] == [{"model": "m", "seed": 1, "thinking": {"type": "enabled"}}]


async def test_what_openai_s_client_sends_for_the_account_stays_at_openai_s(tmp_path: Path, provider: Provider) -> None:
    """Organization and project of the environment are nobody else's to know."""
    env = {"OPENAI_ORG_ID": "org-e", "OPENAI_PROJECT_ID": "proj-e"}
    sent = await batch(tmp_path, provider, crew=write(tmp_path, {"model": "m"}), env=env)
    [(_, headers, _)] = sent.asked
    assert [name for name in headers if name.lower().startswith("openai-")] == []


async def test_secrets_of_variables_are_not_in_the_journal(tmp_path: Path, provider: Provider) -> None:
    """What a model does not take is journaled by the endpoint, in which references stay references."""
    provider.decides = refusing(("temperature", (400, UNSUPPORTED)))
    llm = {"model": "m", "temperature": 0.5, "drop_params": True, "extra_body": {"token": "${TOKEN}"}}
    sent = await batch(tmp_path, provider, crew=write(tmp_path, llm), env={"TOKEN": "tok-12345678"})
    assert sent.done.returncode == 0, sent.errors
    with sqlite3.connect(tmp_path / "in.results.jsonl.crewrun/journal.sqlite") as db:
        [(endpoint,)] = db.execute("select endpoint from refusals")
    assert ("${TOKEN}" in endpoint, "tok-12345678" in endpoint) == (True, False)


@pytest.mark.parametrize(
    ("model", "fields", "why"),
    [
        ("gpt-4.1", {"top_k": 5}, "its top_k cannot be sent: OpenAI has top_p in its place"),
        ("gpt-4.1", {"api_version": "1"}, "its api_version cannot be sent: openai has none"),
        ("groq/m", {"organization": "o"}, "its organization cannot be sent: it is a part of OpenAI's accounts"),
        ("azure/m", {"organization": "o"}, "its organization cannot be sent: it is a part of OpenAI's accounts"),
        ("anthropic/m", {"project": "p"}, "its project cannot be sent: it is a part of OpenAI's accounts"),
        ("anthropic/m", {"extra_query": {"a": 1}}, "its extra_query cannot be sent: litellm, which calls anthropic"),
        ("gemini/m", {"api_version": "1"}, "its api_version cannot be sent: gemini has none"),
        ("m", {"extra_body": {"messages": []}}, "its extra_body.messages cannot be sent: messages is what the run"),
        ("m", {"extra_body": {"a": {1, 2}}}, "its a cannot be sent: it cannot be sent as JSON"),
        ("m", {"extra_body": {"a": float("nan")}}, "its a cannot be sent: it cannot be sent as JSON"),
    ],
)
def test_what_has_no_meaning_where_it_goes_is_refused(model: str, fields: dict[str, Any], why: str) -> None:
    """Before the first call, with the reason."""
    address = {"base_url": "http://h"} if model == "m" else {}
    with pytest.raises(UsageError) as refused:
        resolve(LLM(model=model, **address, **fields), {})
    assert str(refused.value).startswith(f"model {model!r}: {why}")


@pytest.mark.parametrize(
    ("fields", "env", "headers"),
    [
        ({}, {"OPENAI_ORG_ID": "e", "OPENAI_PROJECT_ID": "p"}, {"OpenAI-Organization": "e", "OpenAI-Project": "p"}),
        ({}, {"OPENAI_ORGANIZATION": "e"}, {"OpenAI-Organization": "e"}),
        ({"organization": "o"}, {"OPENAI_ORG_ID": "e"}, {"OpenAI-Organization": "o"}),
        (
            {"extra_headers": {"openai-organization": "h"}},
            {"OPENAI_ORG_ID": "e"},
            {"openai-organization": "h"},
        ),
        ({"base_url": "http://h", "project": "o"}, {"OPENAI_ORG_ID": "e"}, {"OpenAI-Project": "o"}),
    ],
    ids=["environment", "other name", "own first", "own header", "given for an own address"],
)
def test_the_account_is_in_the_headers(fields: dict[str, Any], env: dict[str, str], headers: dict[str, str]) -> None:
    """What the llm says goes wherever it calls, what the environment says to OpenAI's own address."""
    assert dict(resolve(LLM(model="gpt-4.1", **fields), env).headers) == headers


@pytest.mark.parametrize(
    ("fields", "timeout_s"),
    [
        ({"service_tier": "flex"}, 900),
        ({"extra_body": {"service_tier": "flex"}}, 900),
        ({"service_tier": "flex", "timeout": 5}, 5),
        ({"service_tier": "priority"}, None),
    ],
)
def test_flex_is_waited_for_as_the_provider_advises(fields: dict[str, Any], timeout_s: float | None) -> None:
    """A quarter of an hour, unless the llm says another time."""
    assert resolve(LLM(model="gpt-4.1", **fields), {}).timeout_s == timeout_s


@pytest.mark.parametrize("model", ["m", "azure/m", "anthropic/m"])
def test_a_limit_of_tokens_in_extra_body_is_the_only_one(model: str) -> None:
    """What a call may cost rests on it, whatever its name."""
    fields = {"max_tokens": 5, "max_completion_tokens": 6, "extra_body": {"max_tokens": 700}}
    endpoint = resolve(LLM(model=model, base_url="http://h", api_key="k", **fields), {})
    assert (dict(endpoint.params), dict(endpoint.extra_body)) == ({"max_tokens": 700}, {})


def test_another_provider_gets_nothing_of_the_address() -> None:
    """`-m` takes a crew elsewhere: organization, version and query belong to where it was."""
    llm = LLM(
        model="gpt-4.1", organization="o", project="p", extra_query={"a": 1}, api_version="1", base_url="http://h"
    )
    other = override(llm, "groq/m", None)
    assert other is not None
    endpoint = resolve(other, {})
    assert (dict(endpoint.headers), dict(endpoint.query), dict(endpoint.params)) == ({}, {}, {})


@pytest.mark.parametrize(
    ("model", "kept"),
    [
        pytest.param("openai/gpt-4o-mini", None, id="another provider"),
        pytest.param("gemini/gemini-2.5-pro", "k", id="the same"),
    ],
)
def test_another_model_is_that_of_the_provider_in_its_name(model: str, kept: str | None) -> None:
    """Also where the crew's names its provider apart, as LangChain's objects do; the key stays only while that does."""
    llm = LLM(model="gemini-1.5-flash", provider="gemini", api_key="k")
    other = override(llm, model, None)
    assert other is not None
    assert (other.provider, other.model, other.api_key) == (None, model, kept)


@pytest.mark.parametrize("name", ["service_tier", "top_k", "extra_headers", "logprobs", "thinking", "extra_body"])
def test_a_value_of_a_wrong_type_is_refused_in_python(name: str) -> None:
    """As it is in files, by its name."""
    for value in (object(), "${NAME}" if name in STRUCTURED else [object()]):
        with pytest.raises(ValidationError, match=name):
            LLM(model="m", **{name: value})
