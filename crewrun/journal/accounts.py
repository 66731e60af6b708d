"""`RunAccounts`: what the sessions of a run have spent and learned about models, for the current session."""

from asyncio import Future
from typing import Any, Final

from crewrun.journal.changes import ModelBounds, UnknownBillsChange
from crewrun.journal.names import Names
from crewrun.journal.schema import TOOL, TOOL_FAILURE
from crewrun.journal.spending import total_spent
from crewrun.journal.writer import JournalWriter
from crewrun.limits.learned_bounds import LearnedBounds
from crewrun.limits.unknown_bills import Owed

# Enough to know how long each task's answers are; reading them takes a few milliseconds.
_LATEST_ANSWERS: Final = 2000


class RunAccounts:
    """The accounts of one run, in its journal."""

    def __init__(self, writer: JournalWriter, names: Names, session: int) -> None:
        self._writer = writer
        self._names = names
        self._session = session

    async def total(self) -> dict[str, Any]:
        """What all sessions of the run have spent together."""
        return await self._writer.read(lambda db: total_spent(db, current=self._session))

    def raise_high_water(self, usd: float) -> "Future[None]":
        """Commit the most that this session may have been billed. Raises JournalFailed."""
        return self._writer.high_water(usd)

    def write_owed(self, owed: Owed) -> None:
        """Write what this session's attempts with an unknown bill may cost."""
        self._writer.note(UnknownBillsChange(owed))

    def write_bounds(self, model: str, bounds: LearnedBounds) -> None:
        """Write by how much a provider's counts exceed the bounds of a call."""
        self._writer.note(ModelBounds(model, bounds))

    async def bounds(self) -> dict[str, LearnedBounds]:
        """What `write_bounds` wrote, by model."""
        query = "select model, extra_prompt_tokens, answer_factor from learned_bounds"
        entries = await self._writer.read(lambda db: db.execute(query).fetchall())
        return {model: LearnedBounds(tokens, factor) for model, tokens, factor in entries}

    async def latest_answers(self) -> list[tuple[str, str, int]]:
        """Model, task and completion tokens of the latest answers, oldest first."""
        query = "select name, task, completion_tokens from calls where kind not in (?, ?) order by seq desc limit ?"
        values = (TOOL, TOOL_FAILURE, _LATEST_ANSWERS)
        entries = await self._writer.read(lambda db: db.execute(query, values).fetchall())
        name = self._names.name
        return [(name(model), name(task), int(tokens)) for model, task, tokens in reversed(entries)]
