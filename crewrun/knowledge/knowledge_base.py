"""`KnowledgeBase`: the text of all of an agent's sources, and the part of it that goes into a prompt."""

from collections.abc import Sequence
from dataclasses import dataclass

from crewrun.knowledge.knowledge_config import KnowledgeConfig
from crewrun.knowledge.ranking import ranking_of
from crewrun.knowledge.source.base_knowledge_source import BaseKnowledgeSource
from crewrun.limits.estimates import BYTES_PER_TOKEN

_BETWEEN = "\n\n"


@dataclass(frozen=True, slots=True)
class KnowledgeBase:
    """The knowledge of an agent. `tokens` is an estimate for all of it.

    If it is small enough, `whole` is its text, for every prompt. Otherwise `whole` is empty and `passages_for` chooses
    among `passages`.
    """

    source_count: int
    tokens: int
    whole: str
    passages: tuple[str, ...]
    config: KnowledgeConfig

    @classmethod
    def of(cls, sources: Sequence[BaseKnowledgeSource], config: KnowledgeConfig) -> "KnowledgeBase":
        """The knowledge in `sources`, which are read if they have not been. Raises DefinitionError."""
        whole = _BETWEEN.join(source.whole() for source in sources)
        tokens = tokens_in(whole)
        if tokens <= config.max_tokens:
            return cls(len(sources), tokens, whole, (), config)
        passages = tuple(passage for source in sources for passage in source.passages())
        ranking_of(passages)  # builds the index now, so that the first row does not wait for it
        return cls(len(sources), tokens, "", passages, config)

    def passages_for(self, query: str) -> str:
        """The passages nearest to `query`, in their own order, as one text of at most `max_tokens`.

        Empty if the passages have no words of the query, apart from words that most of them have.
        """
        if not self.passages:
            return ""
        return self.within_bound(ranking_of(self.passages).nearest(query, self.config.results_limit))

    def within_bound(self, positions: Sequence[int]) -> str:
        """The passages at `positions`, nearest first, as many as fit; the first is cut if it is too long."""
        bound = self.config.max_tokens * BYTES_PER_TOKEN
        chosen: list[int] = []
        size = 0
        for position in positions:
            more = len(self.passages[position].encode()) + len(_BETWEEN)
            if size + more > bound:
                break
            chosen.append(position)
            size += more
        if positions and not chosen:
            return self.passages[positions[0]].encode()[:bound].decode(errors="ignore")
        return _BETWEEN.join(self.passages[position] for position in sorted(chosen))


def tokens_in(text: str) -> int:
    """An estimate of the tokens of `text`, rounded up."""
    return -(-len(text.encode("utf-8", "replace")) // BYTES_PER_TOKEN)
