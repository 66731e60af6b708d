"""Where a file's content is: a path, a URL, or bytes. Which files may be read is decided here and nowhere else.

A URL is passed on to the model's provider; nothing is fetched from it.
"""

import os
import re
from base64 import b64decode
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple, Self, TypeAlias
from urllib.parse import unquote_to_bytes

from pydantic import BaseModel, ConfigDict, Field, PrivateAttr, field_validator

from crewrun.confinement.place import Place, open_regular, place_in
from crewrun.confinement.private_files import why_private, why_withheld
from crewrun.files import content_type
from crewrun.files.folder import row_folder

# OpenAI's limit for the files in one request. https://platform.openai.com/docs/guides/pdf-files
MAX_BYTES = 50_000_000
_ADDRESS = re.compile(r"(https?|gs|s3|data):", re.IGNORECASE)
_SCHEME = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*://|file:", re.IGNORECASE)


class Content(NamedTuple):
    """What to send of a file: its bytes, or their URL.

    `size_bytes` and `content_type` are known after reading only the beginning; `data` is None until all is read.
    """

    filename: str | None
    content_type: str
    size_bytes: int = 0
    data: bytes | None = None
    url: str | None = None
    version: tuple[int, ...] = ()


class _Source(BaseModel):
    model_config = ConfigDict(extra="forbid", hide_input_in_errors=True)

    def look(self, folder: Path | None, *, reads: bool) -> Content:
        """The content, with its bytes if `reads`; `folder` is the crew's.

        Raises ValueError or OSError for a file that is missing, may not be read, is empty or too large.
        """
        raise NotImplementedError


class FilePath(_Source):
    """A file on this machine. A relative path is looked up in the crew's folder, then in the working directory."""

    path: str

    # The folder that it may not leave.
    _root: Path | None = PrivateAttr(default=None)

    @field_validator("path", mode="before")
    @classmethod
    def _as_text(cls, path: Any) -> Any:
        return os.fspath(path) if isinstance(path, os.PathLike) else path

    def model_post_init(self, context: Any, /) -> None:
        """Confine a path that is constructed while a row runs."""
        self._root = row_folder()

    @property
    def filename(self) -> str:
        """The last component of the path."""
        return os.path.basename(self.path)

    def confined_to(self, root: Path) -> Self:
        """The same path, which may not leave `root`."""
        other = self.model_copy()
        other._root = root
        return other

    def look(self, folder: Path | None, *, reads: bool) -> Content:
        """See `_Source.look`."""
        place = self._allowed() if self._root is not None else self._developer_place(folder)
        if os.path.isdir(place.path):
            raise IsADirectoryError(f"{self.path!r} is a folder, not a file")
        try:
            file = open_regular(place)
        except FileNotFoundError:
            where = self._root or folder or Path()
            raise FileNotFoundError(f"no file {self.path!r} in {str(where.resolve())!r}") from None
        except OSError as error:
            raise OSError(f"{self.path!r} cannot be read: {error.strerror or error}") from None
        with file:
            return self._read(file, place, reads=reads)

    def _allowed(self) -> Place:
        place = place_in(self._root or Path(), self.path)
        if why := why_private(place):
            raise self._refusal(why)
        return place

    def _refusal(self, why: str) -> PermissionError:
        return PermissionError(f"{self.path!r} may not be named by a row, since {why}")

    def _developer_place(self, folder: Path | None) -> Place:
        """The developer's own path, which may lead anywhere."""
        inner = (folder or Path()) / self.path
        try:
            path = (inner if inner.exists() else Path(self.path)).resolve()
        except (ValueError, RuntimeError) as error:  # a null byte, a symlink loop
            raise ValueError(f"{self.path!r} is not a path: {error}") from None
        return Place(str(path.parent), str(path), str(path), is_named=True)

    def _read(self, file: BinaryIO, place: Place, *, reads: bool) -> Content:
        about = os.fstat(file.fileno())
        head = file.read(content_type.HEAD_BYTES)
        if not place.is_named and (why := why_withheld(head, about)):
            raise self._refusal(why)
        # Files that the system generates when they are read, as in /proc, have a size of 0.
        data = head + file.read(MAX_BYTES + 1 - len(head)) if reads else None
        size_bytes = len(data) if data is not None else max(about.st_size, len(head))
        _check_size(repr(self.path), size_bytes)
        kind = content_type.detect(head, self.filename)
        version = (about.st_dev, about.st_ino, about.st_size, about.st_mtime_ns)
        return Content(self.filename, kind, size_bytes, data, version=version)


class FileBytes(_Source):
    """The content itself."""

    data: bytes = Field(repr=False)
    filename: str | None = None

    def look(self, folder: Path | None, *, reads: bool) -> Content:
        """See `_Source.look`."""
        _check_size(repr(self.filename) if self.filename else "the content", len(self.data))
        kind = content_type.detect(self.data[: content_type.HEAD_BYTES], self.filename)
        return Content(self.filename, kind, len(self.data), self.data)


class FileStream(FileBytes):
    """The content of an open binary file, or of anything with `read`. It is read immediately and may then be closed."""

    def __init__(self, stream: Any, filename: str | None = None) -> None:
        if hasattr(stream, "seek"):
            stream.seek(0)
        name = filename or getattr(stream, "name", None)
        name = os.path.basename(name) if isinstance(name, str) else None  # a descriptor's name is its number
        super().__init__(data=stream.read(MAX_BYTES + 1), filename=name or None)


class FileUrl(_Source):
    """A URL that the model's provider reads, `https://…`, or a data URI, which contains the content itself."""

    url: str = Field(repr=False)
    filename: str | None = None

    @field_validator("url")
    @classmethod
    def _is_address(cls, url: str) -> str:
        check_address(url)
        return url

    def look(self, folder: Path | None, *, reads: bool) -> Content:
        """See `_Source.look`."""
        if is_data(self.url):
            return self._decoded()
        path = self.url.partition("?")[0].partition("#")[0]
        kind = content_type.of_name(path) or content_type.BINARY
        return Content(self.filename or path.rstrip("/").rpartition("/")[2] or None, kind, url=self.url)

    def _decoded(self) -> Content:
        about, _, encoded = self.url.partition(",")
        _check_size("the data URI", len(encoded) * 3 // 4)
        try:
            plain = unquote_to_bytes(encoded)
            data = b64decode(plain, validate=True) if about.lower().endswith(";base64") else plain
        except ValueError as error:
            raise ValueError(f"{about[:40]!r} is a data URI whose content is not base64: {error}") from None
        _check_size("the data URI", len(data))
        kind = about[len("data:") :].partition(";")[0].strip().lower()
        return Content(
            self.filename, kind or content_type.detect(data[: content_type.HEAD_BYTES], None), len(data), data
        )


AnySource: TypeAlias = FilePath | FileBytes | FileUrl


def as_source(value: Any) -> AnySource:
    """Convert a path, a URL, bytes, an open file or a source to a source. Raises ValueError for anything else."""
    if isinstance(value, FilePath | FileBytes | FileUrl):
        return value
    if isinstance(value, str):
        if not value.strip():
            raise ValueError("an empty text does not name a file")
        if is_address(value):
            return FileUrl(url=value.strip())
        if _SCHEME.match(value):
            raise ValueError(f"{value[:80]!r} is not a URL for a model; those begin with https: or data:")
        return FilePath(path=value)
    if isinstance(value, os.PathLike):
        return FilePath(path=os.fspath(value))
    if isinstance(value, bytes | bytearray | memoryview):
        return FileBytes(data=bytes(value))
    if hasattr(value, "read"):
        return FileStream(value)
    raise ValueError(f"a file is a path, a URL, bytes or an open file, not {type(value).__name__}")


def is_address(text: str) -> bool:
    """Whether `text` is a URL to pass on, not a path."""
    return _ADDRESS.match(text.strip()) is not None


def is_data(url: str) -> bool:
    """Whether `url` is a data URI."""
    return url[:5].lower() == "data:"


def check_address(url: str) -> None:
    """Raise ValueError for a text that cannot be a URL for a model."""
    if not is_address(url):
        raise ValueError(f"{url[:80]!r} is not a URL for a model; those begin with https: or data:")
    if is_data(url):
        if "," not in url:
            raise ValueError(f"{url[:40]!r} is not a data URI, which has the form data:TYPE;base64,CONTENT")
    elif any(character.isspace() or not character.isprintable() for character in url):
        raise ValueError(f"{url[:80]!r} contains spaces or control characters, so it is not a URL")


def _check_size(what: str, size_bytes: int) -> None:
    if not size_bytes:
        raise ValueError(f"{what} is empty")
    if size_bytes > MAX_BYTES:
        raise ValueError(f"{what} is larger than {MAX_BYTES // 1_000_000} MB, the limit for files in a message")
