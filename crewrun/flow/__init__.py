"""Flows: `Flow` and what its methods are marked with.

`dsl` has the decorators, `graph` what they make of a class, `faults` what can be wrong with that, `schedule` which
method follows which, `run` the calls themselves, `state` and `persistence` what is known between them.
"""

from crewrun.flow.flow import Flow, FlowState, and_, listen, or_, persist, router, start

__all__ = ["Flow", "FlowState", "and_", "listen", "or_", "persist", "router", "start"]
