"""Result lines as CSV, TSV, Parquet, Excel and JSONL: what is written is what the lines have."""

import bz2
import csv
import gzip
import io
import json
import lzma
import math
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from python_calamine import CalamineWorkbook

from crewrun.errors import UsageError
from crewrun.tables.writing import xlsx_writer
from crewrun.tables.writing.column_names import parse_columns, split_names
from crewrun.tables.writing.columns import Columns
from crewrun.tables.writing.layout import TableLayout
from crewrun.tables.writing.output_format import output_format
from crewrun.tables.writing.table_process import process_pieces
from crewrun.tables.writing.writers import TableOptions, table_pieces

Table = list[dict[str, Any]]

keys = st.text(st.characters(exclude_characters=".", exclude_categories=["Cs"]), min_size=1, max_size=4)
texts = st.text(max_size=6) | st.sampled_from(
    ["=1+1", "<r>x</r>", "_x0041_", "\x00", "\r\n", " x ", "\ud800", '"', "\uffff"]
)
numbers = st.integers(-(2**70), 2**70) | st.floats(allow_nan=False, allow_infinity=False) | st.integers(-9, 9)
scalars = st.none() | st.booleans() | numbers | texts
values = st.recursive(
    scalars, lambda inner: st.lists(inner, max_size=2) | st.dictionaries(keys, inner, max_size=3), max_leaves=8
)
rows = st.lists(st.tuples(st.dictionaries(keys, scalars, max_size=3), values), min_size=1, max_size=6)


def line(index: int, inputs: Any = None, output: Any = None, **more: Any) -> bytes:
    """A result line."""
    record = {
        "schema": "crewrun.result/1",
        "id": f"{index:04}",
        "index": index,
        "status": "ok",
        "input": inputs or {},
        "output": output,
        "error": None,
        "usage": {"prompt_tokens": 3, "completion_tokens": 4},
        "cost_usd": 0.25,
        "models": ["a", "b"],
        "duration_s": 1.5,
        **more,
    }
    return json.dumps(record).encode() + b"\n"


def written(lines: Sequence[bytes], name: str, *columns: str, notes: list[str] | None = None) -> bytes:
    """The file of these lines under this name."""
    form = output_format(name, None)
    table = Columns(parse_columns(split_names(",".join(columns)) if columns else None), typed=form.name == "parquet")
    for one in lines:
        table.see(one)
    options = TableOptions(guards_formulas=False, notes=notes if notes is not None else [])
    return b"".join(table_pieces(lines, table, form, options))


def from_csv(data: bytes, delimiter: str = ",") -> Table:
    return list(csv.DictReader(io.StringIO(data.decode(), newline=""), delimiter=delimiter))


def from_parquet(data: bytes) -> Table:
    table: Table = pq.read_table(io.BytesIO(data)).to_pylist()
    return table


def from_xlsx(data: bytes, sheet: int = 0) -> Table:
    header, *cells = (
        CalamineWorkbook.from_filelike(io.BytesIO(data)).get_sheet_by_index(sheet).to_python(skip_empty_area=False)
    )
    return [dict(zip(map(str, header), row, strict=True)) for row in cells]


def leaves(name: str, value: Any) -> Iterator[tuple[str, Any]]:
    """The columns of a value, and what they have in this row."""
    if isinstance(value, dict) and value:
        for key, inner in value.items():
            yield from leaves(f"{name}.{key}", inner)
    else:
        yield name, value


def shown(value: Any) -> str:
    """A value as text, with lone surrogates escaped."""
    text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
    return text.encode("utf-8", "backslashreplace").decode()


def in_workbook(value: Any) -> str:
    """As `shown`, of two characters that XML has not and the reader does not restore."""
    return shown(value).replace("\ufffe", "_xFFFE_").replace("\uffff", "_xFFFF_")


def expected(rows: Sequence[tuple[dict[str, Any], Any]]) -> Iterator[dict[str, Any]]:
    """For each row its columns that have values."""
    for inputs, output in rows:
        found = {f"input.{name}": value for name, value in inputs.items()}
        found |= {name: value for name, value in leaves("output", output) if (name, value) != ("output", None)}
        yield {shown(name): value for name, value in found.items()}


@settings(max_examples=50)
@given(rows)
def test_every_value_is_in_a_csv_and_a_tsv(rows: list[tuple[dict[str, Any], Any]]) -> None:
    """Strings as they are, anything else as JSON, and nothing in other columns."""
    lines = [line(index, *row) for index, row in enumerate(rows)]
    for name, delimiter in (("x.csv", ","), ("x.tsv", "\t")):
        for found, values in zip(from_csv(written(lines, name), delimiter), expected(rows), strict=True):
            own = {name: text for name, text in found.items() if name.startswith(("input.", "output"))}
            assert {name: text for name, text in own.items() if text or name in values} == {
                # Null where other rows have an object: the columns of that are empty.
                name: shown(value)
                for name, value in values.items()
                if value is not None or name in own
            }


@settings(max_examples=50)
@given(rows)
def test_every_value_is_in_a_parquet_file(rows: list[tuple[dict[str, Any], Any]]) -> None:
    """As the type that all values of the column have, else as text; null where there is none."""
    lines = [line(index, *row) for index, row in enumerate(rows)]
    for found, values in zip(from_parquet(written(lines, "x.parquet")), expected(rows), strict=True):
        own = {name: value for name, value in found.items() if name.startswith(("input.", "output"))}
        assert {name: value for name, value in own.items() if value is not None} == {
            name: shown(value) if isinstance(own[name], str) else value
            for name, value in values.items()
            if value is not None
        }


@settings(max_examples=20)
@given(rows)
def test_every_value_is_in_a_workbook(rows: list[tuple[dict[str, Any], Any]]) -> None:
    """Numbers as numbers, as far as Excel has them; every text as text, whatever it looks like."""
    lines = [line(index, *row) for index, row in enumerate(rows)]
    for found, values in zip(from_xlsx(written(lines, "x.xlsx")), expected(rows), strict=True):
        own = {name: value for name, value in found.items() if name.startswith(("input.", "output"))}
        for name, value in values.items():
            cell = own.pop(in_workbook(name), "" if value is None else KeyError)
            if type(value) in (int, float) and not isinstance(cell, str):
                assert math.isclose(cell, value, rel_tol=1e-14)
            elif value is None:
                assert cell == ""
            else:
                assert type(value) is not int or abs(value) >= 10**15
                assert type(value) is not float or not 1e-300 < abs(value) < 1e300
                assert cell == (value if isinstance(value, bool) else in_workbook(value))
        assert set(own.values()) <= {""}


def test_the_columns_of_a_table() -> None:
    """In the order of the input's rows, whichever was done first; types where all values agree."""
    lines = [
        line(1, {"b": "x", "a": 2}, {"place": {"city": "Köln"}, "n": 1, "tags": ["x"], "ok": True}),
        line(0, {"a": "1"}, {"n": 1.5, "ok": False}),
        line(2, {"c": None}, "text", error={"category": "tool", "message": "m"}, cost_usd=None),
    ]
    schema = pq.read_schema(io.BytesIO(written(lines, "x.parquet")))
    assert [(field.name, str(field.type)) for field in schema] == [
        *(("id", "string"), ("index", "int64"), ("status", "string")),
        *(("input.a", "string"), ("input.b", "string"), ("input.c", "string")),
        *(("output", "string"), ("output.n", "double"), ("output.ok", "bool"), ("output.place.city", "string")),
        ("output.tags", "string"),
        *(("error.category", "string"), ("error.message", "string"), ("cost_usd", "double")),
        *(("prompt_tokens", "int64"), ("completion_tokens", "int64"), ("duration_s", "double"), ("models", "string")),
    ]
    assert from_csv(written(lines, "x.csv"))[0] == {
        "id": "0001",
        "index": "1",
        "status": "ok",
        "input.a": "2",
        "input.b": "x",
        "input.c": "",
        "output": "",
        "output.n": "1",
        "output.ok": "true",
        "output.place.city": "Köln",
        "output.tags": '["x"]',
        "error.category": "",
        "error.message": "",
        "cost_usd": "0.25",
        "prompt_tokens": "3",
        "completion_tokens": "4",
        "duration_s": "1.5",
        "models": "a, b",
    }


def test_keys_with_dots_have_columns_of_their_own() -> None:
    """`a.b` and `b` in `a` are two columns, and neither's values are in the other."""
    (row,) = from_csv(written([line(0, {"Nr. neu": 1}, {"a.b": 1, "a": {"b": 2}})], "x.csv"))
    assert [value for name, value in row.items() if name.startswith(("input.", "output."))] == ["1", "1", "2"]
    assert list(row)[3:7] == ["input.Nr. neu", "output", "output.a.b", "output.a.b (2)"]


def test_objects_with_other_keys_in_each_row_are_json() -> None:
    """Counts by customer would be as many columns as there are customers."""
    rows = [{"counts": {f"customer {index}-{n}": n for n in range(30)}, "n": index} for index in range(20)]
    table = from_csv(written([line(index, None, row) for index, row in enumerate(rows)], "x.csv"))
    assert [name for name in table[0] if name.startswith("output.")] == ["output.counts", "output.n"]
    assert [json.loads(row["output.counts"]) for row in table] == [row["counts"] for row in rows]


def test_a_row_of_ten_thousand_inputs() -> None:
    """As many columns; with more than any spreadsheet takes, the inputs are JSON in one."""
    wide = {f"c{n}": n for n in range(10_000)}
    (row,) = from_csv(written([line(0, wide)], "x.csv"))
    assert [row[f"input.c{n}"] for n in (0, 9_999)] == ["0", "9999"]
    wider = {f"c{n}": n for n in range(20_000)}
    (row,) = from_parquet(written([line(0, wider)], "x.parquet"))
    assert json.loads(row["input"]) == wider


def test_chosen_columns() -> None:
    """In their order; a value inside of others, and one that tables leave out otherwise; a JSONL has its types."""
    lines = [line(0, {"a,b": {"c": [1]}}, {"x": {"y": None, "z": 1}}, attempts=7), line(1)]
    names = ("cost_usd", '"input.a,b.c"', "output.x.y", "output.x.z", "output", "attempts", "id")
    assert from_csv(written(lines, "x.csv", *names))[0] == {
        "cost_usd": "0.25",
        "input.a,b.c": "[1]",
        "output.x.y": "null",
        "output.x.z": "1",
        "output": '{"x": {"y": null, "z": 1}}',
        "attempts": "7",
        "id": "0000",
    }
    assert [json.loads(one) for one in written(lines, "x.jsonl", *names).splitlines()] == [
        {
            "cost_usd": 0.25,
            "input.a,b.c": [1],
            "output.x.y": None,
            "output.x.z": 1,
            "output": {"x": {"y": None, "z": 1}},
            "attempts": 7,
            "id": "0000",
        },
        {"cost_usd": 0.25, "id": "0001"},
    ]


@pytest.mark.parametrize(
    ("columns", "said"),
    [
        pytest.param(
            "id,statsu", "--columns: no column 'statsu' (did you mean 'status'?); the columns are id,", id="near"
        ),
        pytest.param("topic", "(an input is 'input.topic', a field of the output 'output.topic')", id="an input"),
        pytest.param("id,,status", "--columns is empty; it needs names with commas", id="empty"),
        pytest.param("", "--columns is empty", id="none"),
        pytest.param("input.", "--columns: no column 'input.'", id="no name"),
        pytest.param("id,id", "--columns: 'id' is there twice", id="twice"),
    ],
)
def test_columns_that_cannot_be(columns: str, said: str) -> None:
    """A misspelling costs no run."""
    with pytest.raises(UsageError) as refused:
        parse_columns(split_names(columns))
    assert said in str(refused.value)


def test_a_chosen_field_that_no_row_has_is_named() -> None:
    """With the fields that there are; one that is null somewhere, or only a part of one, is there."""
    table = Columns(["id", "output.titel", "output.n", "input.a", "output.o"])
    table.see(line(0, {"a": 1}, {"title": "x", "n": None, "o": {"p": 1}}))
    assert table.unknown() == [
        "--columns: no row has 'output.titel' (did you mean 'output.title'?); they have input.a, output, output.title, "
        "output.n, output.o.p"
    ]


def test_what_excel_has_no_room_for(monkeypatch: pytest.MonkeyPatch) -> None:
    """Longer texts are cut, further rows are on further sheets, further columns are left out: each is said."""
    monkeypatch.setattr(xlsx_writer, "_MOST_ROWS", 4)
    monkeypatch.setattr(xlsx_writer, "_MOST_COLUMNS", 8)
    notes: list[str] = []
    smiles = "\U0001f600" * 20_000
    lines = [line(index, {"a": "x" * 40_000 if index else smiles}, {"n": index}) for index in range(7)]
    data = written(lines, "x.xlsx", notes=notes)
    book = CalamineWorkbook.from_filelike(io.BytesIO(data))
    assert book.sheet_names == ["results", "results 2", "results 3"]
    rows = [row for sheet in range(3) for row in from_xlsx(data, sheet)]
    assert [row["id"] for row in rows] == [f"{index:04}" for index in range(7)]
    assert {len(row["input.a"].encode("utf-16-le")) // 2 for row in rows} == {32_766, 32_767}
    assert notes == [
        "7 cells are longer than the 32,767 characters that Excel takes, and cut off there",
        "the rows are on 3 sheets, since Excel takes 4 on one",
        "5 columns are left out, since Excel takes 8; --columns chooses them",
    ]


def test_a_workbook_has_no_formulas_and_no_links() -> None:
    """Whatever the texts look like; numbers, ids and truth values are what they are."""
    texts = [
        "=1+1",
        "http://example.com",
        "mailto:a@example.com",
        "007",
        "TRUE",
        "<r>bold</r>",
        "<r>" + "<" * 30_000 + "</r>",
    ]
    data = written([line(index, {"a": text}, index % 2 == 0) for index, text in enumerate(texts)], "x.xlsx")
    rows = from_xlsx(data)
    assert [row["input.a"].rstrip() for row in rows] == texts
    assert [(row["id"], row["index"], row["output"]) for row in rows[:2]] == [("0000", 0, True), ("0001", 1, False)]


def test_an_empty_table_has_its_header() -> None:
    """As a run that was stopped before its first row leaves it."""
    assert written([], "x.csv").decode() == (
        "id,index,status,output,error.category,error.message,cost_usd,prompt_tokens,completion_tokens,duration_s,models\r\n"
    )
    assert pq.read_table(io.BytesIO(written([], "x.parquet"))).num_rows == 0
    assert from_xlsx(written([], "x.xlsx")) == []


def test_row_groups_of_a_parquet_file_are_whole(tmp_path: Path) -> None:
    """Large rows make small groups, so that neither writing nor reading takes much memory."""
    text = "x" * 2000
    data = written([line(index, {"a": f"{index}{text}"}) for index in range(9000)], "x.parquet")
    file = pq.ParquetFile(io.BytesIO(data))
    groups = [file.metadata.row_group(at).num_rows for at in range(file.num_row_groups)]
    assert (sum(groups), max(groups) < 6000, min(groups) > 500) == (9000, True, True)


@pytest.mark.parametrize(
    ("name", "asked", "said"),
    [
        ("x", None, "jsonl"),
        ("x.txt", None, "jsonl"),
        ("X.CSV", None, "csv"),
        ("a.b/x", "csv", "csv"),
        ("x.tab", None, "tsv"),
        ("x.csv.gz", None, "csv.gz"),
        ("x.gz", "tsv", "tsv.gz"),
        ("x.jsonl.zst", None, "jsonl.zst"),
        ("x.csv.bz2", None, "csv.bz2"),
        ("x.json", None, "jsonl"),
        ("x.pq", None, "parquet"),
        ("x.csv", "jsonl", "jsonl"),
        (".csv", None, "jsonl"),
        (None, "csv", "csv"),
    ],
)
def test_the_format_that_a_name_says(name: str | None, asked: str | None, said: str) -> None:
    """By its last suffix; one for compression may come behind it."""
    assert str(output_format(name, asked)) == said


def test_a_compressed_file_is_one_that_its_program_reads() -> None:
    """Also an empty one; and so do the others."""
    lines = [line(0), line(1)]
    unpack = {".gz": gzip.decompress, ".bz2": bz2.decompress, ".xz": lzma.decompress}
    for suffix, function in unpack.items():
        assert function(written(lines, f"x.csv{suffix}")) == written(lines, "x.csv")
    assert gzip.decompress(b"".join(table_pieces([], None, output_format("x.jsonl.gz", None), TableOptions()))) == b""


def test_a_table_that_another_process_makes(tmp_path: Path) -> None:
    """It is the same; a line that is no result, and a process that fails, are told."""
    lines = [line(index, {"a": index}) for index in range(3)]
    path = tmp_path / "lines"
    path.write_bytes(b"".join(lines))
    layout = TableLayout(output_format("x.parquet", None), ("id", "input.a", "input.b"))
    notes: list[str] = []
    data = b"".join(process_pieces(path, "x.parquet", layout, lambda: None, notes))
    assert data == written(lines, "x.parquet", "id", "input.a", "input.b")
    assert notes == ["warning: --columns: no row has 'input.b' (did you mean 'input.a'?); they have input.a, output"]
    path.write_bytes(lines[0] + b"{broken\n")
    with pytest.raises(ValueError, match="Expecting property name"):
        list(process_pieces(path, "x.parquet", layout, lambda: None, notes))
    path.unlink()
    with pytest.raises(OSError, match="ended with 1: FileNotFoundError"):
        list(process_pieces(path, "x.parquet", layout, lambda: None, notes))
