"""`Patience`: requests about a job are repeated while their failure may pass."""

import random
from collections.abc import Awaitable, Callable
from itertools import count
from typing import Final, TypeVar

import anyio

from crewrun.errors import CallError, ModelNotFound, OutageTooLong, ServerError, TransientError

T = TypeVar("T")

# A job or its files may be invisible for a moment, and a download may end early: this many looks decide.
LOOKS: Final = 5
RETRY_S: Final = 2.0
# Between two looks at a job that has not changed the pause grows up to this many times the interval.
SLOWEST: Final = 10.0


class Patience:
    """That for the jobs of the endpoint `name`, which are looked at every `poll_s`, and may stay silent `outage_s`."""

    def __init__(self, name: str, poll_s: float, outage_s: float) -> None:
        self._name = name
        self._poll_s = poll_s
        self._outage_s = outage_s

    async def patiently(self, request: Callable[[], Awaitable[T]]) -> T:
        """Repeat a request whose failure may pass: the provider goes on with the job. Raises OutageTooLong."""
        silent_since = anyio.current_time()
        for attempt in count(1):
            try:
                return await request()
            except TransientError as failed:
                silent_s = anyio.current_time() - silent_since
                if silent_s >= self._outage_s:
                    raise OutageTooLong(self._name, silent_s, failed) from failed
                await anyio.sleep(self.pause_s(failed, attempt))
        raise AssertionError

    async def steadily(self, request: Callable[[], Awaitable[T]]) -> T:
        """As `patiently`, for a job that the provider may have: its refusals may pass too, and to give the job up
        would send its requests once more. Raises ModelNotFound if it is refused so several times in a row, and
        OutageTooLong with `has_job`.
        """

        async def attempt() -> T:
            for look in count(1):
                try:
                    return await request()
                except ModelNotFound:
                    if look == LOOKS:
                        raise
                except TransientError:
                    raise
                except CallError as refused:
                    raise ServerError(str(refused), http_status=refused.http_status) from refused
                await anyio.sleep(min(self._poll_s, RETRY_S * 2.0 ** (look - 1)))
            raise AssertionError

        try:
            return await self.patiently(attempt)
        except OutageTooLong as silent:
            silent.has_job = True
            raise

    def pause_s(self, failed: TransientError, attempt: int) -> float:
        longest_s = min(self._poll_s, RETRY_S * 2.0 ** min(attempt - 1, 10))
        jitter = random.uniform(0.75, 1.25)  # noqa: S311  (no secret)
        # No longer than a look may take, so that a deadline is not missed.
        asked_s = min(failed.retry_after_s or 0.0, self._poll_s * SLOWEST)
        return max(asked_s, longest_s * jitter)
