"""`OwnFiles`: the paths of a run's files and of its crew's. `private_files` and `crew_files` say what tools may do with
them.
"""

import os
from collections.abc import Iterable
from contextvars import ContextVar
from dataclasses import dataclass, replace

from crewrun.redaction.forms import FEWEST_CHARS
from crewrun.redaction.written_secrets import written_secrets

# No more of a crew's file is searched for secrets: a longer one holds data, not code or settings.
_MOST_CHARS = 1_000_000


@dataclass(frozen=True, slots=True)
class OwnFiles:
    """Real absolute paths; a folder stands for everything in it.

    `private` is what the run writes: results, state, summary, cache and the files of its tasks. `inputs`, and `crew`,
    the files that the crew was loaded from, may be read but not written. `secret_bearing` are those of the crew's files
    that have a secret written into them; they may not be read either. `homes` are the folders where crews are looked
    for.
    """

    private: frozenset[str] = frozenset()
    inputs: frozenset[str] = frozenset()
    crew: frozenset[str] = frozenset()
    secret_bearing: frozenset[str] = frozenset()
    homes: frozenset[str] = frozenset()

    def keeping(self, *paths: str | os.PathLike[str] | None) -> "OwnFiles":
        """A copy with more `private` paths; `-` and None are skipped."""
        return replace(self, private=self.private | _real(paths))

    def with_inputs(self, *paths: str | None) -> "OwnFiles":
        """A copy with the files that inputs come from, and their folders as `homes`."""
        files = _real(paths)
        return replace(self, inputs=self.inputs | files, homes=self.homes | set(map(os.path.dirname, files)))

    def with_crew(self, path: str | os.PathLike[str], files: Iterable[str]) -> "OwnFiles":
        """A copy with the crew at `path` (a file, a folder or a reference), which was loaded from `files`."""
        home = [path] if os.path.isdir(path) else [os.path.dirname(path)] if os.path.isfile(path) else []
        files = list(files)
        bearing = self.secret_bearing | _real(file for file in files if _has_secret(file))
        return replace(self, crew=self.crew | _real(files), secret_bearing=bearing, homes=self.homes | _real(home))


def _has_secret(path: str) -> bool:
    """Whether a file of the crew has a secret written into it, rather than a reference to one."""
    if not os.path.isfile(path):  # opening a FIFO waits for its writer
        return False
    try:
        with open(path, encoding="utf-8", errors="replace") as file:
            text = file.read(_MOST_CHARS)
    except OSError:
        return False
    return any(len(value.strip()) >= FEWEST_CHARS for value in written_secrets(text, is_python=path.endswith(".py")))


def _real(paths: Iterable[str | os.PathLike[str] | None]) -> frozenset[str]:
    return frozenset(os.path.realpath(path) for path in paths if path is not None and path != "-")


_NONE = OwnFiles()
# The files of the run that the current row belongs to; empty outside a run.
current_own_files: ContextVar[OwnFiles] = ContextVar("crewrun_own_files", default=_NONE)
