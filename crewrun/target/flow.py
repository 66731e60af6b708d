"""`FlowTarget`: a flow as a batch runs it, every row with a flow object of its own."""

import inspect
import warnings
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any

from crewrun.aio.concurrency import call
from crewrun.crew.kickoff import TRIGGER_PAYLOAD
from crewrun.diagram import Diagram
from crewrun.errors import CrewrunWarning, DefinitionError
from crewrun.flow.flow import Flow, no_start
from crewrun.flow.graph import FlowGraph
from crewrun.flow.plot import diagram_of
from crewrun.llm.gateway import Gateway
from crewrun.llm.model import LLM
from crewrun.target.base import Target

AnyFlow = Flow[Any]


class FlowTarget(Target):
    """Rows are inputs of kickoffs, and go into the state. `sample` is one of the flows, and is never run.

    `fresh` makes the flow of a row.
    """

    kind = "flow"

    def __init__(self, sample: AnyFlow, fresh: Callable[[], Awaitable[AnyFlow]]) -> None:
        self._sample = sample
        self._fresh = fresh
        self.user_code = type(sample)
        self._has_warned = False

    @classmethod
    def of(cls, sample: AnyFlow, factory: Callable[[], Any] | None) -> "FlowTarget":
        """`factory`, the user's class or function, makes a flow; without one rows have copies of `sample`."""
        if not sample._crewrun_graph.starts:
            raise DefinitionError(no_start(sample._crewrun_graph))

        async def copied() -> AnyFlow:
            return sample._crewrun_copy()

        if factory is None:
            return cls(sample, copied)
        make = factory
        # A class that has no __init__ of its own runs nothing of the user's.
        needs_thread = inspect.getattr_static(make, "__init__", None) is not Flow.__init__

        async def made() -> AnyFlow:
            flow: AnyFlow = await call(make) if needs_thread else make()
            return flow

        return cls(sample, made)

    @property
    def graph(self) -> FlowGraph:
        """The flow's methods."""
        return self._sample._crewrun_graph

    @property
    def placeholders(self) -> Mapping[str, str]:
        """The payload of a trigger, where a start needs one: what a flow reads of its state only its code knows."""
        needing = [self.graph.called(method) for method in self.graph.starts if method.needs_payload]
        return {TRIGGER_PAYLOAD: needing[0]} if needing else {}

    def models(self, gateway: Gateway) -> Sequence[tuple[str, LLM | None]]:
        """Only that of an offline run, so that its rows are not done once models are called.

        Any other has never been a part of a flow's identity, and existing runs go on without it.
        """
        return [("the flow", None)] if gateway.is_offline else ()

    def problem(self, inputs: Mapping[str, Any]) -> str | None:
        """Why a state cannot be made of `inputs`, None when it can or when a kept one will be completed by them."""
        return super().problem(inputs) or self._sample._crewrun_problem(inputs)

    def describe(self, gateway: Gateway) -> dict[str, Any]:
        """Its methods, and what each waits for."""
        methods = [
            {
                "name": method.name,
                "kind": method.kind,
                "begins": method.starts,
                "waits_for": str(method.condition) if method.condition else None,
            }
            for method in self.graph.methods.values()
        ]
        return {"methods": methods}

    def diagram(self, name: str) -> Diagram:
        """The methods and what leads to which, under the name of the flow."""
        return diagram_of(type(self._sample), self.graph)

    async def akickoff(self, inputs: Mapping[str, Any] | None = None) -> Any:
        """Run once; what the method that ended last returned."""
        flow = await self._fresh()
        result = await flow.akickoff(inputs)
        if result is None and not self._has_warned:
            self._has_warned = True
            warnings.warn(
                f"{self.graph.flow}: the method that ended last returned None, so the row's output is null; "
                "return from it what the row is to have",
                CrewrunWarning,
                stacklevel=2,
            )
        return result
