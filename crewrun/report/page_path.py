"""Where the page of a report is written to, and why it may not be."""

import os
from pathlib import Path

from crewrun.batch.locations import check_output
from crewrun.diagram.page_file import check_page
from crewrun.errors import UsageError
from crewrun.inspect.view import View
from crewrun.tables.suffixes import COMPRESSIONS, FORMATS_BY_SUFFIX

_SUFFIX = ".html"


def default_path(run: str, view: View | None) -> str:
    """The page beside the results, named like them, `x.results.html`; in the working directory for a run whose results
    went to a stream.
    """
    results = str(view.output) if view is not None and view.output is not None else None
    if view is None:
        results = run
    if results is None and view is not None:
        return f"{view.folder.path.resolve().name}{_SUFFIX}"
    stem = str(results)
    for suffix in (*COMPRESSIONS, *FORMATS_BY_SUFFIX):
        stem = stem.removesuffix(suffix)
    return f"{stem}{_SUFFIX}"


def check_path(flag: str, output: str, folder: Path | None) -> Path:
    """The file to write a page to, with links resolved. `folder` is the run folder, in which no page may be.

    Raises UsageError, which names the `flag`.
    """
    path = Path(os.path.realpath(output))
    try:
        if folder is not None and path.is_relative_to(os.path.realpath(folder)):
            raise UsageError(
                f"{flag} {output}: is in the run folder, which has the run's own files only; name another file"
            )
        check_output(output)
        if path.exists() and not path.is_file():
            raise UsageError(f"{flag} {output}: is not a regular file; a page is written whole or not at all")
        check_page(path)
    except OSError as refused:
        raise UsageError(f"{flag} {output}: cannot be written: {refused.strerror}; name another file") from None
    return path
