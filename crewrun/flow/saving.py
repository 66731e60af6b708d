"""`Saver`: when a run of a flow is saved, and what of it. Where to is `crewrun.flow.persistence`."""

from collections.abc import Callable, Iterable

from pydantic_core import PydanticSerializationError

from crewrun.errors import UsageError
from crewrun.flow.schedule import Call
from crewrun.flow.store import EndedCall, Save, Saved, Store, dump_result

# A state that is being changed is written again so often.
_TRIES = 5


class Saver:
    """Saves one run, after each of `methods`; None are all of them. `dump` gives the state as JSON."""

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
        self._unfinished: bytes | None = None  # the state in the store, of a run of which more is to come

    def go_on(self, saved: Saved) -> None:
        """This run continues the one that is in the store."""
        self._begins, self._unfinished = False, saved.state

    def begin_with(self, ended: Iterable[EndedCall]) -> None:
        """Of the run in the store, only these calls still count."""
        self._begins, self._ended = True, list(ended)

    async def ended(self, call: Call, result: object, *, is_last: bool) -> None:
        """Save, if the method is one to save after. Raises UsageError or OutputFailed when that is not possible."""
        name = call.method.name
        self._ended.append(EndedCall(call.number, name, dump_result(result)))
        if self._methods is None or name in self._methods:
            await self._save(self._dumped(name), has_ended=is_last)

    async def close(self) -> None:
        """The run has ended well: a kickoff with its id begins at the start again."""
        if self._unfinished is not None:
            await self._save(self._unfinished, has_ended=True)

    async def _save(self, state: bytes, *, has_ended: bool) -> None:
        one = Save(self._id, self._flow, state, self._ended, has_ended, self._begins)
        self._begins, self._ended = False, []
        self._unfinished = None if has_ended else state
        await self._store.save(one)

    def _dumped(self, method: str) -> bytes:
        for _ in range(_TRIES):
            try:
                return self._dump()
            except (PydanticSerializationError, ValueError, RecursionError) as unfit:
                why = f"the state cannot be kept: {unfit}; @persist needs a state of JSON data"
                break
            except BaseException as changed:
                # pydantic's serialiser panics, past `Exception`, when a sync method changes the state meanwhile.
                if type(changed).__name__ != "PanicException":
                    raise
                why = "the state was changed each time while it was written; let one method at a time change it"
        raise UsageError(f"{self._flow}.{method}: {why}") from None
