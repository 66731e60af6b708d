"""`flag_origins`: whether a flag's value was given on the command line or by its variable."""

import os
import sys
from collections.abc import Mapping
from typing import Any

from crewrun.batch_flags import batch_flags
from crewrun.flag_fields import FlagField


def flag_origins(values: Mapping[str, Any]) -> dict[str, str]:
    """Where the model and its address came from, by the flags' names, of those in `values` that are not None."""
    origins = {}
    for name in ("model", "base_url"):
        field = batch_flags()[name]
        if values.get(name) is not None:
            is_word = any(_is_flag(word, field) for word in sys.argv[1:])
            is_variable = not is_word and bool(os.environ.get(field.variable))
            origins[name] = f"{field.variable} in the environment" if is_variable else field.flag.short or field.option
    return origins


def _is_flag(word: str, field: FlagField) -> bool:
    """Whether a word of the command line gives the flag: `--model x`, `--model=x`, `-m x` or `-mx`."""
    short = field.flag.short
    return word.partition("=")[0] == field.option or (short is not None and word.startswith(short))
