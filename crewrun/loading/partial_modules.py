"""Keeps what one of the user's modules has defined when its execution stops: `install` the import hook."""

import sys
from collections.abc import Sequence
from importlib.abc import Loader, MetaPathFinder
from importlib.machinery import ModuleSpec, SourceFileLoader
from types import ModuleType
from typing import Any
from weakref import WeakKeyDictionary

from crewrun.loading.load import Load, LoadStop, current_load, exit_of
from crewrun.loading.user_code import is_users

# The stops of partly loaded modules. They stay for the process, which loads a module once.
_stopped: WeakKeyDictionary[ModuleType, LoadStop] = WeakKeyDictionary()


def install() -> None:
    """Import the user's modules with this hook from now on, while they are loaded."""
    if not any(isinstance(finder, _Finder) for finder in sys.meta_path):
        sys.meta_path.insert(0, _Finder())


def stop_of(file: str | None) -> LoadStop | None:
    """The stop that ended the module in `file`, None if it was loaded completely."""
    return next((stop for module, stop in _stopped.items() if module.__file__ == file), None)


def stoppable(spec: ModuleSpec | None) -> ModuleSpec | None:
    """`spec`; if it is of one of the user's files, its module keeps what it has defined when its execution stops."""
    if spec is not None and isinstance(spec.loader, SourceFileLoader) and is_users(spec.origin or "<"):
        spec.loader = _PartialLoader(spec.loader)
    return spec


class _Finder(MetaPathFinder):
    """Asks the other finders in order and wraps the loaders of the user's modules."""

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        """The spec of one of the user's modules during a load; None for other modules, which others find."""
        if current_load() is None:
            return None
        for finder in sys.meta_path:
            find_spec = getattr(finder, "find_spec", None)
            if finder is not self and find_spec is not None:
                spec: ModuleSpec | None = find_spec(fullname, path, target)
                if spec is not None:
                    return stoppable(spec)
        return None


class _PartialLoader(Loader):
    """Executes a module with Python's own loader, up to the point where it stops."""

    def __init__(self, inner: SourceFileLoader) -> None:
        self._inner = inner

    def __getattr__(self, name: str) -> Any:
        return getattr(self._inner, name)

    def create_module(self, spec: ModuleSpec) -> ModuleType | None:
        """Leave it to the inner loader."""
        return self._inner.create_module(spec)

    def exec_module(self, module: ModuleType) -> None:
        """Execute the module. Raises what the module raises, except stops and an exit in the outermost module."""
        module.__loader__ = self._inner
        if module.__spec__ is not None:
            module.__spec__.loader = self._inner
        load = current_load()
        if load is None:
            self._inner.exec_module(module)
            return
        since = len(load.stops)
        load.depth += 1
        try:
            self._inner.exec_module(module)
        except KeyboardInterrupt:
            raise
        except BaseException as failed:
            stop = load.ended_by(failed, since) or _left(load, failed)
            if stop is None:
                raise
            _stopped[module] = stop
        finally:
            load.depth -= 1


def _left(load: Load, failed: BaseException) -> LoadStop | None:
    """The stop for an outermost module that exits the process: it may have defined what is wanted before."""
    stop = exit_of(failed) if load.depth == 1 else None
    if stop is not None:
        load.stops.append(stop)
    return stop
