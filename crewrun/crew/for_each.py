"""One call per input with each failure kept to itself: the for-each family's core."""

from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any

import anyio

from crewrun.errors import ForEachError

OnOutcome = Callable[[int, Any], Awaitable[None] | None]


async def for_each(
    run: Callable[[Mapping[str, Any]], Awaitable[Any]],
    inputs: Sequence[Mapping[str, Any]],
    max_concurrent: int | None,
    return_exceptions: bool,
    on_outcome: OnOutcome | None,
) -> list[Any]:
    """`run` each of `inputs`, at most `max_concurrent` at once; see `Crew.akickoff_for_each` for the contract."""
    if max_concurrent is not None and max_concurrent < 1:
        raise ValueError(f"max_concurrent is {max_concurrent}; it must be at least 1, or None for no bound")
    results: list[Any] = [None] * len(inputs)
    waiting = iter(enumerate(inputs))

    async def work() -> None:
        for index, one in waiting:
            try:
                results[index] = await run(one)
            except Exception as failure:
                results[index] = failure
            if on_outcome is not None:
                told = on_outcome(index, results[index])
                if told is not None:
                    await told

    async with anyio.create_task_group() as group:
        for _ in range(min(len(inputs), max_concurrent or len(inputs))):
            group.start_soon(work)
    failed = sum(isinstance(result, Exception) for result in results)
    if failed and not return_exceptions:
        raise ForEachError(f"{failed} of {len(inputs)} inputs failed", results)
    return results
