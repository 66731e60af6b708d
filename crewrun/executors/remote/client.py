"""`WorkerClient`: the run's end of the connection to one worker."""

import asyncio
from collections.abc import Awaitable, Callable

import anyio

from crewrun.errors import OutputFailed
from crewrun.executors.remote.assignment import Assignment
from crewrun.executors.remote.channel import Channel
from crewrun.executors.remote.connection import Connection, ConnectionLost
from crewrun.executors.remote.messages import RowResult
from crewrun.executors.remote.run_service import RunService
from crewrun.executors.run_spec import RunSpec


class WorkerClient:
    """Runs assignments with the worker at the other end of `connection`."""

    def __init__(
        self, connection: Connection, run_spec: RunSpec, refused: Callable[[str, str], None], interval_s: float
    ) -> None:
        """`refused` is called with what an endpoint refuses. At most one bundle per `interval_s` goes each way."""
        self._connection = connection
        self._interval_s = interval_s
        self._limiters = run_spec.limiters
        self.assignments: dict[int, Assignment] = {}
        self._service = RunService(run_spec, self.assignments, refused)
        self._lost = ConnectionLost("the run has ended")
        self._transfers = anyio.CancelScope()
        self._channel = Channel(self._service, unexpected=OutputFailed)

    async def run(self, assignment: Assignment) -> RowResult:
        """Have the worker run a row. Cancelling this cancels the row.

        Raises ConnectionLost when the worker dies first, and errors that end the run, such as OutputFailed.
        """
        number = assignment.number
        assignment.waiting, assignment.has_begun = 0, False
        self.assignments[number] = assignment
        self._limiters.on_their_way += 1
        reply = self._channel.call("run_row", number, assignment.row, list(assignment.answers))
        # Not when this is cancelled: until the worker hears of that, it goes on recording what it pays for.
        reply.add_done_callback(lambda _: self.assignments.pop(number, None))
        try:
            result: RowResult = await asyncio.shield(reply)
            return result
        except asyncio.CancelledError:
            self._channel.notify("cancel_row", number)
            raise
        finally:
            self._service.has_begun(assignment)

    def refuse(self, endpoint: str, what: str) -> None:
        """Tell the worker what an endpoint refuses."""
        self._channel.notify("refuse", endpoint, what)

    async def serve(self) -> str:
        """Exchange messages until the connection is lost. Returns why it was."""
        try:
            with self._transfers:
                async with anyio.create_task_group() as tasks:
                    tasks.start_soon(self._repeat, self._send)
                    tasks.start_soon(self._repeat, self._receive)
        finally:
            self.assignments.clear()
            self._channel.close(self._lost)
            self._service.close()
        return str(self._lost)

    def lose(self, lost: ConnectionLost) -> None:
        """End `serve`, as if the connection had been lost."""
        self._lost = lost
        self._transfers.cancel()

    async def _repeat(self, transfer: Callable[[], Awaitable[None]]) -> None:
        try:
            while True:
                await transfer()
                await anyio.sleep(self._interval_s)
        except ConnectionLost as lost:
            self.lose(lost)

    async def _send(self) -> None:
        await self._connection.send(await self._channel.next_bundle())

    async def _receive(self) -> None:
        bundle = await self._connection.receive()
        try:
            self._channel.dispatch(bundle)
        except Exception as wrong:
            raise ConnectionLost(f"it sent a bundle that cannot be read: {type(wrong).__name__}: {wrong}") from wrong
