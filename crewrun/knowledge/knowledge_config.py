"""`KnowledgeConfig`: how much of what it knows an agent is given."""

from pydantic import BaseModel, ConfigDict, Field

# Some thirty pages. Most projects have less, and get all of it: a prompt that begins the same for all rows is cached by
# providers at a tenth of its price, and no choice of passages can miss something. It is also a bit more than the five
# passages of 4,000 characters that CrewAI chooses.
MAX_TOKENS = 8_000


class KnowledgeConfig(BaseModel):
    """Up to `max_tokens` all of the knowledge goes into the prompt, above it the `results_limit` passages nearest to
    the task, of at most `max_tokens` together.

    `score_threshold` is a likeness of embeddings, from 0 to 1; choosing by words has none and passes it over.
    """

    model_config = ConfigDict(extra="forbid")

    results_limit: int = Field(default=5, ge=1)
    score_threshold: float = Field(default=0.6, ge=0, le=1)
    max_tokens: int = Field(default=MAX_TOKENS, ge=1)
