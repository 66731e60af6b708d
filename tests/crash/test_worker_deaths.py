"""Workers that die by one row: a row that only waits to send is not taken for the cause."""

from support import local_workers
from support.command import read_rows
from support.local_workers import NEAR
from support.workspace import Place

DEADLY = """\
import asyncio
import sys

from crewrun import LLM


async def run(topic: str) -> str:
    if topic == "DIE":
        await asyncio.sleep(0.3)  # until the other rows wait for their permits
        await sys.modules["WORKERS"].die()
    return await LLM("gpt-4.1-mini").acall(f"Write about {topic}")
"""


def test_rows_that_wait_for_a_permit_are_not_suspects(place: Place) -> None:
    """--rpm lets one call through. Then the worker dies three times by the last row, and no other has to do with it:
    none of them is run alone to find out, so that the guilty row has failed long before the next call may go.
    """
    (place.folder / "deadly.py").write_text(DEADLY.replace("WORKERS", local_workers.__name__))
    place.rows(*({"topic": topic} for topic in ("a", "b", "c", "DIE")))
    flags = ("--executor", NEAR, "--workers", "1", "-j", "4", "--rpm", "2", "--fail-fast", "--deadline", "20s")
    place.batch("--crew", "deadly.py:run", *flags, "--grace", "0", code=4)
    assert {row["index"]: row["error"]["type"] for row in read_rows(place.results) if row["error"]} == {
        3: "WorkerKilled"
    }


LOST = DEADLY.replace("die()", "lose_place()")


def test_a_run_ends_when_the_place_of_its_workers_is_gone(place: Place) -> None:
    """At once, with exit 4 and the way to go on: no row has failed, and the same command does what is left."""
    (place.folder / "deadly.py").write_text(LOST.replace("WORKERS", local_workers.__name__))
    place.rows(*({"topic": topic} for topic in ("a", "DIE", "b", "c")))
    flags = ("--crew", "deadly.py:run", "--executor", NEAR, "-j", "1")
    assert place.batch(*flags, code=4) == ["Write about a"]
    assert [row["status"] for row in read_rows(place.results)] == ["ok"]
    assert "stopped: the place of the workers is gone; the same command goes on" in place.stderr
    (place.folder / "deadly.py").write_text(LOST.replace('"DIE"', '"nobody"'))
    assert place.batch(*flags) == ["Write about DIE", "Write about b", "Write about c"]
