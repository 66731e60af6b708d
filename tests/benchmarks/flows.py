"""What a flow costs beyond the calls in it: CPU of a flow of six methods that do nothing, in each way to run one.

Two starts, two listeners, a join and a router. The floor is the same six coroutines, awaited by hand.
"""

import argparse
import asyncio
import statistics
import time
from collections.abc import Awaitable, Callable

from pydantic import BaseModel

from crewrun.flow import Flow, and_, listen, router, start
from crewrun.llm.gateway import Gateway


class State(BaseModel):
    n: int = 0


class Six(Flow):
    """The shape that is measured, over a dict."""

    @start()
    async def one(self) -> int:
        return 1

    @start()
    async def two(self) -> int:
        return 2

    @listen(one)
    async def three(self, found: int) -> int:
        return found

    @listen(and_(two, three))
    async def four(self, found: int) -> int:
        return found

    @router(four)
    async def five(self) -> str:
        return "done"

    @listen("done")
    async def six(self) -> int:
        return 6


class Typed(Six, Flow[State]):
    """The same over a model."""


class InThreads(Flow):
    """The same with sync methods."""

    @start()
    def one(self) -> int:
        return 1

    @start()
    def two(self) -> int:
        return 2

    @listen(one)
    def three(self, found: int) -> int:
        return found

    @listen(and_(two, three))
    def four(self, found: int) -> int:
        return found

    @router(four)
    def five(self) -> str:
        return "done"

    @listen("done")
    def six(self) -> int:
        return 6


async def by_hand(flows: int) -> None:
    """The floor."""
    for _ in range(flows):
        flow = Six()
        found = await flow.one(), await flow.two()
        await flow.three(found[0])
        await flow.four(found[1])
        await flow.five()
        await flow.six()


def each(kind: type[Flow] | type[Flow[State]]) -> Callable[[int], Awaitable[None]]:
    """A fresh flow per kickoff, one after another, as rows of a batch have them."""

    async def run(flows: int) -> None:
        for i in range(flows):
            await kind().akickoff({"n": i})

    return run


async def together(flows: int) -> None:
    """One object, all kickoffs at once."""
    await Six().akickoff_for_each({"n": i} for i in range(flows))


WAYS: dict[str, Callable[[int], Awaitable[None]]] = {
    "by hand": by_hand,
    "a dict": each(Six),
    "a model": each(Typed),
    "in threads": each(InThreads),
    "for each, all at once": together,
}


async def measure(way: Callable[[int], Awaitable[None]], flows: int) -> float:
    """Milliseconds of CPU per flow."""
    async with Gateway():
        await way(flows // 10)
        began = time.process_time()
        await way(flows)
        return (time.process_time() - began) / flows * 1000


def main() -> None:
    """Print a line for each way: the median of the rounds, and how many times the target of 0.3 ms it is."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--flows", type=int, default=2000)
    parser.add_argument("--rounds", type=int, default=5)
    options = parser.parse_args()
    for name, way in WAYS.items():
        spent_ms = statistics.median(asyncio.run(measure(way, options.flows)) for _ in range(options.rounds))
        print(f"{name:24} {spent_ms:.3f} ms of CPU per flow of 6 methods, {spent_ms / 0.3:.2f} of the target")


if __name__ == "__main__":
    main()
