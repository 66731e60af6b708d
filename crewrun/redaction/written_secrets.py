"""Secrets written literally into a crew's files, rather than as references to the environment.

They are found by the names before them: in Python through its syntax tree, in YAML and JSON, which may be malformed,
with a regular expression.
"""

import ast
import re
from collections.abc import Iterator
from typing import Final

from crewrun.redaction.values import (
    HEADER_BLOCKS,
    is_secret_name,
    literals_of,
    secrets_of_headers,
    secrets_of_url,
    snake,
)

_OF_DATA: Final = frozenset({"key", "keys", "tokens"})  # ordinary fields of any JSON
# `api_key: value`, `"api-key": "value"`, `token = 'value'`, and YAML's block scalars.
_FIELD = re.compile(
    r"""(["']?)(?P<name>[A-Za-z_][\w.-]{0,80})\1[ \t]{0,20}[:=](?:[ \t]{0,20}[>|][+-]?[ \t]{0,20}\n)?[ \t]{0,40}"""
    r"""(?:"(?P<double>(?:[^"\\\n]|\\.)*)"|'(?P<single>(?:[^'\\\n]|\\.)*)'"""
    r"""|(?P<bare>(?:\$\{[^}\n]{0,80}\}|[^\s"'#,\[\]{}()])+))"""
)

_URL = re.compile(r"\b[a-z][a-z0-9+.-]{0,30}://[^\s\"'<>]{1,2000}", re.IGNORECASE)
# What examples have in place of a secret.
_PLACEHOLDERS: Final = frozenset({"username", "password", "user:password", "user:pass", "username:password"})
# Keywords with which `field(default=…)`, pydantic's `Field` and `os.environ.get` declare a default.
_DEFAULTS: Final = frozenset({"default", "default_factory", "secret_value"})


def written_secrets(text: str, *, is_python: bool = False) -> Iterator[str]:
    """The secrets in the text of a crew's file that are written literally, not as references."""
    if is_python:
        try:
            tree = ast.parse(text)
        except (SyntaxError, ValueError, RecursionError, MemoryError):
            return
        for value in _literals(tree):
            yield from literals_of(value)
        return
    for field in _FIELD.finditer(text):
        value = next((value for value in field.group("double", "single", "bare") if value is not None), "")
        is_secret = is_secret_name(field["name"]) and field["name"].lower() not in _OF_DATA
        if is_secret:
            yield from literals_of(value)


def _literals(tree: ast.AST) -> Iterator[str]:
    """The literal texts that Python code assigns to parameters, keys and variables with secret names."""
    docstrings: set[ast.AST] = set()
    for node in ast.walk(tree):
        for name, value in _named(node):
            if snake(name) in HEADER_BLOCKS and isinstance(value, ast.Dict):
                for header, one in zip(value.keys, value.values, strict=True):
                    for text in _texts(one):
                        yield from secrets_of_headers({_name_of(header): text})
            elif is_secret_name(name):
                yield from _texts(value)
        if isinstance(node, ast.Expr):
            docstrings.add(node.value)
        elif isinstance(node, ast.Call) and _name_of(node.func) in ("SecretStr", "SecretBytes"):
            yield from _texts(node)
        elif isinstance(node, ast.Constant) and isinstance(node.value, str) and node not in docstrings:
            for url in _URL.findall(node.value):
                yield from (secret for secret in secrets_of_url(url) if secret not in _PLACEHOLDERS)


def _named(node: ast.AST) -> Iterator[tuple[str, ast.AST | None]]:
    """The names that a node assigns, each with its value."""
    match node:
        case ast.keyword():
            yield node.arg or "", node.value
        case ast.Dict():
            yield from ((_name_of(key), value) for key, value in zip(node.keys, node.values, strict=True))
        case ast.Assign():
            yield from ((_name_of(target), node.value) for target in node.targets)
        case ast.AnnAssign() | ast.NamedExpr():
            yield _name_of(node.target), node.value
        case ast.arguments():
            positional = [*node.posonlyargs, *node.args]
            for parameter, default in zip(reversed(positional), reversed(node.defaults), strict=False):
                yield parameter.arg, default
            for parameter, value in zip(node.kwonlyargs, node.kw_defaults, strict=True):
                yield parameter.arg, value


def _name_of(node: ast.AST | None) -> str:
    if isinstance(node, ast.Constant):
        return str(node.value)
    if isinstance(node, ast.Subscript):
        return _name_of(node.slice)
    return getattr(node, "id", None) or getattr(node, "attr", None) or ""


def _texts(node: ast.AST | None) -> Iterator[str]:
    """The literal texts that an expression may evaluate to, not the names of variables that it looks up."""
    match node:
        case ast.Constant(value=str() as text):
            yield text
        case ast.Constant(value=bytes() as data):
            yield data.decode("utf-8", "replace")
        case ast.Call():
            is_lookup = _name_of(node.func) in ("getenv", "get")
            inner = node.args[1:] if is_lookup else node.args
            for value in (*inner, *(keyword.value for keyword in node.keywords if keyword.arg in _DEFAULTS)):
                yield from _texts(value)
        case ast.Dict():
            for value in node.values:
                yield from _texts(value)
        case ast.Lambda():
            yield from _texts(node.body)
        case ast.NamedExpr():
            yield from _texts(node.value)
        case ast.JoinedStr() | ast.BoolOp() | ast.IfExp() | ast.BinOp() | ast.List() | ast.Tuple() | ast.Set():
            for child in ast.iter_child_nodes(node):
                yield from _texts(child)
