"""Flows: `Flow` and the decorators for its methods.

`dsl` has the decorators, `graph` the graph that they make of a class, `faults` the checks on it, `schedule` which
method follows which, `run` calls the methods, `state` and `persistence` hold the state between calls and between
processes.
"""

from crewrun.flow.flow import Flow, FlowState, and_, listen, or_, persist, router, start

__all__ = ["Flow", "FlowState", "and_", "listen", "or_", "persist", "router", "start"]
