"""Finds out in which encoding a text is: by its byte order mark, else UTF-8, UTF-16 or cp1252, where that is certain.

A file is read whole for it: what is not UTF-8 may come late, and what looks like cp1252 at first may be a UTF-8 file
with damage. Of a pipe, and of a compressed file's end, only the beginning counts.
"""

import codecs
import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

from crewrun.errors import UsageError
from crewrun.tables.reading.byte_input import ByteInput
from crewrun.tables.reading.decompressor import errors, is_untrustworthy

UTF_8: Final = "utf-8"
_CHUNK_BYTES: Final = 1 << 20
# Of a compressed file: decompressing this much takes about a third of a second.
_COMPRESSED_BYTES: Final = 64 << 20
_EVIDENCE_BYTES: Final = 1 << 20  # of what is not ASCII
# Damage, and not another encoding: a text of Western Europe has an accent or a sign every 50 to 500 characters.
_DAMAGED_BYTES: Final = 3
_DAMAGED_SHARE: Final = 1 / 2000

# Python's codecs that are not for the text of a file.
_NO_CHARSETS: Final = frozenset({"idna", "punycode", "unicode-escape", "raw-unicode-escape", "undefined", "charmap"})

# UTF-32 first: its mark for little endian begins with that of UTF-16.
_MARKS: Final = (
    (codecs.BOM_UTF8, UTF_8),
    (codecs.BOM_UTF32_LE, "utf-32"),
    (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)
_HIGH: Final = re.compile(rb"([A-Za-z]?)([\x80-\xff]+)(?=([A-Za-z]?))")
_MULTIBYTE: Final = re.compile(rb"[\xc2-\xdf][\x80-\xbf]|[\xe0-\xef][\x80-\xbf]{2}|[\xf0-\xf4][\x80-\xbf]{3}")
# A letter and a closing quote, dash or ellipsis in cp1252, as in „Spaß“: by chance they are a character of UTF-8.
_BY_CHANCE: Final = re.compile(rb"[\xc4-\xdf][\x84\x85\x91-\x97\xab\xbb]")
_UNDEFINED: Final = re.compile(rb"[\x81\x8d\x8f\x90\x9d]")  # no characters in cp1252
_LOW_ALPHAS: Final = frozenset(b"\x83\x8a\x8c\x8e\x9a\x9c\x9e\x9f")  # ƒ Š Œ Ž š œ ž Ÿ
_APOSTROPHES: Final = frozenset(b"\x91\x92\xb4")


@dataclass(frozen=True, slots=True)
class TextEncoding:
    """A codec's name, and whether it is what nobody has to be told: UTF-8, or what a flag says."""

    name: str
    is_expected: bool = True

    @property
    def label(self) -> str:
        """The name as people write it."""
        return self.name.upper() if self.name.startswith("utf") else self.name


def find_encoding(source: ByteInput, head: bytes, name: str, encoding: str | None) -> TextEncoding:
    """The encoding of a text that begins with `head`, which is unread. `encoding` is what the user says, if anything.

    Reads a seekable input, and rewinds it. Raises UsageError when the encoding is not certain, or there is none of that
    name; and what `source.read` raises.
    """
    if encoding is not None:
        codec = _codec(encoding)
        _check_mark(codec, head, name)
        return TextEncoding(codec)
    for mark, codec in _MARKS:
        if head.startswith(mark):
            return TextEncoding(codec, is_expected=codec == UTF_8)
    if wide := _without_mark(head):
        return TextEncoding(wide, is_expected=False)
    evidence = _read_evidence(_pieces(source, head))
    if evidence.is_utf_8 or _is_mixed(evidence.high):
        return TextEncoding(UTF_8)
    if not _is_like_cp1252(evidence.high):
        if evidence.is_little:
            return TextEncoding(UTF_8)
        raise UsageError(
            f"{name}: is not UTF-8, and may be cp1252 or not; say which encoding it is, "
            "such as --encoding cp1252, cp1250, mac_roman or shift_jis"
        )
    return TextEncoding("cp1252", is_expected=False)


def _codec(encoding: str) -> str:
    try:
        codec = codecs.lookup(encoding)
        "".encode(encoding)  # refuses codecs that are not for texts, such as base64
        if codec.name.replace("_", "-") in _NO_CHARSETS:
            raise LookupError(encoding)
    except (LookupError, ValueError):
        raise UsageError(
            f"--encoding {encoding}: there is no such encoding; common ones are utf-8, utf-16, cp1252, latin-1, "
            "cp1250, mac_roman, shift_jis, gb18030"
        ) from None
    return UTF_8 if codec.name == "utf-8-sig" else codec.name


def _check_mark(codec: str, head: bytes, name: str) -> None:
    """Raise UsageError for a text that lacks the byte order mark which its encoding needs."""
    if codec in ("utf-16", "utf-32") and head and not any(head.startswith(mark) for mark, of in _MARKS if of == codec):
        raise UsageError(
            f"{name}: is not {codec}, or lacks its byte order mark: --encoding {codec}-le or {codec}-be, "
            "or leave --encoding out"
        )


def _without_mark(head: bytes) -> str | None:
    """UTF-16 by its NULs: nearly every second byte of a text with much ASCII, such as delimiters and digits."""
    pairs = len(head) // 2
    if not pairs or b"\0" not in head:
        return None
    even, odd = head[: 2 * pairs : 2].count(0) / pairs, head[1 : 2 * pairs : 2].count(0) / pairs
    if odd > 0.3 and even < 0.02:
        return "utf-16-le"
    return "utf-16-be" if even > 0.3 and odd < 0.02 else None


def _pieces(source: ByteInput, head: bytes) -> Iterator[bytes]:
    """The text in pieces: all of a file, and of a pipe what can be looked at."""
    if not source.raw.is_seekable:
        yield head
        return
    most = None if source.is_plain else _COMPRESSED_BYTES
    size = 0
    try:
        while (most is None or size < most) and (piece := source.read(_CHUNK_BYTES)):
            size += len(piece)
            yield piece
    except errors() as broken:  # else it is found again when the rows are read
        if not source.is_plain and is_untrustworthy(broken):
            raise
        source.raw.leave_out_zeros(but=0)  # which have been decompressed to more than was there


@dataclass(frozen=True, slots=True)
class _Evidence:
    """`high` is what is not ASCII, with its neighbours, of `size_bytes` that were read."""

    high: bytes
    size_bytes: int
    is_utf_8: bool

    @property
    def is_little(self) -> bool:
        """Whether a few rows are damaged, which fail and say so."""
        count = sum(byte > 0x7F for byte in self.high)
        return count <= max(_DAMAGED_BYTES, self.size_bytes * _DAMAGED_SHARE)


def _read_evidence(pieces: Iterator[bytes]) -> _Evidence:
    decoder = codecs.getincrementaldecoder(UTF_8)()
    evidence: list[bytes] = []
    total = size = 0
    is_utf_8 = True
    for piece in pieces:
        total += len(piece)
        if piece.isascii() and not decoder.getstate()[0]:
            continue
        if size < _EVIDENCE_BYTES:
            runs = [match.group(1) + match.group(2) + match.group(3) for match in _HIGH.finditer(piece)]
            evidence.append(b" ".join(runs))
            size += len(evidence[-1])
        if is_utf_8:
            try:
                decoder.decode(piece)
            except UnicodeDecodeError:
                is_utf_8 = False
        if not is_utf_8 and size >= _EVIDENCE_BYTES:
            break
    return _Evidence(b" ".join(evidence), total, is_utf_8)


def _is_mixed(evidence: bytes) -> bool:
    """Whether much is UTF-8: then it is that, with rows that are not, which fail and say so."""
    rest = _MULTIBYTE.sub(lambda match: b"" if not _BY_CHANCE.fullmatch(match.group()) else match.group(), evidence)
    characters = len(_MULTIBYTE.findall(evidence)) - len(_BY_CHANCE.findall(rest))
    return characters * 10 > sum(byte > 0x7F for byte in rest)


def _is_like_cp1252(evidence: bytes) -> bool:
    """Whether the text is one of Western Europe in cp1252: letters with accents stand alone among others, and few of
    its signs are inside of words. In Greek, Cyrillic, Chinese or Japanese encodings nearly all letters are high bytes;
    in those of DOS and the Macintosh the letters are where cp1252 has signs.
    """
    if _UNDEFINED.search(evidence):
        return False
    odd = good = 0
    for match in _HIGH.finditer(evidence):
        before, run, after = match.groups()
        if len(run) > 2:
            odd += len(run)
            continue
        for byte in run:
            is_alpha = byte >= 0xC0 and byte not in (0xD7, 0xF7)
            if byte in (0xFE, 0xFF, 0xDE):  # ÿ, þ, Þ: far more often bytes that no text has
                odd += 1
            elif is_alpha or byte in _APOSTROPHES:
                good += 1
            elif byte in _LOW_ALPHAS or (before and after):
                odd += 1
            else:
                good += 1
    return odd * 4 < good


# What stands in a decoded text for bytes that could not be decoded.
UNDECODED: Final = re.compile("[\udc80-\udcff]")


def decoder_of(encoding: str) -> codecs.IncrementalDecoder:
    """A decoder that passes on bytes it cannot decode as surrogates; those of UTF-16 and UTF-32 raise
    UnicodeDecodeError.
    """
    return codecs.getincrementaldecoder(encoding)("surrogateescape")
