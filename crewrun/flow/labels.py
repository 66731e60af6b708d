"""The labels that a router can return: those that it declares, else those read from its code."""

import ast
import inspect
import textwrap
import types
from collections.abc import Callable, Iterator
from enum import Enum
from typing import Any, Literal, Union, get_args, get_origin, get_type_hints

from crewrun.flow.dsl import Mark


def declared_labels(function: Callable[..., Any], mark: Mark) -> frozenset[str] | None:
    """The labels in `emit`, else in the return annotation; None if neither names any."""
    if mark.emits is not None:
        return frozenset(mark.emits)
    function = inspect.unwrap(function)
    if "return" not in function.__annotations__:
        return None
    annotation = function.__annotations__["return"]
    try:
        # Only this one: another annotation may refer to a name that is imported under TYPE_CHECKING.
        only = types.SimpleNamespace(__annotations__={"return": annotation})
        return _literals(get_type_hints(only, getattr(function, "__globals__", {}))["return"])
    except Exception:  # an annotation may be any expression, and labels in it are optional
        return None


def _literals(annotation: Any) -> frozenset[str] | None:
    if annotation is type(None):
        return frozenset()
    if inspect.isclass(annotation) and issubclass(annotation, Enum):
        return frozenset(str(member.value) for member in annotation)
    if get_origin(annotation) is Literal:
        values = [value.value if isinstance(value, Enum) else value for value in get_args(annotation)]
        return frozenset(str(value) for value in values if value is not None)
    if get_origin(annotation) in (Union, types.UnionType):
        parts = [_literals(part) for part in get_args(annotation)]
        literals = [part for part in parts if part is not None]
        return frozenset().union(*literals) if len(literals) == len(parts) else None
    return None


def labels_in_code(function: Callable[..., Any]) -> frozenset[str] | None:
    """The labels of a router whose `return` statements all return constants.

    None if one does not, if there is no `return` (as in a method that subclasses override), or if there is no source.
    """
    try:
        tree = ast.parse(textwrap.dedent(inspect.getsource(inspect.unwrap(function))))
    except (OSError, TypeError, SyntaxError, ValueError):
        return None
    values = list(_return_values(tree.body[0]))
    labels = {str(value.value) for value in values if isinstance(value, ast.Constant) and value.value is not None}
    return frozenset(labels) if values and all(isinstance(value, ast.Constant) for value in values) else None


def _return_values(node: ast.AST) -> Iterator[ast.expr]:
    """The values of a function's `return` statements, both branches of `a if x else b`; not of nested functions."""
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.Return):
            yield from _branches(child.value or ast.Constant(None))
        elif not isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda | ast.ClassDef):
            yield from _return_values(child)


def _branches(value: ast.expr) -> Iterator[ast.expr]:
    if isinstance(value, ast.IfExp):
        yield from _branches(value.body)
        yield from _branches(value.orelse)
    else:
        yield value
