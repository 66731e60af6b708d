"""Stubs for CrewAI's modules that crewrun does not have: their names do nothing, or the import is refused.

`paths` lists these modules. `import_hook` installs the `StubFinder` after the finders of crewrun's own modules.
"""

import inspect
import warnings
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from importlib.abc import Loader, MetaPathFinder
from importlib.machinery import ModuleSpec
from types import ModuleType
from typing import Any, Self

from pydantic_core import core_schema

from crewrun.compat.paths import REFUSED, WITHOUT_EFFECT
from crewrun.errors import CrewrunWarning
from crewrun.references import shown


class StubFinder(MetaPathFinder):
    """Finds the stubs of CrewAI's modules as modules of crewrun. It is the last finder, after those of real modules."""

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        """The spec of a stub. Raises ModuleNotFoundError, which says what to do, for a module that is refused."""
        package, _, name = fullname.partition(".")
        if package != "crewrun":
            return None
        if (way_out := _entry(REFUSED, name)) is not None:
            raise ModuleNotFoundError(f"crewrun has no crewai.{name}: {way_out}", name=fullname)
        why = _entry(WITHOUT_EFFECT, name)
        if why is None and not any(module.startswith(f"{name}.") for module in WITHOUT_EFFECT):
            return None
        return ModuleSpec(fullname, _StubLoader(why), is_package=True)


def _entry(table: Mapping[str, str], name: str) -> str | None:
    return next((text for module, text in table.items() if f"{name}.".startswith(f"{module}.")), None)


class _StubLoader(Loader):
    """Gives a module whatever name is imported from it; none if it is only the parent of others (no `why`)."""

    def __init__(self, why: str | None) -> None:
        self._why = why

    def exec_module(self, module: ModuleType) -> None:
        """CrewAI's names differ between versions, so the module has any name."""
        why = self._why
        if why is not None:
            module.__dict__["__getattr__"] = lambda name: _stub(name, why, module.__name__)


def _stub(name: str, why: str, module: str) -> Any:
    if name.startswith("_"):
        raise AttributeError(f"module {module!r} has no attribute {name!r}")
    if name.endswith(("Error", "Exception", "Exceeded")):
        return type(name, (Exception,), {"__module__": module})
    kind = type(name, (_Stub,), {"__module__": module, "_notice": _Notice(name, why)})
    return object.__new__(kind) if name.islower() or name.isupper() else kind


@dataclass(slots=True)
class _Notice:
    """The warning about one imported name, given once, since each row may use it."""

    name: str
    why: str
    is_given: bool = False

    def give(self) -> None:
        if not self.is_given:
            self.is_given = True
            warnings.warn(f"{_place()}{self.name} has no effect: {self.why}", CrewrunWarning, stacklevel=3)


def _place() -> str:
    """`crew.py:14: `, the line of the user's code that is running."""
    frame = inspect.currentframe()
    while frame is not None and str(frame.f_globals.get("__name__")).partition(".")[0] == "crewrun":
        frame = frame.f_back
    return "" if frame is None else f"{shown(frame.f_code.co_filename)}:{frame.f_lineno}: "


class _Stub:
    """Takes any arguments, has any method, is empty, may be a base class, and returns functions that it decorates.

    Its metaclass is `type`, so that users' classes can inherit from it and from others.
    """

    _notice: _Notice

    def __new__(cls, *args: Any, **kwargs: Any) -> Self:
        cls._notice.give()
        return object.__new__(cls)

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        vars(self).update(kwargs)

    def __getattr__(self, name: str) -> Any:
        if name.startswith("_"):
            raise AttributeError(f"{type(self).__name__!r} object has no attribute {name!r}")
        self._notice.give()
        return self

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        self._notice.give()
        return args[0] if len(args) == 1 and inspect.isroutine(args[0]) else self

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *raised: object) -> None:
        pass

    def __iter__(self) -> Iterator[Any]:
        return iter(())

    def __len__(self) -> int:
        return 0

    def __str__(self) -> str:
        return ""

    @classmethod
    def __get_pydantic_core_schema__(cls, *of: Any) -> core_schema.CoreSchema:
        """Allow it as the type of a field in the user's models."""
        return core_schema.any_schema()
