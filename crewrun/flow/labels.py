"""The labels that a router can return: as it declares them, else as its code says."""

import ast
import inspect
import textwrap
import types
from collections.abc import Callable, Iterator
from enum import Enum
from typing import Any, Literal, Union, get_args, get_origin, get_type_hints

from crewrun.flow.dsl import Mark


def declared_labels(function: Callable[..., Any], mark: Mark) -> frozenset[str] | None:
    """Those of `emit`, else of the annotation; None when neither says them."""
    if mark.emits is not None:
        return frozenset(mark.emits)
    function = inspect.unwrap(function)
    if "return" not in function.__annotations__:
        return None
    given = function.__annotations__["return"]
    try:
        # Only this one: another annotation may speak of what is imported for type checkers alone.
        only = types.SimpleNamespace(__annotations__={"return": given})
        return _literals(get_type_hints(only, getattr(function, "__globals__", {}))["return"])
    except Exception:  # an annotation may be any expression, and none of them is needed
        return None


def _literals(annotation: Any) -> frozenset[str] | None:
    if annotation is type(None):
        return frozenset()
    if inspect.isclass(annotation) and issubclass(annotation, Enum):
        return frozenset(str(one.value) for one in annotation)
    if get_origin(annotation) is Literal:
        words = [one.value if isinstance(one, Enum) else one for one in get_args(annotation)]
        return frozenset(str(one) for one in words if one is not None)
    if get_origin(annotation) in (Union, types.UnionType):
        parts = [_literals(part) for part in get_args(annotation)]
        literals = [part for part in parts if part is not None]
        return frozenset().union(*literals) if len(literals) == len(parts) else None
    return None


def labels_in_code(function: Callable[..., Any]) -> frozenset[str] | None:
    """Those of a router whose `return` statements all name constants; None when one does not, when there are none, as
    in a method that others are to bring, or when the code is not there to be read.
    """
    try:
        tree = ast.parse(textwrap.dedent(inspect.getsource(inspect.unwrap(function))))
    except (OSError, TypeError, SyntaxError, ValueError):
        return None
    values = list(_returned(tree.body[0]))
    labels = {str(value.value) for value in values if isinstance(value, ast.Constant) and value.value is not None}
    return frozenset(labels) if values and all(isinstance(value, ast.Constant) for value in values) else None


def _returned(node: ast.AST) -> Iterator[ast.expr]:
    """The values of a function's `return` statements, both ways of a condition each; not of functions inside it."""
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.Return):
            yield from _ways(child.value or ast.Constant(None))
        elif not isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda | ast.ClassDef):
            yield from _returned(child)


def _ways(value: ast.expr) -> Iterator[ast.expr]:
    if isinstance(value, ast.IfExp):
        yield from _ways(value.body)
        yield from _ways(value.orelse)
    else:
        yield value
