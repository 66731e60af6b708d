"""The lock of a run folder: what a process that does not get it says about the one that has it."""

import fcntl
import json
import os
import socket
from collections.abc import Iterator
from pathlib import Path

import anyio
import pytest
import trio
import trio.testing

from crewrun.errors import RunHeld
from crewrun.runs.lock import RunLock


@pytest.fixture
def held(tmp_path: Path) -> Iterator[Path]:
    """A lock file whose holder has not written who it is."""
    path = tmp_path / "lock"
    fd = os.open(path, os.O_RDWR | os.O_CREAT)
    fcntl.flock(fd, fcntl.LOCK_EX)
    yield path
    os.close(fd)


def refusal(path: Path, *, named_after_s: float) -> str:
    """Ask for the lock on a virtual clock; the holder writes who it is after that time."""

    async def name() -> None:
        await anyio.sleep(named_after_s)
        path.write_text(json.dumps({"pid": 4711, "host": socket.gethostname()}))

    async def main() -> str:
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(name)
            with pytest.raises(RunHeld) as refused:
                await RunLock(path).acquire()
            tasks.cancel_scope.cancel()
        return str(refused.value)

    return trio.run(main, clock=trio.testing.MockClock(autojump_threshold=0))


def test_a_holder_that_has_just_taken_the_lock_is_named(held: Path) -> None:
    """It writes its number right after it has the lock, and may not have come to it."""
    assert refusal(held, named_after_s=0.2) == f"{held.parent}: process 4711 is working on this run"


def test_a_holder_that_never_says_who_it_is_is_another_process(held: Path) -> None:
    """On a full disk the lock file stays empty: nobody waits for long."""
    assert refusal(held, named_after_s=60) == f"{held.parent}: another process is working on this run"
