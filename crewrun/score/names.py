"""The names of files with scores: `x.scores.jsonl` for `x.results.jsonl`, or `x.polite.scores.jsonl`."""

import re
from pathlib import Path

from crewrun.errors import UsageError
from crewrun.inspect.view import View
from crewrun.run_files import FOLDER_SUFFIX
from crewrun.tables.suffixes import COMPRESSIONS, FORMATS_BY_SUFFIX

SUFFIX = ".scores.jsonl"
_NAME = re.compile(r"[\w-]{1,60}")


def base_of(run: str, view: View | None) -> Path:
    """The file that scores are named after: the user's results file, else the run folder."""
    if view is None:
        return Path(run)
    return view.output or view.folder.path


def scores_path(base: Path, name: str | None = None) -> Path:
    """Where the scores of a run are, by its `base_of`. Raises UsageError for a name that no file should have."""
    if name is not None and not _NAME.fullmatch(name):
        raise UsageError(f"--name {name!r}: is part of a file's name; use letters, digits, _ and -")
    return base.with_name(f"{stem_of(base)}{f'.{name}' if name else ''}{SUFFIX}")


def stem_of(base: Path) -> str:
    """What is common to the names of results and scores: `x` for `x.results.csv.gz`."""
    stem = base.name.removesuffix(FOLDER_SUFFIX)
    for suffix in (*COMPRESSIONS, *FORMATS_BY_SUFFIX):
        stem = stem.removesuffix(suffix)
    return stem.removesuffix(".results") or stem


def name_in(path: Path, base: Path) -> str | None:
    """The `--name` of the scores at `path`, None if they have none."""
    return path.name.removeprefix(stem_of(base)).removesuffix(SUFFIX).removeprefix(".") or None
