"""`deadline`: a time limit around a call over asyncio, light enough for every row."""

import asyncio
from types import TracebackType


class deadline:  # noqa: N801  (used like a function: `with deadline(30) as limit`)
    """`with deadline(seconds) as limit:` ends the block after that time; `limit.passed` is true if it did.

    It works as `asyncio.timeout` does: a timer cancels the task, and `__exit__` takes the cancellation back. That costs
    a fifth of an anyio cancel scope, which repeats the cancellation until it takes effect, so use this only around code
    that does not swallow a cancellation.
    """

    __slots__ = ("_cancelling", "_seconds", "_task", "_timer", "passed")

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        self.passed = False

    def __enter__(self) -> "deadline":
        loop = asyncio.get_running_loop()
        task = asyncio.current_task(loop)
        if task is None:
            raise RuntimeError("a deadline is for code that runs in a task")
        self._task = task
        self._cancelling = task.cancelling()
        self._timer = loop.call_later(self._seconds, self._pass)
        return self

    def _pass(self) -> None:
        self.passed = True
        self._task.cancel()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> bool:
        self._timer.cancel()
        if not self.passed:
            return False
        # If something else has cancelled the task too, it stays cancelled.
        self.passed = self._task.uncancel() <= self._cancelling and isinstance(error, asyncio.CancelledError)
        return self.passed
