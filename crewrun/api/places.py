"""Where a run lives whose program names no output, and what continues a run."""

import os
import sys
from typing import Any, Final

from crewrun.api.crews import folder_name_of
from crewrun.batch.settings import BatchSettings
from crewrun.definitions import Definition
from crewrun.errors import UsageError

# What continues a run that was not begun by a program in a file.
SAME_CALL: Final = ("the", "same", "call", "of", "run_batch")


def default_output(crew: Any, definition: Definition, settings: BatchSettings) -> str:
    """The results file in the folder named after the crew, which is made if it is not there. Raises UsageError."""
    folder = f"{folder_name_of(crew, definition)}-run"
    try:
        os.makedirs(folder, 0o700, exist_ok=True)
    except OSError as refused:
        raise UsageError(f"{folder}: cannot be made: {refused.strerror}; name the results by output=") from None
    part = settings.part.suffix if settings.part else ""
    return os.path.join(folder, f"results{part}.{settings.output_format or 'jsonl'}")


def command() -> list[str]:
    """The words that continue a run of this program: its command line, where it has one that can be repeated."""
    is_in_file = hasattr(sys.modules["__main__"], "__file__") and not hasattr(sys, "ps1")
    if not is_in_file or "ipykernel" in sys.modules:
        return [*SAME_CALL]
    return [*sys.orig_argv]
