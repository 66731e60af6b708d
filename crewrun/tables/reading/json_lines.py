"""JSON Lines: an object per line, which is parsed later."""

import codecs
from collections.abc import Sequence

from crewrun.tables.reading.byte_input import ByteInput
from crewrun.tables.reading.decompressor import errors
from crewrun.tables.reading.encodings import UTF_8, TextEncoding, decoder_of
from crewrun.tables.reading.line_splitter import Line, LineSplitter
from crewrun.tables.reading.records import CHUNK_BYTES, TOO_LONG, Record, unreadable


class JsonLinesReader:
    """A record per line."""

    columns: Sequence[str] | None = None

    def __init__(self, source: ByteInput, encoding: TextEncoding) -> None:
        self.is_cut = False
        self.notes: Sequence[str] = [] if encoding.is_expected else [encoding.label]
        self._source = source
        self._decoder = None if encoding.name == UTF_8 else decoder_of(encoding.name)
        self._splitter = LineSplitter()
        self._has_ended = False

    def share(self) -> float | None:
        """The share of the file that has been read."""
        return self._source.raw.share()

    def take(self) -> list[Record]:
        """The lines that end in what is read next."""
        records: list[Record] = []
        try:
            while not records and not self._has_ended:
                chunk = self._source.read(CHUNK_BYTES)
                self._has_ended = not chunk
                lines = self._splitter.feed(self._in_utf_8(chunk))
                lines += self._splitter.end() if not chunk else []
                records = [self._record(line) for line in lines]
        except errors() as broken:
            self.is_cut = self._has_ended = True
            records = [unreadable(self._splitter.lines + 1, broken)]
        return records

    def _in_utf_8(self, chunk: bytes) -> bytes:
        """The text in UTF-8; bytes that cannot be decoded stay, and are found when their line is parsed."""
        if self._decoder is None:
            return chunk
        return self._decoder.decode(chunk, not chunk).encode("utf-8", "surrogateescape")

    def _record(self, line: Line) -> Record:
        problem = TOO_LONG if line.too_long else None
        text = line.text
        if line.number == 1:
            text = text.removeprefix(codecs.BOM_UTF8)
        elif text.startswith(b"\0") and not text.strip(b"\0\r"):
            self.is_cut = True  # a file system that lost the end of a file fills it with zeros
        return Record(line.number, text, problem, len(text) + 1)
