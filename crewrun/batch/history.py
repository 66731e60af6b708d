"""`History`: what a batch needs of its run's state. `RunState` implements it with a journal, `NoHistory` without."""

from collections.abc import Mapping, Sequence
from typing import Any, Protocol

from crewrun.batch.shard import Shard
from crewrun.errors import OutputFailed
from crewrun.journal.changes import Heartbeat
from crewrun.row import Outcome, Row
from crewrun.runs.rebuild import RestoredResults, Visit
from crewrun.runs.state import ELSEWHERE, StoredRow


class History(Protocol):
    """Which rows are done, and where outcomes go before they are published. See `crewrun.runs.state.RunState`."""

    @property
    def results_bytes(self) -> int | None:
        """How large the results file was when the session began, None without one."""
        ...

    def find(self, row: Row) -> StoredRow | None:
        """What is stored of the row, None when it has to run."""
        ...

    def is_due(self, row: Row) -> bool:
        """Whether the row has to run."""
        ...

    def has_failed(self, row: Row) -> bool:
        """Whether the row failed in an earlier session."""
        ...

    async def restore(self, row: Row, stored: StoredRow) -> bytes:
        """The line of a row that is done. Raises JournalDamaged and OutputFailed."""
        ...

    async def keep(self, outcomes: Sequence[Outcome]) -> list[bytes]:
        """Commit outcomes. Returns their lines. Raises OutputFailed when they cannot be written."""
        ...

    def forget(self, row: Row) -> None:
        """Drop a row that was given up."""
        ...

    def heartbeat(self, beat: Heartbeat) -> None:
        """Write the session's progress, for readers in other processes."""
        ...

    def publish(self, progress: Mapping[str, Any]) -> None:
        """Write all of the session's progress, for those who watch it. It may block, as a disk does."""
        ...

    def arrange(self, *, complete: bool, ordered: bool) -> int:
        """Bring the results into their final form. Returns how many lines were removed because their rows are no longer
        in the input. Raises OutputFailed.
        """
        ...

    async def rebuild(self, fd: int, visit: Visit | None, *, ordered: bool, unwritten: int) -> RestoredResults | None:
        """Restore results that something else has changed. Raises OutputFailed when lines are lost."""
        ...

    async def in_all(self) -> dict[str, Any] | None:
        """What all sessions of the run have spent together, None where there is only this one."""
        ...

    async def close(self, stopped: str | None, exit_code: int, elsewhere: int = 0, gone: int = 0) -> None:
        """End the session. Raises OutputFailed when its end cannot be recorded."""
        ...


class NoHistory:
    """The history of results that go to a stream: no row is done, and nothing is stored."""

    results_bytes: int | None = None

    def __init__(self, shard: Shard | None = None) -> None:
        self._shard = shard

    def find(self, row: Row) -> StoredRow | None:
        """Every row of the shard is new."""
        return None if self._shard is None or self._shard.has(row) else ELSEWHERE

    def is_due(self, row: Row) -> bool:
        """Every row of the shard is due."""
        return self.find(row) is None

    def has_failed(self, row: Row) -> bool:
        """No row has failed before."""
        return False

    async def restore(self, row: Row, stored: StoredRow) -> bytes:
        """No row is stored. Raises LookupError."""
        raise LookupError(row.id)

    async def keep(self, outcomes: Sequence[Outcome]) -> list[bytes]:
        """The lines of the outcomes; nothing is stored."""
        return [outcome.to_line() for outcome in outcomes]

    def forget(self, row: Row) -> None:
        """Does nothing."""

    def heartbeat(self, beat: Heartbeat) -> None:
        """Does nothing."""

    def publish(self, progress: Mapping[str, Any]) -> None:
        """Does nothing."""

    def arrange(self, *, complete: bool, ordered: bool) -> int:
        """There is no file to arrange."""
        return 0

    async def rebuild(self, fd: int, visit: Visit | None, *, ordered: bool, unwritten: int) -> RestoredResults | None:
        """Raises OutputFailed: without a journal no line can be restored."""
        raise OutputFailed("the results were changed while the run was going, and it has no journal")

    async def in_all(self) -> dict[str, Any] | None:
        """There is only this session."""
        return None

    async def close(self, stopped: str | None, exit_code: int, elsewhere: int = 0, gone: int = 0) -> None:
        """Nothing is open."""
