"""The core of the for-each methods: one kickoff per input, where a failure does not stop the others."""

from collections.abc import Awaitable, Callable, Iterable, Mapping
from inspect import isawaitable
from typing import Any

import anyio

from crewrun.errors import ForEachError

OnOutcome = Callable[[int, Any], Awaitable[None] | None]


async def for_each(
    run: Callable[[Mapping[str, Any]], Awaitable[Any]],
    inputs: Iterable[Mapping[str, Any]],
    max_concurrent: int | None,
    return_exceptions: bool,
    on_outcome: OnOutcome | None,
) -> list[Any]:
    """`run` each of `inputs`, at most `max_concurrent` at once; see `Crew.akickoff_for_each` for the contract."""
    if max_concurrent is not None and max_concurrent < 1:
        raise ValueError(f"max_concurrent is {max_concurrent}; it must be at least 1, or None for no bound")
    inputs = list(inputs)
    results: list[Any] = [None] * len(inputs)
    callback_errors: list[Exception] = []
    waiting = iter(enumerate(inputs))

    async def work() -> None:
        for index, values in waiting:
            try:
                results[index] = await run(values)
            except Exception as failure:
                results[index] = failure
            if on_outcome is not None and not callback_errors:
                try:
                    pending = on_outcome(index, results[index])
                    if isawaitable(pending):
                        await pending
                except Exception as wrong:  # a bug in the callback must not lose answers that are paid for
                    callback_errors.append(wrong)

    async with anyio.create_task_group() as group:
        for _ in range(min(len(inputs), max_concurrent or len(inputs))):
            group.start_soon(work)
    if callback_errors:
        raise ForEachError(f"on_outcome failed: {callback_errors[0]!r}", results, callback_errors[0])
    failed = sum(isinstance(result, Exception) for result in results)
    if failed and not return_exceptions:
        raise ForEachError(f"{failed} of {len(inputs)} inputs failed", results)
    return results
