"""Results on standard output: a file that may lose lines to others, and a pipe that may be read slowly."""

import os
from collections.abc import Callable
from pathlib import Path

import anyio
import pytest

from crewrun.batch.sink import StreamSink
from crewrun.errors import OutputClosed, OutputFailed

pytestmark = pytest.mark.anyio

LINES = [b"one\n", b"two\n"]


def leave(path: Path) -> None:
    """Nothing happens."""


def cut_a_byte(path: Path) -> None:
    os.truncate(path, path.stat().st_size - 1)


@pytest.mark.parametrize("flags", [0, os.O_APPEND], ids=["written", "appended"])
@pytest.mark.parametrize(
    ("meanwhile", "said"),
    [
        pytest.param(leave, None, id="left alone"),
        pytest.param(lambda path: path.write_bytes(path.read_bytes() + b"more\n"), None, id="others write too"),
        pytest.param(cut_a_byte, "cut off", id="cut off"),
        pytest.param(Path.unlink, "deleted", id="deleted"),
    ],
)
async def test_a_file_that_loses_lines_is_noticed(
    flags: int, meanwhile: Callable[[Path], None], said: str | None, tmp_path: Path
) -> None:
    """By a byte, when the run is over; what others write behind the lines is theirs."""
    path = tmp_path / "out.jsonl"
    path.write_bytes(b"before\n" if flags else b"")
    fd = os.open(path, os.O_WRONLY | flags)
    try:
        sink = StreamSink(fd)
        await sink.write(LINES)
        await sink.write(LINES)
        assert sink.lines_written == 4
        assert path.read_bytes() == (b"before\n" if flags else b"") + b"".join(LINES * 2)
        meanwhile(path)
        if said is None:
            sink.close()
            return
        with pytest.raises(OutputFailed) as lost:
            sink.close()
        assert str(lost.value) == f"standard output is a file that was {said} while the run was going"
    finally:
        os.close(fd)


async def test_a_pipe_that_is_full_holds_up_its_writer_alone() -> None:
    """The event loop goes on, and every line arrives whole; a reader that goes away is no failure of the run."""
    reading, writing = os.pipe()
    os.set_blocking(writing, False)
    line = b"x" * 99_999 + b"\n"
    read = bytearray()
    sink = StreamSink(writing)
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(sink.write, [line] * 5)
        await anyio.sleep(0.05)
        assert sink.lines_written < 5
        while len(read) < 5 * len(line):
            await anyio.wait_readable(reading)
            read += os.read(reading, 65_536)
    assert (bytes(read), sink.lines_written) == (line * 5, 5)
    os.close(reading)
    with pytest.raises(OutputClosed, match="standard output was closed"):
        await sink.write([line])
    os.close(writing)
