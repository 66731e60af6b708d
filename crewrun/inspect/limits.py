"""The limits of accounts that runs have kept: list them, and forget them. See `limits/shared_state.py`."""

import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from crewrun.errors import UsageError
from crewrun.limits.account import limits_folder
from crewrun.limits.shared_file import SharingFailed, boot_id, read_state
from crewrun.limits.shared_state import REMEMBERED_S, SharedState

SCHEMA = "crewrun.limits/1"


@dataclass(frozen=True, slots=True)
class KeptLimits:
    """The limits of one account. `processes` share them now."""

    path: Path
    state: SharedState
    processes: int

    def to_json(self) -> dict[str, Any]:
        """For programs."""
        state = self.state
        return {
            "model": state.model,
            "host": state.host or None,
            "requests_per_min": state.requests.per_min,
            "tokens_per_min": state.tokens.per_min,
            "learned_requests_per_min": state.rate_per_min,
            "at_once": state.at_once or None,
            "used_at": round(state.used_on, 3),
            "processes": self.processes,
        }


def kept_limits() -> list[KeptLimits]:
    """What is kept, the account that was used last first. What cannot be read is left out: no run uses it either."""
    limits = [one for path in _files() if (one := _read(path)) is not None]
    return sorted(limits, key=lambda one: -one.state.used_on)


def forget(limits: Sequence[KeptLimits]) -> None:
    """Delete `limits`. Raises UsageError for one that cannot be deleted."""
    for one in limits:
        try:
            one.path.unlink(missing_ok=True)
        except OSError as refused:
            raise UsageError(f"{one.path}: cannot be deleted: {refused.strerror}") from None


def _files() -> list[Path]:
    try:
        return sorted(limits_folder().glob("*.json"))
    except (OSError, RuntimeError):
        return []


def _read(path: Path) -> KeptLimits | None:
    try:
        values = read_state(path.read_bytes(), path)
    except (OSError, SharingFailed):
        return None
    if values is None or abs(time.time() - values[1].used_on) > REMEMBERED_S:
        return None
    boot, state = values
    return KeptLimits(path, state, state.present(time.monotonic()) if boot == boot_id() else 0)
