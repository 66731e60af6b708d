"""Which files pages may be written to: those that are pages already, and new ones."""

from pathlib import Path

from crewrun.errors import UsageError


def check_page(file: Path) -> None:
    """Raise UsageError when the file is there and is not an HTML page; OSError when it cannot be read."""
    if file.is_file() and not _is_page(file):
        raise UsageError(f"{file} exists and is not an HTML page, so it is not overwritten; name another file")


def _is_page(file: Path) -> bool:
    with file.open("rb") as existing:
        beginning = existing.read(1024).lstrip().lower()
    return not beginning or beginning.startswith((b"<!doctype html", b"<html"))
