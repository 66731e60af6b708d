"""The gateway of the calling code: that of the block it is in, else that of the batch or service of this process."""

from collections.abc import Callable, Coroutine
from contextvars import ContextVar, Token
from typing import Any, Protocol, TypeVar

T = TypeVar("T")


class CurrentGateway(Protocol):
    """An open gateway as code in any loop or thread of the process finds it; see `gateway.Gateway`."""

    @property
    def is_here(self) -> bool:
        """Whether this code runs in the event loop that the gateway was opened in, and not in a thread of it."""
        ...

    @property
    def is_reachable(self) -> bool:
        """Whether another thread can have something run in the gateway's loop."""
        ...

    @property
    def acting(self) -> "CurrentGateway":
        """This gateway or, while its loop is held, its stand-in."""
        ...

    def run_outside(self, call: Callable[..., Coroutine[Any, Any, T]], *args: object) -> T:
        """Run `call(*args)` in the gateway's loop, for code in a worker thread."""
        ...

    def run_for_another_loop(self, call: Callable[..., Coroutine[Any, Any, T]], *args: object) -> T:
        """Run `call(*args)` in a thread, for code that holds the gateway's own loop."""
        ...


_current: ContextVar[CurrentGateway | None] = ContextVar("crewrun_gateway", default=None)
# Those of the runs in this process, the latest last: for threads that the user's code starts, which have no context to
# find one in.
_of_runs: list[CurrentGateway] = []


def current() -> CurrentGateway | None:
    """The gateway of the calling code, None outside any. It may be in the event loop of another thread.

    While a gateway's loop is held, its stand-in is for the code that holds the loop. Other rows wait, since the
    stand-in ends with that code, and their calls would end with it. Threads without a context get the stand-in, as it
    is unknown whose they are.
    """
    return _current.get() or (_of_runs[-1].acting if _of_runs else None)


def elsewhere() -> CurrentGateway | None:
    """The gateway of the run that this thread works for, if its loop runs in another thread."""
    gateway = current()
    return gateway if gateway is not None and not gateway.is_here and gateway.is_reachable else None


def enter(gateway: CurrentGateway, *, is_of_all: bool = False) -> Token[CurrentGateway | None]:
    """Make `gateway` current for the code from here on; one that `is_of_all`, a run's, for all code of the process."""
    if is_of_all:
        _of_runs.append(gateway)
    return _current.set(gateway)


def restore(gateway: CurrentGateway, token: Token[CurrentGateway | None]) -> None:
    """Undo `enter`."""
    _current.reset(token)
    if gateway in _of_runs:
        _of_runs.remove(gateway)
