"""`Flow`: methods that follow each other, and a state. `crewrun.flow.run` runs one kickoff.

CrewAI's users import everything that they write a flow with from here.
"""

import os
import webbrowser
from asyncio import CancelledError
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, ClassVar, Generic, Self
from warnings import warn

from pydantic import BaseModel
from typing_extensions import TypeVar

from crewrun.aio.notebook import stoppable
from crewrun.crew.family import AnyFiles, Files, Inputs, KickoffFamily
from crewrun.crew.kickoff import flow_files
from crewrun.diagram import write
from crewrun.errors import CrewrunWarning, DefinitionError, InputInvalid
from crewrun.files.file import as_files
from crewrun.flow.dsl import and_, listen, or_, router, start
from crewrun.flow.faults import check
from crewrun.flow.graph import FlowGraph, graph_of
from crewrun.flow.persistence import persist, store_for, store_of, stores_of_methods
from crewrun.flow.plot import card_of, diagram_of
from crewrun.flow.run import FlowRun
from crewrun.flow.saving import Saver
from crewrun.flow.schedule import Schedule
from crewrun.flow.state import FlowState, StateKind, id_of, owned
from crewrun.flow.store import FlowPersistence, Saved, Store
from crewrun.llm.shared_gateway import open_gateway
from crewrun.llm.sync import run_sync
from crewrun.notebook.card import Card
from crewrun.notebook.displayed import Displayed
from crewrun.notebook.short_repr import counted, short_repr
from crewrun.row_context import RowContext, new_row_context
from crewrun.row_events import TargetRun, observed
from crewrun.tracebacks import shorten
from crewrun.usage import UsageCounter

__all__ = ["Flow", "FlowState", "and_", "listen", "or_", "persist", "router", "start"]

S = TypeVar("S", bound=BaseModel | dict[str, Any], default=dict[str, Any])
_RESERVED = frozenset(name for name in dir(KickoffFamily) if not name.startswith("_")) | {
    *("state", "plot", "max_method_calls", "flow_id", "method_outputs", "name", "initial_state"),
}
# Ends a flow that kicks itself off without end. Each level has tasks of its own, so Python's recursion limit does not.
_MAX_NESTING = 50


@dataclass(slots=True)
class _Internals:
    """What one flow object holds: its state, None until it is needed, and the results of its latest kickoff.

    `fields` are the constructor's. `idle` is a copy of the state from before the kickoff that is running now. An object
    that `is_copy` has no `idle`, since only its own methods can start it again.
    """

    fields: dict[str, Any] = field(default_factory=dict)
    store: Store | None = None
    state: Any = None
    idle: Any = None
    is_copy: bool = False
    is_running: bool = False
    outputs: list[Any] = field(default_factory=list)


def no_start(graph: FlowGraph) -> str:
    """The message for a flow without a start."""
    return f"{graph.flow} has no method under @start(), so there is nothing to begin with"


class Flow(KickoffFamily[Any], Displayed, Generic[S]):
    """Methods under `@start`, `@listen` and `@router`, checked when the class is created.

    The state is a dict with an `id`. With `Flow[Model]` it is that pydantic model, which gets an `id` if it has none,
    and inputs are validated. A kickoff puts its inputs into the state. A second kickoff of one object goes on with the
    state of the first. Overlapping kickoffs, and the inputs of a for-each, each run on an object of their own: a copy
    of this one, with the state that it had when nothing was running, and a new `id`.

    Async methods run in the event loop, sync ones in worker threads. `max_method_calls` bounds how often one kickoff
    may call one method. Keyword arguments are put into the state; `initial_state`, on the class, is what it begins as.
    """

    initial_state: ClassVar[Any] = None
    max_method_calls: int = 100
    name: str | None = None

    _crewrun_graph: ClassVar[FlowGraph]
    _crewrun_kind: ClassVar[StateKind]
    _crewrun_stores: ClassVar[dict[str, Store]]  # of the methods under @persist

    def __init_subclass__(cls, **more: Any) -> None:
        super().__init_subclass__(**more)
        cls._crewrun_graph = graph_of(cls)
        for method in cls._crewrun_graph.methods.values():
            if method.name in _RESERVED:
                raise DefinitionError(
                    f"{cls._crewrun_graph.called(method)} hides what every flow has under that name; "
                    "give the method another"
                )
        check(cls._crewrun_graph)
        cls._crewrun_stores = stores_of_methods(cls, cls._crewrun_graph.methods)
        cls._crewrun_kind = StateKind.of(cls, Flow, cls.initial_state)

    def __init__(
        self,
        persistence: Store | FlowPersistence | None = None,
        *,
        max_method_calls: int | None = None,
        tracing: bool | None = None,
        suppress_flow_events: bool = False,
        **state: Any,
    ) -> None:
        """`persistence` replaces the stores that @persist names. @persist still decides when to save: without it a
        stored state is restored, but nothing is saved. `tracing` and `suppress_flow_events` are CrewAI's and have no
        effect.
        """
        self._crewrun_internals.store = None if persistence is None else store_for(persistence)
        self._crewrun_internals.fields = state
        if max_method_calls is not None:
            self.max_method_calls = max_method_calls

    def __repr__(self) -> str:
        return short_repr(self, counted(len(self._crewrun_graph.methods), "method"))

    def _crewrun_card(self) -> Card:
        return card_of(type(self), self._crewrun_graph)

    @property
    def state(self) -> S:
        """The state: in a method the state of its kickoff, elsewhere that of this object's latest kickoff.

        Raises InputInvalid when the model has fields without a default and there are no inputs yet.
        """
        internals = self._crewrun_internals
        if internals.state is None:
            internals.state = self._crewrun_kind.new(internals.fields)
        state: S = internals.state
        return state

    @state.setter
    def state(self, value: S) -> None:
        internals = self._crewrun_internals
        state_id = None if internals.state is None else id_of(internals.state)
        internals.state = self._crewrun_kind.accepted(value, state_id)

    @property
    def flow_id(self) -> str:
        """The state's `id`."""
        return id_of(self.state)

    @property
    def method_outputs(self) -> list[Any]:
        """What the methods of the latest kickoff returned, in the order in which they ended."""
        return list(self._crewrun_internals.outputs)

    @classmethod
    def plot(cls, filename: str | os.PathLike[str] = "flow_plot", *, show: bool = False) -> Path:
        """Write an HTML page with a picture of the methods and how they follow each other, and return its path.

        `.html` is added to a name without it. With `show` a browser opens the page. Raises UsageError if the page
        cannot be written.
        """
        name = os.fspath(filename)
        path = write(diagram_of(cls, cls._crewrun_graph), name if name.endswith((".html", ".htm")) else f"{name}.html")
        if show:
            webbrowser.open(path.resolve().as_uri())
        return path

    async def akickoff(
        self, inputs: Inputs | None = None, input_files: AnyFiles = None, *, restore_from_state_id: str | None = None
    ) -> Any:
        """Run once and return the result of the method that ended last. The flow's crews get `input_files`.

        `restore_from_state_id` begins with a copy of the state stored under that id; the copy has the id in `inputs`,
        or a new one. If there is no such state, it warns. Raises InputInvalid (a ValueError) if the inputs do not fit.
        """
        row_context = new_row_context()
        self._crewrun_usage = row_context.usage
        files = as_files(input_files, "input_files") if input_files else {}
        try:
            with stoppable():
                return await self._crewrun_kickoff(inputs, row_context, files, restore_from_state_id)
        except (Exception, CancelledError) as error:
            shorten(error)
            raise
        finally:
            await row_context.end()

    kickoff_async = akickoff

    def kickoff(
        self, inputs: Inputs | None = None, input_files: AnyFiles = None, *, restore_from_state_id: str | None = None
    ) -> Any:
        """`akickoff` for sync code. Inside a running event loop it blocks that loop, with a warning."""
        started = partial(self.akickoff, restore_from_state_id=restore_from_state_id)
        return run_sync("kickoff", "akickoff", started, inputs, input_files)

    async def _crewrun_kickoff(
        self, inputs: Inputs | None, row_context: RowContext, files: Files, restore_id: str | None = None
    ) -> Any:
        graph, internals = self._crewrun_graph, self._crewrun_internals
        if not graph.starts:
            raise DefinitionError(no_start(graph))
        if row_context.flow_depth >= _MAX_NESTING:
            raise RecursionError(f"{graph.flow} is kicked off inside itself, {_MAX_NESTING} flows deep")
        if not isinstance(inputs, Mapping | None):
            raise InputInvalid(f"the inputs of a flow are names and values, not {inputs!r}")
        if internals.is_running:
            return await self._crewrun_copy()._crewrun_kickoff(inputs, row_context, files, restore_id)
        internals.is_running = True
        token = flow_files.set({**flow_files.get(), **files})
        try:
            if internals.state is not None and not internals.is_copy:
                internals.idle = self._crewrun_kind.copied(internals.state)
            async with open_gateway(is_current=True):
                work = self._crewrun_run(owned(inputs or {}), row_context, restore_id)
                if (emitter := row_context.emitter) is None:
                    return await work
                return await observed(emitter.span("flow", self.name or graph.flow, TargetRun(self, inputs)), work)
        finally:
            flow_files.reset(token)
            internals.is_running, internals.idle = False, None

    async def _crewrun_run(self, inputs: dict[str, Any], row_context: RowContext, restore_id: str | None) -> Any:
        graph, internals = self._crewrun_graph, self._crewrun_internals
        internals.outputs = []
        # A row of a batch resumes from the run's journal and begins with its inputs: the state of another row or
        # another run must not leak into it.
        is_forked = restore_id is not None and await self._crewrun_fork(restore_id, inputs)
        interrupted = None if is_forked else await self._crewrun_fill(inputs, restores=row_context.recorder is None)
        saver = self._crewrun_saver()
        if saver is not None and interrupted is not None:
            saver.resume(interrupted)
        run = FlowRun(self, graph, Schedule(graph, self.max_method_calls), row_context, saver, internals.outputs)
        return await run.run(inputs, interrupted)

    async def _crewrun_fork(self, state_id: str, inputs: dict[str, Any]) -> bool:
        """Begin with a copy of the state stored under `state_id`; False, with a warning, if nothing is stored."""
        store = self._crewrun_store
        saved = await store.load(str(state_id)) if store is not None else None
        if store is None or saved is None:
            why = f"{store.place} has none" if store is not None else "nothing stores its states: it has no @persist"
            warn(
                f"{self._crewrun_graph.flow}: no state with id {state_id!r} to restore ({why}); it begins without",
                CrewrunWarning,
                stacklevel=2,
            )
            return False
        try:
            self._crewrun_internals.state = self._crewrun_kind.forked(saved.state, inputs)
        except ValueError as unfit:  # InputInvalid is one
            raise InputInvalid(f"what {store.place} has of id {state_id!r} cannot be used: {unfit}") from None
        return True

    async def _crewrun_fill(self, inputs: dict[str, Any], *, restores: bool) -> Saved | None:
        """Put the inputs into the state; if the store has a state with their `id`, into that one.

        Returns what the store has of an interrupted run with that `id`, for resuming it. An `id` that is not in the
        store is the id of a new state.
        """
        kind, internals, store = self._crewrun_kind, self._crewrun_internals, self._crewrun_store
        saved = await store.load(str(inputs["id"])) if store is not None and restores and "id" in inputs else None
        if saved is None:
            state = internals.state
            new = {**internals.fields, **inputs}
            internals.state = kind.new(new) if state is None else kind.updated(state, inputs)
            return None
        try:
            internals.state = kind.loaded(saved.state, inputs)
        except ValueError as unfit:  # InputInvalid is one
            where = store.place if store is not None else ""
            raise InputInvalid(f"what {where} has of id {inputs['id']!r} cannot be used: {unfit}") from None
        return saved if saved.flow == self._crewrun_graph.flow and not saved.has_ended else None

    def _crewrun_saver(self) -> Saver | None:
        kind, internals, store = self._crewrun_kind, self._crewrun_internals, self._crewrun_store
        if store is None:
            return None
        methods = None if store_of(type(self)) is not None else frozenset(self._crewrun_stores)
        if methods is not None and not methods:
            return None
        return Saver(self._crewrun_graph.flow, id_of(self.state), lambda: kind.dumped(internals.state), store, methods)

    @property
    def _crewrun_store(self) -> Store | None:
        """The store that states are saved to and restored from."""
        return self._crewrun_internals.store or store_of(type(self)) or next(iter(self._crewrun_stores.values()), None)

    def _crewrun_problem(self, inputs: Inputs) -> str | None:
        """Why a kickoff with `inputs` would fail before its first method; None if it would not, or that is unknown."""
        internals = self._crewrun_internals
        if "id" in inputs and self._crewrun_store is not None:
            return None  # the stored state may have what these inputs lack
        try:
            if internals.state is None:
                self._crewrun_kind.new({**internals.fields, **inputs})
            else:
                self._crewrun_kind.updated(self._crewrun_kind.copied(internals.state), inputs)
        except InputInvalid as invalid:
            return str(invalid)
        return None

    def _crewrun_copy(self) -> Self:
        internals = self._crewrun_internals
        state = internals.idle if internals.is_running and not internals.is_copy else internals.state
        other = self.__class__.__new__(self.__class__)
        other.__dict__.update(self.__dict__)
        other.__dict__["_crewrun_own"] = _Internals(
            fields=internals.fields,
            store=internals.store,
            is_copy=True,
            state=None if state is None else self._crewrun_kind.copied(state),
        )
        return other

    @property
    def _crewrun_internals(self) -> _Internals:
        """Created on first use: a subclass may set attributes before it calls `super().__init__`, or never call it."""
        internals: _Internals | None = self.__dict__.get("_crewrun_own")
        if internals is None:
            internals = self.__dict__["_crewrun_own"] = _Internals()
        return internals

    @property
    def _crewrun_usage(self) -> UsageCounter:
        usage: UsageCounter = self.__dict__.setdefault("_crewrun_latest_usage", UsageCounter())
        return usage

    @_crewrun_usage.setter
    def _crewrun_usage(self, usage: UsageCounter) -> None:
        self.__dict__["_crewrun_latest_usage"] = usage


Flow._crewrun_graph = FlowGraph("Flow", {})
Flow._crewrun_kind, Flow._crewrun_stores = StateKind(None), {}
