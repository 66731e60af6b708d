"""The data of a report: any text survives the way into the page, and nothing is lost where it is summed up."""

import gzip
import json
import random
import re
from base64 import b64decode
from itertools import pairwise
from math import isfinite
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from crewrun.report.columns import Codes, Numbers
from crewrun.report.details import DetailPacks, choose_some, shortened
from crewrun.report.fields import OutputFields
from crewrun.report.histograms import histogram
from crewrun.report.packs import clean, encoded, pack, pack_file, plain
from crewrun.report.texts import TextPacks, fitted
from crewrun.report.timeline import Timeline

_TEXTS = st.text(st.characters(), max_size=40) | st.text(
    st.sampled_from("\ud800\udfff</script>\u202e\x00\x1b<!--&\"'\\"), max_size=40
)
_VALUES: st.SearchStrategy[Any] = st.recursive(
    st.none() | st.booleans() | st.integers(1 - 2**53, 2**53 - 1) | st.floats() | _TEXTS,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(_TEXTS, inner, max_size=4),
    max_leaves=12,
)


def visible(value: Any) -> Any:
    """`value` as the page has it: half characters in words, and null for what is no number in JSON."""
    if isinstance(value, str):
        return plain(value)
    if isinstance(value, float):
        return value if isfinite(value) else None
    if isinstance(value, list):
        return [visible(one) for one in value]
    return {plain(key): visible(one) for key, one in value.items()} if isinstance(value, dict) else value


@given(_VALUES)
def test_any_output_survives_in_a_pack_and_is_no_markup_there(value: Any) -> None:
    """Only letters of base64 are in the page, whatever a model wrote."""
    content = pack("one", [encoded(value)]).content
    assert re.fullmatch(rb"[A-Za-z0-9+/]+=*", content)
    text = gzip.decompress(b64decode(content)).decode("utf-8")
    assert json.loads(text) == json.loads(json.dumps(visible(value)))


@given(st.lists(st.none() | st.integers(-(2**53), 2**53) | st.floats(-1e12, 1e12), max_size=50))
def test_a_column_of_numbers_is_what_was_added(numbers: list[float | None]) -> None:
    """To a millionth; None is null."""
    column = Numbers()
    for number in numbers:
        column.add(number)
    read = json.loads(b"".join(column.pieces()))
    assert [None if number is None else pytest.approx(number, abs=1e-6) for number in numbers] == read


@given(st.lists(st.none() | _TEXTS, max_size=50))
def test_a_column_of_codes_is_what_was_added(values: list[str | None]) -> None:
    """Each code is the place of its value, -1 that there is none."""
    column = Codes()
    for value in values:
        column.add(value)
    read = json.loads(b"".join(column.pieces()))
    assert [None if code < 0 else read["values"][code] for code in read["codes"]] == [
        None if value is None else plain(value) for value in values
    ]


@given(st.lists(_TEXTS, min_size=1, max_size=4), st.integers(0, 100))
def test_texts_are_cut_from_the_longest_on(texts: list[str], most: int) -> None:
    """Each stays a beginning of itself, and none is cut for one that is longer."""
    pieces = fitted(texts, most)
    assert sum(map(len, pieces)) <= max(most, 0)
    assert all(text.startswith(piece) for text, piece in zip(texts, pieces, strict=True))
    whole = [len(text) for text, piece in zip(texts, pieces, strict=True) if text == piece]
    cut = [len(piece) for text, piece in zip(texts, pieces, strict=True) if text != piece]
    assert not cut or max(whole, default=0) <= max(cut) + len(texts)


@given(st.lists(st.floats(0, 1e9) | st.integers(0, 100), max_size=200))
def test_a_histogram_counts_every_value_once(values: list[float]) -> None:
    """Between edges that grow."""
    made = histogram(values)
    if made is None:
        assert values == []
        return
    assert sum(made["counts"]) == len(values)
    assert len(made["edges"]) == len(made["counts"]) + 1
    assert all(low <= high for low, high in pairwise(made["edges"]))
    assert (made["edges"][0], made["edges"][-1]) == pytest.approx((min(values), max(values)))


def event(name: str, at_ms: int, rest: str = "") -> bytes:
    """A line of the log."""
    second, ms = divmod(at_ms, 1000)
    minute, second = divmod(second, 60)
    hour, minute = divmod(minute, 60)
    day, hour = divmod(hour, 24)
    at = f"2026-01-{day + 1:02d}T{hour:02d}:{minute:02d}:{second:02d}.{ms:03d}Z"
    return f'{{"at":"{at}","event":"{name}","row":"a"{rest}}}\n'.encode()


@given(st.lists(st.tuples(st.integers(0, 20 * 86_400_000), st.booleans()), min_size=1, max_size=80))
def test_a_time_line_loses_no_row_however_long_the_run(ends: list[tuple[int, bool]]) -> None:
    """It has at most 600 steps; their counts add up to the rows."""
    timeline = Timeline()
    for at_ms, is_ok in sorted(ends):
        status = "ok" if is_ok else "failed"
        timeline.see(event("row", at_ms, f',"status":"{status}","duration_s":0.1'), 0)
    made = timeline.to_json()
    assert made is not None
    series = made["series"]
    assert sum(series["rows"]) == len(ends)
    assert sum(series["failed"]) == sum(not is_ok for _, is_ok in ends)
    assert len({len(counts) for counts in series.values()}) == 1
    assert len(series["rows"]) <= 600


def test_calls_in_flight_are_what_their_times_say() -> None:
    """A call of 2.5 s that ends at 3.5 s was in flight for the second and third second, and half of the fourth."""
    timeline = Timeline()
    timeline.see(event("run", 0, ',"session":1'), 0)
    timeline.see(event("call", 3500, ',"duration_s":2.500'), 0)
    made = timeline.to_json()
    assert made is not None
    assert made["series"]["in_flight"] == [0.0, 1.0, 1.0, 0.5]


def test_an_outage_is_marked() -> None:
    """From the last answer on, when attempts failed and none came for five seconds; a rate limit is none."""
    timeline = Timeline()
    timeline.see(event("run", 0, ',"session":1'), 0)
    timeline.see(event("call", 1000, ',"duration_s":0.100'), 0)
    timeline.see(event("retry", 2000, ',"category":"server","http_status":503'), 0)
    timeline.see(event("call", 9000, ',"duration_s":0.100'), 0)
    timeline.see(event("retry", 9500, ',"category":"rate_limit","http_status":429'), 0)
    timeline.see(event("call", 19_000, ',"duration_s":0.100'), 0)
    timeline.see(b'{"at":"torn', 0)
    timeline.see(b"no event of ours\n", 0)
    made = timeline.to_json()
    assert made is not None
    outages = [mark["text"] for mark in made["marks"] if mark["kind"] == "outage"]
    assert outages == ["no answer for 8 s: server, HTTP 503"]
    assert (sum(made["series"]["rate_limited"]), sum(made["series"]["retries"])) == (1, 1)


def test_the_texts_of_many_rows_stay_within_their_budget() -> None:
    """Texts that cannot be compressed are cut more: the search looks at their beginnings then."""
    draw = random.Random(3)
    noise = "".join(map(chr, draw.choices(range(0x4E00, 0x9FA5), k=1_000_000)))
    with pack_file() as packs:
        texts = TextPacks(packs, 20_480)
        for start in draw.choices(range(999_000), k=20_480):
            texts.add({"topic": noise[start : start + 600]}, "ok", None)
        texts.close()
        assert packs.size_bytes < 25_000_000
        assert texts.cut > 0


def test_the_same_rows_are_chosen_each_time() -> None:
    """Failed, slow and expensive ones and a sample, in their order; what each part is, in words."""
    failed = list(range(0, 50_000, 10))
    chosen = choose_some(50_000, failed, [7, 8], [])
    assert chosen == choose_some(50_000, failed, [7, 8], [])
    assert list(chosen.rows) == sorted(set(chosen.rows))
    assert {7, 8} < set(chosen.rows)
    assert chosen.words == (
        "full texts and calls: 1,000 of 5,000 failed rows, the 2 slowest and 2,000 rows drawn at random"
    )


def test_a_text_of_ten_megabytes_is_cut_in_the_details() -> None:
    """With a remark; what is not so long stays whole."""
    short, cut = shortened({"a": ["x" * 1000], "b": "y" * 10_000_000}).values()
    assert short == ["x" * 1000]
    assert cut == "y" * 200_000 + "\n… (9,800,000 more characters are not on this page)"


def test_values_that_come_late_stand_at_their_rows() -> None:
    """A field that the first rows lack is a column of all rows."""
    fields = OutputFields()
    for row, output in enumerate([{}, None, {"n": 1}, "text", {"n": 2, "city": "Oslo"}, {"city": "Oslo"}]):
        fields.see(row, output)
    columns = {name: json.loads(b"".join(column.pieces())) for name, column in fields.columns(7).items()}
    assert columns["output.n"] == [None, None, 1, None, 2, None, None]
    assert columns["output.city"] == {"values": ["Oslo"], "codes": [-1, -1, -1, -1, 0, 0, -1]}


def test_two_fields_of_one_name_are_one_field() -> None:
    """As `{"a.b": 1, "a": {"b": 2}}` has them: a row has one value, the last, and the rows after it have theirs."""
    fields = OutputFields()
    for row, output in enumerate([{"a.b": 1, "a": {"b": 2}}, {"a": {"b": 3}}, {"a.b": 4}]):
        fields.see(row, output)
    assert {name: json.loads(b"".join(column.pieces())) for name, column in fields.columns(3).items()} == {
        "output.a.b": [2, 3, 4]
    }
    assert [field["empty_share"] for field in fields.to_json()] == [0]


def test_integers_that_no_browser_has_are_texts() -> None:
    """With all of their digits, in details and in the head; a field of such ids is not a field of amounts."""
    large = 2**53 + 1
    assert shortened({"id": [large, -large, 2**53 - 1, True]}) == {"id": [str(large), str(-large), 2**53 - 1, True]}
    assert clean({"id": large}) == {"id": str(large)}
    fields = OutputFields()
    fields.see(0, {"id": large})
    assert [field["kind"] for field in fields.to_json()] == ["text"]


def test_details_are_in_small_packs_up_to_their_budget() -> None:
    """At most 64 rows each, fewer of long ones; what does not fit is not added."""
    draw = random.Random(5)
    rows = [(row, {"text": draw.randbytes(100).hex()}) for row in range(0, 400, 2)]
    rows[150] = (300, {"text": "x" * 300_000})
    with pack_file() as packs:
        made = DetailPacks(packs, 10_000_000)
        assert made.add_all(rows)
        assert made.first_rows == [0, 128, 256, 300, 302]
        read = [json.loads(gzip.decompress(b64decode(one.content))) for one in packs]
        assert [min(map(int, details)) for details in read] == made.first_rows
        assert {int(row): detail for details in read for row, detail in details.items()} == dict(rows)
    with pack_file() as packs:
        made = DetailPacks(packs, 20_000)
        assert not made.add_all(rows)
        assert (made.rows, made.first_rows) == (64 * len(made.first_rows), [one for one, _ in rows[: made.rows : 64]])
        assert packs.size_bytes <= 20_000
