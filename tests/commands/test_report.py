"""`crewrun report`: what the page has of a run, read back from the page that the command wrote."""

import json
import shutil
import stat
from typing import Any

import pytest
from support.paths import ROOT
from support.report_page import parse_report, read_report
from support.scripted_provider import Fickle, Reply
from support.workspace import STATE, Place

from crewrun.report.packs import plain

pytestmark = pytest.mark.xdist_group("report")


def records(place: Place) -> list[dict[str, Any]]:
    """The results, in the order of the input."""
    lines = [json.loads(line) for line in place.results.read_text().splitlines()]
    return sorted(lines, key=lambda record: int(record["index"]))


def test_a_page_has_the_rows_of_the_run_in_the_order_of_the_input(place: Place) -> None:
    """Their ids, lines, states, costs, times and texts, as the results have them."""
    place.rows({"topic": "one"}, {"topic": "two"}, {"nothing": 1})
    place.batch(code=3)
    place.crewrun("report", "in.results.jsonl")
    assert place.stderr == "wrote in.results.html\n"
    page = read_report(place.folder / "in.results.html")
    ended = records(place)
    assert [row["id"] for row in page.rows] == [record["id"] for record in ended]
    assert page.columns["line"] == [1, 2, 3]
    assert page.columns["status"] == ["ok", "ok", "failed"]
    assert page.columns["category"] == [None, None, "input"]
    assert page.columns["cost"] == [round(record["cost_usd"] * 1e6, 3) for record in ended]
    assert page.columns["time"] == [round(record["duration_s"] * 1000) for record in ended]
    assert page.texts("input") == ["one", "two", '{"nothing":1}']
    assert page.texts("output") == [record["output"] or "" for record in ended]
    assert [detail["record"] for detail in page.details.values()] == ended
    assert page.head["totals"]["rows"] == {"ok": 2, "failed": 1, "unfinished": 0}


def test_a_row_has_the_calls_that_show_has(place: Place) -> None:
    """With their prompts, which are rebuilt from the crew."""
    place.rows({"topic": "one"})
    place.batch()
    place.crewrun("show", "in.results.jsonl", "1", "--json")
    shown = json.loads(place.stdout)
    place.crewrun("report", "in.results.jsonl", "-o", "-")
    (detail,) = parse_report(place.stdout.encode()).details.values()
    assert detail["calls"] == shown["calls"]
    assert detail["no_prompt"] is shown["no_prompt"] is None
    assert detail["calls"][0]["prompt_source"] == "rebuilt"


def test_the_head_has_the_figures_of_status(place: Place) -> None:
    """Calls, tokens and money of all sessions, and how the run ended."""
    place.rows({"topic": "one"}, {"topic": "two"})
    place.batch("--limit", "1")
    place.batch()
    place.crewrun("status", "in.results.jsonl", "--json")
    status = json.loads(place.stdout)
    place.crewrun("report", "in.results.jsonl")
    head = read_report(place.folder / "in.results.html").head
    in_all = status["in_all"]
    assert head["totals"]["cost"] == pytest.approx(in_all["cost_usd"] * 1e6)
    assert {name: head["totals"][name] for name in ("prompt_tokens", "completion_tokens", "calls")} == {
        name: in_all["usage"][name] for name in ("prompt_tokens", "completion_tokens", "calls")
    }
    assert (head["state"], head["exit_code"], len(head["sessions"])) == ("finished", 0, 2)
    (model,) = head["by_model"]
    (task,) = head["by_task"]
    assert (model["calls"], task["calls"], task["rows"]) == (2, 2, 2)


def test_a_page_is_for_its_owner_only(place: Place) -> None:
    """It quotes rows and answers, as results do."""
    place.rows({"topic": "one"})
    place.batch()
    place.crewrun("report", "in.results.jsonl", "-o", "page.html")
    assert stat.S_IMODE((place.folder / "page.html").stat().st_mode) == 0o600


@pytest.mark.parametrize(
    ("output", "words"),
    [
        ("in.jsonl", "in.jsonl exists and is not an HTML page, so it is not overwritten; name another file"),
        (
            "in.results.jsonl.crewrun/page.html",
            "is in the run folder, which has the run's own files; name another file",
        ),
        ("missing/page.html", "-o missing/page.html: cannot be written: No such file or directory; name another file"),
        (".", "-o .: cannot be written: Is a directory; name another file"),
    ],
)
def test_a_path_that_must_not_be_written_is_refused(place: Place, output: str, words: str) -> None:
    """Before anything is read; what is there stays as it is."""
    place.rows({"topic": "one"})
    place.batch()
    place.crewrun("report", "in.results.jsonl", "-o", output, code=2)
    assert words in place.stderr


def test_prompts_of_the_log_come_before_rebuilt_ones(place: Place) -> None:
    """As in `show`: with --log-prompts they are what was sent, whatever became of the crew."""
    place.rows({"topic": "one"}, {"topic": "two"})
    place.batch("--log-prompts")
    place.crewrun("show", "in.results.jsonl", "line:2", "--json")
    shown = json.loads(place.stdout)
    place.crewrun("report", "in.results.jsonl", "-o", "page.html")
    details = read_report(place.folder / "page.html").details
    assert details[1]["calls"] == shown["calls"]
    assert [detail["calls"][0]["prompt_source"] for detail in details.values()] == ["log", "log"]


def test_a_batch_writes_its_report_at_the_end(place: Place) -> None:
    """As the command does later, and says so."""
    place.rows({"topic": "one"}, {"topic": "two"})
    place.batch("--report", "page.html")
    assert place.stderr.splitlines()[-1] == "wrote page.html"
    own = read_report(place.folder / "page.html")
    place.crewrun("report", "in.results.jsonl", "-o", "later.html")
    later = read_report(place.folder / "later.html")
    assert own.packs == later.packs
    assert {**own.head, "made_at": 0} == {**later.head, "made_at": 0}


def test_a_run_that_stops_writes_its_report_too(place: Place) -> None:
    """What it has so far; rows that were not begun are unfinished."""
    place.crew(llm="openai/gpt-4.1-mini")
    place.rows({"nothing": 1}, {"topic": "two"}, {"topic": "three"})
    place.batch("--fail-fast", "-j", "1", "--report", "page.html", "-q", code=4)
    assert place.stderr == ""
    page = read_report(place.folder / "page.html")
    assert page.columns["status"] == ["failed", "unfinished", "unfinished"]
    assert page.columns["line"] == [1, 2, 3]
    assert (page.head["state"], page.head["exit_code"]) == ("stopped", 4)
    assert page.details[1]["record"] is None
    assert page.details[1]["input"] == {"topic": "two"}


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        (["--report", "in.jsonl"], "--report in.jsonl: is in.jsonl itself"),
        (["--report", "in.results.jsonl"], "--report in.results.jsonl: is in.results.jsonl itself"),
        (["--report", "s.html", "--summary", "s.html"], "--report s.html: is s.html itself"),
        (["--report", "missing/page.html"], "missing/page.html: cannot be written: No such file or directory"),
        (["--report", "in.results.jsonl.crewrun/page.html"], "is in the run folder"),
        (["--report", "-"], "--report -: a page is written whole or not at all; name a file"),
        (["--report", "page.html", "-o", "-"], "--report: results that go to a stream have no journal"),
    ],
)
def test_a_report_that_cannot_be_written_is_refused_before_the_first_call(
    place: Place, flags: list[str], words: str
) -> None:
    """A night's run would end without it otherwise."""
    place.rows({"topic": "one"})
    assert place.batch(*flags, code=2) == []
    assert words in place.stderr


def test_failures_have_their_cause_and_the_command_that_runs_them_again(place: Place) -> None:
    """Rows that failed alike are one group, with the first as its example."""
    place.rows({"topic": "fine"}, {"topic": "one FAIL-400"}, {"topic": "two FAIL-400"}, {"no": 1})
    place.batch("--retries", "0", code=3)
    place.crewrun("report", "in.results.jsonl")
    head = read_report(place.folder / "in.results.html").head
    groups = {group["category"]: group for group in head["failures"]}
    assert {category: group["count"] for category, group in groups.items()} == {"bad_request": 2, "input": 1}
    assert groups["bad_request"]["example"]["row"] == 1
    assert groups["bad_request"]["retry_command"] == "crewrun retry in.results.jsonl --only bad_request"
    assert groups["input"]["retry_command"] is None
    (task,) = head["by_task"]
    assert task["failures"] == 2


def test_results_without_a_run_folder_have_their_rows(place: Place) -> None:
    """The last line of each id; torn lines and others are counted."""
    place.rows({"topic": "one"}, {"topic": "two"})
    place.batch()
    line = place.results.read_text().splitlines()[0]
    (place.folder / "copy.jsonl").write_text(f'{place.results.read_text()}{{"a": 1}}\n{line[:40]}')
    place.crewrun("report", "copy.jsonl")
    page = read_report(place.folder / "copy.html")
    assert page.head["without_run_folder"] is True
    assert page.head["notes"] == ["lines of copy.jsonl that are left out: 1 incomplete, 1 that are not results"]
    assert place.stderr.splitlines()[0] == f"crewrun: {page.head['notes'][0]}"
    assert sorted(page.texts("input")) == ["one", "two"]
    assert page.head["totals"]["calls"] == 2
    assert [detail["calls"] for detail in page.details.values()] == [[], []]


@pytest.mark.parametrize("output", ["in.csv", "in.results.csv.gz"])
def test_a_run_whose_results_are_a_table(place: Place, output: str) -> None:
    """Named by the table or by the run folder; the page is called by the table, which is what users know."""
    place.rows({"topic": "one"}, {"topic": "two"})
    place.batch("-o", output)
    place.crewrun("report", output)
    assert place.stderr == f"wrote {output.partition('.csv')[0]}.html\n"
    page = read_report(place.folder / f"{output.partition('.csv')[0]}.html")
    assert page.texts("input") == ["one", "two"]
    assert (page.head["title"], page.head["results"]) == (output, output)
    place.crewrun("report", f"{output}.crewrun", "-o", "other.html")
    assert read_report(place.folder / "other.html").packs == page.packs


def test_results_that_went_to_a_stream_are_restored(place: Place) -> None:
    """The page is in the working directory, named like the run folder."""
    place.rows({"topic": "one"}, {"topic": "two"})
    place.batch("-o", "-", "--run-dir", "state")
    place.crewrun("report", "state")
    assert place.stderr == "wrote state.html\n"
    page = read_report(place.folder / "state.html")
    assert page.columns["status"] == ["ok", "ok"]
    assert page.texts("input") == ["one", "two"]


def test_results_and_rows_that_went_through_pipes_lack_their_inputs(place: Place) -> None:
    """What the journal has is on the page: outputs, calls, failures; at the end of the run as well as later."""
    rows = '{"topic": "one"}\n{"nothing": 1}\n'
    place.crewrun("batch", "-", "--run-dir", "state", "--report", "end.html", stdin=rows, code=3)
    place.crewrun("report", "state")
    page = read_report(place.folder / "state.html")
    assert page.packs == read_report(place.folder / "end.html").packs
    assert sorted(page.columns["status"]) == ["failed", "ok"]
    assert page.texts("input") == ["", ""]
    assert [len(detail["calls"]) for detail in page.details.values()].count(1) == 1
    assert page.head["notes"][0].startswith(
        "results are restored without their inputs: -: the rows came through a pipe"
    )


def test_a_crew_that_is_gone_is_said(place: Place) -> None:
    """Calls are shown without their prompts then, and there is no picture."""
    place.rows({"topic": "one"})
    place.batch()
    (place.folder / "crew.yaml").unlink()
    place.crewrun("report", "in.results.jsonl")
    page = read_report(place.folder / "in.results.html")
    (note,) = page.head["notes"]
    assert note.startswith("the crew cannot be loaded again: crew.yaml: no such file")
    assert page.details[0]["calls"][0]["prompt"] is None
    assert page.head["diagram"] is None


def test_an_input_that_is_gone_is_said(place: Place) -> None:
    """Rows are in the order in which they ran, and have no lines."""
    place.rows({"topic": "one"}, {"topic": "two"})
    place.batch()
    (place.folder / "in.jsonl").unlink()
    place.crewrun("report", "in.results.jsonl")
    page = read_report(place.folder / "in.results.html")
    assert page.columns["line"] == [None, None]
    assert page.texts("input") == ["one", "two"]
    (note,) = page.head["notes"]
    assert note.startswith(f"lines and unfinished rows are not known: {place.folder}/in.jsonl: no such file")


def test_fields_of_structured_outputs(place: Place) -> None:
    """Few values, numbers and what is missing; as columns and as distributions."""
    outputs = [{"city": "Oslo", "total": 4, "big": True}, {"city": "Oslo", "total": 8, "note": "x" * 99}, {"total": 6}]
    place.rows({"topic": "one"})
    place.batch()
    (record,) = records(place)
    lines = [{**record, "id": str(i), "index": i, "output": output} for i, output in enumerate(outputs)]
    (place.folder / "made.jsonl").write_text("".join(f"{json.dumps(line)}\n" for line in lines))
    place.crewrun("report", "made.jsonl")
    page = read_report(place.folder / "made.html")
    fields = {field["key"]: field for field in page.head["columns"]}
    assert fields["output.city"]["kind"] == "enum"
    assert fields["output.city"]["values"] == [["Oslo", 2]]
    assert fields["output.city"]["empty_share"] == pytest.approx(1 / 3, abs=1e-6)
    assert [fields["output.total"][name] for name in ("kind", "min", "max", "mean")] == ["number", 4, 8, 6]
    assert (fields["output.big"]["kind"], fields["output.note"]["kind"]) == ("bool", "text")
    assert page.columns["output.total"] == [4, 8, 6]
    assert page.columns["output.city"] == ["Oslo", "Oslo", None]


@pytest.mark.parametrize("number", ["1e400", "-1e400", "NaN", "1" + 400 * "0"])
def test_numbers_of_foreign_results_with_which_nobody_can_calculate(place: Place, number: str) -> None:
    """They are unknown; those of other rows count."""
    place.rows({"topic": "one"})
    place.batch()
    (record,) = records(place)
    usage = dict.fromkeys(record["usage"], "N")
    tasks = [{**task, "usage": usage} for task in record["tasks"]]
    odd = {**record, "id": "odd", "usage": usage, "tasks": tasks, "attempts": "N", "cost_usd": "N", "duration_s": "N"}
    error = {"category": "provider", "type": "X", "message": "down", "task": "t", "http_status": "N"}
    failed = {**odd, "id": "failed", "status": "failed", "output": None, "error": error, "replayed": {"cost_usd": "N"}}
    lines = "".join(f"{json.dumps(line)}\n" for line in (record, odd, failed))
    (place.folder / "odd.jsonl").write_text(lines.replace('"N"', number))
    place.crewrun("report", "odd.jsonl")
    page = read_report(place.folder / "odd.html")
    assert page.columns["time"][1:] == page.columns["prompt_tokens"][1:] == [None, None]
    assert page.head["totals"]["prompt_tokens"] == record["usage"]["prompt_tokens"]


HOSTILE = [
    "</script><script>alert(1)</script>",
    "<!--<script>",
    "]]><img src=x onerror=alert(1)>",
    "\ud800 half a character \udfff",
    "\u202eright to left\u202c and \x00\x07\x1b[31m",
    "' onclick='alert(1)' \"",
    "javascript:alert(1)//",
]


def test_hostile_outputs_are_data_and_no_markup(place: Place) -> None:
    """In ids, inputs, names of fields, outputs and errors; the page has the elements of one with harmless rows."""
    place.rows({"topic": "one"})
    place.batch()
    (record,) = records(place)
    error = {"category": "tool", "type": "X", "task": "t", "http_status": None, "retryable": False, "attempts": 1}

    def write(name: str, texts: list[str]) -> None:
        ok = [{**record, "id": f"{i} {t}", "index": i, "input": {t: t}, "output": {t: t}} for i, t in enumerate(texts)]
        failed = [
            {**one, "id": f"x{one['id']}", "status": "failed", "output": None, "error": {**error, "message": one["id"]}}
            for one in ok
        ]
        lines = [json.dumps(line, ensure_ascii=True) for line in (*ok, *failed)]
        (place.folder / name).write_text("".join(f"{line}\n" for line in lines))

    write("hostile.jsonl", HOSTILE)
    write("harmless.jsonl", ["text"] * len(HOSTILE))
    place.crewrun("report", "hostile.jsonl")
    place.crewrun("report", "harmless.jsonl")
    page = read_report(place.folder / "hostile.html")
    shown = [plain(text) for text in HOSTILE]
    assert page.elements == read_report(place.folder / "harmless.html").elements
    assert sorted(page.columns["id"]) == sorted(f"{x}{i} {text}" for x in ("", "x") for i, text in enumerate(shown))
    assert sorted(page.texts("output")) == sorted([*[""] * len(shown), *shown])
    assert {
        detail["record"]["output"] and next(iter(detail["record"]["output"])) for detail in page.details.values()
    } == {
        None,
        *shown,
    }


def test_an_output_of_ten_megabytes(place: Place) -> None:
    """The page has its beginning, and says that there is more."""
    place.rows({"topic": "one"})
    place.batch()
    (record,) = records(place)
    (place.folder / "long.jsonl").write_text(json.dumps({**record, "output": "long " * 2_000_000}) + "\n")
    place.crewrun("report", "long.jsonl")
    page = read_report(place.folder / "long.html")
    assert page.details[0]["record"]["output"].endswith("… (9,800,000 more characters are not on this page)")
    assert page.texts("output")[0].startswith("long long ")
    assert page.packs["texts-0"]["cut"] == [0]


def test_a_run_that_is_going_is_a_snapshot(place: Place) -> None:
    """Its unfinished rows are there too; when it was killed it has died."""
    with Fickle(lambda asked: Reply(hangs="hang" in asked.prompt)) as fickle:
        place.rows({"topic": "one"}, {"topic": "hang"}, {"topic": "hang later"})
        env = {**place.env, "OPENAI_BASE_URL": fickle.base_url}
        going = place.forks.start("batch", "in.jsonl", "-j", "2", "--progress", "json", cwd=place.folder, env=env)
        for line in going.stderr:
            if json.loads(line)["ok"] == 1:
                break
        place.crewrun("report", "in.results.jsonl")
        going.kill()
        going.wait()
        going.close()
    said = place.stderr.splitlines()
    page = read_report(place.folder / "in.results.html")
    assert said == ["crewrun: a process is working on this run: the page is a snapshot", "wrote in.results.html"]
    assert (page.head["snapshot"], page.head["state"]) == (True, "running")
    assert page.columns["status"] == ["ok", "unfinished", "unfinished"]
    assert page.columns["line"] == [1, 2, 3]
    place.crewrun("report", "in.results.jsonl")
    assert place.stderr == "wrote in.results.html\n"
    head = read_report(place.folder / "in.results.html").head
    assert (head["snapshot"], head["state"]) == (False, "died")
    assert head["next_command"] is not None


def test_rate_limits_and_retries_are_on_the_time_line(place: Place) -> None:
    """By the log: a 429 is a rate limit, other attempts that failed are retries."""
    place.rows({"topic": "FAIL-ONCE-429"}, {"topic": "FAIL-ONCE-503"}, {"topic": "three"})
    place.batch()
    place.crewrun("report", "in.results.jsonl")
    timeline = read_report(place.folder / "in.results.html").head["timeline"]
    sums = {name: sum(timeline["series"][name]) for name in ("rows", "failed", "rate_limited", "retries")}
    assert sums == {"rows": 3, "failed": 0, "rate_limited": 1, "retries": 1}
    assert [mark["kind"] for mark in timeline["marks"]] == ["session", "end"]


def test_tools_of_rows_and_their_failures(place: Place) -> None:
    """Which tools a row called, also one that failed."""
    (place.folder / "tools.py").write_text(
        "from crewrun.tools import tool\n\n\n@tool\ndef look_up(text: str) -> str:\n    '''Look it up.'''\n"
        "    raise ValueError('no such text')\n"
    )
    crew = (place.folder / "crew.yaml").read_text().replace("years.", "years.\n    tools: [tools:look_up]")
    (place.folder / "crew.yaml").write_text(crew)
    place.rows({"topic": "one CALL-look_up"}, {"topic": "two CALL-NONE"})
    place.batch()
    place.crewrun("report", "in.results.jsonl")
    page = read_report(place.folder / "in.results.html")
    assert page.columns["tools"] == [["look_up"], []]
    (failed,) = page.head["tool_failures"]
    assert (failed["tool"], failed["count"], failed["task"]) == ("look_up", 1, "draft")
    assert [call["kind"] for call in page.details[0]["calls"]] == ["answer", "tool_failure", "answer"]


def test_a_run_folder_of_an_older_version(place: Place) -> None:
    """Named by its results; what it lacks is not known."""
    shutil.copytree(ROOT / "tests" / "data" / "runs_of_2a01590", place.folder / "old")
    place.crewrun("report", "old/in.results.jsonl", "-o", "old.html")
    page = read_report(place.folder / "old.html")
    place.crewrun("export", "old/in.results.jsonl")
    exported = [json.loads(line) for line in place.stdout.splitlines()]
    assert sorted(page.columns["id"]) == sorted(record["id"] for record in exported)
    assert {call["kind"] for detail in page.details.values() for call in detail["calls"]} >= {"answer"}


def test_a_flow_has_the_figures_of_its_methods(place: Place) -> None:
    """The calls of the crews that a method starts are on its box."""
    (place.folder / "flow.py").write_text(
        "from crewrun import Agent, Crew, Task\nfrom crewrun.flow import Flow, start\n\n\nclass One(Flow):\n"
        "    @start()\n    async def ask(self):\n        a = Agent(role='R', goal='g', backstory='b')\n"
        "        task = Task(name='find', description='Find ' + self.state['topic'], expected_output='x', agent=a)\n"
        "        return (await Crew(agents=[a], tasks=[task]).akickoff()).raw\n"
    )
    place.rows({"topic": "one"}, {"topic": "two"})
    place.batch("--crew", "flow.py:One", "-m", "offline")
    place.crewrun("report", "in.results.jsonl")
    page = (place.folder / "in.results.html").read_text()
    head = read_report(place.folder / "in.results.html").head
    assert [task["name"] for task in head["by_task"]] == ["ask/find"]
    assert "2 calls · $0<" in page.partition("</svg>")[0]


def test_a_shard_has_its_own_rows(place: Place) -> None:
    """Rows of other shards are not unfinished."""
    place.rows(*({"topic": f"t{i}"} for i in range(12)))
    place.batch("--shard", "1/3")
    place.crewrun("report", "in.shard-1-of-3.results.jsonl", "-o", "shard.html")
    page = read_report(place.folder / "shard.html")
    assert page.head["totals"]["rows"]["unfinished"] == 0
    assert 0 < len(page.rows) < 12


def test_a_page_that_cannot_be_written_is_a_failure_of_its_own(place: Place) -> None:
    """The results are there; the exit code says that something is missing."""
    place.rows({"topic": "one"}, {"topic": "two"})
    (place.folder / "closed").mkdir()
    hook = "import os\n\n\ndef close(inputs):\n    os.rename('closed', 'gone')\n    return inputs\n"
    (place.folder / "hook.py").write_text(hook)
    text = (place.folder / "crew.yaml").read_text()
    (place.folder / "crew.yaml").write_text(f"{text}\nbefore_kickoff: [hook:close]\n")
    place.rows({"topic": "one"})
    place.batch("--report", "closed/page.html", code=1)
    assert "warning: --report closed/page.html: the page cannot be written: No such file or directory" in place.stderr
    assert place.done() == ["one"]


def test_the_command_is_named_at_the_end_of_larger_runs(place: Place) -> None:
    """Fewer rows are seen as well with `show`, and a run that has written its page needs no command for one."""
    line = "  to see all rows on a page: crewrun report in.results.jsonl"
    place.rows(*({"topic": f"t{i}"} for i in range(100)))
    place.batch("-m", "offline", "--limit", "99")
    assert line not in place.stderr.splitlines()
    place.batch("-m", "offline")
    assert line in place.stderr.splitlines()
    place.batch("-m", "offline", "--report", "page.html")
    assert line not in place.stderr.splitlines()
    place.batch("-m", "offline", "-q")
    assert place.stderr == ""


def test_a_run_that_was_moved_has_its_report(place: Place) -> None:
    """Beside the results, where they are now; its crew and its input are where they were."""
    place.rows({"topic": "one"})
    place.batch()
    (place.folder / "new").mkdir()
    place.results.rename(place.folder / "new" / "x.jsonl")
    (place.folder / STATE).rename(place.folder / "new" / "x.jsonl.crewrun")
    place.crewrun("report", "new/x.jsonl")
    assert place.stderr == "wrote new/x.html\n"
    page = read_report(place.folder / "new" / "x.html")
    assert (page.columns["line"], page.head["results"], page.head["run"]) == ([1], "new/x.jsonl", "new/x.jsonl.crewrun")
    assert page.details[0]["calls"][0]["prompt_source"] == "rebuilt"


def test_torn_and_foreign_lines_of_a_run_are_said(place: Place) -> None:
    """And those that are missing; the page has the others."""
    place.rows({"topic": "one"}, {"topic": "two"})
    place.batch("-j", "1")
    text = place.results.read_text()
    place.results.write_text(text.replace('"topic":"one"', '"topic":"new"') + text[:50])
    place.crewrun("report", "in.results.jsonl")
    page = read_report(place.folder / "in.results.html")
    (note,) = page.head["notes"]
    assert note.startswith(
        "lines of in.results.jsonl that are left out: 1 incomplete, 1 different from the journal; "
        "missing in in.results.jsonl: 1 result; to restore them: crewrun batch in.jsonl"
    )
    assert page.texts("input") == ["two", "one"]
    assert page.columns["status"] == ["ok", "unfinished"]
