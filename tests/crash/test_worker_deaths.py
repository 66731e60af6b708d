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
