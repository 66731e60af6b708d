"""`PrefixCalls`: the first call of a prefix goes alone, and the others once its answer shows that the prefix is cached.

A prefix is in the provider's cache when a request with it has been answered. Fifty rows that begin at once would all
miss it, and where writing to the cache has a price, each would pay that. So one call goes first, and the others with
the same prefix wait: for its answer, or 30 s at most in all. If it fails or is cancelled, the next one goes first;
after two without an answer all go, since by then the provider matters more than its cache. A prefix that was not used
for as long as the provider keeps it begins again.

Where breakpoints say what is cached, the very first call of a prefix has none and waits for nothing: a persona with a
row's values in it comes only once, and writing it to the cache would cost a quarter more for nothing. The second call
shows that the prefix is shared, and is the first one in the sense above.
"""

from dataclasses import dataclass, field
from math import inf
from typing import Final

import anyio

from crewrun.llm.prompt_cache.prefix import PrefixFinder
from crewrun.llm.prompt_cache.rules import CacheRules
from crewrun.llm.prompt_cache.turns import TurnCounter
from crewrun.messages import CacheHints, ChatRequest, MarkedTurn

# How long others wait in all. Most answers take less, and a run of any length can afford it once.
PATIENCE_S: Final = 30.0
_MOST_FAILURES: Final = 2
# Prefixes that are remembered; when there are more, those that were not used for longest are forgotten.
_MOST_PREFIXES: Final = 4096
_KEY_START: Final = "crewrun-"
_NO_HINTS: Final = CacheHints()
_OWN_MARKS: Final = frozenset({"cache_control", "prompt_cache_breakpoint"})


@dataclass(slots=True, eq=False)
class _Prefix:
    """What is known of a prefix in all event loops: how many calls had it, and until when it counts as cached."""

    calls: int = 0
    cached_until: float = -inf
    used_at: float = -inf


@dataclass(slots=True, eq=False)
class _Queue:
    """Calls of a prefix that is not cached. The `first` of them is under way, and `waiting` ones wait until its attempt
    is over, at most until `until`. `failures` is how many first ones had no answer.
    """

    until: float
    failures: int = 0
    first: "PrefixCall | None" = None
    waiting: int = 0
    over: anyio.Event = field(default_factory=anyio.Event)


class PrefixCalls:
    """The calls of one event loop by their prefixes."""

    def __init__(self) -> None:
        self._prefixes: dict[bytes, _Prefix] = {}
        self._turns = TurnCounter()
        self._finder = PrefixFinder()
        self._queues: dict[bytes, _Queue] = {}

    def for_another_loop(self) -> "PrefixCalls":
        """Calls of another event loop: it knows the same prefixes, but its calls wait for their own first ones."""
        other = PrefixCalls()
        other._prefixes, other._turns = self._prefixes, self._turns
        return other

    def join(self, request: ChatRequest, rules: CacheRules, *, takes_hints: bool) -> "PrefixCall | None":
        """A new call, None if it has nothing to do with caches. `takes_hints` says that the provider was not seen to
        refuse what requests say to its cache.
        """
        digest = self._finder.find(request, rules)
        turn: MarkedTurn = ""
        if rules.marks_turns and request.tools:
            turn = self._turns.see(rules.scope, _depth(request))
        if digest is None and not (rules.writes_everything or turn):
            return None
        is_shared = False
        if digest is not None:
            prefix = self._prefixes.get(digest) or self._add(digest)
            is_shared = prefix.calls > 0 or not rules.marks
            prefix.calls += 1
        hints = _hints(request, rules, digest, is_shared, turn) if takes_hints else None
        return PrefixCall(self, digest if is_shared else None, rules.life_s, hints)

    def _add(self, digest: bytes) -> _Prefix:
        prefixes = self._prefixes
        if len(prefixes) >= _MOST_PREFIXES:
            # Another loop may add and forget some at the same time.
            by_use = sorted(prefixes.items(), key=lambda entry: entry[1].used_at)
            for old, _ in by_use[: _MOST_PREFIXES // 2]:
                if old not in self._queues:
                    prefixes.pop(old, None)
        prefix = prefixes[digest] = _Prefix(used_at=anyio.current_time())
        return prefix

    async def wait(self, call: "PrefixCall", digest: bytes) -> None:
        """Wait until the prefix of `call` is cached, or until it need not wait; it may be the first one."""
        prefix = self._prefixes.get(digest) or self._add(digest)
        while (now := anyio.current_time()) >= prefix.cached_until:
            queue = self._queues.get(digest)
            if queue is None:
                queue = self._queues[digest] = _Queue(now + PATIENCE_S)
            if queue.first is None:
                queue.first = call
                break
            queue.waiting += 1
            try:
                with anyio.move_on_after(max(0.0, queue.until - now)) as patience:
                    await queue.over.wait()
            finally:
                queue.waiting -= 1
            if patience.cancelled_caught and self._queues.get(digest) is queue:
                self._let_all_go(digest, call.life_s)
        prefix.used_at = now

    def end(self, call: "PrefixCall", digest: bytes, sent_at: float) -> None:
        """An attempt of `call` is over. `sent_at` is when its turn had come: the cache was used then."""
        prefix = self._prefixes.get(digest)
        if call.is_answered and prefix is not None:
            prefix.cached_until = max(prefix.cached_until, sent_at + call.life_s)
        queue = self._queues.get(digest)
        if queue is None or queue.first is not call:
            return
        queue.failures += 1
        if call.is_answered or not queue.waiting:
            del self._queues[digest]
        elif queue.failures >= _MOST_FAILURES:
            self._let_all_go(digest, call.life_s)
        queue.first, over, queue.over = None, queue.over, anyio.Event()
        over.set()

    def _let_all_go(self, digest: bytes, life_s: float) -> None:
        """Have no call wait for this prefix, as if it were cached."""
        if (prefix := self._prefixes.get(digest)) is not None:
            prefix.cached_until = anyio.current_time() + life_s
        self._queues.pop(digest).over.set()


class PrefixCall:
    """One call. Each of its attempts is made inside `async with call`, and says `call.is_answered = True` if it was.

    `hints` are what its request says to the cache. The prefix is cached for `life_s` after its last use. `waited_s` is
    how long the attempt had to wait for another call.
    """

    __slots__ = ("_calls", "_digest", "_sent_at", "hints", "is_answered", "life_s", "waited_s")

    def __init__(self, calls: PrefixCalls, digest: bytes | None, life_s: float, hints: CacheHints | None) -> None:
        """Without a `digest` it waits for nothing."""
        self._calls = calls
        self._digest = digest
        self._sent_at = -inf
        self.life_s = life_s
        self.hints = hints
        self.is_answered = False
        self.waited_s = 0.0

    async def __aenter__(self) -> None:
        self.is_answered = False
        if self._digest is not None:
            came_at = anyio.current_time()
            await self._calls.wait(self, self._digest)
            self._sent_at = anyio.current_time()
            self.waited_s = self._sent_at - came_at

    async def __aexit__(self, *_: object) -> None:
        if self._digest is not None:
            self._calls.end(self, self._digest, self._sent_at)


def _depth(request: ChatRequest) -> int:
    """How many turns of the model the conversation has."""
    return sum([message.role == "assistant" for message in request.messages])


def _hints(
    request: ChatRequest, rules: CacheRules, digest: bytes | None, is_shared: bool, turn: MarkedTurn
) -> CacheHints | None:
    """What `request` says to the cache; None for nothing."""
    key = f"{_KEY_START}{digest.hex()}" if digest is not None and rules.sends_key else ""
    is_own = rules.marks and _has_own_marks(request)
    marks = rules.marks if digest is not None and is_shared and not is_own else ""
    # A turn with tools is likely to be followed by another one, which finds all of it in the cache.
    is_explicit = rules.writes_everything and not request.tools and not is_own
    hints = CacheHints(key, marks, is_explicit, "" if is_own else turn)
    return None if hints == _NO_HINTS else hints


def _has_own_marks(request: ChatRequest) -> bool:
    """Whether the user's messages say themselves what is to be cached."""
    return any(
        "cache_control" in message.carried or any(not _OWN_MARKS.isdisjoint(part.wire) for part in message.parts)
        for message in request.messages
        if message.parts or message.carried
    )
