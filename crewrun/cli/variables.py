"""Warnings about environment variables `CREWRUN_…` that have no effect: misspelt ones, and flags in a `.env` file."""

import os
from collections.abc import Iterable, Iterator

from crewrun.batch_flags import batch_flags
from crewrun.errors import nearest
from crewrun.limits.account import LOOPBACK_VARIABLE
from crewrun.tracebacks import FULL_TRACEBACK

_PREFIX = "CREWRUN_"
# Those that are no flag of a batch: the command line's own, those of flows and of programs in Python, and what
# `--notify` has for its command.
_OTHERS = (
    *("CREWRUN_CREW", "CREWRUN_FLOW_STATES", FULL_TRACEBACK, LOOPBACK_VARIABLE),
    *("CREWRUN_EXIT_CODE", "CREWRUN_TEXT", "CREWRUN_RESULTS", "CREWRUN_RUN"),
)


def unknown_variables() -> Iterator[str]:
    """A warning for each variable of the environment that is named like ours and is none."""
    names = [*(field.variable for field in batch_flags().values()), *_OTHERS]
    ends = [name.removeprefix(_PREFIX) for name in names]  # what all have in common makes none of them near
    for name in sorted(os.environ):
        if name.upper().startswith(_PREFIX) and name not in names:
            end = nearest(name[len(_PREFIX) :], ends)
            hint = f" (did you mean '{_PREFIX}{end}'?)" if end else ""
            yield f"{name}: there is no such variable, it has no effect{hint}"


def flags_in_env_file(path: str, names: Iterable[str]) -> Iterator[str]:
    """A warning for each of `names`, variables set by the `.env` file at `path`, that is a flag's: flags are read
    before the file.
    """
    flags = {field.variable: field for field in batch_flags().values()}
    for name in names:
        if name in flags or name == "CREWRUN_CREW":
            key = name.removeprefix(_PREFIX).lower()
            yield (
                f"{path}: {name} has no effect here: flags are read before the file; export it, or set {key!r} in "
                "crewrun.toml"
            )
