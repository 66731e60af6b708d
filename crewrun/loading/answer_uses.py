"""What the user's code does with the answer to a question, from its source: the name it is assigned to, and its type.

topic = input("Topic? ").strip() or "AI"      the name is `topic`
count = int(input("How many? "))              the name is `count`, and the answer is used as a number
crew = build(input("Which? "))                the name is that of the parameter, if `build` is in the file
"""

import ast
import linecache
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import pairwise
from types import FrameType

_SAME = frozenset({"strip", "lstrip", "rstrip"})
_TEXT = frozenset({"str"})
_STARTS = frozenset({"kickoff", "kickoff_async", "akickoff", "run", "execute"})
_MOST_CALLERS = 5
# The names of functions' parameters, by the name of the function.
Parameters = Mapping[str, Sequence[str]]
_Function = ast.FunctionDef | ast.AsyncFunctionDef


@dataclass(frozen=True, slots=True)
class Use:
    """The `name` that the answer is assigned to, None without one, and what the code does with the answer first.

    `doing` describes that in words; None means that the answer stays a text. `is_unused` means that the answer is
    dropped, `is_variable` that it becomes an environment variable.
    """

    name: str | None = None
    doing: str | None = None
    is_unused: bool = False
    is_variable: bool = False


def use_of(frame: FrameType) -> Use:
    """What happens to the result of the call that `frame` is in. If a function returns it, its caller is looked at."""
    doing: str | None = None
    current: FrameType | None = frame
    for _ in range(_MOST_CALLERS):
        path = _path_to(current) if current is not None else []
        if not path:
            return Use(doing=doing)
        use = use_in(path, parameters_in(_parsed(current.f_code.co_filename)) if current is not None else {})
        doing = doing or use.doing
        if use.name != "return":
            return Use(use.name, doing, use.is_unused, use.is_variable)
        current = current.f_back if current is not None else None
    return Use(doing=doing)


def _path_to(frame: FrameType) -> list[ast.AST]:
    """The nodes around the call that `frame` is in, from the inside out."""
    positions = list(frame.f_code.co_positions())
    at = positions[frame.f_lasti // 2] if 0 <= frame.f_lasti // 2 < len(positions) else (None,) * 4
    tree = _parsed(frame.f_code.co_filename)
    if tree is None:
        return []
    path: list[ast.AST] = []
    _descend(tree, at, path)
    return path


def _descend(node: ast.AST, at: tuple[int | None, ...], path: list[ast.AST]) -> bool:
    for child in ast.iter_child_nodes(node):
        if _descend(child, at, path):
            path.append(child)
            return True
    place = (
        getattr(node, "lineno", None),
        getattr(node, "end_lineno", None),
        getattr(node, "col_offset", None),
        getattr(node, "end_col_offset", None),
    )
    return isinstance(node, ast.Call | ast.Await) and place == at


@lru_cache(maxsize=64)
def _parsed(file: str) -> ast.Module | None:
    source = "".join(linecache.getlines(file))
    try:
        return ast.parse(source)
    except (SyntaxError, ValueError, RecursionError):
        return None


def parameters_in(tree: ast.Module | None) -> Parameters:
    """The positional parameters of the top-level functions of a file, and of its classes' `__init__`."""
    functions: dict[str, Sequence[str]] = {}
    for node in tree.body if tree is not None else ():
        if isinstance(node, _Function):
            functions[node.name] = _positional(node)
        elif isinstance(node, ast.ClassDef):
            for method in node.body:
                if isinstance(method, _Function) and method.name == "__init__":
                    functions[node.name] = _positional(method)[1:]
    return functions


def _positional(function: _Function) -> Sequence[str]:
    return [parameter.arg for parameter in (*function.args.posonlyargs, *function.args.args)]


def use_in(path: list[ast.AST], parameters: Parameters) -> Use:
    """What happens to the result of the call that `path` begins with; `path` has the nodes around it, innermost first.

    `parameters` are those of the file's functions. An argument among several takes the name of its parameter. A call
    with a single argument may be a conversion, so the name that its result is assigned to is preferred.
    """
    doing: str | None = None
    parameter: str | None = None
    for inner, node in pairwise(path):
        if isinstance(node, ast.Call) and inner in node.args and isinstance(node.func, ast.Name):
            names = parameters.get(node.func.id, ())
            parameter = dict(enumerate(names)).get(node.args.index(inner), parameter)
            if names and len(node.args) + len(node.keywords) > 1:
                return Use(parameter, doing)
        match node:
            case ast.Assign(targets=[target]) | ast.AnnAssign(target=target) | ast.NamedExpr(target=target):
                return _assigned(target, doing)
            case ast.Dict(keys=keys, values=values) if inner in values:
                key = keys[values.index(inner)]
                return Use(key.value if isinstance(key, ast.Constant) and isinstance(key.value, str) else None, doing)
            case ast.keyword(arg=name):
                return Use(name, doing)
            case ast.Return():
                return Use("return", doing)
            case ast.Expr():
                return Use(parameter, doing, is_unused=doing is parameter is None)
            case ast.Attribute(attr=attr) if attr in _STARTS:  # the result comes from a crew and is not the answer
                break
        doing = doing or (None if _is_same(inner, node) else _words(node))
    return Use(parameter, doing)


def _is_same(inner: ast.AST, node: ast.AST) -> bool:
    """Whether the value of `node` is still the text that `inner` gives."""
    match node:
        case ast.Attribute(attr=attr):
            return attr in _SAME
        case ast.Call(func=func):
            return inner is func or (isinstance(func, ast.Name) and func.id in _TEXT)
        case ast.IfExp(body=body, orelse=other):
            return inner in (body, other)
        case ast.BoolOp(op=ast.Or()) | ast.FormattedValue() | ast.JoinedStr() | ast.Await() | ast.BinOp(op=ast.Add()):
            return True
    return False


def _assigned(target: ast.expr, doing: str | None) -> Use:
    match target:
        case ast.Name(id=name) | ast.Attribute(attr=name):
            return Use(name, doing)
        case ast.Subscript(value=owner, slice=ast.Constant(value=str() as name)):
            return Use(name, doing, is_variable="environ" in ast.unparse(owner))
    return Use(doing=doing or "taken apart")


def _words(node: ast.AST) -> str:
    match node:
        case ast.Call(func=func):
            return f"given to {ast.unparse(func)}()"
        case ast.Compare():
            return "compared"
        case ast.Attribute(attr=attr):
            return f"changed by .{attr}()"
    return "used here"
