"""What comes of replies and refusals as providers send them, each in a whole command against a server on the loopback.

The suite has a sample. Everything, each case by itself and each refusal in every place of a hundred rows:

    pytest -m soak tests/commands/test_wire.py

which takes about an hour on two cores. `-k` picks cases by their ids, which are those in `wire_cases`.
"""

import json
import re
import socket
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from support.command import CREW, read_rows, write_rows
from support.forks import Forks
from support.local_workers import NEAR
from support.wire_cases import (
    CASES,
    DOUBTED,
    EMPTY_ACCOUNTS,
    GONE_MODELS,
    IN_VAIN,
    LASTING_RATES,
    NO_SCHEMA,
    NO_TOOLS,
    OK,
    PART_B,
    PASSING_RATES,
    RATES,
    REFUSED_KEYS,
    SCRIPTS,
    USUAL,
    WITH_SCHEMA,
    WITH_TOOLS,
    Case,
    Crew,
    error,
)
from support.wire_server import (
    ROW,
    Asked,
    Reply,
    Rule,
    Shape,
    WireServer,
    a_window,
    at_most,
    bomb,
    completion,
    everybody,
    tool_call,
)

KEY = "sk-proj-0123456789abcdef"
TOOL_FILE = '''\
from pathlib import Path

from crewrun.tools import tool

SEEN = Path(__file__).with_name("words.txt")


@tool
def look_up(word: str) -> str:
    """Look a word up in the glossary."""
    with SEEN.open("a") as seen:
        seen.write(f"{word}\\n")
    return f"{word}: no entry"
'''
SCHEMA_LINE = "    output_schema: {type: object, properties: {title: {type: string}}, required: [title]}\n"


@dataclass
class Run:
    """A command that has ended: what it left behind, and what it was sent for."""

    code: int
    stderr: str
    rows: list[dict[str, Any]]
    asked: list[Asked]
    took_s: float
    memory_mib: float
    summary: dict[str, Any]

    @property
    def statuses(self) -> list[str]:
        """Of the rows, in input order."""
        return [row["status"] for row in self.rows]

    @property
    def stopped(self) -> str:
        """Why it stopped, empty when it did not."""
        return "\n".join(line for line in self.stderr.splitlines() if line.startswith("stopped: "))

    @property
    def probes(self) -> list[Asked]:
        """The requests without a row's text."""
        return [asked for asked in self.asked if asked.row is None]

    def times(self, row: str) -> int:
        """How often a row was asked for."""
        return sum(asked.row == row for asked in self.asked)


class Folder:
    """A folder with a crew and rows, and the server that its commands call."""

    def __init__(self, path: Path, server: WireServer, forks: Forks) -> None:
        self.path = path
        self.server = server
        self.stdout = ""  # of the latest command
        self._forks = forks

    def crew(self, kind: Crew = "plain", llm: Any = "gpt-4.1-mini") -> None:
        """Write a crew of one task about {topic}."""
        text = CREW
        if kind in ("tools", "words"):
            (self.path / "my_tools.py").write_text(TOOL_FILE)
            text = text.replace("tasks:\n", '    tools: ["my_tools:look_up"]\ntasks:\n')
        if kind == "words":
            llm = {"model": llm, "function_calling": False}
        if kind == "schema":
            text += SCHEMA_LINE
        (self.path / "crew.yaml").write_text(f"{text}llm: {json.dumps(llm)}\n")

    def write(self, rows: Sequence[str]) -> None:
        """The input: rows of these topics."""
        write_rows(self.path / "in.jsonl", [{"topic": row} for row in rows])

    def run(self, *flags: str, rules: Sequence[Rule] = (), timeout_s: float = 30, **env: str) -> Run:
        """Run the batch to its end."""
        command = ("batch", "in.jsonl", "--summary", "s.json", *flags)
        return self.crewrun(*command, rules=rules, timeout_s=timeout_s, **env)

    def crewrun(self, *args: str, rules: Sequence[Rule] = (), timeout_s: float = 30, **env: str) -> Run:
        """As `run`, for any command."""
        self.server.begin(*rules)
        (self.path / "words.txt").unlink(missing_ok=True)
        begin = time.monotonic()
        command = self._forks.start(
            *args,
            cwd=self.path,
            env={"OPENAI_BASE_URL": self.server.base_url, "OPENAI_API_KEY": KEY, **env},
        )
        with command:
            self.stdout, stderr = command.communicate(timeout=timeout_s)
        code, took_s = command.wait(), time.monotonic() - begin
        assert "Traceback" not in stderr, stderr
        results, summary = self.path / "in.results.jsonl", self.path / "s.json"
        return Run(
            code=code,
            stderr=stderr,
            rows=read_rows(results) if results.exists() else [],
            asked=list(self.server.asked),
            took_s=took_s,
            memory_mib=command.memory_kib / 1024,
            summary=json.loads(summary.read_text()) if summary.exists() else {},
        )

    def words(self) -> list[str]:
        """What the tool was called with in the last run, sorted."""
        seen = self.path / "words.txt"
        return sorted(seen.read_text().splitlines()) if seen.exists() else []


def only_soak(value: Any) -> Any:
    """A parameter for the soak alone."""
    return pytest.param(value, marks=pytest.mark.soak)


@pytest.fixture(scope="module")
def server() -> Iterator[WireServer]:
    """One for all tests of a process."""
    with WireServer(SCRIPTS) as server:
        yield server


@pytest.fixture
def folder(tmp_path: Path, server: WireServer, forks: Forks) -> Folder:
    """A folder with a crew of one task that takes one call."""
    folder = Folder(tmp_path, server, forks)
    folder.crew()
    return folder


def topics(count: int) -> list[str]:
    """Rows without a case."""
    return [f"topic {i}" for i in range(count)]


def with_case(case: Case, at: int, count: int) -> list[str]:
    """Rows of which the one `at` is the case's."""
    rows = topics(count)
    rows[at] += f" WIRE:{case.id}"
    return rows


def echo(case_or_crew: Crew, row: str, text: str = OK) -> Any:
    """The output of a row."""
    said = text.replace(ROW, row)
    return {"title": said} if case_or_crew == "schema" else said


def seen_of(case: Case, run: Run, row: dict[str, Any]) -> dict[str, Any]:
    """What came of the row, as `expected` has it."""
    name = row["input"]["topic"]
    sent, task = run.times(name), (row["tasks"] or [{}])[-1]
    category = row["error"] and row["error"]["category"]
    is_right = category in case.category.split("|") if case.category and category else category == case.category
    return {
        "category": case.category if is_right else category,
        "why": None if is_right else row["error"] and row["error"]["message"],
        "output": row["output"],
        "sent": sent if not case.or_more or sent < case.attempts else "enough",
        "counted": row["attempts"] - sent in range(len(run.probes) + 1),
        "field": task.get(case.field[0]) if case.field else None,
    }


def expected(case: Case, name: str) -> dict[str, Any]:
    """What is to come of the row."""
    return {
        "category": case.category,
        "why": None,
        "output": None if case.category else echo(case.crew, name, case.output),
        "sent": "enough" if case.or_more else case.attempts,
        "counted": True,
        "field": case.field[1] if case.field else None,
    }


def check_case(case: Case, run: Run, at: int, words: Sequence[str]) -> None:
    """The row of the case came to its end, with as many requests as it may take."""
    row = run.rows[at]
    name = row["input"]["topic"]
    assert seen_of(case, run, row) == expected(case, name)
    if case.words is not None:
        own = sorted(word.replace(ROW, name) for word in case.words)
        assert [word for word in words if not is_of_another(word, name)] == own


def is_of_another(word: str, name: str) -> bool:
    """Whether a word that the tool was called with is another row's."""
    return bool(re.match(r"topic \d", word)) and not word.startswith(name)


def check_others(case: Case, run: Run, at: int) -> None:
    """All other rows succeeded, were sent as often as ever, and as what the crew says."""
    shape = {"tools": "has_tools", "schema": "has_schema"}.get(case.crew)
    requests = {
        row: [asked for asked in run.asked if asked.row == row] for row in (r["input"]["topic"] for r in run.rows)
    }
    others = [row for i, row in enumerate(run.rows) if i != at]
    assert [(row["status"], row["output"]) for row in others] == [
        ("ok", echo(case.crew, row["input"]["topic"])) for row in others
    ]
    for row in others:
        asked = requests[row["input"]["topic"]]
        assert (row["input"]["topic"], len(asked)) == (row["input"]["topic"], USUAL[case.crew])
        assert shape is None or all(getattr(one, shape) for one in asked), row["input"]


# --- one case in a command --------------------------------------------------------------------------------------------


def run_alone(folder: Folder, case: Case) -> None:
    """The case between two rows that have none."""
    folder.crew(case.crew)
    folder.write(with_case(case, 1, 3))
    run = folder.run("-j", "2", "--retries", "1")
    assert (len(run.rows), run.stopped) == (3, ""), run.stderr
    check_case(case, run, 1, folder.words())
    check_others(case, run, 1)
    assert (run.code, len(run.probes) <= case.probes, run.took_s < 30) == (case.code, True, True)


@pytest.mark.soak
@pytest.mark.parametrize("case", CASES.values(), ids=CASES)
def test_a_reply_comes_to_what_it_means(folder: Folder, case: Case) -> None:
    """Status, category, requests and exit code of one row, while the rows beside it have their answers."""
    run_alone(folder, case)


@pytest.mark.parametrize("name", ["account-402", "model-plain", "key-once"])
def test_a_refusal_of_one_row_is_that_rows(folder: Folder, name: str) -> None:
    """A sample of the test above, of what has to be found out about the endpoint."""
    run_alone(folder, CASES[name])


@pytest.mark.parametrize("crew", USUAL)
def test_replies_of_all_kinds_in_one_batch(folder: Folder, crew: Crew) -> None:
    """Every case that decides for its row alone, two good rows after each: none has to do with another."""
    # Each 429 slows down all that follows: three will do, all have their own commands in the soak.
    left_out = {case.id for case in (*PASSING_RATES, *LASTING_RATES)} - {"rate-groq", "rate-gemini", "rate-proxy"}
    cases = [c for c in CASES.values() if c.crew == crew and c.decides_alone and c.id not in left_out]
    rows = topics(6)
    for case in cases:
        rows += [f"topic {len(rows)} WIRE:{case.id}", f"topic {len(rows) + 1}", f"topic {len(rows) + 2}"]
    folder.crew(crew)
    folder.write(rows)
    run = folder.run("-j", "16", "--retries", "1")
    assert (run.stopped, [row["input"]["topic"] for row in run.rows]) == ("", rows)
    found = {row["input"]["topic"].partition("WIRE:")[2]: row for row in run.rows}
    wrong = {
        case.id: (seen, meant)
        for case in cases
        if (seen := seen_of(case, run, found[case.id])) != (meant := expected(case, found[case.id]["input"]["topic"]))
    }
    assert (wrong, run.probes, run.code) == ({}, [], max(case.code for case in cases))
    usual = {row["input"]["topic"]: USUAL[crew] for row in run.rows if "WIRE" not in row["input"]["topic"]}
    assert {row: run.times(row) for row in usual} == usual


@pytest.mark.soak
def test_refusals_mean_the_same_over_litellm(folder: Folder) -> None:
    """The cases of plain rows, by way of litellm to a server that speaks the same."""
    cases = [case for case in PART_B if case.crew == "plain" and case.decides_alone and case.category != "network"]
    rows = topics(6)
    for case in cases:
        rows += [f"topic {len(rows)} WIRE:{case.id}", f"topic {len(rows) + 1}", f"topic {len(rows) + 2}"]
    folder.crew(llm={"model": "litellm_proxy/m", "base_url": folder.server.base_url, "api_key": KEY})
    folder.write(rows)
    run = folder.run("-j", "16", "--retries", "1")
    assert (run.stopped, len(run.rows)) == ("", len(rows))
    found = {row["input"]["topic"].partition("WIRE:")[2]: row for row in run.rows}
    wrong = {
        case.id: (seen, meant)
        for case in cases
        if (seen := seen_of(case, run, found[case.id])) != (meant := expected(case, found[case.id]["input"]["topic"]))
    }
    assert (wrong, run.probes) == ({}, [])


# --- one refused row among a hundred ----------------------------------------------------------------------------------


def run_among(folder: Folder, case: Case, at_once: int, at: int, count: int, sessions: int, *flags: str) -> None:
    """The same command several times: the refused row alone is run again, and comes to the same."""
    folder.crew(case.crew)
    folder.write(with_case(case, at, count))
    others = ["ok"] * (count - 1)
    statuses = [*others[:at], "failed" if case.category else "ok", *others[at:]]
    for session in range(sessions):
        run = folder.run("-j", str(at_once), "--retries", "1", *flags)
        assert (run.code, run.stopped, run.statuses) == (case.code, "", statuses), run.stderr
        if session == 0:
            check_others(case, run, at)
        # Later on the turns before the refused one come from the journal.
        if session == 0 or (case.category and case.script.shape != "results"):
            check_case(case, run, at, folder.words())
        name = run.rows[at]["input"]["topic"]
        if session:
            assert {asked.row for asked in run.asked} <= ({name, None} if case.category else set())
        assert len(run.probes) <= case.probes
        shape = {"tools": "has_tools", "schema": "has_schema"}.get(case.crew)
        assert shape is None or all(getattr(asked, shape) for asked in run.probes)


PLACES = {"first": 0, "middle": 50, "last": 99}


@pytest.mark.soak
@pytest.mark.parametrize("place", PLACES)
@pytest.mark.parametrize("at_once", [1, 8])
@pytest.mark.parametrize("case", PART_B, ids=lambda case: case.id)
def test_one_bad_row_never_stops_anything(folder: Folder, case: Case, at_once: int, place: str) -> None:
    """A hundred rows, one of them refused: the others succeed with no request more than usual, and three times over."""
    run_among(folder, case, at_once, PLACES[place], 100, 3)


@pytest.mark.soak
@pytest.mark.parametrize("place", PLACES)
@pytest.mark.parametrize(
    "case", [*DOUBTED, *WITH_TOOLS, *WITH_SCHEMA, *PASSING_RATES[:3], *IN_VAIN[:3]], ids=lambda case: case.id
)
def test_one_bad_row_never_stops_workers_elsewhere(folder: Folder, case: Case, place: str) -> None:
    """The same where the rows run in two workers, whose calls have their limits from the command."""
    run_among(folder, case, 8, PLACES[place], 100, 2, "--executor", NEAR)


@pytest.mark.soak
@pytest.mark.parametrize("case", DOUBTED, ids=lambda case: case.id)
def test_a_failed_row_fails_alike_when_it_is_tried_again(folder: Folder, case: Case) -> None:
    """By `crewrun retry`, where it is the only row: nothing stops, and no other row is sent."""
    folder.write(with_case(case, 3, 9))
    folder.run("-j", "4", "--retries", "1")
    run = folder.crewrun("retry", "in.results.jsonl")
    assert (run.code, run.stopped, run.statuses) == (3, "", [*["ok"] * 3, "failed", *["ok"] * 5])
    assert {asked.row for asked in run.asked} <= {run.rows[3]["input"]["topic"], None}


SAMPLE = [
    ("key-uncoded", 1, 0),
    ("key-403-firewall", 1, 11),
    ("account-gemini-day", 8, 6),
    ("wait-a-day", 1, 0),
    ("no-tools-own", 1, 0),
    ("no-schema-own", 8, 11),
]


@pytest.mark.parametrize(("name", "at_once", "at"), SAMPLE)
def test_one_bad_row_stops_nothing(folder: Folder, name: str, at_once: int, at: int) -> None:
    """A sample of the test above: twelve rows, twice."""
    run_among(folder, CASES[name], at_once, at, 12, 2)


# --- everybody --------------------------------------------------------------------------------------------------------

LONG_WAIT = error(429, "Slow down", retry_after="7200")
FOR_ALL: Mapping[str, Reply] = {
    **{f"account-{name}": reply for name, reply in EMPTY_ACCOUNTS.items()},
    **{f"key-{name}": reply for name, reply in REFUSED_KEYS.items()},
    **{f"model-{name}": reply for name, reply in GONE_MODELS.items()},
    "wait-two-hours": LONG_WAIT,
}


def refuse_everybody(folder: Folder, reply: Reply, at_once: int, answered: int) -> None:
    """From one request on: twice the same stop with the rows pending, then all goes on."""
    rows = topics(answered + at_once + 3)
    folder.write(rows)
    sent_before = answered
    for _ in range(2):
        run = folder.run("-j", str(at_once), rules=[everybody(reply, first=sent_before + 1)])
        assert (run.code, run.statuses, bool(run.stopped)) == (4, ["ok"] * answered, True), run.stderr
        assert str(reply.status) in run.stopped
        # What was in flight, each once, and one probe.
        refused = run.asked[sent_before:]
        assert (len(refused) <= at_once + 1, len(run.probes) <= 1) == (True, True)
        assert max(run.times(row) for row in rows) == 1
        sent_before = 0
    run = folder.run("-j", str(at_once))
    assert (run.code, run.statuses, len(run.asked)) == (0, ["ok"] * len(rows), len(rows) - answered)


@pytest.mark.soak
@pytest.mark.parametrize("answered", [0, 9])
@pytest.mark.parametrize("at_once", [1, 8])
@pytest.mark.parametrize("name", FOR_ALL)
def test_what_everybody_is_refused_stops_the_run(folder: Folder, name: str, at_once: int, answered: int) -> None:
    """Exit 4, no row fails, and few requests tell: also where others were answered before."""
    refuse_everybody(folder, FOR_ALL[name], at_once, answered)


@pytest.mark.parametrize(
    ("name", "at_once", "answered"), [("key-uncoded", 1, 0), ("account-402", 8, 9), ("wait-two-hours", 1, 0)]
)
def test_a_refusal_of_everybody_stops_the_run(folder: Folder, name: str, at_once: int, answered: int) -> None:
    """A sample of the test above."""
    refuse_everybody(folder, FOR_ALL[name], at_once, answered)


@pytest.mark.parametrize("name", ["key-403-firewall", only_soak("account-anthropic"), only_soak("model-fastapi")])
def test_the_last_pending_row_tells_too(folder: Folder, name: str) -> None:
    """Nine rows are answered, then everybody is refused: the tenth stays pending, also when the command is repeated."""
    folder.write(topics(10))
    run = folder.run("-j", "1", rules=[everybody(FOR_ALL[name], first=10)])
    for _ in range(2):
        assert (run.code, run.statuses, len(run.probes)) == (4, ["ok"] * 9, 1)
        run = folder.run("-j", "1", rules=[everybody(FOR_ALL[name])])
    assert (run.code, run.statuses, [asked.row for asked in run.asked]) == (4, ["ok"] * 9, ["topic 9", None])


def test_how_long_the_provider_asked_to_wait_is_said(folder: Folder) -> None:
    """Two hours, in words for people."""
    folder.write(topics(4))
    run = folder.run("-j", "2", rules=[everybody(LONG_WAIT)])
    assert (run.code, run.rows) == (4, [])
    assert re.search(r"\b2 ?h\b|7,?200|\b120 ?min|2:00", run.stopped), run.stopped


def test_a_probe_carries_what_was_refused_and_no_text(folder: Folder) -> None:
    """The tools, in this case, and it is small."""
    case = CASES["no-tools-own"]
    folder.crew("tools")
    folder.write(with_case(case, 0, 1))
    run = folder.run("-j", "1", "--retries", "0")
    (probe,) = run.probes
    assert probe.body["tools"] == run.asked[0].body["tools"]
    assert len(json.dumps(probe.body["messages"])) < 300
    assert (run.code, run.statuses) == (3, ["failed"])


@pytest.mark.parametrize("name", ["key-uncoded", "account-402", "model-plain"])
def test_the_advice_for_one_refused_row_is_not_about_the_key(folder: Folder, name: str) -> None:
    """Others got answers with the same key, account and model."""
    folder.write(with_case(CASES[name], 1, 3))
    run = folder.run("-j", "1")
    (group,) = run.summary["failures"]
    assert group["hint"].startswith("other rows succeeded, so these are refused for what their inputs say")


def test_a_replay_sends_no_probe(folder: Folder) -> None:
    """Nor anything else."""
    folder.write(with_case(CASES["key-uncoded"], 0, 3))
    folder.run("-j", "1")
    run = folder.run("--replay")
    assert (run.asked, run.statuses) == ([], ["failed", "ok", "ok"])


# --- tools and schemas that nobody may send ---------------------------------------------------------------------------


def go_on_in_words(folder: Folder, crew: Crew, reply: Reply, at_once: int) -> None:
    """All rows succeed, the probe is one, and what was refused is hardly sent again."""
    shape: Shape = "tools" if crew == "tools" else "schema"
    folder.crew(crew)
    folder.write(topics(20))
    run = folder.run("-j", str(at_once), rules=[everybody(reply, shape=shape)])
    assert (run.code, run.statuses, len(run.probes) <= 1) == (0, ["ok"] * 20, True), run.stderr
    assert [row["output"] for row in run.rows] == [echo(crew, row) for row in topics(20)]
    refused = [asked for asked in run.asked if asked.has(shape)]
    # A schema is sent once more, not strict; then the probe.
    assert len(refused) <= at_once * (2 if crew == "schema" else 1) + 1
    assert crew != "tools" or folder.words() == sorted(topics(20))
    assert shape in run.stderr
    assert shape in json.dumps(run.summary)


REFUSED_SHAPES: list[tuple[Crew, str, Reply]] = [
    *(("tools", name, reply) for name, reply in NO_TOOLS.items()),
    *(("schema", name, reply) for name, reply in NO_SCHEMA.items()),
]


@pytest.mark.soak
@pytest.mark.parametrize("at_once", [1, 8])
@pytest.mark.parametrize(
    ("crew", "reply"),
    [pytest.param(crew, reply, id=f"{crew}-{name}") for crew, name, reply in REFUSED_SHAPES],
)
def test_a_model_without_it_is_asked_in_words(folder: Folder, crew: Crew, reply: Reply, at_once: int) -> None:
    """Whatever the wording: the first refusals and one probe tell, and it is said."""
    go_on_in_words(folder, crew, reply, at_once)


@pytest.mark.parametrize(
    ("crew", "reply"),
    # OpenRouter's is a 404, which could be that of a model that is gone.
    [("tools", NO_TOOLS["own"]), ("schema", NO_SCHEMA["own"]), ("tools", NO_TOOLS["openrouter"])],
)
def test_a_model_without_it_goes_on_in_words(folder: Folder, crew: Crew, reply: Reply) -> None:
    """A sample of the test above."""
    go_on_in_words(folder, crew, reply, 1)


@pytest.mark.parametrize(("crew", "reply"), [("tools", NO_TOOLS["own"]), ("schema", NO_SCHEMA["own"])])
def test_what_a_model_did_not_take_holds_for_that_crew_alone(folder: Folder, crew: Crew, reply: Reply) -> None:
    """Summary and `check` name it; a changed crew is tried again."""

    def in_words() -> bool:
        folder.crewrun("check", "in.jsonl", "--json")
        (about,) = json.loads(folder.stdout)["crew"]["agents" if crew == "tools" else "tasks"]
        return bool(about[f"{crew}_in_words"])

    shape: Shape = "tools" if crew == "tools" else "schema"
    folder.crew(crew)
    folder.write(topics(2))
    run = folder.run("-j", "1", rules=[everybody(reply, shape=shape)])
    assert [entry["what"] for entry in run.summary["not_taken"]] == [crew]
    assert in_words()
    file = folder.path / "crew.yaml"
    file.write_text(file.read_text().replace("One line", "Two lines"))
    assert not in_words()


@pytest.mark.parametrize("crew", ["tools", "schema"])
def test_a_model_that_no_table_knows_is_tried(folder: Folder, crew: Crew) -> None:
    """Behind an address of one's own: it gets the tools and the schema."""
    folder.crew(crew, llm="my-own-model")
    folder.write(topics(3))
    run = folder.run("-j", "1")
    assert (run.code, len(run.asked)) == (0, 3 * USUAL[crew])
    assert all(asked.has("tools" if crew == "tools" else "schema") for asked in run.asked)


def test_a_schema_that_is_not_taken_strictly_is_still_sent(folder: Folder) -> None:
    """Everybody's strict ones are refused: the rows go on with the schema, not in words."""
    folder.crew("schema")
    folder.write(topics(12))
    run = folder.run("-j", "1", rules=[everybody(NO_SCHEMA["invalid"], shape="strict")])
    assert (run.code, run.statuses) == (0, ["ok"] * 12)
    assert all(asked.has_schema for asked in run.asked)


def test_one_failed_generation_takes_the_tools_from_nobody(folder: Folder) -> None:
    """Neither in this run nor in the next."""
    folder.crew("tools")
    folder.write(with_case(CASES["generation-tool-use-tools"], 0, 4))
    first = folder.run("-j", "1")
    folder.write([*topics(8)[4:]])
    second = folder.run("-j", "1")
    assert (first.code, second.code) == (0, 0)
    assert all(asked.has_tools for asked in (*first.asked, *second.asked))


# --- limits -----------------------------------------------------------------------------------------------------------

CONCURRENCY: Mapping[str, Reply] = {
    "numbered": error(429, "Request reached max organization concurrency: 2", "rate_limit_reached_error"),
    "words": error(429, "Too many concurrent requests"),
    "own": error(429, "Concurrent request limit hit: 2 requests are in progress already"),
}


@pytest.mark.soak
@pytest.mark.parametrize("name", CONCURRENCY)
def test_a_limit_of_requests_at_once_is_found_fast(tmp_path: Path, forks: Forks, name: str) -> None:
    """Sixty rows, two at once, 0.2 s each: at most half as long again as the six seconds that it must take."""
    with WireServer({}, latency_s=0.2) as server:
        folder = Folder(tmp_path, server, forks)
        folder.crew()
        folder.write(topics(60))
        refused = Reply(CONCURRENCY[name].status, CONCURRENCY[name].body, after_s=0.002)
        run = folder.run("-j", "16", rules=[at_most(2, refused)], timeout_s=90)
    assert (run.code, run.statuses) == (0, ["ok"] * 60)
    assert run.took_s <= 1.5 * 6, run.took_s


@pytest.mark.soak
def test_a_limit_of_requests_in_a_window_is_kept(folder: Folder) -> None:
    """Six in a second: all rows succeed, with few refusals."""
    folder.write(topics(24))
    run = folder.run("-j", "8", rules=[a_window(6, 1.0, error(429, "Slow down", retry_after="1"))])
    assert (run.code, run.statuses, len(run.asked) <= 48) == (0, ["ok"] * 24, True)


@pytest.mark.parametrize("name", ["epoch", *map(only_soak, ("epoch-ms", "negative", "words"))])
def test_a_time_to_wait_that_is_none_is_ignored(folder: Folder, name: str) -> None:
    """Everybody is told it once."""
    folder.write(topics(4))
    run = folder.run("-j", "2", rules=[lambda asked: RATES[name] if asked.times == 1 else None])
    assert (run.code, run.statuses, run.probes, run.took_s < 15) == (0, ["ok"] * 4, [], True)


@pytest.mark.parametrize("name", ["groq", *map(only_soak, sorted(RATES.keys() - {"groq"}))])
def test_a_rate_that_passes_does_not_lead_to_the_fallback(folder: Folder, name: str) -> None:
    """The dearer model is not asked where the first one only wants to be asked later."""
    folder.crew(llm=["gpt-4.1-mini", "gpt-4.1"])
    folder.write(topics(4))
    run = folder.run("-j", "2", rules=[lambda asked: RATES[name] if asked.times == 1 else None])
    assert (run.code, {asked.model for asked in run.asked}) == (0, {"gpt-4.1-mini"})


# --- nobody answers ---------------------------------------------------------------------------------------------------


@pytest.fixture
def closed_port() -> Iterator[str]:
    """An address of this machine that nobody listens at."""
    with socket.socket() as bound:
        bound.bind(("127.0.0.1", 0))
        yield f"http://127.0.0.1:{bound.getsockname()[1]}/v1"


@pytest.mark.parametrize("at_once", [only_soak(1), 8])
def test_an_address_without_a_server_stops_the_run(folder: Folder, closed_port: str, at_once: int) -> None:
    """After the patience that was given, with the cause; all rows stay pending."""
    folder.write(topics(9))
    run = folder.run("-j", str(at_once), "--outage-patience", "2", OPENAI_BASE_URL=closed_port)
    assert (run.code, run.rows, "refused" in run.stopped.lower()) == (4, [], True), run.stderr
    assert 1.5 < run.took_s < 6


@pytest.mark.soak
@pytest.mark.parametrize("address", ["closed", "https://127.0.0.1:{port}/v1", "http://no-such-host.invalid/v1"])
@pytest.mark.parametrize("at_once", [1, 8])
def test_an_endpoint_that_never_answered_stops_the_run(
    folder: Folder, closed_port: str, at_once: int, address: str
) -> None:
    """After ten seconds where no patience was given: closed ports, no TLS, no such name."""
    port = folder.server.base_url.rpartition(":")[2].removesuffix("/v1")
    url = closed_port if address == "closed" else address.format(port=port)
    folder.write(topics(9))
    run = folder.run("-j", str(at_once), OPENAI_BASE_URL=url)
    assert (run.code, run.rows, bool(run.stopped), run.took_s < 20) == (4, [], True, True), run.stderr
    assert re.search("refused|TLS|no address|name", run.stopped)


def test_one_row_at_a_time_outlives_a_server_that_is_down(folder: Folder) -> None:
    """503 to everybody for a while: no row fails, however few are in flight and few their attempts."""
    folder.write(topics(5))
    run = folder.run("-j", "1", "--retries", "1", rules=[everybody(error(503, "Down"), until_s=2)])
    assert (run.code, run.statuses) == (0, ["ok"] * 5), run.stderr


@pytest.mark.soak
@pytest.mark.parametrize("at_once", [1, 2, 8])
@pytest.mark.parametrize("status", [500, 502, 503, 529])
def test_a_server_that_is_down_fails_no_row(folder: Folder, at_once: int, status: int) -> None:
    """At the start and after answers, for three seconds, with one retry."""
    folder.write(topics(10))
    down = error(status, "Down")
    run = folder.run("-j", str(at_once), "--retries", "1", rules=[everybody(down, until_s=3)])
    assert (run.code, run.statuses) == (0, ["ok"] * 10), run.stderr
    folder.write(topics(40)[10:])

    def later(asked: Asked) -> Reply | None:
        return down if asked.number > 5 and asked.at_s < 4 else None

    run = folder.run("-j", str(at_once), "--retries", "1", rules=[later])
    assert (run.code, run.statuses) == (0, ["ok"] * 30), run.stderr


@pytest.mark.parametrize("body", ["<html>Welcome</html>", only_soak(""), only_soak('{"choices": [{"mess')])
def test_a_reply_that_is_garbage_is_no_outage(folder: Folder, body: str) -> None:
    """To everybody: each row fails by itself, at once."""
    folder.write(topics(3))
    run = folder.run("-j", "1", "--retries", "1", rules=[everybody(Reply(200, body.encode()))])
    assert [row["error"]["category"] for row in run.rows] == ["server"] * 3
    assert (run.code, [run.times(row) for row in topics(3)], run.took_s < 10) == (3, [2] * 3, True)


# --- size and time ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("status", [200, 400, only_soak(500)])
def test_a_reply_that_unpacks_to_256_mib_is_not_read(folder: Folder, status: int) -> None:
    """Its row fails, and memory stays small."""
    folder.write(topics(2))
    reply = Reply(status, bomb(256), {"Content-Encoding": "gzip"})
    run = folder.run("-j", "1", "--retries", "0", rules=[lambda asked: reply if asked.row == "topic 0" else None])
    assert (run.code, run.statuses, run.rows[0]["error"]["category"]) == (3, ["failed", "ok"], "server")
    assert run.memory_mib < 330


@pytest.mark.soak
def test_a_long_reply_is_read(folder: Folder) -> None:
    """Up to 64 MiB, packed or not."""
    folder.write(topics(2))
    reply = Reply(200, bomb(32), {"Content-Encoding": "gzip"})
    run = folder.run("-j", "1", rules=[lambda asked: reply if asked.row == "topic 0" else None])
    assert (run.code, len(run.rows[0]["output"])) == (0, 32 << 20)


def test_a_server_that_never_replies_is_given_up(folder: Folder) -> None:
    """After --call-timeout, its row alone."""
    folder.write(topics(3))
    hanging = Reply(manner="hanging")
    run = folder.run(
        *("-j", "1", "--retries", "0", "--call-timeout", "0.5"),
        rules=[lambda asked: hanging if asked.row == "topic 1" else None],
    )
    assert (run.code, run.statuses, run.rows[1]["error"]["category"]) == (3, ["ok", "failed", "ok"], "timeout")


# --- what the task itself says ----------------------------------------------------------------------------------------


def test_a_tag_that_the_task_asks_for_is_the_answer(folder: Folder) -> None:
    """Where the task's own words name it."""
    (folder.path / "crew.yaml").write_text(
        CREW.replace("Write about {topic}", "Write about {topic}, your reasons in <think> tags") + "llm: gpt-4.1-mini\n"
    )
    folder.write([f"topic 0 WIRE:{CASES['draft-think'].id}"])
    run = folder.run()
    assert run.rows[0]["output"].startswith("<think>")


def test_a_tool_call_that_was_cut_off_is_not_carried_out(folder: Folder) -> None:
    """At max_tokens: the row fails or goes on without it, but the tool never sees a half of its arguments."""
    folder.crew("tools")
    folder.write(["topic 0"])
    half = Reply(body=completion(None, "length", tool_calls=[tool_call('{"word": "a ha', id="c1")]))
    run = folder.run("-j", "1", rules=[lambda asked: half if asked.times == 1 else None])
    assert "a ha" not in folder.words()
    assert (run.rows[0]["error"] or {}).get("category") in (None, "output_invalid")


def test_a_word_for_the_end_that_nobody_knows_is_told_once(folder: Folder) -> None:
    """A warning for the run, and the word in each row's task."""
    folder.write([f"topic {i} WIRE:ends-unknown" for i in range(3)])
    run = folder.run("-j", "1")
    assert (run.code, run.stderr.count("rounded_off")) == (0, 1), run.stderr
    assert ["rounded_off" in json.dumps(row["tasks"]) for row in run.rows] == [True] * 3
