"""`open_gateway`: the gateway through which a kickoff calls models, inside a run or outside."""

from contextvars import Token
from dataclasses import dataclass
from types import TracebackType

from anyio.lowlevel import RunVar

from crewrun.aio.own_loop import at_end
from crewrun.llm import current_gateway
from crewrun.llm.gateway import Gateway
from crewrun.references import check_loaded


@dataclass(slots=True)
class _Shared:
    """A loop's gateway for kickoffs outside any run, open while at least one of them is.

    One that `stays` is open until its loop ends: the loop belongs to a single async method.
    """

    gateway: Gateway
    users: int = 0
    stays: bool = False

    async def close(self) -> None:
        """Close it when no kickoff in this loop uses it any more."""
        _shared.set(None)
        await self.gateway.aclose()


_shared: RunVar[_Shared | None] = RunVar("crewrun_shared_gateway", None)


class open_gateway:  # noqa: N801  (used like a function: `async with open_gateway() as gateway`)
    """The gateway of the surrounding run, else one that all kickoffs of this event loop share.

    The shared one is closed when its last user has ended, so that nothing is left open when the loop closes. With
    `is_current` it is the current gateway of the code inside the block, in its worker threads too.
    """

    __slots__ = ("_is_current", "_mine", "_token")

    def __init__(self, *, is_current: bool = False) -> None:
        self._is_current = is_current

    async def __aenter__(self) -> Gateway:
        check_loaded()
        self._mine: _Shared | None = None
        self._token: Token[current_gateway.CurrentGateway | None] | None = None
        around = _of_the_code()
        if around is not None and around.is_here:
            return around
        shared = _shared.get()
        if shared is None:
            # A separate loop inside a run, such as that of a sync tool, calls models with the run's options.
            shared = _Shared(around.for_another_loop() if around else Gateway())
            shared.gateway.bind_to_loop()
            shared.stays = at_end(shared.close)
            _shared.set(shared)
        shared.users += 1
        self._mine = shared
        if self._is_current:
            self._token = current_gateway.enter(shared.gateway)
        return shared.gateway

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._mine is None:
            return
        if self._token is not None:
            current_gateway.restore(self._mine.gateway, self._token)
        self._mine.users -= 1
        if not self._mine.users and not self._mine.stays:
            await self._mine.close()


def _of_the_code() -> Gateway | None:
    gateway = current_gateway.current()
    assert gateway is None or isinstance(gateway, Gateway)  # noqa: S101  (nothing else is entered)
    return gateway
