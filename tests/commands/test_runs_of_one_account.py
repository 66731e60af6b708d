"""What runs learn of an account's limits: other processes share it, and the next run begins with it."""

import json
import stat
from datetime import datetime
from pathlib import Path

import pytest
from support.command import read_rows, topics, write_crew, write_rows
from support.forks import crewrun, start
from support.mock_process import MockProcess
from support.workspace import KEY, Place

LOOPBACK = {"CREWRUN_SHARE_LOOPBACK_LIMITS": "1"}


def environment(folder: Path, base_url: str) -> dict[str, str]:
    """The environment of commands that keep limits in `folder`, of this machine's addresses too."""
    return {"OPENAI_BASE_URL": base_url, "OPENAI_API_KEY": KEY, "XDG_STATE_HOME": str(folder / "state"), **LOOPBACK}


def kept(folder: Path) -> list[Path]:
    return sorted((folder / "state" / "crewrun" / "limits").glob("*"))


def test_two_runs_keep_a_limit_together(tmp_path: Path) -> None:
    """Each of them would be within it alone: half of it goes at once for both, the rest at ten a second."""
    with MockProcess("--rpm", "600", "--tpm", "1000000") as mock:
        env = environment(tmp_path, mock.base_url)
        folders = [tmp_path / "one", tmp_path / "two"]
        processes = []
        for folder in folders:
            folder.mkdir()
            write_crew(folder, "gpt-4.1-mini")
            write_rows(folder / "in.jsonl", topics(165))
            processes.append(start("batch", "in.jsonl", "-j", "16", cwd=folder, env=env))
        ends = [process.communicate(timeout=60)[1] for process in processes]
        ledger = mock.ledger()
    assert [process.returncode for process in processes] == [0, 0], ends
    assert ledger["totals"]["statuses"] == {"200": 330}
    at = [datetime.fromisoformat(request["at"]) for request in ledger["requests"]]
    assert 2 < (at[-1] - at[300]).total_seconds() < 20
    assert [len(read_rows(folder / "in.results.jsonl")) for folder in folders] == [165, 165]


def test_the_next_run_begins_with_what_was_learned(tmp_path: Path) -> None:
    """It says with what; `crewrun limits` lists it and forgets it."""
    write_crew(tmp_path, "gpt-4.1-mini")
    write_rows(tmp_path / "in.jsonl", topics(3))
    with MockProcess("--rpm", "600", "--tpm", "1000000") as mock:
        env = environment(tmp_path, mock.base_url)
        first = crewrun("batch", "in.jsonl", cwd=tmp_path, env=env)
        listed = crewrun("limits", "gpt-4.1-mini", "--json", cwd=tmp_path, env=env)
        again = crewrun("batch", "in.jsonl", "--fresh", cwd=tmp_path, env=env)
        forgotten = crewrun("limits", "--forget", cwd=tmp_path, env=env)
        after = crewrun("batch", "in.jsonl", "--fresh", cwd=tmp_path, env=env)
    assert [done.returncode for done in (first, listed, again, forgotten, after)] == [0] * 5, forgotten.stderr
    (account,) = json.loads(listed.stdout)["limits"]
    assert account.pop("used_at") > 0
    assert account == {
        "model": "openai/gpt-4.1-mini",
        "host": "127.0.0.1",
        "requests_per_min": 600,
        "tokens_per_min": 1_000_000,
        "learned_requests_per_min": None,
        "at_once": account["at_once"],
        "processes": 0,
    }
    begins = "openai/gpt-4.1-mini: starts at 600 requests/min and 1,000,000 tokens/min, as "
    assert [begins in done.stderr for done in (first, again, after)] == [False, True, False]
    assert "openai/gpt-4.1-mini" in forgotten.stdout


def test_only_the_user_can_read_what_is_kept_and_no_key_is_in_it(tmp_path: Path) -> None:
    """Nor in its name."""
    write_crew(tmp_path, "gpt-4.1-mini")
    write_rows(tmp_path / "in.jsonl", topics(1))
    with MockProcess("--rpm", "600") as mock:
        done = crewrun("batch", "in.jsonl", cwd=tmp_path, env=environment(tmp_path, mock.base_url))
    assert done.returncode == 0, done.stderr
    (path,) = kept(tmp_path)
    assert [stat.S_IMODE(one.stat().st_mode) for one in (path.parent, path)] == [0o700, 0o600]
    assert KEY not in path.read_text()
    assert KEY not in path.name


@pytest.mark.parametrize(
    ("flags", "more", "env"),
    [
        ([], "", {"CREWRUN_SHARE_LOOPBACK_LIMITS": "0"}),
        (["--no-shared-limits"], "", LOOPBACK),
        ([], "batch:\n  shared_limits: false\n", LOOPBACK),
        ([], "", {**LOOPBACK, "CREWRUN_SHARED_LIMITS": "0"}),
        (["-m", "offline"], "", LOOPBACK),
    ],
    ids=["address of this machine", "flag", "crew file", "variable", "offline"],
)
def test_nothing_is_kept(place: Place, flags: list[str], more: str, env: dict[str, str]) -> None:
    """Where limits are nobody else's, or the user does not want it."""
    place.crew(more=more)
    place.rows(*topics(2))
    place.env |= {"XDG_STATE_HOME": str(place.folder / "state"), **env}
    place.batch(*flags)
    assert kept(place.folder) == []


def test_state_that_cannot_be_written_is_one_warning(place: Place) -> None:
    """The run goes on by itself."""
    (place.folder / "state").write_text("a file")
    place.rows(*topics(3))
    place.env |= {"XDG_STATE_HOME": str(place.folder / "state"), **LOOPBACK}
    place.batch()
    (warning,) = [line for line in place.stderr.splitlines() if "are not shared" in line]
    assert warning.startswith("warning: limits of openai/gpt-4.1-mini are not shared with other processes: ")
    assert len(place.done()) == 3


def test_a_model_of_which_nothing_is_known(place: Place) -> None:
    """A name that is misspelt forgets nothing."""
    place.crewrun("limits", XDG_STATE_HOME=str(place.folder / "state"))
    assert "no limits are known" in place.stderr
    place.crewrun("limits", "gpt-5", "--forget", code=2, XDG_STATE_HOME=str(place.folder / "state"))
    assert "nothing is known of 'gpt-5'" in place.stderr
