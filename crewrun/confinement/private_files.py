"""Which files a model is never shown, whether it or a row names them: hidden files, and files of runs.

Files of runs are recognised by name, by a run folder next to them or by their first bytes; those of this run by path as
well. A file that the developer names is exempt.
"""

import os
import re
import unicodedata
from collections.abc import Callable
from functools import partial

from crewrun.confinement.own_files import current_own_files
from crewrun.confinement.place import Place
from crewrun.run_files import FILES_SUFFIX, FOLDER_SUFFIX, JOURNAL_NAME, RESULTS_SUFFIX, UNNAMED

# Long enough to include the schema of a result line, a summary or a manifest.
START_BYTES = 64
_START = re.compile(rb'(?:\xef\xbb\xbf)?\s*\{\s*"schema"\s*:\s*"crewrun\.(?:result|summary|run)/')
# `--fresh` adds a number to the name of the results file that it backs up.
_RESULTS = re.compile(
    rf".*{re.escape(RESULTS_SUFFIX.removesuffix('.jsonl'))}(?:\.\d+)?\.(?:jsonl|csv|tsv|parquet|xlsx)"
)


def folded(name: str) -> str:
    """`name` normalised the way lenient file systems compare names: without case, width, invisible characters, and
    trailing dots and spaces.
    """
    plain = unicodedata.normalize("NFKC", name)
    return "".join(one for one in plain if unicodedata.category(one) != "Cf").casefold().rstrip(". ")


def why_private(place: Place) -> str | None:
    """Why a model may not see what is at `place`, or None. Only the parts of the path below its home count."""
    if place.is_named:
        return None
    return _why_below(place.home, place.path) or _why_below(place.home, place.spelled)


def _why_below(home: str, path: str) -> str | None:
    place = home
    inner = os.path.relpath(path, home)
    for name in () if inner == os.curdir else inner.split(os.sep):
        if why := why_unlisted(place, name, partial(_is_in, place)):
            return why
        place = os.path.join(place, name)
        if _is_in(place, JOURNAL_NAME):  # `--run-dir` may give the folder any name
            return f"{name!r} is the state of a run"
    return None


def _is_in(folder: str, name: str) -> bool:
    return os.path.lexists(os.path.join(folder, name))


def why_unlisted(folder: str, name: str, is_there: Callable[[str], bool]) -> str | None:
    """Like `why_private`, for one name in a real `folder`; `is_there` says whether the folder has a certain file."""
    plain = folded(name)
    if plain.startswith(".") or (not plain and name):
        return f"{name!r} is hidden"
    if plain.endswith(FOLDER_SUFFIX) or plain.startswith(JOURNAL_NAME):
        return f"{name!r} is the state of a run"
    own = current_own_files.get()
    if os.path.join(folder, name) in own.secret_bearing:
        return f"{name!r} has a secret of the crew written into it"
    if os.path.join(folder, name) in own.private:
        return f"{name!r} belongs to this run"
    if _is_results(name, is_there):
        return f"{name!r} holds the results of a run"
    stem = name[: -len(FILES_SUFFIX)]
    if plain.endswith(FILES_SUFFIX) and (stem == UNNAMED or _is_results(stem, is_there)):
        return f"{name!r} holds files of a run's rows"
    return None


def _is_results(name: str, is_there: Callable[[str], bool]) -> bool:
    return bool(_RESULTS.fullmatch(folded(name))) or is_there(name + FOLDER_SUFFIX)


def why_withheld(start: bytes, about: os.stat_result) -> str | None:
    """Why a model may not see an open file that begins with `start`, whatever its name, or None."""
    if _START.match(start):
        return "it holds the results of a run, or its summary"
    own = current_own_files.get()
    if any(_is_same(path, about) for path in (*own.private, *own.secret_bearing, *_secrets())):
        return "it is another name of a hidden file, or of one of this run"
    return None


def _secrets() -> list[str]:
    """The .env files that keys are read from."""
    return [os.path.join(home, ".env") for home in (os.getcwd(), *current_own_files.get().homes)]


def _is_same(path: str, about: os.stat_result) -> bool:
    try:
        return os.path.samestat(os.stat(path), about)
    except OSError:
        return False
