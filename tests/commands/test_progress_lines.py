"""Progress where nothing is drawn: plain lines and JSON with their times, and what is said when a run stops."""

import json
import re
import signal
import socket
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta

import pytest
from support.command import topics
from support.forks import Fork
from support.workspace import Place


@pytest.fixture
def closed(place: Place) -> str:
    """The address of a port on which nobody listens, for a run of 20 rows."""
    place.rows(*topics(20))
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{probe.getsockname()[1]}"
    place.env["OPENAI_BASE_URL"] = f"http://{address}/v1"
    return address


def started(place: Place, *flags: str) -> Fork:
    return place.forks.start("batch", "in.jsonl", "-j", "4", *flags, cwd=place.folder, env=place.env)


def until(lines: Iterator[str], condition: Callable[[str], object]) -> str:
    """The first line for which the condition holds."""
    return next(line for line in lines if condition(line)).rstrip("\n")


def test_a_log_names_an_outage_at_once(place: Place, closed: str) -> None:
    """A plain line every ten seconds has the local time; one about an outage does not wait for its turn."""
    with started(place, "--progress", "plain") as process:
        line = until(process.stderr, lambda line: "waiting" in line)
        assert re.fullmatch(
            rf"\d\d:\d\d:\d\d 0/20 · 0 failed · 4 in flight · \$0\.00 · waiting: connection refused at {closed} "
            r"\(since \d s, gives up in \d+ s\)",
            line,
        )
        process.send_signal(signal.SIGINT)
        words = "stopping: 4 rows in flight given up, as they wait for a provider that does not answer"
        assert re.fullmatch(rf"\d\d:\d\d:\d\d {words}", until(process.stderr, lambda line: "stopping" in line))
        assert process.wait(10) == 130


def test_json_has_values_of_what_is_waited_for_and_of_the_stop(place: Place, closed: str) -> None:
    """Nothing has to be parsed out of words; times have a zone."""
    with started(place, "--progress", "json") as process:
        line = json.loads(until(process.stderr, lambda line: json.loads(line)["waiting"]))
        (wait,) = line["waiting"]
        assert (wait["kind"], wait["address"], wait["reason"], wait["endpoint"]) == (
            "outage",
            closed,
            "Connection refused",
            "openai/gpt-4.1-mini",
        )
        assert wait["since_s"] + wait["left_s"] == pytest.approx(10, abs=0.1)
        assert abs(datetime.now(UTC) - datetime.fromisoformat(line["at"])) < timedelta(minutes=1)
        process.send_signal(signal.SIGTERM)
        stopping = json.loads(until(process.stderr, lambda line: "stopping" in json.loads(line)))["stopping"]
        assert (stopping["kind"], stopping["why"], stopping["in_flight"]) == ("terminated", "terminated", 4)
        assert process.wait(10) == 143


@pytest.mark.parametrize(("flags", "lines"), [(["--progress", "none"], 1), (["-q"], 0)], ids=["none", "quiet"])
def test_a_stop_is_said_without_progress_but_not_when_quiet(
    place: Place, closed: str, flags: list[str], lines: int
) -> None:
    """A row in flight is no progress; -q is silence."""
    with started(place, "--outage-patience", "1m", *flags) as process:
        while not (place.folder / "in.results.jsonl.crewrun" / "progress.json").exists():
            pass
        process.send_signal(signal.SIGINT)
        _, stderr = process.communicate()
    assert process.returncode == 130
    assert len([line for line in stderr.splitlines() if line.startswith("stopping: ")]) == lines
    assert (stderr == "") is (lines == 0)


def test_another_address_has_not_answered_yet(place: Place, closed: str) -> None:
    """A run goes on at an address where nobody listens: it is waited for as in a new run, not as in an outage."""
    place.batch("--limit", "1", OPENAI_BASE_URL=place.mock.base_url)
    with started(place, "--progress", "json") as process:
        line = json.loads(until(process.stderr, lambda line: "{" in line and json.loads(line)["waiting"]))
        assert line["waiting"][0]["left_s"] < 10
        process.send_signal(signal.SIGINT)
        assert process.wait(10) == 130
