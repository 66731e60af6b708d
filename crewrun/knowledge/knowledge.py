"""`Knowledge`: CrewAI's class for a named collection of sources."""

from typing import Annotated, Any

from pydantic import BeforeValidator, ConfigDict, Field

from crewrun.declared import Declared
from crewrun.knowledge.knowledge_base import KnowledgeBase
from crewrun.knowledge.knowledge_config import KnowledgeConfig
from crewrun.knowledge.source.base_knowledge_source import BaseKnowledgeSource
from crewrun.knowledge.sources import as_sources

Sources = Annotated[list[BaseKnowledgeSource], BeforeValidator(as_sources)]


class Knowledge(Declared):
    """The knowledge of an agent or a crew. `collection_name` and `storage` have no effect: nothing is stored."""

    model_config = ConfigDict(arbitrary_types_allowed=True, extra="ignore")

    collection_name: str | None = None
    sources: Sources = Field(default_factory=list)
    embedder: Any = None
    storage: Any = None

    def __fingerprint__(self) -> dict[str, Any]:
        """What decides an agent's prompts: not the name, which has no effect."""
        return {"sources": self.sources, "embedder": self.embedder}

    def add_sources(self) -> None:
        """Read the sources. Raises DefinitionError."""
        for source in self.sources:
            source.passages()

    async def aadd_sources(self) -> None:
        """`add_sources` for async code."""
        self.add_sources()

    def query(self, query: list[str], results_limit: int = 5, score_threshold: float = 0.6) -> list[dict[str, Any]]:
        """The passages nearest to the texts in `query`, as a mapping with `content`; all of the text if it is short."""
        config = KnowledgeConfig(results_limit=results_limit, score_threshold=score_threshold)
        base = KnowledgeBase.of(self.sources, config)
        text = base.whole or base.passages_for(" ".join(query))
        return [{"content": text}] if text else []

    async def aquery(
        self, query: list[str], results_limit: int = 5, score_threshold: float = 0.6
    ) -> list[dict[str, Any]]:
        """`query` for async code."""
        return self.query(query, results_limit, score_threshold)

    def reset(self) -> None:
        """No effect, since nothing is stored."""
