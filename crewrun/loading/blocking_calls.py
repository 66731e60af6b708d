"""`may_block`: whether an async function of the user's starts a crew with a sync call.

`crew.kickoff()`, `llm.call()` and so on are for sync code. In an async function they block its event loop and all that
runs in it. Such functions are recognised by their source: by what they call, and by what the user's functions that they
call do. If that does not show it, the first such call at run time is remembered.
"""

import ast
import linecache
import sys
from collections.abc import Callable, Iterator, Mapping
from contextvars import ContextVar
from dataclasses import dataclass, field
from functools import lru_cache, partial
from inspect import unwrap
from types import CodeType, ModuleType
from typing import Any
from weakref import WeakKeyDictionary

from crewrun.loading.user_code import is_users, place_in

# Methods of these names start a crew, a flow or an agent on any object. A `call` does unless it is awaited.
_STARTS = frozenset(("kickoff", "kickoff_for_each"))
_CALLS = frozenset(("call",))
_NO_MODELS = frozenset(("subprocess",))
# Functions passed to these run in a thread and do not block the loop.
_INTO_THREADS = frozenset(("to_thread", "run_in_executor", "run_sync"))
# Bounds the time of the first check in a large project; beyond it only calls at run time are noticed.
_MOST_FILES = 300
_blocking: WeakKeyDictionary[CodeType, bool] = WeakKeyDictionary()
# The user's async function that this code runs in, if it is awaited in its caller's loop.
awaited_here: ContextVar[CodeType | None] = ContextVar("crewrun_awaited_here", default=None)


@dataclass(slots=True)
class _Function:
    """What a function's source says: whether it `blocks` by itself, and the names that it `calls` and `awaits`."""

    name: str
    line: int
    is_async: bool
    blocks: bool = False
    calls: set[str] = field(default_factory=set)
    awaits: set[str] = field(default_factory=set)


def code_of(function: Callable[..., Any]) -> CodeType | None:
    """The code of a function, a method, a partial or a callable object; None if it is not written in Python."""
    while isinstance(function, partial):
        function = function.func
    function = unwrap(function)
    for one in (function, getattr(function, "__call__", None)):  # noqa: B004  (for its code)
        code = getattr(one, "__code__", None)
        if isinstance(code, CodeType):
            return code
    return None


def may_block(function: Callable[..., Any]) -> bool:
    """Whether the async `function` is known to block its event loop while a crew runs."""
    code = code_of(function)
    return code is not None and does_code_block(code, partial(_globals_of, function))


def does_code_block(code: CodeType, names: Callable[[], Mapping[str, Any]]) -> bool:
    """The same as `may_block` for a function's code with these global `names`."""
    blocks = _blocking.get(code)
    if blocks is None:
        blocks = _blocking[code] = _blocks(code, names())
    return blocks


def remember_blocking() -> None:
    """Record that the function in `awaited_here` has just blocked its caller's loop, for its next call."""
    if (code := awaited_here.get()) is not None:
        _blocking[code] = True


def place_in_users_code() -> str:
    """`flow.py:12: `, the line of the user's code that this is called from; empty if there is none."""
    place = place_in(sys._getframe(1))
    return f"{place}: " if place is not None else ""


def _globals_of(function: Callable[..., Any]) -> Mapping[str, Any]:
    while isinstance(function, partial):
        function = function.func
    function = unwrap(function)
    for one in (function, getattr(function, "__func__", None), getattr(type(function), "__call__", None)):  # noqa: B004  (as above)
        names = getattr(one, "__globals__", None)
        if isinstance(names, dict):
            return names
    return {}


def _blocks(code: CodeType, names: Mapping[str, Any]) -> bool:
    if not _is_users(code.co_filename):
        return False
    own = _functions_in(code.co_filename)
    blocking = _blocking_names([*own, *_reached(code.co_filename, names)])
    return any(_does_block(one, blocking) for one in own if (one.name, one.line) == (code.co_name, code.co_firstlineno))


def _blocking_names(functions: list[_Function]) -> tuple[frozenset[str], frozenset[str]]:
    """The names of the functions that block, sync and async, directly or through what they call."""
    names: tuple[frozenset[str], frozenset[str]] = (frozenset(), frozenset())
    while True:
        blocking = [one for one in functions if _does_block(one, names)]
        more_names = (
            frozenset(one.name for one in blocking if not one.is_async),
            frozenset(one.name for one in blocking if one.is_async),
        )
        if more_names == names:
            return names
        names = more_names


def _does_block(one: _Function, blocking: tuple[frozenset[str], frozenset[str]]) -> bool:
    in_sync, in_async = blocking
    return one.blocks or bool(one.calls & (in_sync | in_async)) or bool(one.awaits & in_async)


def _reached(path: str, names: Mapping[str, Any]) -> Iterator[_Function]:
    """The functions in the user's other files that these names come from, and in files that those import."""
    seen, waiting = {path}, [names]
    while waiting and len(seen) < _MOST_FILES:
        for value in list(waiting.pop().values()):
            module = value if isinstance(value, ModuleType) else sys.modules.get(getattr(value, "__module__", "") or "")
            file = getattr(module, "__file__", None)
            if module is not None and isinstance(file, str) and file not in seen and _is_users(file):
                seen.add(file)
                waiting.append(vars(module))
                yield from _functions_in(file)


def _is_users(path: str) -> bool:
    """Whether `path` is one of the user's source files, or a notebook cell."""
    return is_users(path) and path.endswith((".py", ">"))


@lru_cache(maxsize=1024)
def _functions_in(path: str) -> tuple[_Function, ...]:
    try:
        tree = ast.parse("".join(linecache.getlines(path)))
    except (SyntaxError, ValueError, RecursionError):
        return ()
    return tuple(_functions_of(tree, ""))


def _functions_of(tree: ast.AST, of_class: str) -> Iterator[_Function]:
    for node in ast.iter_child_nodes(tree):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            line = min([node.lineno, *(one.lineno for one in node.decorator_list)])
            # A call of the class runs its __init__.
            name = of_class if node.name == "__init__" and of_class else node.name
            function = _Function(name, line, isinstance(node, ast.AsyncFunctionDef))
            for child in node.body:
                _look(child, function)
            yield function
        yield from _functions_of(node, node.name if isinstance(node, ast.ClassDef) else of_class)


def _look(node: ast.AST, function: _Function, *, is_awaited: bool = False) -> None:
    """Record what `node` and everything in it call. Inner functions count as parts of `function`."""
    children = ast.iter_child_nodes(node)
    if isinstance(node, ast.Await):
        return _look(node.value, function, is_awaited=True)
    if isinstance(node, ast.Call):
        name = _name_of(node.func)
        if name in _INTO_THREADS:
            return None
        (function.awaits if is_awaited else function.calls).add(name)
        # A function that is passed as an argument may be called and waited for.
        function.calls |= {_name_of(value) for value in (*node.args, *(one.value for one in node.keywords))}
        if isinstance(node.func, ast.Attribute) and name in _CALLS and not is_awaited:
            function.blocks |= _name_of(node.func.value) not in _NO_MODELS
    elif isinstance(node, ast.Attribute):
        function.blocks |= node.attr in _STARTS  # called here, or by code that it is passed to
    for child in children:
        _look(child, function)
    return None


def _name_of(node: ast.expr) -> str:
    return node.id if isinstance(node, ast.Name) else node.attr if isinstance(node, ast.Attribute) else ""
