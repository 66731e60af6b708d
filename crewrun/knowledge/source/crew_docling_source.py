"""`CrewDoclingSource`, without docling: for text, Markdown, CSV, JSON and PDF."""

from pathlib import Path
from typing import Any, Literal

from crewrun.errors import DefinitionError
from crewrun.knowledge.source.base_file_knowledge_source import BaseFileKnowledgeSource


class CrewDoclingSource(BaseFileKnowledgeSource):
    """The files at `file_paths`, read by their endings. Raises DefinitionError for URLs and other files."""

    source_type: Literal["docling"] = "docling"
    document_converter: Any = None

    def convert_to_path(self, path: Path | str) -> Path:
        """The place of the file `path`. Raises DefinitionError for URLs."""
        if str(path).startswith(("http://", "https://")):
            raise DefinitionError(
                f"CrewDoclingSource: crewrun fetches no pages for knowledge ({path}); save it as a file, or give the "
                "agent ScrapeWebsiteTool"
            )
        return super().convert_to_path(path)
