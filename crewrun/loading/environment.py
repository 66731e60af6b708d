"""Environment variables that the user's code needs: `missing_variable` made it fail, `unset_in` a file are not set."""

import ast
import linecache
import os
import traceback
from collections.abc import Iterator


def missing_variable(failed: BaseException) -> str | None:
    """The name of the variable that `os.environ[name]` did not find; None for any other exception."""
    frames = traceback.extract_tb(failed.__traceback__)
    is_lookup = isinstance(failed, KeyError) and bool(frames) and frames[-1].filename in (os.__file__, "<frozen os>")
    return str(failed.args[0]) if is_lookup and failed.args else None


def unset_in(file: str) -> list[str]:
    """The variables that the code in `file` reads without a default and that are not set."""
    try:
        tree = ast.parse("".join(linecache.getlines(file)))
    except (SyntaxError, ValueError, RecursionError):
        return []
    return sorted({name for node in ast.walk(tree) for name in _asked_by(node) if name not in os.environ})


def _asked_by(node: ast.AST) -> Iterator[str]:
    match node:
        case ast.Call(
            func=ast.Attribute(value=owner, attr=attr), args=[ast.Constant(value=str() as name)], keywords=[]
        ):
            if attr == "getenv" or (attr == "get" and "environ" in ast.unparse(owner)):
                yield name
        case ast.Call(func=ast.Name(id="getenv"), args=[ast.Constant(value=str() as name)], keywords=[]):
            yield name
        case ast.Subscript(value=owner, slice=ast.Constant(value=str() as name), ctx=ast.Load()):
            if ast.unparse(owner) in ("os.environ", "environ"):
                yield name
