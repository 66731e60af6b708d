"""`outline_of` a Python file: what its functions and classes do with crews, according to its source.

A function makes a crew and returns it, or kicks one off, itself or through another function of the file. No code of
the file is run.
"""

import ast
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field

KICKOFFS = frozenset(
    {
        *("kickoff", "kickoff_async", "akickoff"),
        *("kickoff_for_each", "kickoff_for_each_async", "akickoff_for_each"),
    }
)
# Methods of a plain class that run its crew or make it, the most certain first.
ENTRANCES = ("kickoff", "akickoff", "run", "crew", "create_crew", "execute")
_STARTING = KICKOFFS | frozenset(ENTRANCES)
# The other functions in the main.py of CrewAI's templates, which has `run` too.
_OTHER_COMMANDS = frozenset({"train", "test", "replay", "run_with_trigger", "plot"})
_ASKING = frozenset({"input", "getpass", "parse_args", "parse_known_args"})


@dataclass(slots=True)
class CodePart:
    """A function or a plain class.

    `makes`: it returns a crew that it makes. `kicks`: it kicks one off. `keeps`: a method that stores a crew on `self`.
    `takes`: a row's fields can reach it, through parameters or as answers to questions. `calls`: the names that it
    uses. `methods`: those of a class.
    """

    name: str
    is_class: bool = False
    makes: bool = False
    kicks: bool = False
    keeps: bool = False
    takes: bool = False
    calls: set[str] = field(default_factory=set)
    methods: set[str] = field(default_factory=set)
    is_command: bool = True  # not a tool, a test, or one of the template's other commands


@dataclass(slots=True)
class Outline:
    """The `parts` of a file by name, its `flows` and `projects` (@CrewBase classes), and what its top level does.

    `imported` are parts of other files under their names in this one. `assigned` are names of values, `crews` those of
    crews. `is_in_main`: crews are made or run under `if __name__ == "__main__"`. `kicks`: executing the file, including
    that block, kicks something off; `asks`: it then asks for input. `started` are the names that the file itself runs.
    """

    parts: dict[str, CodePart] = field(default_factory=dict)
    imported: Mapping[str, CodePart] = field(default_factory=dict)
    flows: list[str] = field(default_factory=list)
    projects: list[str] = field(default_factory=list)
    crews: list[str] = field(default_factory=list)
    assigned: set[str] = field(default_factory=set)
    is_in_main: bool = False
    kicks: bool = False
    asks: bool = False
    started: set[str] = field(default_factory=set)

    @property
    def is_about_crews(self) -> bool:
        """Whether the file has anything that a row could run."""
        entrances = self.flows or self.projects or self.crews or self.is_in_main or self.kicks
        return bool(entrances) or any(part.makes or part.kicks for part in self.parts.values())


def outline_of(source: bytes | str, imported: Mapping[str, CodePart] | None = None) -> Outline | None:
    """The outline of a file with this source and these `imported` parts; None if it does not parse."""
    try:
        tree = ast.parse(source)
    except (SyntaxError, ValueError, RecursionError):
        return None
    outline = Outline(imported=imported or {})
    statements = list(_top_level(tree.body))
    for node in statements:
        if isinstance(node, ast.ClassDef):
            _add_class(outline, node)
    for _ in range(2):  # a function may call one that is defined after it
        outline.crews = []
        for node in statements:
            _add(outline, node)
    _spread(outline.parts, {**outline.imported, **outline.parts})
    mains = [node for node in ast.walk(tree) if isinstance(node, ast.If) and is_main(node)]
    outline.is_in_main = any(_is_crew_call(call, outline) for node in mains for call in _calls(node))
    called = [call for node in (*mains, *statements) if not _defines(node) for call in _calls(node)]
    outline.kicks = any(_kicks(call, outline) for call in called)
    outline.started = {name for call in called for name in _started_by(call)}
    outline.asks = any(name_of(call.func) in _ASKING or _part_of(call, outline).takes for call in called)
    return outline


def is_main(node: ast.If) -> bool:
    """Whether `node` is `if __name__ == "__main__":`."""
    return "__name__" in ast.unparse(node.test) and "__main__" in ast.unparse(node.test)


def name_of(node: ast.expr) -> str:
    """`Flow` of `Flow`, `flow.Flow`, `Flow[State]` and `Flow()`; empty for anything else."""
    match node:
        case ast.Subscript(value=inner) | ast.Call(func=inner):
            return name_of(inner)
        case ast.Attribute(attr=name) | ast.Name(id=name):
            return name
    return ""


def _top_level(body: Iterable[ast.stmt]) -> Iterator[ast.stmt]:
    """The statements that run when the file is loaded, including those in blocks."""
    for node in body:
        yield node
        if isinstance(node, ast.If) and is_main(node):
            yield from _top_level(node.orelse)
        elif not isinstance(node, ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
            for name in ("body", "orelse", "finalbody"):
                yield from _top_level(getattr(node, name, ()))
            for handler in getattr(node, "handlers", ()):
                yield from _top_level(handler.body)


def _add_class(outline: Outline, node: ast.ClassDef) -> None:
    if any(name_of(decorator) == "CrewBase" for decorator in node.decorator_list):
        outline.projects.append(node.name)
        return
    bases = {name_of(base) for base in node.bases}
    if any(base.endswith("Flow") or base in outline.flows for base in bases):
        outline.flows = [name for name in outline.flows if name not in bases]  # rows run no base classes
        outline.flows.append(node.name)


def _add(outline: Outline, node: ast.stmt) -> None:
    match node:
        case ast.FunctionDef(name=name) | ast.AsyncFunctionDef(name=name):
            outline.parts[name] = _function(node, outline)
        case ast.ClassDef(name=name) if name not in (*outline.flows, *outline.projects):
            outline.parts[name] = _class(node, outline)
        case ast.Assign(targets=targets, value=value):
            names = [place.id for place in targets if isinstance(place, ast.Name)]
            _add_values(outline, names, value)
        case ast.AnnAssign(target=ast.Name(id=name), value=value) if value is not None:
            _add_values(outline, [name], value)


def _add_values(outline: Outline, names: list[str], value: ast.expr) -> None:
    outline.assigned.update(names)
    if _makes(value, outline, set()):
        outline.crews += names


def _class(node: ast.ClassDef, outline: Outline) -> CodePart:
    part = CodePart(node.name, is_class=True, takes=True)
    for method in node.body:
        if isinstance(method, ast.FunctionDef | ast.AsyncFunctionDef):
            inner = _function(method, outline)
            part.methods.add(method.name)
            part.makes = part.makes or inner.makes or inner.keeps
            part.kicks = part.kicks or inner.kicks
            part.calls |= inner.calls
    if not part.methods & set(ENTRANCES):
        part.makes = part.kicks = False
    return part


def _function(node: ast.FunctionDef | ast.AsyncFunctionDef, outline: Outline) -> CodePart:
    part = CodePart(node.name)
    arguments = node.args
    part.takes = bool(arguments.posonlyargs or arguments.args or arguments.kwonlyargs or arguments.kwarg)
    crews: set[str] = set()
    for inner in _own_nodes(node):
        match inner:
            case ast.Assign(targets=[ast.Name(id=name)], value=value) if _makes(value, outline, crews):
                crews.add(name)
            case ast.Assign(targets=[ast.Attribute()], value=value) if _makes(value, outline, crews):
                part.keeps = True
            case ast.Return(value=value) if value is not None and _makes(value, outline, crews):
                part.makes = True
            case ast.Call(func=func):
                part.takes = part.takes or name_of(func) in _ASKING
            case ast.Attribute(attr=name) if name in KICKOFFS:  # called, or handed to a thread that calls it
                part.kicks = True
        if isinstance(inner, ast.Name):
            part.calls.add(inner.id)
    marks = {name_of(decorator) for decorator in node.decorator_list}
    part.is_command = not (
        node.name in _OTHER_COMMANDS or node.name.startswith("test_") or marks & {"tool", "before_kickoff", "fixture"}
    )
    return part


def _own_nodes(node: ast.AST) -> Iterator[ast.AST]:
    """All nodes in a function, in source order."""
    for inner in ast.iter_child_nodes(node):
        yield inner
        yield from _own_nodes(inner)


def _makes(value: ast.expr, outline: Outline, crews: set[str]) -> bool:
    """Whether `value` is a crew or a flow: one made here, or one of the variables in `crews`."""
    match value:
        case ast.Name(id=name):
            return name in crews
        case ast.Await(value=inner):
            return _makes(inner, outline, crews)
        case ast.Call(func=func):
            name = name_of(func)
            part = outline.parts.get(name) or outline.imported.get(name)
            is_factory = part is not None and part.makes and not part.is_class
            return is_factory or name in ("Crew", "crew", *outline.flows, *outline.projects)
    return False


def _calls(node: ast.AST) -> Iterator[ast.Call]:
    return (inner for inner in ast.walk(node) if isinstance(inner, ast.Call))


def _defines(node: ast.stmt) -> bool:
    return isinstance(node, ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef)


def _part_of(call: ast.Call, outline: Outline) -> CodePart:
    """The function of the file that `call` calls; one that does nothing if it is not of the file."""
    return outline.parts.get(name_of(call.func)) or CodePart("")


def _started_by(call: ast.Call) -> Iterator[str]:
    """The name of the function that is called, or of the crew, class or factory whose kickoff is called."""
    match call.func:
        case ast.Name(id=name):
            yield name
        case ast.Attribute(value=ast.Name(id=name) | ast.Call(func=ast.Name(id=name)), attr=attr) if attr in _STARTING:
            yield name


def _kicks(call: ast.Call, outline: Outline) -> bool:
    named = (call.func, *call.args, *(word.value for word in call.keywords))
    is_method = any(isinstance(node, ast.Attribute) and node.attr in KICKOFFS for node in named)
    return is_method or _part_of(call, outline).kicks


def _is_crew_call(call: ast.Call, outline: Outline) -> bool:
    part = outline.parts.get(name_of(call.func))
    is_own = part is not None and (part.makes or part.kicks)
    return is_own or name_of(call.func) in KICKOFFS or name_of(call.func) == "Crew"


def _spread(parts: dict[str, CodePart], all_parts: dict[str, CodePart]) -> None:
    """Mark the parts that kick off through other functions."""
    is_spreading = True
    while is_spreading:
        is_spreading = False
        for part in parts.values():
            called = [all_parts[name] for name in part.calls if name in all_parts and name != part.name]
            may_run = not part.is_class or bool(part.methods & set(ENTRANCES))
            if not part.kicks and may_run and any(other.kicks for other in called):
                part.kicks = is_spreading = True
