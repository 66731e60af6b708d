"""`seldom_collected`: the garbage collector's thresholds while rows run."""

import gc
from collections.abc import Iterator
from contextlib import contextmanager
from threading import Lock
from typing import Final

# They trade memory for time: rows make many objects and few cycles.
_THRESHOLDS: Final = (50_000, 20, 50)


class _Collector:
    """The collector belongs to the process, in which several batches may run at once: the last to end restores it."""

    def __init__(self) -> None:
        self._lock = Lock()  # protects the counter and what is restored
        self._batches = 0
        self._before = (0, 0, 0)
        self._has_frozen = False

    def relax(self) -> None:
        with self._lock:
            self._batches += 1
            if self._batches == 1:
                self._before = gc.get_threshold()
                self._has_frozen = not gc.get_freeze_count()
                if self._has_frozen:
                    gc.freeze()
                gc.set_threshold(*_THRESHOLDS)

    def restore(self) -> None:
        with self._lock:
            self._batches -= 1
            if not self._batches:
                gc.set_threshold(*self._before)
                if self._has_frozen:
                    gc.unfreeze()


_collector = _Collector()


@contextmanager
def seldom_collected() -> Iterator[None]:
    """In the block, collect garbage seldom, and never traverse what was there before."""
    _collector.relax()
    try:
        yield
    finally:
        _collector.restore()
