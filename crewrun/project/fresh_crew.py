"""`fresh_crew`: the crew of a copy of a @CrewBase object, for one of several rows that run at the same time.

Hooks store values on their object (`self.topic = inputs["topic"]`) that tools, conditions and other hooks read. If rows
shared one object, each would see the values of others.
"""

from copy import copy
from typing import Any

from crewrun.crew.crew import Crew
from crewrun.project.config import Entries
from crewrun.project.marks import MADE, names_of


def fresh_crew(owner: Any, method: str) -> Crew:
    """The crew that `method` makes on a copy of `owner` with its own lists, dicts and sets.

    `__init__` does not run again, so clients and similar objects are shared.
    """
    other = copy(owner)
    held = vars(other)
    held.pop(MADE, None)
    for kind in ("agent", "task"):
        if names_of(type(other), kind):
            held.pop(f"{kind}s", None)
    for name, value in held.items():
        if isinstance(value, Entries):
            held[name] = value.of(other)
        elif type(value) in (dict, list, set):
            held[name] = value.copy()
    crew: Crew = getattr(other, method)()
    return crew
