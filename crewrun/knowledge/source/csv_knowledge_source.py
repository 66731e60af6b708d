"""`CSVKnowledgeSource`: knowledge in CSV files, whose first line has the names of the columns."""

from typing import ClassVar, Literal

from crewrun.knowledge.source.base_file_knowledge_source import BaseFileKnowledgeSource


class CSVKnowledgeSource(BaseFileKnowledgeSource):
    """The files at `file_paths`, read as `.csv`."""

    reads_as: ClassVar[str | None] = ".csv"

    source_type: Literal["csv"] = "csv"
