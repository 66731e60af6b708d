"""How much of an input has been handed out: the share that progress and its forecast go by."""

from collections.abc import AsyncIterator

import anyio
import pytest

from crewrun.batch.source import Source
from crewrun.tables.reading.records import Record

pytestmark = pytest.mark.anyio


class Records:
    """Ten rows of ten bytes."""

    is_cut = False

    async def groups(self) -> AsyncIterator[list[Record]]:
        yield [Record(n + 1, {"n": n}, None, 10) for n in range(10)]

    def close(self) -> None:
        pass


async def fractions(source: Source) -> list[float | None]:
    seen = [source.fraction]
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(source.fill)
        while await source.read() is not None:
            seen.append(source.fraction)
        tasks.cancel_scope.cancel()
    source.release()
    return seen


@pytest.mark.parametrize(
    ("size_bytes", "offset", "limit", "expected"),
    [
        pytest.param(100, 0, None, [n / 10 for n in range(11)], id="by bytes"),
        pytest.param(None, 0, None, [None] * 11, id="of a stream"),
        pytest.param(50, 0, None, [0, 0.2, 0.4, 0.6, 0.8, *[1.0] * 6], id="of a file that has grown"),
        pytest.param(100, 6, None, [0, 0.25, 0.5, 0.75, 1.0], id="behind an offset, by bytes"),
        pytest.param(None, 0, 4, [0, 0.25, 0.5, 0.75, 1.0], id="by rows"),
        pytest.param(None, 3, 4, [0, 0.25, 0.5, 0.75, 1.0], id="behind an offset, by rows"),
        pytest.param(100, 0, 20, [n / 10 for n in range(11)], id="a limit beyond the end, by bytes"),
    ],
)
async def test_the_share_that_is_handed_out(
    size_bytes: int | None, offset: int, limit: int | None, expected: list[float | None]
) -> None:
    """Rows before --offset are no part of it."""
    assert await fractions(Source(Records(), size_bytes, offset, limit)) == pytest.approx(expected)
