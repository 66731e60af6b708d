"""Opens an input, whatever its format: `input_format` finds out which it is, and each has a reader of its own."""

import os
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from typing import IO, Any, Final

from crewrun.batch_flags import InputFormat
from crewrun.errors import UsageError
from crewrun.tables.reading import decompressor
from crewrun.tables.reading.byte_input import ByteInput, RawInput
from crewrun.tables.reading.encodings import UTF_8, TextEncoding, decoder_of, find_encoding
from crewrun.tables.reading.input_format import BINARY, NAMES, check_json, find_format, is_lines, is_several
from crewrun.tables.reading.input_options import InputOptions
from crewrun.tables.reading.json_lines import JsonLinesReader
from crewrun.tables.reading.records import CHUNK_BYTES, TableReader
from crewrun.tables.suffixes import FORMATS_BY_SUFFIX, Compression, split_suffixes

# What is looked at to find a delimiter, and of a pipe all that decides on the encoding: some hundred records.
_HEAD_BYTES: Final = 256 * 1024


@dataclass(slots=True)
class OpenTable:
    """A table that is open. `rows` is how many it has, where it says so itself. `is_exact`: its records take what its
    file takes.
    """

    format: InputFormat
    compression: Compression | None
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
    suffixes = split_suffixes(path)
    named = FORMATS_BY_SUFFIX.get(suffixes.suffix)
    is_named = named is not None or suffixes.compression is not None
    source, kind = decompressor.decompressed(ByteInput(raw), name, suffixes.compression, is_named=is_named)
    head = source.head(_HEAD_BYTES)
    format_name = find_format(head, name, named, options)
    if format_name in BINARY:
        file = raw.file if raw.is_seekable and kind is None else _spooled(source)
        if file is raw.file:
            raw.rewind()
        table = _open_binary(format_name, file, name, options)
        table._spooled = None if file is raw.file else file
    else:
        table = _open_text(format_name, kind, source, head, name, options)
    if options.format is None and named is None and format_name != "jsonl":
        table.notes = [NAMES[format_name], *table.notes]
    return table


def _open_binary(format_name: InputFormat, file: Any, name: str, options: InputOptions) -> OpenTable:
    if format_name == "xlsx":
        from crewrun.tables.reading.excel import ExcelReader

        book = ExcelReader(file, name, options)
        return OpenTable(format_name, None, book, book.notes)
    from crewrun.tables.reading.arrow import ArrowReader

    table = ArrowReader(file, name, options, is_parquet=format_name == "parquet")
    return OpenTable(format_name, None, table, table.notes, table.rows)


def _open_text(
    format_name: InputFormat, kind: Compression | None, source: ByteInput, head: bytes, name: str, options: InputOptions
) -> OpenTable:
    encoding = find_encoding(source, head, name, options.encoding)
    if source.raw.is_seekable:
        source.raw.rewind()
        source = _unpacked(source.raw, kind)
    reader: TableReader
    if format_name in ("json", "jsonl"):
        check_json(format_name, _text(head, encoding), name)
    if format_name in ("csv", "tsv"):
        from crewrun.tables.reading.delimited import DelimitedReader

        reader = DelimitedReader(source, head, name, encoding, options, tabs=format_name == "tsv")
    elif format_name == "json" and not (is_several(head) and is_lines(_text(head, encoding))):
        from crewrun.tables.reading.json_values import JsonValuesReader

        reader = JsonValuesReader(source, encoding)
    else:
        reader = JsonLinesReader(source, encoding)
    is_exact = kind is None and encoding.name == UTF_8
    return OpenTable(format_name, kind, reader, reader.notes, None, encoding.name, is_exact)


def _unpacked(raw: RawInput, kind: Compression | None) -> ByteInput:
    """The bytes of a file without its compression, which has been found out."""
    plain = ByteInput(raw)
    return plain if kind is None else decompressor.decompressed(plain, "", None, is_named=False)[0]


def _text(head: bytes, encoding: TextEncoding) -> str:
    return decoder_of(encoding.name).decode(head).lstrip("\ufeff")


def _spooled(source: ByteInput) -> Any:
    """A temporary file with all of the input, for formats that are read from their end."""
    copy = tempfile.TemporaryFile()  # noqa: SIM115  (`OpenTable.close` closes it)
    while chunk := source.read(CHUNK_BYTES):
        copy.write(chunk)
    copy.seek(0, os.SEEK_SET)
    return copy
