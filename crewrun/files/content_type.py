"""Detects a file's MIME type: by its first bytes, else by its name, else by whether it is text.

The system's own tables of types are not used, so that a crew sends the same from every machine.
"""

import re
from codecs import BOM_UTF16_BE, BOM_UTF16_LE, getincrementaldecoder
from functools import cache
from mimetypes import MimeTypes
from urllib.parse import urlsplit

# How many bytes from the start of a file `detect` needs: every magic number, and enough to tell text from binary.
HEAD_BYTES = 4096
BINARY = "application/octet-stream"

# Offset, bytes and type, after https://www.iana.org/assignments/media-types and the formats' own specifications.
_MAGIC: tuple[tuple[int, bytes, str], ...] = (
    (0, b"\x89PNG\r\n\x1a\n", "image/png"),
    (0, b"\xff\xd8\xff", "image/jpeg"),
    (0, b"GIF87a", "image/gif"),
    (0, b"GIF89a", "image/gif"),
    (8, b"WEBP", "image/webp"),
    (8, b"WAVE", "audio/wav"),
    (8, b"AVI ", "video/x-msvideo"),
    (0, b"II*\x00", "image/tiff"),
    (0, b"MM\x00*", "image/tiff"),
    (0, b"%PDF-", "application/pdf"),
    (0, b"ID3", "audio/mpeg"),
    (0, b"OggS", "audio/ogg"),
    (0, b"fLaC", "audio/flac"),
    (0, b"\x1aE\xdf\xa3", "video/webm"),
    (4, b"ftypheic", "image/heic"),
    (4, b"ftypavif", "image/avif"),
    (4, b"ftypM4A", "audio/mp4"),
    (4, b"ftypqt", "video/quicktime"),
    (4, b"ftyp", "video/mp4"),
)
_IN_RIFF = frozenset({"image/webp", "audio/wav", "video/x-msvideo"})
_TEXTS = re.compile(r"text/.*|application/(?:.*\+)?(?:json|xml|yaml|x-yaml|toml|x-ndjson|jsonl|sql|javascript|x-sh)")
_OFFICE = "application/vnd.openxmlformats-officedocument"
_OFFICE_WORDS = {
    "doc": "wordprocessingml.document",
    "ppt": "presentationml.presentation",
    "xls": "spreadsheetml.sheet",
}
_MORE_NAMES = {
    ".flac": "audio/flac",
    ".heic": "image/heic",
    ".jsonl": "application/jsonl",
    ".m4a": "audio/mp4",
    ".md": "text/markdown",
    ".mkv": "video/x-matroska",
    ".ogg": "audio/ogg",
    ".opus": "audio/ogg",
    ".rst": "text/x-rst",
    ".toml": "application/toml",
    ".webp": "image/webp",
    ".yaml": "application/yaml",
    ".yml": "application/yaml",
    **{f".{kind}x": f"{_OFFICE}.{word}" for kind, word in _OFFICE_WORDS.items()},
    **dict.fromkeys((".log", ".ini", ".cfg", ".conf"), "text/plain"),
}
_OTHER_WORDS = {"audio/x-wav": "audio/wav", "audio/mp3": "audio/mpeg", "audio/x-m4a": "audio/mp4"}


def detect(head: bytes, filename: str | None) -> str:
    """The MIME type of content that begins with `head`; `application/octet-stream` if it cannot be told."""
    for start, mark, kind in _MAGIC:
        if head.startswith(mark, start) and (kind not in _IN_RIFF or head.startswith(b"RIFF")):
            return kind
    return of_name(filename or "") or ("text/plain" if _is_text(head) else BINARY)


def of_name(name: str) -> str | None:
    """The MIME type for the extension of a file name or URL, None without a known one."""
    path = urlsplit(name).path if "://" in name else name
    kind, _ = _types().guess_type(path.rpartition("/")[2], strict=False)
    return _OTHER_WORDS.get(kind or "", kind)


def is_text(content_type: str) -> bool:
    """Whether content of this type is read as text."""
    return _TEXTS.fullmatch(content_type) is not None and content_type != "image/svg+xml"


def _is_text(head: bytes) -> bool:
    if head.startswith((BOM_UTF16_LE, BOM_UTF16_BE)):
        return True
    try:
        # The last character may be incomplete.
        getincrementaldecoder("utf-8")().decode(head, final=len(head) < HEAD_BYTES)
    except UnicodeDecodeError:
        return False
    return b"\0" not in head


@cache
def _types() -> MimeTypes:
    types = MimeTypes()
    for extension, kind in _MORE_NAMES.items():
        types.add_type(kind, extension)
    return types
