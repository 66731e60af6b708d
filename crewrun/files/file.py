"""`File` and its subclasses: what users write for a file that goes to a model, with CrewAI's names.

ImageFile(source="chart.png")   PDFFile(source="https://…/report.pdf")   File(source=b"…")   File(source="{photo}")
"""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Annotated, Any, ClassVar, Self

from pydantic import BaseModel, BeforeValidator, ConfigDict, SkipValidation, ValidationError

from crewrun.errors import InputInvalid
from crewrun.files.folder import row_folder
from crewrun.files.source import AnySource, Content, FileBytes, FilePath, FileUrl, as_source
from crewrun.templates import compile_template

Inputs = Mapping[str, Any]
_NO_FILES = frozenset({str, int, float, bool, list, dict, type(None)})


class File(BaseModel):
    """A file of any kind. `source` is a path, a URL, bytes or an open file.

    A path or a URL may have `{placeholders}`, which a row's inputs fill in; such a path may not leave the crew's
    folder. `mode` is CrewAI's setting for files that are too large for a provider, and has no effect.
    """

    model_config = ConfigDict(arbitrary_types_allowed=True, hide_input_in_errors=True)

    # Prefixes of the content types that it accepts; an empty tuple accepts all.
    kinds: ClassVar[tuple[str, ...]] = ()

    source: Annotated[Any, BeforeValidator(as_source)]
    mode: Annotated[str, SkipValidation] = "auto"

    def __init__(self, **fields: Any) -> None:
        """Raises InputInvalid (a ValueError) for an unusable source, since it may come from a row's inputs."""
        try:
            super().__init__(**fields)
        except ValidationError as invalid:
            raise InputInvalid(f"{type(self).__name__}: {reason(invalid)}") from None

    @property
    def filename(self) -> str | None:
        """The file's name, None for bytes without a name."""
        name: str | None = self.source.filename
        return name

    @property
    def content_type(self) -> str:
        """The MIME type. Raises the same errors as reading the file."""
        return self.look(row_folder(), reads=False).content_type

    def read(self) -> bytes:
        """The content. Raises ValueError for a URL, since nothing is fetched."""
        data = self.look(row_folder(), reads=True).data
        if data is None:
            raise ValueError("crewrun passes URLs on to the model's provider and fetches nothing from them")
        return data

    def read_text(self, encoding: str = "utf-8") -> str:
        """The content as text."""
        return self.read().decode(encoding)

    def keys(self) -> list[str]:
        """Lets `{**ImageFile(source="chart.png")}` become `{"chart": …}`, as in CrewAI."""
        return [Path(self.filename or "").stem or "file"]

    def __getitem__(self, key: str) -> Self:
        if key not in self.keys():
            raise KeyError(key)
        return self

    @property
    def placeholders(self) -> frozenset[str]:
        """The inputs that its path or URL needs."""
        return compile_template(self.text).names

    @property
    def varies(self) -> bool:
        """Whether its path or URL may depend on the inputs."""
        return compile_template(self.text).varies

    def look(self, folder: Path | None, *, reads: bool) -> Content:
        """The content, with its bytes if `reads`. Raises ValueError or OSError, also for the wrong kind of content."""
        content: Content = self.source.look(folder, reads=reads)
        if not self.kinds or content.content_type.startswith(self.kinds):
            return content
        if content.url is None:
            what = repr(content.filename) if content.filename else "the content"
            raise ValueError(f"{what} is {content.content_type}, which is not for {type(self).__name__}")
        kind = self.kinds[0]  # the user's choice of class says more than a URL's extension
        return content._replace(content_type=f"{kind}*" if kind.endswith("/") else kind)

    def filled(self, inputs: Inputs, folder: Path | None, field: str) -> Iterator["File"]:
        """The file that `inputs` name, or several if the input is a list. Raises InputInvalid that mentions `field`."""
        template = compile_template(self.text)
        if not template.varies:
            yield self
            return
        keys = template.keys(inputs)
        for key in keys:
            if inputs.get(key, 0) is None or not str(inputs.get(key, 0)).strip():
                raise InputInvalid(f"{field}: input {key!r} is empty, but it has to name a file")
        only = keys[0] if keys else ""
        value = inputs.get(only)
        is_whole = any(self.text == f"{{{name}}}" for name in template.names | template.others)
        several = value if isinstance(value, list) and is_whole else [None]
        for one in several:
            text = template.render(inputs if one is None else {only: one}, field)
            try:
                source = as_source(text)
            except ValueError as error:
                raise InputInvalid(f"{field}: {reason(error)}") from None
            yield self.model_copy(update={"source": self._confined(source, folder)})

    def _confined(self, source: AnySource, folder: Path | None) -> AnySource:
        if not isinstance(source, FilePath):
            return source
        own = self.source._root if isinstance(self.source, FilePath) else None
        return source.confined_to(own or row_folder() or folder or Path())

    @property
    def text(self) -> str:
        """The path or URL, which may have placeholders; empty if the source is the content itself."""
        source = self.source
        if isinstance(source, FilePath):
            return source.path
        return source.url if isinstance(source, FileUrl) and source.url[:5].lower() != "data:" else ""


class ImageFile(File):
    """An image."""

    kinds = ("image/",)


class PDFFile(File):
    """A PDF."""

    kinds = ("application/pdf",)


class AudioFile(File):
    """An audio file."""

    kinds = ("audio/",)


class VideoFile(File):
    """A video."""

    kinds = ("video/",)


class TextFile(File):
    """A text file of any format."""

    kinds = ("text/", "application/")


def as_file(value: Any) -> File:
    """Convert anything that users may give for a file, including another library's file objects.

    Raises ValueError for anything that is not a file.
    """
    if isinstance(value, File):
        return value
    if isinstance(value, Mapping):
        if not {"source"} <= set(value) <= {"source", "mode"}:
            raise ValueError("a file written as a mapping has `source`, its path or URL")
        return File(source=as_source(value["source"]))
    kind = next((kind for kind in File.__subclasses__() if kind.__name__ == type(value).__name__), File)
    inner = getattr(value, "source", value)
    if isinstance(url := getattr(inner, "url", None), str):
        return kind(source=FileUrl(url=url))
    if getattr(inner, "path", None) is not None and not isinstance(inner, FilePath):
        return kind(source=FilePath(path=inner.path))
    if callable(read := getattr(inner, "read", None)) and hasattr(inner, "content_type"):
        return kind(source=FileBytes(data=read(), filename=getattr(inner, "filename", None)))
    return kind(source=as_source(inner))


def as_files(mapping: Any, whose: str) -> dict[str, File]:
    """`input_files` by name. Raises ValueError that names the entry which is not a file."""
    if not isinstance(mapping, Mapping):
        raise ValueError(f"{whose} is a mapping of names to files, not {type(mapping).__name__}")
    files: dict[str, File] = {}
    for name, value in mapping.items():
        if not isinstance(name, str) or not name.strip():
            raise ValueError(f"{whose}: {name!r} is not a name for a file")
        try:
            files[name] = as_file(value)
        except (ValueError, OSError) as error:
            raise ValueError(f"{whose}.{name}: {reason(error)}") from None
    return files


def is_file(value: Any) -> bool:
    """Whether `value` is a file object, ours or another library's."""
    return any(kind is File or kind.__module__.partition(".")[0] == "crewai_files" for kind in type(value).__mro__)


def files_among(inputs: Any) -> dict[str, File]:
    """The file objects among a kickoff's inputs, by name. CrewAI accepts files there too."""
    if not isinstance(inputs, Mapping):
        return {}
    return {name: as_file(value) for name, value in inputs.items() if type(value) not in _NO_FILES and is_file(value)}


def reason(error: Exception) -> str:
    """The error's message, without pydantic's text around it."""
    errors = getattr(error, "errors", None)
    return str(errors()[0]["msg"]).removeprefix("Value error, ") if callable(errors) else str(error)
