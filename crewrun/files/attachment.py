"""Turns files into the parts of a message: `attach`, and how a prompt lists them."""

from base64 import b64encode
from codecs import BOM_UTF16_BE, BOM_UTF16_LE
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple
from weakref import WeakValueDictionary

from crewrun.errors import InputInvalid
from crewrun.files.content_type import BINARY, is_text
from crewrun.files.file import File
from crewrun.files.source import Content
from crewrun.messages import Part

# OpenAI's names for audio formats. https://platform.openai.com/docs/guides/audio
_SOUNDS = {"mpeg": "mp3", "mp4": "m4a"}
# Module state, so that concurrent rows share the megabytes of their crew's files. A part stays here as long as a row
# holds it.
_PARTS: WeakValueDictionary[tuple[Any, ...], Part] = WeakValueDictionary()


class Attachment(NamedTuple):
    """A file in a message: its name there, its own file name, a description, and the part that goes to the model."""

    name: str
    filename: str
    about: str
    part: Part


def attach(
    files: Mapping[str, File],
    inputs: Mapping[str, Any],
    folder: Path | None,
    field: str,
    *,
    reads: bool = True,
) -> Iterator[Attachment]:
    """The files with `inputs` filled in. `folder` is the crew's, and `field` names the mapping in error messages.

    Without `reads`, for previewing a prompt, only text parts have their content, and placeholders may stay unfilled.
    Raises InputInvalid for a file that cannot be used.
    """
    for name, file in files.items():
        where = f"{field}.{name}"
        instances = list(file.filled(inputs, folder, where))
        for number, one in enumerate(instances, 1):
            own = name if len(instances) == 1 else f"{name}_{number}"
            if not reads and one.text and one.text == file.text and file.varies:
                yield Attachment(own, one.text, one.text, Part.of({"type": "file"}, f"{own}: {one.text}"))
                continue
            try:
                yield _attachment(own, _content(one, folder, reads=reads))
            except (ValueError, OSError) as error:
                raise InputInvalid(f"{where}: {error}") from None


def check(files: Mapping[str, File], inputs: Mapping[str, Any], folder: Path | None, field: str) -> None:
    """Raise InputInvalid for a file that `attach` could not use, as far as its first bytes show."""
    for name, file in files.items():
        for one in file.filled(inputs, folder, f"{field}.{name}"):
            try:
                _check_kind(one.look(folder, reads=False))
            except (ValueError, OSError) as error:
                raise InputInvalid(f"{field}.{name}: {error}") from None


def tell_of(attachments: Sequence[Attachment]) -> str:
    """The list of files at the end of a prompt, or an empty text."""
    if not attachments:
        return ""
    lines = (f"\n- {one.name}: {one.about}" for one in attachments)
    return f"\n\nThese files come with the task, in this order:{''.join(lines)}"


def parts_of(attachments: Iterable[Attachment]) -> tuple[Part, ...]:
    """The message parts that go to the model."""
    return tuple(one.part for one in attachments)


def _content(file: File, folder: Path | None, *, reads: bool) -> Content:
    """The file's content. A text is read even without `reads`, since previews and token counts include it."""
    content = file.look(folder, reads=reads)
    needs_data = not reads and content.data is None and content.url is None and is_text(content.content_type)
    return file.look(folder, reads=True) if needs_data else content


def _attachment(name: str, content: Content) -> Attachment:
    filename = content.filename or name
    about = f"{content.filename} ({content.content_type})" if content.filename else content.content_type
    if content.url is not None and content.content_type == BINARY:
        about = content.filename or content.url
    if content.data is None and content.url is None:
        _check_kind(content)
        return Attachment(name, filename, about, Part.of({"type": _wire_type(content)}, _label(name, content)))
    if not content.version:
        return Attachment(name, filename, about, _part(name, content))
    key = (name, content.filename, content.content_type, content.version)
    part = _PARTS.get(key)
    if part is None:
        part = _PARTS[key] = _part(name, content)
    return Attachment(name, filename, about, part)


def _label(name: str, content: Content) -> str:
    if content.url is not None:
        return f"{name}: {content.url}"
    return f"{name}: {content.filename or 'content'}, {content.content_type}, {content.size_bytes:,} bytes"


def _part(name: str, content: Content) -> Part:
    """The message part for `content`. Raises ValueError for content that no message can carry."""
    _check_kind(content)
    label, kind = _label(name, content), content.content_type
    if is_text(kind):
        return _text_part(name, content)
    wire_type = _wire_type(content)
    data = b64encode(content.data).decode() if content.data is not None else ""
    if wire_type == "input_audio":
        sound = kind.partition("/")[2]
        return Part.of({"type": wire_type, wire_type: {"data": data, "format": _SOUNDS.get(sound, sound)}}, label)
    url = f"data:{kind};base64,{data}" if content.url is None else content.url
    if wire_type == "file":
        return Part.of({"type": wire_type, wire_type: {"filename": content.filename or name, "file_data": url}}, label)
    return Part.of({"type": wire_type, wire_type: {"url": url}}, label)


def _check_kind(content: Content) -> None:
    kind, what = content.content_type, repr(content.filename) if content.filename else "the content"
    if content.url is None:
        if kind == BINARY:
            raise ValueError(f"{what} is not an image, PDF, text, audio or video of a known format")
    elif is_text(kind) or kind.startswith("audio/"):
        raise ValueError(f"{what} is {kind} at a URL, and crewrun fetches nothing from URLs; name a local file")


def _wire_type(content: Content) -> str:
    """The part's `type`. A URL whose content type is unknown counts as an image, as in CrewAI."""
    kind = content.content_type
    if kind.startswith("image/") or (content.url is not None and kind.startswith((BINARY, "application/x-"))):
        return "image_url"
    if kind.startswith("audio/"):
        return "input_audio"
    return "video_url" if kind.startswith("video/") else "file"


def _text_part(name: str, content: Content) -> Part:
    data = content.data or b""
    try:
        text = data.decode("utf-16" if data.startswith((BOM_UTF16_LE, BOM_UTF16_BE)) else "utf-8-sig")
    except UnicodeDecodeError:
        raise ValueError(
            f"{content.filename or 'the content'!r} is a text that is not in UTF-8; save it as UTF-8"
        ) from None
    head = f"{name} ({content.filename})" if content.filename else name
    return Part.of_text(f"File {head}:\n{text}")
