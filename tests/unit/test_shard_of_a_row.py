"""Which shard a row is in: the same one on every machine, with every version."""

import pytest

from crewrun.batch.shard import Shard
from crewrun.errors import UsageError
from crewrun.row import Row

# By id: the shard of 2, of 3, of 7 and of 1000. Results are merged across versions, so these may not change.
SHARDS = {
    "": (1, 1, 1, 877),
    "1": (1, 3, 3, 911),
    "topic 1": (1, 3, 6, 449),
    "Zoë": (1, 2, 7, 923),
    "\ud800": (1, 3, 4, 465),
    "5d41402abc4b2a76b9719d911017c592-2": (2, 1, 1, 266),
}


@pytest.mark.parametrize(("row_id", "numbers"), SHARDS.items(), ids=[ascii(row_id) for row_id in SHARDS])
def test_a_row_is_in_the_shard_that_it_has_always_been_in(row_id: str, numbers: tuple[int, ...]) -> None:
    """Its id alone decides, read as UTF-8: not its place, and not its fields."""
    row = Row(index=3, line=4, id=row_id, inputs={"topic": "x"})
    for count, number in zip((2, 3, 7, 1000), numbers, strict=True):
        assert Shard(number, count).has(row)
        assert not Shard(number % count + 1, count).has(row)


@pytest.mark.parametrize("text", ["1/1", "1/4", "4/4", " 2/3\n", "007/8", "999999999/999999999"])
def test_a_shard_is_written_as_a_part_of_a_number_of_parts(text: str) -> None:
    """And read back from what it is written as; its files are named after it."""
    shard = Shard.parse(text)
    number, count = (int(part) for part in text.split("/"))
    assert shard == Shard(number, count) == Shard.parse(str(shard))
    assert shard.suffix == f".shard-{number}-of-{count}"


@pytest.mark.parametrize(
    ("text", "ends"),
    [
        ("", "from 1/4 to 4/4"),
        ("2", "from 1/4 to 4/4"),
        ("a/b", "from 1/4 to 4/4"),
        ("1/2/3", "from 1/4 to 4/4"),
        ("-1/2", "from 1/4 to 4/4"),
        ("1 / 2", "from 1/4 to 4/4"),
        ("\u0661/\u0662", "from 1/4 to 4/4"),
        ("1/1000000000", "from 1/4 to 4/4"),
        ("0/3", "from 1/3 to 3/3"),
        ("4/3", "from 1/3 to 3/3"),
        ("0/2", "from 1/2 to 2/2"),
        ("2/1", "1/1"),
        ("0/0", "1/1"),
    ],
    ids=ascii,
)
def test_what_is_no_shard_is_refused_with_those_there_are(text: str, ends: str) -> None:
    """In the words of the command line."""
    with pytest.raises(UsageError) as refused:
        Shard.parse(text)
    assert str(refused.value) == f"--shard {text!r}: write it as I/N, the part and how many there are, {ends}"
