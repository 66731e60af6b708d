"""`crewrun status RUN... --watch`: runs of other processes, on a terminal and in a pipe, until they have ended."""

import json
import re
import shutil
import signal
from collections.abc import Iterator
from datetime import datetime, timedelta
from pathlib import Path
from typing import Self

import pytest
from support.command import topics
from support.forks import Forks
from support.mock_process import MockProcess
from support.scripted_provider import Fickle, Reply
from support.terminal import CTRL_C, Terminal
from support.workspace import RESULTS, STATE, Place

from crewrun.inspect.live import look_at
from crewrun.runs.folder import RunFolder
from crewrun.runs.progress_file import read_progress


@pytest.fixture(scope="module")
def provider() -> Iterator[Fickle]:
    """Lets what asks for it hang, and answers the rest."""
    with Fickle(lambda asked: Reply(hangs="hang" in asked.prompt)) as fickle:
        yield fickle


class Run:
    """A run of 40 rows, 10 at once, of which 10 end and 10 hang; once its progress says so."""

    def __init__(self, place: Place, provider: Fickle) -> None:
        self.folder = place.folder
        place.rows(*topics(10), *({"topic": f"hang {i}"} for i in range(30)))
        env = {**place.env, "OPENAI_BASE_URL": provider.base_url}
        flags = ["-j", "10", "--progress", "json", "--grace", "0", "--budget", "1"]
        self.process = place.forks.start("batch", "in.jsonl", *flags, cwd=place.folder, env=env)
        progress = RunFolder(place.folder / STATE).progress
        # Its own display and the file for others are each a second old at most.
        for line in self.process.stderr:
            if json.loads(line)["in_flight"] == 10 and (read_progress(progress) or {}).get("in_flight") == 10:
                break

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.process.kill()
        self.process.wait()
        self.process.close()


@pytest.fixture
def run(place: Place, provider: Fickle) -> Iterator[Run]:
    """A run to end."""
    with Run(place, provider) as run:
        yield run


@pytest.fixture(scope="module")
def going(
    tmp_path_factory: pytest.TempPathFactory, served: tuple[MockProcess, Forks], provider: Fickle
) -> Iterator[Run]:
    """A run that goes on."""
    place = Place(tmp_path_factory.mktemp("going"), *served)
    place.crew()
    with Run(place, provider) as run:
        yield run


def test_a_terminal_shows_the_line_until_the_run_ends(run: Run) -> None:
    """As the run's own terminal would; then the status, and the run's exit code."""
    with Terminal("status", RESULTS, "--watch", cwd=run.folder, columns=100) as terminal:
        terminal.until(lambda t: re.match(r"10/40 · 0 failed · 10 in flight · \$0\.000\d of \$1\.00 · ", t.text))
        run.process.send_signal(signal.SIGTERM)
        assert terminal.end() == 143
        assert terminal.lines[0].startswith(f"{RESULTS}: stopped: terminated (exit code 143) at ")
        assert not terminal.is_cursor_hidden


def test_ctrl_c_ends_the_watching_and_not_the_run(going: Run) -> None:
    """Exit 130, the cursor is back, and the run goes on."""
    with Terminal("status", RESULTS, "--watch", cwd=going.folder) as terminal:
        terminal.until("10 in flight")
        terminal.press(CTRL_C)
        assert terminal.end() == 130
        assert not terminal.is_cursor_hidden
    assert going.process.poll() is None


def test_a_pipe_gets_lines_with_the_time(run: Run, forks: Forks) -> None:
    """The first at once. A run that is killed has no exit code of its own: 1."""
    with forks.start("status", RESULTS, "-w", cwd=run.folder) as watching:
        line = watching.stdout.readline()
        assert re.match(r"\d\d:\d\d:\d\d 10/40 · 0 failed · 10 in flight · ", line)
        run.process.kill()
        out, _ = watching.communicate()
        assert watching.returncode == 1
    assert out.startswith(f"{RESULTS}: died without saying why")


def test_json_is_an_object_a_line(going: Run, forks: Forks) -> None:
    """The progress as the run has it. SIGTERM ends the watching."""
    with forks.start("status", RESULTS, "--watch", "--json", cwd=going.folder) as watching:
        first = json.loads(watching.stdout.readline())
        assert (first["run"], first["is_going"]) == (STATE, True)
        progress = first["progress"]
        assert (progress["ended"], progress["total"], progress["in_flight"], progress["waiting"]) == (10, 40, 10, [])
        watching.send_signal(signal.SIGTERM)
        out, _ = watching.communicate()
        assert (watching.returncode, out) == (143, "")


def test_several_runs_are_watched_together(run: Run, place: Place) -> None:
    """Each with its name, one that has ended too; the highest exit code counts."""
    place.batch("-o", "other.jsonl", "-m", "offline", "--limit", "3")
    with Terminal("status", RESULTS, "other.jsonl", "--watch", cwd=place.folder) as terminal:
        terminal.until(lambda t: t.lines[:1] + t.lines[2:] == [RESULTS, "other.jsonl", "has ended"])
        run.process.send_signal(signal.SIGTERM)
        assert terminal.end() == 143
        assert "other.jsonl: finished (exit code 0)" in terminal.text


def test_status_of_several_runs(place: Place) -> None:
    """One after the other; as JSON one object a line."""
    place.rows(*topics(3))
    place.batch("-o", "a.jsonl", "-m", "offline")
    place.batch("-o", "b.jsonl", "-m", "offline", "--limit", "1")
    place.crewrun("status", "a.jsonl", "b.jsonl", "--json")
    assert [json.loads(line)["rows"]["ok"] for line in place.stdout.splitlines()] == [3, 1]
    place.crewrun("status", "a.jsonl", "--watch", "--verify", code=2)
    assert place.stderr == (
        "crewrun: --watch --verify: only a run that is not running can be verified; leave one of them out\n"
    )


def test_the_progress_is_gone_with_the_session(place: Place) -> None:
    """Nothing is left in the run's folder."""
    place.rows(*topics(3))
    place.batch("-m", "offline")
    assert not list((place.folder / STATE).glob("*progress*"))


def test_a_run_of_another_machine_is_going_while_it_gives_signs_of_life(tmp_path: Path, going: Run) -> None:
    """Its lock may not be seen here; what its session last wrote is."""
    folder = RunFolder(tmp_path / "copy")
    shutil.copytree(going.folder / STATE, folder.path)
    assert look_at(folder).is_going is False  # of this machine: its lock says so
    folder.lock.write_text(json.dumps({"pid": 1, "host": "another", "since": "…"}))
    assert (look_at(folder).is_going, look_at(folder).silent_s) == (True, 0.0)
    progress = json.loads(folder.progress.read_text())
    for age_s, is_going in ((20, True), (60, False)):
        then = datetime.now().astimezone() - timedelta(seconds=age_s)
        folder.progress.write_text(json.dumps({**progress, "at": then.isoformat()}))
        look = look_at(folder)
        assert (look.is_going, round(look.silent_s)) == (is_going, age_s if is_going else 0)
    folder.progress.write_text("{")
    assert look_at(folder).progress is None
