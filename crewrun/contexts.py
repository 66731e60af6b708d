"""`in_own_context`: context variables that a row's code sets end with the row, whatever runs next in the same task."""

from collections.abc import Coroutine, Generator
from contextvars import copy_context
from types import coroutine
from typing import Any, TypeVar

T = TypeVar("T")


@coroutine
def in_own_context(work: Coroutine[Any, Any, T]) -> Generator[Any, Any, T]:
    """Await `work` in a copy of the current context.

    A task would do that too; one for each row costs several times as much.
    """
    run = copy_context().run
    step, value = work.send, None
    while True:
        try:
            waits_for = run(step, value)
        except StopIteration as done:
            result: T = done.value
            return result
        finally:
            value = None  # an exception would hold this frame, and this frame the exception
        try:
            step, value = work.send, (yield waits_for)
        except GeneratorExit:
            run(work.close)
            raise
        except BaseException as thrown:
            step, value = work.throw, thrown
