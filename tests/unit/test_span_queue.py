"""Spans on their way to a collector: what a collector does that is away, slow or full costs spans, and never a row."""

from collections.abc import Sequence
from threading import Event

from crewrun.monitoring.span_queue import QueueOptions, SpanQueue


class Fake:
    """A destination that keeps what it gets; `is_open` lets it answer, `is_well` whether it takes anything."""

    def __init__(self) -> None:
        self.batches: list[list[bytes]] = []
        self.is_open = Event()
        self.is_well = True
        self.was_hurried = False
        self.left: list[bytes] = []
        self.queue: SpanQueue | None = None

    def prepare(self) -> None:
        while self.left and self.queue is not None:
            self.queue.put(self.left.pop())

    def send(self, spans: Sequence[bytes]) -> bool:
        self.is_open.wait()
        self.batches.append(list(spans))
        return self.is_well

    def hurry(self) -> None:
        self.was_hurried = True
        self.is_open.set()


def started(fake: Fake, options: QueueOptions) -> SpanQueue:
    queue = fake.queue = SpanQueue(fake, options)
    queue.start()
    return queue


def test_what_is_left_at_the_end_is_sent_in_order() -> None:
    """In batches of the given size, with the spans that were only made at the end."""
    fake = Fake()
    fake.is_open.set()
    fake.left = [b"last"]
    queue = SpanQueue(fake, QueueOptions(at_once=2, delay_s=60))
    fake.queue = queue
    for span in (b"1", b"2", b"3"):
        queue.put(span)
    queue.start()
    queue.close()
    assert (fake.batches, queue.lost) == ([[b"1", b"2"], [b"3", b"last"]], 0)


def test_a_collector_that_is_away_costs_what_it_was_sent() -> None:
    """Every span that did not arrive is counted."""
    fake = Fake()
    fake.is_open.set()
    fake.is_well = False
    queue = started(fake, QueueOptions(at_once=1, delay_s=60))
    for _ in range(3):
        queue.put(b"span")
    queue.close()
    assert queue.lost == 3


def test_a_full_queue_drops_new_spans_and_counts_them() -> None:
    """While one export hangs, two spans wait and the rest is lost; `put` returns at once."""
    fake = Fake()
    queue = started(fake, QueueOptions(size=2, at_once=1, delay_s=0.001))
    queue.put(b"hangs")
    while queue.waiting:
        pass
    for span in (b"1", b"2", b"3", b"4"):
        queue.put(span)
    assert queue.lost == 2
    fake.is_open.set()
    queue.close()
    assert (fake.batches, queue.lost) == ([[b"hangs"], [b"1"], [b"2"]], 2)


def test_the_end_waits_for_a_hanging_collector_only_so_long() -> None:
    """What is under way then is hurried, and counts as lost with what still waits."""
    fake = Fake()
    queue = started(fake, QueueOptions(at_once=1, delay_s=0.001, flush_s=0.05))
    queue.put(b"hangs")
    while queue.waiting:
        pass
    queue.put(b"waits")
    queue.close()
    assert (fake.was_hurried, queue.lost) == (True, 2)
