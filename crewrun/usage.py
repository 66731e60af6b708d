"""`UsageCounter`: the calls, tokens and cost of one task, kickoff or row.

Counters form a chain (task → kickoff → row), and what is added to one is added to all above it. `messages.Usage` is the
token counts of one reply, `crewrun.crew.output.UsageMetrics` the form that users of the Python API see.
"""

from collections.abc import Mapping

from crewrun.messages import Completion, Usage
from crewrun.recorder import Spent
from crewrun.row import Replayed
from crewrun.tier_use import STANDARD, TierUse, add_use, completed

_NO_TIERS: Mapping[str, TierUse] = {}


class UsageCounter:
    """Counts while its task, kickoff or row runs; read at the end, also after a failure.

    `attempts` are requests on the wire, `calls` those that were answered, `truncated` the answers that were cut off.
    `shared_tool_calls` are a row's calls of tools that were not made, since an equal call was.
    """

    __slots__ = (
        "_cost_usd",
        "_finish_reasons",
        "_owed_usd",
        "_parent",
        "_replayed",
        "_tiers",
        "_unpriced",
        "attempts",
        "cache_write_prompt_tokens",
        "cached_prompt_tokens",
        "calls",
        "completion_tokens",
        "estimated_calls",
        "models",
        "prompt_tokens",
        "reasoning_tokens",
        "shared_tool_calls",
        "truncated",
    )

    def __init__(self, parent: "UsageCounter | None" = None) -> None:
        self._parent = parent
        self.attempts = self.calls = self.truncated = self.shared_tool_calls = 0
        self.prompt_tokens = self.cached_prompt_tokens = self.completion_tokens = self.reasoning_tokens = 0
        self.estimated_calls = self.cache_write_prompt_tokens = 0
        self.models: dict[str, None] = {}
        self._cost_usd = self._owed_usd = 0.0
        self._unpriced = False
        self._finish_reasons: dict[str, None] = {}
        self._replayed: list[Spent] = []
        self._tiers: dict[str, TierUse] = {}  # only a row's is counted

    @property
    def tokens(self) -> Usage:
        """The tokens so far."""
        return Usage(
            self.prompt_tokens,
            self.cached_prompt_tokens,
            self.completion_tokens,
            self.reasoning_tokens,
            self.estimated_calls,
            self.cache_write_prompt_tokens,
        )

    @property
    def cost_usd(self) -> float | None:
        """US dollars, None when the price of a model that was used is not known."""
        return None if self._unpriced else self._cost_usd

    @property
    def owed_usd(self) -> float:
        """The most that attempts whose bill is unknown can have cost on top, in US dollars. Only a row's is counted."""
        return self._owed_usd

    @property
    def finish_reason(self) -> str | None:
        """The finish reasons of replies that crewrun does not know, joined by commas; None for none."""
        return ", ".join(self._finish_reasons) or None

    @property
    def replayed(self) -> Replayed | None:
        """The part of it that an earlier session of the run paid for, None when there is none."""
        calls = self._replayed
        if not calls:
            return None
        costs = [spent.cost_usd for spent in calls if spent.cost_usd is not None]
        usage = sum((spent.usage for spent in calls), Usage())
        attempts = sum(spent.attempts for spent in calls)
        tiers: dict[str, TierUse] = {}
        for spent in calls:
            if spent.tier:
                add_use(tiers, spent.tier, _use_of(spent))
        return Replayed(len(calls), attempts, usage, sum(costs) if len(costs) == len(calls) else None, tiers)

    @property
    def tiers(self) -> Mapping[str, TierUse]:
        """What each service tier served, empty if no call was served at, or asked for, any but the standard one."""
        return completed(self._tiers, self.calls, self.cost_usd) if self._tiers else _NO_TIERS

    @property
    def of_row(self) -> "UsageCounter":
        """The counter of the whole row that this is a part of."""
        counter = self
        while counter._parent is not None:
            counter = counter._parent
        return counter

    def add_attempt(self) -> None:
        """A request goes out on the wire."""
        counter: UsageCounter | None = self
        while counter is not None:
            counter.attempts += 1
            counter = counter._parent

    def add_bill(self, model: str, usage: Usage, cost_usd: float | None) -> None:
        """The provider billed `usage`, for an answer or for one that could not be used; None is an unknown price."""
        counter: UsageCounter | None = self
        while counter is not None:
            counter.prompt_tokens += usage.prompt_tokens
            counter.cached_prompt_tokens += usage.cached_prompt_tokens
            counter.completion_tokens += usage.completion_tokens
            counter.reasoning_tokens += usage.reasoning_tokens
            counter.estimated_calls += usage.estimated_calls
            counter.cache_write_prompt_tokens += usage.cache_write_prompt_tokens
            counter.models[model] = None
            if cost_usd is None:
                counter._unpriced = True
            else:
                counter._cost_usd += cost_usd
            counter = counter._parent

    def add_unknown_bill(self, most_usd: float | None) -> None:
        """An attempt's bill is not known; it is at most `most_usd`, None where its price is not known either."""
        self.of_row._owed_usd += most_usd or 0.0

    def add_tier(self, spent: Spent, *, is_answered: bool) -> None:
        """A call has ended that was served at a cheaper tier than the standard one, or had asked for it."""
        add_use(self.of_row._tiers, spent.tier, _use_of(spent, is_answered=is_answered))

    def add_shared_tool_call(self, times: int = 1) -> None:
        """The result of a tool is that of an equal call. Only a row's are counted."""
        self.of_row.shared_tool_calls += times

    def add_answer(self, completion: Completion) -> None:
        """A call was answered."""
        counter: UsageCounter | None = self
        while counter is not None:
            counter.calls += 1
            counter.truncated += completion.truncated
            if completion.finish_reason is not None:
                counter._finish_reasons[completion.finish_reason] = None
            counter = counter._parent

    def add_replay(self, completion: Completion, spent: Spent) -> None:
        """A call of an earlier session was answered from the journal: it counts as it did then, and as replayed."""
        self.add_bill(spent.model, spent.usage, spent.cost_usd)
        self.add_answer(completion)
        if spent.tier:
            self.add_tier(spent, is_answered=True)
        counter: UsageCounter | None = self
        while counter is not None:
            counter.attempts += spent.attempts
            counter._replayed.append(spent)
            counter = counter._parent

    def add_unseen_calls(self) -> None:
        """Another library makes the calls, so the cost is unknown."""
        counter: UsageCounter | None = self
        while counter is not None:
            counter._unpriced = True
            counter = counter._parent


def _use_of(spent: Spent, *, is_answered: bool = True) -> TierUse:
    is_moved = is_answered and spent.tier == STANDARD
    return TierUse(int(is_answered), spent.cost_usd, spent.saved_usd, int(is_moved))
