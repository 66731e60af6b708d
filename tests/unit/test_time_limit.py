"""Limits on time in which waiting does not count, on a virtual clock."""

from collections.abc import Awaitable, Callable
from typing import Any

import anyio
import anyio.to_thread
import trio.testing

from crewrun.aio.time_limit import time_limit, uncounted


def run(function: Callable[..., Awaitable[Any]]) -> Any:
    clock = trio.testing.MockClock(autojump_threshold=0)
    return anyio.run(function, backend="trio", backend_options={"clock": clock})


def test_waiting_does_not_count_for_any_limit_around_it() -> None:
    """The rest does, before and after."""

    async def work() -> tuple[bool, float]:
        with time_limit(10) as row, time_limit(5):
            await anyio.sleep(4)
            with uncounted():
                await anyio.sleep(1000)
            await anyio.sleep(0.9)
            with uncounted():
                await anyio.sleep(1000)
            await anyio.sleep(0.2)
            return True, row.deadline
        return False, anyio.current_time()

    assert run(work) == (False, 2005.0)


def test_time_stands_still_until_the_last_of_several_has_waited() -> None:
    """Calls of a row that are side by side wait for jobs of different lengths."""

    async def wait(seconds: float) -> None:
        with uncounted():
            await anyio.sleep(seconds)

    async def work() -> float:
        with time_limit(5) as limit:
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(wait, 100)
                tasks.start_soon(wait, 300)
            await anyio.sleep(10)
        assert limit.cancelled_caught
        return anyio.current_time()

    assert run(work) == 305.0


def test_a_thread_can_wait_for_a_limit_of_its_loop() -> None:
    """A tool in a thread makes its calls in a loop of its own."""

    async def work() -> bool:
        with time_limit(0.2) as limit:
            await anyio.to_thread.run_sync(wait)
            await anyio.sleep(0)  # the loop hears of the end
            return limit.cancel_called
        return True

    def wait() -> None:
        with uncounted():
            anyio.run(anyio.sleep, 0.4)

    assert anyio.run(work) is False
