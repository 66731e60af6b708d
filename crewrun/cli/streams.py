"""Results that go to an open descriptor or a device, which `-o` names: a run there has no state."""

import os
from dataclasses import replace
from pathlib import Path

from crewrun.batch.descriptors import copy_of
from crewrun.batch.settings import BatchSettings
from crewrun.terminal import say


def claim_output(settings: BatchSettings, stdout_fd: int) -> tuple[BatchSettings, int]:
    """The settings, in which `-o /dev/fd/3` is `-o -`, and the descriptor that standard output then is.

    Says that a run there has no state. Raises UsageError for a descriptor that is not open.
    """
    output = settings.output
    if output is None or output == "-":
        return settings, stdout_fd
    copy = copy_of("-o", output, stdout_fd)
    is_stateless = (copy is not None or _is_device(output)) and settings.run_dir is None
    needs_state = settings.fresh or settings.replay or settings.log_prompts  # refused there, in a line of its own
    if is_stateless and not needs_state and not settings.quiet:
        say(f"crewrun: -o {output}: a run there has no state, so if it stops it starts over; --run-dir DIR keeps one")
    return (settings, stdout_fd) if copy is None else (replace(settings, output="-"), copy)


def _is_device(output: str) -> bool:
    return os.path.exists(output) and Path(output).is_char_device()
