"""The process's audit hook, which stops model calls and servers while code is loaded, and tracks threads of a load.

In a row of an offline run it also stops model calls that the user's code makes with a client of its own. An audit hook
cannot be removed; outside of loads and such rows it only looks at the event's name.
"""

import socket
import sys
import threading
from collections.abc import Callable
from threading import Thread
from types import FrameType
from typing import Any

from crewrun.loading.load import Load, LoadStopped, ModelCalled, current_load, is_offline_row, note_thread
from crewrun.loading.model_calls import called_model
from crewrun.loading.user_code import frames_from, place_in

_INET = (socket.AF_INET, socket.AF_INET6)
_lock = threading.Lock()  # so that only one hook is added
_is_installed = False


def install() -> None:
    """Add the hook, once in a process."""
    global _is_installed  # noqa: PLW0603
    with _lock:
        if not _is_installed:
            _is_installed = True
            sys.addaudithook(_hook)
            _note_threads()
            _quieten_threads()


def _hook(event: str, args: tuple[Any, ...]) -> None:
    see = _EVENTS.get(event)
    if see is not None and ((load := current_load()) is not None or is_offline_row.get()):
        see(load, args)


def _looks_up(load: Load | None, args: tuple[Any, ...]) -> None:
    host, port = args[0], args[1]
    _connects_to(load, host, int(port) if isinstance(port, int) or str(port).isdecimal() else None)


def _connects(load: Load | None, args: tuple[Any, ...]) -> None:
    connection, address = args
    if connection.family in _INET and isinstance(address, tuple):
        _connects_to(load, address[0], address[1])


def _connects_to(load: Load | None, host: Any, port: int | None) -> None:
    host = host.decode("ascii", "replace") if isinstance(host, bytes) else host
    if not isinstance(host, str):
        return
    called = called_model(host, port, (frame.f_code.co_filename for frame in frames_from(_caller())))
    if called is None:
        return
    if load is None:
        place = place_in(_caller())
        raise ModelCalled(f"{f'{place}: ' if place else ''}a call to {called}: -m offline calls no model")
    raise load.stop(f"a call to {called}")


def _binds(load: Load | None, args: tuple[Any, ...]) -> None:
    if load is None:
        return
    bound, address = args
    if bound.family in _INET and bound.type == socket.SOCK_STREAM and isinstance(address, tuple) and address[1]:
        stopped = load.stop(f"a server on port {address[1]}", "no server is started while a file is loaded")
        stopped.stop.is_final = True
        raise stopped


def _caller() -> FrameType:
    return sys._getframe(3)


_EVENTS: dict[str, Callable[[Load | None, tuple[Any, ...]], None]] = {
    "socket.getaddrinfo": _looks_up,
    "socket.connect": _connects,
    "socket.bind": _binds,
}


def _note_threads() -> None:
    """Record each thread that a load starts from now on: Python 3.11 has no audit event for that."""
    start = Thread.start

    def noting(self: Thread) -> None:
        # crewrun's own threads run functions in their caller's context already.
        if (load := current_load()) is not None and not self.name.startswith("crewrun-"):
            note_thread(self, load)
        start(self)

    Thread.start = noting  # type: ignore[method-assign]  # also for threads that such a thread starts later


def _quieten_threads() -> None:
    """Print no traceback for a thread that a load stops, since the load warns about it."""
    show = threading.excepthook

    def hook(args: Any) -> None:
        if not isinstance(args.exc_value, LoadStopped):
            show(args)

    threading.excepthook = hook
