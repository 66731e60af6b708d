"""`script_target`: a Python file that kicks off by itself, which is executed as a whole for each row.

It is what `python file.py` would do, with what is under `if __name__ == "__main__":`. Its names are its own each time.
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
    """The target that is the file of `module`, which messages call `file`."""
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
            raise DefinitionError(f"{self.name}: has kicked nothing off for this row, so that there is no answer")
        return kickoffs.last


@dataclass(frozen=True, slots=True)
class _Script:
    """The file at `path`, in a `package` that its relative imports start from."""

    path: str
    package: str
    code: list[CodeType] = field(default_factory=list)  # once it was read

    def execute(self) -> None:
        """Run it in a module of its own, which is there until it has ended."""
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
    """`code` of a module, for which the module `name` is the main one.

    Classes look their own module up by its name, so it cannot be called `__main__`, as that is crewrun's.
    """
    return code.replace(co_consts=tuple(name if value == "__main__" else value for value in code.co_consts))
