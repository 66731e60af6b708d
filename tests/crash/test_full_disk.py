"""A disk that is full under the results: a line that does not fit is cut off again, whole, and nothing is lost.

`ulimit -f` is the disk: a file that may not grow is as good as one. Rows carry a field that no prompt has, so that the
results fill it long before the journal does.
"""

import json
from pathlib import Path

import pytest
from support.workspace import RESULTS, Place

LIMIT_KIB = 512
ROWS = [{"topic": f"topic {i}", "ballast": "x" * 100_000} for i in range(12)]


def limited(place: Place, command: str) -> str:
    """Run `crewrun` under the limit; it ends with 1. What it said."""
    done = place.forks.shell(f"ulimit -f {LIMIT_KIB}; {command}", place.folder, place.env)
    assert (done.returncode, "Traceback" in done.stderr) == (1, False), done.stderr
    return done.stderr


def whole_lines(path: Path) -> list[int]:
    """The indexes of the rows in the file, whose last line is whole as all the others are."""
    text = path.read_text()
    assert text.endswith("\n")
    return [json.loads(line)["index"] for line in text.splitlines()]


@pytest.mark.parametrize("ordered", [(), ("--ordered",)], ids=["as they end", "in order"])
def test_the_results_end_with_a_whole_line(place: Place, ordered: tuple[str, ...]) -> None:
    """The reason is said, and the same command goes on without paying for a row again."""
    place.rows(*ROWS)
    seen = place.sent()
    stderr = limited(place, " ".join(["crewrun batch in.jsonl -j 3", *ordered]))
    assert f"{RESULTS}: cannot be written: File too large" in stderr
    lines = whole_lines(place.results)
    assert 1 <= len(lines) <= LIMIT_KIB // 100
    first = place.asked_since(seen)
    again = place.batch("-j", "3", *ordered)
    assert sorted(whole_lines(place.results)) == list(range(12))
    assert sorted({*first, *again}) == sorted(f"Write about topic {i}" for i in range(12))
    assert len(first) + len(again) <= 12 + 3


@pytest.mark.parametrize("redirection", ["> out.jsonl", ">> out.jsonl"])
def test_a_redirected_stream_ends_with_a_whole_line(place: Place, redirection: str) -> None:
    """Behind what the file had before, which stays as it is."""
    place.rows(*ROWS)
    out = place.folder / "out.jsonl"
    if redirection.startswith(">>"):
        out.write_text('{"index": -1}\n')
    limited(place, f"crewrun batch in.jsonl -j 3 -o - {redirection}")
    lines = whole_lines(out)
    assert (lines[0] == -1) == redirection.startswith(">>")
    assert 1 <= len(lines) <= LIMIT_KIB // 100 + 1
