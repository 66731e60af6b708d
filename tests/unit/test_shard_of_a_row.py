"""Which shard a row is in: the same one on every machine, with every version."""

import pytest

from crewrun.batch.shard import Shard
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
