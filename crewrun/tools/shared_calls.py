"""`SharedCalls`: equal calls of a tool with `share` are made once for all rows of a run.

A worker has one, so workers elsewhere share among their own rows only. Rows may run in several event loops: a call in
one is waited for in the others.
"""

import asyncio
import json
import sys
from collections import Counter, OrderedDict
from collections.abc import Awaitable, Callable, Iterator, Mapping
from concurrent.futures import Future
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import replace
from threading import Lock
from typing import Any, NamedTuple
from weakref import ref

import sniffio

from crewrun.errors import DefinitionError
from crewrun.tools.base import BaseTool
from crewrun.tools.tool_call import ToolResult

# About 600 results of the longest that tools give, or 50,000 of a thousand characters.
MAX_BYTES = 64 * 1024 * 1024
_ENTRY_BYTES = 500  # of an entry on top of its texts: the key, the result, its place in the order


class SharedCall(NamedTuple):
    """What calls have in common that are made once. Tools are compared by identity: two with the same code may differ
    in what is not in their fingerprint, such as a connection or a key. The reference is weak, so that tools that rows
    make for themselves go with their rows.
    """

    tool: ref[BaseTool]
    arguments: str


class SharedCalls:
    """The calls in flight, and the results that were used last, of at most `max_bytes` together."""

    def __init__(self, max_bytes: int = MAX_BYTES) -> None:
        self._max_bytes = max_bytes
        self._size_bytes = 0
        self._lock = Lock()  # protects all of this, since rows may run in several threads
        self._results: OrderedDict[SharedCall, ToolResult] = OrderedDict()
        self._waiting: dict[SharedCall, list[Future[_End]]] = {}  # by the calls in flight
        self._rows: Counter[int] = Counter()  # with a call that waits for another row's

    @property
    def rows_waiting(self) -> set[int]:
        """The rows that wait for a call which another one makes."""
        with self._lock:
            return set(self._rows)

    async def result(self, call: SharedCall, make: Callable[[], Awaitable[ToolResult]], row: int = 0) -> ToolResult:
        """The result of an equal call, which is then `is_shared`, else that of `make`, for others too.

        A failed result goes to the calls that wait for it, and to none that come later. When the row that makes the
        call is cancelled, one of the others makes it. When `make` raises, which ends its row, the others make their
        own, at once. `row` tells rows from one another.
        """
        # A call made by a shared one does not wait: two such calls might wait for each other.
        waits = not _is_inside.get() and sniffio.current_async_library() == "asyncio"
        while True:
            future: Future[_End] = Future()
            with self._lock:
                if (result := self._recall(call)) is not None:
                    return result
                if call not in self._waiting:
                    self._waiting[call] = []
                    break
                if waits:
                    self._waiting[call].append(future)
            if not waits:
                return await make()
            with self._waits(row):
                end = await asyncio.wrap_future(future)
            if end.result is not None:
                return replace(end.result, is_shared=True)
            if not end.is_cancelled:
                return await make()
        return await self._make(call, make)

    def offer(self, call: SharedCall, result: ToolResult) -> None:
        """Share a result that the journal has of an earlier session."""
        with self._lock:
            self._store(call, result)

    @contextmanager
    def _waits(self, row: int) -> Iterator[None]:
        with self._lock:
            self._rows[row] += 1
        try:
            yield
        finally:
            with self._lock:
                self._rows[row] -= 1
                if not self._rows[row]:
                    del self._rows[row]

    async def _make(self, call: SharedCall, make: Callable[[], Awaitable[ToolResult]]) -> ToolResult:
        end = _End(None, is_cancelled=True)
        token = _is_inside.set(True)
        try:
            result = await make()
            end = _End(result)
            return result
        except Exception:
            end = _End(None)
            raise
        finally:
            self._end(call, end)  # first: the reset fails where a lost loop leaves this to be closed
            _is_inside.reset(token)

    def _end(self, call: SharedCall, end: "_End") -> None:
        """Tell those who wait for `call`."""
        with self._lock:
            if end.result is not None and not end.result.failed:
                self._store(call, end.result)
            waiting = self._waiting.pop(call)
        for future in waiting:
            if future.set_running_or_notify_cancel():  # False for a row that is gone
                future.set_result(end)

    def _recall(self, call: SharedCall) -> ToolResult | None:
        result = self._results.get(call)
        if result is None:
            return None
        self._results.move_to_end(call)
        return replace(result, is_shared=True, is_replayed=False)

    def _store(self, call: SharedCall, result: ToolResult) -> None:
        if (before := self._results.pop(call, None)) is not None:
            self._size_bytes -= _size_bytes(call, before)
        self._results[call] = result
        self._size_bytes += _size_bytes(call, result)
        while self._size_bytes > self._max_bytes:
            self._size_bytes -= _size_bytes(*self._results.popitem(last=False))


class _End(NamedTuple):
    """How a call in flight has ended. Without a result it has raised, or `is_cancelled`."""

    result: ToolResult | None
    is_cancelled: bool = False


def shared_call(tool: BaseTool, values: Mapping[str, Any], arguments: str) -> SharedCall:
    """The call of `tool` with `values`, which were parsed from `arguments`. Blanks and the order of the arguments make
    no difference.
    """
    try:
        return SharedCall(ref(tool), json.dumps(dict(sorted(values.items()))))
    except (TypeError, ValueError):  # values that are no JSON, such as dates
        return SharedCall(ref(tool), arguments)


def check_shared(tool: BaseTool) -> None:
    """Raise DefinitionError for a tool whose other options contradict `share`."""
    if tool.share is not True:
        return
    if not tool.replay:
        raise DefinitionError(
            f"tool {tool.name!r}: share and replay=False exclude each other: one gives a result to other rows, the "
            "other calls the tool again for the same row; leave one of them out"
        )
    if tool.cache_function is not None:
        raise DefinitionError(
            f"tool {tool.name!r}: share gives every result to all rows, and does not ask cache_function; leave one of "
            "them out. A result that must not be shared can be a ToolFailure"
        )


def _size_bytes(call: SharedCall, result: ToolResult) -> int:
    return sys.getsizeof(call.arguments) + sys.getsizeof(result.text) + _ENTRY_BYTES


# Those of the worker that runs this row; None outside of runs, where every call is made.
current_shared_calls: ContextVar[SharedCalls | None] = ContextVar("crewrun_shared_calls", default=None)
_is_inside: ContextVar[bool] = ContextVar("crewrun_inside_shared_call", default=False)
