"""Where result lines go when something stands in the way: another run, an older file, a reader that stops."""

import os
import signal
from pathlib import Path

import pytest
from support import command as own_process
from support.command import CREW, parse_rows, read_rows
from support.forks import crewrun, shell, start


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A crew and 60 rows."""
    (tmp_path / "crew.yaml").write_text(CREW)
    (tmp_path / "in.jsonl").write_text("".join(f'{{"topic": "owl {n}"}}\n' for n in range(60)))
    return tmp_path


def test_fresh_through_a_link_leaves_the_link(folder: Path) -> None:
    """What it names is moved aside, with its state beside it."""
    (folder / "real.jsonl").write_text("old\n")
    (folder / "link.jsonl").symlink_to("real.jsonl")
    done = crewrun("batch", "in.jsonl", "-o", "link.jsonl", "--fresh", "-m", "offline", "-q", cwd=folder)
    assert (done.returncode, (folder / "link.jsonl").is_symlink()) == (0, True)
    assert len(read_rows(folder / "real.jsonl")) == 60
    assert (folder / "real.1.jsonl").read_text() == "old\n"
    assert (folder / "real.jsonl.crewrun").is_dir()


@pytest.mark.parametrize("ordered", ["", "--ordered"])
def test_a_reader_that_has_gone_ends_the_run_quietly(folder: Path, ordered: str) -> None:
    """`| head -1`: no traceback, exit code 141, and the summary is written."""
    command = f"crewrun batch in.jsonl -m 'offline?jitter=0.1' -j 20 -o - {ordered} --summary s.json"
    done = shell(f"set -o pipefail; {command} | head -1", folder)
    assert (done.returncode, done.stderr) == (141, "")
    assert len(parse_rows(done.stdout)) == 1
    assert '"exit_code": 141' in (folder / "s.json").read_text()


def test_a_reader_that_does_not_read_cannot_keep_a_run_from_being_stopped(folder: Path) -> None:
    """In order, with lines that wait for the pipe: a signal ends it, once the line that was begun had a moment more."""
    (folder / "in.jsonl").write_text("".join(f'{{"topic": "{"owl" * 3000} {n}"}}\n' for n in range(300)))
    run = start("batch", "in.jsonl", "-m", "offline", "-o", "-", "-j", "20", "--ordered", "--grace", "0.2", cwd=folder)
    assert run.stdout is not None
    run.stdout.read(10)  # it has begun to write; nobody reads on
    run.send_signal(signal.SIGINT)
    assert run.wait(timeout=30) == 130
    run.communicate()


@pytest.mark.parametrize("suffix", ["jsonl", "csv"])
def test_strict_reads_a_named_pipe_once(folder: Path, suffix: str) -> None:
    """Process substitution and FIFOs cannot be read twice, so they are copied first."""
    text = "topic\\nowls\\nbats\\n" if suffix == "csv" else '{\\"topic\\": 1}\\n{\\"topic\\": 2}\\n'
    command = f'mkfifo rows.{suffix}; printf "{text}" > rows.{suffix} & '
    done = shell(f"{command} crewrun batch rows.{suffix} -m offline --strict -o - -q", folder)
    assert (done.returncode, len(parse_rows(done.stdout))) == (0, 2)


def test_ctrl_c_ends_a_run_that_waits_for_a_pipe_to_open(folder: Path) -> None:
    """Nothing has been sent, so nothing is lost."""
    os.mkfifo(folder / "rows.jsonl")
    run = start("batch", "rows.jsonl", "-m", "offline", "-o", "-", cwd=folder)
    while "fifo_open" not in waiting_in(run.pid) and "wait_for_partner" not in waiting_in(run.pid):
        assert run.poll() is None
        if not waiting_in(run.pid):
            break
    run.send_signal(signal.SIGINT)
    run.communicate(timeout=30)
    assert run.returncode == 130


def waiting_in(pid: int) -> str:
    """The kernel function that a process sleeps in; empty where the system does not say."""
    try:
        return Path(f"/proc/{pid}/wchan").read_text()
    except OSError:
        return ""


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["--summary", "-"], "--summary -: standard output is for result lines; name a file, or /dev/stderr"),
        (["--summary", "in.jsonl"], "--summary in.jsonl: is the file of the rows; name another"),
        (["-m", ""], "--model is empty; name one, or leave it out"),
        (["-m", "openai/"], "model 'openai/' names no model; write it as gpt-4.1-mini or provider/model"),
    ],
    ids=" ".join,
)
def test_flags_that_cannot_work_are_refused(folder: Path, flags: list[str], message: str) -> None:
    """Before the first call, without a traceback."""
    if "-m" not in flags:
        flags = [*flags, "-m", "offline"]
    done = crewrun("batch", "in.jsonl", *flags, cwd=folder)
    assert (done.returncode, done.stderr) == (2, f"crewrun: {message}\n")


def test_a_proxy_that_cannot_be_used_is_refused(folder: Path) -> None:
    """And not reported as a fault of every row."""
    env = {"ALL_PROXY": "socks5://127.0.0.1:1080", "OPENAI_API_KEY": "x"}
    done = crewrun("batch", "in.jsonl", "-m", "gpt-4o", cwd=folder, env=env)
    assert done.returncode == 2
    assert "is not an http proxy" in done.stderr


def test_a_flag_for_failures_overrules_what_the_file_says_of_them(folder: Path) -> None:
    """`fail_fast` in the file and --max-failures on the command line say the same thing."""
    (folder / "crew.yaml").write_text(CREW + "batch: {fail_fast: true}\n")
    flags = ["-m", "offline?fail=1", "-o", "-", "-q", "-j", "1"]
    assert len(parse_rows(crewrun("batch", "in.jsonl", *flags, cwd=folder).stdout)) == 1
    assert len(parse_rows(crewrun("batch", "in.jsonl", *flags, "--max-failures", "3", cwd=folder).stdout)) == 3


@pytest.mark.parametrize(("redirection", "code"), [("> /dev/full", 1), (">&-", 2)])
def test_an_answer_that_has_nowhere_to_go_is_no_traceback(folder: Path, redirection: str, code: int) -> None:
    """`crewrun run`, one kickoff."""
    done = (own_process.shell if "&-" in redirection else shell)(
        f"crewrun run -i topic=owls -m offline {redirection}", folder
    )
    assert done.returncode == code
    assert "Traceback" not in done.stderr
