"""`SpanQueue`: encoded spans on their way to a collector. A thread sends them; nobody waits for it but the end."""

import time
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from threading import Event, Lock, Thread
from typing import Final, Protocol

# With --log-prompts spans may be large; so much of them is kept in memory at most, and sent at once.
_MOST_BYTES: Final = 64 << 20
_MOST_BYTES_AT_ONCE: Final = 4 << 20


class Destination(Protocol):
    """Where spans go."""

    def prepare(self) -> None:
        """`put` the spans that are not made yet; called before each look at the queue."""
        ...

    def send(self, spans: Sequence[bytes]) -> bool:
        """Send spans; returns whether they have arrived. Takes no longer than its time limit."""
        ...

    def hurry(self) -> None:
        """Let what `send` is doing be its last attempt."""
        ...


@dataclass(frozen=True, slots=True)
class QueueOptions:
    """The numbers of OpenTelemetry's batch processor: spans in the queue, spans in one export, and how long a span
    waits for others. `flush_s` is how long the end of a run waits for the last ones.
    """

    size: int = 16_384
    at_once: int = 2048
    delay_s: float = 5.0
    flush_s: float = 5.0


class SpanQueue:
    """Takes spans from any thread. When it is full, new ones are dropped and counted."""

    def __init__(self, destination: Destination, options: QueueOptions) -> None:
        """Opened by `start`, and closed by `close`."""
        self._destination = destination
        self._options = options
        self._spans: deque[bytes] = deque()
        self._bytes = 0
        self._lock = Lock()  # protects the queue, its size and the counts
        self._work = Event()
        self._is_closing = False
        self._ends_at = 0.0
        self._under_way = 0
        self.lost = 0  # dropped, or not delivered
        self._thread = Thread(target=self._run, name="crewrun-spans", daemon=True)

    def start(self) -> None:
        """Send what comes from now on."""
        self._thread.start()

    def put(self, span: bytes) -> None:
        """Add a span; returns at once."""
        with self._lock:
            is_full = len(self._spans) >= self._options.size or self._bytes + len(span) > _MOST_BYTES
            if is_full:
                self.lost += 1
                return
            self._spans.append(span)
            self._bytes += len(span)
        if len(self._spans) >= self._options.at_once and not self._work.is_set():
            self._work.set()

    @property
    def waiting(self) -> int:
        """How many spans wait to be sent."""
        return len(self._spans)

    def close(self) -> None:
        """Send what is left, within the time for that; what is left then is lost."""
        self._ends_at = time.monotonic() + self._options.flush_s
        self._is_closing = True
        self._work.set()
        self._thread.join(self._options.flush_s)
        is_late = self._thread.is_alive()
        with self._lock:
            self.lost += len(self._spans) + (self._under_way if is_late else 0)
            self._spans.clear()
        if is_late:
            self._destination.hurry()

    def _run(self) -> None:
        while not self._is_closing:
            self._work.wait(self._options.delay_s)
            self._work.clear()
            self._destination.prepare()
            self._send_all(lambda: len(self._spans) >= self._options.at_once and not self._is_closing)
        self._destination.prepare()
        self._send_all(lambda: bool(self._spans) and time.monotonic() < self._ends_at)

    def _send_all(self, goes_on: Callable[[], bool]) -> None:
        """Send one batch, if there is any, and further ones while it `goes_on`."""
        is_first = True
        while (is_first or goes_on()) and (batch := self._take()):
            is_first = False
            is_sent = self._destination.send(batch)
            with self._lock:
                self._under_way = 0
                self.lost += 0 if is_sent else len(batch)

    def _take(self) -> list[bytes]:
        """The oldest spans, as many as go in one export."""
        batch: list[bytes] = []
        size = 0
        with self._lock:
            while self._spans and len(batch) < self._options.at_once and size < _MOST_BYTES_AT_ONCE:
                span = self._spans.popleft()
                batch.append(span)
                size += len(span)
            self._bytes -= size
            self._under_way = len(batch)
        return batch
