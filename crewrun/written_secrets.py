"""The secrets that are written into a crew's files as they are, and not as references to the environment.

Found by the names that stand before them: in Python by its syntax, in YAML and JSON, which may be broken, by lines.
"""

import ast
import re
from collections.abc import Iterable, Iterator
from typing import Final

from crewrun.secret_values import HEADER_BLOCKS, is_secret_name, literals_of, secrets_of_headers, snake

_OF_DATA: Final = frozenset({"key", "keys"})  # what any JSON may have
# `api_key: value`, `"api-key": "value"`, `token = 'value'`, and YAML's block texts.
_FIELD = re.compile(
    r"""(["']?)(?P<name>[A-Za-z_][\w.-]{0,80})\1[ \t]{0,20}[:=](?:[ \t]{0,20}[>|][+-]?[ \t]{0,20}\n)?[ \t]{0,40}"""
    r"""(?:"(?P<double>(?:[^"\\\n]|\\.)*)"|'(?P<single>(?:[^'\\\n]|\\.)*)'"""
    r"""|(?P<bare>(?:\$\{[^}\n]{0,80}\}|[^\s"'#,\[\]{}()])+))"""
)


def written_secrets(text: str, *, is_python: bool = False) -> Iterator[str]:
    """The secrets that stand in a crew's file as they are, and not as references."""
    if is_python:
        try:
            tree = ast.parse(text)
        except (SyntaxError, ValueError, RecursionError, MemoryError):
            return
        for value in _literals(tree):
            yield from literals_of(value)
        return
    for found in _FIELD.finditer(text):
        value = next((value for value in found.group("double", "single", "bare") if value is not None), "")
        is_secret = is_secret_name(found["name"]) and found["name"].lower() not in _OF_DATA
        if is_secret:
            yield from literals_of(value)


def _literals(tree: ast.AST) -> Iterator[str]:
    """The texts that Python code gives to arguments, keys and variables with the names of secrets."""
    for node in ast.walk(tree):
        pairs: Iterable[tuple[str, ast.AST | None]] = ()
        if isinstance(node, ast.keyword):
            pairs = [(node.arg or "", node.value)]
        elif isinstance(node, ast.Dict):
            pairs = [(_name_of(key), value) for key, value in zip(node.keys, node.values, strict=True)]
        elif isinstance(node, ast.Assign):
            pairs = [(_name_of(target), node.value) for target in node.targets]
        elif isinstance(node, ast.AnnAssign):
            pairs = [(_name_of(node.target), node.value)]
        for name, value in pairs:
            if snake(name) in HEADER_BLOCKS and isinstance(value, ast.Dict):
                for header, one in zip(value.keys, value.values, strict=True):
                    for text in _texts(one):
                        yield from secrets_of_headers({_name_of(header): text})
            elif is_secret_name(name):
                yield from _texts(value)


def _name_of(node: ast.AST | None) -> str:
    if isinstance(node, ast.Constant):
        return str(node.value)
    if isinstance(node, ast.Subscript):
        return _name_of(node.slice)
    return getattr(node, "id", None) or getattr(node, "attr", None) or ""


def _texts(node: ast.AST | None) -> Iterator[str]:
    """The texts of an expression that are its value; the names of variables that it looks up are not."""
    if isinstance(node, ast.Constant):
        if isinstance(node.value, str):
            yield node.value
    elif isinstance(node, ast.Call):
        is_lookup = _name_of(node.func) in ("getenv", "get")
        for argument in node.args[1:] if is_lookup else node.args:
            yield from _texts(argument)
    elif isinstance(node, ast.JoinedStr | ast.BoolOp | ast.IfExp | ast.BinOp | ast.List | ast.Tuple):
        for inner in ast.iter_child_nodes(node):
            yield from _texts(inner)
