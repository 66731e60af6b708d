"""Tables as other programs write them: each runs as it is, or is refused with the flag to use."""

import bz2
import codecs
import gzip
import io
import json
import lzma
import sys
from collections.abc import Callable, Sequence
from datetime import date, datetime, time, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any, NamedTuple

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import xlsxwriter
import zstandard
from support.command import parse_rows, read_rows, write_crew
from support.forks import crewrun, start

from crewrun.errors import UsageError
from crewrun.extras import install_command
from crewrun.tables.reading.byte_input import RawInput
from crewrun.tables.reading.input_options import InputOptions
from crewrun.tables.reading.open_table import open_table


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A working directory with a crew of the offline model."""
    write_crew(tmp_path)
    return tmp_path


class Table(NamedTuple):
    """A file, the rows that it has, and what is said about it on stderr."""

    id: str
    name: str
    content: bytes
    rows: Sequence[dict[str, Any]]
    note: str = ""
    flags: Sequence[str] = ()


OWLS = {"topic": "Größe, Maß", "n": "3,50"}
ROWS = [OWLS, {"topic": 'zwei\nZeilen "x"', "n": ""}]

TABLES = [
    Table(
        "Excel, German: CSV",
        "in.csv",
        'topic;n\r\nGröße, Maß;3,50\r\n"zwei\nZeilen ""x""";\r\n'.encode("cp1252"),
        ROWS,
        "in.csv: semicolons, cp1252\n",
    ),
    Table(
        "Excel, German: CSV UTF-8",
        "in.csv",
        codecs.BOM_UTF8 + 'topic;n\r\nGröße, Maß;3,50\r\n"zwei\nZeilen ""x""";\r\n'.encode(),
        ROWS,
        "in.csv: semicolons\n",
    ),
    Table(
        "Excel, English: CSV",
        "in.csv",
        b'topic,n\r\n"caf\xe9, ""a""",3.50\r\nna\xefve,1\r\n',
        [{"topic": 'café, "a"', "n": "3.50"}, {"topic": "naïve", "n": "1"}],
        "in.csv: cp1252\n",
    ),
    Table(
        "Excel, English: CSV UTF-8",
        "IN.CSV",
        codecs.BOM_UTF8 + 'topic,n\r\n"Größe, Maß","3,50"\r\n"zwei\nZeilen ""x""",\r\n'.encode(),
        ROWS,
    ),
    Table(
        "Excel: Unicode text",
        "in.txt",
        'topic\tn\r\nGröße, Maß\t3,50\r\n"zwei\nZeilen ""x"""\t\r\n'.encode("utf-16"),
        ROWS,
        "in.txt: CSV, tabs, UTF-16\n",
    ),
    Table(
        "Excel: text with tabs",
        "in.tab",
        'topic\tn\r\nGröße, Maß\t3,50\r\n"zwei\nZeilen ""x"""\t\r\n'.encode("cp1252"),
        ROWS,
        "in.tab: cp1252\n",
    ),
    Table(
        "tabs beside commas and semicolons in each text",
        "in.csv",
        b"topic; a, b\tn\tm\nx; a, b\t1\t2\ny; c, d\t3\t4\n",
        [{"topic; a, b": "x; a, b", "n": "1", "m": "2"}, {"topic; a, b": "y; c, d", "n": "3", "m": "4"}],
        "in.csv: tabs\n",
        ("--map", "topic=topic; a, b"),
    ),
    Table(
        "values beside the columns that are needed",
        "in.csv",
        b"topic,n,\na,1,x\nb,2,y\n",
        [{"topic": "a"}, {"topic": "b"}],
        "in.csv: column 3, which has no name, is left out\n",
        ("--fields", "topic"),
    ),
    Table("lines as values", "in.csv", b"topic\na, b\n", [{"topic": "a, b"}], "", ("--delimiter", "tab")),
    Table("Excel: sep=", "in.csv", "sep=|\r\ntopic|n\r\nGröße, Maß|3,50\r\n".encode(), [OWLS], "in.csv: pipes\n"),
    Table(
        "Excel: empty columns and rows below and beside the table",
        "in.csv",
        "topic;n;;;\r\nGröße, Maß;3,50;;;\r\n;;;;\r\n;;;;\r\n".encode(),
        [OWLS],
        "in.csv: semicolons, columns 3 to 5, which have no names, are left out\n",
    ),
    Table(
        "Excel for the Macintosh: line ends",
        "in.csv",
        b"topic,n\rowls,1\rbats,2\r",
        [{"topic": "owls", "n": "1"}, {"topic": "bats", "n": "2"}],
    ),
    Table("Google Sheets: CSV", "Tickets - Sheet1.csv", 'topic,n\r\n"Größe, Maß","3,50"\r\n'.encode(), [OWLS]),
    Table("Google Sheets: TSV", "Tickets - Sheet1.tsv", "topic\tn\r\nGröße, Maß\t3,50\r\n".encode(), [OWLS]),
    Table(
        "pandas: to_csv with the index",
        "in.csv",
        ',topic,n\n0,"Größe, Maß","3,50"\n1,b,\n'.encode(),
        [OWLS, {"topic": "b", "n": ""}],
        "in.csv: column 1, which has no name and counts the rows, is left out\n",
    ),
    Table(
        "pandas: to_csv without it, gzip", "in.csv.gz", gzip.compress('topic,n\n"Größe, Maß","3,50"\n'.encode()), [OWLS]
    ),
    Table("pandas: to_csv, bz2", "in.csv.bz2", bz2.compress('topic,n\n"Größe, Maß","3,50"\n'.encode()), [OWLS]),
    Table("pandas: to_csv, xz", "in.csv.xz", lzma.compress('topic,n\n"Größe, Maß","3,50"\n'.encode()), [OWLS]),
    Table(
        "pandas: to_json",
        "in.json",
        json.dumps([{"topic": "Größe, Maß", "n": 3.5}, {"topic": "b", "n": None}]).encode(),
        [{"topic": "Größe, Maß", "n": 3.5}, {"topic": "b", "n": None}],
    ),
    Table("pandas: to_json, lines", "in.json", b'{"topic":"a"}\n{"topic":"b"}\n', [{"topic": "a"}, {"topic": "b"}]),
    Table("DuckDB: COPY", "in.csv", 'topic,n\n"Größe, Maß","3,50"\n'.encode(), [OWLS]),
    Table("DuckDB: COPY with pipes", "in.csv", "topic|n\nGröße, Maß|3,50\n".encode(), [OWLS], "in.csv: pipes\n"),
    Table(
        "DuckDB: COPY as a JSON array",
        "in.json",
        b'[\n\t{"topic":"a","n":[1,2]},\n\t{"topic":"b","n":null}\n]\n',
        [{"topic": "a", "n": [1, 2]}, {"topic": "b", "n": None}],
    ),
    Table("PostgreSQL: COPY as CSV", "in.csv", 'topic,n\n"Größe, Maß","3,50"\n"",\n'.encode(), [OWLS]),
    Table(
        "PostgreSQL: psql --csv into a pipe",
        "-",
        'topic,n\n"Größe, Maß","3,50"\nb,1\n'.encode(),
        [OWLS, {"topic": "b", "n": "1"}],
        "standard input: CSV\n",
    ),
    Table(
        "jq: objects over lines",
        "in.json",
        b'{\n  "topic": "a"\n}\n{\n  "topic": "b"\n}\n',
        [{"topic": "a"}, {"topic": "b"}],
    ),
    Table(
        "Jira: columns of one name, with the columns that are needed",
        "in.csv",
        b"topic,Comment,Comment,Sprint,Sprint\nlate,a,b,,\n",
        [{"topic": "late"}],
        flags=("--fields", "topic"),
    ),
    Table(
        "PowerShell: Export-Csv",
        "in.csv",
        '"topic","n"\r\n"Größe, Maß","3,50"\r\n'.encode("utf-16-le"),
        [OWLS],
        "in.csv: UTF-16-LE\n",
    ),
    Table(
        "a blank behind each comma",
        "in.csv",
        b'topic, n\n"a, b", "c, d"\n"e", "f"\n',
        [{"topic": "a, b", "n": "c, d"}, {"topic": "e", "n": "f"}],
    ),
    Table(
        "a header alone in UTF-16",
        "in.csv",
        codecs.BOM_UTF16_LE + "topic\n".encode("utf-16-le"),
        [],
        "in.csv: UTF-16\nwarning: in.csv: has no rows\n",
    ),
    Table("one column", "in.csv", b'topic\nowls\n"bats, and owls"\n', [{"topic": "owls"}, {"topic": "bats, and owls"}]),
    Table(
        "JSON Lines in UTF-16",
        "in.jsonl",
        '{"topic":"Größe"}\n{"topic":"b"}\n'.encode("utf-16"),
        [{"topic": "Größe"}, {"topic": "b"}],
        "in.jsonl: UTF-16\n",
    ),
    Table(
        "JSON Lines in cp1252",
        "in.ndjson",
        '{"topic":"Größe"}\n'.encode("cp1252"),
        [{"topic": "Größe"}],
        "in.ndjson: cp1252\n",
    ),
]


@pytest.mark.parametrize("table", TABLES, ids=lambda table: table.id)
def test_a_table_runs_as_it_is(folder: Path, table: Table) -> None:
    """With its rows as the program that wrote it has them; what is not usual is said once."""
    stdin = table.content if table.name == "-" else None
    if stdin is None:
        (folder / table.name).write_bytes(table.content)
    done = crewrun("batch", table.name, "-o", "-", "-j1", "--ordered", *table.flags, cwd=folder, stdin=stdin)
    rows = parse_rows(done.stdout)
    assert (done.returncode, [row["input"] for row in rows]) == (0, table.rows), done.stderr
    assert done.stderr.partition(f"{len(rows)} ok")[0] == table.note


REFUSED = {
    "twice.csv": (
        b"Summary,Comment,Comment,Sprint,Sprint,Sprint\nlate,a,b,,,\n",
        "twice.csv:1: the CSV header names the column 'Comment' twice (columns 2 and 3), and 1 more likewise; rename "
        "them, or take the columns that you need, without these: --fields NAME,NAME",
    ),
    "unnamed.csv": (
        b"topic,,n\na,b,c\n",
        "unnamed.csv:1: the CSV header has no name for column 2; name it, or take the columns that you need: --fields "
        "NAME,NAME",
    ),
    "beside.csv": (
        b"topic,,\na,b,\nc,d,\ne,f,\n",
        "beside.csv:1: the CSV header has no name for column 2; name it, or take the columns that you need: --fields "
        "NAME,NAME",
    ),
    "table.json": (b"topic,n\na,1\n", "table.json: is not JSON; if it is CSV: --format csv"),
    "lines.jsonl": (b"topic;n\na;1\n", "lines.jsonl: is not JSON Lines; if it is CSV: --format csv"),
    "in.csv --encoding idna": (b"topic\n", "--encoding idna: there is no such encoding; common ones are utf-8, "),
    "in.csv --encoding unicode_escape": (b"topic\n", "--encoding unicode_escape: there is no such encoding; "),
    "in.csv --encoding utf-16": (
        b"topic\na\n",
        "in.csv: is not utf-16, or lacks its byte order mark: --encoding utf-16-le or utf-16-be, or leave --encoding "
        "out",
    ),
    "nameless.csv": (b";;;\n1;2;3;4\n", "nameless.csv:1: the CSV header names no column"),
    "either.csv": (
        b"Price, net;Count\n3,50;4\n1,20;5\n",
        "either.csv: may have commas or semicolons between its fields; say which: --delimiter , or --delimiter ';'",
    ),
    "quotes.csv": (
        b"topic|n\n'a|b'|1\n'c|d'|2\n",
        "quotes.csv: has 2 names in its header, but other numbers of fields in 2 of its first 2 records, with pipes "
        'between them and " around texts; if it is something else that separates fields: --delimiter; other quotes '
        'have to be written as "',
    ),
    "list.csv": (
        b"topic\nowls\nbats, cats\n",
        "list.csv: its header names one column, but there are commas in 1 of its first 2 records; put such values in "
        "quotes, or have each line taken as one value: --delimiter tab",
    ),
    "commas.tsv": (
        b"topic,n\na,1\n",
        "commas.tsv: has no tabs, but commas that may separate fields: --delimiter ,; if it has one column: "
        "--delimiter tab",
    ),
    "copy.txt": (
        b"1\towls, bats; cats\t\\N\n2\tbats, cats; owls\t\\N\n",
        "copy.txt: has \\N for missing values, as the text format of PostgreSQL and MySQL does; export CSV (in "
        "PostgreSQL COPY … TO … WITH (FORMAT csv, HEADER)), or have \\N taken as it stands: --delimiter tab",
    ),
    "copy.tsv": (
        b"topic\tn\nowls\t\\N\n",
        "copy.tsv: has \\N for missing values, as the text format of PostgreSQL and MySQL does; export CSV (in "
        "PostgreSQL COPY … TO … WITH (FORMAT csv, HEADER)), or have \\N taken as it stands: --delimiter tab",
    ),
    "russian.csv": (
        "topic,n\nпривет мир,1\nсова,2\n".encode("cp1251"),
        "russian.csv: is not UTF-8, and may be cp1252 or not; say which encoding it is, such as --encoding cp1252, "
        "cp1250, mac_roman or shift_jis",
    ),
    "mac.csv": (
        "topic;n\nGröße;1\nMaß für Käse;2\n".encode("mac_roman"),
        "mac.csv: is not UTF-8, and may be cp1252 or not; say which encoding it is, such as --encoding cp1252, cp1250, "
        "mac_roman or shift_jis",
    ),
    "dos.csv": (
        "topic;n\nGröße;1\nMaß für Käse;2\n".encode("cp850"),
        "dos.csv: is not UTF-8, and may be cp1252 or not; say which encoding it is, such as --encoding cp1252, cp1250, "
        "mac_roman or shift_jis",
    ),
    "array.jsonl": (b'[\n{"topic":"a"}\n]', "array.jsonl: is a JSON array, and not JSON Lines: --format json"),
    "list.txt": (
        b"owls\nbats\n",
        "list.txt: neither its name nor its content says what it is: --format jsonl|json|csv|tsv|parquet|arrow|xlsx",
    ),
    "picture.bin": (
        b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR",
        "picture.bin: neither its name nor its content says what it is: --format jsonl|json|csv|tsv|parquet|arrow|xlsx",
    ),
    "book.xlsx": (b"topic,n\na,b\n", "book.xlsx: is not an Excel workbook but a text; if it is CSV: --format csv"),
    "book.csv": (b"PK\x03\x04....[Content_Types].xml", "book.csv: is an Excel workbook, and not CSV: --format xlsx"),
    "table.jsonl": (b"PAR1....", "table.jsonl: is Parquet, and not JSON Lines: --format parquet"),
    "files.zip": (b"PK\x03\x04....a.csv", "files.zip: is a ZIP archive; unpack it"),
    "empty.parquet": (b"", "empty.parquet: is no Parquet file, or damaged: "),
    "cut.parquet": (b"PAR1" + b"\x15\x04" * 40, "cut.parquet: is no Parquet file, or damaged: "),
    "cut.arrow": (b"ARROW1\0\0" + b"\x15\x04" * 40, "cut.arrow: is no Arrow file, or damaged: "),
    "cut.xlsx": (b"PK\x03\x04xl/workbook.xml", "cut.xlsx: is no Excel workbook, or damaged: "),
    "secret.xlsx": (
        bytes.fromhex("d0cf11e0a1b11ae1") + bytes(100) + "EncryptedPackage".encode("utf-16-le"),
        "secret.xlsx: is protected by a password; save it in Excel without one",
    ),
    "nul.csv": (b"topic\0,n\na,b\n", "nul.csv:1: the CSV header has NULs: it is damaged, or in UTF-16 (--encoding)"),
    "half.csv": (codecs.BOM_UTF16_LE + b"t\0\0\xd8\n\0", "half.csv: is not utf-16-le: "),
    "in.csv --delimiter ab": (b"topic\n", "--delimiter 'ab': one character, such as ';' or '|', or tab"),
    "in.csv --encoding utf-9": (b"topic\n", "--encoding utf-9: there is no such encoding; common ones are utf-8, "),
    "in.csv --encoding base64": (b"topic\n", "--encoding base64: there is no such encoding; common ones are utf-8, "),
    "in.csv --sheet 2": (b"topic\n", "--sheet: in.csv is CSV, which has no sheets"),
    "in.jsonl --delimiter ;": (b"{}\n", "--delimiter: in.jsonl is JSON Lines, which has none"),
    "no.csv --no-rows fail": (b"topic\n", "no.csv: has no rows (--no-rows fail)"),
}


@pytest.mark.parametrize("command", REFUSED)
def test_what_is_not_certain_is_refused_with_the_way_out(folder: Path, command: str) -> None:
    """Exit code 2 in one line, before anything is written."""
    content, message = REFUSED[command]
    name, *flags = command.split()
    (folder / name).write_bytes(content)
    done = crewrun("batch", name, *flags, cwd=folder)
    assert (done.returncode, done.stderr.count("\n"), done.stdout) == (2, 1, "")
    assert done.stderr.removeprefix("crewrun: ").startswith(message)
    assert not (folder / f"{name}.results.jsonl").exists()


class Damage(NamedTuple):
    """A file with good rows and bad ones: what is run, and the messages for the rest."""

    id: str
    name: str
    content: bytes
    good: Sequence[Any]
    bad: Sequence[str]
    flags: Sequence[str] = ()


UNCLOSED = "not CSV: a quote that opens here is never closed; what follows it is lost"
ONE_ROW = "if it is one row, put it into an array: [{…}]"
RECORDS = f"write it as records (pandas: to_json(orient='records')); {ONE_ROW}"
CUT = "the input cannot be read further: "
SOUND = b"".join(b'{"topic":"%d %s"}\n' % (i, bytes(f"{i * 7919 % 9973:x}", "ascii")) for i in range(400))
DAMAGED = [
    Damage("an unclosed quote", "in.csv", b'topic,n\na,1\n"b,2\nc,3\n', ["a"], [f"line 3: {UNCLOSED}"]),
    Damage(
        "a BOM inside",
        "in.csv",
        b"\xef\xbb\xbftopic,n\na,1\n\xef\xbb\xbftopic,n\nb,2\n",
        ["a", "b"],
        ["line 3: repeats the header, as when two files are put together"],
    ),
    Damage(
        "NULs behind the end",
        "in.csv",
        b"topic,n\na,1\n" + bytes(300),
        ["a"],
        ["line 3: 1 fields where the header has 2"],
    ),
    Damage(
        "a NUL in a field",
        "in.csv",
        b"topic,n\na\0,1\nb,2\n",
        ["b"],
        ["line 2: column 'topic' has a NUL, which no text has: the file is damaged"],
    ),
    Damage(
        "NULs behind the end of JSON Lines",
        "in.jsonl",
        b'{"topic":"a"}\n' + bytes(300),
        ["a"],
        ["line 2: column 1: not JSON: Expecting value"],
    ),
    Damage(
        "mixed encodings",
        "in.csv",
        "topic,n\nGröße,1\n".encode() + "Maß,2\n".encode("cp1252"),
        ["Größe"],
        ["line 3: column 'topic' is not UTF-8 (--encoding)"],
    ),
    Damage(
        "what is not as --encoding says",
        "in.csv",
        "topic,n\nGröße,1\na,2\n".encode("cp1252"),
        ["a"],
        ["line 2: column 'topic' is not UTF-8 (--encoding)"],
        ("--encoding", "utf8"),
    ),
    Damage(
        "a value beside the named columns",
        "in.csv",
        b"topic;\na;\nb;x\n",
        ["a"],
        ["line 3: 'x' is in column 2, which has no name in the header"],
    ),
    Damage(
        "an array that is cut off",
        "in.json",
        b'[{"topic":"a"},\n{"topic":"b"',
        ["a"],
        [f"line 2: {CUT}not JSON: Expecting ',' delimiter in line 2"],
    ),
    Damage(
        "an array with other values",
        "in.json",
        b'[{"topic":"a"}, 5, {"topic":1,"topic":2}, {"topic":"b"}]',
        ["a", "b"],
        ["line 1: a number, where a JSON object is needed", "line 1: the key 'topic' occurs twice in one object"],
    ),
    Damage(
        "an array without a comma",
        "in.json",
        b'[{"topic":"a"}\n{"topic":"b"}]',
        ["a"],
        [f"line 2: {CUT}not JSON: a comma is missing between two elements"],
    ),
    Damage(
        "more behind an array",
        "in.json",
        b'[{"topic":"a"}]\n[{"topic":"b"}]',
        ["a"],
        [f"line 2: {CUT}not JSON: there is more behind the end of the array"],
    ),
    Damage(
        "an object that holds the rows",
        "in.json",
        b'{\n"data":[{"topic":"a"}]}',
        [],
        [
            "line 1: one object, with a list of objects as 'data'; if those are the rows: jq -c '.[\"data\"][]'; "
            f"{ONE_ROW}"
        ],
    ),
    Damage(
        "pandas: to_json",
        "in.json",
        b'{"topic":{"0":"a","1":"b"},"n":{"0":1,"1":2}}',
        [],
        [f"line 1: one object, with a table's columns or rows as objects; {RECORDS}"],
    ),
    Damage(
        "pandas: to_json by rows",
        "in.json",
        b'{"0":{"topic":"a","n":1},"1":{"topic":"b","n":2}}\n',
        [],
        [f"line 1: one object, with a table's columns or rows as objects; {RECORDS}"],
    ),
    Damage(
        "pandas: to_json, split",
        "in.json",
        b'{"columns":["topic"],"index":[0,1],"data":[["a"],["b"]]}',
        [],
        [f"line 1: one object, with the rows of a table as lists in 'data'; {RECORDS}"],
    ),
    Damage(
        "columns as lists",
        "in.json",
        b'{"topic":["a","b"],"n":[1,2]}',
        [],
        [f"line 1: one object, with a table's columns as lists; {RECORDS}"],
    ),
]


@pytest.mark.parametrize("damage", DAMAGED, ids=lambda damage: damage.id)
def test_damage_fails_where_it_is(folder: Path, damage: Damage) -> None:
    """Each good row is run, each bad one is named by its line, and the exit code is 3."""
    (folder / damage.name).write_bytes(damage.content)
    done = crewrun("batch", damage.name, "-o", "-", "-j1", "--ordered", *damage.flags, cwd=folder)
    rows = parse_rows(done.stdout)
    assert done.returncode == 3
    assert [row["input"]["topic"] for row in rows if row["error"] is None] == damage.good
    assert [row["error"]["message"] for row in rows if row["error"] is not None] == damage.bad


def zstd(data: bytes) -> bytes:
    """As `zstd` writes it, in two frames with padding between them."""
    half = data.index(b"\n", len(data) // 2) + 1
    pack = zstandard.ZstdCompressor(write_checksum=True).compress
    return pack(data[:half]) + bytes(7) + pack(data[half:])


PACKERS: dict[str, Callable[[bytes], bytes]] = {
    ".gz": gzip.compress,
    ".bz2": bz2.compress,
    ".xz": lzma.compress,
    ".zst": zstd,
}


@pytest.mark.parametrize("suffix", PACKERS)
@pytest.mark.parametrize("damage", ["none", "cut off", "filled with zeros"])
def test_an_archive_gives_the_rows_before_its_damage(folder: Path, suffix: str, damage: str) -> None:
    """What can be unpacked is run; then a failed row says that there would be more. Results of rows that can no longer
    be read stay.
    """
    packed = PACKERS[suffix](SOUND)
    path = folder / f"in.jsonl{suffix}"
    path.write_bytes(packed)
    assert crewrun("batch", path.name, "-q", cwd=folder).returncode == 0
    results = folder / "in.results.jsonl"
    whole = results.read_bytes()
    assert [row["input"] for row in parse_rows(whole.decode())] == [json.loads(line) for line in SOUND.splitlines()]
    if damage == "none":
        return
    half = len(packed) * 3 // 4
    path.write_bytes(packed[:half] + (bytes(len(packed) - half) if damage == "filled with zeros" else b""))
    done = crewrun("batch", path.name, cwd=folder)
    assert (done.returncode, results.read_bytes()[: len(whole)]) == (3, whole)
    (last,) = results.read_bytes()[len(whole) :].splitlines()
    assert CUT in json.loads(last)["error"]["message"]


def test_a_gzip_with_a_wrong_checksum_is_not_begun(folder: Path) -> None:
    """Its rows may be anything, and would be paid for."""
    packed = bytearray(gzip.compress(SOUND))
    packed[-6] ^= 1
    (folder / "in.jsonl.gz").write_bytes(packed)
    done = crewrun("batch", "in.jsonl.gz", cwd=folder)
    assert (done.returncode, done.stderr[:57]) == (2, "crewrun: in.jsonl.gz: cannot be read: CRC check failed 0x")


# Binary formats


def parquet(table: "pa.Table", **options: Any) -> bytes:
    buffer = io.BytesIO()
    pq.write_table(table, buffer, **options)
    return buffer.getvalue()


NESTED = pa.table(
    {
        "topic": pa.array(["a", "b"]),
        "small": pa.array([1, None], pa.int8()),
        "large": pa.array([2**63, None], pa.uint64()),
        "float": [0.5, float("nan")],
        "single": pa.array([0.1, None], pa.float32()),
        "flag": [True, None],
        "money": pa.array([Decimal("1.50"), None], pa.decimal128(9, 2)),
        "day": [date(2024, 1, 31), None],
        "time": [time(9, 30, 0, 250_000), None],
        "moment": pa.array([datetime(2024, 1, 31, 9, 30), None], pa.timestamp("ms")),
        "instant": pa.array([1_706_693_400_000_000_001, None], pa.timestamp("ns", "Europe/Berlin")),
        "span": [timedelta(hours=30, milliseconds=5), None],
        "bytes": [b"\0\xff", None],
        "label": pa.array(["x", None]).dictionary_encode(),
        "list": [[1, None], None],
        "days": [[date(2024, 1, 31)], []],
        "object": [{"x": {"y": Decimal("2.0")}, "z": "1"}, None],
        "map": pa.array([[("k", 1.5)], None], pa.map_(pa.string(), pa.float64())),
        "pairs": pa.array([[(1, "v")], None], pa.map_(pa.int32(), pa.string())),
        "nothing": pa.nulls(2),
    }
)
VALUES = {
    "topic": "a",
    "small": 1,
    "large": 2**63,
    "float": 0.5,
    "single": 0.1,
    "flag": True,
    "money": "1.50",
    "day": "2024-01-31",
    "time": "09:30:00.25",
    "moment": "2024-01-31T09:30:00",
    "instant": "2024-01-31T09:30:00.000000001Z",
    "span": "PT108000.005S",
    "bytes": "AP8=",
    "label": "x",
    "list": [1, None],
    "days": ["2024-01-31"],
    "object": {"x": {"y": "2.0"}, "z": "1"},
    "map": {"k": 1.5},
    "pairs": [[1, "v"]],
    "nothing": None,
}


def arrow(table: "pa.Table", *, is_stream: bool = False) -> bytes:
    buffer = io.BytesIO()
    with (pa.ipc.new_stream if is_stream else pa.ipc.new_file)(buffer, table.schema) as writer:
        writer.write_table(table, max_chunksize=1)
    return buffer.getvalue()


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("in.parquet", parquet(NESTED)),
        ("in.pq", parquet(NESTED, row_group_size=1, compression="zstd")),
        ("in.arrow", arrow(NESTED)),
        ("in.feather", arrow(NESTED)),
        ("stream.arrow", arrow(NESTED, is_stream=True)),
        ("in", parquet(NESTED)),
        ("-", parquet(NESTED)),
        ("in.parquet.gz", gzip.compress(parquet(NESTED))),
    ],
    ids=lambda value: value if isinstance(value, str) else "bytes",  # gzip's have the time in them
)
def test_values_of_parquet_and_arrow_are_json(folder: Path, name: str, content: bytes) -> None:
    """The same in every container, from a pipe too: what JSON has no type for is text, or null."""
    if name != "-":
        (folder / name).write_bytes(content)
    done = crewrun("batch", name, "-o", "-", "-j1", "--ordered", cwd=folder, stdin=content if name == "-" else None)
    first, second = (row["input"] for row in parse_rows(done.stdout))
    assert (done.returncode, first) == (0, VALUES), done.stderr
    assert {key: value for key, value in second.items() if value is not None} == {"topic": "b", "days": []}


@pytest.fixture(scope="module")
def workbook() -> bytes:
    """Sheets as people make them: a table that begins further down, dates, formulas, merged cells, another sheet."""
    buffer = io.BytesIO()
    with xlsxwriter.Workbook(buffer, {"in_memory": True}) as book:
        notes = book.add_worksheet("Notes")
        sheet = book.add_worksheet("Tickets")
        sheet.activate()
        notes.hide()
        day, moment, hours = (book.add_format({"num_format": f}) for f in ("dd.mm.yyyy", "dd.mm.yyyy hh:mm", "[h]:mm"))
        sheet.write_row(2, 1, ["topic", "n", "day", "moment", "hours", "sum", "flag", "error", 2024])
        sheet.write_row(3, 1, ["owls", 5])
        sheet.write_datetime(3, 3, datetime(2024, 1, 31), day)
        sheet.write_datetime(3, 4, datetime(2024, 1, 31, 9, 30), moment)
        sheet.write_datetime(3, 5, timedelta(hours=30), hours)
        sheet.write_formula(3, 6, "=C4*2", None, 10)
        sheet.write_boolean(3, 7, True)
        sheet.write_formula(3, 8, "=1/0", None, "#DIV/0!")
        sheet.merge_range(5, 1, 6, 1, "bats")
        sheet.write(5, 2, 2.5)
        sheet.write(6, 2, 10**15)
        other = book.add_worksheet("2")
        other.write_column(0, 0, ["topic", "from 2"])
    return buffer.getvalue()


def test_a_sheet_has_the_values_that_people_see(folder: Path, workbook: bytes) -> None:
    """Whole numbers without a fraction, dates as ISO text, formulas calculated, merged cells all with their value."""
    (folder / "in.xlsx").write_bytes(workbook)
    done = crewrun("batch", "in.xlsx", "-o", "-", "-j1", "--ordered", cwd=folder)
    assert done.returncode == 0, done.stderr
    empty = dict.fromkeys(("day", "moment", "hours", "sum", "flag", "error", "2024"), "")
    assert [row["input"] for row in parse_rows(done.stdout)] == [
        {
            "topic": "owls",
            "n": 5,
            "day": "2024-01-31",
            "moment": "2024-01-31T09:30:00",
            "hours": "30:00:00",
            "sum": 10,
            "flag": True,
            "error": "",
            "2024": "",
        },
        {"topic": "bats", "n": 2.5, **empty},
        {"topic": "bats", "n": 10**15, **empty},
    ]
    note = "in.xlsx: sheet 'Tickets'; others are '2' (--sheet), merged cells each have the value that they share\n"
    assert done.stderr.startswith(note)


@pytest.mark.parametrize(
    ("sheet", "topics"), [("2", ["from 2"]), ("3", ["from 2"]), ("Tickets", ["owls", "bats", "bats"])]
)
def test_a_sheet_is_chosen_by_name_or_number(folder: Path, workbook: bytes, sheet: str, topics: list[str]) -> None:
    """A name that is equal wins."""
    (folder / "in.xlsx").write_bytes(workbook)
    done = crewrun("batch", "in.xlsx", "--sheet", sheet, "-o", "-", "-j1", cwd=folder)
    assert [row["input"]["topic"] for row in parse_rows(done.stdout)] == topics


def test_a_sheet_that_is_not_there_is_named_with_those_that_are(folder: Path, workbook: bytes) -> None:
    """And with the one that may be meant."""
    (folder / "in.xlsx").write_bytes(workbook)
    done = crewrun("batch", "in.xlsx", "--sheet", "Tickts", cwd=folder)
    assert (done.returncode, done.stderr) == (
        2,
        "crewrun: in.xlsx: --sheet Tickts: there is no such sheet (did you mean 'Tickets'?); there are 'Notes', "
        "'Tickets', '2'\n",
    )


@pytest.mark.parametrize(
    ("name", "module", "message", "extra"),
    [
        ("in.parquet", "pyarrow", "reading Parquet needs pyarrow: ", "parquet"),
        ("in.arrow", "pyarrow", "reading Arrow needs pyarrow: ", "parquet"),
        ("in.xlsx", "python_calamine", "reading Excel needs python-calamine: ", "excel"),
        ("in.csv.zst", "zstandard", "reading .zst needs zstandard: ", "zstd"),
    ],
)
def test_a_format_without_its_library_says_how_to_install_it(
    folder: Path, workbook: bytes, monkeypatch: pytest.MonkeyPatch, name: str, module: str, message: str, extra: str
) -> None:
    """In this process, where it is as if the library were not there."""
    contents = {".parquet": parquet(NESTED), ".arrow": arrow(NESTED), ".xlsx": workbook, ".zst": zstd(SOUND)}
    path = folder / name
    path.write_bytes(contents[path.suffix])
    monkeypatch.setitem(sys.modules, module, None)
    with path.open("rb", buffering=0) as file, pytest.raises(UsageError) as refused:
        open_table(RawInput(file), name, name, InputOptions())
    assert str(refused.value) == f"{name}: {message}{install_command(extra)}"


def test_a_field_of_a_gigabyte_takes_no_gigabyte_of_memory(folder: Path) -> None:
    """It is one failed row; what follows it runs. In quotes or not, as a line or over many."""
    for quote, end in ((b'"', b"\n"), (b"", b"x")):
        with (folder / "in.csv").open("wb") as file:
            file.write(b"topic,n\nowls,1\n" + quote)
            for _ in range(70):
                file.write((b"x" * 1023 + end) * 1024)
            file.write(quote + b",2\nbats,3\n")
        with start("batch", "in.csv", "-q", "-o", "out.jsonl", "--fresh", cwd=folder) as process:
            assert process.wait(timeout=60) == 3
        rows = read_rows(folder / "out.jsonl")
        assert sorted(row["input"]["topic"] for row in rows if row["input"]) == ["bats", "owls"]
        assert [row["error"]["message"] for row in rows if row["error"]] == ["line 3: longer than 64 MiB"]
        assert process.memory_kib < 400 * 1024


def test_ten_thousand_columns_are_read(folder: Path) -> None:
    """As the header names them."""
    names = ["topic", *(f"c{n}" for n in range(9_999))]
    (folder / "in.csv").write_text(f"{','.join(names)}\n{','.join(map(str, range(10_000)))}\n")
    done = crewrun("batch", "in.csv", "-o", "-", cwd=folder)
    (row,) = parse_rows(done.stdout)
    assert row["input"] == {name: str(n) for n, name in enumerate(names)}


def test_an_unclosed_quote_takes_nothing_out_of_the_results(folder: Path) -> None:
    """Rows that it hides are still rows; neither does one that another quote ends."""
    whole = "topic,n\n" + "".join(f'"t{n}",{n}\n' for n in range(20))
    (folder / "in.csv").write_text(whole)
    assert crewrun("batch", "in.csv", "-q", cwd=folder).returncode == 0
    results = (folder / "in.results.jsonl").read_bytes()
    for broken in (whole.replace('"t7",7', 't7,"7'), whole.replace('"t19",19', 't19,"19')):
        (folder / "in.csv").write_text(broken)
        assert crewrun("batch", "in.csv", "-q", cwd=folder).returncode == 3
        assert (folder / "in.results.jsonl").read_bytes().startswith(results)


def test_a_table_is_read_as_it_was_run_by_every_command(folder: Path) -> None:
    """export, verify, show, merge and retry use the flags of the run."""
    (folder / "in.dat").write_bytes("topic~n\nGröße~1\nMaß~2\n".encode("mac_roman"))
    flags = ("--format", "csv", "--delimiter", "~", "--encoding", "mac_roman")
    for command in ("plan", "batch"):
        assert crewrun(command, "in.dat", *flags, cwd=folder).returncode == 0
    assert crewrun("check", "in.dat", *flags, cwd=folder).returncode == 0
    run = "in.dat.results.jsonl"
    assert crewrun("status", run, "--verify", cwd=folder).returncode == 0
    done = crewrun("export", run, "-f", "csv", "--ordered", "--columns", "input.topic", cwd=folder)
    assert (done.returncode, done.stdout) == (0, "input.topic\r\nGröße\r\nMaß\r\n")
    done = crewrun("merge", run, "-o", "all.jsonl", cwd=folder)
    assert (done.returncode, "complete" in done.stderr) == (0, True), done.stderr
    assert crewrun("retry", run, cwd=folder).returncode == 0
    assert len(read_rows(folder / run)) == 2


def test_the_rest_that_cannot_be_read_fails_a_run_of_rows_behind_it(folder: Path) -> None:
    """With --offset, no row of a damaged file would be read, and the run would look complete."""
    (folder / "in.csv.gz").write_bytes(gzip.compress(b"topic\n" + SOUND)[:-600])
    done = crewrun("batch", "in.csv.gz", "-o", "-", "--offset", "399", "--delimiter", "tab", cwd=folder)
    assert (done.returncode, len(parse_rows(done.stdout))) == (3, 1)
    assert f": {CUT}" in done.stderr


def test_a_text_of_parquet_that_is_too_long_fails_its_row(folder: Path) -> None:
    """As in the other formats."""
    pq.write_table(pa.table({"topic": ["x" * (65 << 20), "b"]}), folder / "in.parquet")
    done = crewrun("batch", "in.parquet", "-o", "-", "--ordered", cwd=folder)
    rows = parse_rows(done.stdout)
    assert [row["error"] and row["error"]["message"] for row in rows] == ["line 1: longer than 64 MiB", None]
