"""Where rows run: an `Executor` for each place. `inline` is this event loop, `ray` a Ray cluster.

`run_spec` has what an executor needs to know. `remote/` runs rows on workers elsewhere and is independent of Ray:
another place needs a `Provisioner`, which starts workers, and a `Connection` to each. `cluster` joins a Ray cluster or
starts one, `ray` starts workers there.
"""

from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from functools import partial
from typing import Protocol, TypeAlias

from crewrun.compat import moved_modules
from crewrun.errors import UsageError, suggest
from crewrun.executors.run_spec import RunSpec
from crewrun.references import is_reference, resolve
from crewrun.row import Outcome, Row


class Executor(Protocol):
    """Runs rows somewhere. Any number of `run` calls may be in progress at once; none of them raises."""

    async def run(self, row: Row) -> Outcome:
        """Run one row to its outcome. Cancelling it abandons the row."""
        ...


Opener: TypeAlias = Callable[[RunSpec], AbstractAsyncContextManager[Executor]]


def _inline(run_spec: RunSpec) -> AbstractAsyncContextManager[Executor]:
    from crewrun.executors.inline import open_inline

    return open_inline(run_spec)


def _ray(run_spec: RunSpec, address: str | None = None) -> AbstractAsyncContextManager[Executor]:
    from crewrun.executors.ray import open_ray

    return open_ray(run_spec, address)


moved_modules.install()  # `job` and `fleet`, earlier names of modules here

EXECUTORS: dict[str, Opener] = {"inline": _inline, "ray": _ray}


def find_executor(name: str) -> Opener:
    """The opener for an executor's name: one of ours, `ray://HOST:PORT`, or the `module:attr` of an `Opener`.

    Raises UsageError for any other name, DefinitionError for a reference that cannot be resolved.
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
