"""The formats of inputs: which one an input has, by a flag, its name or its content, and what opens it."""

import json
import os
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, Final, get_args

from crewrun.batch_flags import InputFormat
from crewrun.errors import UsageError
from crewrun.tables.reading import arrow, decompressor, excel
from crewrun.tables.reading.byte_input import ByteInput, RawInput
from crewrun.tables.reading.delimited import DelimitedReader
from crewrun.tables.reading.dialect import has_table
from crewrun.tables.reading.encodings import UTF_8, TextEncoding, decoder_of, find_encoding
from crewrun.tables.reading.input_options import InputOptions
from crewrun.tables.reading.json_lines import JsonLinesReader
from crewrun.tables.reading.json_values import JsonValuesReader
from crewrun.tables.reading.records import CHUNK_BYTES, TableReader
from crewrun.tables.suffixes import FORMATS_BY_SUFFIX, split_compression

# What is looked at to find a delimiter, and of a pipe all that decides on the encoding: some hundred records.
_HEAD_BYTES: Final = 256 * 1024
_LINES: Final = 100  # of which one is enough to be a JSON object
_ZIP_MAGIC: Final = b"PK\x03\x04"
_NAMES: Final[dict[InputFormat, str]] = {
    "jsonl": "JSON Lines",
    "json": "JSON",
    "csv": "CSV",
    "tsv": "TSV",
    "parquet": "Parquet",
    "arrow": "Arrow",
    "xlsx": "an Excel workbook",
}
_BINARY: Final = frozenset({"parquet", "arrow", "xlsx"})
# Said of inputs that are not there.
WHAT_INPUTS_ARE: Final = "a .jsonl, .json, .csv, .tsv, .parquet, .arrow or .xlsx file, text also as .gz"


@dataclass(slots=True)
class OpenTable:
    """A table that is open. `rows` is how many it has, where it says so itself. `is_exact`: its records take what its
    file takes.
    """

    format: InputFormat
    compression: str | None
    reader: TableReader
    notes: Sequence[str]
    rows: int | None = None
    encoding: str = UTF_8
    is_exact: bool = False
    _spooled: IO[bytes] | None = None

    def text_again(self, raw: RawInput) -> "TextStream":
        """The same text, from its beginning, in UTF-8."""
        return TextStream(_unpacked(raw, self.compression), self.encoding)

    def close(self) -> None:
        """Remove the temporary copy, if there is one."""
        if self._spooled is not None:
            self._spooled.close()


class TextStream:
    """A text in UTF-8, whatever encoding it is in."""

    def __init__(self, source: ByteInput, encoding: str) -> None:
        self._source = source
        self._decoder = None if encoding == UTF_8 else decoder_of(encoding)

    def read(self, size: int, /) -> bytes:
        """The next bytes, none at the end. Raises what reading the text does."""
        while chunk := self._source.read(size):
            if self._decoder is None:
                return chunk
            if text := self._decoder.decode(chunk):
                return text.encode("utf-8", "surrogateescape")
        return b""


def suffix_format(name: str) -> InputFormat | None:
    """The format that a name says, whatever its compression; None when it says none."""
    return FORMATS_BY_SUFFIX.get(Path(split_compression(name)[0]).suffix.lower())


def open_table(raw: RawInput, path: str, name: str, options: InputOptions) -> OpenTable:
    """The table in `raw`, which `path` names by its suffix, and messages by `name`. Blocks until a pipe has delivered
    its beginning. The caller closes `raw`.

    Raises UsageError when the format is not known or not what is there, and what its reader raises.
    """
    try:
        return _open(raw, path, name, options)
    except UnicodeDecodeError as wrong:
        raise UsageError(f"{name}: is not {wrong.encoding}: {wrong.reason} (--encoding)") from None
    except decompressor.errors() as broken:
        raise UsageError(f"{name}: cannot be read: {broken}") from None


def _open(raw: RawInput, path: str, name: str, options: InputOptions) -> OpenTable:
    stem, suffix = split_compression(path)
    named = FORMATS_BY_SUFFIX.get(Path(stem).suffix.lower())
    packed = ByteInput(raw)
    source, kind = decompressor.decompressed(packed, name, suffix, is_named=named is not None or suffix is not None)
    head = source.head(_HEAD_BYTES)
    format_name = options.format or named
    magic = _format_of_magic(head, name)
    if format_name is None:
        format_name = magic or _sniffed(head, name)
    elif head:
        _check_magic(format_name, magic, head, name)
    _check_flags(format_name, name, options)
    if format_name in _BINARY:
        file = raw.file if raw.is_seekable and kind is None else _spooled(source)
        if file is raw.file:
            raw.rewind()
        table = _open_binary(format_name, file, name, options)
        table._spooled = None if file is raw.file else file
    else:
        table = _open_text(format_name, kind, source, head, name, options)
    if options.format is None and named is None and format_name != "jsonl":
        table.notes = [_NAMES[format_name], *table.notes]
    return table


def _open_binary(format_name: InputFormat, file: Any, name: str, options: InputOptions) -> OpenTable:
    if format_name == "xlsx":
        book = excel.ExcelReader(file, name, options)
        return OpenTable(format_name, None, book, book.notes)
    table = arrow.ArrowReader(file, name, options, is_parquet=format_name == "parquet")
    return OpenTable(format_name, None, table, table.notes, table.rows)


def _open_text(
    format_name: InputFormat, kind: str | None, source: ByteInput, head: bytes, name: str, options: InputOptions
) -> OpenTable:
    encoding = find_encoding(source, head, name, options.encoding)
    if source.raw.is_seekable:
        source.raw.rewind()
        source = _unpacked(source.raw, kind)
    reader: TableReader
    if format_name in ("json", "jsonl"):
        _check_json(format_name, _text(head, encoding), name)
    if format_name in ("csv", "tsv"):
        reader = DelimitedReader(source, head, name, encoding, options, tabs=format_name == "tsv")
    elif format_name == "json" and not (_is_several(head) and _is_lines(_text(head, encoding))):
        reader = JsonValuesReader(source, encoding)
    else:
        reader = JsonLinesReader(source, encoding)
    is_exact = kind is None and encoding.name == UTF_8
    return OpenTable(format_name, kind, reader, reader.notes, None, encoding.name, is_exact)


def _unpacked(raw: RawInput, kind: str | None) -> ByteInput:
    """The bytes of a file without its compression, which has been found out."""
    plain = ByteInput(raw)
    return plain if kind is None else decompressor.decompressed(plain, "", None, is_named=False)[0]


def _format_of_magic(head: bytes, name: str) -> InputFormat | None:
    """The binary format that the first bytes show. Raises UsageError for an archive that is no table."""
    if head.startswith((arrow.PARQUET_MAGIC, arrow.ENCRYPTED_PARQUET_MAGIC)):
        return "parquet"
    if head.startswith((arrow.ARROW_MAGIC, arrow.FEATHER_1_MAGIC)):
        return "arrow"
    if head.startswith(excel.OLE_MAGIC):
        return "xlsx"
    if head.startswith(_ZIP_MAGIC):
        if any(part in head for part in (b"xl/", b"[Content_Types].xml", b"opendocument.spreadsheet")):
            return "xlsx"
        raise UsageError(f"{name}: is a ZIP archive; unpack it")
    return None


def _check_magic(format_name: InputFormat, magic: InputFormat | None, head: bytes, name: str) -> None:
    """Raise UsageError when a binary format is not there, or is there instead of a text."""
    if magic == format_name or (magic is None and format_name not in _BINARY):
        return
    if magic is not None:
        raise UsageError(f"{name}: is {_NAMES[magic]}, and not {_NAMES[format_name]}: --format {magic}")
    if format_name == "arrow" and head.startswith(b"\xff\xff\xff\xff"):
        return  # a stream
    if b"\0" in head[:4096]:
        raise UsageError(f"{name}: is not {_NAMES[format_name]}, or damaged: it does not begin as one")
    raise UsageError(f"{name}: is not {_NAMES[format_name]} but a text; if it is CSV: --format csv")


def _check_flags(format_name: InputFormat, name: str, options: InputOptions) -> None:
    """Raise UsageError for a flag that has no meaning for the format."""
    what = _NAMES[format_name]
    if options.delimiter is not None and format_name not in ("csv", "tsv"):
        raise UsageError(f"--delimiter: {name} is {what}, which has none")
    if options.sheet is not None and format_name != "xlsx":
        raise UsageError(f"--sheet: {name} is {what}, which has no sheets")
    if options.encoding is not None and format_name in _BINARY:
        raise UsageError(f"--encoding: {name} is {what}, which says itself how texts are encoded")


def _sniffed(head: bytes, name: str) -> InputFormat:
    """The format of a text whose name says none. Raises UsageError when that is not certain."""
    text = head.decode("utf-16" if head[:2] in (b"\xff\xfe", b"\xfe\xff") else "utf-8", "replace").lstrip("\ufeff")
    start = text.lstrip()
    if not start:
        return "jsonl"
    if start[0] == "[":
        return "json"
    if start[0] == "{":
        return "jsonl" if _is_lines(start) else "json"
    if "\0" not in text and has_table(text):
        return "csv"
    if any(line.lstrip().startswith("{") for line in text.split("\n")):
        return "jsonl"
    formats = "|".join(get_args(InputFormat))
    raise UsageError(f"{name}: neither its name nor its content says what it is: --format {formats}")


def _is_lines(text: str) -> bool:
    """Whether one of the first lines of a JSON text is an object; else it is an array, or its values go over lines."""
    text = text.lstrip()
    return not text or (text[0] == "{" and any(_is_object(line) for line in text.split("\n", _LINES)[:_LINES]))


def _is_several(head: bytes) -> bool:
    """Whether there are several lines, as far as can be seen: a single one may be an object that holds all rows."""
    return b"\n" in head.strip()


def _is_object(line: str) -> bool:
    if not line.startswith("{"):
        return False
    try:
        json.loads(line)
    except (ValueError, RecursionError):
        return False
    return True


def _check_json(format_name: InputFormat, text: str, name: str) -> None:
    """Raise UsageError for an array that is named as lines, and for a table without any JSON."""
    text = text.lstrip()
    line = text.partition("\n")[0].strip()
    if format_name == "jsonl" and (line in ("[", "[{") or (line.startswith("[") and line.endswith(","))):
        raise UsageError(f"{name}: is a JSON array, and not JSON Lines: --format json")
    if not any(line.lstrip()[:1] in ("{", "[", "}", "]") for line in text.split("\n")) and has_table(text):
        raise UsageError(f"{name}: is not {_NAMES[format_name]}; if it is CSV: --format csv")


def _text(head: bytes, encoding: TextEncoding) -> str:
    return decoder_of(encoding.name).decode(head).lstrip("\ufeff")


def _spooled(source: ByteInput) -> Any:
    """A temporary file with all of the input, for formats that are read from their end."""
    copy = tempfile.TemporaryFile()  # noqa: SIM115  (`OpenTable.close` closes it)
    while chunk := source.read(CHUNK_BYTES):
        copy.write(chunk)
    copy.seek(0, os.SEEK_SET)
    return copy
