"""`Definition`: a loaded crew file."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from crewrun.crew.crew import Crew
from crewrun.errors import DefinitionError
from crewrun.target.base import Target


@dataclass(frozen=True, slots=True)
class Definition:
    """A crew and what its file says about running it.

    `target` is the crew, or whatever else a Python reference names. `batch` has only the settings that the file sets,
    under the field names of `spec.BatchSpec`. `path` is the file, folder or reference as the user named it. `kind` is
    the format in words, such as "crew.yaml" or "CrewAI project". `files` are all files that were read for it, except
    Python modules. `defaults` is the project file, if `batch` has its values too.
    """

    target: Target
    batch: dict[str, Any]
    path: Path
    kind: str = "crew.yaml"
    files: frozenset[str] = frozenset()
    defaults: str | None = None

    @property
    def crew(self) -> Crew:
        """The crew. Raises DefinitionError if the definition is of something else."""
        if self.target.crew is None:
            raise DefinitionError(f"{self.path}: is not a crew, but a {type(self.target).__name__}")
        return self.target.crew

    @property
    def folder(self) -> Path:
        """The crew's folder as an absolute path: `path` itself, or the folder of that file."""
        return (self.path if self.path.is_dir() else self.path.parent).absolute()
