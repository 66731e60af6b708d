"""What a terminal shows while a batch runs, drawn by a terminal: at each width, in an outage, when it is stopped."""

import os
import re
import signal
import socket
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from support.command import topics
from support.scripted_provider import Asked, Fickle, Reply
from support.terminal import CTRL_C, Terminal
from support.workspace import Place

# A control sequence other than a colour: moving the cursor, erasing a line.
DRAWN = re.compile(rb"\x1b\[[0-9;?]*[A-Za-ln-z]")


def closed_port() -> int:
    """A port on which nobody listens."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


@pytest.fixture(scope="module")
def provider() -> Iterator[Fickle]:
    """Refuses what asks for it, lets what asks for it hang, and answers the rest."""

    def reply(asked: Asked) -> Reply:
        if "refuse" in asked.prompt:
            return Reply(400, "no such\nparameter: " + "x" * 80)
        return Reply(hangs="hang" in asked.prompt)

    with Fickle(reply) as fickle:
        yield fickle


def watched(place: Place, provider: Fickle, *flags: str, columns: int = 80) -> Terminal:
    """A batch of 40 rows, 10 at once, of which 9 end well, 1 fails and 10 hang."""
    place.rows(*topics(5), {"topic": "refuse"}, *topics(4), *({"topic": f"hang {i}"} for i in range(30)))
    env = {**place.env, "OPENAI_BASE_URL": provider.base_url}
    return Terminal("batch", "in.jsonl", "-j", "10", *flags, cwd=place.folder, columns=columns, env=env)


AT_EACH_WIDTH = {
    200: r"10/40 · 1 failed · 10 in flight · \$0\.000\d of \$1\.00 · [\d.]+/(s|min) · [\d ms]+ left \(\d\d:\d\d\)",
    120: r"10/40 · 1 failed · 10 in flight · \$0\.000\d of \$1\.00 · [\d.]+/(s|min) · [\d ms]+ left \(\d\d:\d\d\)",
    60: r"10/40 · 1 failed · 10 in flight · (\$0\.000\d of \$1\.00 · )?[\d ms]+ left",
    40: r"10/40 · 1 failed · [\d ms]+ left",
    20: r"1 failed · (~\d+ [sm]|[\d ms]+)",
}


def shows(line: str, failure: str) -> Callable[[Terminal], object]:
    """Whether a screen has a first line like that, the last failure below it, and nothing else."""
    return lambda terminal: terminal.lines[1:] == [failure] and re.fullmatch(line, terminal.lines[0])


def test_the_line_is_as_long_as_the_terminal_is_wide(place: Place, provider: Fickle) -> None:
    """The least important goes first, never the failed count and the time left; the last failure is below, cut off.

    One run, whose window is resized.
    """
    with watched(place, provider, "--budget", "1", columns=200) as terminal:
        for columns, line in AT_EACH_WIDTH.items():
            terminal.resize(columns)
            whole = f"last failure: bad_request, line 6: HTTP 400: no such parameter: {'x' * 80}"
            terminal.until(shows(line, whole if len(whole) <= columns - 3 else whole[: columns - 4] + "…"))
        terminal.press(CTRL_C)
        terminal.until("stopping: 10 row")


def test_colours_follow_the_terminal(place: Place, provider: Fickle) -> None:
    """The failed count is red where there are failures, and not with NO_COLOR."""
    with watched(place, provider) as terminal:
        terminal.until("last failure")
        assert terminal.style("1 failed") == "red"
    place.env["NO_COLOR"] = "1"
    with watched(place, provider, "--fresh") as terminal:
        terminal.until("last failure")
        assert terminal.style("1 failed") == "default"


def test_ctrl_c_says_at_once_what_happens_and_again_ends_now(place: Place, provider: Fickle) -> None:
    """The first says how many rows are waited for and how long, the second ends: exit 130, and the cursor is back."""
    with watched(place, provider) as terminal:
        terminal.until("10 in flight")
        terminal.press(CTRL_C)
        terminal.until(lambda t: re.search(r"^stopping: 10 rows in flight, up to \d+ s; again ends now$", t.text, re.M))
        assert terminal.is_cursor_hidden
        terminal.press(CTRL_C)
        assert terminal.end() == 130
        assert "stopped: interrupted; 10 rows in flight were given up" in terminal.text
        assert not terminal.is_cursor_hidden
        assert "^C" not in terminal.text
    assert len(place.results.read_text().splitlines()) == 10


def test_a_closed_port_is_named_at_once_and_not_waited_for(place: Place) -> None:
    """The cause with its address and how long the run waits; Ctrl-C ends within the second, and the state is kept."""
    place.rows(*topics(40))
    port = closed_port()
    env = {**place.env, "OPENAI_BASE_URL": f"http://127.0.0.1:{port}/v1"}
    with Terminal("batch", "in.jsonl", cwd=place.folder, env=env) as terminal:
        words = rf"waiting: connection refused at 127\.0\.0\.1:{port} \(since \d s, gives up in \d+ s\)"
        terminal.until(lambda terminal: re.search(words, terminal.text), timeout=5)
        terminal.press(CTRL_C)
        assert terminal.end(timeout=5) == 130
        assert "8 rows in flight were given up" in terminal.text
    assert len(place.batch()) == 40


def test_a_limit_that_is_waited_for_is_named_with_its_time(place: Place) -> None:
    """A Retry-After in the line, or below it where the terminal is narrow; a stop does not wait for it."""
    place.rows(*topics(40))
    words = r"waiting: rate limit of gpt-4\.1-mini \(resets in [45] m"
    with Fickle(lambda _: Reply(429, "slow down", headers={"retry-after": "300"})) as limited:
        env = {**place.env, "OPENAI_BASE_URL": limited.base_url}
        with Terminal("batch", "in.jsonl", cwd=place.folder, columns=120, env=env) as terminal:
            terminal.until(lambda terminal: re.search(f" · {words}", terminal.text))
            terminal.resize(60)
            terminal.until(lambda terminal: re.search(f"^{words}", terminal.text, re.MULTILINE))
            terminal.press(CTRL_C)
            assert terminal.end(timeout=5) == 130


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        (["--rpm", "2"], r"waiting: --rpm 2 \(next in \d+ s\)"),
        (["--budget", "0.0015", "-j", "30"], r"waiting: budget: \$0\.00\d* of \$0\.0015 spent, the rest is reserved"),
    ],
    ids=["--rpm", "--budget"],
)
def test_the_users_own_limits_are_named_as_the_user_did(
    place: Place, provider: Fickle, flags: list[str], words: str
) -> None:
    """The flag with its value, and what is spent of the budget."""
    place.crew(llm="{model: gpt-4.1-mini, max_tokens: 50}")
    with watched(place, provider, *flags, columns=200) as terminal:
        terminal.until(lambda terminal: re.search(words, terminal.text))


@pytest.mark.parametrize(
    ("flags", "total"),
    [(["--limit", "20"], r"10/20"), (["--offset", "5"], r"5/35"), (["--shard", "1/2"], r"[3-8]/~?(1\d|2\d)")],
    ids=["--limit", "--offset", "--shard"],
)
def test_the_total_is_that_of_the_rows_to_run(place: Place, provider: Fickle, flags: list[str], total: str) -> None:
    """Of a shard it is an estimate until the input is read."""
    with watched(place, provider, *flags) as terminal:
        terminal.until(lambda terminal: re.match(rf"{total} · \d failed · 10 in flight · ", terminal.text))


def test_results_in_one_terminal_and_progress_in_another_are_drawn(place: Place, provider: Fickle) -> None:
    """Results that go to a file or a pipe leave the terminal to the display, also with `-o -`."""
    out, theirs = os.pipe()
    place.rows(*topics(5), *({"topic": f"hang {i}"} for i in range(5)))
    env = {**place.env, "OPENAI_BASE_URL": provider.base_url}
    with Terminal("batch", "in.jsonl", "-o", "-", cwd=place.folder, env=env, stdout=theirs) as terminal:
        terminal.until(lambda terminal: re.match(r"5/10 · 0 failed · 5 in flight · ", terminal.text))
    os.close(out)


def test_max_rpm_of_a_crew_is_named(place: Place, provider: Fickle) -> None:
    """It is what the rows of a project wait for, and set where nobody looks."""
    place.crew(more="max_rpm: 2\n")
    with watched(place, provider, columns=120) as terminal:
        terminal.until(lambda terminal: re.search(r"waiting: max_rpm 2 of the crew \(next in \d+ s\)", terminal.text))


def test_retries_are_named_with_what_failed(place: Place) -> None:
    """When no call is out, but all wait for their next attempt."""
    place.rows(*topics(1))
    with Fickle(lambda _: Reply(500, "out of order", headers={"retry-after": "30"})) as broken:
        env = {**place.env, "OPENAI_BASE_URL": broken.base_url}
        with Terminal("batch", "in.jsonl", cwd=place.folder, columns=120, env=env) as terminal:
            words = r"waiting: retry after HTTP 500: out of order \(next in \d+ s\)"
            terminal.until(lambda terminal: re.search(words, terminal.text))
            terminal.press(CTRL_C)
            assert terminal.end(timeout=5) == 130


def test_a_stop_that_is_no_signal_says_so_too(place: Place, provider: Fickle) -> None:
    """What stopped the run, how many rows are waited for, and the key that ends it now: one press is enough then."""
    with watched(place, provider, "--max-failures", "1", columns=200) as terminal:
        words = r"stopping: \d+ rows in flight, up to \d+ s; Ctrl-C ends now · 1 of \d+ finished rows failed"
        terminal.until(lambda terminal: re.search(words, terminal.text))
        terminal.press(CTRL_C)
        assert terminal.end(timeout=5) == 4


def test_a_signal_from_elsewhere_ends_a_terminal_properly(place: Place, provider: Fickle) -> None:
    """SIGTERM three times: the last ends the process at once, and the cursor is back."""
    with watched(place, provider) as terminal:
        terminal.until("10 in flight")
        terminal.signal(signal.SIGTERM)
        terminal.until("again ends now · terminated")
        terminal.signal(signal.SIGTERM)
        assert terminal.end() == 143
        assert not terminal.is_cursor_hidden


@pytest.mark.parametrize("env", [{"TERM": "dumb"}, {"TERM": ""}], ids=["dumb", "no TERM"])
def test_a_terminal_that_cannot_draw_gets_plain_lines(place: Place, env: dict[str, str]) -> None:
    """Nothing moves the cursor."""
    place.rows(*topics(3))
    with Terminal("batch", "in.jsonl", cwd=place.folder, env={**place.env, **env}) as terminal:
        assert terminal.end() == 0
    assert DRAWN.search(terminal.written) is None


def test_results_on_the_same_terminal_are_not_torn(place: Place) -> None:
    """`-o -` on a terminal: whole lines of JSON, and progress as plain lines between them."""
    place.rows(*topics(3))
    with Terminal("batch", "in.jsonl", "-o", "-", cwd=place.folder, env=place.env) as terminal:
        assert terminal.end() == 0
    assert DRAWN.search(terminal.written) is None
    assert terminal.written.count(b'"status":"ok"') == 3


def test_a_window_without_size_is_drawn_as_80_columns(place: Place, provider: Fickle) -> None:
    """As `docker run -t` has it at first."""
    with watched(place, provider, columns=80) as terminal:
        terminal.until("last failure")
        terminal.resize(0, 0)
        terminal.until("10 in flight")


def test_rich_in_a_pipe_is_plain(tmp_path: Path, place: Place) -> None:
    """It says so, and draws nothing."""
    place.rows(*topics(3))
    place.batch("--progress", "rich", "-m", "offline")
    first, *_ = place.stderr.splitlines()
    assert first == "--progress rich: standard error is no terminal to draw on; a line every 10 s instead"
    assert "\x1b" not in place.stderr
