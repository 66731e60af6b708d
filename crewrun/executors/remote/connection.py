"""What carries bundles between a run and one worker: another place than Ray needs this and a `Provisioner`."""

from typing import Protocol


class ConnectionLost(Exception):
    """A worker no longer answers: it has died, or cannot be reached. The message says why."""


class Connection(Protocol):
    """A connection to one worker whose `WorkerServer` is open. At most one `send` and one `receive` run at a time.

    Ray, pipes or a socket will all do: only bytes are carried, and no order is required between the two directions.
    """

    async def send(self, bundle: bytes) -> None:
        """Pass a bundle to `WorkerServer.send` there. Returns when it has been taken. Raises ConnectionLost."""
        ...

    async def receive(self) -> bytes:
        """Wait for the next bundle from `WorkerServer.receive` there. Raises ConnectionLost."""
        ...

    async def close(self) -> None:
        """End the worker if it has not ended. Called once; raises nothing."""
        ...
