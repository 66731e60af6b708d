"""`OwnFiles`: the paths of a run's files and of its crew's. `private_files` and `crew_files` say what tools do about
them.
"""

import os
from collections.abc import Iterable
from contextvars import ContextVar
from dataclasses import dataclass, replace


@dataclass(frozen=True, slots=True)
class OwnFiles:
    """Real absolute paths; a folder stands for everything in it.

    `private`: what the run writes, i.e. results, state, summary, cache and the files of its tasks. `inputs` and `crew`,
    the files that the crew was loaded from, may be read but not written. `homes`: folders where crews are looked for.
    """

    private: frozenset[str] = frozenset()
    inputs: frozenset[str] = frozenset()
    crew: frozenset[str] = frozenset()
    homes: frozenset[str] = frozenset()

    def keeping(self, *paths: str | os.PathLike[str] | None) -> "OwnFiles":
        """With more `private` paths; `-` and None are skipped."""
        return replace(self, private=self.private | _real(paths))

    def with_inputs(self, *paths: str | None) -> "OwnFiles":
        """With the files that inputs come from, and their folders as `homes`."""
        files = _real(paths)
        return replace(self, inputs=self.inputs | files, homes=self.homes | set(map(os.path.dirname, files)))

    def with_crew(self, path: str | os.PathLike[str], files: Iterable[str]) -> "OwnFiles":
        """With the crew at `path` (a file, a folder or a reference), which was loaded from `files`."""
        home = [path] if os.path.isdir(path) else [os.path.dirname(path)] if os.path.isfile(path) else []
        return replace(self, crew=self.crew | _real(files), homes=self.homes | _real(home))


def _real(paths: Iterable[str | os.PathLike[str] | None]) -> frozenset[str]:
    return frozenset(os.path.realpath(path) for path in paths if path is not None and path != "-")


_NONE = OwnFiles()
# Of the run that the current row belongs to; empty outside a run.
current_own_files: ContextVar[OwnFiles] = ContextVar("crewrun_own_files", default=_NONE)
