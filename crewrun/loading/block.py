"""`loading`: the block in which the user's code is loaded; `attempt` calls a function of theirs in it."""

import asyncio
import os
import sys
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from contextvars import copy_context
from dataclasses import dataclass
from typing import Generic, TypeVar

import sniffio

from crewrun.loading import audit, command_line, partial_modules
from crewrun.loading.load import Load, LoadStop, begun, current_load, exit_of, row_inputs, wants_options
from crewrun.loading.questions import asking
from crewrun.loading.slow_load import warn_when_slow

T = TypeVar("T")


@contextmanager
def loading(script: str = "") -> Iterator[Load]:
    """The user's code is loaded in the block: imported, or called for the crew that it makes.

    `script` is its file and becomes the whole `sys.argv`. If the block ends without an exception, it warns about every
    place where the code stopped.
    """
    outer = current_load()
    if outer is not None and not outer.is_over:
        yield outer
        return
    # Otherwise litellm fetches its table of prices when it is imported.
    os.environ.setdefault("LITELLM_LOCAL_MODEL_COST_MAP", "True")
    audit.install()
    partial_modules.install()
    command_line.install()
    load, argv = Load(threading.get_ident()), sys.argv
    if row_inputs.get() is None:  # rows may load something at the same time
        sys.argv = [script or argv[0]]
    try:
        with begun(load), asking(), warn_when_slow(load.thread):
            yield load
    finally:
        if row_inputs.get() is None:
            sys.argv = argv
    load.warn()


def outside_loops(function: Callable[[], T]) -> T:
    """Call `function` where no event loop is running, since a file that is loaded may start one of its own."""
    if asyncio._get_running_loop() is None:
        return function()
    with ThreadPoolExecutor(1, "crewrun-load") as thread:
        return thread.submit(copy_context().run, _with_loop, function).result()


def _with_loop(function: Callable[[], T]) -> T:
    """Call `function` in a thread where `asyncio.get_event_loop()` has a loop to return."""
    sniffio.current_async_library_cvar.set(None)  # the context comes from a thread that runs a loop
    loop = asyncio.new_event_loop()
    asyncio.set_event_loop(loop)
    try:
        return function()
    finally:
        asyncio.set_event_loop(None)
        loop.close()


@dataclass(frozen=True, slots=True)
class Attempt(Generic[T]):
    """The result of a function that was called while loading: its `value`, or the `stop` where it would call a model.

    Both are set if its code swallowed the stop and went on.
    """

    value: T | None
    stop: LoadStop | None


def attempt(function: Callable[[], T]) -> Attempt[T]:
    """Call the user's `function` up to its first kickoff, model call or question that a row answers.

    Any other exception of the function is raised.
    """
    with loading() as load:
        since = len(load.stops)
        try:
            value = function()
        except KeyboardInterrupt:
            raise
        except BaseException as failed:
            stop = load.ended_by(failed, since) or (exit_of(failed) if wants_options(failed) else None)
            if stop is None:
                raise
            stop.is_known = True
            return Attempt(None, stop)
        swallowed = [stop for stop in load.stops[since:] if not stop.has_ended]
        for stop in swallowed:
            stop.is_known = True
        return Attempt(value, next(iter(swallowed), None))
