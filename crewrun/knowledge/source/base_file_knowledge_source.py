"""`BaseFileKnowledgeSource`: knowledge in files, which are read when the source is created."""

from pathlib import Path
from typing import Any, ClassVar

from pydantic import Field, PrivateAttr

from crewrun.errors import DefinitionError
from crewrun.knowledge.places import KNOWLEDGE_FOLDER, find
from crewrun.knowledge.readers import read
from crewrun.knowledge.source.base_knowledge_source import BaseKnowledgeSource

Paths = Path | str | list[Path | str] | None


class BaseFileKnowledgeSource(BaseKnowledgeSource):
    """Files at `file_paths`, one or several, relative to a folder `knowledge`; see `places`.

    A subclass may override `load_content`, which returns the texts by path. Raises DefinitionError for a file that does
    not exist or cannot be read.
    """

    # The ending that decides how the files are read; None for the ending of each file.
    reads_as: ClassVar[str | None] = None

    file_path: Paths = None
    file_paths: Paths = Field(default_factory=list)
    content: dict[Any, str] = Field(default_factory=dict)
    safe_file_paths: list[Path] = Field(default_factory=list)

    _headings: dict[Path, str] = PrivateAttr(default_factory=dict)

    def model_post_init(self, context: Any, /) -> None:
        """Read the files."""
        self.safe_file_paths = [self.convert_to_path(path) for path in self._paths()]
        self.validate_content()
        self.content = self.load_content()

    def _paths(self) -> list[Path | str]:
        paths = self.file_paths or self.file_path
        several = list(paths) if isinstance(paths, list) else [paths] if paths else []
        if not several:
            raise DefinitionError(f"{type(self).__name__} needs file_paths, the files to read")
        return several

    def convert_to_path(self, path: Path | str) -> Path:
        """The place of the file `path`. Raises DefinitionError if it is nowhere."""
        return find(path, KNOWLEDGE_FOLDER)

    def load_content(self) -> dict[Any, str]:
        """The texts of the files by path."""
        documents = {path: read(path, self.reads_as) for path in self.safe_file_paths}
        self._headings = {path: document.heading for path, document in documents.items()}
        return {path: document.text for path, document in documents.items()}

    def add(self) -> None:
        """Cut the texts into passages, each headed by the name of its file."""
        for path, text in self.content.items():
            heading = self._heading(path)
            self.chunks += [f"[{heading}]\n{piece.strip()}" for piece in self._chunk_text(text)]

    def whole(self) -> str:
        """The texts, each headed by the name of its file."""
        if type(self).add is not BaseFileKnowledgeSource.add:
            return super().whole()
        return "\n\n".join(f"[{self._heading(path)}]\n{text.strip()}" for path, text in self.content.items())

    def _heading(self, path: Any) -> str:
        return self._headings.get(path) or Path(str(path)).name
