"""Secrets: what a run was given in confidence is in no file, stream or log, however a server or a tool says it back."""

import json
import re
import stat
from base64 import b64encode
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import SecretBytes, SecretStr
from support.command import read_rows, write_rows
from support.forks import Forks
from support.local_workers import NEAR
from support.planted_secrets import PLANTED, QUOTED, environment, every_quotation, leaks, plant, quoting, traces
from support.wire_server import Asked, Reply, WireServer
from support.workspace import RESULTS, STATE, Place

from crewrun.llm.endpoint_secrets import is_described_by, without_secrets
from crewrun.redaction.key_shapes import REDACTED
from crewrun.redaction.redactor import Redactor
from crewrun.redaction.values import environment_secrets, is_secret_name, secrets_in
from crewrun.redaction.written_secrets import written_secrets


@pytest.fixture(scope="module")
def server() -> Iterator[WireServer]:
    with WireServer({}, quoting) as server:
        yield server


@pytest.mark.parametrize("executor", ["inline", NEAR], ids=["here", "on workers"])
def test_no_secret_is_in_a_file_or_stream(tmp_path: Path, forks: Forks, server: WireServer, executor: str) -> None:
    """Thirteen kinds of secrets, quoted in eight ways in fifteen places; nor in what commands say later."""
    rows = every_quotation()
    plant(tmp_path, rows)
    env = environment(server)
    variables = [flag for name in env for flag in ("--env", name)] if executor == NEAR else []
    flags = ["--retries", "0", "-j", "32", "--summary", "s.json", "--executor", executor, *variables]
    commands = [
        ["check", "in.jsonl"],
        ["check", "--json"],
        ["plan", "in.jsonl"],
        ["batch", "in.jsonl", "--outage-patience", "0", *flags],
        ["status", RESULTS],
        ["status", RESULTS, "--json"],
        ["retry", RESULTS, "--only", "output_invalid"],
        ["run", "-i", f"topic={rows[0]}"],
        ["export", RESULTS, "-f", "csv"],
        ["gc"],
    ]
    for command in commands:
        done = forks.crewrun(*command, cwd=tmp_path, env=env, timeout=120)
        assert (command[0], "Traceback" in done.stderr, traces(done.stdout + done.stderr)) == (command[0], False, [])
    failed = [row for row in read_rows(tmp_path / RESULTS) if row["error"]]
    assert len(failed) > len(rows) // 2
    assert sum(REDACTED in row["error"]["message"] for row in failed) > len(rows) // 3
    for row in failed[:3]:
        done = forks.crewrun("show", RESULTS, row["id"], cwd=tmp_path, env=env)
        assert (done.returncode, traces(done.stdout + done.stderr)) == (0, [])
    assert leaks(tmp_path) == {}


def test_answers_inputs_and_prompts_stay_as_they_are(place: Place) -> None:
    """A secret that a row has or a model writes is the user's text: also in the journal, a replay and `show`."""
    key = "plain-words-of-a-key-5512"
    place.rows({"topic": f"the word {key}"})
    place.batch("--log-prompts", OPENAI_API_KEY=key)
    (before,) = read_rows(place.results)
    assert (before["input"], key in before["output"]) == ({"topic": f"the word {key}"}, True)
    place.results.unlink()
    assert place.batch("--log-prompts", OPENAI_API_KEY=key) == []
    assert read_rows(place.results) == [before]
    place.crewrun("show", RESULTS, before["id"], OPENAI_API_KEY=key)
    assert [line for line in place.stdout.splitlines() if line.startswith(("input: ", "    Your task"))] == [
        f'input: {{"topic": "the word {key}"}}',
        f"    Your task: Write about the word {key}",
    ]
    place.crewrun("run", "-i", f"topic={key}", OPENAI_API_KEY=key)
    assert key in place.stdout


def test_the_manifest_keeps_references_and_no_values(tmp_path: Path, forks: Forks, server: WireServer) -> None:
    """Its copy of the crew is for people; a retry reads the crew itself, with the keys in it."""
    plant(tmp_path, ["QUOTE header/whole/message"])
    env = environment(server)
    forks.crewrun("batch", "in.jsonl", "--retries", "0", cwd=tmp_path, env=env)
    texts = json.loads((tmp_path / STATE / "manifest.json").read_text())["definition"]["texts"]
    copy = texts["crew.yaml"]
    assert [line.strip() for line in copy.splitlines() if "key" in line] == [
        f"api_key: {REDACTED}",
        f"api-key: {REDACTED}",
        f"signing_secret_key: {REDACTED}",
        f'tls_private_key: "{REDACTED}"',
        'other: {role: Other, goal: Write, backstory: Old, llm: {model: openai/m, api_key: "${SOME_SETTING}"}}',
    ]
    asked = len(server.asked)
    forks.crewrun("retry", RESULTS, cwd=tmp_path, env=env)
    assert {request.headers["api-key"] for request in server.asked[asked:]} == {PLANTED["header"]}


@pytest.mark.parametrize("user", ["me:secret", "ghp_0123456789token", "me:pass word", "a%40b:p%40ss-word"], ids=str)
def test_a_password_in_the_address_is_not_said_back(place: Place, user: str) -> None:
    """On no stream and in no file; the commands that go on have it blacked out, and refuse to be run so."""
    address = place.mock.base_url.replace("://", f"://{user}@")
    place.rows({"topic": "FAIL-400 a"}, {"topic": "b"})
    said = ""
    for command in (
        ["check", "in.jsonl", "--base-url", address],
        ["plan", "in.jsonl", "--base-url", address],
        ["batch", "in.jsonl", "--base-url", address, "--retries", "0", "--fail-fast", "-j", "1"],
        ["status", RESULTS],
        ["status", RESULTS, "--json"],
        ["run", "-i", "topic=FAIL-400", "--base-url", address],
        ["retry", RESULTS],
    ):
        done = place.forks.crewrun(*command, cwd=place.folder, env=place.env)
        said += done.stdout + done.stderr
    files = b"".join(path.read_bytes() for path in (place.folder / STATE).iterdir())
    assert [part for part in (user, user.partition(":")[2] or user) if part in said or part.encode() in files] == []
    assert f"http://{REDACTED}@" in said
    shown = address.replace(user, REDACTED)
    place.batch("--base-url", shown, "--fresh", code=2)
    assert place.stderr == (
        f"crewrun: base_url {shown!r} has {REDACTED} in place of its name and password; write them, or export "
        "CREWRUN_BASE_URL or OPENAI_BASE_URL with all of it\n"
    )


def test_a_new_summary_is_its_owners_only(place: Place) -> None:
    """As results are; one that was there keeps the mode that somebody gave it."""
    place.rows({"topic": "a"})
    place.batch("--summary", "s.json")
    assert stat.S_IMODE((place.folder / "s.json").stat().st_mode) == 0o600
    (place.folder / "s.json").chmod(0o644)
    place.batch("--summary", "s.json")
    assert stat.S_IMODE((place.folder / "s.json").stat().st_mode) == 0o644


FLOW = """\
from crewrun import Agent, LLM
from crewrun.flow import Flow, start

class Asking(Flow):
    @start()
    async def ask(self):
        topic = self.state["topic"]
        llm = LLM(model="openai/m", api_key="-".join(["made", "up", "at", "runtime", "93"]))
        agent = Agent(role="R", goal="G", backstory="B", llm=llm)
        return str(await agent.akickoff(topic))
"""
CREW_PY = """\
from crewrun import Agent, Crew, Task, LLM

KEYS = {"team_token": "literal-in-python-4471"}

def connect(url="postgres://me:default-in-python-5582@db"):
    pass

llm = LLM(model="MODEL", api_key="made-up-at-runtime-93", base_url="ADDRESS")
agent = Agent(role="R", goal="G", backstory="B", llm=llm)
crew = Crew(agents=[agent], tasks=[Task(description="{topic}", expected_output="E", agent=agent)])
"""
CREW_JSON = {
    "agents": ["a"],
    "tasks": [{"name": "t", "description": "{topic}", "expected_output": "E", "agent": "a"}],
}
AGENT_JSON = '{"role": "R", "goal": "G", "backstory": "B", // a\n"llm": {"model": "openai/m", "api_key": "%s"}}'


@pytest.mark.parametrize(
    ("crew", "status"),
    [
        ("crew.py:crew", 400),
        ("crew.py:crew", 401),
        ("crew.py:crew", 500),
        pytest.param("anthropic.py:crew", 401, marks=pytest.mark.xdist_group("litellm")),
        ("flow.py:Asking", 401),
        ("crew.jsonc", 401),
    ],
)
def test_wherever_a_key_is_written_it_is_known(tmp_path: Path, forks: Forks, crew: str, status: int) -> None:
    """Quoted in a row's failure, and in what stops a run."""
    key = "made-up-at-runtime-93"

    def refusing(_: Asked) -> Reply:
        return Reply(
            status,
            {"error": {"message": f"what is {key}, or {key[:12]}… of literal-in-python-4471, default-in-python-5582"}},
        )

    with WireServer({}, refusing) as server:
        text = CREW_PY.replace("ADDRESS", server.base_url)
        (tmp_path / "crew.py").write_text(text.replace("MODEL", "openai/m"))
        (tmp_path / "anthropic.py").write_text(text.replace("MODEL", "anthropic/m").replace("/v1", ""))
        (tmp_path / "flow.py").write_text(FLOW)
        (tmp_path / "agents").mkdir()
        (tmp_path / "agents/a.jsonc").write_text(AGENT_JSON % key)
        (tmp_path / "crew.jsonc").write_text(json.dumps(CREW_JSON))
        write_rows(tmp_path / "in.jsonl", [{"topic": "a"}])
        env = {"OPENAI_BASE_URL": server.base_url}
        flags = ["--crew", crew, "--retries", "0", "--outage-patience", "0", "--summary", "s.json"]
        done = forks.crewrun("batch", "in.jsonl", *flags, cwd=tmp_path, env=env)
    assert f"what is {REDACTED}, or {REDACTED} of " in done.stderr
    written = b"".join(path.read_bytes() for path in tmp_path.rglob("*") if "crewrun" in str(path) and path.is_file())
    said = done.stderr + written.decode("utf-8", "replace") + (tmp_path / "s.json").read_text()
    assert [part for part in (key, key[:12]) if part in said] == []
    if crew.endswith(".py:crew"):
        assert [part for part in ("literal-in-python", "default-in-python") if part in said] == []


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("Authorization: Bearer abcdef.ghijkl~mno", "Authorization: Bearer [redacted]"),
        ("{'authorization': 'bearer q1w2e3r4t5'}", "{'authorization': 'bearer [redacted]'}"),
        ("Bearer%20q1w2e3r4t5y6", "Bearer%20[redacted]"),
        ('Bearer: "q1w2e3r4t5y6"', 'Bearer: "[redacted]"'),
        ("sent sk-proj-abcdefgh12345678 to https://me:pw@host/x", "sent [redacted] to https://[redacted]@host/x"),
        ("at https://token123@host", "at https://[redacted]@host"),
        ("a bearer of news, me@host, http://host/@x?a@b", "a bearer of news, me@host, http://host/@x?a@b"),
    ],
)
def test_what_looks_like_a_key_is_blacked_out_unknown(text: str, shown: str) -> None:
    """Such as that of another user, which a server mixes up."""
    assert Redactor().redact(text) == shown


WORDS_AND_SECRETS = [
    pytest.param("hf_datasets", "openai/hf-internal-testing-v2", {}, id="like a key"),
    pytest.param("production", "openai/production-model", {"DB_PASSWORD": "production"}, id="a password"),
    pytest.param("lm-studio", "openai/lm-studio", {"LOCAL_API_KEY": "lm-studio"}, id="a placeholder"),
    pytest.param("meta", "openai/openrouter/meta", {"A_API_KEY": "openrouter-team-7Gh2kQ91xTb4"}, id="a key's start"),
]


@pytest.mark.parametrize(("folder", "model", "secrets"), WORDS_AND_SECRETS)
def test_paths_and_models_are_no_secrets(place: Place, folder: str, model: str, secrets: dict[str, str]) -> None:
    """The commands that go on can be given as they are printed, `retry` works, and so it does with another key."""
    (place.folder / folder).mkdir()
    write_rows(place.folder / folder / "in.jsonl", [{"topic": "FAIL-400 a"}, {"topic": "b"}])
    command = ["batch", f"{folder}/in.jsonl", "--crew", ".", "-m", model, "--summary", "fw_summary.json"]
    place.crewrun(*command, "--retries", "0", code=3, stdin=None, **secrets)
    shown = " ".join(["crewrun", *command, "--retries 0"])
    assert [line for line in place.stderr.splitlines() if shown in line] != []
    results = f"{folder}/{RESULTS}"
    place.crewrun("status", results, code=0, stdin=None, **secrets)
    assert REDACTED not in place.stdout
    for env in (secrets, dict.fromkeys(secrets, "sk-another-key-of-ours-4431")):
        assert place.crewrun("retry", results, code=3, stdin=None, **env) == ["Write about FAIL-400 a"]
        assert REDACTED not in place.stderr


def test_what_the_user_wrote_is_compared_without_its_secrets() -> None:
    """Whatever secrets are known where, and whatever an earlier version blacked out."""
    params = {"extra_body": {"api_key": "abcd", "token": "${NAME}", "size": 3}, "stop": ["x"]}
    described = json.dumps(["openai", "p", "openrouter/m", "http://me:pw@h/v1?sig=abc&v=2", params])
    shown = without_secrets(described)
    blacked_out = {"extra_body": {"api_key": REDACTED, "token": "${NAME}", "size": 3}, "stop": ["x"]}
    expected = ["openai", "p", "openrouter/m", f"http://{REDACTED}@h/v1?sig={REDACTED}&v=2", blacked_out]
    assert json.loads(shown) == expected
    assert without_secrets(shown) == shown
    plain = json.dumps(json.loads(described), sort_keys=True, separators=(",", ":"))
    other = plain.replace('"abcd"', '"another"')
    assert [is_described_by(shown, one) for one in (plain, other, plain.replace("/v1", "/v2"))] == [True, True, False]
    assert is_described_by(shown.replace("openrouter/m", f"{REDACTED}/m"), plain)
    assert not is_described_by(f"a{REDACTED}a", "a")


@pytest.mark.parametrize(
    ("word", "shown"),
    [
        ("--base-url=http://me:pass word@h/v1", f"--base-url=http://{REDACTED}@h/v1"),
        ("https://h/v1?api-key=abc&page=2", f"https://h/v1?api-key={REDACTED}&page=2"),
        ("https://h/v1?api-key=${KEY}", "https://h/v1?api-key=${KEY}"),
        ("Zq7Wmt-environ-4Kd0Pxb", REDACTED),
        ("--x=Zq7Wmt-environ-4Kd0Pxb", f"--x={REDACTED}"),
        ("Zq7Wmt-environ-4Kd0Pxb/in.jsonl", "Zq7Wmt-environ-4Kd0Pxb/in.jsonl"),
        ("production", "production"),
        ("sk-learn/hf_review", "sk-learn/hf_review"),
    ],
)
def test_a_word_of_the_user_is_kept(word: str, shown: str) -> None:
    """Without what it has of a secret by its structure, or is as a whole."""
    redactor = Redactor()
    redactor.learn(["Zq7Wmt-environ-4Kd0Pxb", "production"])
    assert redactor.redact_value(word) == shown


@pytest.mark.parametrize(
    ("line", "shown"),
    [
        ("at Zq7Wmt-environ-4Kd0Pxb/x: ZQ7WMT-ENVIRON-4KD0PXB", f"at {REDACTED}/x: {REDACTED}"),
        (f"as {b64encode(b'me:Zq7Wmt-environ-4Kd0Pxb').decode()}", f"as bWU6{REDACTED}g=="),
        ("Zq7Wmt-environ, Zq7…0Pxb, production.jsonl", "Zq7Wmt-environ, Zq7…0Pxb, production.jsonl"),
        ("hf_review, fw_summary.json, sk-learn, r8_tests_of_everything", None),
        ("http://fw-prod-01.localhost:1/v1 hf-internal-testing-version-2 sk_models_2024", None),
        ("hf_0123456789abcdefgh sk-proj-0123456789", f"{REDACTED} {REDACTED}"),
        ("http://me:pw@h", f"http://{REDACTED}@h"),
    ],
)
def test_a_line_is_said_without_what_can_only_be_a_secret(line: str, shown: str | None) -> None:
    """No piece of a path is taken for a piece of a secret, nor a word for a key."""
    redactor = Redactor()
    redactor.learn(["Zq7Wmt-environ-4Kd0Pxb", "production"])
    assert redactor.redact_line(line) == (line if shown is None else shown)


def test_words_of_a_quotation_are_no_pieces() -> None:
    """A key's first word is its maker's name; what is longer, or no word, is of the key. Names of tasks are no keys."""
    redactor = Redactor()
    redactor.learn(["openrouter-team-7Gh2kQ91xTb4", "abcdefghijklmno"])
    text = "openrouter/meta by hf_review, csk-everything-else: openrouter-team, abcdefghijkl, hf_****************"
    assert redactor.redact(text) == (
        f"openrouter/meta by hf_review, csk-everything-else: {REDACTED}, {REDACTED}, {REDACTED}"
    )


def test_of_a_text_full_of_masks_the_first_are_looked_at() -> None:
    """More are in no text that is shown, and a server could have us look at millions."""
    redactor = Redactor()
    redactor.learn(["sk-proj-0123456789abcdef"])
    shown = redactor.redact("sk-proj... " * 3000)
    assert (shown.count(REDACTED), shown.startswith(f"{REDACTED} " * 2000)) == (2000, True)


SECRETS = st.text(min_size=8, max_size=60).map(str.strip).filter(lambda text: len(text) >= 8)


@settings(deadline=None)
@given(SECRETS, st.text(max_size=40), st.text(max_size=40), st.sampled_from(sorted(QUOTED.keys() - {"in part"})))
def test_a_known_secret_is_never_left(secret: str, before: str, after: str, way: str) -> None:
    """Whatever it is made of, and whatever stands around it."""
    redactor = Redactor()
    redactor.learn([secret])
    for text in (f"{before}{secret}{after}", json.dumps([before, secret, after])):
        shown = redactor.redact(text)
        assert secret.lower() not in shown.lower() or secret.lower() in REDACTED
    if not secret[:8].isalpha():
        assert REDACTED in redactor.redact(f"{before} {secret[:8]}")
    quoted = b64encode(f"me:{secret}".encode("utf-8", "surrogatepass")).decode()
    assert quoted[4:-4] not in redactor.redact(f"{before} {quoted} {after}")


@given(st.text(st.characters(codec="ascii"), max_size=200))
def test_other_texts_stay(text: str) -> None:
    """Nothing is blacked out that is no secret and has not the shape of one."""
    redactor = Redactor()
    redactor.learn(["Zq7Wmt-environ-4Kd0Pxb"])
    if not re.search(r"(?i)://|bearer|[-_]|AIza|AKIA|zq7", text):
        assert redactor.redact(text) == text


def test_the_oldest_keys_of_rows_are_forgotten() -> None:
    """A server that calls models with its users' keys knows the latest thousand, the one that it uses again, and all
    that it did not get from rows.
    """
    redactor = Redactor()
    redactor.learn(["own=qrstuvwx", "both=yzabcdef"])
    redactor.learn(["first=abcdefgh", "again=ijklmnop", "both=yzabcdef", "Own=qrstuvwx"], is_passing=True)
    for number in range(1023):
        redactor.learn([f"{number:04}-{number * 7919:012}", "again=ijklmnop"], is_passing=True)
    redactor.learn([f"other-{number * 7919:012}" for number in range(2000)])
    assert redactor.redact("first=abcdefgh again=ijklmnop 1022-000008093218 own=qrstuvwx both=yzabcdef") == (
        f"first=abcdefgh {' '.join([REDACTED] * 4)}"
    )


@pytest.mark.parametrize(
    ("name", "is_secret"),
    [
        *((name, True) for name in ("api_key", "api-key", "X-API-KEY", "awsSecretAccessKey", "DB_PWD", "hfToken")),
        *((name, True) for name in ("OPENAI_API_KEY_2", "WATSONX_APIKEY", "vertex_credentials", "clientSecret")),
        *((name, False) for name in ("max_tokens", "prompt_cache_key", "tokenizer", "keyword", "monkey", "author")),
        *((name, True) for name in ("TOKENS", "api_tokens", "PASSWORDS")),
        *((name, False) for name in ("stop_tokens", "total_tokens", "file_pat", "patience")),
        *((name, False) for name in ("GOOGLE_CREDENTIALS_FILE", "RAY_AUTH_MODE", "secretary", "passage", "")),
    ],
)
def test_names_of_fields_that_have_secrets(name: str, is_secret: bool) -> None:
    """In any case and with any punctuation; what only sounds like one is none."""
    assert is_secret_name(name) is is_secret


def test_secrets_are_found_where_settings_have_them() -> None:
    """Below a name that says so, in JSON in a text, in headers and URLs; not references."""
    account = json.dumps({"type": "service_account", "private_key": "-----K-----", "client_email": "me@x"})
    assert set(
        secrets_in(
            {
                "model": "m",
                "api_key": "${NAME}",
                "auth": {"user": "me", "levels": ["one"]},
                "vertex_credentials": account,
                "headers": {"X-Any": "header", "User-Agent": "me/1", "Cookie": "a=crumb; b=more"},
                "address": "http://me:word@host/?sig=signed&page=2",
                "plain": [SecretStr("wrapped"), {"inner": SecretBytes(b"bytes")}, SecretStr],
            }
        )
    ) == {
        *("me", "one", "-----K-----", "header", "a=crumb; b=more", "crumb", "more", "me:word", "word", "signed"),
        *("wrapped", "bytes"),
    }


def test_secrets_are_found_where_files_have_them() -> None:
    """In YAML and JSON by the names of fields, in Python as arguments, keys and variables; not references."""
    text = 'a:\n  api_key: one\n  "x-token": "two"\n  password: >\n    three\n  secret: ${NAME}\n  max_tokens: 5\n'
    assert list(written_secrets(text + '{"apiKey":"4"}')) == ["one", "two", "three", "4"]
    code = (
        'T(api_key="one", url="no", password=os.getenv("NAME", "two"))\nTOKEN: str = "three" if x else f"{y}four"\n'
        'd["secret"] = SecretStr("five")\nf(headers={"X-Any": "six"}, token=os.environ["NAME"])\n'
    )
    assert set(written_secrets(code, is_python=True)) == {"one", "two", "three", "four", "five", "six"}


@pytest.mark.parametrize(
    ("code", "secrets"),
    [
        ('def f(a, api_key="one", *, b="no", token="two", c): ...', ["one", "two"]),
        ('lambda url="no", password="one": url', ["one"]),
        ('class C:\n    api_key: str = field(default="one")\n    token: SecretStr = SecretStr("two")', ["one", "two"]),
        ('class C:\n    api_key: str = Field(default_factory=lambda: "one", description="no")', ["one"]),
        ('plain = SecretStr("one")', ["one"]),
        ('TOKENS = {"prod": "one", "test": ["two", {"x": "three"}]}', ["one", "two", "three"]),
        ('if (token := "one"):\n    pass', ["one"]),
        ('API_KEY = b"one"', ["one"]),
        ('"""See http://x:doc@h."""\nf("at ftp://me:one@db/x or http://h/?sig=two")', ["me:one", "one", "two"]),
        ('connect("postgres://user:password@db")', []),
        ('max_tokens = "no"; f(max_tokens="no")', []),
    ],
)
def test_secrets_are_found_where_python_has_them(code: str, secrets: list[str]) -> None:
    """As defaults of parameters and fields, below a name, in walruses and in URLs of any text but a docstring."""
    assert set(written_secrets(code, is_python=True)) == set(secrets)


def test_secrets_are_found_in_variables_of_the_environment() -> None:
    """By their names, in connection strings and addresses; a webhook's is a secret as a whole."""
    webhook = "https://hooks.slack.com/services/T0/B0/xyz"
    env = {
        "GITHUB_PAT": "one",
        "AZURE_STORAGE_CONNECTION_STRING": "AccountName=no;AccountKey=two==;EndpointSuffix=core.windows.net",
        "DATABASE": "Server=no;Password=three",
        "SLACK_WEBHOOK_URL": webhook,
        "MAX_TOKENS": "no",
        "GREETING": "token; or not=token",
        "PROXY": "http://me:four@h",
    }
    assert set(environment_secrets(env)) == {"one", "two==", "three", webhook, "me:four", "four"}


@pytest.mark.parametrize(
    "written",
    [
        r"""a\/b&c<d>'e"f+g=h""",
        r"""a/b\u0026c\u003cd\u003e'e\"f+g=h""",
        r"""a\/b\u0026c\u003Cd\u003E\u0027e\u0022f+g=h""",
        r"""a/b\u0026c\u003cd\u003e\u0027e\u0022f\u002Bg=h""",
        """a/b&amp;c&lt;d&gt;&#39;e&#34;f+g=h""",
        """a/b&amp;c&lt;d&gt;&#x27;e&quot;f+g=h""",
        """a/b&amp;c&lt;d&gt;&#39;e&#34;f&#43;g=h""",
        """a&#x2F;b&amp;c&lt;d&gt;&#39;e&quot;f+g&#x3D;h""",
        """a/b&amp;c&lt;d&gt;'e"f+g=h""",
    ],
)
def test_a_secret_is_found_as_json_and_html_write_it(written: str) -> None:
    """Of PHP, Go, Ruby and .NET, and of templates."""
    redactor = Redactor()
    redactor.learn(["a/b&c<d>'e\"f+g=h"])
    if written.startswith("a\\/b&c"):
        written = written.replace('"', '\\"')
    assert redactor.redact_line(f"at {written}.") == f"at {REDACTED}."
