"""`crewai` in a user's imports means crewrun, or with `--engine crewai` what is installed.

The import statements of the user's files, wherever these lie, are read as those of crewrun (`import_rewriting`); the
files stay as they are. A file is the user's when it is imported while a crew is loaded, or by another such file, and
is not installed. Installed libraries get the installed `crewai`, else crewrun under that name.
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
    """In the block `crewai` in the user's files means the classes of the engine `name`.

    Raises UsageError for one that there is not, or that is not installed.
    """
    known = get_args(Engine)
    if name not in known:
        raise UsageError(f"--engine {name!r}: no such engine{suggest(name, known)}; there are {' and '.join(known)}")
    if name == "crewai" and not is_installed("crewai"):
        raise UsageError("--engine crewai: CrewAI is not installed here; pip install crewai")
    with loading_for("crewai" if name == "crewai" else "crewrun"):
        if name == "crewrun":
            install()
        yield


def refuse_foreign_engine(what: str) -> None:
    """Raise DefinitionError where `what` cannot be run by another engine than ours."""
    if current_engine() != "crewrun":
        raise DefinitionError(
            f"--engine crewai: {what}, which only crewrun reads; name the crew in Python, as in --crew crew.py:MyCrew"
        )


def is_installed(package: str) -> bool:
    """Whether `import package` would find one; a mere folder of that name is none, nor is crewrun under its name."""
    try:
        spec = find_spec(package)
    except (ImportError, ValueError):
        return False
    return spec is not None and spec.origin is not None and not isinstance(spec.loader, _CrewaiLoader)


def install() -> None:
    """Have `crewai` mean crewrun in what is loaded from now on, unless its engine is another one."""
    if any(isinstance(finder, _UserFinder) for finder in sys.meta_path):
        return
    standard = next((i for i, other in enumerate(sys.meta_path) if other is PathFinder), 0)
    sys.meta_path.insert(standard, _UserFinder())
    sys.meta_path += [StubFinder(), _CrewaiFinder()]


class _UserFinder(MetaPathFinder):
    """Finds what Python's own finder finds, and reads it with `_RewritingLoader` if it is the user's."""

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        """The spec of a module whose imports are rewritten; None leaves it to the others."""
        if not _is_users_import():
            return None
        spec = PathFinder.find_spec(fullname, path, target)
        if spec is None or spec.origin is None or type(spec.loader) is not SourceFileLoader:
            return None
        spec.loader = self.loader_for(fullname, spec.origin)
        return spec if spec.loader is not None else None

    def loader_for(self, fullname: str, path: str) -> SourceFileLoader | None:
        """What reads the file at `path`, which is loaded now; None when that is not to be rewritten."""
        if current_engine() != "crewrun" or not is_users(os.path.realpath(path)):
            return None
        return _RewritingLoader(fullname, path)


class _RewritingLoader(SourceFileLoader):
    """Reads a source file with crewrun's modules in place of CrewAI's."""

    def get_code(self, fullname: str) -> CodeType | None:
        """The module's code. Rewritten code never goes into `__pycache__`, where Python would find it."""
        path = self.get_filename(fullname)
        source = self.get_data(path)
        names = {name: ours for name, ours in PACKAGES.items() if name == "crewai" or not is_installed(name)}
        if not any(name.encode() in source for name in names):
            return super().get_code(fullname)
        return compile(rewritten(source, path, names), path, "exec", dont_inherit=True)


def _is_users_import() -> bool:
    """Whether a crew is loaded now, or the module that imports was rewritten itself."""
    if current_load() is not None:
        return current_engine() == "crewrun"
    importer = next(
        (frame for frame in frames_from(sys._getframe(1)) if not frame.f_code.co_filename.startswith(_IMPORTING)), None
    )
    return importer is not None and _is_rewritten(importer)


def _is_rewritten(frame: FrameType) -> bool:
    return isinstance(getattr(frame.f_globals.get("__spec__"), "loader", None), _RewritingLoader)


def _serves_user() -> bool:
    """Whether code of the user's that was rewritten waits for what runs now."""
    return any(map(_is_rewritten, frames_from(sys._getframe(1))))


def _is_crewrun(package: str) -> bool:
    return isinstance(getattr(getattr(sys.modules.get(package), "__spec__", None), "loader", None), _CrewaiLoader)


class _CrewaiFinder(MetaPathFinder):
    """Finds crewrun under CrewAI's name, for installed libraries where CrewAI is not installed. Comes last."""

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        """The spec of the alias; None for every other name, and where no code of a crew asks for it."""
        top, _, rest = fullname.partition(".")
        if top != "crewai" or not (_is_crewrun(top) if rest else current_load() is not None or _serves_user()):
            return None
        return ModuleSpec(fullname, _CrewaiLoader(f"crewrun.{rest}" if rest else "crewrun"), is_package=True)


class _CrewaiLoader(Loader):
    """Fills a module with what another one has."""

    def __init__(self, ours: str) -> None:
        self._ours = ours

    def exec_module(self, module: ModuleType) -> None:
        """Names are looked up when they are asked for, as crewrun itself loads them."""
        try:
            ours = importlib.import_module(self._ours)
        except ModuleNotFoundError as absent:
            raise ModuleNotFoundError(str(absent), name=module.__name__) from None
        names: dict[str, Any] = module.__dict__
        names["__getattr__"] = lambda name: getattr(ours, name)
        names["__dir__"] = lambda: dir(ours)
