"""Mutants: small faults in functions that are loaded already, one at a time; and which functions a test enters.

A function gets the code of its mutant in place, wherever it has been imported to. So a process that has loaded the
package and the tests makes a mutant of itself in milliseconds, which it is until it ends. `tests/mutation.py` does that
in forks; in commands it is done by `fork_server`, to which the variable VARIABLE says what to be.
"""

import ast
import gc
import json
import os
import re
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from importlib import import_module
from pathlib import Path
from types import CodeType, FunctionType
from typing import Any, NamedTuple

from support.paths import ROOT

VARIABLE = "CREWRUN_MUTATION"
Function = ast.FunctionDef | ast.AsyncFunctionDef

_COMPARED: dict[type[ast.cmpop], type[ast.cmpop]] = {
    ast.Lt: ast.LtE,
    ast.LtE: ast.Lt,
    ast.Gt: ast.GtE,
    ast.GtE: ast.Gt,
    ast.Eq: ast.NotEq,
    ast.NotEq: ast.Eq,
    ast.Is: ast.IsNot,
    ast.IsNot: ast.Is,
    ast.In: ast.NotIn,
    ast.NotIn: ast.In,
}
_CALCULATED: dict[type[ast.operator], type[ast.operator]] = {
    ast.Add: ast.Sub,
    ast.Sub: ast.Add,
    ast.Mult: ast.Div,
    ast.Div: ast.Mult,
}
_LINE = re.compile(r" \(line \d+\)$")
_OTHER_CALLS = {"min": "max", "max": "min", "any": "all", "all": "any"}


class Mutant(NamedTuple):
    """The `number`th change of the file at `path`, from the root of the repository; it is in `function`."""

    path: str
    number: int
    line: int
    function: str
    change: str

    def __str__(self) -> str:
        return f"{self.path}:{self.line}: {self.function}: {self.change}"

    @property
    def name(self) -> str:
        """The mutant without numbers of lines: the same one after changes elsewhere in its file."""
        return f"{self.path}: {self.function}: {_LINE.sub('', self.change)}"


class _Change(NamedTuple):
    line: int
    function: str
    words: str
    make: Callable[[], None]


def mutants_of(path: str) -> list[Mutant]:
    """All mutants of a file."""
    changes = _changes(ast.parse((ROOT / path).read_text(encoding="utf-8")))
    return [Mutant(path, number, one.line, one.function, one.words) for number, one in enumerate(changes)]


def become(mutant: Mutant) -> None:
    """Be the mutant from now on."""
    tree = ast.parse((ROOT / mutant.path).read_text(encoding="utf-8"))
    next(one for number, one in enumerate(_changes(tree)) if number == mutant.number).make()
    _exchange(mutant.path, tree)


def note_entered(paths: Sequence[str], file: Path) -> "Notes":
    """From now on, append each function of `paths` to `file` when it is first entered: a line `path function`."""
    notes = Notes(file)
    for path in paths:
        tree = ast.parse((ROOT / path).read_text(encoding="utf-8"))
        for name, function in _functions(tree):
            call = ast.parse(f"_note_entered({f'{path} {name}'!r})").body[0]
            ast.copy_location(call, function.body[0])
            for node in ast.walk(call):
                ast.copy_location(node, function.body[0])
            has_text = isinstance(function.body[0], ast.Expr) and isinstance(function.body[0].value, ast.Constant)
            function.body.insert(1 if has_text else 0, call)
        vars(_module(path))["_note_entered"] = notes.note
        _exchange(path, tree)
    return notes


def obey_variable() -> None:
    """In a command: be what the variable says, if it says anything."""
    said = json.loads(os.environ.get(VARIABLE, "null"))
    if said and "mutant" in said:
        become(Mutant(*said["mutant"]))
    elif said:
        note_entered(said["paths"], Path(said["file"]))


class Notes:
    """Which functions were entered, by this process since it was forked or since `clear`."""

    def __init__(self, file: Path) -> None:
        self._file = file
        self._seen: set[str] = set()

    def note(self, name: str) -> None:
        """A function is entered."""
        if name not in self._seen:
            self._seen.add(name)
            with open(self._file, "ab", buffering=0) as file:
                file.write(name.encode() + b"\n")

    def clear(self) -> None:
        """Begin again."""
        self._seen.clear()
        self._file.write_bytes(b"")


def _module(path: str) -> Any:
    return import_module(path.removesuffix(".py").removesuffix("/__init__").replace("/", "."))


def _exchange(path: str, tree: ast.Module) -> None:
    """Give each function of a module the code that it has in `tree`."""
    file = _module(path).__file__
    new = {(code.co_qualname, code.co_firstlineno): code for code in _codes(compile(tree, file, "exec"))}
    for function in gc.get_objects():
        if type(function) is FunctionType and function.__code__.co_filename == file:
            code = new.get((function.__code__.co_qualname, function.__code__.co_firstlineno))
            if code is not None and code != function.__code__:
                function.__code__ = code


def _codes(code: CodeType) -> Iterator[CodeType]:
    for constant in code.co_consts:
        if isinstance(constant, CodeType):
            yield constant
            yield from _codes(constant)


def _functions(tree: ast.AST, inside: str = "") -> Iterator[tuple[str, Function]]:
    """The functions of a module and its classes' methods, by their qualified names."""
    for node in ast.iter_child_nodes(tree):
        if isinstance(node, Function):
            yield f"{inside}{node.name}", node
        elif isinstance(node, ast.ClassDef):
            yield from _functions(node, f"{inside}{node.name}.")


def _changes(tree: ast.Module) -> Iterator[_Change]:
    for name, function in _functions(tree):
        left_out = {id(node) for spared in _spared(function) for node in ast.walk(spared)}
        for node in ast.walk(function):
            if id(node) not in left_out and node is not function.args:
                for words, make in (*_of_statements(node), *_of_expression(node)):
                    yield _Change(getattr(node, "lineno", function.lineno), name, words, make)


def _spared(function: Function) -> Iterator[ast.AST]:
    """What decides nothing: annotations, defaults, decorators, and what errors and f-strings say."""
    yield function.args
    yield from (*function.decorator_list, *([function.returns] if function.returns else ()))
    for node in ast.walk(function):
        if isinstance(node, ast.AnnAssign):
            yield node.annotation
        elif isinstance(node, ast.Raise) and isinstance(node.exc, ast.Call):
            yield node.exc
        elif isinstance(node, ast.JoinedStr | ast.Assert):
            yield node


def _of_statements(node: ast.AST) -> Iterator[tuple[str, Callable[[], None]]]:
    for field in ("body", "orelse", "finalbody"):
        statements = getattr(node, field, None)
        if not isinstance(statements, list):
            continue
        for i, statement in enumerate(statements):
            if _can_go(statement, node):
                gone = ast.copy_location(ast.Pass(), statement)
                first = ast.unparse(statement).partition("\n")[0]
                yield f"without `{first}` (line {statement.lineno})", partial(statements.__setitem__, i, gone)


def _can_go(statement: ast.stmt, within: ast.AST) -> bool:
    if isinstance(statement, ast.Assign):
        return all(isinstance(target, ast.Attribute | ast.Subscript) for target in statement.targets)
    if isinstance(statement, ast.Expr):
        return not isinstance(statement.value, ast.Constant | ast.Yield)
    if isinstance(statement, ast.Return):
        return isinstance(within, ast.If)
    return isinstance(statement, ast.AugAssign | ast.Delete | ast.Raise | ast.Continue | ast.Break)


def _of_expression(node: ast.AST) -> Iterator[tuple[str, Callable[[], None]]]:
    match node:
        case ast.Compare():
            for i, operator in enumerate(node.ops):
                other = _COMPARED[type(operator)]
                yield f"{other.__name__} in `{ast.unparse(node)}`", partial(node.ops.__setitem__, i, other())
        case ast.BoolOp():
            swapped = ast.Or() if isinstance(node.op, ast.And) else ast.And()
            yield f"{type(swapped).__name__} in `{ast.unparse(node)}`", partial(setattr, node, "op", swapped)
            if len(node.values) > 1:
                for i, value in enumerate(node.values):
                    yield (
                        f"without `{ast.unparse(value)}` in `{ast.unparse(node)}`",
                        partial(node.values.__delitem__, i),
                    )
        case ast.UnaryOp(op=ast.Not()):
            twice = ast.copy_location(ast.UnaryOp(ast.Not(), node.operand), node)
            yield f"no Not in `{ast.unparse(node)}`", partial(setattr, node, "operand", twice)
        case ast.If() | ast.While() | ast.IfExp():
            negated = ast.copy_location(ast.UnaryOp(ast.Not(), node.test), node.test)
            yield f"Not `{ast.unparse(node.test)}`", partial(setattr, node, "test", negated)
        case ast.BinOp() if type(node.op) in _CALCULATED:
            operation = _CALCULATED[type(node.op)]
            yield f"{operation.__name__} in `{ast.unparse(node)}`", partial(setattr, node, "op", operation())
        case ast.Constant(value=bool() as value):
            yield f"{not value} for {value}", partial(setattr, node, "value", not value)
        case ast.Constant(value=int() | float() as value):
            yield f"{value + 1} for {value}", partial(setattr, node, "value", value + 1)
        case ast.Call(func=ast.Name(id=name) as function) if name in _OTHER_CALLS:
            other_name = _OTHER_CALLS[name]
            yield f"{other_name} in `{ast.unparse(node)}`", partial(setattr, function, "id", other_name)
        case _:
            return
