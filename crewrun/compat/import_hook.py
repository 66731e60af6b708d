"""`crewai` in a user's imports means crewrun, or with `--engine crewai` the installed library.

Import statements in the user's files are rewritten in memory (`import_rewriting`); the files themselves do not change.
A file is the user's if it is imported while a crew is loaded, or by another such file, and is not an installed one.
Installed libraries get the installed `crewai`, or crewrun under that name without it.
"""

import importlib
import os
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from importlib.abc import Loader, MetaPathFinder
from importlib.machinery import ModuleSpec, PathFinder, SourceFileLoader
from importlib.util import find_spec
from types import CodeType, FrameType, ModuleType
from typing import Any, get_args

from crewrun.compat.import_rewriting import rewritten
from crewrun.compat.paths import PACKAGES
from crewrun.compat.stubs import StubFinder
from crewrun.errors import DefinitionError, UsageError, suggest
from crewrun.loading.load import current_load
from crewrun.loading.user_code import frames_from, is_users
from crewrun.target.engine import Engine, current_engine, loading_for

_OURS = os.path.realpath(os.path.dirname(os.path.dirname(__file__)))
_IMPORTING = ("<frozen importlib", os.path.dirname(importlib.__file__) + os.sep, _OURS + os.sep)


@contextmanager
def engine(name: str) -> Iterator[None]:
    """In the block, `crewai` in the user's files means the classes of the engine `name`.

    Raises UsageError if there is no such engine or it is not installed.
    """
    engines = get_args(Engine)
    if name not in engines:
        raise UsageError(
            f"--engine {name!r}: no such engine{suggest(name, engines)}; there are {' and '.join(engines)}"
        )
    if name == "crewai" and not is_installed("crewai"):
        raise UsageError("--engine crewai: CrewAI is not installed here; pip install crewai")
    with loading_for("crewai" if name == "crewai" else "crewrun"):
        if name == "crewrun":
            install()
        yield


def refuse_foreign_engine(what: str) -> None:
    """Raise DefinitionError if the engine is not ours, for `what` no other engine can run."""
    if current_engine() != "crewrun":
        raise DefinitionError(
            f"--engine crewai: {what}, which only crewrun reads; name the crew in Python, as in --crew crew.py:MyCrew"
        )


def is_installed(package: str) -> bool:
    """Whether `package` is installed. A folder of that name does not count, nor does crewrun under its name."""
    try:
        spec = find_spec(package)
    except (ImportError, ValueError):
        return False
    return spec is not None and spec.origin is not None and not isinstance(spec.loader, _CrewaiLoader)


def install() -> None:
    """Let `crewai` mean crewrun in everything that is loaded from now on with our engine."""
    if any(isinstance(finder, _UserFinder) for finder in sys.meta_path):
        return
    standard = next((i for i, other in enumerate(sys.meta_path) if other is PathFinder), 0)
    sys.meta_path.insert(standard, _UserFinder())
    sys.meta_path += [StubFinder(), _CrewaiFinder()]


class _UserFinder(MetaPathFinder):
    """Finds what Python's own finder finds, and loads the user's modules with `_RewritingLoader`."""

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        """The spec of a module whose imports are rewritten; None for all others."""
        if not _is_users_import():
            return None
        spec = PathFinder.find_spec(fullname, path, target)
        if spec is None or spec.origin is None or type(spec.loader) is not SourceFileLoader:
            return None
        spec.loader = self.loader_for(fullname, spec.origin)
        return spec if spec.loader is not None else None

    def loader_for(self, fullname: str, path: str) -> SourceFileLoader | None:
        """The loader for the file at `path`, which is imported now; None if it is not to be rewritten."""
        if current_engine() != "crewrun" or not is_users(os.path.realpath(path)):
            return None
        return _RewritingLoader(fullname, path)


class _RewritingLoader(SourceFileLoader):
    """Reads a source file with crewrun's modules in place of CrewAI's."""

    def get_code(self, fullname: str) -> CodeType | None:
        """The module's code. It is not cached in `__pycache__`, where Python would use it without this hook."""
        path = self.get_filename(fullname)
        source = self.get_data(path)
        names = {name: ours for name, ours in PACKAGES.items() if name == "crewai" or not is_installed(name)}
        if not any(name.encode() in source for name in PACKAGES):
            return super().get_code(fullname)
        return compile(rewritten(source, path, names), path, "exec", dont_inherit=True)


def _is_users_import() -> bool:
    """Whether a crew is being loaded, or the importing module was itself rewritten."""
    if current_load() is not None:
        return current_engine() == "crewrun"
    importer = next(
        (frame for frame in frames_from(sys._getframe(1)) if not frame.f_code.co_filename.startswith(_IMPORTING)), None
    )
    return importer is not None and _is_rewritten(importer)


def _is_rewritten(frame: FrameType) -> bool:
    return isinstance(getattr(frame.f_globals.get("__spec__"), "loader", None), _RewritingLoader)


def _serves_user() -> bool:
    """Whether rewritten code of the user's is on the stack."""
    return any(map(_is_rewritten, frames_from(sys._getframe(1))))


def _is_crewrun(package: str) -> bool:
    return isinstance(getattr(getattr(sys.modules.get(package), "__spec__", None), "loader", None), _CrewaiLoader)


class _CrewaiFinder(MetaPathFinder):
    """Finds crewrun under CrewAI's name, for installed libraries if CrewAI is not installed. It is the last finder."""

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        """The spec of the alias; None for any other name, and for imports that no crew's code causes."""
        top, _, rest = fullname.partition(".")
        if top != "crewai" or not (_is_crewrun(top) if rest else current_load() is not None or _serves_user()):
            return None
        return ModuleSpec(fullname, _CrewaiLoader(f"crewrun.{rest}" if rest else "crewrun"), is_package=True)


class _CrewaiLoader(Loader):
    """Gives a module the names of another one."""

    def __init__(self, ours: str) -> None:
        self._ours = ours

    def exec_module(self, module: ModuleType) -> None:
        """Names are looked up on first use, since crewrun itself loads them lazily."""
        try:
            ours = importlib.import_module(self._ours)
        except ModuleNotFoundError as absent:
            raise ModuleNotFoundError(str(absent), name=module.__name__) from None
        names: dict[str, Any] = module.__dict__
        names["__getattr__"] = lambda name: getattr(ours, name)
        names["__dir__"] = lambda: dir(ours)
