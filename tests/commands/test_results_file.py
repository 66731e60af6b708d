"""A results file that is deleted, replaced or changed while its run is going: it is whole at the end, or exit 1."""

import json
import os
import shlex
import subprocess
import sys

import pytest
from support.command import read_rows, topics, write_rows
from support.workspace import RESULTS, Place

# With one row at a time the lines of those before are written when a row's callback runs.
CREW = '''
import subprocess
from pathlib import Path
from crewrun import Agent, Crew, Task

def meddle(output):
    """Do to the files what `meddle.sh` says, in the middle of the row that `at` names."""
    if Path("at").read_text() in output.description:
        subprocess.run(["bash", "meddle.sh"], check=True)

agent = Agent(role="Writer", goal="Write", backstory="Old", llm="offline")
task = Task(name="draft", description="Write about {topic}.", expected_output="One line", agent=agent)
crew = Crew(agents=[agent], tasks=[task], task_callback=meddle)
'''
BATCH = ("batch", "in.jsonl", "--crew", "meddling.py:crew", "-j", "1", "-q")


@pytest.fixture
def run(place: Place) -> Place:
    """Six rows; in the middle of the fourth something happens."""
    (place.folder / "meddling.py").write_text(CREW)
    (place.folder / "at").write_text("topic 3.")
    place.rows(*topics(6))
    return place


def meddle(run: Place, command: str) -> None:
    (run.folder / "meddle.sh").write_text(command)


def is_whole(run: Place) -> None:
    """All six rows are there once, as the journal has them, and nothing is sent to get there."""
    assert sorted(run.done()) == [f"topic {i}" for i in range(6)]
    run.crewrun("status", RESULTS, "--verify")
    assert "verified: no difference" in run.stdout


DELETED = f"{RESULTS}: was moved or deleted while the run was going; it has been restored"
REPLACED = f"{RESULTS}: was replaced by another file while the run was going; it has been restored"
CHANGED = f"{RESULTS}: was changed while the run was going; it has been restored"
CUT = f"{RESULTS}: was cut off while the run was going; it has been restored, 3 lines came from the journal"
BACKUP = "the file that was there is now"
# The first letter of the first line, written over in place, some ticks of the file system's clock from other writes.
TICKS = "for i in 1 2 3; do touch a; rm -f b; until [ b -nt a ]; do touch b; done; done"
OVERWRITE = f"{TICKS}; printf X | dd of={RESULTS} conv=notrunc status=none; {TICKS}"

DEEDS = [
    pytest.param(f"rm {RESULTS}", DELETED, id="deleted"),
    pytest.param(f"mv {RESULTS} mine.jsonl", DELETED, id="moved"),
    pytest.param(f"mv {RESULTS} mine.jsonl; mv mine.jsonl {RESULTS}", "", id="moved and back"),
    pytest.param(f"cp {RESULTS} new; mv new {RESULTS}", REPLACED, id="replaced by its own lines"),
    pytest.param(f"sed -i s/topic/TOPIC/ {RESULTS}", f"{REPLACED}, {BACKUP}", id="edited by an editor"),
    pytest.param(f"rm {RESULTS}; mkdir {RESULTS}", f"{REPLACED}, {BACKUP}", id="replaced by a folder"),
    pytest.param(f"rm {RESULTS}; ln -s nowhere {RESULTS}", f"{DELETED}, {BACKUP}", id="replaced by a dangling link"),
    pytest.param(f"truncate -s 0 {RESULTS}", CUT, id="truncated"),
    pytest.param(f": > {RESULTS}", CUT, id="emptied"),
    pytest.param(
        f"echo hello >> {RESULTS}", f"{CHANGED}, 1 lines that are not this run's were removed", id="appended to"
    ),
    pytest.param(OVERWRITE, f"{CHANGED}, 1 lines came from the journal", id="written over"),
    pytest.param(f"tac {RESULTS} > new; cat new > {RESULTS}", "", id="rewritten in place"),
    pytest.param(f"touch {RESULTS}", "", id="touched"),
]


@pytest.mark.parametrize(("deed", "said"), DEEDS)
def test_a_results_file_that_was(run: Place, deed: str, said: str) -> None:
    """It is whole at the end, and the report says what became of it. What was not the run's own is kept aside."""
    meddle(run, deed)
    run.crewrun(*BATCH[:-1], "--progress", "none")
    notes = [line for line in run.stderr.splitlines() if "while the run was going" in line]
    is_whole(run)
    assert said in " ".join(notes)
    assert bool(notes) == bool(said)
    if BACKUP in said:
        assert os.path.lexists(run.folder / "in.results.1.jsonl")


@pytest.mark.parametrize("deed", [f"rm -f {RESULTS}", f"echo '{{}}' >> {RESULTS}"], ids=["deleted", "appended to"])
@pytest.mark.parametrize("row", [0, 5])
def test_it_is_noticed_in_the_first_and_the_last_row(run: Place, deed: str, row: int) -> None:
    """Nothing was written before, or nothing but one line comes after; in order it is then, too."""
    (run.folder / "at").write_text(f"topic {row}.")
    meddle(run, deed)
    run.crewrun(*BATCH, "--ordered")
    is_whole(run)
    assert run.done() == [f"topic {i}" for i in range(6)]


@pytest.mark.parametrize("deed", [f": > {RESULTS}", f"sed -i s/topic/TOPIC/ {RESULTS}"], ids=["emptied", "edited"])
def test_lines_of_earlier_sessions_come_back_too(run: Place, deed: str) -> None:
    """They are this run's as well, and in their places with --ordered; a row's key order may have changed meanwhile."""
    meddle(run, "true")
    write_rows(run.folder / "in.jsonl", [{"topic": f"topic {i}", "more": i} for i in range(6)])
    run.crewrun(*BATCH, "--limit", "2")
    write_rows(run.folder / "in.jsonl", [{"more": i, "topic": f"topic {i}"} for i in range(6)])
    meddle(run, deed)
    run.crewrun(*BATCH, "--ordered", "--offset", "1")
    is_whole(run)
    assert run.done() == [f"topic {i}" for i in range(6)]


def test_what_cannot_be_read_again_is_lost_until_the_command_is_repeated(run: Place) -> None:
    """Rows from a pipe that are cut off: exit 1, not 0, and the repeat makes the file whole without a call."""
    meddle(run, f": > {RESULTS}")
    rows = "".join(json.dumps(row) + "\n" for row in topics(6))
    command = ("batch", "-", "-o", RESULTS, *BATCH[2:-1], "--progress", "none", "--summary", "s.json")
    run.crewrun(*command, stdin=rows, code=1)
    assert run.summary()["exit_code"] == 1
    assert "the results file was cut off while the run was going" in run.stopped()
    assert "3 of its lines are lost; the journal has them" in run.stopped()
    meddle(run, "false")
    run.crewrun(*command, stdin=rows)
    assert sorted(run.done()) == [f"topic {i}" for i in range(6)]


def test_an_input_that_has_gone_as_well(run: Place) -> None:
    """Then the lines cannot be made again here: exit 1."""
    meddle(run, f": > {RESULTS}; rm in.jsonl")
    run.crewrun(*BATCH, code=1)


def test_a_link_that_leads_elsewhere_at_the_end(run: Place) -> None:
    """The results are where it led before, and the exit code says that they are not where the command named them."""
    (run.folder / "out.jsonl").symlink_to("real.jsonl")
    meddle(run, "rm out.jsonl; ln -s other.jsonl out.jsonl")
    run.crewrun(*BATCH[:-1], "-o", "out.jsonl", "--progress", "none", code=1)
    assert run.stopped() == (
        f"out.jsonl: leads elsewhere than when the run began; the results are in {run.folder / 'real.jsonl'}"
    )
    assert len((run.folder / "real.jsonl").read_text().splitlines()) == 6


def test_a_file_that_a_link_leads_to_comes_back(run: Place) -> None:
    """The link stays one."""
    (run.folder / "out.jsonl").symlink_to("real.jsonl")
    meddle(run, "rm real.jsonl")
    run.crewrun(*BATCH, "-o", "out.jsonl")
    assert (run.folder / "out.jsonl").is_symlink()
    assert len((run.folder / "real.jsonl").read_text().splitlines()) == 6


def test_a_shard_keeps_to_its_own_lines(run: Place) -> None:
    """What is made again are the rows of the shard."""
    (run.folder / "at").write_text("topic")
    for part, name in (("1/2", "one.jsonl"), ("2/2", "two.jsonl")):
        meddle(run, f": > {name}")
        run.crewrun(*BATCH, "--shard", part, "-o", name)
    parts = [read_rows(run.folder / name) for name in ("one.jsonl", "two.jsonl")]
    assert all(parts)
    assert sorted(row["index"] for part in parts for row in part) == [*range(6)]


def test_a_run_that_was_interrupted_does_not_wait_for_its_input(run: Place) -> None:
    """A stop ends soon: what needs the input is left to the next session, and exit 1 says that it is not whole."""
    meddle(run, f": > {RESULTS}; kill -INT $PPID")
    run.crewrun(*BATCH, code=1)
    meddle(run, "true")
    run.crewrun(*BATCH)
    is_whole(run)


@pytest.mark.parametrize("deed", ["truncate -s 0 out.jsonl", "rm out.jsonl"])
def test_standard_output_that_is_a_file_is_watched_too(run: Place, deed: str) -> None:
    """It cannot be made again, so the exit code says it."""
    meddle(run, deed)
    shell = shlex.join([sys.executable, "-m", "crewrun", *BATCH[:-1], "-o", "-"])
    done = subprocess.run(
        ["bash", "-c", f"{shell} > out.jsonl"], cwd=run.folder, capture_output=True, text=True, check=False
    )
    assert done.returncode == 1
    assert "standard output is a file that was" in done.stderr
