"""`Projection`: which lines belong in a run's results file, in which order, while a session adds lines to it.

`results` has the operations on the file; `rebuild` restores it when something else has changed it.
"""

from array import array
from bisect import bisect_left
from collections.abc import Awaitable, Callable, Iterable, Sequence
from functools import partial
from pathlib import Path

import anyio.to_thread

from crewrun.errors import OutputFailed
from crewrun.journal.done_index import DoneIndex
from crewrun.runs.lock import RunLocks
from crewrun.runs.rebuild import Rebuild, RestoredResults
from crewrun.runs.results import arrange


class Projection:
    """The results file at `path`, None for results that go to a stream.

    `is_mixed` says that lines are not written in the input's order and may have to be sorted at the end. `size_bytes`
    is the size of the file when the session began; everything after that was written by this session.
    """

    def __init__(self, path: Path | None, done: DoneIndex, locks: RunLocks, *, is_mixed: bool) -> None:
        self._path = path
        self._done = done
        self._locks = locks
        self._is_mixed = is_mixed
        # New lines and their rows' places in the input, for sorting. A new run in the input's order never needs them.
        self._has_places = len(done) > 0 or is_mixed
        self._new_digests, self._new_places = array("q"), array("q")
        self._restored = array("q")  # lines of earlier sessions that are written again
        self.size_bytes = _size_bytes(path)

    @property
    def has_earlier_lines(self) -> bool:
        """Whether lines of earlier sessions are in the file."""
        return any(self._done.written)

    def add(self, digest: int, place: int) -> None:
        """Expect a new line, of the input's row at `place`."""
        if self._has_places:
            self._new_digests.append(digest)
            self._new_places.append(place)

    def add_restored(self, digest: int) -> None:
        """Expect the line of an earlier session again."""
        self._restored.append(digest)

    def take_out(self, positions: Sequence[int]) -> None:
        """Remove the lines of done rows, by their positions, from the file, in one step. Raises OutputFailed."""
        done = self._done
        for position in positions:
            done.written[position] = 0

        def place(digest: int) -> int | None:
            position = done.find_line(digest)
            return 0 if position is not None and done.written[position] else None

        if positions and self._path is not None:
            arrange(self._path, place, ordered=False)
            self._locks.renew()
            self.size_bytes = _size_bytes(self._path)
        done.forget_search()

    def arrange(self, *, complete: bool, ordered: bool) -> int:
        """Bring the file into its final form: sorted when `ordered`, and without rows that are gone from the input.

        Returns how many lines of such rows were removed. They are known only when the session was `complete`, which
        means that it read the whole input.
        """
        path, done = self._path, self._done
        if path is None or not path.is_file():
            return 0
        stale = done.count_stale() if complete else 0
        if not stale and not (ordered and (self._is_mixed or any(done.written))):
            return 0
        by_digest = sorted(range(len(self._new_digests)), key=self._new_digests.__getitem__)
        digests = array("q", (self._new_digests[i] for i in by_digest))

        def place(digest: int) -> int | None:
            at = bisect_left(digests, digest)
            if at < len(digests) and digests[at] == digest:
                return self._new_places[by_digest[at]]
            position = done.find_line(digest)
            if position is None or (complete and not done.seen[position]):
                return None
            return done.places[position]

        return arrange(path, place, ordered=ordered)

    async def rebuild(
        self,
        fd: int,
        new_digests: Iterable[int],
        restore: Callable[[Rebuild], Awaitable[None]] | None,
        *,
        ordered: bool,
        unwritten: int,
    ) -> RestoredResults | None:
        """Restore the file when it is no longer what was written to `fd`. Returns None when nothing was wrong with it.

        `new_digests` are those of the session's lines. `restore` adds missing lines from the journal, None where that
        is not possible; `unwritten` rows have no line yet. Raises OutputFailed when lines are lost, after restoring
        what can be restored.
        """
        if self._path is None:
            return None
        rebuild = Rebuild(self._path, self._wanted(new_digests))
        try:
            await anyio.to_thread.run_sync(rebuild.copy, fd)
            if rebuild.missing and restore is not None:
                await restore(rebuild)
        except BaseException:
            rebuild.discard()
            raise
        missing = rebuild.missing
        rebuilt = await anyio.to_thread.run_sync(partial(rebuild.publish, fd, ordered=ordered))
        if missing > unwritten:
            raise OutputFailed(f"{self._path}: {missing} of its lines are lost; the journal has them")
        return rebuilt

    def _wanted(self, new_digests: Iterable[int]) -> "array[int]":
        """The digests of the lines that belong in the file, sorted."""
        done = self._done
        previous = (done.digest(position) for position, written in enumerate(done.written) if written)
        return array("q", sorted({*previous, *self._restored, *new_digests}))


def _size_bytes(path: Path | None) -> int:
    return path.stat().st_size if path is not None and path.is_file() else 0
