"""`FlowGraph`: the methods of a flow's class and what each waits for, read once, when the class is created.

`crewrun.flow.faults` checks a graph; `crewrun.flow.schedule` walks it.
"""

import inspect
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Literal, NamedTuple

from crewrun.crew.kickoff import TRIGGER_PAYLOAD
from crewrun.errors import DefinitionError
from crewrun.flow.dsl import Condition, Decorator, Mark, Named, mark_of, place_of
from crewrun.flow.labels import declared_labels, labels_in_code

Kind = Literal["start", "listener", "router"]


@dataclass(frozen=True, slots=True)
class Method:
    """One method of a flow. `place` is its file and line.

    `starts` says that a kickoff begins with it, `condition` what else it waits for. `labels` are the labels that a
    router declares, None if it declares none; `returned` are those, or else what can be read from its code. A start may
    take the payload of its trigger as a parameter; `needs_payload` says that the parameter has no default.
    """

    name: str
    kind: Kind
    place: str
    starts: bool = False
    condition: Condition | None = None
    labels: frozenset[str] | None = None
    returned: frozenset[str] | None = None
    takes_result: bool = False
    takes_payload: bool = False
    needs_payload: bool = False

    @property
    def is_router(self) -> bool:
        """Whether its result is a label."""
        return self.kind == "router"


@dataclass(frozen=True, slots=True)
class FlowGraph:
    """The methods of the class `flow`, in the order of their definition, base classes first.

    `listeners` has, for each method's name and each label, the methods whose conditions name it.
    """

    flow: str
    methods: Mapping[str, Method]
    listeners: Mapping[str, tuple[Method, ...]] = field(init=False)

    def __post_init__(self) -> None:
        listeners: dict[str, tuple[Method, ...]] = {}
        for method in self.methods.values():
            for name in dict.fromkeys(named.name for named in names_in(method.condition)):
                listeners[name] = (*listeners.get(name, ()), method)
        object.__setattr__(self, "listeners", listeners)

    @property
    def starts(self) -> tuple[Method, ...]:
        """The methods that a kickoff begins with."""
        return tuple(method for method in self.methods.values() if method.starts)

    @property
    def routers(self) -> tuple[Method, ...]:
        """The methods whose results are labels."""
        return tuple(method for method in self.methods.values() if method.is_router)

    @property
    def labels(self) -> tuple[str, ...]:
        """The names that are listened to and are not methods."""
        return tuple(name for name in self.listeners if name not in self.methods)

    def called(self, method: Method) -> str:
        """How messages name `method`, with its file and line."""
        return f"{method.place}: {self.flow}.{method.name}"


# Where static and class methods, properties, partials and the like keep the function that they wrap.
_WRAPPED = ("__func__", "fget", "func")


class _Marked(NamedTuple):
    name: str
    function: Callable[..., Any]
    mark: Mark


def graph_of(flow: type) -> FlowGraph:
    """The graph of a flow's class. Raises DefinitionError for a method that a run could not call."""
    marked = list(_marked(flow))
    at_once = any(mark.starts_at_once for _, _, mark in marked)
    methods = {}
    for name, function, mark in marked:
        payload = _payload(function, mark)
        labels = declared_labels(function, mark) if mark.is_router else None
        methods[name] = Method(
            name=name,
            kind="router" if mark.is_router else "start" if mark.is_start else "listener",
            place=place_of(function),
            starts=mark.starts_at_once or (mark.is_start and not at_once),
            condition=mark.condition,
            labels=labels,
            returned=labels if labels is not None or not mark.is_router else labels_in_code(function),
            takes_result=_takes_result(function, f"{place_of(function)}: {flow.__name__}.{name}", mark),
            takes_payload=payload is not None,
            needs_payload=payload is not None and payload.default is payload.empty,
        )
    return FlowGraph(flow.__name__, methods)


def names_in(condition: Condition | None) -> Iterator[Named]:
    """The methods and labels that `condition` names, from left to right."""
    if isinstance(condition, Named):
        yield condition
    elif condition is not None:
        for part in condition.parts:
            yield from names_in(part)


def _marked(flow: type) -> Iterator[_Marked]:
    """The class's methods with their marks. An override without a decorator keeps the mark of what it overrides."""
    for name in dict.fromkeys(name for kind in reversed(flow.__mro__) for name in vars(kind)):
        versions = [vars(kind)[name] for kind in flow.__mro__ if name in vars(kind)]
        function = versions[0]
        if isinstance(function, Decorator):
            raise DefinitionError(
                f"{flow.__name__}.{name}: write @{function.word}() with its parentheses"
                f"{' and in them what the method waits for' if function.word != 'start' else ''}"
            )
        mark = next((mark for version in versions if (mark := mark_of(version))), None)
        if mark is not None and inspect.isfunction(function):
            waits = mark.is_start or mark.condition is not None
            yield _Marked(name, function, mark if waits else replace(mark, is_start=True, starts_at_once=True))
        for inner in (getattr(function, attribute, None) for attribute in _WRAPPED):
            if inspect.isfunction(inner) and mark_of(inner):
                raise DefinitionError(
                    f"{place_of(inner)}: {flow.__name__}.{name} is a {type(function).__name__}; "
                    "a flow's methods are plain ones, with self"
                )


def _takes_result(function: Callable[..., Any], name: str, mark: Mark) -> bool:
    """Whether the method is called with the result of what it waited for."""
    if inspect.isgeneratorfunction(function) or inspect.isasyncgenfunction(function):
        raise DefinitionError(f"{name} yields; a flow's method returns its result, once")
    parameters = list(inspect.signature(function).parameters.values())[1:]
    payload = _payload(function, mark)
    places = [p for p in parameters if p.kind in (p.POSITIONAL_ONLY, p.POSITIONAL_OR_KEYWORD)]
    takes = places[0] != payload if places else any(p.kind is p.VAR_POSITIONAL for p in parameters)
    needed = [p.name for p in places if p.default is p.empty and p != payload]
    if len(needed) > 1:
        raise DefinitionError(f"{name} takes {', '.join(needed)}; a method gets one result, that of what it waited for")
    if needed and mark.condition is None:
        raise DefinitionError(
            f"{name} takes {needed[0]}, and a start has no result to get; read inputs from self.state"
        )
    return takes and mark.condition is not None


def _payload(function: Callable[..., Any], mark: Mark) -> inspect.Parameter | None:
    """The parameter of a start for its trigger's payload, recognised by its name as in CrewAI."""
    parameter = inspect.signature(function).parameters.get(TRIGGER_PAYLOAD) if mark.is_start else None
    if parameter is None or parameter.kind not in (parameter.POSITIONAL_OR_KEYWORD, parameter.KEYWORD_ONLY):
        return None
    return parameter
