"""Rows of a Python program become the rows that a file with the same values has."""

import json
import sqlite3
from collections.abc import AsyncIterator, Iterator
from contextlib import ExitStack
from datetime import UTC, date, datetime, time, timedelta, timezone
from decimal import Decimal
from enum import Enum
from pathlib import Path
from typing import Any
from uuid import UUID

import anyio
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from crewrun.batch.iterable_input import python_rows
from crewrun.batch.program_inputs import IterableInputs
from crewrun.batch.settings import BatchSettings
from crewrun.batch.source import TableSource, open_source
from crewrun.errors import UsageError
from crewrun.row import Row
from crewrun.tables.reading.arrow_values import converter_of
from crewrun.tables.reading.python_values import json_row

pytestmark = pytest.mark.anyio

SETTINGS = BatchSettings()


async def rows_of(source: TableSource) -> list[Row]:
    rows: list[Row] = []
    await source.visit(rows.append)
    return rows


def source_of(rows: Any, settings: BatchSettings = SETTINGS) -> TableSource:
    return IterableInputs(python_rows(rows)).opener(settings)()


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=5,
)


@given(rows=st.lists(st.dictionaries(st.text(min_size=1), json_values, max_size=4), max_size=5))
async def test_ids_are_those_of_the_same_rows_in_a_file(tmp_path_factory: pytest.TempPathFactory, rows: Any) -> None:
    """A run that began with the command goes on in Python, and the other way round."""
    path = tmp_path_factory.mktemp("rows") / "rows.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    expected = [(row.id, row.inputs) for row in await rows_of(open_source(str(path)))]
    for several in (rows, iter(rows)):
        assert [(row.id, row.inputs) for row in await rows_of(source_of(several))] == expected


ARROW = [
    pytest.param(pa.date32(), date(2024, 2, 29), id="date"),
    pytest.param(pa.timestamp("us"), datetime(2024, 2, 29, 1, 2, 3, 450000), id="timestamp"),
    pytest.param(
        pa.timestamp("us", "UTC"), datetime(2024, 2, 29, 1, 2, 3, tzinfo=timezone(timedelta(hours=5))), id="zone"
    ),
    pytest.param(pa.time64("us"), time(1, 2, 3, 40), id="time"),
    pytest.param(pa.duration("us"), timedelta(days=-1, microseconds=5), id="duration"),
    pytest.param(pa.decimal128(20, 3), Decimal("1.500"), id="decimal"),
    pytest.param(pa.binary(), b"\x00\xff", id="bytes"),
    pytest.param(pa.float64(), float("nan"), id="NaN"),
    pytest.param(pa.float64(), float("-inf"), id="infinity"),
    pytest.param(pa.list_(pa.struct([("at", pa.date32())])), [{"at": date(1, 1, 1)}, None], id="nested"),
]


@pytest.mark.parametrize(("kind", "value"), ARROW)
def test_values_are_those_of_a_parquet_file(kind: Any, value: Any) -> None:
    """A DataFrame gives the rows that it gives as a file."""
    [expected] = converter_of(kind)(pa.array([value], kind))
    assert json_row({"value": value}) == {"value": expected}


class Colour(Enum):
    RED = "red"


def test_other_values_of_the_standard_library_are_texts() -> None:
    """Where Arrow has no type of its own."""
    row = {
        "uuid": UUID(int=1),
        "colour": Colour.RED,
        "tuple": (1, {"a": 2}),
        3: True,
        "at": datetime(1, 1, 1, tzinfo=UTC),
    }
    assert json_row(row) == {
        "uuid": "00000000-0000-0000-0000-000000000001",
        "colour": "red",
        "tuple": [1, {"a": 2}],
        "3": True,
        "at": "0001-01-01T00:00:00Z",
    }


def test_a_row_shares_nothing_with_the_programs_own() -> None:
    """A tool that changes its inputs would change the list that the next session reads."""
    inner: dict[str, Any] = {"b": [1]}
    row = {"a": inner}
    json_row(row)["a"]["b"].append(2)
    assert row == {"a": {"b": [1]}}


@pytest.mark.parametrize(
    ("row", "problem"),
    [
        pytest.param(7, "line 2: is of the type int, not a dict", id="a number"),
        pytest.param(
            {"a": {"b": [1, {2}]}}, "line 2: 'a.b[1]' is of the type set, which JSON does not have; ", id="a set"
        ),
        pytest.param({("a",): 1}, "line 2: \"('a',)\" is a tuple, and fields are named by texts", id="a key"),
        pytest.param({"a": 1, 1: 2, "1": 3}, "line 2: '1' is the name of two fields", id="two keys of one name"),
        pytest.param({"a": {1: 2, "1": 3}}, "line 2: 'a.1' is the name of two fields", id="two keys below"),
        pytest.param({"a": -(10**4300)}, "line 2: 'a' is a number of more than 4,300 digits", id="a long number"),
        pytest.param(
            {"a": datetime.max.replace(tzinfo=timezone(timedelta(hours=-5)))},
            "line 2: cannot be read: OverflowError: date value out of range",
            id="a date that UTC does not have",
        ),
    ],
)
async def test_a_row_that_is_none_fails_by_itself(row: Any, problem: str) -> None:
    """The others run."""
    rows = await rows_of(source_of([{"a": 1}, row, {"a": 2}]))
    assert [row.inputs for row in rows] == [{"a": 1}, None, {"a": 2}]
    assert str(rows[1].problem).startswith(problem)


async def test_the_longest_numbers_are_rows() -> None:
    """A number of as many digits as Python reads is a number, and no decimal becomes a text of a billion zeros."""
    content = {"longest": 10**4300 - 1, "decimal": Decimal("1e999999999"), "small": Decimal("1e-7")}
    [row] = await rows_of(source_of([content]))
    assert row.inputs == {"longest": 10**4300 - 1, "decimal": "1E+999999999", "small": "0.0000001"}


class Stream:
    """As some data sets that are streams: they have a `__len__`, which raises."""

    def __len__(self) -> int:
        raise TypeError("a stream has no length")

    def __iter__(self) -> Iterator[dict[str, int]]:
        return iter([{"a": 1}])


async def test_a_stream_whose_length_raises_is_read() -> None:
    """How many rows there are is told by reading them."""
    assert [row.inputs for row in await rows_of(source_of(Stream()))] == [{"a": 1}]


async def test_an_iterable_that_raises_ends_the_rows_there() -> None:
    """The rows before that are run; what was raised is kept for the caller."""

    def rows() -> Iterator[dict[str, int]]:
        yield {"a": 1}
        raise LookupError("gone")

    several = python_rows(rows())
    source = IterableInputs(several).opener(SETTINGS)()
    first, rest = await rows_of(source)
    assert (first.inputs, rest.inputs) == ({"a": 1}, None)
    assert rest.problem == "line 2: the input cannot be read further: inputs (generator) raised LookupError: gone"
    assert not source.is_whole
    assert isinstance(several.failure, LookupError)


async def test_a_generator_is_read_in_one_thread(tmp_path: Path) -> None:
    """A database's connection works in the thread that opened it, and in no other."""

    def rows() -> Iterator[dict[str, int]]:
        with sqlite3.connect(tmp_path / "rows.sqlite") as database:
            for n in range(20_000):
                yield {"n": database.execute("select ?", (n,)).fetchone()[0]}

    assert [row.inputs for row in await rows_of(source_of(rows()))] == [{"n": n} for n in range(20_000)]


async def test_an_async_iterable_is_awaited() -> None:
    """A queue or a stream of another library gives its rows as they come."""

    async def rows() -> AsyncIterator[dict[str, int]]:
        for n in range(3):
            await anyio.sleep(0)
            yield {"n": n}

    assert [row.inputs for row in await rows_of(source_of(rows()))] == [{"n": 0}, {"n": 1}, {"n": 2}]


async def test_a_generator_can_be_copied_to_be_read_twice() -> None:
    """--strict and --canary look at rows before they run them; what is wrong with a row stays."""
    given_rows = [{"a": 1}, None, {"a": {1}}]
    once = IterableInputs(python_rows(iter(given_rows)))
    with ExitStack() as files:
        copy = await once.repeatable(files)
        passes = [[(row.id, row.problem) for row in await rows_of(copy.opener(SETTINGS)())] for _ in range(2)]
    expected = [(row.id, row.problem) for row in await rows_of(source_of(given_rows))]
    assert (passes, copy.is_once) == ([expected, expected], False)


async def test_tables_of_arrow_are_rows() -> None:
    """In slices, with the values that Parquet files have."""
    table = pa.table({"n": pa.array(range(2000)), "at": pa.array([date(2024, 1, 1)] * 2000)})
    expected = [{"n": n, "at": "2024-01-01"} for n in range(2000)]
    for several in (table, table.to_reader(max_chunksize=700)):
        assert [row.inputs for row in await rows_of(source_of(several))] == expected


async def test_data_frames_are_the_rows_of_their_parquet_files(tmp_path: Path) -> None:
    """With the same ids, whatever the types of their columns."""
    pandas = pytest.importorskip("pandas", reason="pandas is not installed")
    columns = {
        "text": ["a", None, "c"],
        "n": [1, 2, 3],
        "x": [0.1, float("nan"), float("inf")],
        "at": pandas.to_datetime(["2024-01-02T03:04:05.000000123", None, "2024-01-03"], format="ISO8601"),
        "zone": pandas.to_datetime(["2024-01-02T00:00+02:00"] * 3),
        "span": pandas.to_timedelta(["1s", "1.5s", None]),
        "maybe": pandas.array([1, None, 3], dtype="Int64"),
        "kind": pandas.Categorical(["u", "v", "u"]),
        "date": [date(2024, 1, 2)] * 3,
    }
    frame = pandas.DataFrame(columns)
    frame["short"] = frame["n"].astype("float32") / 10
    frame.to_parquet(tmp_path / "in.parquet")
    expected = [(row.id, row.inputs) for row in await rows_of(open_source(str(tmp_path / "in.parquet")))]
    assert [(row.id, row.inputs) for row in await rows_of(source_of(frame))] == expected


async def test_frames_of_polars_are_rows() -> None:
    """Lazy ones too."""
    polars = pytest.importorskip("polars", reason="polars is not installed")
    frame = polars.DataFrame({"n": list(range(1000)), "x": polars.Series([0.1] * 1000, dtype=polars.Float32)})
    for several in (frame, frame.lazy()):
        assert [row.inputs for row in await rows_of(source_of(several))] == [{"n": n, "x": 0.1} for n in range(1000)]


@pytest.mark.parametrize(
    ("rows", "words"),
    [
        pytest.param({"a": 1}, "a list of rows is meant", id="one row"),
        pytest.param(b"a", "are no rows, but a text", id="bytes"),
        pytest.param(7, "cannot be iterated over", id="a number"),
        pytest.param(pa.table([[1], [2]], ["a", "a"]), "has 2 columns of the name 'a'", id="columns of one name"),
    ],
)
def test_what_is_no_rows_is_refused(rows: Any, words: str) -> None:
    """At once, with what to give instead."""
    with pytest.raises(UsageError, match=words):
        python_rows(rows)


def test_frames_whose_columns_are_no_fields_are_refused() -> None:
    """One of two columns of the same name would be lost, and no row has fields of two names."""
    pandas = pytest.importorskip("pandas", reason="pandas is not installed")
    with pytest.raises(UsageError, match="has 2 columns of the name '1'; rename them"):
        python_rows(pandas.DataFrame([[1, 2]], columns=[1, "1"]))
    with pytest.raises(UsageError, match="its columns have a MultiIndex"):
        python_rows(pandas.DataFrame([[1]], columns=pandas.MultiIndex.from_tuples([("a", "b")])))
    with pytest.raises(UsageError, match="is one column; give a DataFrame"):
        python_rows(pandas.Series([1]))
