"""`History`: what a batch needs of its run's state. `RunState` is one with a journal, `NoHistory` one without."""

from collections.abc import Sequence
from typing import Any, Protocol

from crewrun.batch.shard import Shard
from crewrun.errors import OutputFailed
from crewrun.journal.changes import Heartbeat
from crewrun.row import Outcome, Row
from crewrun.runs.rebuild import Rebuilt, Visit
from crewrun.runs.state import ELSEWHERE, StoredRow


class History(Protocol):
    """Which rows are done, and where outcomes go before they are published. See `crewrun.runs.state.RunState`."""

    @property
    def results_bytes(self) -> int | None:
        """How large the results file was when the session began, None without one."""
        ...

    def find(self, row: Row) -> StoredRow | None:
        """What there is of the row, None when it has to be run."""
        ...

    def is_due(self, row: Row) -> bool:
        """Whether the row has to be run."""
        ...

    def has_failed(self, row: Row) -> bool:
        """Whether the row failed in an earlier session."""
        ...

    async def restore(self, row: Row, stored: StoredRow) -> bytes:
        """The line of a row that is done. Raises JournalDamaged and OutputFailed."""
        ...

    async def keep(self, outcomes: Sequence[Outcome]) -> list[bytes]:
        """Commit the outcomes of some rows. Returns their lines. Raises OutputFailed when they cannot be written."""
        ...

    def forget(self, row: Row) -> None:
        """The row was given up."""
        ...

    def heartbeat(self, beat: Heartbeat) -> None:
        """Tell readers in other processes how far the session is."""
        ...

    def arrange(self, *, complete: bool, ordered: bool) -> int:
        """Bring the results into their final form. Returns how many lines of rows they lose that the input no longer
        has. Raises OutputFailed.
        """
        ...

    async def rebuild(self, fd: int, visit: Visit | None, *, ordered: bool, unwritten: int) -> Rebuilt | None:
        """Make the results whole that were changed from outside. Raises OutputFailed when lines are lost."""
        ...

    async def in_all(self) -> dict[str, Any] | None:
        """What all sessions of the run spent together, None where there are no others."""
        ...

    async def close(self, stopped: str | None, exit_code: int, elsewhere: int) -> None:
        """End the session. Raises OutputFailed when its end cannot be written."""
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
        """Every row of the shard is."""
        return self.find(row) is None

    def has_failed(self, row: Row) -> bool:
        """No row has."""
        return False

    async def restore(self, row: Row, stored: StoredRow) -> bytes:
        """No row is stored. Raises LookupError."""
        raise LookupError(row.id)

    async def keep(self, outcomes: Sequence[Outcome]) -> list[bytes]:
        """Their lines."""
        return [outcome.to_line() for outcome in outcomes]

    def forget(self, row: Row) -> None:
        """Does nothing."""

    def heartbeat(self, beat: Heartbeat) -> None:
        """Does nothing."""

    def arrange(self, *, complete: bool, ordered: bool) -> int:
        """There is no file to arrange."""
        return 0

    async def rebuild(self, fd: int, visit: Visit | None, *, ordered: bool, unwritten: int) -> Rebuilt | None:
        """Without a journal no line can be made again. Raises OutputFailed."""
        raise OutputFailed("the results were changed while the run was going, and it has no journal")

    async def in_all(self) -> dict[str, Any] | None:
        """There is only this session."""
        return None

    async def close(self, stopped: str | None, exit_code: int, elsewhere: int) -> None:
        """Nothing is open."""
