"""`Definition`: a crew file once it is loaded."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from crewrun.crew.crew import Crew
from crewrun.errors import DefinitionError
from crewrun.target.base import Target


@dataclass(frozen=True, slots=True)
class Definition:
    """A crew and what its file says about running it.

    `target` is the crew, or what else a Python reference names. `batch` holds only the settings that the file makes,
    spelled as the fields of `spec.BatchSpec`. `path` is the file, the folder or the reference, as the user named it.
    `kind` is the format in words, such as "crew.yaml" or "CrewAI project". `files` are all that were read for it,
    Python modules left out.
    """

    target: Target
    batch: dict[str, Any]
    path: Path
    kind: str = "crew.yaml"
    files: frozenset[str] = frozenset()

    @property
    def crew(self) -> Crew:
        """The crew. Raises DefinitionError where that is not what it defines."""
        if self.target.crew is None:
            raise DefinitionError(f"{self.path}: is no crew, but a {type(self.target).__name__}")
        return self.target.crew

    @property
    def folder(self) -> Path:
        """The crew's folder, absolute: `path`, or where that file is."""
        return (self.path if self.path.is_dir() else self.path.parent).absolute()
