"""`may_block`: whether an async function of the user's starts a crew with a call that nothing awaits.

`crew.kickoff()`, `llm.call()` and the like are for sync code. In an async function they hold its event loop, and with
it all that the loop has to do. Such functions are known by their source: by what they call themselves, and by what the
user's functions that they call do. Where that cannot be seen, the first such call at run time is remembered.
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

# These start a crew, a flow or an agent whoever has them; a `call` that is awaited is somebody else's.
_STARTS = frozenset(("kickoff", "kickoff_for_each"))
_CALLS = frozenset(("call",))
_NO_MODELS = frozenset(("subprocess",))
# What is handed to these runs in a thread, and the loop goes on.
_INTO_THREADS = frozenset(("to_thread", "run_in_executor", "run_sync"))
_MOST_FILES = 300
_known: WeakKeyDictionary[CodeType, bool] = WeakKeyDictionary()
# The async function of the user's that this code was called by, if it is awaited in the loop of its caller.
awaited_here: ContextVar[CodeType | None] = ContextVar("crewrun_awaited_here", default=None)


@dataclass(slots=True)
class _Function:
    """What a function's source says: `blocks` by itself, and the names of what it calls, awaited or not."""

    name: str
    line: int
    is_async: bool
    blocks: bool = False
    calls: set[str] = field(default_factory=set)
    awaits: set[str] = field(default_factory=set)


def code_of(function: Callable[..., Any]) -> CodeType | None:
    """The code of a function, a method, a partial or an object that can be called; None where there is none."""
    while isinstance(function, partial):
        function = function.func
    function = unwrap(function)
    for one in (function, getattr(function, "__call__", None)):  # noqa: B004  (its code is what is asked for)
        code = getattr(one, "__code__", None)
        if isinstance(code, CodeType):
            return code
    return None


def may_block(function: Callable[..., Any]) -> bool:
    """Whether the async `function` holds its event loop while a crew runs, as far as that is known."""
    code = code_of(function)
    return code is not None and does_code_block(code, partial(_globals_of, function))


def does_code_block(code: CodeType, names: Callable[[], Mapping[str, Any]]) -> bool:
    """As `may_block`, of a function's code, which sees the global `names`."""
    known = _known.get(code)
    if known is None:
        known = _known[code] = _blocks(code, names())
    return known


def remember_blocking() -> None:
    """The function that `awaited_here` names has just held the loop of its caller: the next call is known to."""
    if (code := awaited_here.get()) is not None:
        _known[code] = True


def place_in_users_code() -> str:
    """`flow.py:12: `, the line of the user's that this is called by; nothing where there is none."""
    place = place_in(sys._getframe(1))
    return f"{place}: " if place is not None else ""


def _globals_of(function: Callable[..., Any]) -> Mapping[str, Any]:
    while isinstance(function, partial):
        function = function.func
    function = unwrap(function)
    for one in (function, getattr(function, "__func__", None), getattr(type(function), "__call__", None)):  # noqa: B004  (as above)
        found = getattr(one, "__globals__", None)
        if isinstance(found, dict):
            return found
    return {}


def _blocks(code: CodeType, names: Mapping[str, Any]) -> bool:
    if not _is_users(code.co_filename):
        return False
    own = _functions_in(code.co_filename)
    blocking = _blocking_names([*own, *_reached(code.co_filename, names)])
    return any(_does_block(one, blocking) for one in own if (one.name, one.line) == (code.co_name, code.co_firstlineno))


def _blocking_names(functions: list[_Function]) -> tuple[frozenset[str], frozenset[str]]:
    """The names of the functions that block, sync and async, by what they call in the end."""
    found: tuple[frozenset[str], frozenset[str]] = (frozenset(), frozenset())
    while True:
        blocking = [one for one in functions if _does_block(one, found)]
        now = (
            frozenset(one.name for one in blocking if not one.is_async),
            frozenset(one.name for one in blocking if one.is_async),
        )
        if now == found:
            return found
        found = now


def _does_block(one: _Function, blocking: tuple[frozenset[str], frozenset[str]]) -> bool:
    in_sync, in_async = blocking
    return one.blocks or bool(one.calls & (in_sync | in_async)) or bool(one.awaits & in_async)


def _reached(path: str, names: Mapping[str, Any]) -> Iterator[_Function]:
    """The functions of the user's other files that those names come from, and of what these import."""
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
    """Whether `path` is a source file of the user's, or a cell of a notebook."""
    return path.startswith("<ipython-input") or (path.endswith(".py") and is_users(path))


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
            # Whoever calls a class runs its __init__.
            name = of_class if node.name == "__init__" and of_class else node.name
            found = _Function(name, line, isinstance(node, ast.AsyncFunctionDef))
            for child in node.body:
                _look(child, found)
            yield found
        yield from _functions_of(node, node.name if isinstance(node, ast.ClassDef) else of_class)


def _look(node: ast.AST, found: _Function, *, is_awaited: bool = False) -> None:
    """Note what `node` and all in it call; functions inside a function are a part of it."""
    children = ast.iter_child_nodes(node)
    if isinstance(node, ast.Await):
        return _look(node.value, found, is_awaited=True)
    if isinstance(node, ast.Call):
        name = _name_of(node.func)
        if name in _INTO_THREADS:
            return None
        (found.awaits if is_awaited else found.calls).add(name)
        # A function that is handed on may be called there, and waited for.
        found.calls |= {_name_of(value) for value in (*node.args, *(one.value for one in node.keywords))}
        if isinstance(node.func, ast.Attribute) and name in _CALLS and not is_awaited:
            found.blocks |= _name_of(node.func.value) not in _NO_MODELS
    elif isinstance(node, ast.Attribute):
        found.blocks |= node.attr in _STARTS  # called here, or by whatever gets it
    for child in children:
        _look(child, found)
    return None


def _name_of(node: ast.expr) -> str:
    return node.id if isinstance(node, ast.Name) else node.attr if isinstance(node, ast.Attribute) else ""
