"""What cannot hold for another library's crew, whose calls go past crewrun: `check_holds` refuses it."""

from collections.abc import Mapping
from dataclasses import fields
from typing import Any

from crewrun.batch.settings import BatchSettings
from crewrun.errors import UsageError
from crewrun.target import Target

# The settings that are about calls.
_ABOUT_CALLS = (
    *("model", "base_url", "retries", "call_timeout", "rpm", "tpm", "outage_patience", "price", "budget"),
    *("row_budget", "max_forecast", "cache", "replay", "log_prompts"),
)


def check_holds(settings: BatchSettings, target: Target) -> None:
    """Raise UsageError for settings that `target` would not keep, wherever they were made."""
    defaults = {field.name: field.default for field in fields(BatchSettings)}
    flags = {f"--{name.replace('_', '-')}": getattr(settings, name) for name in _ABOUT_CALLS}
    changed = {flag: value for flag, value in flags.items() if value != defaults[flag[2:].replace("-", "_")]}
    check_flags(target, {**changed, "--max-concurrent auto": settings.is_adaptive or None})


def check_flags(target: Target, flags: Mapping[str, Any]) -> None:
    """Raise UsageError for those of `flags` that are given, not None, and that `target` would not keep."""
    given = [flag for flag, value in flags.items() if value is not None]
    if target.uncounted_reason is not None and given:
        raise UsageError(
            f"{', '.join(given)}: cannot hold for this target; {target.uncounted_reason}. "
            "Leave out what is given by a flag, and unset what is in CREWRUN_… variables"
        )
