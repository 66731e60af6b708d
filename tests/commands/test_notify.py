"""`--notify` runs a command when a batch ends, however it ends, with the summary on its standard input."""

import json
import os
import shutil
import signal
import socket
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from threading import Thread
from typing import Any

import pytest
from support.command import topics
from support.paths import MANUAL
from support.workspace import KEY, RESULTS, STATE, Place

KEEP = "env > told.env; cat > told.json"


def record_of(place: Place) -> dict[str, Any]:
    """What the command got; it ran once."""
    record: dict[str, Any] = json.loads((place.folder / "told.json").read_text())
    (place.folder / "told.json").unlink()
    return record


def environment_of(place: Place) -> dict[str, str]:
    return dict(line.split("=", 1) for line in (place.folder / "told.env").read_text().splitlines() if "=" in line)


def wait_for(path: Path) -> None:
    """Wait until a file has been written whole: what writes it is no child of this process."""
    while not (path.exists() and path.read_bytes().endswith(b"}\n")):
        os.sched_yield()


@pytest.fixture
def place(place: Place) -> Place:
    place.rows(*topics(2), "nonsense")
    return place


def test_the_summary_is_on_its_standard_input(place: Place) -> None:
    """As --summary writes it, with a text for people and where the run is; the environment has what a mail needs."""
    place.batch("-m", "offline", "-q", "--summary", "s.json", "--notify", KEEP, code=3)
    record, env = record_of(place), environment_of(place)
    text = record["text"]
    assert record == {
        **place.summary(),
        "text": text,
        "inputs": "in.jsonl",
        "results": str(place.results),
        "run": str(place.folder / STATE),
        "command": f"crewrun batch in.jsonl -m offline -q --summary s.json --notify '{KEEP}'",
        "host": socket.gethostname(),
        "ended_at": record["ended_at"],
    }
    assert text.startswith("2 ok, 1 failed in ")
    assert text.endswith(f"; to run what failed again: {record['command']}")
    assert {name: env[f"CREWRUN_{name}"] for name in ("EXIT_CODE", "TEXT", "RESULTS", "RUN")} == {
        "EXIT_CODE": "3",
        "TEXT": text,
        "RESULTS": record["results"],
        "RUN": record["run"],
    }
    assert (place.stdout, place.stderr) == ("", "")


def test_what_it_prints_goes_to_stderr(place: Place) -> None:
    """Results on stdout stay results."""
    place.rows(*topics(1))
    place.batch("-m", "offline", "-q", "-o", "-", "--notify", "echo said; cat >/dev/null")
    assert ([json.loads(line)["status"] for line in place.stdout.splitlines()], place.stderr) == (["ok"], "said\n")


@pytest.mark.parametrize("section", ["crew file", "environment"])
def test_it_may_stand_elsewhere(place: Place, section: str) -> None:
    """In the crew file's batch: or in CREWRUN_NOTIFY, which its own runs of crewrun do not get."""
    place.crew(more=f"batch:\n  notify: {KEEP}\n" if section == "crew file" else "")
    env = {"CREWRUN_NOTIFY": KEEP} if section == "environment" else {}
    place.batch("-m", "offline", code=3, **env)
    assert record_of(place)["exit_code"] == 3
    assert "CREWRUN_NOTIFY" not in environment_of(place)
    place.crewrun("retry", RESULTS, code=3)
    assert record_of(place)["command"] == f"crewrun retry {place.results}"


@pytest.mark.parametrize(
    ("args", "code", "stopped"),
    [
        (["missing.jsonl"], 2, "missing.jsonl: no such file"),
        (["in.jsonl", "--crew", "missing.yaml"], 2, "missing.yaml: no such file"),
        (["in.jsonl", "-m", "gpt-4.1-mini", "--budget", "0.0000001", "-j", "1"], 5, "budget"),
        (["in.jsonl", "-m", "offline", "-o", "/dev/full"], 1, "/dev/full: cannot be written: No space left on device"),
        (["in.jsonl", "-m", "offline", "--summary", "/dev/full"], 1, "--summary /dev/full: cannot be written"),
        (["in.jsonl", "-m", "offline", "--fail-fast", "-j", "1"], 4, "1 of 3 finished rows failed (--fail-fast)"),
    ],
    ids=["no input", "no crew", "budget", "full", "no summary", "failed"],
)
def test_every_end_is_told(place: Place, args: list[str], code: int, stopped: str) -> None:
    """Refusals before the first row too: the night has produced nothing, whoever is to blame."""
    place.crewrun("batch", *args, "--notify", KEEP, code=code)
    record = record_of(place)
    assert (record["schema"], record["exit_code"]) == ("crewrun.summary/1", code)
    assert stopped in record["stopped"]
    assert stopped in record["text"]
    assert environment_of(place)["CREWRUN_EXIT_CODE"] == str(code)


def test_a_bug_is_told(place: Place) -> None:
    """An exception that crewrun does not expect, with the rows that the journal has."""
    place.batch("-m", "offline", code=3)
    (place.folder / "sitecustomize.py").write_text(
        "import crewrun.batch.sink as s\ndef fail(self): raise RuntimeError('a bug')\ns.FileSink.fault = fail\n"
    )
    from support import command

    done = command.crewrun(
        "batch", "in.jsonl", "-m", "offline", "--notify", KEEP, cwd=place.folder, env={"PYTHONPATH": str(place.folder)}
    )
    record = record_of(place)
    assert (done.returncode, record["exit_code"], record["stopped"]) == (1, 1, "RuntimeError: a bug")
    assert record["rows"] == {"ok": 2, "failed": 1}


@pytest.mark.parametrize("lock", ["fail", "skip"])
def test_a_run_that_another_has_is_told_unless_it_is_skipped(place: Place, lock: str) -> None:
    """--lock skip is for jobs that overlap: nothing has ended then."""
    place.rows({"topic": "FAIL-HANG"})
    with place.forks.start("batch", "in.jsonl", cwd=place.folder, env=place.env) as other:
        place.mock.wait_in_flight(1)
        place.batch("--lock", lock, "--notify", KEEP, code=75 if lock == "fail" else 0)
        other.kill()
    assert (place.folder / "told.json").exists() == (lock == "fail")


def test_a_plan_tells_nothing(place: Place) -> None:
    """Nothing runs, so nothing ends."""
    place.batch("-m", "offline", "--dry-run", "--notify", KEEP)
    assert not (place.folder / "told.json").exists()


def test_a_run_that_is_killed_is_told(place: Place) -> None:
    """By the process next to it, with the rows that the journal has, and how to go on."""
    place.rows(*topics(2), {"topic": "FAIL-HANG"})
    with place.forks.start(
        "batch", "in.jsonl", "-j", "1", "--notify", KEEP, cwd=place.folder, env=place.env
    ) as process:
        place.mock.wait_in_flight(1)
        while len(place.results.read_bytes().splitlines()) < 2:
            assert process.poll() is None
        process.kill()
        process.wait()
    wait_for(place.folder / "told.json")
    record = record_of(place)
    assert (record["exit_code"], record["rows"], record["in_all"]["usage"]["calls"]) == (
        None,
        {"ok": 2, "failed": 0},
        2,
    )
    assert record["stopped"] == "crewrun was killed, or ended without a word"
    assert record["text"] == f"2 ok, 0 failed; stopped: {record['stopped']}; to go on: {record['command']}"
    assert environment_of(place)["CREWRUN_EXIT_CODE"] == ""


def test_user_code_that_ends_the_process_is_told(place: Place) -> None:
    """`os._exit` in a row leaves nobody to say so."""
    (place.folder / "ends.py").write_text("import os\ndef run(topic):\n    os._exit(9)\n")
    place.rows(*topics(1))
    place.batch("--crew", "ends.py:run", "--notify", KEEP, code=9)
    wait_for(place.folder / "told.json")
    assert record_of(place)["text"].endswith("stopped: crewrun was killed, or ended without a word")


def test_an_interrupted_run_is_told_once(place: Place) -> None:
    """With its summary, after the rows in flight were given up."""
    place.rows({"topic": "FAIL-HANG"})
    with place.forks.start(
        "batch", "in.jsonl", "--notify", "cat >> told.json", "--grace", "0", cwd=place.folder, env=place.env
    ) as process:
        place.mock.wait_in_flight(1)
        process.send_signal(signal.SIGTERM)
        assert process.wait(30) == 143
    record = record_of(place)
    assert (record["exit_code"], record["stopped"], record["rows"]["abandoned"]) == (143, "terminated", 1)


@pytest.mark.parametrize(
    ("command", "warning"),
    [
        ("cat >/dev/null; exit 3", "--notify ended with 3; the run's own exit code stays"),
        ("no-such-command-here", "--notify ended with 127; the run's own exit code stays"),
        ("kill -9 $$", "--notify ended by signal 9; the run's own exit code stays"),
        ("exec <&-; true", None),
        ("sleep 5 >/dev/null 2>&1 & true", None),
    ],
)
def test_its_failure_is_a_warning(place: Place, command: str, warning: str | None) -> None:
    """The exit code stays the run's; a command that does not read, or leaves something running, does not hold it."""
    place.batch("-m", "offline", "-q", "--notify", f"{command} # {os.getpid()}", code=3)
    said = [line for line in place.stderr.splitlines() if line.startswith("warning: --notify")]
    assert said == ([f"warning: {warning}"] if warning else [])


def test_any_text_fits_its_environment(place: Place) -> None:
    """NUL, half a character and very long texts, here in the reason for a stop."""
    (place.folder / "ends.py").write_text("def run(topic):\n    raise ValueError('\\0 \\ud800 ' + 'x' * 200_000)\n")
    place.rows(*topics(20))
    place.batch("--crew", "ends.py:run", "-q", "--notify", KEEP, code=4)
    assert "failed alike" in record_of(place)["text"]
    assert "failed alike" in environment_of(place)["CREWRUN_TEXT"]
    assert place.stderr == ""


def test_a_signal_ends_it(place: Place) -> None:
    """A command that hangs is not waited for by one who presses Ctrl-C; the exit code is the run's.

    Often crewrun is still starting the command then. A process that it left would keep stderr open.
    """
    os.mkfifo(place.folder / "started")
    with place.forks.start(
        "batch", "in.jsonl", "-m", "offline", "-q", "--notify", "echo > started; sleep 600", cwd=place.folder
    ) as process:
        (place.folder / "started").read_text()
        process.send_signal(signal.SIGINT)
        assert process.wait(30) == 3
        assert process.stderr.read() == "warning: --notify was ended by a signal\n"


@pytest.mark.soak
def test_it_may_take_a_minute(place: Place) -> None:
    """Then it is ended: a job of cron that never ends keeps the next one from starting."""
    with place.forks.start(
        "batch", "in.jsonl", "-m", "offline", "-q", "--notify", "sleep 600", cwd=place.folder
    ) as run:
        assert run.wait(150) == 3
        assert run.stderr.read() == "warning: --notify did not end within 60 s, and was ended\n"


def test_it_gets_no_secrets(place: Place) -> None:
    """A key in the command is not in what it gets or in the run folder; a retry asks for the command again."""
    command = f"{KEEP} # {KEY}"
    place.batch("-m", "offline", "--notify", command, code=3)
    assert KEY not in (place.folder / "told.json").read_text()
    assert KEY not in (place.folder / STATE / "manifest.json").read_text()
    assert KEY not in place.stderr
    record_of(place)
    place.crewrun("retry", RESULTS, code=2)
    assert "export CREWRUN_NOTIFY with all of it" in place.stderr
    place.crewrun("retry", RESULTS, code=3, CREWRUN_NOTIFY=command)
    assert record_of(place)["exit_code"] == 3


class _Webhook(HTTPServer):
    got: dict[str, Any] | None = None


class _Hook(BaseHTTPRequestHandler):
    server: _Webhook

    def do_POST(self) -> None:
        self.server.got = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        self.send_response(200)
        self.end_headers()

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002  (as its base calls it)
        """Says nothing."""


@pytest.mark.skipif(shutil.which("curl") is None, reason="needs curl")
def test_a_webhook_takes_it_as_it_is(place: Place) -> None:
    """Slack and others show `text`; the address, which is a secret, comes from the environment."""
    with _Webhook(("127.0.0.1", 0), _Hook) as server:
        thread = Thread(target=server.handle_request)
        thread.start()
        recipes = (MANUAL / "recipes.md").read_text("utf-8")
        hook = recipes.split("    --notify '")[1].partition("'\n")[0]
        assert hook.startswith("curl ")
        url = f"http://127.0.0.1:{server.server_port}/hook"
        place.batch("-m", "offline", "-q", "--notify", hook, code=3, SLACK_URL=url)
        thread.join()
        assert server.got is not None
        assert server.got["text"].startswith("2 ok, 1 failed in ")
    assert place.stderr == ""
