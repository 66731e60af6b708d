"""`-o` to an open descriptor or a device: what is written where, and what is said of a run without a state."""

import json
import os
from pathlib import Path

import pytest
from support.command import parse_rows, shell, write_crew, write_rows

NO_STATE = "crewrun: -o {}: a run there has no state, so if it stops it starts over; --run-dir DIR keeps one\n"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder with a crew of the offline model and two rows."""
    write_crew(tmp_path)
    write_rows(tmp_path / "in.jsonl", [{"topic": "a"}, {"topic": "b"}])
    return tmp_path


def files(folder: Path) -> set[str]:
    """What is there beside the crew and its input."""
    return {path.name for path in folder.iterdir()} - {"crew.yaml", "in.jsonl"}


@pytest.mark.parametrize(
    ("output", "redirections"),
    [
        ("/dev/stdout", "> to 2> said"),
        ("/proc/self/fd/1", "> to 2> said"),
        ("/dev/fd/3", "3> to 2> said"),
        ("/dev/fd/3", "3>> to 2> said"),
    ],
)
def test_a_descriptor_is_a_stream(output: str, redirections: str, folder: Path) -> None:
    """Whatever the shell has opened, it is not opened again; nothing else is made, and stderr has what is said."""
    (folder / "to").write_text("" if ">>" not in redirections else '{"index": -1}\n')
    done = shell(f"crewrun batch in.jsonl -o {output} {redirections}", folder)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    rows = parse_rows((folder / "to").read_text())
    assert [row["index"] for row in rows] == ([-1, 0, 1] if ">>" in redirections else [0, 1])
    assert (folder / "said").read_text().startswith(NO_STATE.format(output))
    assert files(folder) == {"to", "said"}


def test_stderr_keeps_its_log(folder: Path) -> None:
    """Rows stand among what is said; it was written over, and had a run's state beside it."""
    (folder / "log").write_text("before\n")
    assert shell("crewrun batch in.jsonl -o /dev/stderr 2>> log", folder).returncode == 0
    lines = (folder / "log").read_text().splitlines()
    assert (lines[0], sum(line.startswith('{"schema":"crewrun.result/1"') for line in lines)) == ("before", 2)
    assert files(folder) == {"log"}


@pytest.mark.parametrize(("device", "code"), [("/dev/null", 0), ("/dev/full", 1)])
def test_a_device_has_no_state(device: str, code: int, folder: Path) -> None:
    """Which is said once, unless nothing is to be said, or --run-dir has a state."""
    done = shell(f"crewrun batch in.jsonl -o {device}", folder)
    assert (done.returncode, done.stderr.startswith(NO_STATE.format(device)), files(folder)) == (code, True, set())
    for flags in ("-q", "--run-dir state"):
        assert "no state" not in shell(f"crewrun batch in.jsonl -o {device} {flags}", folder).stderr


def test_a_descriptor_that_is_not_open_is_refused(folder: Path) -> None:
    """With what opens it."""
    done = shell("crewrun batch in.jsonl -o /dev/fd/9", folder)
    assert (done.returncode, done.stderr) == (
        2,
        "crewrun: -o /dev/fd/9: descriptor 9 is not open; open it by 9>FILE\n",
    )


def test_export_and_plot_write_to_descriptors(folder: Path) -> None:
    """As to standard output; merge needs a file that it can replace."""
    assert shell("crewrun batch in.jsonl -q", folder).returncode == 0
    plain = shell("crewrun export in.results.jsonl", folder).stdout
    for command, place in (
        ("export in.results.jsonl -o /dev/stdout > to", "to"),
        ("export in.results.jsonl -o - > to", "to"),
        ("export in.results.jsonl -o /dev/fd/3 3> other", "other"),
    ):
        assert shell(f"crewrun {command} 2> said", folder).returncode == 0
        assert (folder / place).read_text() == plain
    assert shell("crewrun plot -o /dev/stdout > page 2> said", folder).returncode == 0
    assert (folder / "page").read_text().startswith("<!")
    done = shell("crewrun merge in.results.jsonl -o /dev/stdout --force > to", folder)
    assert (done.returncode, done.stderr) == (
        2,
        "crewrun: -o /dev/stdout: the results are written whole or not at all; name a file\n",
    )


def test_a_summary_goes_to_a_descriptor_and_through_a_link(folder: Path) -> None:
    """The link stays one: as root, /dev/stderr itself was replaced by the summary."""
    (folder / "link.json").symlink_to("s.json")
    assert shell("crewrun batch in.jsonl -q --summary link.json", folder).returncode == 0
    assert os.readlink(folder / "link.json") == "s.json"
    assert json.loads((folder / "s.json").read_text())["rows"]["ok"] == 2
    assert shell("crewrun batch in.jsonl -q --summary /dev/fd/3 3> t.json", folder).returncode == 0
    assert json.loads((folder / "t.json").read_text())["rows"]["kept"] == 2
    done = shell("crewrun batch in.jsonl --summary /dev/stdout", folder)
    assert (done.returncode, "--summary /dev/stdout: standard output is for result lines" in done.stderr) == (2, True)
    assert os.path.islink("/dev/stderr")
