"""Joining a Ray cluster and losing it, without Ray: what listens is a socket of the test's, and Ray a fake."""

import socket
import threading
from collections.abc import Iterator

import anyio
import pytest

from crewrun.errors import UsageError
from crewrun.executors import cluster, cluster_watch
from crewrun.executors.cluster_watch import Lifeline, wait_gone
from crewrun.executors.remote.packaging import Package


class SilentRay:
    """Ray whose `init` never comes back, as with a server that accepts and says nothing."""

    def __init__(self) -> None:
        self.given_up = threading.Event()

    def init(self, **options: object) -> None:
        self.given_up.wait()

    def is_initialized(self) -> bool:
        return False


@pytest.fixture
def listener() -> Iterator[socket.socket]:
    """Something that accepts connections and says nothing."""
    with socket.create_server(("127.0.0.1", 0)) as one:
        yield one


def test_joining_says_what_it_waits_for_and_ends(listener: socket.socket, monkeypatch: pytest.MonkeyPatch) -> None:
    """A line on the terminal after a while, and a usage error when the time is over."""
    for name, seconds in (("_SAY_AFTER_S", 0.1), ("_JOIN_S", 0.3), ("_START_S", 0.3)):
        monkeypatch.setattr(cluster, name, seconds)
    address, ray, lines = f"ray://127.0.0.1:{listener.getsockname()[1]}", SilentRay(), list[str]()
    with pytest.raises(UsageError) as raised:
        anyio.run(cluster.join, ray, address, Package("crew.yaml", text=""), lines.append)
    ray.given_up.set()
    assert lines == [f"waiting for the Ray cluster at {address}: its answer, a process for this run there; at most 1 s"]
    assert str(raised.value) == f"--executor: what listens at {address} has not answered as a Ray cluster in 1 s"


def test_a_process_that_stops_listening_is_gone(listener: socket.socket, monkeypatch: pytest.MonkeyPatch) -> None:
    """Not while it listens, and only when nothing has listened for its patience."""
    monkeypatch.setattr(cluster_watch, "_EVERY_S", 0.05)
    port = listener.getsockname()[1]

    async def main() -> tuple[str, float]:
        closed_at = 0.0

        async def close_later() -> None:
            nonlocal closed_at
            await anyio.sleep(0.4)
            listener.close()
            closed_at = anyio.current_time()

        async with anyio.create_task_group() as tasks:
            tasks.start_soon(close_later)
            why = await wait_gone([Lifeline("the node", "127.0.0.1", port, 0.2)])
        return why, anyio.current_time() - closed_at

    why, took_s = anyio.run(main)
    assert why == f"the node is gone: nothing listens at 127.0.0.1:{port}"
    assert 0.2 <= took_s < 60
