"""`question_fields`: the fields of a row that answer the questions in the user's code, according to its source.

`input()` is answered by the field with the name that its result is assigned to, a required argument of argparse by the
field of its name. Questions in branches that no row reaches are included.
"""

import ast
import inspect
import linecache
from collections.abc import Iterator
from operator import itemgetter
from typing import Any

from crewrun.loading.answer_uses import Parameters, parameters_in, use_in
from crewrun.loading.user_code import is_users, shown

_QUESTIONS = frozenset({"input", "getpass"})
_Scope = ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef


def question_fields(source: Any) -> dict[str, str]:
    """The names of the fields that `source` and the code it calls ask for, each with its place.

    `source` is a function, a class, or the path of a file that is run as a whole. Calls are followed within its file.
    """
    file = source if isinstance(source, str) else _file_of(source)
    if file is None or not is_users(file):
        return {}
    try:
        tree = ast.parse("".join(linecache.getlines(file)))
    except (SyntaxError, ValueError, RecursionError):
        return {}
    scopes = {node.name: node for node in tree.body if isinstance(node, _Scope)}
    parameters = parameters_in(tree)
    fields: dict[str, str] = {}
    for scope in [tree] if file is source else _reached(scopes, inspect.unwrap(source).__qualname__.partition(".")[0]):
        for field, line in sorted(_asked_in(scope, parameters), key=itemgetter(1)):
            fields.setdefault(field, f"{shown(file)}:{line}")
    return fields


def _file_of(source: Any) -> str | None:
    if not inspect.isclass(source) and not inspect.isroutine(source):
        return None
    try:
        return inspect.getsourcefile(inspect.unwrap(source))
    except TypeError:  # built in
        return None


def _reached(scopes: dict[str, _Scope], name: str) -> Iterator[_Scope]:
    """The function or class `name`, then those of the file that it uses."""
    waiting, seen = [name], set[str]()
    while waiting:
        scope = scopes.get(current := waiting.pop(0))
        if scope is None or current in seen:
            continue
        seen.add(current)
        yield scope
        waiting += [node.id for node in ast.walk(scope) if isinstance(node, ast.Name)]


def _asked_in(scope: ast.AST, parameters: Parameters) -> Iterator[tuple[str, int]]:
    around = {inner: node for node in ast.walk(scope) for inner in ast.iter_child_nodes(node)}
    for node in ast.walk(scope):
        if not isinstance(node, ast.Call):
            continue
        field = None
        match node.func:
            case ast.Name(id=name) | ast.Attribute(attr=name) if name in _QUESTIONS:
                field = use_in(_outwards(node, around), parameters).name
            case ast.Attribute(attr="add_argument"):
                field = _argument(node)
        if field is not None and field != "return":
            yield field, node.lineno


def _outwards(node: ast.AST, around: dict[ast.AST, ast.AST]) -> list[ast.AST]:
    path = [node]
    while path[-1] in around:
        path.append(around[path[-1]])
    return path


def _argument(call: ast.Call) -> str | None:
    """The name of the argument that the `add_argument` call declares, None if it is optional."""
    names = [arg.value for arg in call.args if isinstance(arg, ast.Constant) and isinstance(arg.value, str)]
    words = {word.arg: word.value.value for word in call.keywords if isinstance(word.value, ast.Constant)}
    if not names:
        return None
    is_option = names[0].startswith("-")
    if not (words.get("required") if is_option else words.get("nargs") not in ("?", "*")):
        return None
    long = next((name for name in names if name.startswith("--")), names[0])
    dest = words.get("dest")
    return dest if isinstance(dest, str) else long.lstrip("-").replace("-", "_") if is_option else long
