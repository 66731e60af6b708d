"""`Interruption`: how a program ends a batch that it runs, where a command obeys signals."""

from signal import Signals
from typing import Self

import anyio

from crewrun.batch.stop import Stop, StopReason


class Interruption:
    """Ends a batch early. Its methods are called in the batch's event loop.

    The caller runs the batch inside `scope`, which nothing else cancels: before the first row there is nothing to
    finish, so the batch is cancelled; after that it is asked to stop.
    """

    def __init__(self) -> None:
        self.scope = anyio.CancelScope(shield=True)
        self._stop: Stop | None = None

    def begin(self) -> Stop:
        """The stop of the session that begins now."""
        self._stop = Stop()
        return self._stop

    def request(self, reason: StopReason) -> None:
        """As the first signal: let the rows in flight end."""
        if self._stop is None:
            self.scope.cancel()
        else:
            self._stop.request(reason)

    def now(self, reason: StopReason) -> None:
        """As the second signal: give up the rows in flight."""
        if self._stop is None:
            self.scope.cancel()
        else:
            self._stop.now(reason)


class NoSignals:
    """The signals of a batch that obeys none."""

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> Signals:
        await anyio.sleep_forever()
        raise StopAsyncIteration
