"""`JSONKnowledgeSource`: knowledge in JSON files."""

from typing import ClassVar, Literal

from crewrun.knowledge.source.base_file_knowledge_source import BaseFileKnowledgeSource


class JSONKnowledgeSource(BaseFileKnowledgeSource):
    """The files at `file_paths`, read as `.json`."""

    reads_as: ClassVar[str | None] = ".json"

    source_type: Literal["json"] = "json"
