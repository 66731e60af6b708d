"""`PDFKnowledgeSource`: knowledge in PDF files. It needs pypdf, the extra `pdf`."""

from typing import ClassVar, Literal

from crewrun.knowledge.source.base_file_knowledge_source import BaseFileKnowledgeSource


class PDFKnowledgeSource(BaseFileKnowledgeSource):
    """The files at `file_paths`, read as `.pdf`."""

    reads_as: ClassVar[str | None] = ".pdf"

    source_type: Literal["pdf"] = "pdf"
