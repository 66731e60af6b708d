"""`look_at`: how far a run is at this moment, without its journal: the lock and `progress.json` alone.

So a run can be watched every second at no cost for it, also one of another machine whose folder is seen from here.
"""

import json
import socket
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from crewrun.runs.folder import RunFolder
from crewrun.runs.lock import is_held
from crewrun.runs.progress_file import read_progress

# A session writes every second, on a busy machine every few. A lock of another machine may not be seen here, so that
# its session counts as running for this long after its last sign of life; the two clocks may differ by as much.
_ALIVE_S = 30.0
_OVERDUE_S = 5.0


@dataclass(frozen=True, slots=True)
class LiveRun:
    """A run at one moment.

    Attributes:
        is_going: whether a process works on it.
        progress: its counters, as `--progress json` prints them; None before its first row, or of an older crewrun.
        silent_s: seconds without a sign of life, 0 as long as that is usual.
    """

    is_going: bool
    progress: dict[str, Any] | None
    silent_s: float = 0.0


def look_at(folder: RunFolder) -> LiveRun:
    """The run in `folder` now."""
    progress = read_progress(folder.progress)
    age_s = None if progress is None else _age_s(progress)
    is_going = is_held(folder.lock) or (age_s is not None and age_s < _ALIVE_S and _is_elsewhere(folder))
    if not is_going or age_s is None:
        return LiveRun(is_going, None)
    return LiveRun(is_going, progress, age_s if age_s > _OVERDUE_S else 0.0)


def _age_s(progress: dict[str, Any]) -> float | None:
    try:
        return (datetime.now().astimezone() - datetime.fromisoformat(progress["at"])).total_seconds()
    except (KeyError, TypeError, ValueError):
        return None


def _is_elsewhere(folder: RunFolder) -> bool:
    """Whether the last process that had the lock was on another machine."""
    try:
        host = json.loads(folder.lock.read_text(encoding="utf-8"))["host"]
    except (OSError, ValueError, KeyError, TypeError):
        return False
    return bool(host != socket.gethostname())
