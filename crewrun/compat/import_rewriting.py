"""`rewritten`: a source file that imports crewrun's modules where it imported CrewAI's, by statement or by name."""

import ast
from collections.abc import Mapping

from crewrun.compat.paths import ALWAYS_OURS, PACKAGES, place_of

# Functions of importlib and importlib.metadata that take the name of a module or a distribution.
_BY_NAME = frozenset({"import_module", "__import__", "find_spec", "version", "distribution"})


def rewritten(source: bytes, path: str, names: Mapping[str, str]) -> ast.Module:
    """The syntax tree of `source`, with modules renamed as `names` says; those in `ALWAYS_OURS` are imported from ours.

    Raises SyntaxError.
    """
    tree: ast.Module = _Rewriter(names).visit(ast.parse(source, path))
    return tree


class _Rewriter(ast.NodeTransformer):
    def __init__(self, names: Mapping[str, str]) -> None:
        self._names = names

    def visit_Import(self, node: ast.Import) -> ast.Import:
        node.names = [ast.copy_location(new, old) for old in node.names for new in self._aliases(old)]
        return node

    def visit_ImportFrom(self, node: ast.ImportFrom) -> ast.ImportFrom | list[ast.ImportFrom]:
        module = self._renamed(node.module) if node.level == 0 and node.module is not None else None
        if module is None:
            return _with_ours(node)
        if node.module is not None and node.module.startswith("crewai_tools."):
            module = self._names["crewai_tools"]  # each of its tools is in its own package
        homes: dict[str, list[ast.alias]] = {}
        for alias in node.names:
            home, name = place_of(module, alias.name)
            written = ast.alias(name, alias.asname or alias.name) if name != alias.name else alias
            homes.setdefault(home, []).append(ast.copy_location(written, alias))
        return [ast.copy_location(ast.ImportFrom(home, names, 0), node) for home, names in homes.items()]

    def visit_Call(self, node: ast.Call) -> ast.AST:
        self.generic_visit(node)
        called = node.func.attr if isinstance(node.func, ast.Attribute) else getattr(node.func, "id", None)
        if called in _BY_NAME and node.args and isinstance(node.args[0], ast.Constant):
            value = node.args[0].value
            module = self._renamed(value) if isinstance(value, str) else None
            if module is not None:
                is_distribution = called in ("version", "distribution")
                node.args[0] = ast.copy_location(ast.Constant("crewrun" if is_distribution else module), node.args[0])
        return node

    def _aliases(self, alias: ast.alias) -> list[ast.alias]:
        module = self._renamed(alias.name)
        if module is None:
            return [alias]
        if alias.asname is not None:
            return [ast.alias(module, alias.asname)]
        # `import crewai.tools` binds the name `crewai`, which the rest of the user's code uses.
        top = alias.name.partition(".")[0]
        whole = ast.alias(self._names[top], top)
        return [whole] if alias.name == top else [ast.alias(module), whole]

    def _renamed(self, module: str) -> str | None:
        top, dot, rest = module.partition(".")
        return f"{self._names[top]}{dot}{rest}" if top in self._names else None


def _with_ours(node: ast.ImportFrom) -> ast.ImportFrom | list[ast.ImportFrom]:
    """An import from a package that is not renamed, with the names that are ours all the same imported from ours."""
    package = (node.module or "").partition(".")[0] if node.level == 0 else ""
    ours = ALWAYS_OURS.get(package, frozenset())
    own = [alias for alias in node.names if alias.name in ours]
    if not own:
        return node
    others = [alias for alias in node.names if alias.name not in ours]
    split = [(PACKAGES[package], own), (node.module, others)]
    return [ast.copy_location(ast.ImportFrom(module, names, 0), node) for module, names in split if names]
