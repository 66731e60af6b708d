"""`StringKnowledgeSource`: knowledge in a string."""

from typing import Any, Literal

from crewrun.errors import DefinitionError
from crewrun.knowledge.source.base_knowledge_source import BaseKnowledgeSource


class StringKnowledgeSource(BaseKnowledgeSource):
    """The text in `content`, the same for all rows: braces in it are not placeholders."""

    source_type: Literal["string"] = "string"
    content: str

    def model_post_init(self, context: Any, /) -> None:
        """Check the text."""
        self.validate_content()

    def validate_content(self) -> None:
        """Raise DefinitionError if the text is blank."""
        if not self.content.strip():
            raise DefinitionError("StringKnowledgeSource: content is empty; fill it or take the source out")

    def add(self) -> None:
        """Cut the text into passages."""
        self.chunks += self._chunk_text(self.content)

    def whole(self) -> str:
        """The text."""
        return self.content.strip() if type(self).add is StringKnowledgeSource.add else super().whole()
