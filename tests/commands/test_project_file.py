"""Defaults of flags in crewrun.toml, or in [tool.crewrun] of pyproject.toml."""

import json
import os
from pathlib import Path
from typing import Any

import pytest
from support.command import read_rows, write_crew, write_rows
from support.forks import crewrun

ROWS = [{"topic": "a"}, {"topic": "b"}, {"topic": "c"}]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A working directory with a crew of the offline model and three rows."""
    write_crew(tmp_path)
    write_rows(tmp_path / "in.jsonl", ROWS)
    return tmp_path


def batch(folder: Path, *flags: str, **env: str) -> list[dict[str, Any]]:
    """The rows that a batch ran, in a new results file."""
    done = crewrun("batch", "in.jsonl", "--fresh", "-o", "out.jsonl", *flags, cwd=folder, env=env)
    assert done.returncode == 0, done.stderr
    return read_rows(folder / "out.jsonl")


def refusal(folder: Path, *words: str) -> str:
    """What a command says that is refused, without the program's name."""
    done = crewrun(*(words or ("batch", "in.jsonl")), cwd=folder)
    assert (done.returncode, done.stdout) == (2, ""), done.stderr
    return done.stderr.removeprefix("crewrun: ")


@pytest.mark.parametrize(
    ("name", "head"), [("crewrun.toml", ""), ("pyproject.toml", '[project]\nname = "x"\n[tool.crewrun]\n')]
)
def test_flags_have_defaults_in_the_project(name: str, head: str, folder: Path) -> None:
    """Under the keys of the crew file's `batch:`, with - or _, also for `run`, and below it."""
    (folder / name).write_text(f'{head}limit = 2\nmax-concurrent = "auto"\nmodel = "offline?tools=0"\n')
    assert [row["input"]["topic"] for row in batch(folder)] == ["a", "b"]
    manifest = json.loads((folder / "out.jsonl.crewrun/manifest.json").read_text())
    assert manifest["options"]["max_concurrent"] == "auto"
    below = folder / "below"
    below.mkdir()
    asked = crewrun("run", "../crew.yaml", "topic=x", "-q", cwd=below)
    assert (asked.returncode, asked.stdout[:8]) == (0, "[offline")


def test_the_nearer_says_more(folder: Path) -> None:
    """Flag before variable before crew file before project file."""
    (folder / "crewrun.toml").write_text("limit = 1\n")
    assert len(batch(folder)) == 1
    write_crew(folder, more="batch:\n  limit: 2\n")
    assert len(batch(folder)) == 2
    assert len(batch(folder, CREWRUN_LIMIT="3")) == 3
    assert len(batch(folder, "--limit", "1", CREWRUN_LIMIT="3")) == 1


def test_inputs_for_all_rows_are_joined_and_failure_limits_exclude_each_other(folder: Path) -> None:
    """As between flags and the crew file."""
    (folder / "crewrun.toml").write_text("fail_fast = true\n[input]\none = 1\ntwo = 1\n")
    write_crew(folder, tasks=["{one} {two} {three}"], more="batch:\n  max_failures: 2\n  input: {two: 2}\n")
    batch(folder, "-i", "three=3")
    options = json.loads((folder / "out.jsonl.crewrun/manifest.json").read_text())["options"]
    assert options["input"] == {"one": 1, "two": 2, "three": "3"}
    assert (options["max_failures"], options.get("fail_fast", False)) == (2, False)


def test_only_the_nearest_file_counts(folder: Path) -> None:
    """A pyproject.toml without the table is passed by; crewrun.toml comes before one beside it, which is said."""
    below = folder / "below"
    below.mkdir()
    write_crew(below)
    write_rows(below / "in.jsonl", ROWS)
    (folder / "crewrun.toml").write_text("limit = 1\n")
    (below / "pyproject.toml").write_text("[project\nis not even TOML")
    assert len(batch(below)) == 1
    (below / "pyproject.toml").write_text("[tool.crewrun]\noffset = 1\n")
    assert len(batch(below)) == 2
    (below / "crewrun.toml").write_text("")
    assert len(batch(below)) == 3
    done = crewrun("batch", "in.jsonl", cwd=below)
    assert "warning: pyproject.toml: [tool.crewrun] has no effect beside crewrun.toml\n" in done.stderr


def test_paths_are_relative_to_the_project_file(folder: Path) -> None:
    """As in other tools, so that a command works in every folder of the project; the crew may be named too."""
    below = folder / "below"
    below.mkdir()
    (folder / "crewrun.toml").write_text('crew = "crew.yaml"\noutput = "out/all.jsonl"\nsummary = "out/s.json"\n')
    (folder / "out").mkdir()
    done = crewrun("batch", "../in.jsonl", cwd=below)
    assert (done.returncode, os.listdir(below)) == (0, []), done.stderr
    assert len(read_rows(folder / "out/all.jsonl")) == 3
    assert json.loads((folder / "out/s.json").read_text())["rows"]["ok"] == 3


def test_check_and_plan_name_the_file(folder: Path) -> None:
    """With its path from here."""
    below = folder / "below"
    below.mkdir()
    write_crew(below)
    (folder / "crewrun.toml").write_text("limit = 1\n")
    for words in (["check"], ["plan", "../in.jsonl"]):
        assert "defaults of flags from ../crewrun.toml\n" in crewrun(*words, cwd=below).stdout
    assert json.loads(crewrun("check", "--json", cwd=below).stdout)["defaults"] == "../crewrun.toml"


WRONG = {
    "a wrong name": ("limt = 3", "crewrun.toml:1: limt: unknown key 'limt' (did you mean 'limit'?)"),
    "a wrong value": (
        '# the crew\n\nmax_concurrent = "eight"',
        "crewrun.toml:3: max_concurrent: needs to be a whole number from 1, or 'auto', not 'eight'",
    ),
    "a range": ("limit = -3", "crewrun.toml:1: limit: needs to be a whole number from 0, not -3"),
    "nan": ("call_timeout = nan", "crewrun.toml:1: call_timeout: needs to be a number above 0, not nan"),
    "a boolean": ("limit = true", "crewrun.toml:1: limit: needs to be a whole number from 0, not true"),
    "a word": (
        'lock = "wiat"',
        "crewrun.toml:1: lock: needs to be 'fail', 'wait' or 'skip', not 'wiat' (did you mean 'wait'?)",
    ),
    "an engine": ('engine = "x"', "crewrun.toml:1: engine: needs to be 'crewrun' or 'crewai', not 'x'"),
    "a crew": ("crew = 1", "crewrun.toml:1: crew: needs the file, folder or module:attr of a crew, not 1"),
    "a table": ('[rpm]\n"gpt-4.1" = "x"', "crewrun.toml:2: rpm.'gpt-4.1': needs to be a whole number from 1, not 'x'"),
    "pyproject's table": (
        "[tool.crewrun]\nlimit = 3",
        "crewrun.toml:1: tool: unknown key 'tool'; the keys of flags stand at the top, in no table",
    ),
    "the crew file's": (
        "[batch]\nlimit = 3",
        "crewrun.toml:1: batch: unknown key 'batch'; its keys stand one level up",
    ),
    "both spellings": (
        "max-failures = 3\nmax_failures = 4",
        "crewrun.toml:2: max_failures: this key is there already, as 'max-failures'",
    ),
}


@pytest.mark.parametrize(("text", "message"), WRONG.values(), ids=WRONG)
def test_a_mistake_has_its_line(text: str, message: str, folder: Path) -> None:
    """And the nearest name, as in the crew file."""
    (folder / "crewrun.toml").write_text(text)
    assert refusal(folder) == f"{message}\n"


def test_a_mistake_in_pyproject_has_its_path(folder: Path) -> None:
    """All of them at once."""
    (folder / "pyproject.toml").write_text('[tool.crewrun]\nlimit = "x"\nbudgt = 3\n')
    assert refusal(folder) == (
        "pyproject.toml:2: tool.crewrun.limit: needs to be a whole number from 0, not 'x'\n"
        "pyproject.toml:3: tool.crewrun.budgt: unknown key 'budgt' (did you mean 'budget'?)\n"
    )
    (folder / "pyproject.toml").write_text("[tool]\ncrewrun = 3\n")
    assert refusal(folder) == "pyproject.toml: tool.crewrun: needs to be a table of flags' defaults\n"


def test_a_file_that_is_no_toml_is_named(folder: Path) -> None:
    """By every command that takes flags from it, and by no other."""
    (folder / "crewrun.toml").write_text("limit = = 3\n")
    for words in (("batch", "in.jsonl"), ("plan", "in.jsonl"), ("run", "topic=x"), ("bench", "-m", "offline")):
        assert refusal(folder, *words).startswith("crewrun.toml: is not valid TOML: ")
    assert "problem: crewrun.toml: is not valid TOML: " in crewrun("check", cwd=folder).stdout
    assert crewrun("gc", cwd=folder).returncode == 0


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can make another user's file")
def test_a_file_that_another_user_left_in_a_shared_folder_is_passed_by(folder: Path) -> None:
    """As in /tmp: it could name a command to run. In a folder of one's own it counts."""
    below = folder / "mine"
    below.mkdir()
    write_crew(below)
    write_rows(below / "in.jsonl", ROWS)
    for name, text in (("crewrun.toml", "limit = 1\n"), ("pyproject.toml", "[tool.crewrun]\nlimit = 1\n")):
        planted = folder / name
        planted.write_text(text)
        os.chown(planted, 12345, 12345)
        folder.chmod(0o1777)
        assert len(batch(below)) == 3
        folder.chmod(0o755)
        assert len(batch(below)) == 1
        planted.unlink()


def test_a_file_of_an_editor_on_windows(folder: Path) -> None:
    """A byte order mark and its line ends are read over; another encoding is named."""
    (folder / "crewrun.toml").write_bytes(b"\xef\xbb\xbflimit = 1\r\n")
    assert len(batch(folder)) == 1
    (folder / "crewrun.toml").write_bytes(b"\xef\xbb\xbflimt = 1\r\n")
    assert refusal(folder).startswith("crewrun.toml:1: limt: unknown key 'limt'")
    (folder / "crewrun.toml").write_bytes(b"# gr\xfc\xdfe\nlimit = 1\n")
    assert refusal(folder) == "crewrun.toml: is not UTF-8 (byte 5)\n"


def test_a_deadline_may_be_a_time_of_toml(folder: Path) -> None:
    """Which has types for times and dates."""
    (folder / "crewrun.toml").write_text("deadline = 2000-01-31T06:30:00\n")
    assert refusal(folder).startswith("crewrun.toml: deadline '2000-01-31T06:30:00': is in the past; ")


def test_variables_without_effect_are_warned_about(folder: Path) -> None:
    """Misspelt ones, by the nearest name, and flags in a `.env` file, which are read too late; each once."""
    (folder / ".env").write_text("CREWRUN_BUDGET=1\nCREWRUN_FLOW_STATES=x.sqlite\nCREWRUN_LIMIT=1\n")
    names = {"CREWRUN_MODLE": "gpt-4.1", "CREWRUN_QQ": "1", "CREWRUN_LIMIT": "2", "CREWRUN_TEXT": "of --notify"}
    for command in ("batch", "plan", "check"):
        done = crewrun(command, "in.jsonl", cwd=folder, env=names)
        assert done.returncode == 0, (command, done.stderr)
        assert [line for line in done.stderr.splitlines() if line.startswith("warning: ")] == [
            "warning: .env: CREWRUN_BUDGET has no effect here: flags are read before the file; export it, or set "
            "'budget' in crewrun.toml",
            "warning: CREWRUN_MODLE: there is no such variable, it has no effect (did you mean 'CREWRUN_MODEL'?)",
            "warning: CREWRUN_QQ: there is no such variable, it has no effect",
        ]
