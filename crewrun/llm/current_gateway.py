"""Which gateway is that of the code that asks: of the block that it is in, else of the batch that the process runs."""

from contextvars import ContextVar, Token
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from crewrun.llm.gateway import Gateway

_current: ContextVar["Gateway | None"] = ContextVar("crewrun_gateway", default=None)
# Threads that the user's code starts have no context to find it by.
_of_the_run: "Gateway | None" = None


def current() -> "Gateway | None":
    """The gateway of the calling code, None outside any. It may be in the event loop of another thread.

    What stands in for a gateway whose loop is held is that of the code that holds it. Other rows wait: it ends with
    that code, and would end what they ask through it. Only for threads without a context nobody can tell.
    """
    return _current.get() or (_of_the_run and _of_the_run.acting)


def elsewhere() -> "Gateway | None":
    """The gateway of the run that this thread works for, when its loop runs in another thread."""
    gateway = current()
    return gateway if gateway is not None and not gateway.is_here and gateway.is_reachable else None


def enter(gateway: "Gateway", *, is_of_a_run: bool = False) -> Token["Gateway | None"]:
    """Make `gateway` that of the code from here on, and of all code of the process when it is that of its run."""
    global _of_the_run  # noqa: PLW0603
    if is_of_a_run:
        _of_the_run = gateway
    return _current.set(gateway)


def leave(gateway: "Gateway", token: Token["Gateway | None"]) -> None:
    """Take `enter` back."""
    global _of_the_run  # noqa: PLW0603
    _current.reset(token)
    if _of_the_run is gateway:
        _of_the_run = None
