"""`TextFileKnowledgeSource`: knowledge in text files such as Markdown."""

from typing import ClassVar, Literal

from crewrun.knowledge.source.base_file_knowledge_source import BaseFileKnowledgeSource


class TextFileKnowledgeSource(BaseFileKnowledgeSource):
    """The files at `file_paths`, read as `.txt`."""

    reads_as: ClassVar[str | None] = ".txt"

    source_type: Literal["text_file"] = "text_file"
