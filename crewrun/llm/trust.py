"""`Trust`: whether an endpoint takes our calls at all, or refuses every one: a revoked key, an empty account, no model.

One refusal may be its row's own affair, a firewall that dislikes a text for instance, and one row must not stop a run.
So a refusal puts the endpoint under suspicion: no call is sent, but for one that decides. If that is refused too the
endpoint refuses everything; any other answer clears it, and the refused call fails alone. Where nobody comes to decide
the refusal counts as meant for all, unless it says 403 or 400, others were answered before, and few met it. So after a
key has been revoked no row sends more than one call.
"""

import anyio

from crewrun.errors import AuthRefused, CallError, ModelNotFound, QuotaExhausted

RUN_WIDE = (AuthRefused, QuotaExhausted, ModelNotFound)
# These can be about one text; a 401, a 402 or a 404 is about key, account or model.
_OF_A_TEXT = frozenset({400, 403, 413, 422})
# So many at once, and nobody else to decide, are no coincidence.
_SEVERAL = 3
# How long a refused call waits for another one to decide. Rows whose turn it is are there at once.
_ALONE_S = 1.0


class Trust:
    """Watches one endpoint, for one event loop.

    Before every attempt: `decides = await ready()` unless `is_clear`, and after it exactly one of `answered`, `refused`
    and `undecided`.
    """

    def __init__(self) -> None:
        self.refusal: CallError | None = None  # what every further call would get
        self._suspicion: CallError | None = None
        self._is_tested = False
        self._suspects = 0  # calls that were refused since the suspicion began
        self._has_answered = False
        self._news = anyio.Event()

    @property
    def is_clear(self) -> bool:
        """Whether attempts may be sent without asking."""
        return self._suspicion is None and self.refusal is None

    async def ready(self) -> bool:
        """Wait while the endpoint is under suspicion; True for the attempt that is to decide."""
        while self._suspicion is not None:
            if not self._is_tested:
                self._is_tested = True
                return True
            await self._news.wait()
        return False

    def answered(self, decides: bool) -> None:
        """An attempt was answered with anything but a refusal, also with an error of its own."""
        self._has_answered = True
        if decides:
            self._decide(None)

    def undecided(self, decides: bool) -> None:
        """An attempt ended without an answer: it timed out, was cancelled, or the provider failed."""
        if decides:
            self._is_tested = False
            self._tell()

    async def refused(self, error: CallError, decides: bool) -> bool:
        """An attempt was refused. Whether every other one would be: waits until that is known."""
        self._suspects += 1
        certain = isinstance(error, QuotaExhausted) or error.http_status not in _OF_A_TEXT
        if decides:
            self._decide(error)
        elif self._suspicion is None and self.refusal is None:
            self._suspicion = error
            self._tell()
        while self._suspicion is not None:
            news = self._news
            with anyio.move_on_after(_ALONE_S):
                await news.wait()
                continue
            if not self._is_tested:
                is_meant_for_all = certain or not self._has_answered or self._suspects >= _SEVERAL
                self._decide(error if is_meant_for_all else None)
        return self.refusal is not None

    def _decide(self, refusal: CallError | None) -> None:
        self.refusal = self.refusal or refusal
        self._suspicion, self._is_tested, self._suspects = None, False, 0
        self._tell()

    def _tell(self) -> None:
        self._news.set()
        self._news = anyio.Event()
