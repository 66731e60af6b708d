"""`FlowTarget`: a flow as a batch runs it. Every row has its own flow object."""

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
    """Each row is the inputs of one kickoff, which go into the flow's state. `fresh` makes the flow of a row.

    `sample` is one such flow, to look at and never to run.
    """

    kind = "flow"

    def __init__(self, sample: AnyFlow, fresh: Callable[[], Awaitable[AnyFlow]]) -> None:
        self._sample = sample
        self._fresh = fresh
        self.user_code = type(sample)
        self._has_warned = False

    @classmethod
    def of(cls, sample: AnyFlow, factory: Callable[[], Any] | None) -> "FlowTarget":
        """`factory` is the user's class or function that makes a flow; without one, rows get copies of `sample`."""
        if not sample._crewrun_graph.starts:
            raise DefinitionError(no_start(sample._crewrun_graph))

        async def copied() -> AnyFlow:
            return sample._crewrun_copy()

        if factory is None:
            return cls(sample, copied)
        make = factory
        # A class without its own __init__ runs none of the user's code.
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
        """The payload of a trigger if a start method needs one. What else a flow reads is known to its code alone."""
        needing = [self.graph.called(method) for method in self.graph.starts if method.needs_payload]
        return {TRIGGER_PAYLOAD: needing[0]} if needing else {}

    def models(self, gateway: Gateway) -> Sequence[tuple[str, LLM | None]]:
        """Only the model of an offline run, so that its rows do not count as done in a run that calls models.

        Other models have never been a part of a flow's identity, and existing runs must go on.
        """
        return [("the flow", None)] if gateway.is_offline else ()

    def identity(self, texts: Mapping[str, str]) -> Any:
        """The texts of its files. A flow object of a program has none, and its class stands for it."""
        return texts or self.user_code

    def problem(self, inputs: Mapping[str, Any]) -> str | None:
        """Why `inputs` do not make a valid state; None if they do, or if they complete a stored one."""
        return super().problem(inputs) or self._sample._crewrun_problem(inputs)

    def describe(self, gateway: Gateway) -> dict[str, Any]:
        """Its methods and what each of them waits for."""
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
        """The methods and which leads to which, under the flow's name."""
        return diagram_of(type(self._sample), self.graph)

    async def akickoff(self, inputs: Mapping[str, Any] | None = None) -> Any:
        """Run once. Returns what the method that ended last returned."""
        flow = await self._fresh()
        result = await flow.akickoff(inputs)
        if result is None and not self._has_warned:
            self._has_warned = True
            warnings.warn(
                f"{self.graph.flow}: the method that ended last returned None, so the row's output is null; "
                "return the row's output from it",
                CrewrunWarning,
                stacklevel=2,
            )
        return result
