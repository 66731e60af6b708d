"""What carries bundles between a run and one worker: the only part that another carrier than Ray has to bring."""

from typing import Protocol


class ConnectionLost(Exception):
    """A worker does not answer any more: it has died, or cannot be reached. The message says why."""


class Connection(Protocol):
    """A connection to one worker whose `WorkerServer` is open. At most one `send` and one `receive` are under way.

    Ray, pipes or a socket all do: nothing here asks for order among messages under way, or for more than bytes.
    """

    async def send(self, bundle: bytes) -> None:
        """Have `WorkerServer.send` take a bundle there. Returns when it has. Raises ConnectionLost."""
        ...

    async def receive(self) -> bytes:
        """Wait for the next bundle of `WorkerServer.receive` there. Raises ConnectionLost."""
        ...

    async def close(self) -> None:
        """End the worker if it has not ended. Called once; raises nothing."""
        ...
