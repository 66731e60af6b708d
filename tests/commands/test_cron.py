"""The manual's script for cron works as cron runs it, and mails this night's log only."""

import json
import shlex
import subprocess
from pathlib import Path

import pytest
from support.command import PROGRAM, topics, write_crew, write_rows
from support.documents import blocks, sections
from support.paths import MANUAL

SECTION = sections(MANUAL / "recipes.md")["Every night, from cron"]
SCRIPT = next(block.text for block in blocks(SECTION, "sh"))
LINE = next(block.text for block in blocks(SECTION, "text")).strip()


@pytest.fixture
def server(tmp_path: Path) -> Path:
    """A folder for `/srv/topics` with the script and crewrun in a `.venv`, and a `mail` that keeps what it gets."""
    folder = tmp_path / "topics"
    (folder / ".venv" / "bin").mkdir(parents=True)
    _program(folder / ".venv" / "bin" / "crewrun", f'exec {shlex.join(PROGRAM)} "$@"')
    _program(folder / "nightly.sh", SCRIPT.replace("/srv/topics", str(folder)).removeprefix("#!/bin/sh\n"))
    _program(tmp_path / "bin" / "mail", f'printf "%s|" "$@" >>{tmp_path}/mails; cat >>{tmp_path}/mails')
    write_crew(folder)
    return folder


def _program(path: Path, text: str) -> None:
    path.parent.mkdir(exist_ok=True)
    path.write_text(f"#!/bin/sh\n{text}\n")
    path.chmod(0o755)


def night(server: Path) -> str:
    """What one night mails; cron's environment has hardly anything, and `mail` is where it would be."""
    mails = server.parent / "mails"
    mails.write_text("")
    command = LINE.split(maxsplit=5)[5].replace("/srv/topics", str(server))
    path = f"PATH={server.parent}/bin:/usr/bin:/bin"
    cron = ["env", "-i", path, f"HOME={server.parent}", "SHELL=/bin/sh", "LOGNAME=ops", "sh", "-c", command]
    done = subprocess.run(cron, cwd=server.parent, capture_output=True, text=True, timeout=60, check=False)
    assert (done.stdout, done.stderr) == ("", "")  # or cron would mail it itself
    return mails.read_text()


def test_a_night_that_fails_is_mailed_and_a_good_one_is_not(server: Path) -> None:
    """Three nights: the second mails what failed in it and nothing of the first."""
    write_rows(server / "topics.jsonl", topics(2))
    assert night(server) == ""
    write_rows(server / "topics.jsonl", [*topics(2), "nonsense"])
    mail = night(server)
    assert mail.count("0 ok, 1 failed, 2 done before") == 2  # first and last
    assert "2 ok" not in mail
    assert mail == f"-s|crewrun: exit code 3|ops|{(server / 'night.log').read_text()}"
    write_rows(server / "topics.jsonl", topics(3))
    assert night(server) == ""
    assert len([json.loads(line) for line in (server / "topics.results.jsonl").read_text().splitlines()]) == 3
    assert sorted(path.name for path in server.iterdir() if "night" in path.name) == ["night.log", "nightly.sh"]


def test_a_night_that_cannot_begin_is_mailed(server: Path) -> None:
    """Without the table there is nothing to run, and the mail says so."""
    assert night(server).startswith("-s|crewrun: exit code 2|ops|crewrun: topics.jsonl: no such file")
