"""`deadline`: a time limit around a call over asyncio, light enough for every row."""

import asyncio
from types import TracebackType


class deadline:  # noqa: N801  (used as a function is: `with deadline(30) as limit`)
    """`with deadline(seconds) as limit:` ends the block after so long; then `limit.passed` is true.

    As `asyncio.timeout` does it: a timer cancels the task, and the cancellation is taken back. That takes a fifth of
    the time of an anyio cancel scope, which says it again until it is heard: for code that does not swallow a cancel.
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
        # Somebody else may have cancelled the task meanwhile: then it stays cancelled.
        self.passed = self._task.uncancel() <= self._cancelling and isinstance(error, asyncio.CancelledError)
        return self.passed
