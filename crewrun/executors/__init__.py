"""Where rows run: an `Executor` per place. `inline` is this event loop, `ray` a Ray cluster.

A `cluster` is joined, and `ray` hires workers there, for whom the crew is packed as `luggage`. They are a `fleet`, each
with a `station` there, to which the run's limits and journal are `remote`, and a `desk` here; these exchange `letters`
by `post`. A row that one of them is given is an `errand`. A fleet knows nothing of Ray: any other place needs a `Site`,
which hires workers, and a `Line` to each. `job` is what an executor is given.
"""

from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from functools import partial
from typing import Protocol, TypeAlias

from crewrun.errors import UsageError, suggest
from crewrun.executors.job import Job
from crewrun.references import is_reference, resolve
from crewrun.row import Outcome, Row


class Executor(Protocol):
    """Runs rows somewhere. Any number of `run` may be under way at once; none raises."""

    async def run(self, row: Row) -> Outcome:
        """Run one row to its outcome. Cancelling it abandons the row."""
        ...


Opener: TypeAlias = Callable[[Job], AbstractAsyncContextManager[Executor]]


def _inline(job: Job) -> AbstractAsyncContextManager[Executor]:
    from crewrun.executors.inline import open_inline

    return open_inline(job)


def _ray(job: Job, address: str | None = None) -> AbstractAsyncContextManager[Executor]:
    from crewrun.executors.ray import open_ray

    return open_ray(job, address)


EXECUTORS: dict[str, Opener] = {"inline": _inline, "ray": _ray}


def find_executor(name: str) -> Opener:
    """What opens an executor: one of ours, `ray://HOST:PORT`, or the `module:attr` of an `Opener`.

    Raises UsageError for a name that is none of these, DefinitionError for a reference that leads nowhere.
    """
    if name in EXECUTORS:
        return EXECUTORS[name]
    if name.startswith("ray://"):
        return partial(_ray, address=name)
    if is_reference(name):
        opener: Opener = resolve(name)
        return opener
    raise UsageError(
        f"--executor {name!r}: no such executor{suggest(name, list(EXECUTORS))}; "
        "there are inline, ray, ray://HOST:PORT and module:attr"
    )
