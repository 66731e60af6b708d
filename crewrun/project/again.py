"""`made_again`: a crew once more, over an object of its own, for one of several inputs that run at once.

Hooks keep things on the object that has them (`self.topic = inputs["topic"]`), for tools, conditions and other hooks to
read. One object for all rows would show each of them what another one left.
"""

from copy import copy
from typing import Any

from crewrun.crew.crew import Crew
from crewrun.project.config import Entries
from crewrun.project.marks import MADE, names_of


def made_again(owner: Any, method: str) -> Crew:
    """What `owner.method()` makes, over a copy of `owner` with lists, dicts and sets of its own.

    `__init__` is not run again: clients and the like are shared.
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
