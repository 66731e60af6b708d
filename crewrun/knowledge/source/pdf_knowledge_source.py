"""`PDFKnowledgeSource`: knowledge in PDF files; pypdf reads them: `pip install 'crewrun[pdf]'`."""

from typing import ClassVar, Literal

from crewrun.knowledge.source.base_file_knowledge_source import BaseFileKnowledgeSource


class PDFKnowledgeSource(BaseFileKnowledgeSource):
    """The files of `file_paths`, read as `.pdf`."""

    reads_as: ClassVar[str | None] = ".pdf"

    source_type: Literal["pdf"] = "pdf"
