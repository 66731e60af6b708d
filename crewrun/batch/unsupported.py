"""`check_supported` refuses settings that cannot work for another library's crew, whose calls bypass crewrun."""

from collections.abc import Mapping
from typing import Any

from crewrun.batch.settings import BatchSettings
from crewrun.batch_flags import batch_flags
from crewrun.errors import UsageError
from crewrun.target import Target


def check_supported(settings: BatchSettings, target: Target) -> None:
    """Raise UsageError for settings that have no effect on `target`, from flags, environment or file."""
    defaults = BatchSettings()
    used = {
        flag.option: getattr(settings, name)
        for name, flag in batch_flags().items()
        if flag.flag.concerns_calls and getattr(settings, name) != getattr(defaults, name)
    }
    check_flags_supported(target, {**used, "--max-concurrent auto": settings.is_adaptive or None})


def check_flags_supported(target: Target, flags: Mapping[str, Any]) -> None:
    """Raise UsageError when any of `flags` is set (not None) and would have no effect on `target`."""
    used = [flag for flag, value in flags.items() if value is not None]
    if target.uncounted_reason is not None and used:
        raise UsageError(
            f"{', '.join(used)}: cannot hold for this target; {target.uncounted_reason}. "
            "Leave out what is given by a flag, and unset what is in CREWRUN_… variables"
        )
