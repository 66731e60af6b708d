"""`EmbeddedPassages`: passages chosen by an embedding model.

The first row of a session that needs the vectors of the passages requests them, and is charged for them; other rows
share them. Each row requests the vector of its own query.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from weakref import WeakKeyDictionary

import anyio

from crewrun.aio.concurrency import call
from crewrun.knowledge.knowledge_base import KnowledgeBase
from crewrun.llm.embeddings import Vector, likeness
from crewrun.llm.gateway import Gateway
from crewrun.llm.model_fields import ModelFields
from crewrun.llm.request_identity import describe_endpoint
from crewrun.row_context import RowContext

# Texts in one request: at CrewAI's 4,000 characters each, far below OpenAI's limits of 300,000 tokens and 2,048 texts.
_BATCH_SIZE = 64
# OpenAI's models read 8,192 tokens of a text, Ollama's default model 2,048.
_MAX_QUERY_CHARS = 8_000


# For how many knowledge bases a gateway's vectors are cached: flows create a crew for each row, mostly with the same
# base. One of 2,000 passages takes 12 MB at 1,536 dimensions of 4 bytes, so not many.
_MAX_BASES = 4


@dataclass(slots=True)
class _Vectors:
    """The vectors of some passages. The lock is held while one row requests them for all."""

    lock: anyio.Lock = field(default_factory=anyio.Lock)
    vectors: list[Vector] | None = None


# By gateway, then by embedder and passages, the latest last. Not in EmbeddedPassages, which may belong to one row.
_vectors_by_gateway: WeakKeyDictionary[Gateway, dict[tuple[str, tuple[str, ...]], _Vectors]] = WeakKeyDictionary()


class EmbeddedPassages:
    """The passages of `base`, chosen by `embedder`. Serves any number of rows at once."""

    def __init__(self, base: KnowledgeBase, embedder: ModelFields) -> None:
        self.base = base
        self.embedder = embedder

    async def nearest(self, query: str, gateway: Gateway, row_context: RowContext) -> str:
        """The passages nearest to `query`, as one text like that of `KnowledgeBase.passages_for`.

        Passages below `score_threshold` are left out. Raises what a call does.
        """
        vectors = await self._of_passages(gateway, row_context)
        (query_vector,) = await gateway.embed(self.embedder, [query[:_MAX_QUERY_CHARS]], row_context)
        return self.base.within_bound(await call(self._ranked, query_vector, vectors))

    def _ranked(self, query_vector: Vector, vectors: Sequence[Vector]) -> list[int]:
        config = self.base.config
        scored = [(-likeness(query_vector, vector), position) for position, vector in enumerate(vectors)]
        return [
            position for score, position in sorted(scored)[: config.results_limit] if -score >= config.score_threshold
        ]

    async def _of_passages(self, gateway: Gateway, row_context: RowContext) -> list[Vector]:
        entry = self._entry(gateway)
        async with entry.lock:
            if entry.vectors is None:
                vectors: list[Vector] = []
                for start in range(0, len(self.base.passages), _BATCH_SIZE):
                    texts = self.base.passages[start : start + _BATCH_SIZE]
                    vectors += await gateway.embed(self.embedder, texts, row_context)
                entry.vectors = vectors
        return entry.vectors

    def _entry(self, gateway: Gateway) -> _Vectors:
        by_base = _vectors_by_gateway.setdefault(gateway, {})
        key = describe_endpoint(gateway.embedding_endpoint(self.embedder)), self.base.passages
        entry = by_base[key] = by_base.pop(key, _Vectors())
        while len(by_base) > _MAX_BASES:
            del by_base[next(iter(by_base))]
        return entry
