"""Which format an input has: by a flag, its name or its first bytes. `open_table` opens it."""

import json
from typing import Final, get_args

from crewrun.batch_flags import InputFormat
from crewrun.errors import UsageError
from crewrun.tables.reading.input_options import InputOptions

_LINES: Final = 100  # of which one is enough to be a JSON object
# Parquet's encrypted files, and the first version of Feather, are recognised to say what to do with them:
# https://parquet.apache.org/docs/file-format/data-pages/encryption/, https://arrow.apache.org/docs/python/feather.html
PARQUET_MAGIC: Final = b"PAR1"
ENCRYPTED_PARQUET_MAGIC: Final = b"PARE"
ARROW_MAGIC: Final = b"ARROW1"
FEATHER_1_MAGIC: Final = b"FEA1"
# A container of Microsoft's, in which Office puts encrypted files, and old Excel its workbooks:
# https://learn.microsoft.com/openspecs/office_file_formats/ms-offcrypto
OLE_MAGIC: Final = b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1"
_ZIP_MAGIC: Final = b"PK\x03\x04"
NAMES: Final[dict[InputFormat, str]] = {
    "jsonl": "JSON Lines",
    "json": "JSON",
    "csv": "CSV",
    "tsv": "TSV",
    "parquet": "Parquet",
    "arrow": "Arrow",
    "xlsx": "an Excel workbook",
}
BINARY: Final = frozenset({"parquet", "arrow", "xlsx"})
# Said of inputs that are not there.
WHAT_INPUTS_ARE: Final = "a .jsonl, .json, .csv, .tsv, .parquet, .arrow or .xlsx file, text also as .gz"


def find_format(head: bytes, name: str, named: InputFormat | None, options: InputOptions) -> InputFormat:
    """The format of an input that begins with `head`. `named` is what its name says.

    Raises UsageError when it is not known or not what is there, or a flag has no meaning for it.
    """
    magic = _format_of_magic(head, name)
    format_name = options.format or named
    if format_name is None:
        format_name = magic or _sniffed(head, name)
    elif head:
        _check_magic(format_name, magic, head, name)
    _check_flags(format_name, name, options)
    return format_name


def is_lines(text: str) -> bool:
    """Whether one of the first lines of a JSON text is an object; else it is an array, or its values go over lines."""
    text = text.lstrip()
    return not text or (text[0] == "{" and any(_is_object(line) for line in text.split("\n", _LINES)[:_LINES]))


def is_several(head: bytes) -> bool:
    """Whether there are several lines, as far as can be seen: a single one may be an object that holds all rows."""
    return b"\n" in head.strip()


def check_json(format_name: InputFormat, text: str, name: str) -> None:
    """Raise UsageError for an array that is named as lines, and for a table without any JSON."""
    text = text.lstrip()
    line = text.partition("\n")[0].strip()
    if format_name == "jsonl" and (line in ("[", "[{") or (line.startswith("[") and line.endswith(","))):
        raise UsageError(f"{name}: is a JSON array, and not JSON Lines: --format json")
    if not any(line.lstrip()[:1] in ("{", "[", "}", "]") for line in text.split("\n")) and _has_table(text):
        raise UsageError(f"{name}: is not {NAMES[format_name]}; if it is CSV: --format csv")


def _format_of_magic(head: bytes, name: str) -> InputFormat | None:
    """The binary format that the first bytes show. Raises UsageError for an archive that is no table."""
    if head.startswith((PARQUET_MAGIC, ENCRYPTED_PARQUET_MAGIC)):
        return "parquet"
    if head.startswith((ARROW_MAGIC, FEATHER_1_MAGIC)):
        return "arrow"
    if head.startswith(OLE_MAGIC):
        return "xlsx"
    if head.startswith(_ZIP_MAGIC):
        if any(part in head for part in (b"xl/", b"[Content_Types].xml", b"opendocument.spreadsheet")):
            return "xlsx"
        raise UsageError(f"{name}: is a ZIP archive; unpack it")
    return None


def _check_magic(format_name: InputFormat, magic: InputFormat | None, head: bytes, name: str) -> None:
    """Raise UsageError when a binary format is not there, or is there instead of a text."""
    if magic == format_name or (magic is None and format_name not in BINARY):
        return
    if magic is not None:
        raise UsageError(f"{name}: is {NAMES[magic]}, and not {NAMES[format_name]}: --format {magic}")
    if format_name == "arrow" and head.startswith(b"\xff\xff\xff\xff"):
        return  # a stream
    if b"\0" in head[:4096]:
        raise UsageError(f"{name}: is not {NAMES[format_name]}, or damaged: it does not begin as one")
    raise UsageError(f"{name}: is not {NAMES[format_name]} but a text; if it is CSV: --format csv")


def _check_flags(format_name: InputFormat, name: str, options: InputOptions) -> None:
    """Raise UsageError for a flag that has no meaning for the format."""
    what = NAMES[format_name]
    if options.delimiter is not None and format_name not in ("csv", "tsv"):
        raise UsageError(f"--delimiter: {name} is {what}, which has none")
    if options.sheet is not None and format_name != "xlsx":
        raise UsageError(f"--sheet: {name} is {what}, which has no sheets")
    if options.encoding is not None and format_name in BINARY:
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
        return "jsonl" if is_lines(start) else "json"
    if "\0" not in text and _has_table(text):
        return "csv"
    if any(line.lstrip().startswith("{") for line in text.split("\n")):
        return "jsonl"
    formats = "|".join(get_args(InputFormat))
    raise UsageError(f"{name}: neither its name nor its content says what it is: --format {formats}")


def _is_object(line: str) -> bool:
    if not line.startswith("{"):
        return False
    try:
        json.loads(line)
    except (ValueError, RecursionError):
        return False
    return True


def _has_table(text: str) -> bool:
    from crewrun.tables.reading.dialect import has_table

    return has_table(text)
