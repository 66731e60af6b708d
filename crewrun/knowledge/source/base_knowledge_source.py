"""`BaseKnowledgeSource`: the base class of knowledge sources, ours and users' own."""

import threading
from typing import Any

from pydantic import ConfigDict, Field

from crewrun.declared import Declared
from crewrun.errors import CrewrunError, DefinitionError
from crewrun.knowledge.chunks import joined, split
from crewrun.references import broken

# Protects `add`, which fills `chunks`: the crews of several rows may share a source.
_adding = threading.Lock()


class BaseKnowledgeSource(Declared):
    """Text for agents. A subclass defines `add`, which fills `chunks`, with `_chunk_text` or on its own.

    `add` is called once, when the crew is loaded, and an exception in it becomes a DefinitionError. `storage`,
    `metadata`, `collection_name` and `chunk_embeddings` are CrewAI's and have no effect: passages are in memory.
    """

    model_config = ConfigDict(arbitrary_types_allowed=True, extra="ignore")

    chunk_size: int = Field(default=4000, ge=1)
    chunk_overlap: int = Field(default=200, ge=0)
    chunks: list[str] = Field(default_factory=list)
    chunk_embeddings: list[Any] = Field(default_factory=list, exclude=True)
    storage: Any = None
    metadata: dict[str, Any] | None = None
    collection_name: str | None = None

    def validate_content(self) -> Any:
        """Nothing to check here. Users' subclasses may override it and call it."""

    def add(self) -> None:
        """Fill `chunks`."""
        raise DefinitionError(f"{type(self).__name__} has no add(), which fills its chunks")

    async def aadd(self) -> None:
        """`add` for async code."""
        self.add()

    def passages(self) -> list[str]:
        """The chunks. Raises DefinitionError if there are none, or `add` fails."""
        with _adding:
            if not self.chunks:
                self._fill()
        return [str(chunk) for chunk in self.chunks]

    def whole(self) -> str:
        """All of the text. Raises DefinitionError as `passages` does."""
        return joined(self.passages(), self.chunk_overlap)

    def _fill(self) -> None:
        name = type(self).__name__
        try:
            self.add()
        except CrewrunError:
            raise
        except Exception as failed:  # the user's code may raise anything
            raise broken(f"loading the knowledge of {name}", failed) from None
        if not any(str(chunk).strip() for chunk in self.chunks):
            raise DefinitionError(f"{name} has no text; its add() is to fill self.chunks")

    def __fingerprint__(self) -> dict[str, Any]:
        """The text and how it is cut, wherever it comes from."""
        return {"text": self.whole(), "chunk_size": self.chunk_size, "chunk_overlap": self.chunk_overlap}

    def _chunk_text(self, text: str) -> list[str]:
        return split(text, self.chunk_size, self.chunk_overlap)

    def _save_documents(self, *ignored: Any, **also: Any) -> None:
        """No effect. CrewAI's subclasses call it at the end of `add`."""

    save_documents = _save_documents

    async def _asave_documents(self) -> None:
        """As `_save_documents`."""
