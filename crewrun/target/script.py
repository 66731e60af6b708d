"""`script_target`: a Python file that kicks off by itself. Each row executes it as a whole.

It does what `python file.py` does, including the code under `if __name__ == "__main__":`, in a new namespace each time.
"""

import os
import sys
from dataclasses import dataclass, field
from importlib.util import module_from_spec, spec_from_file_location
from itertools import count
from types import CodeType, ModuleType
from typing import Any

from crewrun.crew.family import Watch
from crewrun.errors import DefinitionError
from crewrun.references import loader_of
from crewrun.target.arguments import Arguments
from crewrun.target.per_row import PerRowTarget
from crewrun.target.recipe import Recipe, Step

_numbers = count(1)


def script_target(module: ModuleType, file: str) -> PerRowTarget:
    """The target for the file of `module`, which messages call `file`."""
    script = _Script(module.__file__ or file, module.__package__ or "")
    step = Step(script.execute, Arguments(file, ()))
    return ScriptTarget(Recipe(file, os.path.basename(file), step), script.path)


class ScriptTarget(PerRowTarget):
    """The file at `path`. A row's output is the answer of its last kickoff."""

    def __init__(self, recipe: Recipe, path: str) -> None:
        super().__init__(recipe)
        self.user_code = path

    def _answer(self, made: Any, kickoffs: Watch) -> Any:
        if not kickoffs.count:
            raise DefinitionError(f"{self.name}: has kicked nothing off for this row, so there is no answer")
        return kickoffs.last


@dataclass(frozen=True, slots=True)
class _Script:
    """The file at `path`, whose relative imports start from `package`."""

    path: str
    package: str
    code: list[CodeType] = field(default_factory=list)  # empty until the file has been read

    def execute(self) -> None:
        """Run it in a new module, which exists until the run ends."""
        stem = os.path.splitext(os.path.basename(self.path))[0]
        name = ".".join(part for part in (self.package, f"{stem}__row{next(_numbers)}") if part)
        loader = loader_of(name, self.path)
        spec = spec_from_file_location(name, self.path, loader=loader)
        assert spec is not None  # noqa: S101  (it has a loader)
        module = module_from_spec(spec)
        if not self.code:
            code = loader.get_code(name)
            assert code is not None  # noqa: S101  (a source file's loader has it)
            self.code.append(code)
        sys.modules[name] = module
        try:
            exec(_as_main(self.code[0], name), vars(module))  # noqa: S102  (the user's own file)
        finally:
            sys.modules.pop(name, None)


def _as_main(code: CodeType, name: str) -> CodeType:
    """`code` of a module in which the module `name` counts as the main one.

    Classes look up their module by name, and `__main__` is crewrun's, so the module needs another name.
    """
    return code.replace(co_consts=tuple(name if value == "__main__" else value for value in code.co_consts))
