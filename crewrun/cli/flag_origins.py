"""Where a flag's value was given: on the command line, by its variable, in a file. `flag_origins`, `check_values`."""

import os
import re
import sys
from collections.abc import Mapping
from datetime import datetime
from typing import TYPE_CHECKING, Any

from crewrun.batch_flags import batch_flags
from crewrun.errors import UsageError
from crewrun.flag_fields import FlagField

if TYPE_CHECKING:
    from crewrun.batch.settings import BatchSettings
    from crewrun.definitions.definition import Definition

# A message of `BatchSettings.check` about one value: its flag, the value, what is wrong with it.
_ABOUT_A_VALUE = re.compile(r"--([a-z][a-z-]*)( '.*?'| [^:]*|): (.+)", re.DOTALL)


def flag_origins(values: Mapping[str, Any]) -> dict[str, str]:
    """Where the model and its address came from, by the flags' names, of those in `values` that are not None."""
    origins = {}
    for name in ("model", "base_url"):
        field = batch_flags()[name]
        if values.get(name) is not None:
            is_variable = _is_of_the_environment(field)
            origins[name] = f"{field.variable} in the environment" if is_variable else field.flag.short or field.option
    return origins


def check_values(settings: "BatchSettings", values: Mapping[str, Any], definition: "Definition") -> None:
    """Raise UsageError for invalid settings, which names the flag, or the variable or file that has the value.

    `values` are those of flags and variables, None where there is neither.
    """
    try:
        settings.check()
        settings.deadline_s(datetime.now().astimezone())
    except UsageError as wrong:
        match = _ABOUT_A_VALUE.fullmatch(str(wrong))
        name = match[1].replace("-", "_") if match else ""
        place = _place(name, values, definition) if match and name in batch_flags() else None
        if match is None or place is None:
            raise
        raise UsageError(f"{place}{match[2]}: {match[3]}") from None


def _place(name: str, values: Mapping[str, Any], definition: "Definition") -> str | None:
    """The variable or the file with the value of a flag, None for the command line."""
    if values.get(name) is not None:
        field = batch_flags()[name]
        return field.variable if _is_of_the_environment(field) else None
    if name not in definition.batch:
        return None
    from crewrun.definitions.project_file import find_defaults

    defaults = find_defaults()
    is_of_project = defaults.path is not None and defaults.batch.get(name) == definition.batch[name]
    return f"{defaults.path}: {name}" if is_of_project else f"{definition.path}: batch.{name}"


def _is_of_the_environment(field: FlagField) -> bool:
    return not any(_is_flag(word, field) for word in sys.argv[1:]) and bool(os.environ.get(field.variable))


def _is_flag(word: str, field: FlagField) -> bool:
    """Whether a word of the command line gives the flag: `--model x`, `--model=x`, `-m x` or `-mx`."""
    short = field.flag.short
    return word.partition("=")[0] == field.option or (short is not None and word.startswith(short))
