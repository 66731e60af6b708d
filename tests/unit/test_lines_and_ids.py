"""Lines of an input, however they arrive, and the ids that its rows claim."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from crewrun.batch import row_ids
from crewrun.batch.row_ids import RowIds
from crewrun.tables.reading.line_splitter import Line, LineSplitter


@given(text=st.lists(st.sampled_from([b"", b"a", b"bb", b"ccccc", b"\n", b"\n"]), max_size=30))
def test_lines_are_the_same_however_they_arrive(text: list[bytes]) -> None:
    """In chunks of any size; one of more than four bytes is reported without its text."""
    splitter = LineSplitter(max_bytes=4)
    lines = [line for chunk in text for line in splitter.feed(chunk)]
    pieces = b"".join(text).split(b"\n")
    if not pieces[-1]:
        pieces.pop()
    found = [line if not line.too_long else Line(line.number, b"", True) for line in [*lines, *splitter.end()]]
    assert found == [
        Line(number, b"" if len(piece) > 4 else piece, len(piece) > 4) for number, piece in enumerate(pieces, 1)
    ]
    assert splitter.lines == len(pieces)


@pytest.mark.parametrize("bits", [64, 1 << 24], ids=["most share a bit", "none do"])
def test_an_id_is_claimed_by_the_first_line_that_has_it(bits: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Also one whose digest the bitmap cannot tell from another's, and beyond what waits to be written."""
    monkeypatch.setattr(row_ids, "_BITMAP_BITS", bits)
    ids = RowIds(0)
    for n in range(1500):
        assert ids.claim(f"row {n}", n + 1) is None
        assert ids.name({"n": n}).isalnum()
    for n in (0, 700, 1499):
        assert ids.claim(f"row {n}", 2000) == n + 1
        assert ids.name({"n": n}).endswith("-2")
    ids.close()
