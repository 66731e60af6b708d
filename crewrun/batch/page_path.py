"""Where the page of a report may be written, and where it is written by default."""

import os
from pathlib import Path

from crewrun.batch.descriptors import descriptor_of
from crewrun.batch.locations import check_output
from crewrun.batch.source import STDIN
from crewrun.diagram.page_file import check_page
from crewrun.errors import UsageError
from crewrun.inspect.view import View, nearby
from crewrun.tables.suffixes import COMPRESSIONS, FORMATS_BY_SUFFIX

_SUFFIX = ".html"


def default_path(run: str, view: View | None) -> str:
    """The page in the folder of the results, named like them: `x.results.html`. For a run whose results went to a
    stream, in the working directory, named like the run folder.
    """
    results = run if view is None else view.output
    if results is None and view is not None:
        return f"{view.folder.path.resolve().name}{_SUFFIX}"
    stem = nearby(str(results))
    for suffix in (*COMPRESSIONS, *FORMATS_BY_SUFFIX):
        stem = stem.removesuffix(suffix)
    return f"{stem}{_SUFFIX}"


def check_page_path(flag: str, page: str, folder: Path | None) -> Path:
    """The file to write a page to, with links resolved. `folder` is the run folder, in which no page may be.

    Raises UsageError, which names the `flag`.
    """
    path = Path(os.path.realpath(page))
    if folder is not None and path.is_relative_to(os.path.realpath(folder)):
        raise UsageError(f"{flag} {page}: is in the run folder, which has the run's own files; name another file")
    try:
        check_output(page)
    except UsageError as refused:
        raise UsageError(f"{flag} {refused}; name another file") from None
    if path.exists() and not path.is_file():
        raise UsageError(f"{flag} {page}: is not a regular file; a page is written whole or not at all")
    try:
        check_page(Path(page))
    except OSError as refused:
        raise UsageError(f"{flag} {page}: cannot be read: {refused.strerror}; name another file") from None
    return path


def check_report(page: str, folder: Path | None, *others: str | None) -> None:
    """Raise UsageError when a batch cannot write its report, or would write it over one of its `others`."""
    if page == STDIN or descriptor_of(page) is not None:
        raise UsageError(f"--report {page}: a page is written whole or not at all; name a file")
    for other in others:
        if other and other != STDIN and os.path.realpath(page) == os.path.realpath(other):
            raise UsageError(f"--report {page}: is {other} itself; name another file")
    check_page_path("--report", page, folder)
