"""`ExcelKnowledgeSource`: not supported by crewrun; the error says what to do instead."""

from typing import Any, Literal

from crewrun.errors import DefinitionError
from crewrun.knowledge.source.base_file_knowledge_source import BaseFileKnowledgeSource


class ExcelKnowledgeSource(BaseFileKnowledgeSource):
    """Raises DefinitionError, unless a subclass overrides `load_content`."""

    source_type: Literal["excel"] = "excel"

    def load_content(self) -> Any:
        """Raise DefinitionError."""
        raise DefinitionError(
            "ExcelKnowledgeSource: crewrun reads no Excel files; save each sheet as CSV and use CSVKnowledgeSource"
        )
