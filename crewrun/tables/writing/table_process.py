"""`process_pieces`: a table that is made by another process, where its library would double the memory of this one.

pyarrow takes 65 MB as soon as it writes (measured with 26.0), which a run of many rows has no room for. The process
reads the lines from their file, writes the table to its standard output and what is to be said to its standard error.
It ends when this process does, because nobody reads any more.
"""

import errno
import json
import os
import select
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Final

from crewrun.tables.writing.layout import Table, TableLayout

_PIECE_BYTES: Final = 1 << 18
_CHECK_EVERY_S: Final = 0.1  # how late a signal may be noticed while the process reads
# The modules are those of this process, wherever it has them from.
_PROGRAM: Final = (
    "import json, sys; sys.path[:] = json.loads(sys.argv[1]); "
    "from crewrun.tables.writing.table_process import main; main(*sys.argv[2:])"
)


def process_pieces(
    path: Path, name: str, layout: TableLayout, check: Callable[[], None], notes: list[str]
) -> Iterator[bytes]:
    """The file of a table of the lines at `path`. The other arguments are those of `Table`.

    Raises OSError when the process fails, and ValueError when a line is no result.
    """
    words = [json.dumps(sys.path), str(path), name, json.dumps(layout.to_json())]
    with subprocess.Popen(  # noqa: S603  (this interpreter)
        [sys.executable, "-P", "-c", _PROGRAM, *words],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        start_new_session=True,  # a signal of the terminal is for this process, which then gives up
    ) as process:
        try:
            yield from _read(process, check)
            message = (process.stderr.read() if process.stderr is not None else b"").strip().split(b"\n")[-1]
            code = process.wait()
        except BaseException:
            process.kill()
            raise
    if code != 0:
        raise OSError(errno.EIO, f"the process that makes it ended with {code}: {message.decode(errors='replace')}")
    answer: dict[str, Any] = json.loads(message)
    if answer["damage"] is not None:
        raise ValueError(answer["damage"])
    notes += answer["notes"]


def main(path: str, name: str, layout: str) -> None:
    """What the other process does."""
    notes: list[str] = []
    damage = None
    table = Table(name, TableLayout.of_json(json.loads(layout)), lambda: _lines(path))
    try:
        for piece in table.pieces(None, notes):
            sys.stdout.buffer.write(piece)
        sys.stdout.buffer.flush()
    except (ValueError, TypeError, AttributeError, RecursionError) as wrong:
        damage = str(wrong)
    sys.stderr.buffer.write(json.dumps({"notes": notes, "damage": damage}).encode() + b"\n")


def _lines(path: str) -> Iterator[bytes]:
    with open(path, "rb", buffering=_PIECE_BYTES) as file:
        yield from file


def _read(process: "subprocess.Popen[bytes]", check: Callable[[], None]) -> Iterator[bytes]:
    """What the process writes. `check` is called in the meantime too, before the first piece."""
    assert process.stdout is not None  # noqa: S101  (it is a pipe)
    fd = process.stdout.fileno()
    while True:
        check()
        if select.select([fd], [], [], _CHECK_EVERY_S)[0]:
            piece = os.read(fd, _PIECE_BYTES)
            if not piece:
                return
            yield piece
