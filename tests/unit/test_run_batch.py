"""`run_batch` and `arun_batch` in this process: what they return and raise, and that they leave no trace in it."""

import asyncio
import gc
import inspect
import json
import os
import shutil
import signal
import sys
import warnings
from collections.abc import AsyncIterator, Iterator, Mapping
from datetime import datetime, timedelta
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from threading import Thread
from typing import Any, get_args, get_type_hints

import anyio
import pyarrow.parquet as pq
import pytest
from support.command import topics, write_crew, write_rows
from support.forks import crewrun
from support.paths import ROOT
from support.workspace import Place

from crewrun import (
    Agent,
    BatchFailed,
    Crew,
    CrewrunWarning,
    DefinitionError,
    Flow,
    Run,
    RunHeld,
    Task,
    UsageError,
    arun_batch,
    run_batch,
)
from crewrun.api.keywords import in_keywords
from crewrun.api.settings import Settings
from crewrun.batch_flags import batch_flags
from crewrun.flow import start

OF_THE_MOMENT = ("started_at", "duration_s")


@pytest.fixture(autouse=True)
def _in_a_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def crew_of(llm: str = "offline", name: str | None = "research") -> Crew:
    writer = Agent(role="Writer", goal="Write well", backstory="You write.", llm=llm)
    return Crew(name=name, agents=[writer], tasks=[Task(description="On {topic}", expected_output="x", agent=writer)])


def lines(run: Run) -> list[dict[str, Any]]:
    return [{key: value for key, value in row.items() if key not in OF_THE_MOMENT} for row in run.rows(ordered=True)]


def counts(run: Run) -> tuple[int, int, int]:
    """Rows that succeeded now, that had before, and that failed."""
    rows = run.summary["rows"]
    return rows["ok"], rows["kept"], rows["failed"]


# Settings


def test_settings_are_the_flags() -> None:
    """A new flag of `crewrun batch` is a new key of `Settings` in crewrun/api/settings.py, with the same choices."""
    hints = get_type_hints(Settings)
    assert set(hints) == set(batch_flags()) - {"output"}
    for name, flag in batch_flags().items():
        if flag.flag.kind.name == "CHOICE":
            assert words_in(hints[name]) == words_in(flag.type) - ({"skip"} if name == "lock" else set()), name


def words_in(annotation: Any) -> set[str]:
    """The words of its literals."""
    parts = get_args(annotation)
    return {word for part in parts for word in ([part] if isinstance(part, str) else words_in(part))}


@pytest.mark.parametrize("function", [run_batch, arun_batch], ids=["run_batch", "arun_batch"])
def test_a_misspelt_setting_is_a_type_error(function: Any) -> None:
    """As any wrong keyword argument is, with the near one."""
    with pytest.raises(TypeError, match=r"batch\(\) got an unexpected keyword argument 'max_concurent' \(did you mean"):
        asyncio.run(function([], crew_of(), max_concurent=3))


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"limit": "x", "rpm": 0}, "limit: needs to be a whole number from 0, not 'x'\nrpm: "),
        ({"output": "-"}, "output='-': the results of a run are read again, so they go to a file"),
        ({"output": "/dev/stdout"}, "output='/dev/stdout': the results"),
        ({"output": "/dev/null"}, "output='/dev/null': the results"),
        ({"lock": "skip"}, "lock='skip': a program catches RunHeld instead"),
        ({"executor": "ray"}, "executor: workers elsewhere load the crew themselves; name it"),
        ({"sheet": "1"}, "sheet: says how a file is read, and these rows come from a Python program"),
        ({"max_forecast": 1}, "max_forecast: the forecast comes from a canary; add canary=100"),
        ({"budget": "a lot"}, "budget='a lot': must be an amount of US dollars"),
        ({"id_field": "nope"}, "id_field='nope': inputs (list): none of its 1 row"),
    ],
    ids=["values", "stdout", "a descriptor", "a device", "skip", "ray", "a file's", "alone", "an amount", "a field"],
)
def test_settings_that_make_no_sense_are_refused(settings: Any, words: str) -> None:
    """Before anything runs, with the name that the program wrote."""
    with pytest.raises(UsageError) as refused:
        run_batch([{"topic": 1}], crew_of(), **settings)
    assert str(refused.value).startswith(words)


@pytest.mark.parametrize(
    ("words", "keywords"),
    [
        ("--map a=b fills {a}, -i a=… is the same", "map={'a': 'b'} fills {a}, input={'a': …} is the same"),
        ("give it: --price gpt-4o=IN,OUT, or name", "give it: price={'gpt-4o': (IN, OUT)}, or name"),
        ("without a model: -m offline", "without a model: model='offline'"),
        ("the same command with a larger --row-budget", "the same call with a larger row_budget"),
        ("with --outage-patience 5m; --no-replay", "with outage_patience='5m'; replay=False"),
        ("no rows (--no-rows fail); git --version -i", "no rows (no_rows fail); git --version -i"),
    ],
)
def test_flags_are_keywords_in_python(words: str, keywords: str) -> None:
    """In errors and in `stopped`; words that are no flags of `batch` stay."""
    assert in_keywords(words) == keywords


def test_spans_and_moments_are_settings_too() -> None:
    """A program has a `timedelta` where a command line has `1h`."""
    until = datetime.now().astimezone() + timedelta(hours=2)
    for deadline in (timedelta(hours=1), until):
        run = run_batch(topics(1), crew_of(), deadline=deadline, row_timeout=timedelta(seconds=9), fresh=True)
        assert counts(run) == (1, 0, 0)
    with pytest.raises(UsageError, match=r"^deadline='.*': is in the past"):
        run_batch(topics(1), crew_of(), deadline=until - timedelta(hours=3))


def test_paths_and_tuples_are_settings_too(tmp_path: Path) -> None:
    """A program has `Path`s where a command line has text."""
    run = run_batch(
        topics(2), crew_of(), tmp_path / "out.jsonl", summary=tmp_path / "s.json", fields=("topic",), limit=1
    )
    assert (json.loads((tmp_path / "s.json").read_text()), counts(run)) == (run.summary, (1, 0, 0))


# Results


def test_results_are_those_of_the_command(tmp_path: Path) -> None:
    """Line by line, except for times; so a run of either is continued by the other without a call."""
    write_crew(tmp_path)
    rows = [{"topic": f"topic {i}", "n": i / 3, "none": None} for i in range(20)]
    write_rows(tmp_path / "in.jsonl", rows)
    assert crewrun("batch", "in.jsonl", cwd=tmp_path).returncode == 0
    own = run_batch(rows, "crew.yaml", "own.jsonl")
    command = Run.open("in.results.jsonl")
    assert lines(own) == lines(command)
    assert set(own.summary) == set(command.summary)
    both = run_batch(rows, "crew.yaml", "in.results.jsonl")
    assert (counts(both), both.summary["usage"]["calls"]) == ((0, 20, 0), 0)
    again = crewrun("batch", "in.jsonl", "-o", "own.jsonl", "--summary", "s.json", cwd=tmp_path)
    assert (again.returncode, json.loads((tmp_path / "s.json").read_text())["rows"]["kept"]) == (0, 20)


def test_a_path_is_read_as_the_command_reads_it(tmp_path: Path) -> None:
    """Its results are beside it, where those of the command are."""
    write_crew(tmp_path)
    write_rows(tmp_path / "in.jsonl", topics(3))
    run = run_batch(tmp_path / "in.jsonl", tmp_path / "crew.yaml")
    assert (run.output, run.exit_code, run.stopped) == (tmp_path / "in.results.jsonl", 0, None)
    assert crewrun("retry", "in.results.jsonl", cwd=tmp_path).stderr.startswith("0 ok, 0 failed, 3 done before")


def test_a_run_without_an_output_lives_in_a_folder_named_after_the_crew(tmp_path: Path) -> None:
    """The second call goes on: what is done is not run again, and new rows are."""
    first = run_batch(topics(3), crew_of(name="My crew: news"))
    assert first.output == tmp_path / "My-crew-news-run" / "results.jsonl"
    assert first.path == tmp_path / "My-crew-news-run" / "results.jsonl.crewrun"
    second = run_batch(topics(5), crew_of(name="My crew: news"))
    assert (counts(first), counts(second), len(second)) == ((3, 0, 0), (2, 3, 0), 5)
    assert Run.open("My-crew-news-run").summary == second.summary
    assert counts(run_batch(topics(5), crew_of("offline", "My crew: news"), fresh=True)) == (5, 0, 0)


def test_a_run_never_shows_the_rows_of_another() -> None:
    """Results that go are warned about, at the program's line, and their run says so; the file's latest run has it."""
    first = run_batch(topics(3), crew_of())
    more = run_batch(topics(5), crew_of())
    assert (len(first), len(more)) == (5, 5)  # rows that were added replace nothing
    with pytest.warns(
        CrewrunWarning, match="research-run/results.jsonl: 5 results of earlier calls were removed"
    ) as told:
        other = run_batch([{"topic": "other"}], crew_of())
    assert [warning.filename for warning in told] == [__file__]
    for read in (len, list, Run.to_arrow, lambda run: run.failures):
        with pytest.raises(
            UsageError, match=r"a later run with other rows has removed 5 of them\. Run\.open\(\) reads"
        ):
            read(first)
    assert (repr(first), "has removed 5" in first._repr_html_()) == (
        "Run('research-run/results.jsonl', 3 ok, 0 failed)",
        True,
    )
    assert (len(other), len(Run.open("research-run"))) == (1, 1)


@pytest.mark.parametrize(
    ("about", "fresh", "words"),
    [("On", True, "a later run has started over"), ("All about", False, "with another crew or model")],
    ids=["fresh", "another crew"],
)
@pytest.mark.parametrize("output", ["out.jsonl", "out.csv"])
def test_a_run_whose_results_were_replaced_says_so(output: str, about: str, fresh: bool, words: str) -> None:
    """Whether the same rows ran again in a new run or under another definition."""
    first = run_batch(topics(2), crew_of(), output)
    changed = crew_of()
    changed.tasks[0].description = f"{about} {{topic}}"
    second = run_batch(topics(2), changed, output, fresh=fresh)
    with pytest.raises(UsageError, match=words):
        len(first)
    assert len(second) == len(Run.open(output)) == 2


def test_a_status_that_rows_do_not_have_is_refused() -> None:
    """At the call, though rows are read one by one later."""
    run = run_batch(topics(1), crew_of())
    for read in (run.rows, run.to_arrow):
        with pytest.raises(UsageError, match=r"status='fialed': rows end 'ok' or 'failed' \(did you mean 'failed'\?\)"):
            read("fialed")  # type: ignore[arg-type]


def test_a_crew_file_is_named_by_itself_or_by_its_folder(tmp_path: Path) -> None:
    """All of them are called crew.yaml."""
    (tmp_path / "news").mkdir()
    write_crew(tmp_path / "news")
    assert run_batch(topics(1), "news/crew.yaml").output == tmp_path / "news-run" / "results.jsonl"
    write_crew(tmp_path / "news", more="name: Daily news\n")
    assert run_batch(topics(1), "news").output == tmp_path / "Daily-news-run" / "results.jsonl"


def test_a_changed_crew_runs_its_rows_again() -> None:
    """An object is the same if it would do the same, whatever file or cell made it."""
    run_batch(topics(2), crew_of())
    changed = crew_of()
    changed.tasks[0].description = "All about {topic}"
    assert counts(run_batch(topics(2), changed)) == (2, 0, 0)


def test_rows_stream_by_status_and_in_order() -> None:
    """Iterating a run reads its file line by line; `len` counts what has ended."""
    run = run_batch([{"topic": 1}, {"other": 2}, {"topic": 3}], crew_of())
    assert inspect.isgenerator(run.rows())
    assert [row["input"] for row in run.rows("ok", ordered=True)] == [{"topic": 1}, {"topic": 3}]
    assert [row["error"]["message"] for row in run.failures] == ["line 2: missing 'topic' (needed by task 1)"]
    assert (len(run), len(list(run)), run.exit_code) == (3, 3, 3)
    assert repr(run) == "Run('research-run/results.jsonl', 2 ok, 1 failed)"


def test_a_run_is_a_table_too(tmp_path: Path) -> None:
    """With the columns and types of `crewrun export`."""
    run = run_batch([{"topic": "a", "n": 1}, {"n": 2}], crew_of(), "out.jsonl")
    assert crewrun("export", "out.jsonl", "-o", "out.parquet", cwd=tmp_path).returncode == 0
    assert run.to_arrow().equals(pq.read_table(tmp_path / "out.parquet"))
    assert run.to_arrow("failed").num_rows == 1
    assert run.to_arrow("ok", columns=["id", "input.n"]).column_names == ["id", "input.n"]
    with pytest.raises(UsageError, match=r"^columns: no column 'staus' \(did you mean 'status'\?\)"):
        run.to_arrow(columns=["staus"])


def test_expectations_are_columns_of_a_table(tmp_path: Path) -> None:
    """By the names that `--columns` has."""
    write_crew(tmp_path, more="expect:\n  short: output == 'x'\n")
    run = run_batch(topics(1), "crew.yaml")
    assert run.to_arrow(columns=["expectations.short"])["expectations.short"][0].as_py() not in (None, True)


def test_a_run_is_a_data_frame() -> None:
    """Where pandas is installed; else the error says how to install it."""
    run = run_batch(topics(2), crew_of())
    if find_spec("pandas") is None:
        with pytest.raises(UsageError, match=r"to_pandas\(\) needs pandas: pip install pandas"):
            run.to_pandas()
    else:
        assert list(run.to_pandas()["input.topic"]) == ["topic 0", "topic 1"]


def test_rows_of_a_generator_are_read_once_and_looked_at_first_where_that_is_needed() -> None:
    """For --strict, --canary and ids of a field they are copied to a temporary file."""
    with pytest.raises(UsageError, match=r"inputs \(generator\): 1 rows cannot be run \(strict\)"):
        run_batch((row for row in [{"topic": 1}, {}]), crew_of(), strict=True)
    run = run_batch((row for row in topics(30)), crew_of(), canary=5, id_field="topic")
    assert (counts(run), run.summary["forecast"]["rows"]) == ((30, 0, 0), 30)
    again = run_batch(({**row, "more": i == 3} for i, row in enumerate(topics(30))), crew_of(), id_field="topic")
    assert (counts(again), len(again)) == ((30, 0, 0), 30)


# Crews


def test_a_function_makes_the_crew_of_a_row() -> None:
    """As with --crew, one without parameters makes that of all rows."""

    def make(topic: str) -> Crew:
        return crew_of(name=None)

    assert counts(run_batch(topics(2), make)) == (2, 0, 0)
    assert counts(run_batch(topics(2), crew_of)) == (2, 0, 0)
    assert sorted(path.name for path in Path().iterdir()) == ["make-run", "research-run"]


def test_a_flow_is_run_per_row() -> None:
    """An object and its class; each row has a flow of its own."""

    class Shout(Flow[dict[str, Any]]):
        @start()
        def shout(self) -> str:
            return str(self.state["topic"]).upper()

    for flow in (Shout(), Shout):
        run = run_batch(topics(2), flow, fresh=True)
        assert [row["output"] for row in run.rows(ordered=True)] == ["TOPIC 0", "TOPIC 1"]


def test_what_is_no_crew_is_refused() -> None:
    """With what a crew is."""
    with pytest.raises(DefinitionError, match="cannot be run; a target is a crew, a flow"):
        run_batch([], 7)
    with pytest.raises(DefinitionError, match=r"nope\.yaml: no such file"):
        run_batch([], "nope.yaml")


def test_what_a_crew_ignores_is_a_warning_of_python(tmp_path: Path) -> None:
    """Which a program can silence or raise; the project file's defaults hold as for the command."""
    write_crew(tmp_path)
    (tmp_path / "crewrun.toml").write_text("limit = 1\ndelimiter = ';'\n")
    (tmp_path / "pyproject.toml").write_text("[tool.crewrun]\nlimit = 2\n")
    with pytest.warns(UserWarning, match="has no effect beside crewrun.toml"):
        run = run_batch(topics(3), "crew.yaml")
    assert counts(run) == (1, 0, 0)


# How it ends


def test_failed_rows_raise_only_where_that_is_asked_for() -> None:
    """The error has the run, and the exit code of the command."""
    rows = [{"topic": 1}, {}]
    assert run_batch(rows, crew_of()).exit_code == 3
    with pytest.raises(BatchFailed, match=r"1 row failed; the results are in .*results\.jsonl") as failed:
        run_batch(rows, crew_of(), check=True)
    assert (failed.value.exit_code, len(failed.value.run)) == (3, 2)
    assert run_batch(rows[:1], crew_of(), check=True).exit_code == 0


def test_a_stop_is_a_value() -> None:
    """As the command's exit code and its reason; the same call goes on."""
    run = run_batch([{}, *topics(9)], crew_of(), fail_fast=True, max_concurrent=1)
    assert (run.exit_code, run.stopped) == (4, "1 of 1 finished rows failed (fail_fast)")
    with pytest.raises(BatchFailed, match=r"\(fail_fast\); the results are in"):
        run_batch([{}, *topics(9)], crew_of(), fail_fast=True, max_concurrent=1, check=True)


def test_what_the_iterable_raises_is_raised_after_the_rows_before_it() -> None:
    """They are not lost, and the run does not look complete."""

    def rows() -> Iterator[dict[str, int]]:
        yield {"topic": 1}
        raise LookupError("no more")

    with pytest.raises(LookupError, match="no more") as failed:
        run_batch(rows(), crew_of(), "out.jsonl")
    assert failed.value.__notes__ == [
        f"the rows before that have run; their results are in {Path('out.jsonl').absolute()}"
    ]
    run = Run.open("out.jsonl")
    assert ([row["input"] for row in run.rows("ok")], run.exit_code) == ([{"topic": 1}], 3)
    assert [row["error"]["message"] for row in run.failures] == [
        "line 2: the input cannot be read further: inputs (generator) raised LookupError: no more"
    ]


def test_a_running_loop_is_not_blocked() -> None:
    """A web server would stand still for hours."""

    async def main() -> None:
        run_batch([], crew_of())

    with pytest.raises(UsageError, match=r"inside async code: await arun_batch\(…\)"):
        asyncio.run(main())


@pytest.mark.parametrize("backend", ["asyncio", "trio"])
def test_cancelling_closes_the_run_so_that_the_same_call_goes_on(backend: str) -> None:
    """No row is half done, no lock is left, and the reason is on record."""

    async def main() -> tuple[Run, Run]:
        slow = crew_of("offline?latency=0.2")
        results = Path("research-run/results.jsonl")
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(lambda: arun_batch(topics(30), slow, max_concurrent=5))
            while not (results.exists() and results.stat().st_size):
                await anyio.sleep(0.01)
            tasks.cancel_scope.cancel()
        cancelled = Run.open(results)
        return cancelled, await arun_batch(topics(30), slow, max_concurrent=30)

    cancelled, whole = anyio.run(main, backend=backend)
    assert (cancelled.exit_code, cancelled.stopped, cancelled.is_going) == (130, "cancelled", False)
    done = cancelled.summary["rows"]["ok"]
    assert 0 < done < 30
    assert counts(whole) == (30 - done, done, 0)


def test_an_async_iterable_is_refused_in_another_loop_than_asyncios() -> None:
    """It would be awaited in a loop that is not its own."""

    async def rows() -> AsyncIterator[dict[str, Any]]:
        await anyio.sleep(0)
        yield {"topic": "a"}

    async def main() -> None:
        await arun_batch(rows(), crew_of())

    with pytest.raises(UsageError, match="give a generator that is not async"):
        anyio.run(main, backend="trio")


def test_a_run_that_is_held_is_refused_and_can_be_watched() -> None:
    """One process, two tasks: what `lock` is for."""

    async def main() -> None:
        slow = crew_of("offline?latency=0.2")
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(lambda: arun_batch(topics(20), slow, "out.jsonl", max_concurrent=4))
            while not (Path("out.jsonl").exists() and Path("out.jsonl").stat().st_size):
                await anyio.sleep(0.01)
            going = Run.open("out.jsonl")
            assert (going.is_going, going.exit_code, going.stopped) == (True, None, None)
            assert 0 < len(going) < 20
            with pytest.raises(RunHeld, match="is working on this run"):
                await arun_batch(topics(20), slow, "out.jsonl")
            tasks.cancel_scope.cancel()

    asyncio.run(main())


def test_a_run_that_is_refused_after_it_was_opened_is_free_again(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    """A program lives on, and its next call must not find the run held by itself."""
    for name, value in place.env.items():
        monkeypatch.setenv(name, value)
    unpriced = crew_of("openai/my-model")
    assert counts(run_batch(topics(1), unpriced)) == (1, 0, 0)
    with pytest.raises(UsageError, match=r"^budget: earlier calls of this run have no known price"):
        run_batch(topics(2), unpriced, budget=1, price={"my-model": [1, 1]})
    refused = Run.open("research-run")
    assert (refused.exit_code, refused.is_going) == (2, False)
    assert counts(run_batch(topics(2), unpriced)) == (1, 1, 0)


def of_the_process() -> list[Any]:
    return [
        gc.get_threshold(),
        gc.get_freeze_count(),
        os.getcwd(),
        sys.argv[:],
        sys.stdout,
        sys.stderr,
        [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)],
        len(os.listdir("/dev/fd")),
        os.environ.get("OPENAI_API_KEY"),
    ]


def test_several_run_at_once_and_leave_no_trace_in_the_process(request: pytest.FixtureRequest) -> None:
    """In one loop and in threads: their own results, and the process as it was."""
    run_batch(topics(1), crew_of(name="first"))  # what is imported and opened once
    request.addfinalizer(partial(gc.set_threshold, *gc.get_threshold()))
    gc.set_threshold(701, 11, 9)
    signal.signal(signal.SIGINT, signal.default_int_handler)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    before = of_the_process()
    run_batch(topics(1), crew_of(name="first"))
    assert of_the_process() == before

    async def main() -> list[Run]:
        return await asyncio.gather(*(arun_batch(topics(20), crew_of(name=f"task {i}")) for i in range(3)))

    runs = asyncio.run(main())
    threads = [
        Thread(target=lambda i=i: runs.append(run_batch(topics(20), crew_of(name=f"thread {i}")))) for i in range(3)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert of_the_process() == before
    assert [(counts(run), len(run)) for run in runs] == [((20, 0, 0), 20)] * 6
    assert len({run.output for run in runs}) == 6


def test_filters_of_warnings_stay_as_they_are() -> None:
    """A program that raises warnings has them raised afterwards too."""
    run_batch(topics(1), crew_of())
    before = [entry for entry in warnings.filters if entry[0] == "error"]
    run_batch(topics(2), crew_of())
    assert [entry for entry in warnings.filters if entry[0] == "error"] == before


async def ticks(count: int) -> AsyncIterator[Mapping[str, int]]:
    for n in range(count):
        await anyio.sleep(0)
        yield {"topic": n}


def test_rows_may_be_awaited() -> None:
    """From the loop that the batch runs in."""

    async def main() -> Run:
        return await arun_batch(ticks(30), crew_of())

    assert counts(asyncio.run(main())) == (30, 0, 0)


# Runs of others


@pytest.mark.parametrize(
    "name", sorted(path.name for path in (ROOT / "tests/data/runs_of_2a01590").iterdir() if path.is_dir())
)
def test_runs_of_older_versions_can_be_opened(name: str) -> None:
    """Their summary has the same keys; what their journal does not say is None."""
    folder = ROOT / "tests/data/runs_of_2a01590" / name
    runs = sorted(path for path in folder.rglob("*.crewrun") if path.is_dir())
    keys = set(run_batch(topics(1), crew_of()).summary)
    for path in runs:
        assert set(Run.open(path).summary) == keys


def test_results_without_a_run_folder_can_be_opened(tmp_path: Path) -> None:
    """Merged or copied ones: the rows, and how many failed."""
    run = run_batch([{"topic": 1}, {}], crew_of(), "out.jsonl")
    (tmp_path / "copy.jsonl").write_bytes((tmp_path / "out.jsonl").read_bytes())
    copied = Run.open("copy.jsonl")
    assert (lines(copied), copied.path, copied.exit_code) == (lines(run), None, 3)
    assert (set(copied.summary), copied.summary["rows"]) == (set(run.summary), run.summary["rows"])


def test_what_is_no_run_is_refused(tmp_path: Path) -> None:
    """With what a run is."""
    with pytest.raises(UsageError, match="nothing: no such run; RUN is a results file"):
        Run.open("nothing")


def test_a_run_whose_process_died_does_not_look_like_one_that_is_going(tmp_path: Path) -> None:
    """It has no exit code either."""
    shutil.copytree(ROOT / "tests" / "data" / "runs_of_2a01590", tmp_path / "old")
    run = Run.open(tmp_path / "old" / "in.results.jsonl")
    assert (run.exit_code, run.is_going) == (None, False)
    assert repr(run).endswith("2 ok, 1 failed, its process died)")
