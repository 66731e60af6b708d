"""`Watch`: the answers of the kickoffs that a function of the user's makes, for one that returns none."""

from collections.abc import Awaitable
from contextvars import ContextVar
from typing import Any, TypeVar

T = TypeVar("T")


class Watch:
    """Sees the kickoffs in a `with`, but not those that they make themselves. `last` is the answer that came last."""

    __slots__ = ("_token", "count", "last")

    def __init__(self) -> None:
        self.count = 0
        self.last: Any = None

    def __enter__(self) -> "Watch":
        self._token = _current.set(self)
        return self

    def __exit__(self, *_: object) -> None:
        _current.reset(self._token)


_current: ContextVar[Watch | None] = ContextVar("crewrun_watch", default=None)


async def seen(kickoff: Awaitable[T]) -> T:
    """Await a kickoff, in sight of the watch of the code that makes it."""
    watch = _current.get()
    if watch is None:
        return await kickoff
    token = _current.set(None)
    try:
        answer = await kickoff
    finally:
        _current.reset(token)
    watch.count += 1
    watch.last = answer
    return answer
