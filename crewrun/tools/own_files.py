"""`OwnFiles`: the files of a run and of its crew, by their paths. What file tools do about them is in `private_files`
and `crew_files`.
"""

import os
from collections.abc import Iterable
from contextvars import ContextVar
from dataclasses import dataclass, replace


@dataclass(frozen=True, slots=True)
class OwnFiles:
    """Real absolute paths; a folder stands for everything in it.

    `private` is what the run keeps: results, state, summary, cache, the files that its tasks wrote. `inputs`, and
    `crew`, which is what the crew was loaded from, may be read and not changed. `homes` are folders in which a crew is
    looked for.
    """

    private: frozenset[str] = frozenset()
    inputs: frozenset[str] = frozenset()
    crew: frozenset[str] = frozenset()
    homes: frozenset[str] = frozenset()

    def keeping(self, *paths: str | os.PathLike[str] | None) -> "OwnFiles":
        """With `paths` of the run's own, `-` and None left out."""
        return replace(self, private=self.private | _real(paths))

    def with_inputs(self, *paths: str | None) -> "OwnFiles":
        """With the files that inputs come from, and the folders that they are in: a crew may be found there."""
        files = _real(paths)
        return replace(self, inputs=self.inputs | files, homes=self.homes | set(map(os.path.dirname, files)))

    def with_crew(self, path: str | os.PathLike[str], files: Iterable[str]) -> "OwnFiles":
        """With the crew at `path`, a file, a folder or a reference, which was loaded from `files`."""
        home = [path] if os.path.isdir(path) else [os.path.dirname(path)] if os.path.isfile(path) else []
        return replace(self, crew=self.crew | _real(files), homes=self.homes | _real(home))


def _real(paths: Iterable[str | os.PathLike[str] | None]) -> frozenset[str]:
    return frozenset(os.path.realpath(path) for path in paths if path is not None and path != "-")


_NONE = OwnFiles()
# Those of the run whose row is at work; outside a run none are known.
current_own_files: ContextVar[OwnFiles] = ContextVar("crewrun_own_files", default=_NONE)
