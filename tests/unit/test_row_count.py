"""Counting the rows of an input without parsing them: the same number as reading it gives."""

import csv
import io
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from crewrun.batch.row_count import RowCount, count_csv_records, count_json_lines

CELLS = st.text(st.sampled_from('ab",\n\r\u2028é;'), max_size=6)
CHUNKS = st.integers(1, 9)


@given(st.lists(st.dictionaries(CELLS, CELLS, max_size=2)), st.sampled_from(["", "\n", "\n\n", "\r\n\r\n"]), CHUNKS)
def test_lines_of_jsonl_are_counted(rows: list[dict[str, str]], end: str, chunk_bytes: int) -> None:
    """Whatever is in them, with and without a newline at the end, and blank lines after it."""
    data = ("\n".join(map(json.dumps, rows)) + (end if rows else "")).encode()
    assert count_json_lines(io.BytesIO(data), chunk_bytes) == len(rows)


@given(
    st.lists(st.tuples(CELLS, CELLS)),
    st.sampled_from([csv.QUOTE_ALL, csv.QUOTE_MINIMAL]),
    st.sampled_from(["\n", "\r\n"]),
    st.sampled_from(["", "\n", "\n\n"]),
    CHUNKS,
)
def test_records_of_csv_are_counted(
    records: list[tuple[str, str]], quoting: int, end: str, more: str, chunk_bytes: int
) -> None:
    """Line ends and quotes inside quotes are part of a field, wherever a chunk ends."""
    text = io.StringIO()
    writer = csv.writer(text, quoting=quoting, lineterminator=end)  # type: ignore[arg-type]  # one of its constants
    writer.writerows([("one", "two"), *records])
    data = (text.getvalue().removesuffix(end) + (more and end + more)).encode()
    assert count_csv_records(io.BytesIO(data), chunk_bytes) == len(records)


@pytest.mark.parametrize(
    ("count", "skip", "last", "left"),
    [
        (RowCount(10), 3, None, RowCount(7)),
        (RowCount(10), 12, None, RowCount(0)),
        (RowCount(10), 2, 5, RowCount(3)),
        (RowCount(10), 2, 50, RowCount(8)),
        (RowCount(10, is_about=True), 0, 5, RowCount(5)),
        (RowCount(10, is_about=True), 0, 50, RowCount(10, is_about=True)),
    ],
)
def test_offset_and_limit_leave_a_part(count: RowCount, skip: int, last: int | None, left: RowCount) -> None:
    """An estimate stays one only where it decides."""
    assert count.between(skip, last) == left
