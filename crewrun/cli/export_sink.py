"""Where an export goes: standard output, or a file that appears when it is complete."""

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from crewrun.batch.sink import Sink
    from crewrun.inspect.view import View
    from crewrun.tables.writing.layout import TableLayout


@contextmanager
def open_sink_of(output: str | None, stdout_fd: int, is_taken: Callable[[Path], bool]) -> "Iterator[Sink]":
    """Standard output, or a file that appears when it is complete. `is_taken` tells which paths belong to the run."""
    from crewrun.batch.descriptors import copy_of
    from crewrun.batch.locations import check_output
    from crewrun.batch.sink import StreamSink, open_sink
    from crewrun.errors import UsageError

    if output is None:
        yield StreamSink(stdout_fd)
        return
    descriptor = copy_of("-o", output, stdout_fd)
    if descriptor is not None:
        yield StreamSink(descriptor, output)
        return
    check_output(output)
    path = Path(os.path.realpath(output))
    if is_taken(path):
        raise UsageError(f"-o {output}: is a file of the run itself; name another")
    if path.exists() and not path.is_file():
        device = open_sink(path)
        yield device
        device.close()
        return
    with _new_file(path, lambda part: part.replace(path)) as sink:
        yield sink


@contextmanager
def open_own_table(output: str, view: "View", layout: "TableLayout") -> "Iterator[Sink]":
    """The sink of the run's own table, which the export makes again.

    Raises RunHeld when a process works on the run, UsageError when one has while this export was made.
    """
    from crewrun.cli.setup import run_loop
    from crewrun.errors import UsageError
    from crewrun.runs.lock import RunLock
    from crewrun.runs.results_table import ResultsTable
    from crewrun.terminal import say

    path = Path(os.path.realpath(output))
    table = ResultsTable(path, view.folder, layout)
    before = table.signature

    def replace(part: Path) -> None:
        lock = RunLock(view.folder.lock)
        run_loop(lock.acquire)
        try:
            if table.signature != before:
                raise UsageError(f"{view.folder.path}: the run has gone on in the meantime, and has written {output}")
            backup = table.replace_by(part)
        finally:
            lock.release()
        if backup is not None:
            say(f"crewrun: {output}: was not as its run left it; that file is now {backup}")

    with _new_file(path, replace) as sink:
        yield sink


def is_own_table(path: Path, view: "View") -> bool:
    """Whether it is the table that the run makes of its results."""
    output = view.output
    return view.manifest.table is not None and output is not None and os.path.realpath(output) == str(path)


def is_of_run(path: Path, view: "View") -> bool:
    """Whether it is a file of the run, or has the name of one that SQLite creates and removes."""
    files = view.folder.files
    if path.name in {file.name for file in files} and path.parent.samefile(view.folder.path):
        return True
    files_of_run = (view.results, view.output, view.manifest.input_file, *files)
    return path.exists() and any(file is not None and file.exists() and path.samefile(file) for file in files_of_run)


@contextmanager
def _new_file(path: Path, put: Callable[[Path], object]) -> "Iterator[Sink]":
    """A sink that writes a new file, which `put` puts in its place when it is complete."""
    from crewrun.batch.sink import FileSink
    from crewrun.errors import OutputFailed
    from crewrun.unfinished import replacement

    try:
        with replacement(path) as part:
            sink = FileSink(part)
            yield sink
            os.fsync(sink.fd)
            sink.close()
            put(part)
    except OSError as refused:
        raise OutputFailed(f"{path}: cannot be written: {refused.strerror}") from refused
