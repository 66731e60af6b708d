"""`Saver`: when a run of a flow is saved, and what is saved. `crewrun.flow.persistence` is where to."""

from collections.abc import Callable, Iterable

from pydantic_core import PydanticSerializationError

from crewrun.errors import UsageError
from crewrun.flow.schedule import MethodCall
from crewrun.flow.store import EndedCall, Save, Saved, Store, dump_result

# How often to try to serialise a state that a sync method is changing at that moment. A try takes far less time than
# most methods, so a few are enough to fall between two changes; a method that changes it without pause is a bug to
# name.
_MAX_TRIES = 5


class Saver:
    """Saves one run after each of `methods`, None for all of them. `dump` returns the state as JSON."""

    def __init__(
        self,
        flow: str,
        state_id: str,
        dump: Callable[[], bytes],
        store: Store,
        methods: frozenset[str] | None,
    ) -> None:
        self._flow = flow
        self._id = state_id
        self._dump = dump
        self._store = store
        self._methods = methods
        self._begins = True
        self._ended: list[EndedCall] = []  # not saved yet
        self._unfinished: bytes | None = None  # the state in the store, while the run is stored as not ended

    def resume(self, saved: Saved) -> None:
        """Continue the run that is in the store."""
        self._begins, self._unfinished = False, saved.state

    def keep_only(self, ended: Iterable[EndedCall]) -> None:
        """Drop all calls of the stored run but these, at the next save."""
        self._begins, self._ended = True, list(ended)

    async def ended(self, call: MethodCall, result: object, *, is_last: bool) -> None:
        """Save, if the method is one to save after. Raises UsageError or OutputFailed if that fails."""
        name = call.method.name
        self._ended.append(EndedCall(call.number, name, dump_result(result)))
        if self._methods is None or name in self._methods:
            await self._save(self._dumped(name), has_ended=is_last)

    async def close(self) -> None:
        """Mark the run as ended, so that a kickoff with its id begins at the start again."""
        if self._unfinished is not None:
            await self._save(self._unfinished, has_ended=True)

    async def _save(self, state: bytes, *, has_ended: bool) -> None:
        save = Save(self._id, self._flow, state, self._ended, has_ended, self._begins)
        self._begins, self._ended = False, []
        self._unfinished = None if has_ended else state
        await self._store.save(save)

    def _dumped(self, method: str) -> bytes:
        for _ in range(_MAX_TRIES):
            try:
                return self._dump()
            except (PydanticSerializationError, ValueError, RecursionError) as unfit:
                why = f"the state cannot be stored: {unfit}; @persist needs a state of JSON data"
                break
            except BaseException as failed:
                # pydantic's serialiser panics, which is no `Exception`, if a sync method changes the state under it.
                if type(failed).__name__ != "PanicException":
                    raise
                why = "the state was changed each time while it was written; let one method at a time change it"
        raise UsageError(f"{self._flow}.{method}: {why}") from None
