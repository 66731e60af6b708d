"""`as_sources`: turns the values of `knowledge_sources` in users' code and files into sources."""

import os
from collections.abc import Mapping
from typing import Any

from pydantic import ValidationError

from crewrun.errors import DefinitionError, suggest
from crewrun.knowledge.source.base_knowledge_source import BaseKnowledgeSource
from crewrun.knowledge.source.crew_docling_source import CrewDoclingSource
from crewrun.knowledge.source.csv_knowledge_source import CSVKnowledgeSource
from crewrun.knowledge.source.excel_knowledge_source import ExcelKnowledgeSource
from crewrun.knowledge.source.json_knowledge_source import JSONKnowledgeSource
from crewrun.knowledge.source.pdf_knowledge_source import PDFKnowledgeSource
from crewrun.knowledge.source.string_knowledge_source import StringKnowledgeSource
from crewrun.knowledge.source.text_file_knowledge_source import TextFileKnowledgeSource

# The values of `source_type` in a file.
SOURCE_TYPES: Mapping[str, type[BaseKnowledgeSource]] = {
    "string": StringKnowledgeSource,
    "text_file": TextFileKnowledgeSource,
    "csv": CSVKnowledgeSource,
    "json": JSONKnowledgeSource,
    "pdf": PDFKnowledgeSource,
    "excel": ExcelKnowledgeSource,
    "docling": CrewDoclingSource,
}


def as_sources(value: Any) -> list[BaseKnowledgeSource] | None:
    """The sources for a list of sources, paths of files, and mappings with `source_type`. Raises DefinitionError."""
    if value is None:
        return None
    if not isinstance(value, list | tuple):
        raise DefinitionError(f"knowledge_sources needs a list of sources, not {type(value).__name__}")
    return [as_source(entry, f"knowledge_sources[{i}]: ") for i, entry in enumerate(value)]


def as_source(value: Any, where: str = "") -> BaseKnowledgeSource:
    """The source for `value`. Messages begin with `where`. Raises DefinitionError."""
    if isinstance(value, BaseKnowledgeSource):
        return value
    if isinstance(value, str | os.PathLike):
        return CrewDoclingSource(file_paths=[os.fspath(value)])
    if not isinstance(value, Mapping):
        raise DefinitionError(
            f"{where}is a {type(value).__name__}, not a source; write the path of a file, a mapping with "
            "source_type, or an object of a class with BaseKnowledgeSource as its base"
        )
    kind = str(value.get("source_type"))
    if kind not in SOURCE_TYPES:
        near = suggest(kind, list(SOURCE_TYPES)) if "source_type" in value else ""
        raise DefinitionError(f"{where}no source_type {kind!r}{near}; there are {', '.join(SOURCE_TYPES)}")
    fields = list(SOURCE_TYPES[kind].model_fields)
    unknown = next((key for key in value if key not in fields), None)
    if unknown is not None:
        raise DefinitionError(f"{where}a source of type {kind} has no {unknown!r}{suggest(str(unknown), fields)}")
    try:
        return SOURCE_TYPES[kind](**value)
    except ValidationError as invalid:
        faults = (f"{'.'.join(map(str, e['loc']))}: {e['msg']}" for e in invalid.errors(include_url=False))
        raise DefinitionError(f"{where}{'; '.join(faults)}") from None
