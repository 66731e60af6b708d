"""What passes between a call and its limiter: the highest price of an attempt, its permit, and its result."""

from dataclasses import dataclass
from enum import Enum
from typing import NamedTuple

from crewrun.limits.budget import Hold
from crewrun.limits.learned_bounds import NOTHING_LEARNED, LearnedBounds
from crewrun.limits.probes import Suspicion
from crewrun.limits.windows import TokenEntry
from crewrun.messages import RateLimits


class CallPrice(NamedTuple):
    """The most that a call may cost: tokens of its prompt and of its answer, with the US dollars for each. Those of the
    answer are a guess unless it `is_bound`. Calls of one `kind`, (model, task), are likely to cost the same.
    """

    kind: object
    prompt_tokens: int
    prompt_token_usd: float
    answer_tokens: int
    answer_token_usd: float
    is_bound: bool

    def prompt_usd(self, bounds: LearnedBounds = NOTHING_LEARNED) -> float:
        """The most that the prompt costs."""
        return (self.prompt_tokens + bounds.extra_prompt_tokens) * self.prompt_token_usd

    def answer_usd(self, bounds: LearnedBounds = NOTHING_LEARNED) -> float:
        """The most that the answer costs, or the guess."""
        return self.answer_tokens * bounds.answer_factor * self.answer_token_usd

    @property
    def usd(self) -> float:
        """The most that the call costs."""
        return self.prompt_usd() + self.answer_usd()

    def beyond(self, prompt_tokens: int, answer_tokens: int) -> LearnedBounds:
        """How far the provider's counts for this call exceed its bounds."""
        factor = answer_tokens / self.answer_tokens if self.is_bound else 1.0
        return LearnedBounds(max(0, prompt_tokens - self.prompt_tokens), max(1.0, factor))


@dataclass(slots=True, eq=False)
class Permit:
    """Permission for one attempt, with all that is set aside for it. It is given back once.

    Attributes:
        number: its position among the requests of its endpoint, from 1; on a worker elsewhere, its number at the run.
        episode: how often the endpoint's limits had been cut when it was issued.
        tokens: its entry in the window of tokens per minute, if there is a window.
        attempt: its number in the circuit breaker, 0 without one.
        is_probe: a neutral request is to be sent in place of the call's own, to see whether an outage is over, or
            whether the `suspicion` holds for every call.
        hold: the part of the budget held back for it.
        price: the most that it may cost, if there is a budget.
        at: when it was decided on, if that matters: where limits are shared with other processes.
    """

    number: int = 0
    episode: int = 0
    tokens: TokenEntry | None = None
    attempt: int = 0
    is_probe: bool = False
    hold: Hold | None = None
    suspicion: Suspicion | None = None
    price: CallPrice | None = None
    at: float = 0.0


class FailureScope(Enum):
    """Which calls a failed attempt says something about.

    OWN: its own only. NONE: no call; it is sent again and uses up no retry. ALL: perhaps every call; a probe decides.
    """

    OWN = "own"
    NONE = "none"
    ALL = "all"


class CallResult(NamedTuple):
    """How an attempt ended: the tokens and US dollars that it is known to have used.

    With `is_unknown`, at least a part of its bill is unknown: `owed_usd` more may come, None if the price is unknown.
    `prompt_tokens` of the `tokens` are the prompt's.
    """

    tokens: int | None = None
    cost_usd: float | None = None
    limits: RateLimits | None = None
    prompt_tokens: int = 0
    owed_usd: float | None = None
    is_unknown: bool = False
