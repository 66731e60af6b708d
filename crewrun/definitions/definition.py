"""`Definition`: what a crew file comes to once it is loaded."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any


@dataclass(frozen=True, slots=True)
class Definition:
    """A crew and what its file says about running it.

    `target` is a `Crew`, or what else a Python reference names, as `crewrun.target.Target` promises. `batch` holds only
    the settings that the file makes, spelled as the fields of `spec.BatchSpec`. `path` is the file, the folder or the
    reference, as the user named it, and `kind` the format in words, such as "crew.yaml" or "CrewAI project".
    `files` are all that were read for it, Python modules left out.
    """

    target: Any
    batch: dict[str, Any]
    path: Path
    kind: str = "crew.yaml"
    files: frozenset[str] = frozenset()

    @property
    def folder(self) -> Path:
        """The crew's folder, absolute: `path`, or where that file is."""
        return (self.path if self.path.is_dir() else self.path.parent).absolute()
