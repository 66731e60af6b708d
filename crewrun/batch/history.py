"""What a batch knows of rows from before: nothing, or what the state of its run says."""

from collections.abc import Sequence
from typing import Any, Protocol

from crewrun.batch.shard import Shard
from crewrun.errors import OutputFailed
from crewrun.journal.changes import Heartbeat
from crewrun.row import Outcome, Row
from crewrun.runs.rebuild import Rebuilt, Visit
from crewrun.runs.state import ELSEWHERE, StoredRow


class History(Protocol):
    """`crewrun.runs.state.RunState`, as the engine sees it."""

    def find(self, row: Row) -> StoredRow | None:
        """The row as it was kept, None when it has to be run."""
        ...

    def has_failed(self, row: Row) -> bool:
        """Whether the row failed in an earlier session."""
        ...

    async def restore(self, row: Row, kept: StoredRow) -> bytes:
        """The line of a row that was kept. Raises OutputFailed."""
        ...

    async def keep(self, outcomes: Sequence[Outcome]) -> list[bytes]:
        """Keep what became of some rows; their lines. Raises OutputFailed when it cannot be kept."""
        ...

    def forget(self, row: Row) -> None:
        """A row was given up."""
        ...


class NoHistory:
    """Results that go to a stream, with no state beside them."""

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
        """Nobody knows."""
        return False

    async def restore(self, row: Row, kept: StoredRow) -> bytes:
        """Never asked for."""
        raise LookupError(row.id)

    async def keep(self, outcomes: Sequence[Outcome]) -> list[bytes]:
        """Nothing is kept."""
        return [outcome.to_line() for outcome in outcomes]

    def forget(self, row: Row) -> None:
        """Nothing was kept."""

    def heartbeat(self, beat: Heartbeat) -> None:
        """Nobody looks."""

    def arrange(self, *, complete: bool, ordered: bool) -> int:
        """Nothing to arrange."""
        return 0

    async def rebuild(self, fd: int, visit: Visit | None, *, ordered: bool, unwritten: int) -> Rebuilt | None:
        """There is nothing to make them again from. Raises OutputFailed."""
        raise OutputFailed("the results were changed while the run was going, and it has no journal")

    async def in_all(self) -> dict[str, Any] | None:
        """There is this session only."""
        return None

    async def close(self, stopped: str | None, exit_code: int, elsewhere: int) -> None:
        """Nothing is open."""
