"""`Definition`: what a crew file comes to once it is loaded."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from crewrun.crew.crew import Crew


@dataclass(frozen=True, slots=True)
class Definition:
    """A crew and what its file says about running it.

    `batch` holds only the settings that the file makes, spelled
    as the fields of `spec.BatchSpec`. `path` is the file, as the user named it.
    """

    target: Crew
    batch: dict[str, Any]
    path: Path
