"""`FileReadTool`: reads a text file, or some of its lines. `confinement` decides which files it may read."""

import os
from io import TextIOWrapper
from pathlib import Path
from typing import Any, BinaryIO, Self, TextIO

from pydantic import BaseModel, Field, model_validator

from crewrun.confinement.place import Place, open_regular, place_in
from crewrun.confinement.private_files import START_BYTES, why_private, why_withheld
from crewrun.tools.base import BaseTool

# How much of a line is read at once: a file may be a single line of gigabytes.
_PIECE_CHARS = 65_536
# A file with a null byte in its beginning is binary. git looks at the first 8,000 bytes.
_SNIFFED_BYTES = 8192


class _Lines(BaseModel, extra="forbid"):
    start_line: int = Field(default=1, ge=1, description="The first line to read; the file's first is 1.")
    line_count: int | None = Field(default=None, ge=1, description="How many lines to read; all when left out.")


class _File(_Lines):
    file_path: str = Field(description="The file to read, relative to the working directory.")


class _FileOrDefault(_Lines):
    file_path: str | None = Field(default=None, description="Another file to read, relative to the working directory.")


class FileReadTool(BaseTool):
    """Reads text files inside `root`, by default the working directory when it is called.

    If the model names no file, it reads `file_path`, which may be anywhere, even hidden. Other hidden files and the
    files of runs are not read. At most `max_chars` characters are returned.
    """

    name: str = "Read a file's content"
    description: str = "Reads a text file and returns its content, whole or from start_line on for line_count lines."
    args_schema: type[BaseModel] | None = _File
    file_path: str | None = None
    root: Path = Path()
    max_chars: int = Field(default=50_000, ge=1)

    def __init__(self, file_path: str | None = None, **fields: Any) -> None:
        super().__init__(**{**fields, "file_path": file_path})

    @model_validator(mode="after")
    def _describe_default_file(self) -> Self:
        if self.file_path is not None:
            self.description = f"{self.description} Without file_path it reads {self.file_path!r}."
            if self.args_schema is _File:
                self.args_schema = _FileOrDefault
        return self

    def _run(self, file_path: str | None = None, start_line: int = 1, line_count: int | None = None) -> str:
        path = file_path or self.file_path
        if not path:
            raise ValueError("file_path is missing, and there is no default file")
        place = place_in(self.root, path, self.file_path)
        if why := why_private(place):
            raise _refusal(path, why)
        if os.path.isdir(place.path):
            raise IsADirectoryError(f"{path!r} is a directory, not a file")
        with _opened(place, path) as file, TextIOWrapper(file, encoding="utf-8-sig", errors="replace") as text:
            start = file.read(START_BYTES)
            if not place.is_named and (why := why_withheld(start, os.fstat(file.fileno()))):
                raise _refusal(path, why)
            if b"\0" in start + file.read(_SNIFFED_BYTES):
                raise ValueError(f"{path!r} is a binary file, not text")
            file.seek(0)
            return _lines(text, start_line, line_count, self.max_chars)


def _opened(place: Place, path: str) -> BinaryIO:
    try:
        return open_regular(place)
    except FileNotFoundError:
        raise FileNotFoundError(f"there is no file {path!r}") from None


def _refusal(path: str, why: str) -> PermissionError:
    return PermissionError(
        f"{path!r} is not read, since {why}; read another file. Hidden files and files of runs are read only where "
        "the developer names them: FileReadTool(file_path=…), or root=… for what is in a folder"
    )


def _lines(file: TextIO, start_line: int, line_count: int | None, max_chars: int) -> str:
    """The requested lines, cut to `max_chars` with a note where. Never holds more of the file in memory than that.

    Raises ValueError if the file ends before `start_line`.
    """
    line, chars, pieces = 1, 0, []
    end = start_line + line_count if line_count else None
    while (end is None or line < end) and chars <= max_chars and (piece := file.readline(_PIECE_CHARS)):
        if line >= start_line:
            pieces.append(piece)
            chars += len(piece)
        line += piece.endswith("\n")
    if not pieces:
        if start_line > 1:
            raise ValueError(f"there is no line {start_line}: the file ends before it")
        return "[the file is empty]"
    text = "".join(pieces)
    if chars <= max_chars:
        return text
    text = text[:max_chars]
    return f"{text}\n[… cut after {max_chars:,} characters, in line {start_line + text.count(chr(10))}]"
