"""Keeps what a module of the user's has defined when its execution stops: `install` the hook for imports."""

import sys
from collections.abc import Sequence
from importlib.abc import Loader, MetaPathFinder
from importlib.machinery import ModuleSpec, SourceFileLoader
from types import ModuleType
from typing import Any
from weakref import WeakKeyDictionary

from crewrun.loading.load import Load, Stop, current_load, exit_of
from crewrun.loading.user_code import is_users

# Those that are loaded in part; a module is loaded once in a process.
_stopped: WeakKeyDictionary[ModuleType, Stop] = WeakKeyDictionary()


def install() -> None:
    """See to it that the user's modules are imported so, while they are loaded."""
    if not any(isinstance(finder, _Finder) for finder in sys.meta_path):
        sys.meta_path.insert(0, _Finder())


def stop_of(file: str | None) -> Stop | None:
    """The stop that ended the module in `file`."""
    return next((stop for module, stop in _stopped.items() if module.__file__ == file), None)


def stoppable(spec: ModuleSpec | None) -> ModuleSpec | None:
    """`spec`, whose module keeps what it has defined if its execution stops, when it is a file of the user's."""
    if spec is not None and isinstance(spec.loader, SourceFileLoader) and is_users(spec.origin or "<"):
        spec.loader = _Loader(spec.loader)
    return spec


class _Finder(MetaPathFinder):
    """Finds what the other finders find, in their order."""

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        """The spec of a module of the user's that is loaded; None leaves it to the others."""
        if current_load() is None:
            return None
        for finder in sys.meta_path:
            find_spec = getattr(finder, "find_spec", None)
            if finder is not self and find_spec is not None:
                spec: ModuleSpec | None = find_spec(fullname, path, target)
                if spec is not None:
                    return stoppable(spec)
        return None


class _Loader(Loader):
    """Executes a module with the loader that Python has for it, up to where that stops."""

    def __init__(self, inner: SourceFileLoader) -> None:
        self._inner = inner

    def __getattr__(self, name: str) -> Any:
        return getattr(self._inner, name)

    def create_module(self, spec: ModuleSpec) -> ModuleType | None:
        """As the inner one does."""
        return self._inner.create_module(spec)

    def exec_module(self, module: ModuleType) -> None:
        """Raises what the module does, unless it was stopped, or the load's outermost module leaves the process."""
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


def _left(load: Load, failed: BaseException) -> Stop | None:
    """The stop that it is when the outermost module ends the process: it may have defined what is wanted."""
    stop = exit_of(failed) if load.depth == 1 else None
    if stop is not None:
        load.stops.append(stop)
    return stop
