"""`crewrun status RUN... --watch`: the line of counters of runs of other processes, until they have ended."""

import json
import signal
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING

from crewrun.cli.display import is_drawable, news_of
from crewrun.cli.live_line import BETWEEN, Counts, counts_from, duration_left, full_line
from crewrun.cli.setup import put_data, tell
from crewrun.inspect.live import LiveRun, look_at
from crewrun.inspect.view import find_run, nearby

if TYPE_CHECKING:
    from crewrun.batch.sink import StreamSink
    from crewrun.cli.console import Lines
    from crewrun.runs.folder import RunFolder

_EVERY_S = 1.0
_PLAIN_S = 10.0


class _Stopped(Exception):
    def __init__(self, number: signal.Signals) -> None:
        super().__init__(number)
        self.number = number


def watch(stdout: "StreamSink", runs: Sequence[str], *, as_json: bool) -> signal.Signals | None:
    """Show the runs until none is going any more. Returns the signal that ended it before.

    On a terminal the lines are redrawn every second; else there is one every ten seconds and at news, or every second
    a JSON object for each run. Raises UsageError for what is no run.
    """
    folders = {run: find_run(run) for run in runs}
    try:
        with _signals():
            if as_json:
                _follow_as_json(stdout, folders)
            elif stdout.is_terminal and is_drawable(sys.stderr):
                _draw(folders)
            else:
                _follow(stdout, folders)
    except _Stopped as stopped:
        return stopped.number
    return None


@contextmanager
def _signals() -> Iterator[None]:
    """In the block a signal ends the watching, and the terminal is put in order before the process ends."""

    def stop(number: int, frame: FrameType | None) -> None:
        raise _Stopped(signal.Signals(number))

    numbers = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
    before = {number: signal.getsignal(number) for number in numbers}
    for number in numbers:
        if before[number] is not signal.SIG_IGN:
            signal.signal(number, stop)
    try:
        yield
    finally:
        for number in numbers:
            signal.signal(number, before[number])


def _looks(folders: "dict[str, RunFolder]") -> Iterator[dict[str, LiveRun]]:
    """All runs every second, until none is going."""
    while True:
        live = {run: look_at(folder) for run, folder in folders.items()}
        if not any(run.is_going for run in live.values()):
            return
        yield live
        time.sleep(_EVERY_S)


def _follow_as_json(stdout: "StreamSink", folders: "dict[str, RunFolder]") -> None:
    for live in _looks(folders):
        for run, now in live.items():
            record = {"run": str(folders[run].path), "is_going": now.is_going, "progress": now.progress}
            put_data(stdout, json.dumps(record))


def _follow(stdout: "StreamSink", folders: "dict[str, RunFolder]") -> None:
    shown, waits = -_PLAIN_S, {run: set[tuple[str, str]]() for run in folders}
    for live in _looks(folders):
        counts = {run: _counts(now) for run, now in live.items()}
        news = {run: news_of(count.waits) for run, count in counts.items() if count is not None}
        is_news = any(not new <= waits[run] for run, new in news.items())
        if is_news or time.monotonic() - shown >= _PLAIN_S:
            shown = time.monotonic()
            waits |= news
            now = datetime.now().astimezone()
            tell(stdout, [f"{now:%H:%M:%S} {_line(run, live[run], counts[run], now, folders)}" for run in folders])


def _draw(folders: "dict[str, RunFolder]") -> None:
    from crewrun.cli.console import LiveArea

    screen = LiveArea()
    screen.start()
    try:
        for live in _looks(folders):
            now = datetime.now().astimezone()
            screen.draw(lambda width, live=live, now=now: _lines(live, width, now))  # type: ignore[misc]  # bound here
    finally:
        screen.stop()


def _lines(live: dict[str, LiveRun], width: int, now: datetime) -> "Lines":
    from crewrun.cli.console import fitted, lines

    report: Lines = []
    for run, look in live.items():
        counts = _counts(look)
        if len(live) > 1:
            report.append(fitted(_name(run), width, "bold"))
        if counts is None:
            report.append(fitted(_without_counts(look), width, "dim"))
            continue
        report += lines(counts, now, width)
        if look.silent_s:
            report.append(fitted(_silence(look), width, "yellow"))
    return report


def _line(run: str, look: LiveRun, counts: Counts | None, now: datetime, folders: "dict[str, RunFolder]") -> str:
    """One line for logs, with the run's name if there are several."""
    words = [_without_counts(look)] if counts is None else [full_line(counts, now)]
    words += [_silence(look)] if look.silent_s else []
    return BETWEEN.join(words) if len(folders) == 1 else f"{_name(run)}: {BETWEEN.join(words)}"


def _counts(look: LiveRun) -> Counts | None:
    return None if look.progress is None else counts_from(look.progress)


def _without_counts(look: LiveRun) -> str:
    return "about to begin" if look.is_going else "has ended"


def _silence(look: LiveRun) -> str:
    return f"no sign of life for {duration_left(look.silent_s)}"


def _name(run: str) -> str:
    return nearby(Path(run))
