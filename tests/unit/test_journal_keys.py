"""How the journal stores ids of rows. Older run folders have them so, and a row that is not found is paid for again."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from crewrun.journal.keys import pack_id, unpack_id


@pytest.mark.parametrize(
    ("row_id", "stored"),
    [
        ("0123456789abcdef", bytes.fromhex("0123456789abcdef")),
        ("0123456789ABCDEF", "0123456789ABCDEF"),
        ("01 23456789abcde", "01 23456789abcde"),
        ("0123456789abcdeg", "0123456789abcdeg"),
        ("0123456789abcdef-2", "0123456789abcdef-2"),
        ("0123456789abcde", "0123456789abcde"),
        ("", ""),
        ("Zoë", "Zoë"),
        ("\ud800", "\\ud800"),
    ],
    ids=ascii,
)
def test_an_id_is_stored_as_it_always_was(row_id: str, stored: bytes | str) -> None:
    """A content's id in eight bytes, every other one as it is."""
    assert pack_id(row_id) == stored


@given(st.text(st.characters(exclude_categories=["Cs"])) | st.from_regex(r"\A[0-9a-fA-F ]{16}\Z"))
def test_an_id_comes_back_as_it_was(row_id: str) -> None:
    """Also one that looks like a content's and is written otherwise."""
    assert unpack_id(pack_id(row_id)) == row_id
