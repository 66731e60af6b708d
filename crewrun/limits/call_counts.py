"""`CallCounts`: what the attempts of one model came to so far, for the metrics of a run."""

from dataclasses import dataclass

from crewrun.limits.permit import CallResult


@dataclass(slots=True)
class CallCounts:
    """Attempts of one model in this session: `answered` ones, `failed` ones, and those of them that were refused for
    the rate. Tokens and US dollars are those that are known to be billed, of failed attempts too.
    """

    answered: int = 0
    failed: int = 0
    rate_limited: int = 0
    prompt_tokens: int = 0
    completion_tokens: int = 0
    cost_usd: float = 0.0

    def add(self, result: CallResult) -> None:
        """Add what an attempt has used."""
        if result.tokens:
            self.prompt_tokens += result.prompt_tokens
            self.completion_tokens += result.tokens - result.prompt_tokens
        self.cost_usd += result.cost_usd or 0.0
