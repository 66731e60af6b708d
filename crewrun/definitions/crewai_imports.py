"""`crewai` in a user's imports means crewrun: `rewrite_below` a folder, and its files are imported so.

Only the import statements of the files below that folder are read anew, `import crewai`, `from crewai.tools import …`,
wherever they stand; the files stay as they are. What is installed keeps its own meaning of `crewai`. What crewrun does
not have of CrewAI is in `stand_ins`.
"""

import ast
import os
import sys
from collections.abc import Mapping, Sequence
from importlib.abc import MetaPathFinder
from importlib.machinery import ModuleSpec, PathFinder, SourceFileLoader
from importlib.util import find_spec
from types import CodeType, ModuleType

from crewrun.definitions.stand_ins import StandInFinder, home_of

_OURS = os.path.realpath(os.path.dirname(os.path.dirname(__file__)))
_BESIDE = {"crewai_tools": "crewrun.tools", "crewai_files": "crewrun.files"}
_INSTALLED = frozenset({"site-packages", "dist-packages"})


def is_installed(package: str) -> bool:
    """Whether `import package` would find one; a mere folder of that name is none."""
    try:
        spec = find_spec(package)
    except (ImportError, ValueError):
        return False
    return spec is not None and spec.origin is not None


def rewrite_below(folder: str) -> None:
    """Import the files below `folder` with `crewai` read as crewrun, from now on.

    `crewai_tools` is read as crewrun's tools, and `crewai_files` as its files, unless they are installed.
    """
    finder = next((finder for finder in sys.meta_path if isinstance(finder, _Finder)), None)
    if finder is None:
        finder = _Finder()
        standard = next((i for i, other in enumerate(sys.meta_path) if other is PathFinder), 0)
        sys.meta_path.insert(standard, finder)
        sys.meta_path.append(StandInFinder())
    beside = {name: ours for name, ours in _BESIDE.items() if not is_installed(name)}
    finder.folders[os.path.realpath(folder)] = {"crewai": "crewrun", **beside}


class _Finder(MetaPathFinder):
    """Finds what Python's own finder finds, and reads it with `_Loader` if it is below one of `folders`."""

    def __init__(self) -> None:
        self.folders: dict[str, Mapping[str, str]] = {}

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        """The spec of a module whose imports are rewritten; None leaves it to the others."""
        spec = PathFinder.find_spec(fullname, path, target)
        if spec is None or spec.origin is None or type(spec.loader) is not SourceFileLoader:
            return None
        spec.loader = self.loader_for(fullname, spec.origin)
        return spec if spec.loader is not None else None

    def loader_for(self, fullname: str, path: str) -> SourceFileLoader | None:
        """What reads the file at `path`; None when that is not to be rewritten."""
        file = os.path.realpath(path)
        if file.startswith(_OURS + os.sep):
            return None
        for folder, names in self.folders.items():
            inner = file.removeprefix(folder.rstrip(os.sep) + os.sep)
            if inner != file and _INSTALLED.isdisjoint(inner.split(os.sep)):  # it may hold its virtual environment
                return _Loader(names, fullname, path)
        return None


class _Loader(SourceFileLoader):
    """Reads a source file with other modules in place of those that `names` has."""

    def __init__(self, names: Mapping[str, str], fullname: str, path: str) -> None:
        super().__init__(fullname, path)
        self._names = names

    def get_code(self, fullname: str) -> CodeType | None:
        """The module's code. Rewritten code never goes into `__pycache__`, where Python would find it."""
        path = self.get_filename(fullname)
        source = self.get_data(path)
        if not any(name.encode() in source for name in self._names):
            return super().get_code(fullname)
        tree: ast.Module = _Rewriter(self._names).visit(ast.parse(source, path))
        return compile(tree, path, "exec", dont_inherit=True)


class _Rewriter(ast.NodeTransformer):
    def __init__(self, names: Mapping[str, str]) -> None:
        self._names = names

    def visit_Import(self, node: ast.Import) -> ast.Import:
        node.names = [ast.copy_location(new, old) for old in node.names for new in self._aliases(old)]
        return node

    def visit_ImportFrom(self, node: ast.ImportFrom) -> ast.ImportFrom | list[ast.ImportFrom]:
        module = self._renamed(node.module) if node.level == 0 and node.module is not None else None
        if module is None:
            return node
        homes: dict[str, list[ast.alias]] = {}
        for alias in node.names:
            homes.setdefault(home_of(module, alias.name), []).append(alias)
        return [ast.copy_location(ast.ImportFrom(home, names, 0), node) for home, names in homes.items()]

    def _aliases(self, alias: ast.alias) -> list[ast.alias]:
        module = self._renamed(alias.name)
        if module is None:
            return [alias]
        if alias.asname is not None:
            return [ast.alias(module, alias.asname)]
        # `import crewai.tools` binds `crewai`, and what comes after it in the user's code is looked up there.
        top = alias.name.partition(".")[0]
        whole = ast.alias(self._names[top], top)
        return [whole] if alias.name == top else [ast.alias(module), whole]

    def _renamed(self, module: str) -> str | None:
        top, dot, rest = module.partition(".")
        return f"{self._names[top]}{dot}{rest}" if top in self._names else None
