"""`crewrun help`: a page for what users type, as Markdown in a pipe and in a pager on a terminal."""

import fcntl
import os
import pty
import re
import struct
import subprocess
import termios
from pathlib import Path

import pytest
from support.command import PROGRAM, clean_env
from support.forks import crewrun, shell
from support.paths import MANUAL

from crewrun.manual import TOPICS, page


def on_a_terminal(folder: Path, *topic: str, columns: int = 80, **env: str) -> str:
    """What `crewrun help` shows on a terminal of that width."""
    ours, theirs = pty.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 24, columns, 0, 0))
    words = [*PROGRAM, "help", *topic]
    env = clean_env(**({"TERM": "xterm-256color", "PAGER": "cat"} | env))
    with subprocess.Popen(words, cwd=folder, env=env, stdin=theirs, stdout=theirs, stderr=theirs) as process:
        os.close(theirs)
        shown = b""
        try:
            while piece := os.read(ours, 1 << 16):
                shown += piece
        except OSError:  # Linux says so when the other end is closed
            pass
        assert process.wait() == 0
    os.close(ours)
    return shown.decode().replace("\r\n", "\n")


def without_colours(text: str) -> str:
    return re.sub(r"\x1b\[[\d;]*m", "", text)


def test_the_list_has_a_line_with_a_sentence_for_each_page(tmp_path: Path) -> None:
    """In a pipe, so that `grep` finds whole entries."""
    done = crewrun("help", cwd=tmp_path)
    assert (done.returncode, done.stderr) == (0, "")
    entries = dict(re.findall(r"^  (\S+) +(.*)$", done.stdout, re.MULTILINE))
    assert entries == {topic: page(topic).summary for topic in TOPICS}


@pytest.mark.parametrize("topic", TOPICS)
def test_a_page_in_a_pipe_is_its_markdown(topic: str, tmp_path: Path) -> None:
    """As the file has it."""
    done = crewrun("help", topic, cwd=tmp_path)
    assert (done.returncode, done.stdout, done.stderr) == (0, (MANUAL / f"{topic}.md").read_text("utf-8"), "")


@pytest.mark.parametrize(
    ("words", "topic"),
    [
        pytest.param(["csv"], "tables", id="what a table is called"),
        pytest.param(["resum"], "resuming", id="a beginning"),
        pytest.param(["perf"], "performance", id="a beginning that is no command's"),
        pytest.param(["Exit", "Codes"], "troubleshooting", id="two words"),
        pytest.param(["rows.md"], "rows", id="the file"),
        pytest.param(["python_files"], "python-files", id="an underscore"),
        *(pytest.param([word], "troubleshooting", id=word) for word in ("rate_limit", "0", "3", "75", "143")),
    ],
)
def test_other_words_show_the_page_without_a_remark(words: list[str], topic: str, tmp_path: Path) -> None:
    """Nothing was guessed."""
    done = crewrun("help", *words, cwd=tmp_path)
    assert (done.returncode, done.stdout.partition("\n")[0], done.stderr) == (0, f"# {page(topic).title}", "")


def test_a_typo_shows_the_nearest_page_and_says_so(tmp_path: Path) -> None:
    """On stderr: the page may go into a file."""
    done = crewrun("help", "resumign", cwd=tmp_path)
    assert (done.returncode, done.stderr) == (0, "the manual has no 'resumign'; this is 'resuming'\n")
    assert done.stdout.startswith("# Continuing a run\n")
    assert crewrun("help", "kubernets", cwd=tmp_path).stderr == (
        "the manual has no 'kubernets'; this is 'kubernetes', of 'machines'\n"
    )


def test_a_word_without_a_page_is_looked_up_in_the_text(tmp_path: Path) -> None:
    """A flag is in several pages: they are listed with their sections."""
    done = crewrun("help", "--canary", cwd=tmp_path)
    assert (done.returncode, done.stderr) == (0, "")
    assert re.search(r"^  money +.*Forecast", done.stdout, re.MULTILINE), done.stdout
    of_a_plural = crewrun("help", "semicolon", cwd=tmp_path)
    assert re.search(r"^  tables +What is detected$", of_a_plural.stdout, re.MULTILINE), of_a_plural.stdout
    only_there = crewrun("help", "KubeRay", cwd=tmp_path)
    assert only_there.stdout.startswith("# Many machines\n")


@pytest.mark.parametrize(
    ("word", "message"),
    [
        pytest.param("p", "'p' may be performance, plan, plot, python or python-files", id="several begin so"),
        pytest.param("zzz", f"the manual has no 'zzz'; its pages are {', '.join(TOPICS)}", id="nothing is near"),
        pytest.param("--zzz", f"the manual has no '--zzz'; its pages are {', '.join(TOPICS)}", id="no flag"),
    ],
)
def test_a_topic_that_does_not_exist_is_refused_with_those_that_do(word: str, message: str, tmp_path: Path) -> None:
    """Exit 2, as for other wrong arguments."""
    done = crewrun("help", word, cwd=tmp_path)
    assert (done.returncode, done.stdout, done.stderr) == (2, "", f"crewrun: {message}\n")


@pytest.mark.parametrize("command", ["batch", "plan", "gc", "help"])
def test_the_name_of_a_command_shows_its_help(command: str, tmp_path: Path) -> None:
    """Word for word, for `plan` too, which passes its arguments on."""
    done = crewrun("help", command, cwd=tmp_path)
    assert (done.returncode, done.stdout) == (0, crewrun(command, "--help", cwd=tmp_path).stdout)
    assert f"crewrun {command}" in done.stdout


def test_no_page_has_the_name_of_a_command(tmp_path: Path) -> None:
    """It would hide the command's help."""
    refused = [topic for topic in TOPICS if crewrun(topic, "--help", cwd=tmp_path).returncode == 0]
    assert refused == []


def test_a_reader_that_leaves_is_no_error(tmp_path: Path) -> None:
    """As `| head` does."""
    done = shell("crewrun help flows | true; echo ${PIPESTATUS[0]}", tmp_path)
    assert (done.stdout.strip() in ("0", "141"), done.stderr) == (True, "")


def test_a_page_on_a_terminal_goes_through_the_pager_in_colours(tmp_path: Path) -> None:
    """No line is wider than the terminal, and links name the command that shows their page."""
    shown = on_a_terminal(tmp_path, "rows", PAGER="cat", columns=60)
    text = without_colours(shown)
    assert shown != text
    assert max(map(len, text.splitlines())) <= 60
    assert "crewrun help tables" in text
    assert "](" not in text
    numbered = on_a_terminal(tmp_path, "rows", PAGER="grep -n .")
    assert without_colours(numbered).startswith("1:")
    wide = without_colours(on_a_terminal(tmp_path, "rows", PAGER="", columns=200))
    assert 80 < max(map(len, wide.splitlines())) <= 100


def test_no_pager_is_no_error(tmp_path: Path) -> None:
    """The page is printed; without colours where the terminal has none."""
    shown = on_a_terminal(tmp_path, "rows", PAGER="no-such-pager --flag", TERM="dumb")
    assert "Rows and results" in shown
    assert "\x1b" not in shown


def test_the_list_is_wrapped_on_a_terminal(tmp_path: Path) -> None:
    """At words, with the sentences in a column of their own."""
    shown = on_a_terminal(tmp_path, columns=60, PAGER="cat")
    assert max(map(len, shown.splitlines())) <= 60
    for topic in TOPICS:
        assert re.search(rf"^  {topic} ", shown, re.MULTILINE)
    assert " ".join(shown.split()).count(page("rows").summary) == 1
