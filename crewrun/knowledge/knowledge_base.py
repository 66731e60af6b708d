"""`KnowledgeBase`: what an agent knows by all of its sources, and how much of it a prompt is given."""

from collections.abc import Sequence
from dataclasses import dataclass

from crewrun.knowledge.knowledge_config import KnowledgeConfig
from crewrun.knowledge.ranking import ranking_of
from crewrun.knowledge.source.base_knowledge_source import BaseKnowledgeSource
from crewrun.limits.estimates import BYTES_PER_TOKEN

_BETWEEN = "\n\n"


@dataclass(frozen=True, slots=True)
class KnowledgeBase:
    """`tokens` is an estimate for all of it. `whole` is the text where it goes into prompts whole; else it is empty,
    and `passages_for` chooses among `passages`.
    """

    source_count: int
    tokens: int
    whole: str
    passages: tuple[str, ...]
    config: KnowledgeConfig

    @classmethod
    def of(cls, sources: Sequence[BaseKnowledgeSource], config: KnowledgeConfig) -> "KnowledgeBase":
        """What `sources` say, read now where they have not been read. Raises DefinitionError."""
        whole = _BETWEEN.join(source.whole() for source in sources)
        tokens = tokens_in(whole)
        if tokens <= config.max_tokens:
            return cls(len(sources), tokens, whole, (), config)
        passages = tuple(passage for source in sources for passage in source.passages())
        ranking_of(passages)  # made now, not while the first row waits
        return cls(len(sources), tokens, "", passages, config)

    def passages_for(self, query: str) -> str:
        """The passages that are nearest to `query`, in their own order, as one text of at most `max_tokens`.

        It is empty when no passage has a word of the query that tells passages apart.
        """
        if not self.passages:
            return ""
        return self.within_bound(ranking_of(self.passages).nearest(query, self.config.results_limit))

    def within_bound(self, positions: Sequence[int]) -> str:
        """The passages at `positions`, the nearest first, as far as they fit; the first one is cut if it must be."""
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
    """About how many tokens `text` has, rounded up."""
    return -(-len(text.encode("utf-8", "replace")) // BYTES_PER_TOKEN)
