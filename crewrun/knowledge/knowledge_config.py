"""`KnowledgeConfig`: how much of an agent's knowledge goes into its prompts."""

from pydantic import BaseModel, ConfigDict, Field

# About thirty pages. Most projects have less, and get all of it: then no choice of passages can miss something, and
# providers cache a prompt that begins the same for all rows at a tenth of its price. It is also a bit more than the
# five passages of 4,000 characters that CrewAI chooses.
MAX_TOKENS = 8_000


class KnowledgeConfig(BaseModel):
    """Knowledge of up to `max_tokens` goes into the prompt as a whole; of more, the `results_limit` passages nearest to
    the task, of at most `max_tokens` together.

    `score_threshold` is a similarity of embeddings, from 0 to 1; it has no effect if passages are chosen by words.
    """

    model_config = ConfigDict(extra="forbid")

    results_limit: int = Field(default=5, ge=1)
    score_threshold: float = Field(default=0.6, ge=0, le=1)
    max_tokens: int = Field(default=MAX_TOKENS, ge=1)
