"""What in a Python file may be a crew, found without running it; for the message to who names the file alone."""

import ast

from crewrun.definitions.file_text import decode, read_bytes
from crewrun.errors import DefinitionError


def candidates(file: str) -> list[str]:
    """The names in `file` of crews, flows, @CrewBase classes and functions that are said to return one.

    None is found in a file that does not compile. Raises DefinitionError when it cannot be read.
    """
    text = decode(read_bytes(file), file)
    try:
        tree = ast.parse(text)
    except (SyntaxError, ValueError, RecursionError):
        return []
    return [name for statement in tree.body for name in _names(statement)]


def unnamed(file: str) -> DefinitionError:
    """The error for `file` without the name of a crew in it."""
    found = candidates(file)
    near = f" (it has {', '.join(map(repr, found))})" if found else ""
    return DefinitionError(f"{file}: say which crew in it is meant, as in {file}:{found[0] if found else 'crew'}{near}")


def _names(statement: ast.stmt) -> list[str]:
    match statement:
        case ast.Assign(targets=targets, value=ast.Call(func=func)) if _is_about_crews(func):
            return [target.id for target in targets if isinstance(target, ast.Name)]
        case ast.AnnAssign(target=ast.Name(id=name), value=ast.Call(func=func)) if _is_about_crews(func):
            return [name]
        case ast.ClassDef(name=name, bases=bases, decorator_list=decorators) if any(
            map(_is_about_crews, [*bases, *decorators])
        ):
            return [name]
        case ast.FunctionDef(name=name, returns=returns) if returns is not None and _is_about_crews(returns):
            return [name]
    return []


def _is_about_crews(node: ast.expr) -> bool:
    """`Crew`, `Flow[State]`, `CrewBase`, `module.Crew`, `PressCrew().crew`."""
    match node:
        case ast.Subscript(value=inner) | ast.Call(func=inner):
            return _is_about_crews(inner)
        case ast.Attribute(attr=name) | ast.Name(id=name):
            return name in ("CrewBase", "crew") or name.endswith(("Crew", "Flow"))
    return False
